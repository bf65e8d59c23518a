//! How long things took: counts in buckets whose width grows with the value.
//!
//! A value lies within 1.6 % of what is reported for it, and a histogram has the same few kilobytes however
//! much is recorded.

use std::time::Duration;

/// Buckets per doubling of the value, as a power of two.
const PRECISION: u32 = 6;
const BUCKETS: usize = ((64 - PRECISION as usize) + 1) << PRECISION;

/// Counts of durations.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[u64]>,
    recorded: u64,
    longest: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS].into_boxed_slice(), recorded: 0, longest: 0 }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.recorded += 1;
        self.longest = self.longest.max(nanoseconds);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.recorded
    }

    /// The duration that a share of all of them did not exceed; zero when there are none. `share` is from 0
    /// to 1.
    pub fn percentile(&self, share: f64) -> Duration {
        let wanted = ((self.recorded as f64 * share).ceil() as u64).clamp(1, self.recorded.max(1));
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(upper(index).min(self.longest));
            }
        }
        Duration::ZERO
    }

    /// The longest, exactly.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest)
    }
}

/// Values below 64 have a bucket each; above, each doubling has 64 of them.
fn bucket(value: u64) -> usize {
    let bits = 64 - value.leading_zeros();
    let shift = bits.saturating_sub(PRECISION + 1);
    ((shift as usize) << PRECISION) + (value >> shift) as usize
}

/// The largest value of a bucket.
fn upper(bucket: usize) -> u64 {
    let shift = (bucket >> PRECISION).saturating_sub(1);
    let low = (bucket - (shift << PRECISION)) as u64;
    (low << shift) + ((1_u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket() {
        let mut previous = 0;
        for value in (0..4_096).chain((12..64).flat_map(|bit| [(1 << bit) - 1, 1 << bit, 3 << (bit - 1)])) {
            let index = bucket(value);
            assert!(upper(index) >= value, "{value}");
            assert!((upper(index) - value) as f64 <= value as f64 / 32.0, "{value}");
            previous = previous.max(index);
        }
        assert!(bucket(u64::MAX) < BUCKETS && previous < BUCKETS);
    }

    #[test]
    fn percentiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        for microseconds in 1..=10_000 {
            histogram.record(Duration::from_micros(microseconds));
        }
        for (share, expected) in [(0.5, 5_000.0), (0.9, 9_000.0), (0.99, 9_900.0)] {
            let found = histogram.percentile(share).as_secs_f64() * 1e6;
            assert!((found - expected).abs() < expected * 0.02, "{share}: {found}");
        }
        assert_eq!(histogram.percentile(1.0), Duration::from_millis(10));
        assert_eq!(histogram.longest(), Duration::from_millis(10));
        assert_eq!(histogram.count(), 10_000);
    }

    #[test]
    fn an_empty_histogram_has_zeros() {
        let histogram = Histogram::default();
        assert_eq!((histogram.percentile(0.99), histogram.longest()), (Duration::ZERO, Duration::ZERO));
    }
}
