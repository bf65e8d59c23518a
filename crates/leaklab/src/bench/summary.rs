//! Medians over rounds, and ratios of weir to each peer within a round.

use super::sample::{Run, Sample};

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
    pub value: fn(&Sample) -> f64,
    pub more_is_better: bool,
    /// For scenarios about held connections, and only for them.
    pub held: bool,
}

/// What is compared, the most telling first.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "work per CPU-second",
        value: Sample::requests_per_cpu,
        more_is_better: true,
        held: false,
    },
    Metric { name: "MB/s", value: Sample::mb_per_second, more_is_better: true, held: false },
    Metric { name: "p99", value: |sample| sample.latency_ms.p99, more_is_better: false, held: false },
    Metric {
        name: "memory per connection",
        value: Sample::bytes_per_connection,
        more_is_better: false,
        held: true,
    },
    Metric { name: "peak RSS", value: |sample| sample.rss_peak as f64, more_is_better: false, held: false },
    Metric {
        name: "rested RSS",
        value: |sample| sample.rss_rested as f64,
        more_is_better: false,
        held: false,
    },
];

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

/// The samples of an agent in a scenario, by round.
pub fn of<'a>(samples: &'a [Sample], scenario: &str, agent: &str) -> Vec<&'a Sample> {
    samples.iter().filter(|sample| sample.scenario == scenario && sample.agent == agent).collect()
}

/// The middle of a figure over the rounds; zero where there is none.
pub fn median(samples: &[&Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    Spread::of(samples.iter().map(|sample| value(sample))).map_or(0.0, |spread| spread.median)
}

/// Every ratio of the first agent, weir, to the others.
pub fn compare(run: &Run, samples: &[Sample]) -> Vec<Comparison> {
    let Some(((own, _), peers)) = run.agents.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for scenario in &run.scenarios {
        let ours = of(samples, scenario, own);
        for (peer, _) in peers {
            let theirs = of(samples, scenario, peer);
            let is_held = ours.iter().any(|sample| sample.held > 0);
            for metric in METRICS.iter().filter(|metric| !metric.held || is_held) {
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
    use crate::bench::sample::tests::sample;

    /// Three rounds of weir, a peer half as fast, and weir again.
    pub fn run() -> (Run, Vec<Sample>) {
        let agents = ["weir", "fluent-bit", "weir (2)"].map(|name| (name.to_owned(), "1.0".to_owned()));
        let run = Run {
            run: "2026-11-23T20:00:00Z".to_owned(),
            machine: Machine { cpu: "A & B".to_owned(), cores: 2, ..Machine::default() },
            agents: agents.to_vec(),
            command: "cargo x bench".to_owned(),
            rounds: 3,
            seconds: 5.0,
            scenarios: vec!["small".to_owned(), "trigger".to_owned()],
            skipped: vec!["kusto: fluent-bit cannot be pointed at a local Kusto".to_owned()],
        };
        let mut samples = Vec::new();
        for scenario in ["small", "trigger"] {
            for round in 1..=3 {
                let speed = f64::from(round);
                samples.push(sample(scenario, "weir", round, 4.0 * speed));
                samples.push(sample(scenario, "fluent-bit", round, 2.0 + f64::from(round == 2)));
                samples.push(sample(scenario, "weir (2)", round, 4.1 * speed));
            }
        }
        (run, samples)
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
        let (run, samples) = run();
        let found = compare(&run, &samples);
        let work =
            found.iter().find(|found| found.peer == "fluent-bit" && found.metric.name.starts_with("work"));
        let work = work.unwrap();
        // 4/2, 8/3 and 12/2, not the ratio of the medians, 8/2.
        assert_eq!((work.ratio.low, work.ratio.high, work.rounds), (2.0, 6.0, 3));
        assert!((work.ratio.median - 8.0 / 3.0).abs() < 1e-9);
        assert!(!work.is_behind() && !work.is_uncertain() && !work.is_noise());
        assert!(found.iter().all(|found| !found.metric.held));
    }

    #[test]
    fn being_behind_depends_on_what_is_better() {
        let (run, samples) = run();
        let found = compare(&run, &samples);
        let noise =
            found.iter().find(|found| found.is_noise() && found.metric.name.starts_with("work")).unwrap();
        assert!(noise.is_behind() && noise.ratio.median > 0.97);
        let peak = found.iter().find(|found| found.metric.name == "peak RSS").unwrap();
        assert!(!peak.is_behind() && peak.is_uncertain());
    }
}
