//! Counters. Written with relaxed atomics where things happen, read by whoever shows them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use budget::Account;

use crate::plugin::Output;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, value: usize) {
        self.0.fetch_add(value as u64, Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds.
    pub fn add(&self, value: usize) {
        self.0.fetch_add(value as u64, Ordering::Relaxed);
    }

    /// Takes away what was added.
    pub fn sub(&self, value: usize) {
        self.0.fetch_sub(value as u64, Ordering::Relaxed);
    }

    /// Reads.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why records were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The destination refuses them for good.
    Rejected,
    /// The last retry that `retry_limit` allows has failed.
    RetryLimit,
    /// They made room for newer ones.
    Evicted,
    /// No output takes their tag.
    Unrouted,
    /// What was stored of them cannot be read any more.
    Unreadable,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 5] =
        [Reason::Rejected, Reason::RetryLimit, Reason::Evicted, Reason::Unrouted, Reason::Unreadable];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Rejected => "rejected",
            Reason::RetryLimit => "retry_limit",
            Reason::Evicted => "evicted",
            Reason::Unrouted => "unrouted",
            Reason::Unreadable => "unreadable",
        }
    }
}

/// Records that were dropped, by reason.
#[derive(Debug, Default)]
pub struct Dropped([Counter; Reason::ALL.len()]);

impl Dropped {
    /// Counts.
    pub fn add(&self, reason: Reason, records: usize) {
        self.0[reason as usize].add(records);
    }

    /// Those of one reason.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize].get()
    }

    /// All of them.
    pub fn get(&self) -> u64 {
        self.0.iter().map(Counter::get).sum()
    }
}

/// A number that a plugin counts itself, for the monitoring API.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The name that it is shown by.
    pub name: &'static str,
    /// One line for the help.
    pub help: &'static str,
    /// Whether it only grows.
    pub counter: bool,
    /// A label beside the instance's name, and its value.
    pub label: Option<(&'static str, &'static str)>,
    /// The number.
    pub value: u64,
}

impl Figure {
    /// A number that only grows.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Figure {
        Figure { name, help, counter: true, label: None, value }
    }

    /// A number that goes up and down.
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Figure {
        Figure { name, help, counter: false, label: None, value }
    }

    /// The same with a label.
    pub fn label(self, name: &'static str, value: &'static str) -> Figure {
        Figure { label: Some((name, value)), ..self }
    }
}

/// Whom to ask for the figures of an instance.
#[derive(Clone, Default)]
pub struct Own(pub Option<Arc<dyn Output>>);

impl Own {
    /// The figures as they are now.
    pub fn figures(&self) -> Vec<Figure> {
        self.0.as_ref().map(|output| output.figures()).unwrap_or_default()
    }
}

impl std::fmt::Debug for Own {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Own")
    }
}

/// An input's counters.
#[derive(Debug, Default)]
pub struct InputMetrics {
    /// The instance's name.
    pub name: String,
    /// Records taken.
    pub records: Counter,
    /// Bytes taken, as msgpack.
    pub bytes: Counter,
    /// Records that filters added: `records + added = removed + stored`.
    pub added: Counter,
    /// Records that filters removed.
    pub removed: Counter,
    /// Records that went into chunks.
    pub stored: Counter,
    /// Datagrams and records that it had to drop because there was no room.
    pub dropped: Counter,
    /// Chunks that made room for newer ones, with `storage.type memrb`.
    pub ring_dropped_chunks: Counter,
}

/// A filter's counters.
#[derive(Debug, Default)]
pub struct FilterMetrics {
    /// The instance's name.
    pub name: String,
    /// Records seen.
    pub records: Counter,
    /// Records added.
    pub added: Counter,
    /// Records removed.
    pub dropped: Counter,
    /// Records sent under another tag.
    pub emitted: Counter,
}

/// An output's counters.
#[derive(Debug, Default)]
pub struct OutputMetrics {
    /// The instance's name.
    pub name: String,
    /// Records delivered.
    pub records: Counter,
    /// Bytes delivered, as msgpack.
    pub bytes: Counter,
    /// Batches that were refused for good.
    pub errors: Counter,
    /// Retries scheduled.
    pub retries: Counter,
    /// Batches given up after the last retry.
    pub retries_failed: Counter,
    /// Records that it was to deliver: `routed = records + dropped + held`.
    pub routed: Counter,
    /// Records that are neither delivered nor dropped yet.
    pub held: Gauge,
    /// Records that were dropped.
    pub dropped_records: Counter,
    /// The same by reason.
    pub dropped: Dropped,
    /// Records in scheduled retries.
    pub retried_records: Counter,
    /// What the output counts itself.
    pub own: Own,
}

impl Metrics {
    /// The counters of the input of this name, which go on after a reload, or new ones.
    pub(crate) fn input(before: Option<&Metrics>, name: &str) -> Arc<InputMetrics> {
        let known = before.and_then(|metrics| metrics.inputs.iter().find(|input| input.name == name));
        known
            .cloned()
            .unwrap_or_else(|| Arc::new(InputMetrics { name: name.to_owned(), ..Default::default() }))
    }

    /// The same for a filter.
    pub(crate) fn filter(before: Option<&Metrics>, name: &str) -> Arc<FilterMetrics> {
        let known = before.and_then(|metrics| metrics.filters.iter().find(|filter| filter.name == name));
        known
            .cloned()
            .unwrap_or_else(|| Arc::new(FilterMetrics { name: name.to_owned(), ..Default::default() }))
    }
}

impl Counter {
    /// Goes on where another one stopped.
    fn go_on(&self, from: &Counter) {
        self.0.fetch_add(from.get(), Ordering::Relaxed);
    }
}

impl OutputMetrics {
    /// Goes on where those of the instance before a reload stopped.
    pub(crate) fn go_on(&self, from: &OutputMetrics) {
        for (new, old) in [
            (&self.records, &from.records),
            (&self.bytes, &from.bytes),
            (&self.errors, &from.errors),
            (&self.retries, &from.retries),
            (&self.retries_failed, &from.retries_failed),
            (&self.routed, &from.routed),
            (&self.dropped_records, &from.dropped_records),
            (&self.retried_records, &from.retried_records),
        ] {
            new.go_on(old);
        }
        for (new, old) in self.dropped.0.iter().zip(&from.dropped.0) {
            new.go_on(old);
        }
        self.held.add(from.held.get() as usize);
    }
}

impl Metrics {
    /// Goes on where those of the pipeline before a reload stopped. Those of its inputs and filters are the same
    /// ones.
    pub(crate) fn go_on(&self, from: &Metrics) {
        for new in &self.outputs {
            if let Some(old) = from.outputs.iter().find(|old| old.name == new.name) {
                new.go_on(old);
            }
        }
        self.unrouted_records.go_on(&from.unrouted_records);
    }
}

/// Chunks, and what became of those on the disk.
#[derive(Debug, Default)]
pub struct StorageMetrics {
    /// Chunks that are in memory only.
    pub memory_chunks: Gauge,
    /// Chunks on the disk that the agent knows by name; more may wait there.
    pub stored_chunks: Gauge,
    /// Those of them that are in memory too.
    pub stored_up: Gauge,
    /// Records that were found on the disk.
    pub found_records: Counter,
    /// Dropped records that were kept as files.
    pub kept_records: Counter,
    /// Records that were lost on the disk.
    pub lost: Arc<Dropped>,
    /// Pays for what is read from the disk; a reload goes on with it.
    pub(crate) account: OnceLock<Account>,
}

/// All counters of a pipeline.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By input, in the order of the configuration.
    pub inputs: Vec<Arc<InputMetrics>>,
    /// By filter.
    pub filters: Vec<Arc<FilterMetrics>>,
    /// By output.
    pub outputs: Vec<Arc<OutputMetrics>>,
    /// Records that no output takes.
    pub unrouted_records: Counter,
    /// Numbers that inputs and emitters have used up.
    pub(crate) numbers: usize,
    /// Chunks.
    pub storage: Arc<StorageMetrics>,
}

/// The counters of the pipeline, which are there as soon as all of its instances are open. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<OnceLock<Arc<Metrics>>>);

impl Counters {
    pub(crate) fn set(&self, metrics: Arc<Metrics>) {
        // Each pipeline has its own, and sets it once.
        let _set = self.0.set(metrics);
    }

    /// The counters.
    pub fn get(&self) -> Option<&Metrics> {
        self.0.get().map(Arc::as_ref)
    }
}
