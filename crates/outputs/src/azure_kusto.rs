//! Sends records to Azure Data Explorer (Kusto) by queued ingestion.
//!
//! ```text
//! [OUTPUT]
//!     name                azure_kusto
//!     match               *
//!     tenant_id           00000000-0000-0000-0000-000000000000
//!     client_id           11111111-1111-1111-1111-111111111111
//!     client_secret       ${KUSTO_SECRET}
//!     ingestion_endpoint  https://ingest-mycluster.westeurope.kusto.windows.net
//!     database_name       logs
//!     table_name          Logs
//! ```
//!
//! A record becomes one line of JSON,
//! `{"timestamp":"2026-11-23T20:35:46.123Z","tag":"app.log","log":{...}}`, so the table wants the columns
//! `timestamp:datetime`, `tag:string` and `log:dynamic`, or a JSON mapping named by
//! `ingestion_mapping_reference`. The lines of a batch are compressed into one blob, which is stored block by
//! block as it is written; a message in a queue of the cluster then names the blob, and from there the cluster
//! ingests it, by default within five minutes.
//!
//! A batch is delivered when the queue has accepted the message. Delivery is at least once: a message whose
//! acceptance was not heard of may be posted twice. The name of the blob and the id of the message follow from
//! the batch; with `ingest_by_tags on` the cluster is told to take each id once. Each try of a batch turns to a
//! container and queue of the best accounts, so that one that is out of order holds up nothing; when a blob was stored
//! but the answer was not heard of, it may stay behind in the first container, where no message names it.
//!
//! Nothing is dropped for a missing permission, database or table: the batch is held, with an alarm, and tried again
//! until somebody has put it right. What the cluster finds wrong after it has taken the message is noticed as well: while
//! messages are on their way, the engine is asked whether the table is there and what has failed, and what failed for
//! want of a table, a mapping or a permission is posted again (`check_ingestion`). Records that the cluster refuses for
//! good are named in the log, with the cluster's own code; their blob stays in storage for a while.
//!
//! # Streaming
//!
//! With `streaming_ingestion_enabled on` a batch goes straight to the cluster's engine, and its rows are there within
//! seconds. What is too large for a stream, and what comes while the cluster is too busy or does not stream into the
//! table, is queued. A stream whose answer was lost is sent again, so its records may be there twice; this is counted.
//!
//! # Buffering
//!
//! The cluster likes blobs of hundreds of megabytes. With `buffering_enabled on` batches are compressed into a file in
//! `buffer_dir`, and are settled when they are on disk; a file of `upload_file_size` bytes, before compression, or older
//! than `upload_timeout`, becomes one blob. A stop uploads what is there as far as `grace` allows; what it leaves, and what
//! a crash left, is uploaded by the next run. A reload hands the folder to the next output.
//!
//! # Identities
//!
//! `auth_type` is `service_principal`, `managed_identity` (of a machine or of App Service) or `workload_identity`. All
//! lanes share one token, which is renewed five minutes before it ends, and dropped once when it is refused.
//!
//! # Memory
//!
//! An upload holds one megabyte, the compressor and a block of text, whatever the size of the blob: 1.5 MB. The file
//! that is being written holds the compressor, a block and a page. All of it is set aside when the output opens.
//!
//! # In the source
//!
//! The life of a batch, in the order of the modules: `options`, `identity` (a token for the cluster), `resources` (which
//! containers and queues) with `ranking` (which of them first), `lines` (records to compressed text), `stream` or
//! `storage` (blob and message), led by `upload`, with `message` (what the message says), `watch` (what became of it),
//! `commands` (questions to the cluster), `fault` (what follows from an error) and `counts` (metrics and alarms). With buffering, `spool` writes files, `journal` knows how much of them
//! counts, `folder` whose they are, and `ship` uploads them.

use std::cell::Cell;
use std::sync::Arc;

use ::options::{Options as _, Reader};
use engine::{Batch, Drive, Ending, Figure, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use net::client::{Client, Settings, Tls};

mod commands;
mod counts;
mod fault;
mod folder;
mod identity;
mod journal;
mod lines;
mod message;
mod options;
mod ranking;
mod resources;
mod ship;
mod spool;
mod storage;
mod stream;
mod transport;
mod upload;
mod watch;

use crate::payload::Slots;
use commands::{Commands, RESPONSE_BYTES};
use counts::Counts;
use identity::Identity;
use lines::Lines;
use options::KustoOptions;
use ranking::Ranking;
use resources::Directory;
use spool::Spool;
use stream::Streams;
use upload::{Target, Uploaded};
use watch::Watch;

/// The `azure_kusto` output.
pub static DEF: OutputDef = OutputDef {
    name: "azure_kusto",
    about: "Sends records to Azure Data Explorer (Kusto)",
    specs: KustoOptions::specs,
    open,
};

/// Batches on their way at a time: one is compressed while the other waits for the network.
const CONCURRENCY: usize = 2;

/// Bytes of records in one blob. Fewer, larger blobs are what the cluster likes; their size costs
/// no memory beyond the records', because a blob is stored block by block.
const BATCH_BYTES: usize = 16_000_000;

/// The same when batches are streamed: as JSON, such a batch is well within the four megabytes of a stream.
const STREAM_BYTES: usize = 2_000_000;

/// Bytes of one block of a blob, which are set aside for each upload. A blob that is not larger is stored with
/// one request, any other one with a request for each block and one for their list.
const BLOB_BLOCK: usize = 1 << 20;

/// The accounts of the uploads.
const UPLOADS: [&str; CONCURRENCY] = ["upload.0", "upload.1"];

/// What all lanes share.
struct Kusto {
    /// The instance, for log lines.
    name: String,
    slots: Slots,
    lines: Lines,
    directory: Directory,
    ranking: Ranking,
    target: Target,
    uploaded: Uploaded,
    counts: Arc<Counts>,
    /// With streaming.
    streams: Option<Streams>,
    /// With buffering.
    spool: Option<Spool>,
    watch: Option<Watch>,
    /// Of the clients that carry blobs, messages and streams, one per lane.
    settings: Settings,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let options = KustoOptions::read(reader)?;
    let endpoint = options::endpoint(&options.ingestion_endpoint).ok()?;
    let tls = Tls::trusting(&options.trust)
        .map_err(|refused| reader.refuse(refused.option, refused.what, None))
        .ok()?;
    let mut settings =
        Settings { exchange_timeout: options.io_timeout.0, tls: Some(tls), ..Settings::default() };
    options.net.apply(&mut settings);
    // One client for what is asked rarely. It keeps no connection, so any lane may use it.
    let control = Client::new(Settings {
        connect_timeout: options.ingestion_endpoint_connect_timeout.0,
        idle: 0,
        response_bytes: RESPONSE_BYTES,
        ..settings.clone()
    });
    let identity = Identity::new(&setup.name, &options, &endpoint, control.clone())
        .map_err(|refused| reader.refuse(refused.option, refused.what, None))
        .ok()?;
    let (identity, counts) = (Arc::new(identity), Arc::new(Counts::default()));
    let lines = Lines::new(&options, setup.escape_unicode);
    let buffering = options.buffer.buffering_enabled;
    // A file is compressed already, and files are uploaded one after the other.
    let slots = match buffering {
        true => Slots::open(&UPLOADS[..1], BLOB_BLOCK, None, setup, reader)?,
        false => Slots::open(&UPLOADS, BLOB_BLOCK, lines.gzip(), setup, reader)?,
    };
    let spool = match buffering {
        true => Some(Spool::open(&options.buffer, &lines, Arc::clone(&counts), setup, reader)?),
        false => None,
    };
    let streams = options
        .streaming_ingestion_enabled
        .then(|| Streams::new(&setup.name, &options, Arc::clone(&identity), Arc::clone(&counts)))
        .transpose()
        .map_err(|what| reader.refuse("engine_endpoint", what, None))
        .ok()?;
    let interval = options.ingestion_resources_refresh_interval.0;
    let commands = |endpoint| Commands {
        endpoint,
        client: control.clone(),
        identity: Arc::clone(&identity),
        counts: Arc::clone(&counts),
    };
    let engine = options.engine().ok().filter(|_| options.check_ingestion);
    let watch = engine.map(|url| Watch::new(&setup.name, &options, commands(url), Arc::clone(&counts)));
    Some(Arc::new(Kusto {
        name: setup.name.clone(),
        slots,
        lines,
        directory: Directory::new(&setup.name, commands(endpoint), interval),
        ranking: Ranking::default(),
        target: Target::new(&options),
        uploaded: Uploaded::default(),
        watch,
        counts,
        streams,
        spool,
        settings,
    }))
}

impl Output for Kusto {
    fn drive(&self) -> Drive {
        // A lane, because compressing sixteen megabytes takes some tenths of a second of the core thread.
        let concurrency = if self.spool.is_some() { 1 } else { CONCURRENCY };
        let batch_bytes = if self.streams.is_some() { STREAM_BYTES } else { BATCH_BYTES };
        Drive { lanes: 1, concurrency, batch_bytes, batch_chunks: 1024 }
    }

    fn start(&self) -> Result<(), String> {
        self.spool.as_ref().map_or(Ok(()), Spool::start)
    }

    fn figures(&self) -> Vec<Figure> {
        self.counts.figures()
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        let client = Client::new(self.settings.clone());
        let watching = Task(tokio::task::spawn_local(watch::run(Arc::clone(&self), client.clone())));
        let shipping = self.spool.as_ref().map(|_| {
            let shipping = ship::run(Arc::clone(&self), client.clone());
            Task(tokio::task::spawn_local(shipping))
        });
        Box::new(Lane { kusto: self, client, shipping: Cell::new(shipping), _watching: watching })
    }
}

struct Lane {
    kusto: Arc<Kusto>,
    client: Client,
    /// With buffering, until the lane finishes.
    shipping: Cell<Option<Task>>,
    _watching: Task,
}

/// What a lane does beside batches; it ends with the lane.
struct Task(tokio::task::JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(async {
            match &self.kusto.spool {
                Some(spool) => spool.append(&self.kusto.lines, batch).await,
                None => upload::deliver(&self.kusto, &self.client, batch).await,
            }
        })
    }

    fn finish<'a>(&'a self, ending: &'a Ending) -> Local<'a, ()> {
        Box::pin(async {
            let Some(spool) = &self.kusto.spool else { return };
            spool.finish().await;
            if let Some(mut shipping) = self.shipping.take() {
                tokio::select! {
                    _done = &mut shipping.0 => {}
                    () = ending.over() => {}
                }
            }
            spool.leave(&self.kusto.name);
        })
    }
}
