//! Which messages are ingested together, and when ("Ingestion batching policy").
//!
//! Messages that differ in table, format, mapping or tags are never in one batch. A batch is sealed by the
//! first of these: its oldest message is as old as the policy's time, it has so many messages, so much data, a
//! message that wants to be flushed at once, or one that does not say its size.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::table::Batching;

/// A message as far as batching is concerned.
pub(crate) struct Arrived {
    pub(crate) sequence: u64,
    pub(crate) key: String,
    /// Uncompressed bytes, if they are known.
    pub(crate) bytes: Option<u64>,
    pub(crate) flush: bool,
}

/// Batches that are still open.
#[derive(Default)]
pub(crate) struct Batches(BTreeMap<String, Open>);

struct Open {
    sequences: Vec<u64>,
    bytes: u64,
    seal_at: Instant,
}

impl Batches {
    /// Adds a message; the batch when that seals it.
    pub(crate) fn add(&mut self, arrived: Arrived, policy: Batching, now: Instant) -> Option<Vec<u64>> {
        let Arrived { sequence, key, bytes, flush } = arrived;
        let seal_at = now + Duration::from_millis(policy.time_ms);
        let open =
            self.0.entry(key.clone()).or_insert_with(|| Open { sequences: Vec::new(), bytes: 0, seal_at });
        open.sequences.push(sequence);
        open.bytes += bytes.unwrap_or(0);
        let full = open.sequences.len() as u64 >= policy.items || open.bytes >= policy.raw_mb << 20;
        if flush || full || bytes.is_none() || open.seal_at <= now {
            return self.0.remove(&key).map(|open| open.sequences);
        }
        None
    }

    /// When the next batch is to be sealed.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.values().map(|open| open.seal_at).min()
    }

    /// The batches whose time has come.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Vec<u64>> {
        let due: Vec<String> =
            self.0.iter().filter(|(_, open)| open.seal_at <= now).map(|(key, _)| key.clone()).collect();
        due.iter().filter_map(|key| self.0.remove(key)).map(|open| open.sequences).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Batching = Batching { time_ms: 1000, items: 3, raw_mb: 1 };

    fn arrived(sequence: u64, key: &str) -> Arrived {
        Arrived { sequence, key: key.to_owned(), bytes: Some(1), flush: false }
    }

    #[test]
    fn a_batch_is_sealed_by_time_count_size_wish_or_an_unknown_size() {
        let now = Instant::now();
        let mut batches = Batches::default();
        assert_eq!(batches.add(arrived(1, "a"), POLICY, now), None);
        assert_eq!(batches.add(arrived(2, "b"), POLICY, now), None);
        assert_eq!(batches.add(arrived(3, "a"), POLICY, now), None);
        assert_eq!(batches.add(arrived(4, "a"), POLICY, now), Some(vec![1, 3, 4]));
        assert_eq!(batches.due(now), Vec::<Vec<u64>>::new());
        assert_eq!(batches.next(), Some(now + Duration::from_secs(1)));
        assert_eq!(batches.due(now + Duration::from_secs(1)), [[2]]);
        assert_eq!(batches.next(), None);
        let large = Arrived { bytes: Some(1 << 20), ..arrived(5, "a") };
        let unknown = Arrived { bytes: None, ..arrived(6, "a") };
        let wished = Arrived { flush: true, ..arrived(7, "a") };
        for (arrived, sequence) in [(large, 5), (unknown, 6), (wished, 7)] {
            assert_eq!(batches.add(arrived, POLICY, now), Some(vec![sequence]));
        }
        let at_once = Batching { time_ms: 0, ..POLICY };
        assert_eq!(batches.add(arrived(8, "a"), at_once, now), Some(vec![8]));
    }
}
