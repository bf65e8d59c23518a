//! Stops the agent after so many flushes, records or seconds: for tests and for one run of a job.
//!
//! ```text
//! [OUTPUT]
//!     name         exit
//!     match        *
//!     record_count 1000
//! ```
//!
//! The agent stops as if it had been asked to by a signal: what other outputs hold is still delivered within the
//! grace. Without any count the first flush ends it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use options::{Options, Reader};

/// The `exit` output.
pub static DEF: OutputDef = OutputDef {
    name: "exit",
    about: "Stops the agent after so many flushes, records or seconds",
    specs: ExitOptions::specs,
    open,
};

#[derive(Debug, Options)]
struct ExitOptions {
    /// Stop after so many chunks; -1 for any number.
    #[option(default = "-1")]
    flush_count: i64,
    /// Stop after so many records; -1 for any number.
    #[option(default = "-1")]
    record_count: i64,
    /// Stop at the first chunk after so many seconds; -1 for never.
    #[option(default = "-1")]
    time_count: i64,
}

struct Exit {
    flushes: Option<u64>,
    records: Option<u64>,
    after: Option<Duration>,
    since: Instant,
    seen_flushes: AtomicU64,
    seen_records: AtomicU64,
    asked: AtomicBool,
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Arc<dyn Output>> {
    let options = ExitOptions::read(reader)?;
    let count = |number: i64| u64::try_from(number).ok();
    let mut exit = Exit {
        flushes: count(options.flush_count),
        records: count(options.record_count),
        after: count(options.time_count).map(Duration::from_secs),
        since: Instant::now(),
        seen_flushes: AtomicU64::new(0),
        seen_records: AtomicU64::new(0),
        asked: AtomicBool::new(false),
    };
    if exit.flushes.is_none() && exit.records.is_none() && exit.after.is_none() {
        exit.flushes = Some(1);
    }
    Some(Arc::new(exit))
}

impl Output for Exit {
    fn drive(&self) -> Drive {
        Drive { lanes: 0, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        Box::new(Lane(self))
    }
}

struct Lane(Arc<Exit>);

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        if self.0.is_enough(batch) && !self.0.asked.swap(true, Ordering::Relaxed) {
            tracing::info!("[output:exit] the count is reached: the agent is asked to stop");
            // SAFETY: a signal to the own process, which the agent has a handler for.
            unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
        }
        Box::pin(std::future::ready(Outcome::Done))
    }
}

impl Exit {
    fn is_enough(&self, batch: &Batch) -> bool {
        let flushes = self.seen_flushes.fetch_add(1, Ordering::Relaxed) + 1;
        let records = batch.records() as u64;
        let records = self.seen_records.fetch_add(records, Ordering::Relaxed) + records;
        self.flushes.is_some_and(|count| flushes >= count)
            || self.records.is_some_and(|count| records >= count)
            || self.after.is_some_and(|after| self.since.elapsed() > after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn enough_after(pairs: &[(&str, &str)]) -> usize {
        let options = ExitOptions::from_pairs(pairs).unwrap();
        let count = |number: i64| u64::try_from(number).ok();
        let exit = Exit {
            flushes: count(options.flush_count),
            records: count(options.record_count),
            after: None,
            since: Instant::now(),
            seen_flushes: AtomicU64::new(0),
            seen_records: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        };
        let batch = testing::batch("t", &["{}", "{}"]);
        (1..100).find(|_| exit.is_enough(&batch)).unwrap()
    }

    #[test]
    fn the_agent_is_asked_when_any_count_is_reached() {
        assert_eq!(enough_after(&[("flush_count", "3")]), 3);
        assert_eq!(enough_after(&[("record_count", "5")]), 3);
        assert_eq!(enough_after(&[("record_count", "4"), ("flush_count", "9")]), 2);
    }
}
