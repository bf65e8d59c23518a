//! What is kept of a run: its circumstances, and the figures of each agent in each round of each scenario.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::load::{BUSY, Latency};

/// The circumstances of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// When it began; what its samples refer to.
    pub run: String,
    pub machine: Machine,
    /// Name and version, weir first.
    pub agents: Vec<(String, String)>,
    /// How to repeat it.
    pub command: String,
    pub rounds: u32,
    pub seconds: f64,
}

impl Run {
    /// Nobody else took part.
    pub fn is_only_weir(&self) -> bool {
        self.agents.iter().all(|(name, _)| name.starts_with("weir"))
    }
}

/// What came of a scenario in the run that measured it last.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub run: Run,
    pub scenario: String,
    pub samples: Vec<Sample>,
    pub failures: Vec<Failure>,
    pub skipped: Vec<Skipped>,
}

/// An agent that cannot take part in a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    pub agent: String,
    pub reason: String,
}

/// The figures of one agent in one round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub run: String,
    pub scenario: String,
    pub agent: String,
    pub round: u32,
    /// From the first request to the last answer.
    pub seconds: f64,
    pub answers: BTreeMap<String, u64>,
    pub failures: BTreeMap<String, u64>,
    /// In requests that were answered 2xx: records, and bytes of bodies before compression.
    pub records: u64,
    pub bytes: u64,
    /// Bytes that reached the destination, and what they are uncompressed, where it tells.
    #[serde(default)]
    pub sent: u64,
    #[serde(default)]
    pub sent_plain: u64,
    pub latency_ms: Latency,
    /// Processor seconds of the agent, from the first request until everything was delivered.
    pub agent_cpu: f64,
    /// From the last answer until everything was delivered, or nothing more was for five seconds.
    pub drain_seconds: f64,
    /// The share of the other core that load and destination used.
    pub load_cpu: f64,
    /// Resident bytes: before, at most, at the last answer, after a rest (not in every round).
    pub rss_start: u64,
    pub rss_peak: u64,
    pub rss_final: u64,
    pub rss_rested: Option<u64>,
    /// The agent's own count.
    pub taken: u64,
    pub delivered: u64,
    /// Connections that were open at the end, where that is what is measured.
    pub held: u64,
    /// Connections that were open, and resident bytes then, where they grew.
    #[serde(default)]
    pub growth: Vec<(u64, u64)>,
}

/// A round that gave no figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub scenario: String,
    pub agent: String,
    pub round: u32,
    pub reason: String,
}

/// A line of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line {
    /// A run begins.
    Run(Run),
    /// A round ended.
    Sample(Sample),
    /// A round failed.
    Failure(Failure),
    /// A scenario has had all its rounds.
    Ended { scenario: String, skipped: Vec<Skipped> },
}

impl Sample {
    /// Requests came as fast as they were answered; else it is about connections.
    pub fn is_about_rates(&self) -> bool {
        self.held == 0 && self.growth.is_empty()
    }

    /// Load and destination used so much of their core that rates are theirs.
    pub fn is_load_bound(&self) -> bool {
        self.is_about_rates() && self.load_cpu > BUSY
    }

    /// Answers in 2xx.
    pub fn accepted(&self) -> u64 {
        self.answers.iter().filter(|(status, _)| status.starts_with('2')).map(|(_, count)| count).sum()
    }

    /// The share of accepted records that were delivered.
    pub fn delivered_share(&self) -> f64 {
        ratio(self.delivered as f64, self.records as f64)
    }

    /// Megabytes accepted in a second.
    pub fn mb_per_second(&self) -> f64 {
        ratio(self.bytes as f64 / 1e6, self.seconds)
    }

    /// Records accepted in a second.
    pub fn records_per_second(&self) -> f64 {
        ratio(self.records as f64, self.seconds)
    }

    /// Megabytes accepted and delivered in a processor second of the agent. What is only accepted does not
    /// count: its work is still to be done.
    pub fn mb_per_cpu(&self) -> f64 {
        ratio(self.bytes as f64 / 1e6, self.agent_cpu) * self.delivered_share().min(1.0)
    }

    /// Requests likewise.
    pub fn requests_per_cpu(&self) -> f64 {
        ratio(self.accepted() as f64, self.agent_cpu) * self.delivered_share().min(1.0)
    }

    /// Bytes that each held connection costs after the rest.
    pub fn bytes_per_connection(&self) -> f64 {
        let rested = self.rss_rested.unwrap_or(0);
        ratio(rested.saturating_sub(self.rss_start) as f64, self.held as f64)
    }

    /// Resident bytes after the rest; none in a round without one.
    pub fn rested(&self) -> f64 {
        self.rss_rested.map_or(f64::NAN, |bytes| bytes as f64)
    }

    /// How many times smaller the destination got it.
    pub fn compression(&self) -> f64 {
        ratio(self.sent_plain as f64, self.sent as f64)
    }

    /// Resident bytes while so many connections were open.
    pub fn with_connections(&self, count: u64) -> f64 {
        let found = self.growth.iter().find(|(connections, _)| *connections == count);
        found.map_or(f64::NAN, |(_, bytes)| *bytes as f64)
    }
}

fn ratio(value: f64, of: f64) -> f64 {
    if of > 0.0 { value / of } else { 0.0 }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A sample whose figures follow from one number.
    pub fn sample(scenario: &str, agent: &str, round: u32, speed: f64) -> Sample {
        Sample {
            run: "r".to_owned(),
            scenario: scenario.to_owned(),
            agent: agent.to_owned(),
            round,
            seconds: 2.0,
            answers: [("201".to_owned(), 10), ("503".to_owned(), 1)].into(),
            records: 1_000,
            bytes: 2_000_000,
            agent_cpu: 1.0 / speed,
            latency_ms: Latency { p50: 1.0, p90: 2.0, p99: 3.0, max: 4.0 },
            rss_start: 10_000_000,
            rss_peak: 40_000_000,
            rss_final: 30_000_000,
            rss_rested: Some(20_000_000),
            taken: 1_000,
            delivered: 1_000,
            ..Sample::default()
        }
    }

    #[test]
    fn figures_follow_from_what_was_counted() {
        let sample = Sample { delivered: 500, held: 100, ..sample("small", "weir", 1, 4.0) };
        let sample = Sample { sent: 10, sent_plain: 45, growth: vec![(10, 99)], ..sample };
        assert_eq!((sample.compression(), sample.with_connections(10)), (4.5, 99.0));
        assert!(sample.with_connections(11).is_nan());
        assert_eq!(sample.accepted(), 10);
        assert_eq!((sample.mb_per_second(), sample.records_per_second()), (1.0, 500.0));
        assert_eq!((sample.mb_per_cpu(), sample.requests_per_cpu()), (4.0, 20.0));
        assert_eq!(sample.bytes_per_connection(), 100_000.0);
        assert_eq!(Sample::default().mb_per_cpu(), 0.0);
    }
}
