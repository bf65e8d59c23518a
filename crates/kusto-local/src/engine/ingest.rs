//! The worker: takes the messages of all queues one after the other, in the order they came.
//!
//! The real service waits for its batching policy (five minutes by default) before it ingests; this one
//! ingests at once, message by message, since a person or a test is waiting. A failed ingestion is final, and
//! its blob stays for inspection. Error codes are those of "Ingestion error codes in Azure Data Explorer".

use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::rc::Rc;
use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::gunzip::Gunzip;
use super::message::{self, Findings, Message};
use super::record::{Record, Status};
use super::rows::{self, Counted, Format, RowWriter};
use super::table::Table;
use crate::http::Params;
use crate::sas::{self, Service, Target};
use crate::state::State;
use crate::storage::blob::At;
use crate::storage::queue::Pending;
use crate::{limits, mgmt, stamp};

const BUFFER: usize = 64 << 10;

/// Why a message was not ingested.
struct Rejected {
    code: &'static str,
    details: String,
}

fn reject<T>(code: &'static str, details: impl Into<String>) -> Result<T, Rejected> {
    Err(Rejected { code, details: details.into() })
}

/// Where a message's blob is.
struct Source {
    account: String,
    container: String,
    blob: String,
}

impl Source {
    fn at(&self) -> At<'_> {
        At { account: &self.account, container: &self.container, name: &self.blob }
    }
}

/// Ingests until the task is dropped.
pub(crate) async fn run(state: Arc<State>) {
    loop {
        let state = Arc::clone(&state);
        let sequence = state.queues.next().await;
        // Decompressing and writing would hold up the one thread which serves the clients.
        let done = tokio::task::spawn_blocking(move || ingest(&state, sequence)).await;
        if let Err(error) = done {
            eprintln!("kusto-local: an ingestion failed: {error}");
        }
    }
}

fn ingest(state: &State, sequence: u64) {
    let outcome = state.queues.load(sequence).and_then(|pending| {
        if !is_replayed(state, &pending) {
            let (record, delete) = attempt(state, &pending);
            state.records.add(record)?;
            if let Some(source) = delete {
                state.blobs.delete(source.at())?;
            }
        }
        state.queues.done(pending.sequence)
    });
    if let Err(error) = outcome {
        eprintln!("kusto-local: {error}");
    }
}

/// True when the rows of a message were committed before a kill kept it from being deleted.
fn is_replayed(state: &State, pending: &Pending) -> bool {
    let Ok(message) = message::parse(&pending.text, &mut Findings::default()) else { return false };
    let table = state.tables.get(&message.table_name);
    table.is_some_and(|table| table.committed().last_message >= pending.sequence)
}

/// One message; the record of it, and the blob to delete.
fn attempt(state: &State, pending: &Pending) -> (Record, Option<Source>) {
    let mut findings = Findings::default();
    let mut record = blank(pending);
    let outcome = message::parse(&pending.text, &mut findings)
        .or_else(|details| reject("General_BadRequest", details))
        .and_then(|message| ingest_message(state, pending, &message, &mut findings, &mut record));
    record.at = stamp::ticks(stamp::now());
    record.trailing_nul = findings.trailing_nul;
    record.complaints = findings.complaints.texts;
    record.more_complaints = findings.complaints.more;
    match outcome {
        Ok(delete) => (record, delete),
        Err(rejected) => {
            record.status = Status::Failed;
            record.error_code = Some(rejected.code.to_owned());
            record.details = Some(rejected.details);
            record.rows = 0;
            (record, None)
        }
    }
}

fn blank(pending: &Pending) -> Record {
    Record {
        sequence: pending.sequence,
        at: String::new(),
        status: Status::Succeeded,
        error_code: None,
        details: None,
        id: None,
        queue: pending.queue.clone(),
        blob: None,
        database: None,
        table: None,
        format: None,
        raw_data_size: None,
        uncompressed_bytes: 0,
        blob_bytes: 0,
        gzip_members: 0,
        rows: 0,
        trailing_nul: false,
        complaints: Vec::new(),
        more_complaints: 0,
    }
}

fn ingest_message(
    state: &State,
    pending: &Pending,
    message: &Message,
    findings: &mut Findings,
    record: &mut Record,
) -> Result<Option<Source>, Rejected> {
    let properties = &message.additional_properties;
    record.id.clone_from(&message.id);
    record.database = Some(message.database_name.clone());
    record.table = Some(message.table_name.clone());
    record.format.clone_from(&properties.format);
    record.raw_data_size = message.raw_data_size;
    let source = locate(state, &message.blob_path, findings, record)?;
    let table = authorize(state, message)?;
    let format = format_of(message)?;
    let file = match state.blobs.read(source.at()) {
        Ok(Some(file)) => file,
        Ok(None) => return reject("Download_SourceNotFound", "The blob does not exist."),
        Err(error) => return reject("Download_UnknownError", error.to_string()),
    };
    record.blob_bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let sequence = pending.sequence;
    load(&table, format, (file, &source.blob), sequence, findings, record)?;
    if let Some(size) = message.raw_data_size
        && size != record.uncompressed_bytes
    {
        let actual = record.uncompressed_bytes;
        findings
            .complaints
            .push(format!("RawDataSize is {size}, but {actual} bytes are in the blob uncompressed"));
    }
    if record.gzip_members > 1 {
        findings.complaints.push(format!("the gzip has {} members", record.gzip_members));
    }
    Ok((message.retain_blob_on_success != Some(true)).then_some(source))
}

/// Finds the blob a URL names, and checks the signature in the URL.
fn locate(
    state: &State,
    url: &str,
    findings: &mut Findings,
    record: &mut Record,
) -> Result<Source, Rejected> {
    let malformed =
        || Rejected { code: "Download_SourceNotFound", details: "BlobPath is no blob URL.".to_owned() };
    let (_, rest) = url.split_once("://").ok_or_else(malformed)?;
    let (authority, path) = rest.split_once('/').ok_or_else(malformed)?;
    // The port is not compared: a message posted before a restart names the one of that time.
    if !["localhost", "127.0.0.1", "[::1]"].iter().any(|host| authority.starts_with(host)) {
        findings.complaints.push(format!("BlobPath names the host {authority}, which is not this server"));
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut parts = path.splitn(3, '/').map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned());
    let (Some(account), Some(container), Some(blob)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(malformed());
    };
    record.blob = Some(format!("{account}/{container}/{blob}"));
    let target = Target { service: Service::Blob, account: &account, name: &container };
    let params = Params::parse(query.as_bytes());
    if let Err(refused) = sas::check(&state.signer, target, &params, &['r'], stamp::now()) {
        findings.complaints.push(format!("the signature of BlobPath grants nothing: {}", refused.detail()));
        return reject("Download_Forbidden", refused.detail());
    }
    Ok(Source { account, container, blob })
}

/// Checks the identity token, the database and the table.
fn authorize(state: &State, message: &Message) -> Result<Arc<Table>, Rejected> {
    let context = message.additional_properties.authorization_context.as_deref();
    if let Err(details) = mgmt::check_identity_token(state, context.unwrap_or_default()) {
        return reject("BadRequest_InvalidKustoIdentityToken", details);
    }
    if message.database_name != state.database {
        return reject(
            "BadRequest_DatabaseNotExist",
            format!("Database '{}' not found.", message.database_name),
        );
    }
    let table = state.tables.get(&message.table_name);
    let details = || format!("Table '{}' not found.", message.table_name);
    table.ok_or_else(|| Rejected { code: "BadRequest_TableNotExist", details: details() })
}

fn format_of(message: &Message) -> Result<Format, Rejected> {
    let properties = &message.additional_properties;
    if let Some(name) = &properties.ingestion_mapping_reference {
        let details = format!("Mapping reference '{name}' was not found: kusto-local has no mappings.");
        return reject("BadRequest_MappingReferenceWasNotFound", details);
    }
    if properties.ingestion_mapping.is_some() {
        return reject("BadRequest_InvalidMapping", "kusto-local supports no inline mappings.");
    }
    // The service's default is csv.
    let name = properties.format.as_deref().unwrap_or("csv");
    let details = || format!("Format '{name}' is not supported by kusto-local; use json or multijson.");
    Format::parse(name).ok_or_else(|| Rejected { code: "BadRequest_FormatNotSupported", details: details() })
}

/// Reads the blob into the table. Whether it is compressed is decided by its name's suffix.
fn load(
    table: &Table,
    format: Format,
    (file, name): (File, &str),
    sequence: u64,
    findings: &mut Findings,
    record: &mut Record,
) -> Result<(), Rejected> {
    if record.blob_bytes == 0 {
        return reject("BadRequest_EmptyBlob", "The blob is empty.");
    }
    if name.ends_with(".zip") {
        return reject("BadFormat", "zip is not supported by kusto-local; use gzip.");
    }
    let (members, bytes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let raw = BufReader::with_capacity(BUFFER, file);
    let plain: Box<dyn Read> =
        if name.ends_with(".gz") { Box::new(Gunzip::new(raw, Rc::clone(&members))) } else { Box::new(raw) };
    let counted = Counted { inner: plain, bytes: Rc::clone(&bytes), limit: limits::INGEST_BYTES };
    let mut input = BufReader::with_capacity(BUFFER, counted);

    let internal =
        |error: std::io::Error| Rejected { code: "General_InternalServerError", details: error.to_string() };
    let mut append = table.append().map_err(internal)?;
    let columns = &table.columns;
    let mut writer =
        RowWriter { columns, out: &mut append.out, rows: 0, complaints: &mut findings.complaints };
    let copied = skip_byte_order_mark(&mut input).and_then(|()| rows::copy(format, input, &mut writer));
    let rows = writer.rows;
    record.uncompressed_bytes = bytes.get();
    record.gzip_members = members.get();
    match copied {
        Err(details) if bytes.get() > limits::INGEST_BYTES => {
            return reject("BadRequest_FileTooLarge", details);
        }
        Err(details) => return reject("BadFormat", details),
        Ok(()) if rows == 0 => {
            return reject("BadRequest_NoRecordsOrWrongFormat", "The blob has no records of its format.");
        }
        Ok(()) => {}
    }
    if !append.commit(rows, sequence).map_err(internal)? {
        return reject("BadRequest_TableNotExist", "The table was dropped.");
    }
    record.rows = rows;
    Ok(())
}

/// A UTF-8 byte order mark is allowed in front of text formats.
fn skip_byte_order_mark(input: &mut impl BufRead) -> Result<(), String> {
    let start = input.fill_buf().map_err(|error| error.to_string())?;
    if start.starts_with("\u{feff}".as_bytes()) {
        input.consume("\u{feff}".len());
    }
    Ok(())
}
