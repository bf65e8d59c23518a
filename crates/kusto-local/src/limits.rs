//! Every bound of the server in one place. Nothing a client sends grows memory beyond these.
//!
//! The storage limits are the ones Microsoft documents ("Scalability and performance targets for Blob
//! Storage", "... for Queue Storage", "Kusto ingestion: supported data formats" and "Ingestion limits"), so
//! that a client which stays inside them here also does so in Azure.

use std::time::Duration;

/// Connections served at once; further ones wait in the kernel's backlog.
pub(crate) const CONNECTIONS: usize = 256;
/// A client which does not finish the TLS handshake gives its place back after this time.
pub(crate) const TLS_HANDSHAKE: Duration = Duration::from_secs(10);
/// A kept-alive connection without a next request is closed after this time.
pub(crate) const IDLE: Duration = Duration::from_secs(120);
/// A body of which nothing comes for so long is given up.
pub(crate) const SILENCE: Duration = Duration::from_secs(60);
/// The `hang` fault ends here when the client does not give up first.
pub(crate) const HANG: Duration = Duration::from_secs(600);
/// What is read and thrown away of a refused upload, so that the client gets to read the answer.
pub(crate) const DRAIN: u64 = 64 << 20;

/// How often, and how long apart, a folder's lock is asked for.
pub(crate) const LOCK_TRIES: u32 = 20;
/// See [`LOCK_TRIES`].
pub(crate) const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Form of a token request.
pub(crate) const TOKEN_BODY: usize = 64 << 10;
/// Body of a management command, a query or a fault script.
pub(crate) const COMMAND_BODY: usize = 1 << 20;
/// One Put Blob ("Put Blob", 5,000 MiB since service version 2019-12-12).
pub(crate) const BLOB_BODY: u64 = 5000 << 20;
/// One Put Block ("Put Block", 4,000 MiB since service version 2019-12-12).
pub(crate) const BLOCK_BODY: u64 = 4000 << 20;
/// Blocks of one blob.
pub(crate) const BLOCKS: usize = 50_000;
/// A block list naming [`BLOCKS`] ids of the greatest length, with its tags.
pub(crate) const BLOCK_LIST_BODY: usize = 8 << 20;
/// Text of one queue message, after base64.
pub(crate) const MESSAGE_TEXT: usize = 64 << 10;
/// A queue message with the XML around it.
pub(crate) const MESSAGE_BODY: usize = MESSAGE_TEXT + (4 << 10);
/// Messages waiting for the engine; a post beyond it gets 503 ServerBusy.
pub(crate) const QUEUED_MESSAGES: usize = 100_000;

/// Uncompressed size of one blob the engine accepts.
pub(crate) const INGEST_BYTES: u64 = 6 << 30;
/// One record of a blob.
pub(crate) const RECORD_BYTES: u64 = 64 << 20;
/// One value of a `dynamic` column; a larger one is stored as null.
pub(crate) const DYNAMIC_BYTES: usize = 1 << 20;
/// One value of a `string` column; a larger one is cut.
pub(crate) const STRING_BYTES: usize = 1 << 20;
/// Columns of one table.
pub(crate) const COLUMNS: usize = 1024;
/// Tables of the database.
pub(crate) const TABLES: usize = 1024;
/// Length of a table or column name.
pub(crate) const NAME_BYTES: usize = 128;

/// Extents that a table knows of: their tags count as long as they are known.
pub(crate) const EXTENTS: usize = 500;
/// Queue messages whose commit a table remembers. A message is deleted right after its commit, so that a kill
/// leaves one of them behind.
pub(crate) const REMEMBERED_MESSAGES: usize = 64;
/// Mappings of one table.
pub(crate) const MAPPINGS: usize = 200;
/// Groups of one `summarize`.
pub(crate) const GROUPS: usize = 2_000_000;

/// What one streaming request may hold, uncompressed ("Streaming ingestion: limitations").
pub(crate) const STREAM_BYTES: u64 = 4 << 20;
/// The same as it is sent.
pub(crate) const STREAM_BODY: usize = 10 << 20;

/// Bytes of an entity of the status table, as JSON.
pub(crate) const ENTITY_BYTES: usize = 32 << 10;
/// The longest time that a message stays hidden from others than its reader ("Get Messages", seven days).
pub(crate) const HIDDEN: Duration = Duration::from_secs(7 * 86_400);
/// Status messages kept in a queue, and entities in the status table; the oldest go.
pub(crate) const STATUSES: usize = 10_000;

/// Rows of one answer, as Kusto's own query limit.
pub(crate) const QUERY_ROWS: u64 = 500_000;
/// Bytes of one answer, as Kusto's own query limit.
pub(crate) const QUERY_BYTES: usize = 64 << 20;

/// Ingestion records kept in memory.
pub(crate) const RECORDS: usize = 10_000;
/// The file of ingestion records is put aside (one generation) at this size.
pub(crate) const RECORD_FILE: u64 = 64 << 20;
/// Complaints kept in one ingestion record; the rest is counted.
pub(crate) const COMPLAINTS: usize = 20;
/// The longest scripted delay.
pub(crate) const FAULT_DELAY_MS: u64 = 600_000;
/// Scripted faults.
pub(crate) const FAULTS: usize = 64;
/// Ingestions on the page.
pub(crate) const RECENT: usize = 50;
/// Messages and uncompressed megabytes of a batch, unless a table's policy says otherwise.
pub(crate) const BATCH_ITEMS: u64 = 500;
/// See [`BATCH_ITEMS`].
pub(crate) const BATCH_MB: u64 = 1024;
/// Requests whose heads are kept for `GET /local/requests`.
pub(crate) const REQUESTS: usize = 200;
