//! Streaming ingestion: `POST /v1/rest/ingest/{db}/{table}?streamFormat=...&mappingName=...` ("Streaming
//! ingestion HTTP request").
//!
//! The rows are in the table when the request is answered. The table's policy must allow it
//! (`.alter table T policy streamingingestion enable`); a request holds at most 4 MB uncompressed; tags and inline
//! mappings do not exist here.

use std::io::{Cursor, Read};

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::gunzip::Gunzip;
use super::ingest::{self, Load, Measured, Rejected};
use super::mapping;
use super::rows::{Complaints, Format, Reading};
use super::schema::ColumnType;
use super::table::Origin;
use crate::http::Params;
use crate::limits;
use crate::oneapi::{Failure, Table};
use crate::state::State;

/// A request as far as it matters here.
pub(crate) struct Request<'a> {
    pub(crate) database: &'a str,
    pub(crate) table: &'a str,
    pub(crate) query: &'a Params,
    pub(crate) gzip: bool,
    pub(crate) body: Bytes,
}

/// Ingests the body; the answer's table.
pub(crate) fn run(state: &State, request: Request<'_>) -> Result<Table, Failure> {
    let bad = |code: &str, text: String| Failure::bad_request(code, text);
    if request.database != state.database {
        let text = format!("Database '{}' could not be found.", request.database);
        return Err(bad("BadRequest_DatabaseNotExist", text));
    }
    let not_found =
        || bad("BadRequest_EntityNotFound", format!("Entity not found: table '{}'.", request.table));
    let table = state.tables.get(request.table).ok_or_else(not_found)?;
    if !table.committed().streaming {
        let text = format!("Streaming ingestion policy is not enabled for table '{}'.", table.name);
        return Err(bad("BadRequest_StreamingIngestionPolicyNotEnabled", text));
    }
    if request.query.get("sourceKind").is_some_and(|kind| kind.eq_ignore_ascii_case("uri")) {
        return Err(bad(
            "BadRequest_NotSupported",
            "kusto-local streams no blobs (sourceKind=uri).".to_owned(),
        ));
    }
    let name = request.query.get("streamFormat").unwrap_or("csv");
    let format = Format::parse(name)
        .ok_or_else(|| bad("BadRequest_FormatNotSupported", format!("Format '{name}' is not supported.")))?;
    let mapping = request.query.get("mappingName").filter(|name| !name.is_empty());
    let mapping =
        mapping.map(|name| ingest::referenced(&table, format, name)).transpose().map_err(failure)?;
    let mapping = mapping.map(|text| mapping::parse(&text, format.is_json(), &table.columns)).transpose();
    let mapping = mapping.map_err(|text| bad("BadRequest_InvalidMapping", text))?;
    let plain = uncompressed(request.body, request.gzip)?;
    if plain.is_empty() {
        return Err(bad("Stream_NoDataToIngest", "Input stream is empty".to_owned()));
    }
    let bytes = plain.len() as u64;
    let reading = Reading { format, mapping, skip_first: false };
    let mut load = Load {
        table: &table,
        reading,
        gzip: false,
        origin: Origin::default(),
        measured: Measured::default(),
    };
    let mut complaints = Complaints::default();
    let rows = load.run(Cursor::new(plain), &mut complaints).map_err(failure)?;
    state.streamed.add(rows, bytes, complaints);
    Ok(receipt(rows))
}

fn receipt(rows: u64) -> Table {
    let columns = [
        ("ConsumedRecordsCount", ColumnType::Long),
        ("UpdatePolicyStatus", ColumnType::String),
        ("UpdatePolicyFailureCode", ColumnType::String),
        ("UpdatePolicyFailureReason", ColumnType::String),
    ];
    Table::new(&columns, &[json!([rows, "Inactive", "Unknown", null])])
}

/// The body's text, of which there may be four megabytes.
fn uncompressed(body: Bytes, gzip: bool) -> Result<Vec<u8>, Failure> {
    let mut plain = Vec::new();
    let read = if gzip && !body.is_empty() {
        let gunzip = Gunzip::new(Cursor::new(body), std::rc::Rc::default());
        gunzip.take(limits::STREAM_BYTES + 1).read_to_end(&mut plain)
    } else {
        Cursor::new(body).take(limits::STREAM_BYTES + 1).read_to_end(&mut plain)
    };
    if let Err(error) = read {
        return Err(Failure::bad_request(
            "BadFormat",
            format!("The body is not what its encoding says: {error}"),
        ));
    }
    if plain.len() as u64 > limits::STREAM_BYTES {
        return Err(too_large());
    }
    Ok(plain)
}

/// The body is larger than a request may be.
pub(crate) fn too_large() -> Failure {
    let text = "The input stream is larger than 4 MB, the limit of streaming ingestion.";
    Failure {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        ..Failure::bad_request("Stream_InputStreamTooLarge", text)
    }
}

/// Codes of the stream in place of those of a blob.
fn failure(rejected: Rejected) -> Failure {
    let code = match rejected.code {
        "BadRequest_NoRecordsOrWrongFormat" => "Stream_NoDataToIngest",
        "BadRequest_TableNotExist" => "BadRequest_EntityNotFound",
        code => code,
    };
    if code == "General_InternalServerError" {
        return Failure::internal(&std::io::Error::other(rejected.details));
    }
    Failure::bad_request(code, rejected.details)
}
