//! What all parts of the server share, and the counters of `GET /local/stats`.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::azurite::Azurite;
use crate::engine::record::Records;
use crate::engine::rows::Complaints;
use crate::engine::table::{Batching, Tables};
use crate::faults::{Faults, Kind};
use crate::http::{self as web, Params, Reply};
use crate::limits;
use crate::options::Metadata;
use crate::secrets::{Identity, Signer};
use crate::storage::blob::Blobs;
use crate::storage::queue::Queues;
use crate::storage::status::Statuses;

/// The server's state; everything in it that changes is on disk as well, but the fault script and counters.
pub(crate) struct State {
    /// Scheme, host and port clients use.
    pub(crate) base_url: String,
    pub(crate) identity: Identity,
    pub(crate) signer: Signer,
    pub(crate) token_lifetime: Duration,
    pub(crate) sas_lifetime: Duration,
    pub(crate) short_sas: bool,
    pub(crate) plain_http: bool,
    pub(crate) database: String,
    pub(crate) tables: Tables,
    pub(crate) records: Records,
    pub(crate) queues: Queues,
    pub(crate) blobs: Blobs,
    pub(crate) statuses: Statuses,
    /// The storage in place of this server's own.
    pub(crate) azurite: Option<Arc<Azurite>>,
    /// For tables without a policy of their own.
    pub(crate) batching: Batching,
    /// Whether the client's principal may ingest.
    pub(crate) permitted: AtomicBool,
    pub(crate) streamed: Streamed,
    pub(crate) seen: Seen,
    pub(crate) metadata: Metadata,
    /// Contents of the file are what a federated token must be.
    pub(crate) federated_token_file: PathBuf,
    pub(crate) faults: Faults,
    pub(crate) requests: Requests,
    /// Holds the lock on the folder until the last user of it, an ingestion under way, has ended.
    pub(crate) _lock: File,
}

/// The last requests, for whoever compares clients: without tokens and signatures.
#[derive(Default)]
pub(crate) struct Seen(Mutex<VecDeque<Value>>);

impl Seen {
    /// Keeps the head of a request.
    pub(crate) fn add(&self, kind: Kind, head: &http::request::Parts) {
        let headers: Map<String, Value> = head
            .headers
            .iter()
            .map(|(name, value)| {
                let value = String::from_utf8_lossy(value.as_bytes());
                let shown = if name == "authorization" {
                    value.split(' ').next().unwrap_or_default()
                } else {
                    &value
                };
                (name.to_string(), json!(shown))
            })
            .collect();
        let query = Params::parse(head.uri.query().unwrap_or_default().as_bytes());
        let request = json!({
            "kind": kind, "method": head.method.as_str(), "path": head.uri.path(), "query": query.names(), "headers": headers,
        });
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= limits::REQUESTS {
            seen.pop_front();
        }
        seen.push_back(request);
    }

    /// `GET /local/requests`.
    pub(crate) fn to_json(&self) -> Reply {
        web::json(StatusCode::OK, &json!(*self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What came by streaming ingestion since the start of the process.
#[derive(Default)]
pub(crate) struct Streamed {
    requests: AtomicU64,
    rows: AtomicU64,
    bytes: AtomicU64,
    complaints: AtomicU64,
}

impl Streamed {
    /// Counts a request that was ingested.
    pub(crate) fn add(&self, rows: u64, bytes: u64, complaints: Complaints) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        for text in &complaints.texts {
            eprintln!("kusto-local: a stream: {text}");
        }
        self.complaints.fetch_add(complaints.texts.len() as u64 + complaints.more, Ordering::Relaxed);
    }

    fn to_json(&self) -> Value {
        json!({
            "requests": self.requests.load(Ordering::Relaxed),
            "rows": self.rows.load(Ordering::Relaxed),
            "bytes": self.bytes.load(Ordering::Relaxed),
            "complaints": self.complaints.load(Ordering::Relaxed),
        })
    }
}

/// Counts of requests since the start of the process.
#[derive(Default)]
pub(crate) struct Requests {
    all: [AtomicU64; Kind::ALL.len()],
    refused: [AtomicU64; Kind::ALL.len()],
    faults: AtomicU64,
}

impl Requests {
    /// Counts a request when it arrives.
    pub(crate) fn arrived(&self, kind: Kind) {
        self.all[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer of 4xx or 5xx.
    pub(crate) fn refused(&self, kind: Kind) {
        self.refused[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a scripted fault which took effect.
    pub(crate) fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
    }

    fn to_json(&self, counters: &[AtomicU64]) -> Value {
        let pairs = Kind::ALL.iter().map(|kind| {
            let name = json!(kind).as_str().unwrap_or_default().to_owned();
            (name, json!(counters[*kind as usize].load(Ordering::Relaxed)))
        });
        Value::Object(pairs.collect::<Map<_, _>>())
    }
}

impl State {
    /// Host and port clients use.
    pub(crate) fn authority(&self) -> &str {
        self.base_url.split_once("://").map_or(&self.base_url, |(_, authority)| authority)
    }

    /// `GET /local/recent`: the last ingestions, newest first.
    pub(crate) fn recent(&self) -> Reply {
        web::json(StatusCode::OK, &json!(self.records.latest(limits::RECENT)))
    }

    /// `GET /local/stats`.
    pub(crate) fn stats(&self) -> Reply {
        let tables: Map<String, Value> = self
            .tables
            .list()
            .iter()
            .map(|table| {
                let committed = table.committed();
                (table.name.clone(), json!({ "rows": committed.rows, "bytes": committed.bytes }))
            })
            .collect();
        let blobs = self.blobs.count().unwrap_or_default();
        web::json(
            StatusCode::OK,
            &json!({
                "tables": tables,
                "requests": self.requests.to_json(&self.requests.all),
                "refused": self.requests.to_json(&self.requests.refused),
                "faults": self.requests.faults.load(Ordering::Relaxed),
                "blobs": blobs,
                "queued": self.queues.len(),
                "ingestions": self.records.totals(),
                "streamed": self.streamed.to_json(),
            }),
        )
    }
}
