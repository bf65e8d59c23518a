//! Commands about ingestion: what failed, and rows as part of a command.

use std::io::Cursor;

use serde_json::{Value, json};

use super::STRING;
use crate::engine::ingest::{Load, Measured};
use crate::engine::rows::{Complaints, Format, Reading};
use crate::engine::schema::{self, ColumnType};
use crate::engine::status::failure_status;
use crate::engine::table::Origin;
use crate::oneapi::{Failure, Table};
use crate::secrets::request_id;
use crate::state::State;

/// `.show ingestion failures`.
pub(super) fn failures(state: &State) -> Table {
    let columns = [
        ("OperationId", ColumnType::Guid),
        ("Database", STRING),
        ("Table", STRING),
        ("FailedOn", ColumnType::Datetime),
        ("IngestionSourceId", STRING),
        ("IngestionSourcePath", STRING),
        ("Details", STRING),
        ("FailureKind", STRING),
        ("OperationKind", STRING),
        ("OriginatesFromUpdatePolicy", ColumnType::Bool),
        ("ErrorCode", STRING),
        ("ShouldRetry", ColumnType::Bool),
    ];
    let rows: Vec<Value> = state
        .records
        .failures()
        .iter()
        .map(|record| {
            let kind = failure_status(record);
            json!([
                request_id(),
                record.database,
                record.table,
                record.at,
                record.id,
                record.blob,
                record.details,
                kind,
                "DataIngestPull",
                false,
                record.error_code,
                kind == "Transient",
            ])
        })
        .collect();
    Table::new(&columns, &rows)
}

/// `.ingest inline into table T <| a,1`: lines of CSV.
pub(super) fn inline(state: &State, text: &str) -> Result<Table, Failure> {
    let syntax = |text: &str| Failure::bad_request("BadRequest_SyntaxError", text);
    let (head, data) = text.split_once("<|").ok_or_else(|| syntax("Expected '<|' and the data."))?;
    if head.contains(" with") {
        return Err(syntax("kusto-local supports no properties of '.ingest inline'; the data is CSV."));
    }
    let name = schema::entity_name(head).map_err(|text| syntax(&text))?;
    let missing =
        || Failure::bad_request("BadRequest_EntityNotFound", format!("Entity not found: table '{name}'."));
    let table = state.tables.get(&name).ok_or_else(missing)?;
    let reading = Reading { format: Format::Csv, mapping: None, skip_first: false };
    let (origin, measured) = (Origin::default(), Measured::default());
    let mut load = Load { table: &table, reading, gzip: false, origin, measured };
    let data = data.trim().as_bytes().to_vec();
    load.run(Cursor::new(data), &mut Complaints::default())
        .map_err(|rejected| Failure::bad_request(rejected.code, rejected.details))?;
    let columns = [
        ("ExtentId", ColumnType::Guid),
        ("ItemLoaded", STRING),
        ("Duration", STRING),
        ("HasErrors", ColumnType::Bool),
        ("OperationId", ColumnType::Guid),
    ];
    let extent = table.committed().extents.back().map(|extent| extent.id.clone());
    Ok(Table::new(&columns, &[json!([extent, "inproc", "00:00:00", false, request_id()])]))
}
