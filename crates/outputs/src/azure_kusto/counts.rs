//! What is counted beside the engine's own counters, and the alarms.
//!
//! | name | label | |
//! |---|---|---|
//! | `weir_azure_kusto_faults_total` | `cause` | requests that failed: `unavailable` (no answer, 5xx), `throttled` (429), `token` (401), `signature` (storage refuses, resources are asked for anew), `held` (a permission, a table or the like is missing), `too_large` (413), `data` (the cluster refuses records for good) |
//! | `weir_azure_kusto_blobs_total` | | blobs whose message a queue has accepted |
//! | `weir_azure_kusto_streams_total` | | batches taken by streaming ingestion |
//! | `weir_azure_kusto_fallbacks_total` | `cause` | batches queued in place of streamed: `too_large`, `throttled`, `unavailable`, `failed` |
//! | `weir_azure_kusto_unknown_streams_total` | | streams without an answer that were sent again: each may be a duplicate |
//! | `weir_azure_kusto_failed_blobs_total` | | blobs that the cluster did not ingest though a queue had taken their message |
//! | `weir_azure_kusto_posted_again_total` | | messages of such blobs that were posted again, because the cause was put right |
//! | `weir_azure_kusto_files_total` | `end` | buffer files: `uploaded`, `given_up` |
//! | `weir_azure_kusto_buffer_bytes` | | bytes of all buffer files |
//! | `weir_azure_kusto_alarm` | `step` | 1 while somebody must change something: at `login`, `cluster`, `blob`, `queue`, `stream`, `table` |

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use engine::Figure;
use engine::metrics::Counter;

use super::fault::{Cause, Fault, Step};
use super::stream::Why;

/// The counters of an instance.
#[derive(Debug, Default)]
pub(super) struct Counts {
    faults: [Counter; Cause::ALL.len()],
    alarms: [AtomicBool; Step::ALL.len()],
    fallbacks: [Counter; Why::ALL.len()],
    pub(super) blobs: Counter,
    pub(super) streams: Counter,
    pub(super) unknown: Counter,
    pub(super) failed: Counter,
    pub(super) posted_again: Counter,
    pub(super) uploaded: Counter,
    pub(super) given_up: Counter,
    pub(super) buffered: AtomicU64,
}

impl Counts {
    /// Counts a request that failed.
    pub(super) fn fault(&self, fault: &Fault) {
        self.faults[fault.cause() as usize].add(1);
    }

    /// Counts a batch that is queued in place of streamed.
    pub(super) fn fallback(&self, why: Why) {
        self.fallbacks[why as usize].add(1);
    }

    /// Raises the alarm of a step, and says so once.
    pub(super) fn raise(&self, name: &str, fault: &Fault) {
        if !self.alarms[fault.step as usize].swap(true, Ordering::Relaxed) {
            tracing::error!(
                "[output:{name}] alarm at {}: {}; records are held until it is put right",
                fault.step.name(),
                fault.text
            );
        }
    }

    /// Clears all alarms: something was delivered.
    pub(super) fn clear(&self, name: &str) {
        for step in Step::ALL {
            // Read first: almost always there is nothing to clear.
            if self.alarms[step as usize].load(Ordering::Relaxed) {
                self.clear_one(name, step);
            }
        }
    }

    /// Clears the alarm of a step.
    pub(super) fn clear_one(&self, name: &str, step: Step) {
        if self.alarms[step as usize].swap(false, Ordering::Relaxed) {
            tracing::info!("[output:{name}] alarm at {} is over", step.name());
        }
    }

    /// All of it, for the monitoring API.
    pub(super) fn figures(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        let faults = Cause::ALL.iter().zip(&self.faults);
        figures.extend(faults.map(|(cause, counter)| {
            let help = "Requests that failed, by cause.";
            Figure::counter("weir_azure_kusto_faults_total", help, counter.get()).label("cause", cause.name())
        }));
        let fallbacks = Why::ALL.iter().zip(&self.fallbacks);
        figures.extend(fallbacks.map(|(why, counter)| {
            let help = "Batches that were queued in place of streamed, by cause.";
            Figure::counter("weir_azure_kusto_fallbacks_total", help, counter.get())
                .label("cause", why.name())
        }));
        for (end, counter) in [("uploaded", &self.uploaded), ("given_up", &self.given_up)] {
            let help = "Buffer files that came to an end.";
            figures
                .push(Figure::counter("weir_azure_kusto_files_total", help, counter.get()).label("end", end));
        }
        for (name, help, counter) in [
            ("weir_azure_kusto_blobs_total", "Blobs whose message a queue has accepted.", &self.blobs),
            ("weir_azure_kusto_streams_total", "Batches taken by streaming ingestion.", &self.streams),
            (
                "weir_azure_kusto_unknown_streams_total",
                "Streams without an answer that were sent again.",
                &self.unknown,
            ),
            (
                "weir_azure_kusto_failed_blobs_total",
                "Blobs that the cluster did not ingest though a queue had taken them.",
                &self.failed,
            ),
            (
                "weir_azure_kusto_posted_again_total",
                "Messages of such blobs that were posted again.",
                &self.posted_again,
            ),
        ] {
            figures.push(Figure::counter(name, help, counter.get()));
        }
        let bytes = self.buffered.load(Ordering::Relaxed);
        figures.push(Figure::gauge("weir_azure_kusto_buffer_bytes", "Bytes of all buffer files.", bytes));
        figures.extend(self.alarms.iter().zip(Step::ALL).map(|(alarm, step)| {
            let help = "1 while somebody must change something.";
            let raised = u64::from(alarm.load(Ordering::Relaxed));
            Figure::gauge("weir_azure_kusto_alarm", help, raised).label("step", step.name())
        }));
        figures
    }
}
