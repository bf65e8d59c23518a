//! `azure_kusto` against a local Azure Data Explorer: login, resources, blob, message and rows, and what the
//! output makes of each fault on the way.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod buffering;
#[path = "../common/mod.rs"]
mod common;
mod streaming;
mod world;

use std::time::Duration;

use common::batch_with_id;
use engine::Outcome;
use serde_json::{Value, json};
use world::{World, why};

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
async fn a_blob_of_many_pages_and_no_compression_arrives_whole() {
    let world = World::new(|_| {}, &[("compression_enabled", "off")]);
    let record = format!(r#"{{"text":"{}"}}"#, "x".repeat(3000));
    let batch = batch_with_id(7, "t", &vec![record.as_str(); 400]);
    assert_eq!(world.flush(&batch).await, Outcome::Done);
    let ingestions = world.ingestions(1).await;
    assert_eq!((&ingestions[0]["status"], &ingestions[0]["rows"]), (&json!("Succeeded"), &json!(400)));
    assert_eq!(ingestions[0]["complaints"], json!([]));
}

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
async fn signatures_that_have_run_out_are_replaced_without_losing_a_batch() {
    let world = World::new(|options| options.sas_lifetime = Duration::from_secs(1), &[]);
    assert_eq!(world.flush(&batch_with_id(1, "t", &["{}"])).await, Outcome::Done);
    world.ingestions(1).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(world.flush(&batch_with_id(2, "t", &["{}"])).await, Outcome::Done);
}

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
async fn a_wrong_secret_holds_the_batch_and_is_not_told() {
    let world = World::new(|_| {}, &[("client_secret", "not-the-secret")]);
    let outcome = world.flush(&batch_with_id(1, "t", &["{}"])).await;
    assert!(matches!(outcome, Outcome::Hold { .. }), "{outcome:?}");
    assert!(!why(&outcome).contains("not-the-secret"), "{outcome:?}");
}

#[tokio::test(flavor = "local")]
async fn a_blob_that_is_too_large_is_split() {
    let world = World::new(|_| {}, &[]);
    world.fault(json!({"kind": "blob", "status": 413})).await;
    let outcome = world.flush(&batch_with_id(1, "t", &["{}", "{}"])).await;
    assert!(matches!(outcome, Outcome::Split { .. }), "{outcome:?}");
}

#[tokio::test(flavor = "local")]
async fn a_message_that_was_not_accepted_is_posted_again_for_the_blob_that_is_there() {
    let world = World::new(|_| {}, &[]);
    let batch = batch_with_id(9, "t", &["{}"]);
    world.fault(json!({"kind": "queue", "status": 503, "count": 2})).await;
    assert!(matches!(world.flush(&batch).await, Outcome::Retry { .. }));
    // Were the blob uploaded again, this would be seen.
    world.fault(json!({"kind": "blob", "status": 500, "count": 9})).await;
    assert_eq!(world.flush(&batch).await, Outcome::Done);
}

#[tokio::test(flavor = "local")]
async fn a_blob_whose_answer_was_lost_is_ingested_once() {
    let world = World::new(|_| {}, &[]);
    let batch = batch_with_id(9, "t", &["{}"]);
    world.fault(json!({"kind": "blob", "truncate": true, "count": 2})).await;
    let lost = world.flush(&batch).await;
    assert!(matches!(lost, Outcome::Retry { .. }), "{lost:?}");
    assert_eq!(world.flush(&batch).await, Outcome::Done);
    let ingestions = world.ingestions(1).await;
    assert_eq!((ingestions.len(), &ingestions[0]["rows"]), (1, &json!(1)));
}

#[tokio::test(flavor = "local")]
async fn no_signature_and_no_token_is_told_in_any_outcome() {
    for (kind, status) in [("blob", 400), ("blob", 503), ("queue", 400), ("queue", 503), ("mgmt", 400)] {
        let world = World::new(|_| {}, &[]);
        world.fault(json!({"kind": kind, "status": status, "count": 2})).await;
        let outcome = world.flush(&batch_with_id(1, "t", &["{}"])).await;
        let told = why(&outcome);
        assert!(!told.is_empty() && !told.contains("sig=") && !told.contains("Bearer"), "{told}");
    }
}

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
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

#[tokio::test(flavor = "local")]
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
            // The beginning of a blob is offered to a second account as well.
            fault["count"] = json!(if skip == 0 && fault["status"] != 413 { 2 } else { 1 });
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

#[tokio::test(flavor = "local")]
async fn a_signature_that_is_refused_at_any_block_is_replaced_within_the_same_flush() {
    let [records, _] = common::unwieldy();
    for skip in 0..4 {
        let world = World::new(|_| {}, &[]);
        world.fault(json!({"kind": "blob", "status": 403, "skip": skip})).await;
        assert_eq!(world.flush(&common::batch_of(5, &records)).await, Outcome::Done, "{skip}");
        assert_eq!(world.ingestions(1).await[0]["status"], "Succeeded", "{skip}");
    }
}

#[tokio::test(flavor = "local")]
async fn an_account_that_is_dead_costs_no_batch_and_is_passed_over_from_then_on() {
    let world = World::new(|_| {}, &[]);
    world.fault(json!({"kind": "blob", "account": "kustolocal0", "reset": true, "count": 1000})).await;
    world.fault(json!({"kind": "queue", "account": "kustolocal0", "status": 503, "count": 1000})).await;
    for id in 0..20 {
        assert_eq!(world.flush(&batch_with_id(id, "t", &["{}"])).await, Outcome::Done, "{id}");
    }
    assert_eq!(
        world.ingestions(20).await.iter().filter(|record| record["status"] == "Succeeded").count(),
        20
    );
    let tried = world.figure("faults_total", "unavailable");
    assert!((1..=4).contains(&tried), "the dead account was asked {tried} times");
}

#[tokio::test(flavor = "local")]
async fn every_option_of_the_message_arrives_in_it() {
    let pairs =
        [("data_format", "multijson"), ("extent_tags", "drop-by:day, free"), ("flush_immediately", "on")];
    let pairs = [&pairs[..], &[("ingest_by_tags", "on"), ("ingestion_mapping_reference", "m")]].concat();
    let world = World::new(|options| options.batching_time = Duration::from_secs(600), &pairs);
    let mapping =
        r#"[{"column":"tag","Properties":{"Path":"$.log.who"}},{"column":"log","Properties":{"Path":"$"}}]"#;
    world.command(&format!(".create table Logs ingestion json mapping 'm' '{mapping}'")).await;
    let batch = batch_with_id(7, "t", &[r#"{"who":"me"}"#]);
    // As after a crash between the queue's answer and the journal: the same batch, twice.
    for _ in 0..2 {
        assert_eq!(world.flush(&batch).await, Outcome::Done);
    }
    let ingestions = world.ingestions(2).await;
    let states: Vec<&Value> = ingestions.iter().map(|ingestion| &ingestion["status"]).collect();
    assert_eq!(states, ["Succeeded", "Skipped"], "{ingestions:#?}");
    assert_eq!(ingestions[0]["format"], "multijson");
    assert!(ingestions[0]["blob"].as_str().unwrap().ends_with(".multijson.gz"));
    let rows = world.rows().await;
    assert_eq!((rows.len(), &rows[0][0]), (1, &json!("me")));
    let shown = world.shown(".show table Logs extents").await;
    assert_eq!(shown[0][5], "drop-by:day\r\nfree\r\ningest-by:00000000-0000-0000-0000-000000000007");
}

#[tokio::test(flavor = "local")]
async fn a_permission_that_is_taken_raises_an_alarm_which_the_next_delivery_clears() {
    let world = World::new(|_| {}, &[]);
    let batch = batch_with_id(1, "t", &["{}"]);
    world.command(".drop database local ingestors ('aadapp=x')").await;
    assert!(matches!(world.flush(&batch).await, Outcome::Hold { .. }));
    assert_eq!(world.figure("alarm", "cluster"), 1);
    assert_eq!(world.figure("faults_total", "held"), 1);
    world.command(".add database local ingestors ('aadapp=x')").await;
    assert_eq!(world.flush(&batch).await, Outcome::Done);
    assert_eq!(world.figure("alarm", "cluster"), 0);
    assert_eq!(world.figure("blobs_total", ""), 1);
}
