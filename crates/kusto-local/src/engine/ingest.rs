//! The worker: takes the messages of all queues in the order they came, and ingests them batch by batch.
//!
//! Unless a batching policy says otherwise it ingests at once, message by message, since a person or a test is
//! waiting; the real service waits for five minutes. A failed ingestion is final, and its blob stays for
//! inspection. Error codes are those of "Ingestion error codes in Azure Data Explorer".

use std::cell::Cell;
use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::batch::{Arrived, Batches};
use super::gunzip::Gunzip;
use super::mapping;
use super::message::{self, Findings, Message, Properties};
use super::record::{Record, Status};
use super::rows::{self, Complaints, Counted, Format, Reading, RowWriter};
use super::source::Source;
use super::status;
use super::table::{Origin, Table};
use crate::state::State;
use crate::storage::queue::Pending;
use crate::{limits, mgmt, stamp};

const BUFFER: usize = 64 << 10;

/// Why rows were not ingested.
pub(crate) struct Rejected {
    pub(crate) code: &'static str,
    pub(crate) details: String,
}

impl Rejected {
    pub(crate) fn new(code: &'static str, details: impl Into<String>) -> Self {
        Self { code, details: details.into() }
    }
}

/// The same as a result.
pub(crate) fn reject<T>(code: &'static str, details: impl Into<String>) -> Result<T, Rejected> {
    Err(Rejected::new(code, details))
}

/// Ingests until the task is dropped.
pub(crate) async fn run(state: Arc<State>) {
    let mut batches = Batches::default();
    loop {
        let due = batches.next().map(tokio::time::Instant::from_std);
        let sealed = tokio::select! {
            sequence = state.queues.next() => take(&state, &mut batches, sequence).into_iter().collect(),
            () = until(due) => batches.due(Instant::now()),
        };
        for sequences in sealed {
            let state = Arc::clone(&state);
            // Decompressing and writing would hold up the one thread which serves the clients.
            let done = tokio::task::spawn_blocking(move || ingest(&state, &sequences)).await;
            if let Err(error) = done {
                eprintln!("kusto-local: an ingestion failed: {error}");
            }
        }
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Puts a message into its batch; the batch when that is complete. What is no message is ingested alone, to
/// fail there.
fn take(state: &State, batches: &mut Batches, sequence: u64) -> Option<Vec<u64>> {
    let pending = state.queues.load(sequence).ok();
    let message = pending.and_then(|pending| message::parse(&pending.text, &mut Findings::default()).ok());
    let Some(message) = message else { return Some(vec![sequence]) };
    let policy = state.tables.get(&message.table_name).and_then(|table| table.committed().batching);
    let arrived = Arrived {
        sequence,
        key: message.batch_key(),
        bytes: message.raw_data_size,
        flush: message.flush_immediately == Some(true),
    };
    batches.add(arrived, policy.unwrap_or(state.batching), Instant::now())
}

fn ingest(state: &State, sequences: &[u64]) {
    let mut seen = HashSet::new();
    for sequence in sequences {
        let outcome = state.queues.load(*sequence).and_then(|pending| {
            if !is_replayed(state, &pending) {
                let (record, delete) = attempt(state, &pending, &mut seen);
                let message = message::parse(&pending.text, &mut Findings::default());
                if let Ok(message) = message {
                    status::tell(state, &message, &record);
                }
                state.records.add(record)?;
                if let Some(source) = delete {
                    source.delete(state)?;
                }
            }
            state.queues.done(pending.sequence)
        });
        if let Err(error) = outcome {
            eprintln!("kusto-local: {error}");
        }
    }
}

/// True when the rows of a message were committed before a kill kept it from being deleted.
fn is_replayed(state: &State, pending: &Pending) -> bool {
    let Ok(message) = message::parse(&pending.text, &mut Findings::default()) else { return false };
    let table = state.tables.get(&message.table_name);
    table.is_some_and(|table| table.committed().has_message(pending.sequence))
}

/// One message; the record of it, and the blob to delete.
fn attempt(state: &State, pending: &Pending, seen: &mut HashSet<String>) -> (Record, Option<Source>) {
    let mut findings = Findings::default();
    let mut record = blank(pending);
    let outcome = message::parse(&pending.text, &mut findings)
        .or_else(|details| reject("General_BadRequest", details))
        .and_then(|message| {
            if !seen.insert(message.blob_path.clone()) {
                let details = "The blob is in this batch already.";
                return reject("BlobAlreadyReceived_BlobAlreadyFoundInBatch", details);
            }
            ingest_message(state, pending, &message, &mut findings, &mut record)
        });
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
        message: message::shown(&pending.text),
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
    let source = Source::locate(state, &message.blob_path, findings)?;
    record.blob = Some(source.path());
    let table = authorize(state, message)?;
    let bad_request = |details| Rejected::new("General_BadRequest", details);
    let origin = Origin { message: Some(pending.sequence), tags: properties.tags().map_err(bad_request)? };
    let unless = properties.unless_tagged().map_err(bad_request)?;
    let committed = table.committed();
    let delete = message.retain_blob_on_success != Some(true);
    if unless.iter().any(|value| committed.has_tag(&format!("ingest-by:{value}"))) {
        record.status = Status::Skipped;
        record.details = Some("The table has an extent with this ingest-by tag.".to_owned());
        return Ok(delete.then_some(source));
    }
    let reading = reading_of(properties, &table)?;
    let file = source.open(state)?;
    record.blob_bytes = file.metadata().map_or(0, |metadata| metadata.len());
    if record.blob_bytes == 0 {
        return reject("BadRequest_EmptyBlob", "The blob is empty.");
    }
    let path = source.path();
    if path.ends_with(".zip") {
        return reject("BadFormat", "zip is not supported by kusto-local; use gzip.");
    }
    let mut load =
        Load { table: &table, reading, gzip: path.ends_with(".gz"), origin, measured: Measured::default() };
    let loaded = load.run(BufReader::with_capacity(BUFFER, file), &mut findings.complaints);
    record.uncompressed_bytes = load.measured.bytes;
    record.gzip_members = load.measured.members;
    record.rows = loaded?;
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
    Ok(delete.then_some(source))
}

/// Checks the identity token, the permission, the database and the table.
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
    if !state.permitted.load(Ordering::Relaxed) {
        return reject("BadRequest_TableAccessDenied", "The principal is not an ingestor.");
    }
    let table = state.tables.get(&message.table_name);
    let details = || format!("Table '{}' not found.", message.table_name);
    table.ok_or_else(|| Rejected { code: "BadRequest_TableNotExist", details: details() })
}

fn reading_of(properties: &Properties, table: &Table) -> Result<Reading, Rejected> {
    // The service's default is csv.
    let name = properties.format.as_deref().unwrap_or("csv");
    let details = || format!("Format '{name}' is not supported by kusto-local; use csv, json or multijson.");
    let format = Format::parse(name)
        .ok_or_else(|| Rejected { code: "BadRequest_FormatNotSupported", details: details() })?;
    let inline = properties.ingestion_mapping.as_deref().filter(|text| !text.is_empty());
    let mapping = match (inline, &properties.ingestion_mapping_reference) {
        (Some(text), _) => Some(text.to_owned()),
        (None, Some(name)) if !name.is_empty() => Some(referenced(table, format, name)?),
        _ => None,
    };
    let mapping = mapping.map(|text| mapping::parse(&text, format.is_json(), &table.columns)).transpose();
    let mapping = mapping.map_err(|details| Rejected { code: "BadRequest_InvalidMapping", details })?;
    Ok(Reading { format, mapping, skip_first: properties.skips_first() })
}

/// The text of the mapping of this name.
pub(crate) fn referenced(table: &Table, format: Format, name: &str) -> Result<String, Rejected> {
    let found = table.committed().mapping(format.is_json(), name).map(|mapping| mapping.text.clone());
    found.ok_or_else(|| {
        let details = format!("Mapping reference '{name}' was not found.");
        Rejected { code: "BadRequest_MappingReferenceWasNotFound", details }
    })
}

/// What was found while rows were read.
#[derive(Default, Clone, Copy)]
pub(crate) struct Measured {
    /// Uncompressed.
    pub(crate) bytes: u64,
    pub(crate) members: u64,
}

/// Records on their way into a table.
pub(crate) struct Load<'a> {
    pub(crate) table: &'a Table,
    pub(crate) reading: Reading,
    pub(crate) gzip: bool,
    pub(crate) origin: Origin,
    pub(crate) measured: Measured,
}

impl Load<'_> {
    /// Reads all records of `raw` into the table: either all rows are committed or none.
    pub(crate) fn run(
        &mut self,
        raw: impl BufRead + 'static,
        complaints: &mut Complaints,
    ) -> Result<u64, Rejected> {
        let (members, bytes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let plain: Box<dyn Read> =
            if self.gzip { Box::new(Gunzip::new(raw, Rc::clone(&members))) } else { Box::new(raw) };
        let counted = Counted { inner: plain, bytes: Rc::clone(&bytes), limit: limits::INGEST_BYTES };
        let mut input = BufReader::with_capacity(BUFFER, counted);
        let internal =
            |error: std::io::Error| Rejected::new("General_InternalServerError", error.to_string());
        let mut append = self.table.append().map_err(internal)?;
        let columns = &self.table.columns;
        let mapping = self.reading.mapping.as_deref();
        let mut writer = RowWriter { columns, mapping, out: &mut append.out, rows: 0, complaints };
        let copied =
            skip_byte_order_mark(&mut input).and_then(|()| rows::copy(&self.reading, input, &mut writer));
        let rows = writer.rows;
        self.measured = Measured { bytes: bytes.get(), members: members.get() };
        match copied {
            Err(details) if bytes.get() > limits::INGEST_BYTES => {
                return reject("BadRequest_FileTooLarge", details);
            }
            Err(details) => return reject("BadFormat", details),
            Ok(()) if rows == 0 => {
                return reject("BadRequest_NoRecordsOrWrongFormat", "The data has no records of its format.");
            }
            Ok(()) => {}
        }
        if !append.commit(rows, std::mem::take(&mut self.origin)).map_err(internal)? {
            return reject("BadRequest_TableNotExist", "The table was dropped.");
        }
        Ok(rows)
    }
}

/// A UTF-8 byte order mark is allowed in front of text formats.
fn skip_byte_order_mark(input: &mut impl BufRead) -> Result<(), String> {
    let start = input.fill_buf().map_err(|error| error.to_string())?;
    if start.starts_with("\u{feff}".as_bytes()) {
        input.consume("\u{feff}".len());
    }
    Ok(())
}
