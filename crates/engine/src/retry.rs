//! What becomes of a batch after a flush: the only place that settles records.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Batch, Part};
use crate::limits::{HOLD_FIRST, HOLD_LONGEST};
use crate::metrics::{OutputMetrics, Reason};
use crate::plugin::Outcome;

/// When a batch is tried again, and when it is given up.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// The shortest wait.
    pub base: Duration,
    /// The longest wait.
    pub cap: Duration,
    /// Retries until a batch is dropped; `None` is without end.
    pub limit: Option<u32>,
}

/// What to do with a batch now.
#[derive(Debug)]
pub enum Next {
    /// Every record is delivered.
    Delivered(Batch),
    /// Every record is dropped, and counted.
    Dropped(Batch, Reason, Arc<str>),
    /// Try it again after this time.
    Again(Batch, Duration),
    /// Try these in its place, at once.
    Halves(Vec<Part>, Vec<Part>),
}

/// Decides by the outcome. `draw` is a random number from 0 to 1; `stopping` shortens the waits so that what
/// can still be delivered is delivered within the grace.
pub fn settle(
    batch: Batch,
    outcome: Outcome,
    output: &OutputMetrics,
    plan: Schedule,
    draw: f64,
    stopping: bool,
) -> Next {
    let name = &output.name;
    match outcome {
        Outcome::Done => {
            output.records.add(batch.records());
            output.bytes.add(batch.bytes());
            if batch.attempt > 0 {
                tracing::info!(
                    "[output:{name}] delivered {} records at retry {}",
                    batch.records(),
                    batch.attempt
                );
            }
            Next::Delivered(batch)
        }
        Outcome::Retry { after, why } => retry(batch, after, &why, output, plan, draw, stopping),
        Outcome::Hold { why } => {
            let wait = HOLD_FIRST.saturating_mul(1 << batch.held.min(5)).min(HOLD_LONGEST);
            let batch = Batch { held: batch.held + 1, ..batch };
            tracing::error!(
                "[output:{name}] {why}; {} records are held and tried again in {} s: nothing is dropped",
                batch.records(),
                wait.as_secs()
            );
            again(batch, wait, output)
        }
        Outcome::Reject { why } => drop_batch(batch, Reason::Rejected, why, output),
        Outcome::Split { why } => match batch.halves() {
            Some((left, right)) => {
                tracing::debug!("[output:{name}] {why}; {} records are sent in two halves", batch.records());
                Next::Halves(left, right)
            }
            None => drop_batch(batch, Reason::Rejected, why, output),
        },
    }
}

fn retry(
    batch: Batch,
    after: Option<Duration>,
    why: &str,
    output: &OutputMetrics,
    plan: Schedule,
    draw: f64,
    stopping: bool,
) -> Next {
    if plan.limit.is_some_and(|limit| batch.attempt - batch.held >= limit) {
        output.retries_failed.add(1);
        let why = format!("{why}; given up after {} retries (retry_limit)", batch.attempt);
        return drop_batch(batch, Reason::RetryLimit, why, output);
    }
    let scheduled = if stopping { Duration::from_secs(1) } else { plan.wait(batch.attempt, draw) };
    let wait = if stopping { scheduled } else { after.unwrap_or(scheduled) };
    tracing::warn!(
        "[output:{}] {why}; {} records are tried again in {:.1} s (retry {})",
        output.name,
        batch.records(),
        wait.as_secs_f64(),
        batch.attempt + 1
    );
    again(batch, wait, output)
}

fn again(mut batch: Batch, wait: Duration, output: &OutputMetrics) -> Next {
    output.retries.add(1);
    output.retried_records.add(batch.records());
    batch.attempt += 1;
    Next::Again(batch, wait)
}

fn drop_batch(batch: Batch, reason: Reason, why: String, output: &OutputMetrics) -> Next {
    output.errors.add(1);
    output.dropped_records.add(batch.records());
    output.dropped.add(reason, batch.records());
    tracing::error!("[output:{}] {why}; {} records are dropped", output.name, batch.records());
    Next::Dropped(batch, reason, why.into())
}

impl Schedule {
    /// Fluent Bit's: uniform between the base and the base doubled with each attempt, capped, and one second.
    fn wait(&self, attempt: u32, draw: f64) -> Duration {
        let top = self.base.saturating_mul(1 << attempt.min(20)).min(self.cap).max(self.base);
        self.base + (top - self.base).mul_f64(draw.clamp(0.0, 1.0)) + Duration::from_secs(1)
    }
}

/// Numbers that spread retries. Not for secrets.
#[derive(Debug, Clone)]
pub struct Draw(u64);

impl Draw {
    /// A source; the same seed gives the same numbers.
    pub fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// The next number from 0 to 1, by splitmix64.
    pub fn number(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Budget, Share};
    use event::{Chunk, EventTime, Tag, Writer};

    fn batch(records: usize) -> Batch {
        let account = Budget::new(1 << 20, 4096).unwrap().account("x", "chunks", Share::COMMON).unwrap();
        let mut writer = Writer::new(&account);
        for _ in 0..records {
            writer.begin_record(EventTime::default()).unwrap();
            writer.raw(&[0x80]).unwrap();
            writer.end_record();
        }
        let events = writer.finish();
        let chunk = Chunk { id: 1, tag: Tag::new("a"), input: 0, events, created: std::time::Instant::now() };
        Batch::new(7, vec![Part::whole(Arc::new(chunk))])
    }

    fn plan(limit: Option<u32>) -> Schedule {
        Schedule { base: Duration::from_secs(5), cap: Duration::from_secs(2000), limit }
    }

    fn retry() -> Outcome {
        Outcome::Retry { after: None, why: "503".into() }
    }

    #[test]
    fn waits_grow_within_fluent_bits_bounds() {
        for attempt in 0..40 {
            let (low, high) = (plan(None).wait(attempt, 0.0), plan(None).wait(attempt, 1.0));
            assert_eq!(low.as_secs(), 6);
            assert_eq!(high.as_secs(), (5u64 << attempt.min(20)).min(2000) + 1);
        }
    }

    #[test]
    fn without_a_limit_nothing_is_ever_dropped_by_retrying() {
        let metrics = OutputMetrics::default();
        let mut batch = batch(3);
        for attempt in 1..100 {
            let Next::Again(next, _) = settle(batch, retry(), &metrics, plan(None), 0.5, false) else {
                panic!()
            };
            assert_eq!((next.attempt, next.id, next.records()), (attempt, 7, 3));
            batch = next;
        }
        assert_eq!(metrics.dropped_records.get(), 0);
    }

    #[test]
    fn a_batch_beyond_its_retry_limit_is_dropped_and_counted() {
        let metrics = OutputMetrics::default();
        let Next::Again(batch, _) = settle(batch(3), retry(), &metrics, plan(Some(1)), 0.5, false) else {
            panic!()
        };
        let dropped = settle(batch, retry(), &metrics, plan(Some(1)), 0.5, false);
        assert!(matches!(dropped, Next::Dropped(_, Reason::RetryLimit, _)));
        assert_eq!(
            (metrics.retries_failed.get(), metrics.dropped_records.get(), metrics.retries.get()),
            (1, 3, 1)
        );
    }

    #[test]
    fn a_held_batch_is_not_counted_against_the_limit() {
        let metrics = OutputMetrics::default();
        let mut held = batch(3);
        for _ in 0..10 {
            let hold = Outcome::Hold { why: "no table".into() };
            let Next::Again(next, wait) = settle(held, hold, &metrics, plan(Some(0)), 0.5, false) else {
                panic!()
            };
            assert!(wait <= HOLD_LONGEST);
            held = next;
        }
        assert!(matches!(settle(held, retry(), &metrics, plan(Some(1)), 0.5, false), Next::Again(..)));
        assert_eq!(metrics.dropped_records.get(), 0);
    }

    #[test]
    fn a_split_batch_loses_nothing_down_to_the_single_record_that_is_refused() {
        let metrics = OutputMetrics::default();
        let split = || Outcome::Split { why: "413".into() };
        let mut whole = vec![batch(5)];
        let mut singles = 0;
        while let Some(batch) = whole.pop() {
            match settle(batch, split(), &metrics, plan(None), 0.5, false) {
                Next::Halves(left, right) => {
                    whole.extend([left, right].map(|parts| Batch::new(0, parts)));
                }
                Next::Dropped(_, Reason::Rejected, _) => singles += 1,
                next => panic!("{next:?}"),
            }
        }
        assert_eq!((singles, metrics.dropped_records.get()), (5, 5));
    }
}
