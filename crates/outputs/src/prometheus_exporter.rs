//! Shows metrics to Prometheus: the last ones of each input, at `/metrics`.
//!
//! ```text
//! [INPUT]
//!     name fluentbit_metrics
//! [OUTPUT]
//!     name      prometheus_exporter
//!     match     *
//!     port      2021
//!     add_label app weir
//! ```

use std::cell::Cell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use budget::{Account, Lease, Share};
use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use event::Signal;
use formats::metrics;
use net::server::{Accounts, Answer, Begin, Body, Head, Lanes, Server, Service, Settings};
use options::{Options, Reader, Words};

use crate::payload::unwritten;

/// The `prometheus_exporter` output.
pub static DEF: OutputDef = OutputDef {
    name: "prometheus_exporter",
    about: "Shows metrics to Prometheus",
    specs: ExporterOptions::specs,
    open,
};

/// Connections of those who look.
const CONNECTIONS: usize = 32;

/// Pages that their requests are read into, which are set aside.
const REQUEST_PAGES: usize = 8;

/// Bytes that the texts of all inputs may have, and what is set aside of them.
const TEXTS: usize = 16 << 20;
const TEXTS_AT_LEAST: usize = 256 << 10;

/// How long a client may be silent, in any way.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Options)]
struct ExporterOptions {
    /// Address to listen on.
    #[option(default = "0.0.0.0")]
    host: String,
    /// Port to listen on.
    #[option(default = "2021")]
    port: u16,
    /// Show the time of each sample.
    #[option(default = "off")]
    add_timestamp: bool,
    /// A label to add to each sample: its name, then its value.
    add_label: Vec<Words<2>>,
}

struct Exporter {
    host: String,
    port: u16,
    times: bool,
    added: Vec<(String, String)>,
    listener: Mutex<Option<TcpListener>>,
    shown: Arc<Shown>,
    texts: Account,
    requests: Account,
}

/// What is shown: the last text of each input, and its lease.
#[derive(Default)]
struct Shown(Mutex<BTreeMap<usize, (String, Lease)>>);

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let options = ExporterOptions::read(reader)?;
    let requests = Share::fixed(REQUEST_PAGES * setup.budget.page_size());
    Some(Arc::new(Exporter {
        host: options.host,
        port: options.port,
        times: options.add_timestamp,
        added: options.add_label.iter().map(|label| (label[0].clone(), label[1].clone())).collect(),
        listener: Mutex::new(None),
        shown: Arc::default(),
        texts: setup.account("texts", Share { guaranteed: TEXTS_AT_LEAST, max: TEXTS }, reader)?,
        requests: setup.account("requests", requests, reader)?,
    }))
}

impl Output for Exporter {
    fn drive(&self) -> Drive {
        Drive { lanes: 1, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn signals(&self) -> &'static [Signal] {
        &[Signal::Metrics]
    }

    fn start(&self) -> Result<(), String> {
        let listener = net::listener::bind(&self.host, self.port)?;
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
        Ok(())
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        let listener = listener.and_then(|listener| {
            let registered = tokio::net::TcpListener::from_std(listener);
            registered
                .map_err(|error| tracing::error!("[output:prometheus_exporter] cannot listen: {error}"))
                .ok()
        });
        let serving = listener.map(|listener| {
            let service = Metrics(Arc::clone(&self.shown));
            let settings = Settings {
                accept: WAIT,
                idle: WAIT,
                head: WAIT,
                body: WAIT,
                rate: 0,
                keep_alive: true,
                http2: false,
                tls: None,
            };
            let account = self.requests.clone();
            let accounts = Accounts {
                connections: account.clone(),
                active: account.clone(),
                receive: account,
                small: None,
            };
            Serving(tokio::task::spawn_local(async move {
                let lanes = Lanes::new(CONNECTIONS);
                Server::new(service, settings, accounts).serve(listener, lanes, std::future::pending()).await;
            }))
        });
        Box::new(Lane { exporter: self, _serving: serving })
    }
}

/// The server, which ends with the lane.
struct Serving(tokio::task::JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Lane {
    exporter: Arc<Exporter>,
    _serving: Option<Serving>,
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Nobody looks any more.
        self.exporter.shown.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(std::future::ready(self.exporter.take(batch)))
    }
}

impl Exporter {
    /// Of several maps of an input the last counts.
    fn take(&self, batch: &Batch) -> Outcome {
        for part in &batch.parts {
            let text = Cell::new(String::new());
            let read = part.cursor().and_then(|mut cursor| {
                for _ in 0..part.records() {
                    let mut page = String::new();
                    metrics::decode(&mut cursor, |family| {
                        metrics::prometheus(
                            std::slice::from_ref(&family),
                            &self.added,
                            self.times,
                            &mut page,
                        );
                    })?;
                    text.set(page);
                }
                Ok(())
            });
            if let Err(corrupt) = read {
                return unwritten(corrupt.into(), batch);
            }
            let text = text.take();
            let mut shown = self.shown.0.lock().unwrap_or_else(PoisonError::into_inner);
            // The new text takes the place of the old one.
            shown.remove(&part.input());
            let Ok(lease) = self.texts.try_lease(text.capacity()) else {
                let why = format!("a text of {} bytes has no room beside those of other inputs", text.len());
                return Outcome::Reject { why };
            };
            shown.insert(part.input(), (text, lease));
        }
        Outcome::Done
    }
}

/// The page.
struct Metrics(Arc<Shown>);

/// Requests here have no body.
struct NoBody(Infallible);

impl Body for NoBody {
    async fn data(&mut self, _piece: &[u8]) -> Result<(), Answer> {
        match self.0 {}
    }

    async fn end(self) -> Answer {
        match self.0 {}
    }
}

impl Service for Metrics {
    type Body = NoBody;

    fn begin(&self, head: &Head<'_>) -> Begin<NoBody> {
        if !["GET", "HEAD"].contains(&head.method) {
            return Begin::Answer(Answer::status(405).header("Allow", "GET, HEAD"));
        }
        Begin::Answer(match head.path() {
            "/metrics" => {
                let shown = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
                let body = shown.values().map(|(text, _)| text.as_str()).collect::<String>();
                let typed = Answer::status(200).header("Content-Type", "text/plain; version=0.0.4");
                Answer { body, ..typed }
            }
            "/" => Answer::text(200, "metrics are at /metrics"),
            _ => Answer::status(404),
        })
    }
}
