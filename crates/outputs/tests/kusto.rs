//! `azure_kusto` against a local Azure Data Explorer: login, resources, blob, message and rows, and what the
//! output makes of each fault on the way.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::batch_with_id;
use engine::{Batch, Outcome, OutputLane, Setup};
use http::Request;
use kusto_local::{Options, Server};
use net::client::{Body, Client, Settings, Tls, TrustOptions};
use serde_json::{Value, json};

/// Far more than any test needs; a test that reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// A server, an output that is pointed at it, and a client to ask the server with.
struct World {
    server: Server,
    setup: Setup,
    lane: Rc<dyn OutputLane>,
    client: Client,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(change: impl FnOnce(&mut Options), pairs: &[(&str, &str)]) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        change(&mut options);
        let server = Server::start(options).unwrap();
        let endpoint = server.endpoint();
        let ca_file = endpoint.ca_file.clone().unwrap();
        let ca_file = ca_file.to_str().unwrap();
        let all = [
            ("name", "azure_kusto"),
            ("tenant_id", endpoint.tenant_id.as_str()),
            ("client_id", &endpoint.client_id),
            ("client_secret", &endpoint.client_secret),
            ("authority_host", &endpoint.authority_host),
            ("ingestion_endpoint", &endpoint.ingestion_endpoint),
            ("database_name", &endpoint.database),
            ("table_name", "Logs"),
            ("tls.ca_file", ca_file),
        ];
        // What a test sets itself replaces what is set here.
        let kept = all.into_iter().filter(|(key, _)| pairs.iter().all(|(other, _)| other != key));
        let pairs: Vec<_> = kept.chain(pairs.iter().copied()).skip(1).collect();
        let setup = common::setup();
        let output = common::open(&outputs::azure_kusto::DEF, &setup, &pairs).unwrap();
        let trust = TrustOptions { verify: true, ca_file: Some(ca_file.to_owned()) };
        let tls = Some(Tls::trusting(&trust).unwrap());
        let client = Client::new(Settings { tls, idle: 0, response_bytes: 8 << 20, ..Settings::default() });
        World { server, setup, lane: Rc::from(Arc::clone(&output).lane()), client, _dir: dir }
    }

    async fn flush(&self, batch: &Batch) -> Outcome {
        tokio::time::timeout(DEADLINE, self.lane.flush(batch)).await.expect("a flush ends")
    }

    async fn ask(&self, method: &str, path: &str, body: &str, token: Option<&str>) -> Value {
        let url = format!("{}{path}", self.server.endpoint().ingestion_endpoint);
        let mut request =
            Request::builder().method(method).uri(url).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.client.send(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        assert!(response.status().is_success(), "{path}: {response:?}");
        serde_json::from_slice(response.body()).unwrap_or(Value::Null)
    }

    /// Makes the next requests fail.
    async fn fault(&self, fault: Value) {
        self.ask("POST", "/faults", &fault.to_string(), None).await;
    }

    /// Waits until so many messages were dealt with, and gives what became of them.
    async fn ingestions(&self, count: usize) -> Vec<Value> {
        let asked = async {
            loop {
                let answer = self.ask("GET", "/local/ingestions", "", None).await;
                let records =
                    answer.as_array().or(answer["ingestions"].as_array()).cloned().unwrap_or_default();
                if records.len() >= count {
                    return records;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(DEADLINE, asked).await.expect("the messages are dealt with")
    }

    /// What the table holds, as the rows of a query.
    async fn rows(&self) -> Vec<Value> {
        let endpoint = self.server.endpoint();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fkusto.kusto.windows.net%2F.default",
            endpoint.client_id,
            endpoint.client_secret.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>()
        );
        let url = format!("{}/{}/oauth2/v2.0/token", endpoint.authority_host, endpoint.tenant_id);
        let request = Request::post(url).header("content-type", "application/x-www-form-urlencoded");
        let response = self.client.send(request.body(Body::from(form)).unwrap()).await.unwrap();
        let token: Value = serde_json::from_slice(response.body()).unwrap();
        let query = json!({"db": endpoint.database, "csl": "Logs"}).to_string();
        let answer = self.ask("POST", "/v1/rest/query", &query, token["access_token"].as_str()).await;
        answer["Tables"][0]["Rows"].as_array().unwrap().clone()
    }
}

fn why(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Done => "",
        Outcome::Retry { why, .. }
        | Outcome::Hold { why }
        | Outcome::Reject { why }
        | Outcome::Split { why } => why,
    }
}

#[tokio::test]
async fn records_arrive_as_rows_that_are_equal_and_the_server_finds_nothing_to_complain_about() {
    let world = World::new(|_| {}, &[]);
    let records =
        [r#"{"level":"info","text":"na\u00efve \"quotes\"","n":1.5}"#, r#"{"deep":{"a":[1,null]}}"#];
    let batch = batch_with_id(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, "app.log", &records);
    assert_eq!(world.flush(&batch).await, Outcome::Done);

    let ingestions = world.ingestions(1).await;
    let ingestion = &ingestions[0];
    assert_eq!(ingestion["status"], "Succeeded", "{ingestion:#}");
    assert_eq!(ingestion["complaints"], json!([]), "{ingestion:#}");
    assert_eq!(ingestion["id"], "01234567-89ab-cdef-0123-456789abcdef");
    assert_eq!(ingestion["format"], "json");
    assert_eq!(ingestion["gzip_members"], 1);
    assert_eq!(ingestion["raw_data_size"], ingestion["uncompressed_bytes"]);
    let name = "weir__local__Logs__0123456789abcdef0123456789abcdef.json.gz";
    assert!(ingestion["blob"].as_str().unwrap().ends_with(name), "{ingestion:#}");

    let rows = world.rows().await;
    assert_eq!(rows.len(), 2);
    for (at, record) in records.iter().enumerate() {
        assert_eq!(rows[at][0], "app.log");
        assert!(rows[at][1].as_str().unwrap().starts_with(&format!("2023-11-14T22:13:2{at}.123")));
        let log = match &rows[at][2] {
            Value::String(text) => serde_json::from_str(text).unwrap(),
            log => log.clone(),
        };
        assert_eq!(log, serde_json::from_str::<Value>(record).unwrap());
    }
    assert_eq!(world.setup.budget.stat().held, 0, "everything is paid back");
}

#[tokio::test]
async fn a_blob_of_many_pages_and_no_compression_arrives_whole() {
    let world = World::new(|_| {}, &[("compression_enabled", "off")]);
    let record = format!(r#"{{"text":"{}"}}"#, "x".repeat(3000));
    let batch = batch_with_id(7, "t", &vec![record.as_str(); 400]);
    assert_eq!(world.flush(&batch).await, Outcome::Done);
    let ingestions = world.ingestions(1).await;
    assert_eq!((&ingestions[0]["status"], &ingestions[0]["rows"]), (&json!("Succeeded"), &json!(400)));
    assert_eq!(ingestions[0]["complaints"], json!([]));
}

#[tokio::test]
async fn what_is_busy_is_tried_again_when_it_says_and_then_takes_the_batch() {
    for kind in ["token", "mgmt", "blob", "queue"] {
        for status in [429, 503] {
            let world = World::new(|_| {}, &[]);
            let batch = batch_with_id(1, "t", &["{}"]);
            world.fault(json!({"kind": kind, "status": status, "retry_after": 7})).await;
            let outcome = world.flush(&batch).await;
            let Outcome::Retry { after, .. } = &outcome else { panic!("{kind} {status}: {outcome:?}") };
            assert_eq!(*after, Some(Duration::from_secs(7)), "{kind} {status}");
            assert_eq!(world.flush(&batch).await, Outcome::Done, "{kind} {status}");
            assert_eq!(world.ingestions(1).await.len(), 1, "{kind} {status}");
            assert_eq!(world.setup.budget.stat().held, 0);
        }
    }
}

#[tokio::test]
async fn a_broken_connection_and_a_server_that_never_answers_are_tried_again() {
    for (kind, fault) in [
        ("mgmt", json!({"reset": true})),
        ("blob", json!({"reset": true})),
        ("blob", json!({"hang": true})),
        ("queue", json!({"hang": true})),
    ] {
        // The first try may find the connection dead and use another one, so two tries break.
        let world = World::new(|_| {}, &[("io_timeout", "1s")]);
        let batch = batch_with_id(1, "t", &["{}"]);
        let mut fault = fault;
        fault["kind"] = json!(kind);
        fault["count"] = json!(2);
        world.fault(fault).await;
        let mut outcome = world.flush(&batch).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{kind}: {outcome:?}");
        for _ in 0..2 {
            if outcome != Outcome::Done {
                outcome = world.flush(&batch).await;
            }
        }
        assert_eq!(outcome, Outcome::Done, "{kind}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_within_the_same_flush() {
    let world = World::new(|_| {}, &[]);
    let batch = batch_with_id(1, "t", &["{}"]);
    world.fault(json!({"kind": "mgmt", "status": 401})).await;
    assert_eq!(world.flush(&batch).await, Outcome::Done);

    let world = World::new(|_| {}, &[]);
    world.fault(json!({"kind": "mgmt", "status": 401, "count": 2})).await;
    assert!(matches!(world.flush(&batch).await, Outcome::Retry { .. }));
    assert_eq!(world.flush(&batch).await, Outcome::Done);
}

#[tokio::test]
async fn storage_that_refuses_a_signature_gets_a_new_one_within_the_same_flush() {
    for kind in ["blob", "queue"] {
        let world = World::new(|_| {}, &[]);
        let batch = batch_with_id(1, "t", &["{}"]);
        world.fault(json!({"kind": kind, "status": 403})).await;
        assert_eq!(world.flush(&batch).await, Outcome::Done, "{kind}");

        let world = World::new(|_| {}, &[]);
        world.fault(json!({"kind": kind, "status": 403, "count": 2})).await;
        let outcome = world.flush(&batch).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{kind}: {outcome:?}");
        assert_eq!(world.flush(&batch).await, Outcome::Done, "{kind}");
    }
}

#[tokio::test]
async fn signatures_that_have_run_out_are_replaced_without_losing_a_batch() {
    let world = World::new(|options| options.sas_lifetime = Duration::from_secs(1), &[]);
    assert_eq!(world.flush(&batch_with_id(1, "t", &["{}"])).await, Outcome::Done);
    world.ingestions(1).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(world.flush(&batch_with_id(2, "t", &["{}"])).await, Outcome::Done);
}

#[tokio::test]
async fn a_permission_that_is_missing_holds_the_batch() {
    let world = World::new(|_| {}, &[]);
    let batch = batch_with_id(1, "t", &["{}"]);
    for status in [403, 404, 412, 400] {
        world.fault(json!({"kind": "mgmt", "status": status})).await;
        let outcome = world.flush(&batch).await;
        assert!(matches!(outcome, Outcome::Hold { .. }), "{status}: {outcome:?}");
    }
    assert_eq!(world.flush(&batch).await, Outcome::Done);
}

#[tokio::test]
async fn a_wrong_secret_holds_the_batch_and_is_not_told() {
    let world = World::new(|_| {}, &[("client_secret", "not-the-secret")]);
    let outcome = world.flush(&batch_with_id(1, "t", &["{}"])).await;
    assert!(matches!(outcome, Outcome::Hold { .. }), "{outcome:?}");
    assert!(!why(&outcome).contains("not-the-secret"), "{outcome:?}");
}

#[tokio::test]
async fn a_blob_that_is_too_large_is_split() {
    let world = World::new(|_| {}, &[]);
    world.fault(json!({"kind": "blob", "status": 413})).await;
    let outcome = world.flush(&batch_with_id(1, "t", &["{}", "{}"])).await;
    assert!(matches!(outcome, Outcome::Split { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_message_that_was_not_accepted_is_posted_again_for_the_blob_that_is_there() {
    let world = World::new(|_| {}, &[]);
    let batch = batch_with_id(9, "t", &["{}"]);
    world.fault(json!({"kind": "queue", "status": 503})).await;
    assert!(matches!(world.flush(&batch).await, Outcome::Retry { .. }));
    // Were the blob uploaded again, this would be seen.
    world.fault(json!({"kind": "blob", "status": 500, "count": 9})).await;
    assert_eq!(world.flush(&batch).await, Outcome::Done);
}

#[tokio::test]
async fn a_blob_whose_answer_was_lost_is_not_stored_twice() {
    let world = World::new(|_| {}, &[]);
    let batch = batch_with_id(9, "t", &["{}"]);
    world.fault(json!({"kind": "blob", "truncate": true})).await;
    let lost = world.flush(&batch).await;
    assert!(matches!(lost, Outcome::Retry { .. }), "{lost:?}");
    assert_eq!(world.flush(&batch).await, Outcome::Done);
    let ingestions = world.ingestions(1).await;
    assert_eq!((ingestions.len(), &ingestions[0]["rows"]), (1, &json!(1)));
}

#[tokio::test]
async fn no_signature_and_no_token_is_told_in_any_outcome() {
    for (kind, status) in [("blob", 400), ("blob", 503), ("queue", 400), ("queue", 503), ("mgmt", 400)] {
        let world = World::new(|_| {}, &[]);
        world.fault(json!({"kind": kind, "status": status})).await;
        let outcome = world.flush(&batch_with_id(1, "t", &["{}"])).await;
        let told = why(&outcome);
        assert!(!told.is_empty() && !told.contains("sig=") && !told.contains("Bearer"), "{told}");
    }
}

#[tokio::test]
async fn two_flushes_share_one_login() {
    let world = World::new(|_| {}, &[]);
    let (one, two) = (batch_with_id(1, "t", &["{}"]), batch_with_id(2, "t", &["{}"]));
    let (first, second) = tokio::join!(world.flush(&one), world.flush(&two));
    assert_eq!((first, second), (Outcome::Done, Outcome::Done));
    world.ingestions(2).await;
    let stats = world.ask("GET", "/local/stats", "", None).await;
    assert_eq!(stats["requests"]["token"], 1, "{stats:#}");
    assert_eq!(stats["requests"]["mgmt"], 2, "{stats:#}");
}

#[tokio::test]
async fn a_blob_of_any_size_is_stored_in_blocks_while_others_hold_all_of_the_budget() {
    for compression in ["on", "off"] {
        let world = World::new(|_| {}, &[("compression_enabled", compression)]);
        let filled = common::fill(&world.setup.budget);
        let records = common::unwieldy();
        let [one, many] = [0, 1].map(|at| common::batch_of(at as u128, &records[at]));
        let outcomes = tokio::join!(world.flush(&one), world.flush(&many));
        assert_eq!(outcomes, (Outcome::Done, Outcome::Done));
        drop(filled);
        assert_eq!(world.setup.budget.stat().held, 0, "everything is paid back");
        let mut rows = Vec::new();
        for ingestion in world.ingestions(2).await {
            assert_eq!(ingestion["status"], "Succeeded", "{ingestion:#}");
            assert_eq!(ingestion["raw_data_size"], ingestion["uncompressed_bytes"], "{ingestion:#}");
            rows.push(ingestion["rows"].as_u64().unwrap());
        }
        rows.sort_unstable();
        assert_eq!(rows, [1, 10_000]);
        let stats = world.ask("GET", "/local/stats", "", None).await;
        assert!(stats["requests"]["blob"].as_u64().unwrap() >= 7, "{stats:#}");
    }
}

#[tokio::test]
async fn a_blob_that_breaks_off_at_any_block_is_stored_by_the_next_try_and_ingested_once() {
    let [records, _] = common::unwieldy();
    // Three blocks and their list.
    for skip in 0..4 {
        for fault in [json!({"status": 503}), json!({"truncate": true}), json!({"status": 413})] {
            let world = World::new(|_| {}, &[]);
            let batch = common::batch_of(5, &records);
            let mut fault = fault;
            fault["kind"] = json!("blob");
            fault["skip"] = json!(skip);
            world.fault(fault.clone()).await;
            let outcome = world.flush(&batch).await;
            assert_ne!(outcome, Outcome::Done, "{fault}");
            assert_eq!(world.setup.budget.stat().held, 0, "{fault}");
            assert_eq!(world.flush(&batch).await, Outcome::Done, "{fault}");
            let ingestions = world.ingestions(1).await;
            assert_eq!((ingestions.len(), &ingestions[0]["rows"]), (1, &json!(1)), "{fault}");
        }
    }
}

#[tokio::test]
async fn a_signature_that_is_refused_at_any_block_is_replaced_within_the_same_flush() {
    let [records, _] = common::unwieldy();
    for skip in 0..4 {
        let world = World::new(|_| {}, &[]);
        world.fault(json!({"kind": "blob", "status": 403, "skip": skip})).await;
        assert_eq!(world.flush(&common::batch_of(5, &records)).await, Outcome::Done, "{skip}");
        assert_eq!(world.ingestions(1).await[0]["status"], "Succeeded", "{skip}");
    }
}
