//! Growth that goes on: which factor explains the increments, and is it growth at all.

use std::collections::BTreeMap;

use super::increments::{Amounts, STREAMS, Step, TIME};
use super::{Factor, Growth, Row, Verdict, fit};
use crate::lab::capture::Kind;
use crate::lab::figure;
use crate::lab::plan::Margins;
use crate::lab::statistics::{Estimate, between, bootstrap, spread, theil_sen};

/// The factors, in the order of the amounts; what stands at the place of streams is requests over HTTP/2.
const FACTORS: [Factor; 6] = [
    Factor::Requests,
    Factor::PayloadBytes,
    Factor::ConnectionsOpened,
    Factor::DistinctKeys,
    Factor::Requests,
    Factor::Time,
];
/// The least of each that must have been done: what a few requests leave is chance. Each thread of a server has its
/// own arena, and the first requests of each say more about arenas than about requests.
const FEWEST: Amounts = [200.0, 2e7, 150.0, 200.0, 200.0, 1.0];
/// The share of intervals that may be wrong, over all factors.
const DOUBT: f64 = 0.05;
/// The least part of all growth that is named as growth with a factor.
const SHARE: f64 = 0.15;
/// Growth over the run that could hide between two floors: some pages.
const FINEST: f64 = (64 << 10) as f64;
/// Growth in the second half of the cycles, as a share of that in the first, that is not drying up.
const GOES_ON: f64 = 0.3;
/// Growth must be above the noise of as many blocks by this factor.
const ABOVE_NOISE: f64 = 3.0;
/// Growth over the run that is taken for none, whatever the noise.
const LEAST: f64 = (384 << 10) as f64;
/// The same for a runtime that collects garbage.
const LEAST_COLLECTED: f64 = (4 << 20) as f64;

/// The same as a share of what the process has.
const LEAST_SHARE: f64 = 0.015;

/// The growth over the run that is taken for none.
pub fn least(collects: bool, usual: f64) -> f64 {
    let fixed = if collects { LEAST_COLLECTED } else { LEAST };
    fixed.max(usual * LEAST_SHARE)
}

/// What was found.
#[derive(Default)]
pub struct Leaks {
    /// What grows.
    pub growing: Vec<Growth>,
    /// Every factor.
    pub factors: Vec<Row>,
    /// Bytes per amount of each factor that grows, 0 for the others.
    pub slopes: Amounts,
}

/// Blocks that are about a factor.
fn own(factor: usize, kind: Kind) -> bool {
    match factor {
        0 => kind == Kind::Requests,
        1 => kind == Kind::Payload,
        2 => kind == Kind::Connections,
        3 => kind == Kind::Keys,
        STREAMS => kind == Kind::Streams,
        _ => true,
    }
}

/// Finds them.
pub fn leaks(steps: &[Step], margins: &Margins, least: f64) -> Leaks {
    let steps: Vec<Step> = steps.iter().filter(|step| step.cycle > 0).copied().collect();
    let fitting = Fitting { steps: &steps, cycles: fit::cycles(&steps), least };
    let mut among: Vec<usize> = (0..6).filter(|factor| measured(*factor, &steps)).collect();
    // A factor that does not pass leaves, the weakest first, and what it explained goes to the others.
    let (slopes, estimates) = loop {
        let slopes = fit::slopes(&fitting.rows(), &among);
        let estimates = match fitting
            .weakest(&slopes, &among, |factor| !fitting.looks_like_growth(&slopes, &among, factor))
        {
            Some(factor) => Err(factor),
            None => {
                let estimates = fitting.estimates(&slopes, &among);
                let chance =
                    |factor: usize| per(factor, estimates[factor].low) <= FACTORS[factor].margin(margins);
                fitting.weakest(&slopes, &among, chance).map_or(Ok(estimates), Err)
            }
        };
        match estimates {
            Ok(estimates) => break (slopes, estimates),
            Err(weakest) => among.retain(|factor| *factor != weakest),
        }
    };
    among.sort_by(|a, b| fitting.explains(&slopes, *b).total_cmp(&fitting.explains(&slopes, *a)));
    let growing = among
        .iter()
        .map(|factor| growth(*factor, estimates[*factor], &fitting.without(&slopes, *factor)))
        .collect();
    let factors = (0..6)
        .map(|factor| {
            let known = among.contains(&factor).then_some(estimates[factor]);
            row(factor, &fitting.without(&slopes, factor), known)
        })
        .collect();
    Leaks { growing, factors, slopes }
}

/// The steps of a capture while factors are tried.
struct Fitting<'a> {
    steps: &'a [Step],
    cycles: Vec<Vec<Step>>,
    least: f64,
}

impl Fitting<'_> {
    fn rows(&self) -> Vec<&Step> {
        self.cycles.iter().flatten().collect()
    }

    /// The growth that a factor explains, over all blocks.
    fn explains(&self, slopes: &Amounts, factor: usize) -> f64 {
        self.steps.iter().map(|step| slopes[factor] * step.amounts[factor]).sum()
    }

    /// Of the factors that fail, the one that explains least.
    fn weakest(&self, slopes: &Amounts, among: &[usize], fails: impl Fn(usize) -> bool) -> Option<usize> {
        let failing = among.iter().copied().filter(|factor| fails(*factor));
        failing.min_by(|a, b| self.explains(slopes, *a).total_cmp(&self.explains(slopes, *b)))
    }

    /// The steps without what the other factors explain.
    fn without(&self, slopes: &Amounts, but: usize) -> Vec<Step> {
        let others = |step: &Step| -> f64 {
            (0..6).filter(|factor| *factor != but).map(|factor| slopes[factor] * step.amounts[factor]).sum()
        };
        self.steps.iter().map(|step| Step { grown: step.grown - others(step), ..*step }).collect()
    }

    /// The tests that need no bootstrap: enough, a part of the whole that counts, no drying up, above the noise.
    fn looks_like_growth(&self, slopes: &Amounts, among: &[usize], factor: usize) -> bool {
        let total = self.explains(slopes, factor);
        let all: f64 = among.iter().map(|factor| self.explains(slopes, *factor)).sum();
        total > self.least
            && total > all * SHARE
            && self.goes_on(among, factor)
            && self.is_above_noise(slopes, factor)
    }

    /// Growth that dries up is no leak.
    fn goes_on(&self, among: &[usize], factor: usize) -> bool {
        let (early, late) = self.cycles.split_at(self.cycles.len() / 2);
        let slope =
            |cycles: &[Vec<Step>]| fit::slopes(&cycles.iter().flatten().collect::<Vec<_>>(), among)[factor];
        slope(late) >= GOES_ON * slope(early)
    }

    /// What a factor explains must be more than what chance adds up to in blocks of its own.
    fn is_above_noise(&self, slopes: &Amounts, factor: usize) -> bool {
        let left = self.without(slopes, factor);
        let errors: Vec<f64> =
            left.iter().map(|step| step.grown - slopes[factor] * step.amounts[factor]).collect();
        let own: Vec<&Step> = left.iter().filter(|step| own(factor, step.kind)).collect();
        let total: f64 = own.iter().map(|step| slopes[factor] * step.amounts[factor]).sum();
        total > ABOVE_NOISE * spread(&errors) * (own.len() as f64).sqrt()
    }

    /// The slopes with their intervals. The doubt is shared out over the factors.
    fn estimates(&self, slopes: &Amounts, among: &[usize]) -> [Estimate; 6] {
        let samples = fit::bootstrap(&self.cycles, among);
        let doubt = DOUBT / FACTORS.len() as f64;
        std::array::from_fn(|factor| {
            let drawn: Vec<f64> = samples.iter().map(|sample| sample[factor]).collect();
            between(slopes[factor], drawn, doubt)
        })
    }
}

/// Whether there was anything of the factor in blocks of its own.
fn measured(factor: usize, steps: &[Step]) -> bool {
    let own: Vec<f64> =
        steps.iter().filter(|step| own(factor, step.kind)).map(|step| step.amounts[factor]).collect();
    own.iter().filter(|amount| **amount > 0.0).count() >= 2 && own.iter().sum::<f64>() >= FEWEST[factor]
}

fn by_cycle(steps: &[Step]) -> Vec<Vec<Step>> {
    let mut cycles: BTreeMap<u32, Vec<Step>> = BTreeMap::new();
    for step in steps {
        cycles.entry(step.cycle).or_default().push(*step);
    }
    cycles.into_values().collect()
}

/// The slope of the factor's own staircase, with the interval of a bootstrap over cycles. The doubt is shared out
/// over the factors.
fn estimate(steps: &[Step], factor: usize) -> Estimate {
    let own: Vec<Step> = steps.iter().filter(|step| own(factor, step.kind)).copied().collect();
    bootstrap(&by_cycle(&own), DOUBT / FACTORS.len() as f64, |drawn| {
        let drawn: Vec<Step> = drawn.iter().map(|step| **step).collect();
        let mut points = staircase(&drawn, factor);
        if factor == TIME {
            // Every block has its time: one point in six says as much about the slope.
            let last = points.len() - 1;
            points = points
                .into_iter()
                .enumerate()
                .filter(|(at, _)| at % 6 == 0 || *at == last)
                .map(|(_, point)| point)
                .collect();
        }
        theil_sen(&points)
    })
}

/// Amounts and memory, added up over the factor's own blocks.
fn staircase(steps: &[Step], factor: usize) -> Vec<(f64, f64)> {
    let mut points = vec![(0.0, 0.0)];
    let (mut x, mut y) = (0.0, 0.0);
    for step in steps {
        x += step.amounts[factor];
        y += step.grown;
        points.push((x, y));
    }
    points
}

fn per(factor: usize, slope: f64) -> f64 {
    if factor == TIME { slope * 3600.0 } else { slope }
}

fn protocol(factor: usize) -> Option<String> {
    (factor == STREAMS).then(|| "http/2".to_owned())
}

fn growth(factor: usize, estimate: Estimate, steps: &[Step]) -> Growth {
    let name = FACTORS[factor];
    let verdict = if name == Factor::DistinctKeys { Verdict::Cardinality } else { Verdict::Leak };
    let own: Vec<&Step> = steps.iter().filter(|step| own(factor, step.kind)).collect();
    let amount: f64 = steps.iter().map(|step| step.amounts[factor]).sum();
    let grown: f64 = own.iter().map(|step| step.grown).sum();
    let evidence = format!(
        "{} blocks of {} raised the floor by {} in all, {} {} ({} to {}){}; {} of it in the whole run",
        own.len(),
        block(factor),
        figure::bytes(grown),
        figure::round(per(factor, estimate.value)),
        name.unit(),
        figure::round(per(factor, estimate.low)),
        figure::round(per(factor, estimate.high)),
        if factor == STREAMS { ", over HTTP/2 only" } else { "" },
        figure::bytes(amount * estimate.value),
    );
    Growth {
        verdict,
        factor: name,
        slope: per(factor, estimate.value),
        unit: name.unit().to_owned(),
        interval: [per(factor, estimate.low), per(factor, estimate.high)],
        protocol: protocol(factor),
        bytes: amount * estimate.value,
        evidence,
    }
}

fn block(factor: usize) -> &'static str {
    match factor {
        0 => "small requests",
        1 => "large requests",
        2 => "connections opened and closed",
        3 => "requests with new keys",
        STREAMS => "HTTP/2 requests",
        _ => "every kind, rest among them,",
    }
}

fn row(factor: usize, steps: &[Step], known: Option<Estimate>) -> Row {
    let grows = known.is_some();
    let name = FACTORS[factor];
    let measured = measured(factor, steps);
    let own: Vec<Step> = steps.iter().filter(|step| own(factor, step.kind)).copied().collect();
    let estimate = match known {
        Some(known) => known,
        None if measured => estimate(steps, factor),
        None => Estimate::default(),
    };
    let interval = [per(factor, estimate.low), per(factor, estimate.high)];
    // Nothing is excluded that is less than the kernel's pages can show.
    let amount: f64 = own.iter().map(|step| step.amounts[factor]).sum();
    let finest = per(factor, FINEST / amount.max(1e-9));
    Row {
        factor: name,
        protocol: protocol(factor),
        measured,
        grows,
        slope: per(factor, estimate.value),
        unit: name.unit().to_owned(),
        interval,
        excluded: (measured && !grows).then(|| interval[1].max(finest)),
        staircase: if measured { staircase(&own, factor) } else { Vec::new() },
    }
}
