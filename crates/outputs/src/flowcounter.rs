//! Counts records and their bytes per second, minute, hour or day, on standard output.
//!
//! ```text
//! [OUTPUT]
//!     name  flowcounter
//!     match *
//!     unit  second
//! ```
//!
//! `[out_flowcounter] [1700000000, {"counts":10, "bytes":250, "counts/second":10, "bytes/second":250 }]`: a line for
//! each unit of time, when the first record behind it comes.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use event::{Corrupt, EventTime};
use options::{Choice, Options, Reader};

use crate::payload::unwritten;
use crate::rows::record_time;

/// The `flowcounter` output.
pub static DEF: OutputDef = OutputDef {
    name: "flowcounter",
    about: "Counts records and bytes over time",
    specs: FlowOptions::specs,
    open,
};

#[derive(Debug, Options)]
struct FlowOptions {
    /// The unit of time that is counted by.
    #[option(default = "minute")]
    unit: Unit,
    /// Count by the time of a record instead of the time that it arrives.
    #[option(default = "off")]
    event_based: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    fn seconds(self) -> u64 {
        match self {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
        }
    }

    /// Windows that are open at once: seconds are shorter than the time between two flushes.
    fn windows(self) -> usize {
        if self == Unit::Second { 2 } else { 1 }
    }

    fn name(self) -> &'static str {
        match self {
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
        }
    }
}

/// Empty windows that are printed in a row. A record from the far future would print for days.
const MOST_EMPTY: u64 = 1_000;

struct Flow {
    unit: Unit,
    event_based: bool,
    windows: Mutex<Windows>,
}

struct Windows {
    unit: Unit,
    open: VecDeque<Window>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    /// The second that it ends with.
    until: u64,
    counts: u64,
    bytes: u64,
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Arc<dyn Output>> {
    let FlowOptions { unit, event_based } = FlowOptions::read(reader)?;
    let windows = Mutex::new(Windows::new(unit, u64::from(EventTime::now().seconds)));
    Some(Arc::new(Flow { unit, event_based, windows }))
}

impl Output for Flow {
    fn drive(&self) -> Drive {
        Drive { lanes: 1, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        Box::new(Lane(self))
    }
}

struct Lane(Arc<Flow>);

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        let outcome = match self.0.count(batch, &mut std::io::stdout().lock()) {
            Ok(()) => Outcome::Done,
            Err(Corrupt) => unwritten(Corrupt.into(), batch),
        };
        Box::pin(std::future::ready(outcome))
    }
}

impl Flow {
    fn count(&self, batch: &Batch, out: &mut impl Write) -> Result<(), Corrupt> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut early = 0;
        for part in &batch.parts {
            let mut cursor = part.cursor()?;
            for _ in 0..part.records() {
                let start = cursor.offset();
                let time = record_time(&mut cursor)?;
                cursor.skip()?;
                let time = if self.event_based { time } else { EventTime::now() };
                let bytes = (cursor.offset() - start) as u64;
                early += u64::from(!windows.add(u64::from(time.seconds), bytes, out));
            }
        }
        if early > 0 {
            let unit = self.unit.name();
            tracing::warn!("[output:flowcounter] {early} records belong to a {unit} that is printed already");
        }
        Ok(())
    }
}

impl Windows {
    fn new(unit: Unit, now: u64) -> Windows {
        let window =
            |number: usize| Window { until: now + unit.seconds() * number as u64, ..Window::default() };
        Windows { unit, open: (0..unit.windows()).map(window).collect() }
    }

    /// Counts one record; answers whether its window is still open. Prints the windows that end before it.
    fn add(&mut self, time: u64, bytes: u64, out: &mut impl Write) -> bool {
        let tick = self.unit.seconds();
        if self.open.front().is_none_or(|first| time + tick < first.until) {
            return false;
        }
        let last = self.open.back().map_or(0, |last| last.until);
        let ended = time.saturating_sub(last).div_ceil(tick);
        for number in 0..ended.min(MOST_EMPTY) {
            let Some(first) = self.open.pop_front() else { break };
            self.print(&first, out);
            self.open.push_back(Window { until: last + tick * (number + 1), ..Window::default() });
        }
        if ended > MOST_EMPTY {
            *self = Windows::new(self.unit, time);
        }
        if let Some(window) = self.open.iter_mut().find(|window| time <= window.until) {
            window.counts += 1;
            window.bytes += bytes;
        }
        true
    }

    fn print(&self, window: &Window, out: &mut impl Write) {
        let (unit, tick) = (self.unit.name(), self.unit.seconds());
        let Window { until, counts, bytes } = window;
        let line = format!(
            "[out_flowcounter] [{until}, {{\"counts\":{counts}, \"bytes\":{bytes}, \"counts/{unit}\":{}, \
             \"bytes/{unit}\":{} }}]\n",
            counts / tick,
            bytes / tick
        );
        // A count that cannot be shown is no reason to hold records up.
        let _closed = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_printed_for_each_unit_when_it_is_over_and_late_records_are_told_of() {
        let mut windows = Windows::new(Unit::Second, 100);
        let mut out = Vec::new();
        for time in [100, 100, 101, 103, 104] {
            assert!(windows.add(time, 25, &mut out));
        }
        assert!(!windows.add(100, 25, &mut out));
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "[out_flowcounter] [100, {\"counts\":2, \"bytes\":50, \"counts/second\":2, \"bytes/second\":50 }]"
        );
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[2].starts_with("[out_flowcounter] [102, {\"counts\":0"), "{text}");
    }

    #[test]
    fn a_record_from_the_far_future_prints_a_bounded_number_of_lines() {
        let mut windows = Windows::new(Unit::Second, 100);
        let mut out = Vec::new();
        assert!(windows.add(4_000_000_000, 1, &mut out));
        assert!(windows.add(4_000_000_000, 1, &mut out));
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count() as u64, MOST_EMPTY);
        assert_eq!(windows.open[0].counts, 2);
    }
}
