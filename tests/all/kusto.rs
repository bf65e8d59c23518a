//! HTTP in, Kusto out: the main job.

use testkit::{Weir, eventually};

const TO_KUSTO: &str = "
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
";

struct Kusto {
    server: kusto_local::Server,
    folder: tempfile::TempDir,
}

impl Kusto {
    fn start() -> Kusto {
        let folder = tempfile::tempdir().unwrap();
        let mut options = kusto_local::Options::new(folder.path().to_owned());
        options.table = Some("Logs".to_owned());
        Kusto { server: kusto_local::Server::start(options).unwrap(), folder }
    }

    fn weir(&self) -> Weir {
        // The endpoint prints itself as key=value lines: the names of the variables in lower case.
        let text = self.server.endpoint().to_string();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let variables: Vec<(String, &str)> =
            pairs.map(|(key, value)| (key.to_ascii_uppercase(), value)).collect();
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        Weir::start_with(TO_KUSTO, &variables)
    }

    fn wait_for_rows(&self, count: u64) {
        eventually(&format!("{count} rows"), || (self.server.rows("Logs") == Some(count)).then_some(()));
    }

    fn ask(&self, path: &str) -> serde_json::Value {
        let endpoint = self.server.endpoint();
        let authority = endpoint.ca_file.as_ref().unwrap().display().to_string();
        let (status, body) =
            testkit::curl(&["--cacert", &authority, &format!("{}{path}", endpoint.ingestion_endpoint)]);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    fn fault(&self, fault: &str) {
        let endpoint = self.server.endpoint();
        let authority = endpoint.ca_file.as_ref().unwrap().display().to_string();
        let url = format!("{}/faults", endpoint.ingestion_endpoint);
        let (status, body) = testkit::curl(&["--cacert", &authority, "--data-binary", fault, &url]);
        assert!((200..300).contains(&status), "{body}");
    }

    /// The rows as they lie in the table's file: an array of the columns' values a line.
    fn rows(&self) -> Vec<serde_json::Value> {
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
