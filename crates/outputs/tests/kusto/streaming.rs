//! Streaming ingestion, and what is queued in its place.

use engine::Outcome;
use serde_json::json;

use crate::common::{batch_of, batch_with_id, random_hex};
use crate::world::World;

const ON: [(&str, &str); 1] = [("streaming_ingestion_enabled", "on")];

fn streaming() -> World {
    World::new(|options| options.streaming = true, &ON)
}

#[tokio::test(flavor = "local")]
async fn a_small_batch_is_in_the_table_when_its_flush_is_done_and_storage_is_never_asked() {
    for compression in ["on", "off"] {
        let pairs = [ON[0], ("compression_enabled", compression)];
        let world = World::new(|options| options.streaming = true, &pairs);
        let records = [r#"{"n":1,"text":"na\u00efve"}"#, "{}"];
        assert_eq!(world.flush(&batch_with_id(1, "app", &records)).await, Outcome::Done);
        let rows = world.rows().await;
        assert_eq!((rows.len(), &rows[0][0], &rows[0][2]["n"]), (2, &json!("app"), &json!(1)));
        let stats = world.stats().await;
        assert_eq!((&stats["requests"]["stream"], &stats["streamed"]["rows"]), (&json!(1), &json!(2)));
        assert_eq!(stats["streamed"]["complaints"], 0);
        assert_eq!(
            (&stats["requests"]["blob"], &stats["requests"]["mgmt"]),
            (&json!(0), &json!(0)),
            "{stats:#}"
        );
        assert_eq!(world.figure("streams_total", ""), 1);
        assert_eq!(world.setup.budget.stat().held, 0);
    }
}

#[tokio::test(flavor = "local")]
async fn what_is_too_large_is_queued_and_the_next_small_batch_is_streamed() {
    let world = streaming();
    let many: Vec<String> =
        (0..40_000).map(|n| format!(r#"{{"n":{n},"text":"{}"}}"#, "x".repeat(80))).collect();
    let batches = [batch_of(1, &many), batch_of(2, &[format!(r#"{{"text":"{}"}}"#, random_hex(4_500_000))])];
    for (number, batch) in batches.iter().enumerate() {
        assert_eq!(world.flush(batch).await, Outcome::Done);
        assert_eq!(world.ingestions(number + 1).await[number]["status"], "Succeeded");
    }
    assert_eq!(world.figure("fallbacks_total", "too_large"), 2);
    assert_eq!(world.flush(&batch_with_id(3, "t", &["{}"])).await, Outcome::Done);
    assert_eq!(world.figure("streams_total", ""), 1);
    assert_eq!(world.server.rows("Logs"), Some(40_002));
}

#[tokio::test(flavor = "local")]
async fn what_is_a_little_too_large_is_taken_apart_to_be_streamed() {
    let world = streaming();
    let small: Vec<String> = (0..45_000).map(|n| format!(r#"{{"number":{n},"word":"text"}}"#)).collect();
    let outcome = world.flush(&batch_of(1, &small)).await;
    assert!(matches!(outcome, Outcome::Split { .. }), "{outcome:?}");
    for half in [&small[..22_500], &small[22_500..]] {
        assert_eq!(world.flush(&batch_of(2, half)).await, Outcome::Done);
    }
    assert_eq!((world.figure("streams_total", ""), world.figure("fallbacks_total", "too_large")), (2, 0));
    assert_eq!(world.server.rows("Logs"), Some(45_000));
}

#[tokio::test(flavor = "local")]
async fn a_passing_fault_is_tried_again_and_a_lasting_one_ends_in_the_queue() {
    let world = streaming();
    world.fault(json!({"kind": "stream", "status": 503, "count": 1})).await;
    assert_eq!(world.flush(&batch_with_id(1, "t", &["{}"])).await, Outcome::Done);
    assert_eq!((world.figure("streams_total", ""), world.figure("faults_total", "unavailable")), (1, 1));
    world.fault(json!({"kind": "stream", "status": 400, "permanent": false, "count": 3})).await;
    assert_eq!(world.flush(&batch_with_id(2, "t", &["{}"])).await, Outcome::Done);
    assert_eq!(world.ingestions(1).await[0]["rows"], 1);
    assert_eq!((world.figure("streams_total", ""), world.figure("fallbacks_total", "failed")), (1, 1));
    assert_eq!(world.server.rows("Logs"), Some(2));
}

#[tokio::test(flavor = "local")]
async fn a_throttled_table_is_not_asked_again_until_its_time_has_come() {
    let world = streaming();
    world.fault(json!({"kind": "stream", "status": 429, "retry_after": 1, "count": 1})).await;
    for id in 1..=3 {
        assert_eq!(world.flush(&batch_with_id(id, "t", &["{}"])).await, Outcome::Done);
    }
    assert_eq!(world.stats().await["requests"]["stream"], 1, "it was asked once");
    assert_eq!(world.figure("fallbacks_total", "throttled"), 3);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(world.flush(&batch_with_id(4, "t", &["{}"])).await, Outcome::Done);
    assert_eq!(world.figure("streams_total", ""), 1);
    world.ingestions(3).await;
    assert_eq!(world.server.rows("Logs"), Some(4));
}

#[tokio::test(flavor = "local")]
async fn a_table_that_does_not_stream_is_asked_once_and_then_queued_to() {
    let world = World::new(|_| {}, &ON);
    for id in 1..=3 {
        assert_eq!(world.flush(&batch_with_id(id, "t", &["{}"])).await, Outcome::Done);
    }
    assert_eq!(world.stats().await["requests"]["stream"], 1);
    assert_eq!(world.figure("fallbacks_total", "unavailable"), 3);
    world.ingestions(3).await;
    assert_eq!(world.server.rows("Logs"), Some(3));
}

#[tokio::test(flavor = "local")]
async fn records_that_the_cluster_refuses_for_good_are_taken_apart_down_to_the_one() {
    let world = streaming();
    let (two, one) = (batch_with_id(1, "t", &["{}", "{}"]), batch_with_id(2, "t", &["{}"]));
    world
        .fault(
            json!({"kind": "stream", "status": 400, "code": "Stream_DynamicPropertyBagTooLarge", "count": 2}),
        )
        .await;
    for batch in [&two, &one] {
        let outcome = world.flush(batch).await;
        // The engine rejects the half of a single record.
        let Outcome::Split { why } = &outcome else { panic!("{outcome:?}") };
        assert!(why.contains("Stream_DynamicPropertyBagTooLarge"), "{why}");
    }
    assert_eq!(world.figure("faults_total", "data"), 2);
    assert_eq!(world.server.rows("Logs"), Some(0));
}

#[tokio::test(flavor = "local")]
async fn a_token_that_the_engine_refuses_is_renewed_once_and_a_lost_answer_is_counted() {
    let world = streaming();
    world.fault(json!({"kind": "stream", "status": 401})).await;
    assert_eq!(world.flush(&batch_with_id(1, "t", &["{}"])).await, Outcome::Done);
    assert_eq!((world.figure("streams_total", ""), world.figure("faults_total", "token")), (1, 1));
    // The rows are in the table, but nobody hears of it: the next try brings them again.
    world.fault(json!({"kind": "stream", "truncate": true})).await;
    assert_eq!(world.flush(&batch_with_id(2, "t", &["{}"])).await, Outcome::Done);
    assert_eq!(world.figure("unknown_streams_total", ""), 1);
    assert_eq!(world.server.rows("Logs"), Some(3), "the duplicate is unavoidable, and counted");
}
