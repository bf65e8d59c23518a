//! What clients are told of their messages: the status queues and the status table ("Ingestion status").
//!
//! By default only failures are told, in the queue. Both queues and the table are small and in memory, because
//! nobody is kept waiting for them; with Azurite they are Azurite's.

use serde_json::{Value, json};

use super::message::Message;
use super::record::{Record, Status};
use crate::secrets::request_id;
use crate::state::State;
use crate::storage::{FAILURES, SUCCESSES};

/// Tells what became of a message, where it asks to.
pub(crate) fn tell(state: &State, message: &Message, record: &Record) {
    let success = record.status != Status::Failed;
    if !message.tells(success) {
        return;
    }
    let (in_queue, in_table) = message.tells_in();
    let result = (|| {
        if in_queue {
            post(state, if success { SUCCESSES } else { FAILURES }, &text(record))?;
        }
        match &message.ingestion_status_in_table {
            Some(place) if in_table => {
                let entity = entity(record, &place.partition_key, &place.row_key);
                match &state.azurite {
                    Some(azurite) => azurite.merge_entity(&place.table_connection_string, &entity),
                    None => {
                        state.statuses.merge(&place.partition_key, &place.row_key, entity);
                        Ok(())
                    }
                }
            }
            _ => Ok(()),
        }
    })();
    if let Err(error) = result {
        eprintln!("kusto-local: a status was not told: {error}");
    }
}

fn post(state: &State, queue: &str, status: &Value) -> std::io::Result<()> {
    match &state.azurite {
        Some(azurite) => azurite.post(queue, &status.to_string()),
        None => {
            state.statuses.post(queue, &status.to_string());
            Ok(())
        }
    }
}

/// A status message.
fn text(record: &Record) -> Value {
    let mut status = json!({
        "OperationId": request_id(),
        "Database": record.database,
        "Table": record.table,
        "IngestionSourceId": record.id,
        "IngestionSourcePath": record.blob,
        "RootActivityId": request_id(),
    });
    if record.status == Status::Failed {
        status["FailedOn"] = json!(record.at);
        status["Details"] = json!(record.details);
        status["ErrorCode"] = json!(record.error_code);
        status["FailureStatus"] = json!(failure_status(record));
        status["OriginatesFromUpdatePolicy"] = json!(false);
        status["ShouldRetry"] = json!(failure_status(record) == "Transient");
    } else {
        status["SucceededOn"] = json!(record.at);
    }
    status
}

/// `Transient` for what may succeed later.
pub(crate) fn failure_status(record: &Record) -> &'static str {
    match record.error_code.as_deref() {
        Some("General_InternalServerError" | "Download_UnknownError") => "Transient",
        _ => "Permanent",
    }
}

fn entity(record: &Record, partition: &str, row: &str) -> Value {
    let status = match record.status {
        Status::Succeeded => "Succeeded",
        Status::Failed => "Failed",
        Status::Skipped => "Skipped",
    };
    let mut entity = json!({
        "PartitionKey": partition,
        "RowKey": row,
        "Status": status,
        "UpdatedOn": record.at,
        "Database": record.database,
        "Table": record.table,
        "IngestionSourceId": record.id,
    });
    if record.status == Status::Failed {
        entity["Details"] = json!(record.details);
        entity["ErrorCode"] = json!(record.error_code);
        entity["FailureStatus"] = json!(failure_status(record));
    }
    entity
}
