//! What is ingested together, and what clients are told of it, over plain requests.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "the configuration allows it inside test functions, not in their helpers"
)]

mod support;

use std::time::Duration;

use kusto_local::{Options, Server};
use serde_json::{Value, json};
use support::Client;

const ROW: &str = "{\"tag\":\"a\"}\n";

fn start(change: impl FnOnce(&mut Options)) -> (tempfile::TempDir, Server, Client) {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    change(&mut options);
    let server = Server::start(options).unwrap();
    let client = Client::new(server.endpoint());
    (dir, server, client)
}

fn statuses(records: &[Value]) -> Vec<(&str, Option<&str>)> {
    records.iter().map(|record| (record["status"].as_str().unwrap(), record["error_code"].as_str())).collect()
}

#[test]
fn the_same_blob_is_taken_once_within_a_batch_and_again_in_the_next() {
    let (_dir, server, client) = start(|options| options.batching_time = Duration::from_millis(300));
    let resources = client.resources();
    let blob = resources.blob(0, "b.json");
    assert_eq!(client.put_blob(&blob, ROW.as_bytes()).status, 201);
    let mut message = resources.message(&blob, ROW.len());
    message["RetainBlobOnSuccess"] = json!(true);
    for _ in 0..2 {
        assert_eq!(client.post(&resources.queues[0], &message).status, 201);
    }
    let twice = Some("BlobAlreadyReceived_BlobAlreadyFoundInBatch");
    assert_eq!(statuses(&client.ingestions(2)), [("Succeeded", None), ("Failed", twice)]);
    client.post(&resources.queues[0], &message);
    assert_eq!(statuses(&client.ingestions(3))[2], ("Succeeded", None));
    assert_eq!(server.rows("Logs"), Some(2), "at least once is visible");
}

#[test]
fn the_status_table_tells_what_became_of_a_message_that_asks_for_it() {
    let (_dir, _server, client) = start(|_| {});
    let resources = client.resources();
    let listed = client.mgmt(".get ingestion resources").json();
    let rows = listed["Tables"][0]["Rows"].as_array().unwrap();
    let table =
        rows.iter().find(|row| row[0] == "IngestionsStatusTable").unwrap()[1].as_str().unwrap().to_owned();
    let entity = |id: &str| table.replacen('?', &format!("(PartitionKey='{id}',RowKey='{id}')?"), 1);
    for (id, body, expected) in [("good", ROW, "Succeeded"), ("bad", "no json\n", "Failed")] {
        let pending = json!({ "PartitionKey": id, "RowKey": id, "Status": "Pending" }).to_string();
        let posted = client.curl(
            &["-H", "Content-Type: application/json", "--data-binary", "@-", &table],
            pending.as_bytes(),
        );
        assert_eq!(posted.status, 204, "{}", posted.text());
        assert_eq!(client.get(&entity(id)).json()["Status"], "Pending");
        let blob = resources.blob(0, &format!("{id}.json"));
        client.put_blob(&blob, body.as_bytes());
        let mut message = resources.message(&blob, body.len());
        message["ReportLevel"] = json!(2);
        message["ReportMethod"] = json!("Table");
        message["IngestionStatusInTable"] =
            json!({ "TableConnectionString": table, "PartitionKey": id, "RowKey": id });
        client.post(&resources.queues[0], &message);
        client.ingestions(if id == "good" { 1 } else { 2 });
        assert_eq!(client.get(&entity(id)).json()["Status"], expected);
    }
    let failed = client.get(&entity("bad")).json();
    assert_eq!(failed["ErrorCode"], "BadRequest_NoRecordsOrWrongFormat");
    assert_eq!(client.get(&entity("none")).status, 404);
}
