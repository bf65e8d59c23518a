//! The engine: tables on disk and the worker which fills them from the queue.
//!
//! * [`schema`] - column types, and `.create table` columns as text;
//! * [`value`] - one JSON value into one column;
//! * [`rows`] - the records of a blob, one at a time;
//! * [`gunzip`] - decompression which counts members;
//! * [`table`] - a table's files, committed blob by blob;
//! * [`message`] - the ingestion message of the queue;
//! * [`record`] - what became of each message;
//! * [`mapping`] - which part of a record goes to which column;
//! * [`batch`] - which messages are ingested together, and when;
//! * [`source`] - where a message's blob is;
//! * [`status`] - what clients are told: status queues and status table;
//! * [`stream`] - streaming ingestion: rows without a message;
//! * [`ingest`] - the worker: message, blob, rows, record.

pub(crate) mod batch;
pub(crate) mod gunzip;
pub(crate) mod ingest;
pub(crate) mod mapping;
pub(crate) mod message;
pub(crate) mod record;
pub(crate) mod rows;
pub(crate) mod schema;
pub(crate) mod source;
pub(crate) mod status;
pub(crate) mod stream;
pub(crate) mod table;
pub(crate) mod value;
