//! Buffering: what is settled is on disk, and every file becomes one blob.

use std::path::Path;
use std::time::Duration;

use engine::Outcome;
use serde_json::json;
use tokio::task::LocalSet;

use crate::common::{batch_of, batch_with_id, random_hex};
use crate::world::{DEADLINE, World};

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("key")).unwrap().count() - 1
}

/// An output that buffers in `folder`.
fn buffering(folder: &Path, pairs: &[(&str, &str)]) -> World {
    let on = [("buffering_enabled", "on"), ("buffer_dir", folder.to_str().unwrap())];
    World::new(|_| {}, &[&on[..], pairs].concat())
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waited).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

#[tokio::test]
async fn batches_of_a_file_arrive_as_one_blob_of_one_member_and_the_file_goes() {
    for compression in ["on", "off"] {
        let folder = tempfile::tempdir().unwrap();
        let pairs = [("upload_timeout", "1s"), ("compression_enabled", compression)];
        LocalSet::new()
            .run_until(async {
                let world = buffering(folder.path(), &pairs);
                for id in 1..=20 {
                    let record = format!(r#"{{"id":{id},"text":"{}"}}"#, random_hex(100_000));
                    assert_eq!(world.flush(&batch_of(id, &[record])).await, Outcome::Done);
                }
                let ingestions = world.ingestions(1).await;
                let ingestion = &ingestions[0];
                assert_eq!((ingestions.len(), &ingestion["rows"]), (1, &json!(20)), "{ingestions:#?}");
                assert_eq!(ingestion["complaints"], json!([]));
                assert_eq!(ingestion["raw_data_size"], ingestion["uncompressed_bytes"]);
                until("the file to go", || files(folder.path()) == 0).await;
                assert_eq!(world.figure("files_total", "uploaded"), 1);
                assert_eq!(world.figure("buffer_bytes", ""), 0);
            })
            .await;
    }
}

#[tokio::test]
async fn what_was_done_before_a_crash_is_uploaded_by_the_next_run() {
    let folder = tempfile::tempdir().unwrap();
    // The first run never uploads, and ends without a word.
    LocalSet::new()
        .run_until(async {
            let world = buffering(folder.path(), &[]);
            for id in 1..=3 {
                assert_eq!(world.flush(&batch_with_id(id, "t", &["{}", "{}"])).await, Outcome::Done);
            }
        })
        .await;
    assert_eq!(files(folder.path()), 2);
    LocalSet::new()
        .run_until(async {
            let world = buffering(folder.path(), &[]);
            let ingestion = &world.ingestions(1).await[0];
            assert_eq!(
                (&ingestion["rows"], &ingestion["complaints"]),
                (&json!(6), &json!([])),
                "{ingestion:#}"
            );
            until("the file to go", || files(folder.path()) == 0).await;
        })
        .await;
}

#[tokio::test]
async fn a_file_outlives_every_fault_and_is_ingested_once() {
    let folder = tempfile::tempdir().unwrap();
    LocalSet::new()
        .run_until(async {
            let world = buffering(folder.path(), &[("upload_timeout", "1s"), ("io_timeout", "1s")]);
            for fault in [
                json!({"kind": "mgmt", "status": 503}),
                json!({"kind": "blob", "status": 503, "count": 2, "skip": 1}),
                json!({"kind": "blob", "truncate": true, "skip": 3}),
                json!({"kind": "blob", "status": 403, "skip": 4}),
                json!({"kind": "queue", "status": 503, "count": 2}),
                json!({"kind": "queue", "status": 403, "skip": 1}),
            ] {
                world.fault(fault).await;
            }
            let record = format!(r#"{{"text":"{}"}}"#, random_hex(4_000_000));
            assert_eq!(world.flush(&batch_of(1, &[record])).await, Outcome::Done);
            let ingestions = world.ingestions(1).await;
            assert_eq!(
                (ingestions.len(), &ingestions[0]["status"]),
                (1, &json!("Succeeded")),
                "{ingestions:#?}"
            );
            until("the file to go", || files(folder.path()) == 0).await;
            assert_eq!(world.server.rows("Logs"), Some(1));
        })
        .await;
}

#[tokio::test]
async fn a_file_that_is_given_up_stays_or_is_deleted_as_the_user_says() {
    for (delete, left) in [("off", 2), ("on", 0)] {
        let folder = tempfile::tempdir().unwrap();
        let pairs = [
            ("upload_timeout", "1s"),
            ("scheduler_max_retries", "1"),
            ("delete_on_max_upload_error", delete),
        ];
        LocalSet::new()
            .run_until(async {
                let world = buffering(folder.path(), &pairs);
                world.fault(json!({"kind": "blob", "status": 500, "count": 1000})).await;
                assert_eq!(world.flush(&batch_with_id(1, "t", &["{}"])).await, Outcome::Done);
                until("the file to be given up", || world.figure("files_total", "given_up") == 1).await;
                until("what is left", || files(folder.path()) == left).await;
            })
            .await;
    }
}

#[tokio::test]
async fn a_file_that_is_deleted_early_is_ingested_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = [("upload_timeout", "1s"), ("buffer_file_delete_early", "on")];
    LocalSet::new()
        .run_until(async {
            let world = buffering(folder.path(), &pairs);
            world.fault(json!({"kind": "queue", "status": 503, "count": 4})).await;
            assert_eq!(world.flush(&batch_with_id(1, "t", &["{}"])).await, Outcome::Done);
            assert_eq!(world.ingestions(1).await[0]["status"], "Succeeded");
            until("the file to go", || files(folder.path()) == 0).await;
        })
        .await;
}
