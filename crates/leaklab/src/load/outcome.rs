//! What came of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

/// The result of a load.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Outcome {
    /// Requests that were begun.
    pub requests: u64,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// Requests without an answer, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Records in the requests that were answered 2xx.
    pub records: u64,
    /// Bytes of the bodies of those requests, before compression.
    pub bytes: u64,
    /// The same as they travelled.
    pub wire_bytes: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// From the first request to the last answer.
    pub seconds: f64,
    /// How long answers took.
    pub latency: Latency,
    /// The share of a core that this process used meanwhile.
    pub generator_cpu: f64,
    /// The steps of a staircase; empty when all bodies were the same.
    pub steps: Vec<Step>,
}

/// What came of one size of a staircase.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Step {
    /// Of each body.
    pub bytes: u64,
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// How long they took.
    pub latency: Latency,
}

/// How long answers took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// The percentiles of a histogram.
    pub fn of(histogram: &Histogram) -> Latency {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        Latency {
            p50: milliseconds(histogram.percentile(0.5)),
            p90: milliseconds(histogram.percentile(0.9)),
            p99: milliseconds(histogram.percentile(0.99)),
            max: milliseconds(histogram.longest()),
        }
    }
}

/// How far a load has come.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Requests that ended.
    pub ended: u64,
    /// Requests there will be, when that is known.
    pub of: Option<u64>,
    /// Since the start.
    pub elapsed: Duration,
    /// When it will end, when that is known.
    pub duration: Option<Duration>,
}

impl Progress {
    /// The part that is done, when that is known.
    pub fn share(&self) -> Option<f64> {
        let by_count = self.of.map(|of| self.ended as f64 / of.max(1) as f64);
        let by_time =
            self.duration.map(|duration| self.elapsed.as_secs_f64() / duration.as_secs_f64().max(1e-9));
        let share = by_count.into_iter().chain(by_time).reduce(f64::max);
        share.map(|share| share.min(1.0))
    }
}

impl Outcome {
    /// Whether the generator may have been what was measured.
    pub fn generator_was_busy(&self) -> bool {
        self.generator_cpu > super::BUSY
    }

    /// Answers in 2xx.
    pub fn accepted(&self) -> u64 {
        self.answers.iter().filter(|(status, _)| (200..300).contains(*status)).map(|(_, count)| count).sum()
    }

    /// Adds a load that came after this one; its latency and its share of a core take the place of this one's.
    pub fn add(&mut self, later: Outcome) {
        for (status, count) in later.answers {
            *self.answers.entry(status).or_default() += count;
        }
        for (reason, count) in later.failures {
            *self.failures.entry(reason).or_default() += count;
        }
        self.requests += later.requests;
        self.records += later.records;
        self.bytes += later.bytes;
        self.wire_bytes += later.wire_bytes;
        self.connections += later.connections;
        self.seconds += later.seconds;
        (self.latency, self.generator_cpu) = (later.latency, later.generator_cpu);
    }

    fn per_second(&self, count: u64) -> f64 {
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answered: u64 = self.answers.values().sum();
        let Latency { p50, p90, p99, max } = self.latency;
        writeln!(
            f,
            "requests   {} in {:.2} s over {} connections",
            self.requests, self.seconds, self.connections
        )?;
        for (status, count) in &self.answers {
            writeln!(f, "  {status}      {count}")?;
        }
        for (reason, count) in &self.failures {
            writeln!(f, "  failed   {count} ({reason})")?;
        }
        write!(f, "accepted   {} records, {:.1} MB", self.records, self.bytes as f64 / 1e6)?;
        match self.wire_bytes {
            wire if wire == self.bytes => writeln!(f)?,
            wire => writeln!(f, " ({:.1} MB compressed)", wire as f64 / 1e6)?,
        }
        writeln!(
            f,
            "rate       {:.0} requests/s, {:.1} MB/s accepted",
            self.per_second(answered),
            self.per_second(self.bytes) / 1e6
        )?;
        writeln!(f, "latency    p50 {p50:.3} ms, p90 {p90:.3} ms, p99 {p99:.3} ms, longest {max:.3} ms")?;
        for Step { bytes, answers, latency } in &self.steps {
            let answers: Vec<String> =
                answers.iter().map(|(status, count)| format!("{status}: {count}")).collect();
            let (p50, p99) = (latency.p50, latency.p99);
            writeln!(f, "  {bytes:>9} bytes  p50 {p50:.3} ms, p99 {p99:.3} ms, {}", answers.join(", "))?;
        }
        writeln!(f, "generator  {:.0} % of a core", self.generator_cpu * 100.0)?;
        if self.generator_was_busy() {
            writeln!(f, "           so it may have been the bottleneck: these figures are its own")?;
        }
        Ok(())
    }
}
