//! HTTP in, Kusto out: the main job.

use testkit::{Weir, eventually};

pub const TO_KUSTO: &str = "
service: {flush: 0.3, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN, scheduler.base: 1, scheduler.cap: 1}
pipeline:
  inputs:
    - {name: http, listen: 127.0.0.1, port: PORT}
  outputs:
    - name: azure_kusto
      match: '*'
      tenant_id: ${TENANT_ID}
      client_id: ${CLIENT_ID}
      client_secret: ${CLIENT_SECRET}
      ingestion_endpoint: ${INGESTION_ENDPOINT}
      authority_host: ${AUTHORITY_HOST}
      tls.ca_file: ${CA_FILE}
      database_name: ${DATABASE}
      table_name: Logs
MORE";

/// Lines of the output's section, as YAML.
fn lines(options: &[(&str, &str)]) -> String {
    options.iter().map(|(key, value)| format!("      {key}: {value}\n")).collect()
}

pub struct Kusto {
    pub server: kusto_local::Server,
    folder: tempfile::TempDir,
}

impl Kusto {
    pub fn start() -> Kusto {
        Kusto::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut kusto_local::Options)) -> Kusto {
        let folder = tempfile::tempdir().unwrap();
        let mut options = kusto_local::Options::new(folder.path().to_owned());
        options.table = Some("Logs".to_owned());
        change(&mut options);
        Kusto { server: kusto_local::Server::start(options).unwrap(), folder }
    }

    pub fn weir(&self) -> Weir {
        self.weir_with(TO_KUSTO, &[], &[])
    }

    /// With more options of the output, and more variables.
    pub fn weir_with(&self, yaml: &str, options: &[(&str, &str)], more: &[(&str, &str)]) -> Weir {
        // The endpoint prints itself as key=value lines: the names of the variables in lower case.
        let text = self.server.endpoint().to_string();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let variables: Vec<(String, &str)> =
            pairs.map(|(key, value)| (key.to_ascii_uppercase(), value)).collect();
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(key, value)| (key.as_str(), *value)).chain(more.iter().copied()).collect();
        Weir::start_with(&yaml.replace("MORE", &lines(options)), &variables)
    }

    /// Posts numbered records, so many at a time, and gives the last number.
    pub fn post_numbers(weir: &Weir, from: usize, to: usize, at_a_time: usize) {
        let mut connection = weir.connect();
        let numbers: Vec<usize> = (from..to).collect();
        for some in numbers.chunks(at_a_time) {
            let records: Vec<String> =
                some.iter().map(|n| format!(r#"{{"n":{n},"text":"record {n}"}}"#)).collect();
            let body = format!("[{}]", records.join(","));
            assert_eq!(connection.post("/numbers", body.as_bytes()).unwrap(), 201);
        }
    }

    /// How often each number from 0 to `count` is in the table: missing ones, and those beyond the first.
    pub fn missing_and_more(&self, count: usize) -> (usize, usize) {
        let mut seen = vec![0usize; count];
        for row in self.rows() {
            seen[row[2]["n"].as_u64().unwrap() as usize] += 1;
        }
        let missing = seen.iter().filter(|times| **times == 0).count();
        (missing, seen.iter().map(|times| times.saturating_sub(1)).sum())
    }

    pub fn no_complaint(&self) {
        let stats = self.ask("/local/stats");
        assert_eq!(stats["ingestions"]["with_complaints"], 0, "{stats}");
        assert_eq!(
            (&stats["ingestions"]["failed"], &stats["streamed"]["complaints"]),
            (&0.into(), &0.into())
        );
    }

    pub fn wait_for_rows(&self, count: u64) {
        eventually(&format!("{count} rows"), || (self.server.rows("Logs") == Some(count)).then_some(()));
    }

    pub fn ask(&self, path: &str) -> serde_json::Value {
        let endpoint = self.server.endpoint();
        let authority = endpoint.ca_file.as_ref().unwrap().display().to_string();
        let (status, body) =
            testkit::curl(&["--cacert", &authority, &format!("{}{path}", endpoint.ingestion_endpoint)]);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Runs a command as an administrator of the cluster.
    pub fn command(&self, text: &str) {
        let endpoint = self.server.endpoint();
        let authority = endpoint.ca_file.as_ref().unwrap().display().to_string();
        let token = format!("{}/{}/oauth2/v2.0/token", endpoint.authority_host, endpoint.tenant_id);
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https://kusto.kusto.windows.net/.default",
            endpoint.client_id, endpoint.client_secret
        );
        let (_, token) = testkit::curl(&["--cacert", &authority, "--data", &form, &token]);
        let token: serde_json::Value = serde_json::from_str(&token).unwrap();
        let authorization = format!("Authorization: Bearer {}", token["access_token"].as_str().unwrap());
        let body = serde_json::json!({"db": "local", "csl": text}).to_string();
        let url = format!("{}/v1/rest/mgmt", endpoint.ingestion_endpoint);
        let json = "Content-Type: application/json";
        let (status, answer) = testkit::curl(&[
            "--cacert",
            &authority,
            "-H",
            &authorization,
            "-H",
            json,
            "--data-binary",
            &body,
            &url,
        ]);
        assert_eq!(status, 200, "{answer}");
    }

    pub fn fault(&self, fault: &str) {
        let endpoint = self.server.endpoint();
        let authority = endpoint.ca_file.as_ref().unwrap().display().to_string();
        let url = format!("{}/faults", endpoint.ingestion_endpoint);
        let (status, body) = testkit::curl(&["--cacert", &authority, "--data-binary", fault, &url]);
        assert!((200..300).contains(&status), "{body}");
    }

    /// The rows as they lie in the table's file: an array of the columns' values a line.
    pub fn rows(&self) -> Vec<serde_json::Value> {
        let bytes = std::fs::read(self.folder.path().join("tables/Logs.rows.jsonl")).unwrap();
        String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn a_row_is_tag_time_and_the_record_and_the_endpoint_has_no_complaint() {
    if !testkit::have("curl") {
        return;
    }
    let kusto = Kusto::start();
    let weir = kusto.weir();
    let mut connection = weir.connect();
    let body =
        r#"[{"n":1,"text":"grüße","list":[1,2.5,null],"deep":{"a":{"b":true}}},{"n":18446744073709551615}]"#;
    assert_eq!(connection.post("/app.web", body.as_bytes()).unwrap(), 201);
    kusto.wait_for_rows(2);
    let rows = kusto.rows();
    let records: serde_json::Value = serde_json::from_str(body).unwrap();
    for (row, record) in rows.iter().zip(records.as_array().unwrap()) {
        let [tag, timestamp, log] = row.as_array().unwrap().as_slice() else { panic!("{row}") };
        assert_eq!((tag.as_str(), log), (Some("app.web"), record));
        // The service keeps 100 ns; what was sent has milliseconds.
        let timestamp = timestamp.as_str().unwrap();
        assert!(timestamp.len() == 28 && timestamp.ends_with("0000Z"), "{timestamp}");
    }
    let ingestions = kusto.ask("/local/ingestions");
    let ingestions = ingestions.as_array().unwrap();
    assert_eq!(ingestions.len(), 1);
    let ingestion = &ingestions[0];
    assert_eq!(ingestion["status"], "Succeeded", "{ingestion}");
    assert_eq!(ingestion["complaints"].as_array().map(Vec::len), Some(0), "{ingestion}");
    assert_eq!(ingestion["raw_data_size"], ingestion["uncompressed_bytes"]);
    assert_eq!(ingestion["gzip_members"], 1);
    assert_eq!(ingestion["trailing_nul"], false);
    weir.stop();
}

#[test]
fn large_payloads_arrive_each_exactly_once_while_every_kind_of_request_fails_now_and_then() {
    if !testkit::have("curl") {
        return;
    }
    let kusto = Kusto::start();
    for fault in [
        r#"{"kind":"token","status":503,"count":1}"#,
        r#"{"kind":"mgmt","status":429,"count":1,"skip":1,"retry_after":1}"#,
        r#"{"kind":"blob","status":503,"count":2,"skip":1}"#,
        r#"{"kind":"blob","reset":true,"count":1,"skip":4}"#,
        r#"{"kind":"queue","status":500,"count":2,"skip":1}"#,
    ] {
        kusto.fault(fault);
    }
    let weir = kusto.weir();
    let body = leaklab::payload::alert(4_900, 1);
    let mut connection = weir.connect();
    for number in 0..100 {
        assert_eq!(connection.post(&format!("/tag{}", number % 5), body.as_bytes()).unwrap(), 201);
        if number % 10 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
    kusto.wait_for_rows(100);
    weir.wait_for("fluentbit_output_proc_records_total", "azure_kusto.0", 100);
    let stats = kusto.ask("/local/stats");
    assert_eq!(stats["ingestions"]["with_complaints"], 0, "{stats}");
    assert_eq!(weir.metric("fluentbit_output_dropped_records_total", "azure_kusto.0"), 0);
    eventually("every page to be back", || {
        weir.held().iter().all(|account| account.contains("\"connections\"")).then_some(())
    });
    let (_, log) = weir.stop();
    let secret = kusto.server.endpoint().client_secret.clone();
    assert!(!log.contains(&secret) && !log.contains("sig="), "the log holds no secret");
    assert_eq!(kusto.server.rows("Logs"), Some(100));
}

#[test]
fn a_stop_delivers_what_was_accepted() {
    let kusto = Kusto::start();
    let weir = kusto.weir();
    let body = leaklab::payload::records(200, 3);
    let mut connection = weir.connect();
    for _ in 0..5 {
        assert_eq!(connection.post("/a", body.as_bytes()).unwrap(), 201);
    }
    weir.stop();
    kusto.wait_for_rows(1_000);
}
