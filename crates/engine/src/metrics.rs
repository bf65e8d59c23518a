//! Counters. Written with relaxed atomics where things happen, read by whoever shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
