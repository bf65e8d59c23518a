//! Medians over rounds, and ratios of weir to each peer within a round.

use super::sample::{Entry, Sample};

/// The middle of several values and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// None: there are no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, low, high })
    }
}

/// A figure that agents are compared by.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    /// Zero or no number where a sample does not have it.
    pub value: fn(&Sample) -> f64,
    pub more_is_better: bool,
}

const fn more(name: &'static str, value: fn(&Sample) -> f64) -> Metric {
    Metric { name, value, more_is_better: true }
}

const fn less(name: &'static str, value: fn(&Sample) -> f64) -> Metric {
    Metric { name, value, more_is_better: false }
}

/// What is compared, the most telling first.
pub const METRICS: &[Metric] = &[
    more("work per CPU-second", |sample| of_rates(sample, Sample::requests_per_cpu)),
    more("MB/s", |sample| of_rates(sample, Sample::mb_per_second)),
    less("p99", |sample| of_rates(sample, |sample| sample.latency_ms.p99)),
    more("compression", Sample::compression),
    less("memory per connection", Sample::bytes_per_connection),
    less("RSS with 1,000 connections", |sample| sample.with_connections(1_000)),
    less("RSS with 10,000 connections", |sample| sample.with_connections(10_000)),
    less("peak RSS", |sample| of_rates(sample, |sample| sample.rss_peak as f64)),
    less("rested RSS", |sample| of_rates(sample, Sample::rested)),
];

/// A figure of scenarios in which requests come as fast as they are answered.
fn of_rates(sample: &Sample, value: fn(&Sample) -> f64) -> f64 {
    if sample.is_about_rates() { value(sample) } else { f64::NAN }
}

/// Weir's figure divided by a peer's, in the same round.
#[derive(Debug, Clone)]
pub struct Comparison {
    pub scenario: String,
    pub peer: String,
    pub metric: Metric,
    pub ratio: Spread,
    pub rounds: usize,
}

impl Comparison {
    /// Weir is worse in the middle.
    pub fn is_behind(&self) -> bool {
        if self.metric.more_is_better { self.ratio.median < 1.0 } else { self.ratio.median > 1.0 }
    }

    /// Some rounds say one thing and some the other.
    pub fn is_uncertain(&self) -> bool {
        self.ratio.low <= 1.0 && self.ratio.high >= 1.0
    }

    /// Both are weir: the ratio is the noise.
    pub fn is_noise(&self) -> bool {
        self.peer.starts_with("weir")
    }
}

/// The samples of an agent, by round.
pub fn of<'a>(samples: &'a [Sample], agent: &str) -> Vec<&'a Sample> {
    samples.iter().filter(|sample| sample.agent == agent).collect()
}

/// The middle of a figure over the rounds; zero where there is none.
pub fn median(samples: &[&Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    Spread::of(samples.iter().map(|sample| value(sample))).map_or(0.0, |spread| spread.median)
}

/// Every ratio of the first agent, weir, to the others.
pub fn compare(entries: &[Entry]) -> Vec<Comparison> {
    let mut found = Vec::new();
    for Entry { run, scenario, samples, .. } in entries {
        let Some(((own, _), peers)) = run.agents.split_first() else { continue };
        let ours = of(samples, own);
        for (peer, _) in peers {
            let theirs = of(samples, peer);
            for metric in METRICS {
                let ratios = ours.iter().filter_map(|own| {
                    let peer = theirs.iter().find(|peer| peer.round == own.round)?;
                    let (own, peer) = ((metric.value)(own), (metric.value)(peer));
                    (own > 0.0 && peer > 0.0).then(|| own / peer)
                });
                let ratios: Vec<f64> = ratios.collect();
                let rounds = ratios.len();
                found.extend(Spread::of(ratios).map(|ratio| Comparison {
                    scenario: scenario.clone(),
                    peer: peer.clone(),
                    metric: *metric,
                    ratio,
                    rounds,
                }));
            }
        }
    }
    found
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::bench::machine::Machine;
    use crate::bench::sample::{Run, tests::sample};

    /// Three rounds of weir, a peer half as fast, and weir again.
    pub fn entries() -> Vec<Entry> {
        let agents = ["weir", "fluent-bit", "weir (2)"].map(|name| (name.to_owned(), "1.0".to_owned()));
        let run = Run {
            run: "2026-11-23T20:00:00Z".to_owned(),
            machine: Machine { cpu: "A & B".to_owned(), cores: 2, ..Machine::default() },
            agents: agents.to_vec(),
            command: "cargo x bench".to_owned(),
            rounds: 3,
            seconds: 5.0,
        };
        let entry = |scenario: &&str| {
            let mut samples = Vec::new();
            for round in 1..=3 {
                let speed = f64::from(round);
                samples.push(sample(scenario, "weir", round, 4.0 * speed));
                samples.push(sample(scenario, "fluent-bit", round, 2.0 + f64::from(round == 2)));
                samples.push(sample(scenario, "weir (2)", round, 4.1 * speed));
            }
            let scenario = (*scenario).to_owned();
            Entry { run: run.clone(), scenario, samples, failures: Vec::new(), skipped: Vec::new() }
        };
        ["small", "trigger"].iter().map(entry).collect()
    }

    #[test]
    fn the_median_is_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (1.0, 2.0, 3.0));
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of([f64::NAN]), None);
    }

    #[test]
    fn ratios_are_made_within_a_round() {
        let found = compare(&entries());
        let work =
            found.iter().find(|found| found.peer == "fluent-bit" && found.metric.name.starts_with("work"));
        let work = work.unwrap();
        // 4/2, 8/3 and 12/2, not the ratio of the medians, 8/2.
        assert_eq!((work.ratio.low, work.ratio.high, work.rounds), (2.0, 6.0, 3));
        assert!((work.ratio.median - 8.0 / 3.0).abs() < 1e-9);
        assert!(!work.is_behind() && !work.is_uncertain() && !work.is_noise());
        assert!(found.iter().all(|found| !found.metric.name.contains("onnection")));
    }

    #[test]
    fn being_behind_depends_on_what_is_better() {
        let found = compare(&entries());
        let noise =
            found.iter().find(|found| found.is_noise() && found.metric.name.starts_with("work")).unwrap();
        assert!(noise.is_behind() && noise.ratio.median > 0.97);
        let peak = found.iter().find(|found| found.metric.name == "peak RSS").unwrap();
        assert!(!peak.is_behind() && peak.is_uncertain());
    }
}
