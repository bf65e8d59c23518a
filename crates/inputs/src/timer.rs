//! What inputs share that look at something from time to time.

use std::time::Duration;

use engine::Stop;
use options::Options;
use tokio::time::MissedTickBehavior;

/// The time between two looks.
#[derive(Debug, Clone, Copy, Options)]
pub(crate) struct Interval {
    /// Seconds between two looks.
    #[option(default = "1")]
    interval_sec: i64,
    /// Nanoseconds between two looks, added to `interval_sec`.
    #[option(default = "0", max = "999999999")]
    interval_nsec: i64,
}

impl Interval {
    /// The time; a second when both options say nothing.
    pub(crate) fn period(self) -> Duration {
        let (seconds, nanoseconds) = (self.interval_sec.max(0), self.interval_nsec.max(0));
        let period = Duration::new(seconds as u64, nanoseconds as u32);
        if period.is_zero() { Duration::from_secs(1) } else { period }
    }
}

/// A timer whose first tick is one period away.
pub(crate) fn every(period: Duration) -> tokio::time::Interval {
    let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer
}

/// Waits for the next tick; false when the agent stops instead.
pub(crate) async fn tick(timer: &mut tokio::time::Interval, stop: &Stop) -> bool {
    tokio::select! {
        _ = timer.tick() => true,
        () = stop.requested() => false,
    }
}

/// Text of a file in `/proc`.
#[expect(clippy::disallowed_methods, reason = "the kernel writes it anew for each reader, and it is short")]
pub(crate) fn kernel_text(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}
