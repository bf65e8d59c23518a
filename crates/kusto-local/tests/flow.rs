//! The whole way of a queued ingestion client, over TLS, with a client that is not ours.

#![allow(
    clippy::unwrap_used,
    reason = "the configuration allows it inside test functions, not in their helpers"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kusto_local::{Options, Server};
use serde_json::json;
use support::{Client, SCOPE, gzip, restart};

const ROWS: &str = "{\"tag\":\"app\",\"timestamp\":\"2026-11-23T20:41:07.123456789Z\",\"log\":{\"n\":1}}\n\
                    {\"tag\":\"app\",\"timestamp\":\"2026-11-23T20:41:08Z\",\"log\":{\"n\":2,\"other\":[true]}}\n";

fn start() -> (tempfile::TempDir, Options, Server, Client) {
    start_with(|_| {})
}

fn start_with(change: impl FnOnce(&mut Options)) -> (tempfile::TempDir, Options, Server, Client) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    change(&mut options);
    let server = Server::start(options.clone()).unwrap();
    let client = Client::new(server.endpoint());
    (dir, options, server, client)
}

#[test]
fn an_uploaded_and_announced_blob_becomes_rows_which_queries_return() {
    let (_dir, _, server, client) = start();
    let resources = client.resources();
    assert_eq!((resources.containers.len(), resources.queues.len()), (4, 2));
    let blob = resources.blob(0, "local__Logs__1.json.gz");
    let put = client.put_blob(&blob, &gzip(ROWS.as_bytes()));
    assert_eq!(put.status, 201, "{}", put.text());
    let posted = client.post(&resources.queues[0], &resources.message(&blob, ROWS.len()));
    assert_eq!(posted.status, 201, "{}", posted.text());
    assert!(posted.text().contains("<MessageId>"));

    let record = &client.ingestions(1)[0];
    assert_eq!(record["status"], "Succeeded", "{record}");
    assert_eq!(record["complaints"], json!([]));
    assert_eq!((&record["rows"], &record["gzip_members"]), (&json!(2), &json!(1)));
    assert_eq!(record["raw_data_size"], record["uncompressed_bytes"]);
    assert_eq!(server.rows("Logs"), Some(2));
    // RetainBlobOnSuccess was false.
    assert_eq!(client.get(&blob).status, 404);

    let frames = client.query("Logs | count").json();
    let primary =
        frames.as_array().unwrap().iter().find(|frame| frame["TableKind"] == "PrimaryResult").unwrap();
    assert_eq!(primary["Rows"], json!([[2]]));
    assert_eq!(frames[0]["FrameType"], "DataSetHeader");
    assert_eq!(frames[4]["HasErrors"], false);
    let rows = client.query("Logs | take 1").json()[2]["Rows"].clone();
    assert_eq!(rows, json!([["app", "2026-11-23T20:41:07.1234567Z", { "n": 1 }]]));
    let v1 = client.command("/v1/rest/query", &client.token(), "local", "Logs");
    assert!(v1.has_header("x-ms-client-request-id: test;1") && v1.has_header("x-ms-activity-id:"));
    assert_eq!(v1.json()["Tables"][0]["Rows"].as_array().unwrap().len(), 2);
    server.shutdown();
}

#[test]
fn the_page_shows_tables_and_blobs_to_whoever_asks() {
    let (_dir, _, _server, client) = start();
    let resources = client.resources();
    let blob = resources.blob(0, "local__Logs__1.json.gz");
    client.put_blob(&blob, &gzip(ROWS.as_bytes()));
    client.post(&resources.queues[0], &resources.message(&blob, ROWS.len()));
    client.ingestions(1);
    let page = client.get(&client.url("/"));
    assert!(page.status == 200 && page.has_header("content-type: text/html"), "{}", page.headers);
    assert!(page.text().contains("/local/recent"), "it asks for what is new");
    let recent = client.get(&client.url("/local/recent"));
    assert!(recent.status == 200 && recent.text().contains("local__Logs__1.json.gz"), "{}", recent.text());
    assert!(!recent.text().contains("sig="), "without signatures");
}

#[test]
fn a_login_with_anything_wrong_is_refused_as_entra_id_does() {
    let (_dir, _, _server, client) = start();
    let endpoint = client.endpoint.clone();
    let (tenant, id, secret) = (&*endpoint.tenant_id, &*endpoint.client_id, &*endpoint.client_secret);
    let cases = [
        ((tenant, id, "wrong", SCOPE), 401, "invalid_client", 7_000_215),
        ((tenant, id, "", SCOPE), 401, "invalid_client", 7_000_218),
        ((tenant, "other", secret, SCOPE), 400, "unauthorized_client", 700_016),
        (("other", id, secret, SCOPE), 400, "invalid_request", 90_002),
        ((tenant, id, secret, "https://kusto.kusto.windows.net"), 400, "invalid_scope", 1_002_012),
    ];
    for ((tenant, id, secret, scope), status, error, code) in cases {
        let answer = client.ask_token(tenant, id, secret, scope);
        let body = answer.json();
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(body["error"], error);
        assert_eq!(body["error_codes"], json!([code]));
        assert!(
            body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{code}: ")),
            "{body}"
        );
        assert!(body["trace_id"].is_string() && body["correlation_id"].is_string());
    }
    let discovery =
        client.get(&client.url(&format!("/{tenant}/v2.0/.well-known/openid-configuration"))).json();
    assert_eq!(discovery["token_endpoint"], client.url(&format!("/{tenant}/oauth2/v2.0/token")));
    assert_eq!(client.get(&client.url("/common/discovery/instance")).status, 200);
    assert_eq!(
        client.get(&client.url("/v1/rest/auth/metadata")).json()["AzureAD"]["LoginEndpoint"],
        client.url("")
    );
}

#[test]
fn a_machines_metadata_service_has_an_address_of_its_own_and_gives_out_tokens_only() {
    let (_dir, _, _server, client) = start_with(|options| options.imds = Some(([127, 0, 0, 1], 0).into()));
    let imds = client.endpoint.imds.clone().unwrap();
    let url = format!(
        "{imds}/metadata/identity/oauth2/token?api-version=2021-02-01&resource=https://api.kusto.windows.net"
    );
    assert_eq!(client.get(&url).status, 400, "the header is missing");
    let token = client.curl(&["-H", "Metadata: true", &url], b"").json();
    let token = token["access_token"].as_str().unwrap();
    assert_eq!(client.command("/v1/rest/mgmt", token, "local", ".show version").status, 200);
    for path in ["/v1/rest/mgmt", "/msi/token", "/"] {
        assert_eq!(client.get(&format!("{imds}{path}")).status, 404, "{path}");
    }
}

#[test]
fn commands_and_queries_need_a_token_that_holds() {
    let (_dir, _, _server, client) = start_with(|options| options.token_lifetime = Duration::ZERO);
    let expired = client.token();
    let other = {
        let (_dir, _, _server, other) = start();
        other.token()
    };
    for (token, reason) in [("", "no JWT"), (&*other, "not issued by this server"), (&*expired, "expired")] {
        for path in ["/v1/rest/mgmt", "/v2/rest/query"] {
            let answer = client.command(path, token, "local", ".show version");
            assert_eq!(answer.status, 401);
            assert!(answer.has_header("www-authenticate: Bearer authorization_uri="), "{}", answer.headers);
            let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
            assert!(message.contains(reason), "{message}");
        }
    }
}

#[test]
fn storage_refuses_signatures_that_are_missing_forged_cut_or_expired() {
    let (_dir, options, server, client) = start();
    let resources = client.resources();
    let blob = resources.blob(0, "b.json");
    let no_query = blob.split('?').next().unwrap().to_owned();
    let forged = blob.replace("sp=rw", "sp=rwd");
    let elsewhere = blob.replace("-0/b.json", "-1/b.json");
    let cut = blob[..blob.find('?').unwrap() + 256].to_owned();
    for url in [&no_query, &forged, &elsewhere, &cut] {
        let answer = client.put_blob(url, b"{}");
        assert_eq!(answer.status, 403, "{url}");
        assert!(answer.has_header("x-ms-error-code: AuthenticationFailed"));
        assert!(answer.text().contains("<Code>AuthenticationFailed</Code>"), "{}", answer.text());
    }
    let answer = client.curl(&["-X", "DELETE", &blob], b"");
    assert!(answer.has_header("x-ms-error-code: AuthorizationPermissionMismatch"), "{}", answer.headers);

    let short = Options { sas_lifetime: Duration::ZERO, ..options };
    let (_server, client) = restart(server, &short);
    let resources = client.resources();
    let answer = client.put_blob(&resources.blob(0, "b.json"), b"{}");
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("Signature not valid in the specified time frame"), "{}", answer.text());
    let answer = client.post(&resources.queues[1], &json!({}));
    assert_eq!(answer.status, 403);
    assert!(answer.has_header("x-ms-error-code: AuthenticationFailed"));
}

#[test]
fn blobs_are_written_whole_in_blocks_and_once_when_asked() {
    let (_dir, _, _server, client) = start();
    let resources = client.resources();
    let blob = resources.blob(1, "a%2Fb%20c.json");
    let whole = vec![b'x'; 3 << 20];
    assert_eq!(client.put_blob(&blob, &whole).status, 201);
    let got = client.get(&blob);
    assert!(got.body == whole && got.has_header("x-ms-blob-type: BlockBlob") && got.has_header("etag: "));
    assert!(client.curl(&["--head", &blob], b"").has_header("content-length: 3145728"));
    let once = [
        "-X",
        "PUT",
        "-H",
        "x-ms-blob-type: BlockBlob",
        "-H",
        "If-None-Match: *",
        "--data-binary",
        "@-",
        &blob,
    ];
    let again = client.curl(&once, b"other");
    assert_eq!(again.status, 409);
    assert!(again.has_header("x-ms-error-code: BlobAlreadyExists"));

    let blocks = resources.blob(2, "blocks.json");
    let ids = ["MDE%3D", "MDI%3D"].map(|id| format!("{blocks}&comp=block&blockid={id}"));
    assert_eq!(client.put_blob(&ids[1], b" world").status, 201);
    assert_eq!(client.put_blob(&ids[0], b"hello").status, 201);
    assert_eq!(client.get(&blocks).status, 404);
    let list = format!("{blocks}&comp=blocklist");
    let xml = |ids: &str| format!("<?xml version=\"1.0\"?><BlockList>{ids}</BlockList>");
    let missing = client.put_blob(&list, xml("<Latest>MDM=</Latest>").as_bytes());
    assert!(missing.has_header("x-ms-error-code: InvalidBlockList"), "{}", missing.text());
    let committed = client.put_blob(&list, xml("<Latest>MDE=</Latest><Latest>MDI=</Latest>").as_bytes());
    assert_eq!(committed.status, 201, "{}", committed.text());
    assert_eq!(client.get(&blocks).text(), "hello world");

    let untyped = client.curl(&["-X", "PUT", "--data-binary", "@-", &blob], b"x");
    assert!(untyped.has_header("x-ms-error-code: MissingRequiredHeader"), "{}", untyped.text());
    let chunked = [
        "-X",
        "PUT",
        "-H",
        "x-ms-blob-type: BlockBlob",
        "-H",
        "Transfer-Encoding: chunked",
        "--data-binary",
        "@-",
        &blob,
    ];
    assert_eq!(client.curl(&chunked, b"x").status, 411);
    let nowhere = blob.replace("20260101-ingestdata", "none");
    assert_eq!(client.put_blob(&nowhere, b"x").status, 403);
}

#[test]
fn a_message_over_64_kib_is_refused_and_one_of_64_kib_is_not() {
    let (_dir, _, _server, client) = start();
    let queue = client.resources().queues[0].clone();
    assert_eq!(client.post_text(&queue, &"A".repeat(64 << 10)).status, 201);
    for size in [(64 << 10) + 1, 1 << 20] {
        let answer = client.post_text(&queue, &"A".repeat(size));
        assert_eq!(answer.status, 413);
        assert!(answer.has_header("x-ms-error-code: RequestBodyTooLarge"));
    }
}

#[test]
fn a_blob_which_cannot_be_ingested_fails_with_kustos_code_and_leaves_no_row() {
    let (_dir, _, server, client) = start();
    let resources = client.resources();
    let whole = gzip(ROWS.as_bytes());
    let put = |name: &str, body: &[u8]| {
        let url = resources.blob(0, name);
        assert_eq!(client.put_blob(&url, body).status, 201);
        url
    };
    let message = |url: &str| resources.message(url, ROWS.len());
    let with = |pointer: &str, value: serde_json::Value| {
        let mut message = message(&resources.blob(0, "good.json.gz"));
        *message.pointer_mut(pointer).unwrap() = value;
        message
    };
    put("good.json.gz", &whole);
    let cut = put("cut.json.gz", &whole[..whole.len() - 9]);
    let sas = "/AdditionalProperties/authorizationContext";
    let multi = json!({ "authorizationContext": resources.identity, "format": "multijson" });
    let mut broken = message(&put("broken.json", b"[{\"tag\":\"a\"},"));
    broken["AdditionalProperties"] = multi;
    let cases = [
        (message(&cut), "BadFormat"),
        (message(&put("empty.json", b"")), "BadRequest_EmptyBlob"),
        (message(&put("plain.json.gz", ROWS.as_bytes())), "BadFormat"),
        (message(&put("none.json", b"not json\n")), "BadRequest_NoRecordsOrWrongFormat"),
        (broken, "BadFormat"),
        (message(&resources.blob(0, "absent.json.gz")), "Download_SourceNotFound"),
        (with("/BlobPath", json!(&resources.blob(0, "good.json.gz")[..300])), "Download_Forbidden"),
        (with(sas, json!("forged")), "BadRequest_InvalidKustoIdentityToken"),
        (with("/DatabaseName", json!("other")), "BadRequest_DatabaseNotExist"),
        (with("/TableName", json!("logs")), "BadRequest_TableNotExist"),
        (with("/AdditionalProperties/format", json!("parquet")), "BadRequest_FormatNotSupported"),
        (json!({ "Id": "x" }), "General_BadRequest"),
    ];
    for (message, _) in &cases {
        assert_eq!(client.post(&resources.queues[0], message).status, 201);
    }
    let records = client.ingestions(cases.len());
    for ((message, code), record) in cases.iter().zip(&records) {
        assert_eq!(record["status"], "Failed", "{message}\n{record}");
        assert_eq!(record["error_code"], *code, "{message}\n{record}");
    }
    assert_eq!(server.rows("Logs"), Some(0));
    // The blob of a failed ingestion stays.
    assert_eq!(client.get(&cut).status, 200);
}

#[test]
fn what_a_client_should_not_send_is_ingested_with_a_complaint() {
    let (_dir, _, server, client) = start();
    let resources = client.resources();
    let parts: Vec<Vec<u8>> = ROWS.lines().map(|line| gzip(format!("{line}\n").as_bytes())).collect();
    let two = resources.blob(0, "two.json.gz");
    assert_eq!(client.put_blob(&two, &parts.concat()).status, 201);
    let compressed = parts.concat().len();
    let text = format!("{}\0", resources.message(&two, compressed));
    assert_eq!(client.post_text(&resources.queues[0], &STANDARD.encode(text)).status, 201);
    let bad = resources.blob(1, "bad.json");
    assert_eq!(
        client.put_blob(&bad, b"{\"tag\":\"a\",\"timestamp\":\"yesterday\"}\n{\"tag\":\n").status,
        201
    );
    let mut message = resources.message(&bad, 0);
    message["RawDataSize"] = json!(null);
    assert_eq!(client.post(&resources.queues[1], &message).status, 201);

    let records = client.ingestions(2);
    let complaints = |at: usize| records[at]["complaints"].as_array().unwrap().clone();
    assert_eq!(records[0]["status"], "Succeeded");
    assert_eq!((&records[0]["gzip_members"], &records[0]["trailing_nul"]), (&json!(2), &json!(true)));
    assert_eq!(
        complaints(0),
        [
            json!("the message's JSON ends with a NUL byte"),
            json!(format!(
                "RawDataSize is {compressed}, but {} bytes are in the blob uncompressed",
                ROWS.len()
            )),
            json!("the gzip has 2 members"),
        ]
    );
    assert_eq!(complaints(1)[0], "row 1, column timestamp: \"yesterday\" is no datetime; stored null");
    assert!(complaints(1)[1].as_str().unwrap().starts_with("line 2 was skipped: "));
    assert_eq!(server.rows("Logs"), Some(3));
}

#[test]
fn scripted_faults_fire_as_often_as_they_say_and_in_the_form_of_the_service() {
    let (_dir, _, _server, client) = start();
    let resources = client.resources();
    let blob = resources.blob(0, "b.json");
    client.fault(json!({ "kind": "blob", "status": 503, "skip": 1, "count": 2, "retry_after": 7 }));
    let answers: Vec<_> = (0..4).map(|_| client.put_blob(&blob, b"{}")).collect();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [201, 503, 503, 201]);
    assert!(answers[1].has_header("x-ms-error-code: ServerBusy") && answers[1].has_header("retry-after: 7"));

    let token = client.token();
    client.fault(json!({ "kind": "mgmt", "status": 429, "permanent": false }));
    let busy = client.command("/v1/rest/mgmt", &token, "", ".show version");
    assert_eq!((busy.status, &busy.json()["error"]["@permanent"]), (429, &json!(false)));
    client.fault(json!({ "kind": "token", "status": 500, "delay_ms": 1 }));
    let endpoint = &client.endpoint;
    let answer = client.ask_token(&endpoint.tenant_id, &endpoint.client_id, &endpoint.client_secret, SCOPE);
    assert_eq!((answer.status, &answer.json()["error"]), (500, &json!("temporarily_unavailable")));

    // curl: 56 and 35 receive error, 18 partial file, 28 timeout.
    client.fault(json!({ "kind": "queue", "reset": true }));
    assert!([35, 56].contains(&client.post(&resources.queues[0], &json!({})).exit));
    client.fault(json!({ "kind": "query", "truncate": true }));
    let cut = client.command("/v2/rest/query", &token, "local", "Logs | count");
    assert!([18, 56].contains(&cut.exit) && cut.status == 200 && !cut.body.is_empty(), "{}", cut.exit);
    client.fault(json!({ "kind": "blob", "truncate": true }));
    let lost = resources.blob(0, "lost.json");
    assert_ne!(client.put_blob(&lost, b"{}").exit, 0);
    assert_eq!(client.get(&lost).text(), "{}");
    client.fault(json!({ "kind": "any", "hang": true }));
    assert_eq!(client.curl(&["--max-time", "1", &blob], b"").exit, 28);

    let listed = client.get(&client.url("/faults")).json();
    assert!(listed.as_array().unwrap().iter().all(|fault| fault["count"] == 0), "{listed}");
    assert_eq!(client.stats()["faults"], 8);
    assert_eq!(client.curl(&["-X", "DELETE", &client.url("/faults")], b"").status, 204);
    assert_eq!(client.get(&client.url("/faults")).json(), json!([]));
}

#[test]
fn rows_records_blobs_tokens_and_identity_survive_a_restart() {
    let (_dir, options, server, client) = start();
    let resources = client.resources();
    let token = client.token();
    let blob = resources.blob(0, "kept.json");
    assert_eq!(client.put_blob(&blob, ROWS.as_bytes()).status, 201);
    let mut message = resources.message(&blob, ROWS.len());
    message["RetainBlobOnSuccess"] = json!(true);
    client.post(&resources.queues[0], &message);
    client.ingestions(1);
    let ca = std::fs::read(client.endpoint.ca_file.clone().unwrap()).unwrap();
    let old = client.endpoint.ingestion_endpoint.clone();

    let (server, client) = restart(server, &options);
    assert_eq!(server.rows("Logs"), Some(2));
    assert_eq!(client.ingestions(1)[0]["sequence"], 1);
    assert_eq!(std::fs::read(client.endpoint.ca_file.clone().unwrap()).unwrap(), ca);
    let blob = blob.replace(&old, &client.endpoint.ingestion_endpoint);
    assert_eq!(client.get(&blob).text(), ROWS);
    assert_eq!(client.command("/v1/rest/mgmt", &token, "", ".show version").status, 200);
    client.post(&client.resources().queues[0], &message);
    let records = client.ingestions(2);
    assert_eq!(records[1]["sequence"], 2);
    assert_eq!(server.rows("Logs"), Some(4));
    server.shutdown();
}

#[test]
fn tables_are_made_shown_and_dropped_and_other_commands_are_refused_by_name() {
    let (_dir, _, server, client) = start();
    let created = client.mgmt(".create table ['my table'] (a:long, b:string)");
    assert_eq!(created.status, 200, "{}", created.text());
    assert_eq!(client.query("['my table'] | count").json()[2]["Rows"], json!([[0]]));
    let names = |answer: support::Answer| -> Vec<String> {
        let rows = answer.json()["Tables"][0]["Rows"].as_array().unwrap().clone();
        rows.iter().map(|row| row[0].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(client.mgmt(".show tables")), ["Logs", "my table"]);
    assert_eq!(names(client.mgmt(".drop table ['my table']")), ["Logs"]);
    assert_eq!(client.mgmt(".drop table none").json()["error"]["code"], "BadRequest_EntityNotFound");
    assert_eq!(client.mgmt(".drop table none ifexists").status, 200);
    assert_eq!(server.rows("my table"), None);
    let refused = client.mgmt(".show databases");
    assert_eq!((refused.status, &refused.json()["error"]["@permanent"]), (400, &json!(true)));
    let refused = client.query("Logs | summarize max(tag)").json();
    assert!(refused["error"]["message"].as_str().unwrap().contains("'max'"), "{refused}");
    assert_eq!(client.query("Nothing | count").json()["error"]["code"], "BadRequest_EntityNotFound");
    let elsewhere = client.command("/v2/rest/query", &client.token(), "other", "Logs");
    assert_eq!(elsewhere.json()["error"]["code"], "BadRequest_DatabaseNotExist");
}

#[test]
fn plain_http_serves_the_same_flow() {
    let (_dir, _, server, client) = start_with(|options| options.plain_http = true);
    assert!(client.endpoint.ingestion_endpoint.starts_with("http://127.0.0.1:"));
    assert_eq!(client.endpoint.ca_file, None);
    let resources = client.resources();
    let blob = resources.blob(3, "b.json");
    assert_eq!(client.put_blob(&blob, ROWS.as_bytes()).status, 201);
    client.post(&resources.queues[1], &resources.message(&blob, ROWS.len()));
    assert_eq!(client.ingestions(1)[0]["complaints"], json!([]));
    assert_eq!(server.rows("Logs"), Some(2));
}

#[test]
fn the_program_says_how_to_reach_it_and_stops_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kusto-local"))
        .arg("--dir")
        .arg(dir.path())
        .args(["--listen", "0", "--client-secret=s3cret", "--table", "T"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<String> = lines.by_ref().take_while(|line| line != "ready").collect();
    let keys: Vec<&str> = said.iter().map(|line| line.split_once('=').unwrap().0).collect();
    let expected = [
        "ingestion_endpoint",
        "engine_endpoint",
        "authority_host",
        "ca_file",
        "tenant_id",
        "client_id",
        "client_secret",
        "database",
        "table",
        "federated_token_file",
    ];
    assert_eq!(keys, expected);
    assert!(said.contains(&"client_secret=s3cret".to_owned()) && said.contains(&"table=T".to_owned()));
    let file = std::fs::read(dir.path().join("endpoint.env")).unwrap();
    assert_eq!(String::from_utf8(file).unwrap(), said.join("\n") + "\n");

    let second = Server::start(Options::new(dir.path())).map(|_| ()).unwrap_err();
    assert!(second.to_string().contains("another kusto-local uses this folder"), "{second}");
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert!(child.wait().unwrap().success());
    Server::start(Options::new(dir.path())).unwrap().shutdown();
}

#[test]
fn accepted_messages_are_ingested_exactly_once_over_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kusto-local"))
        .arg("--dir")
        .arg(dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said: Vec<String> = lines.take_while(|line| line != "ready").collect();
    let value = |key: &str| {
        let value = said.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        value.unwrap().to_owned()
    };
    let client = Client::new(&kusto_local::Endpoint {
        ingestion_endpoint: value("ingestion_endpoint"),
        engine_endpoint: value("engine_endpoint"),
        authority_host: value("authority_host"),
        imds: None,
        ca_file: Some(value("ca_file").into()),
        tenant_id: value("tenant_id"),
        client_id: value("client_id"),
        client_secret: value("client_secret"),
        database: value("database"),
        table: Some(value("table")),
        federated_token_file: value("federated_token_file").into(),
    });
    let resources = client.resources();
    for number in 0..10 {
        let blob = resources.blob(number % 4, &format!("{number}.json"));
        assert_eq!(client.put_blob(&blob, ROWS.as_bytes()).status, 201);
        let posted = client.post(&resources.queues[number % 2], &resources.message(&blob, ROWS.len()));
        assert_eq!(posted.status, 201);
    }
    child.kill().unwrap();
    child.wait().unwrap();

    let server = Server::start(Options::new(dir.path())).unwrap();
    let client = Client::new(server.endpoint());
    // A kill between commit and record loses the record of one, never its rows.
    client.ingestions(9);
    assert_eq!(server.rows("Logs"), Some(20));
}

#[test]
fn wrong_arguments_are_refused_with_the_usage() {
    for arguments in
        [&["--listen", "1"][..], &["--dir", "d", "--port", "1"], &["--dir", "d", "--listen", "x"], &["--dir"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_kusto-local")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: kusto-local --dir DIR"));
    }
}
