//! Counters. Written with relaxed atomics where things happen, read by whoever shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// Records that were dropped.
    pub dropped_records: Counter,
    /// Records in scheduled retries.
    pub retried_records: Counter,
    /// What the output counts itself.
    pub own: Own,
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
}
