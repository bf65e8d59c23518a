//! `throttle`: lets only so many records through.
//!
//! ```text
//! [FILTER]
//!     name      throttle
//!     match     app.*
//!     rate      1000
//!     window    5
//!     interval  1s
//! ```
//!
//! Counts the records that came through in each of the last `window` intervals. While their number divided by
//! `window` is `rate` or more, records are dropped and counted. So a burst of `rate` times `window` records comes
//! through, and in the long run `rate` of them in each interval. All lanes of all inputs are counted together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::{Filter, FilterDef, Setup};
use event::{Tag, Window};
use options::{Invalid, Kind, Options, Reader, Value};

/// The registry's entry.
pub static FILTER: FilterDef = FilterDef {
    name: "throttle",
    about: "lets only so many records through",
    specs: ThrottleOptions::specs,
    open,
};

#[derive(Debug, Clone, Options)]
struct ThrottleOptions {
    /// Records for each interval.
    #[option(default = "1")]
    rate: f64,
    /// How many intervals are counted.
    #[option(default = "5", min = "1", max = "86400")]
    window: u32,
    /// How long an interval is: a number and s, m, h or d.
    #[option(default = "1")]
    interval: Interval,
    /// Log the rate in each interval.
    #[option(default = "off")]
    print_status: bool,
}

/// A span of time, with fractions.
#[derive(Debug, Clone, Copy)]
struct Interval(Duration);

impl Value for Interval {
    const KIND: Kind = Kind::Period;

    fn parse(text: &str) -> Result<Interval, Invalid> {
        let units = [('s', 1.0), ('m', 60.0), ('h', 3_600.0), ('d', 86_400.0)];
        let unit = units.iter().find(|(unit, _)| text.ends_with(*unit));
        let (number, seconds) =
            unit.map_or((text, 1.0), |(unit, seconds)| (text.trim_end_matches(*unit), *seconds));
        let seconds = number.trim().parse().ok().map(|number: f64| number * seconds);
        let known = seconds.filter(|seconds| (0.001..=86_400.0 * 366.0).contains(seconds));
        known.map(|seconds| Interval(Duration::from_secs_f64(seconds))).ok_or_else(|| {
            Invalid::not(text, "an interval").hint("write a number and s, m, h or d, for example 30s")
        })
    }
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Box<dyn Filter>> {
    let mut options = ThrottleOptions::read(reader)?;
    // Fluent Bit's rule: less than one record, or one interval, is the default.
    options.rate = options.rate.max(1.0);
    if options.window == 1 {
        options.window = 5;
    }
    let panes = VecDeque::from(vec![0; options.window as usize]);
    let counts = Counts { panes, total: 0, started: Instant::now(), interval: 0, said: 0 };
    let shared = Arc::new(Shared { name: setup.name.clone(), options, counts: Mutex::new(counts) });
    Some(Box::new(Throttle(shared)))
}

struct Shared {
    name: String,
    options: ThrottleOptions,
    counts: Mutex<Counts>,
}

/// What came through.
struct Counts {
    /// By interval; the current one is the last.
    panes: VecDeque<u64>,
    total: u64,
    started: Instant,
    /// The number of the current interval.
    interval: u64,
    /// The number of the interval whose rate was logged.
    said: u64,
}

impl Counts {
    /// Forgets intervals that have left the window.
    fn advance(&mut self, now: Instant, interval: Duration) {
        let current =
            (now.saturating_duration_since(self.started).as_secs_f64() / interval.as_secs_f64()) as u64;
        let passed = current.saturating_sub(self.interval).min(self.panes.len() as u64);
        for _ in 0..passed {
            self.total -= self.panes.pop_front().unwrap_or(0);
            self.panes.push_back(0);
        }
        self.interval = self.interval.max(current);
    }

    /// How many of so many records come through.
    fn admit(&mut self, records: usize, rate: f64) -> usize {
        let mut admitted = 0;
        while admitted < records && (self.total as f64 / self.panes.len() as f64) < rate {
            self.total += 1;
            admitted += 1;
        }
        if let Some(current) = self.panes.back_mut() {
            *current += admitted as u64;
        }
        admitted
    }
}

struct Throttle(Arc<Shared>);

impl Throttle {
    fn counts(&self) -> std::sync::MutexGuard<'_, Counts> {
        self.0.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filter for Throttle {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        let ThrottleOptions { rate, interval, .. } = &self.0.options;
        let mut counts = self.counts();
        counts.advance(Instant::now(), interval.0);
        let admitted = counts.admit(window.records.len(), *rate);
        drop(counts);
        window.records.truncate(admitted);
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(Throttle(Arc::clone(&self.0)))
    }

    fn interval(&self) -> Option<Duration> {
        self.0.options.print_status.then_some(self.0.options.interval.0)
    }

    fn tick(&mut self, _window: &mut Window<'_>, last: bool) {
        let ThrottleOptions { rate, window, interval, .. } = &self.0.options;
        let mut counts = self.counts();
        counts.advance(Instant::now(), interval.0);
        // Every lane asks; one is enough.
        if !last && counts.said < counts.interval {
            counts.said = counts.interval;
            tracing::info!(
                "[filter:{}] limit is {rate:.2} per {:?} with window size of {window}, current rate is: {} per interval",
                self.0.name,
                interval.0,
                counts.total / u64::from(*window)
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_fills_the_window_and_then_each_interval_lets_as_many_through_as_leave_it() {
        let second = Duration::from_secs(1);
        let started = Instant::now();
        let mut counts =
            Counts { panes: VecDeque::from(vec![0; 5]), total: 0, started, interval: 0, said: 0 };
        let mut admit = |at: u64, records| {
            counts.advance(started + second * at as u32, second);
            counts.admit(records, 10.0)
        };
        assert_eq!(admit(0, 100), 50);
        assert_eq!(admit(4, 100), 0);
        assert_eq!(admit(5, 100), 50, "the burst has left the window");
        assert_eq!(admit(100, 20), 20);
        assert_eq!(admit(101, 20), 20);
        assert_eq!(admit(102, 20), 10);
        assert_eq!(admit(105, 100), 20, "what came at 100 has left");
    }

    #[test]
    fn an_interval_is_a_number_and_a_unit() {
        for (text, seconds) in [("1", 1.0), ("0.5s", 0.5), ("2m", 120.0), ("1h", 3_600.0), ("1d", 86_400.0)] {
            assert_eq!(Interval::parse(text).unwrap().0.as_secs_f64(), seconds, "{text}");
        }
        for text in ["", "s", "-1", "0", "5ms", "1 week"] {
            assert!(Interval::parse(text).is_err(), "{text}");
        }
    }
}
