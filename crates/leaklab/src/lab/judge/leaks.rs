//! Growth that goes on: which factor explains the increments, and is it growth at all.

use std::collections::BTreeMap;

use super::increments::{Amounts, STREAMS, Step, TIME};
use super::{Factor, Growth, Row, Verdict};
use crate::lab::capture::Kind;
use crate::lab::figure;
use crate::lab::plan::Margins;
use crate::lab::statistics::{Estimate, bootstrap, median, slope_through_origin, spread, theil_sen};

/// The factors, in the order of the amounts; what stands at the place of streams is requests over HTTP/2.
const FACTORS: [Factor; 6] = [
    Factor::Requests,
    Factor::PayloadBytes,
    Factor::ConnectionsOpened,
    Factor::DistinctKeys,
    Factor::Requests,
    Factor::Time,
];
/// The share of intervals that may be wrong, over all factors.
const DOUBT: f64 = 0.05;
/// How much of the increments a factor must explain.
const EXPLAINED: f64 = 0.35;
/// Growth in the second half of the cycles, as a share of that in the first, that is not drying up.
const GOES_ON: f64 = 0.3;
/// Growth must be above the noise of as many blocks by this factor.
const ABOVE_NOISE: f64 = 3.0;
/// Growth over the run that is taken for none, whatever the noise.
const LEAST: f64 = (384 << 10) as f64;
/// The same for a runtime that collects garbage.
const LEAST_COLLECTED: f64 = (3 << 20) as f64;

/// What was found.
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
pub fn leaks(steps: &[Step], margins: &Margins, collects: bool) -> Leaks {
    let mut rest: Vec<Step> = steps.iter().filter(|step| step.cycle > 0).copied().collect();
    let mut slopes = [0.0; 6];
    let mut growing = Vec::new();
    while growing.len() < 3 {
        let Some((factor, estimate)) = best(&rest, margins, collects, &slopes) else { break };
        slopes[factor] = estimate.value;
        growing.push(growth(factor, estimate, &rest, steps));
        for step in &mut rest {
            step.grown -= estimate.value * step.amounts[factor];
        }
    }
    let factors = (0..6).map(|factor| row(factor, &rest, &slopes, &growing)).collect();
    Leaks { growing, factors, slopes }
}

/// The factor that explains most, if it passes every test.
fn best(steps: &[Step], margins: &Margins, collects: bool, known: &Amounts) -> Option<(usize, Estimate)> {
    let nothing: f64 = steps.iter().map(|step| step.grown.abs()).sum();
    let mut candidates: Vec<(f64, usize)> = (0..6)
        .filter(|factor| known[*factor] == 0.0 && measured(*factor, steps))
        .map(|factor| (loss(steps, factor, slope(steps, factor)), factor))
        .collect();
    candidates.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Only the one that explains most is a candidate: what a second explains is seen when the first is taken away.
    let (left, factor) = *candidates.first()?;
    let estimate = estimate(steps, factor);
    let passes = left <= nothing * (1.0 - EXPLAINED) && is_growth(steps, factor, estimate, margins, collects);
    passes.then_some((factor, estimate))
}

/// Whether there was anything of the factor in blocks of its own.
fn measured(factor: usize, steps: &[Step]) -> bool {
    steps.iter().filter(|step| own(factor, step.kind) && step.amounts[factor] > 0.0).count() >= 2
}

fn slope(steps: &[Step], factor: usize) -> f64 {
    slope_through_origin(&steps.iter().map(|step| (step.amounts[factor], step.grown)).collect::<Vec<_>>())
}

fn loss(steps: &[Step], factor: usize, slope: f64) -> f64 {
    steps.iter().map(|step| (step.grown - slope * step.amounts[factor]).abs()).sum()
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
        theil_sen(&staircase(&drawn, factor))
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

fn is_growth(steps: &[Step], factor: usize, estimate: Estimate, margins: &Margins, collects: bool) -> bool {
    let margin = FACTORS[factor].margin(margins) / if factor == TIME { 3600.0 } else { 1.0 };
    let own: Vec<&Step> = steps.iter().filter(|step| own(factor, step.kind)).collect();
    let amount: f64 = own.iter().map(|step| step.amounts[factor]).sum();
    let total = estimate.value * amount;
    let residuals: Vec<f64> =
        steps.iter().map(|step| step.grown - estimate.value * step.amounts[factor]).collect();
    let noise = spread(&residuals) * (own.len() as f64).sqrt();
    let least = if collects { LEAST_COLLECTED } else { LEAST };
    let half = own.len() / 2;
    let ratio = |steps: &[&Step]| {
        median(&steps.iter().map(|step| step.grown / step.amounts[factor].max(1e-9)).collect::<Vec<_>>())
    };
    let goes_on = ratio(&own[half..]) >= GOES_ON * ratio(&own[..half]);
    estimate.low > margin && total > least.max(ABOVE_NOISE * noise) && goes_on
}

fn per(factor: usize, slope: f64) -> f64 {
    if factor == TIME { slope * 3600.0 } else { slope }
}

fn protocol(factor: usize) -> Option<String> {
    (factor == STREAMS).then(|| "http/2".to_owned())
}

fn growth(factor: usize, estimate: Estimate, steps: &[Step], all: &[Step]) -> Growth {
    let name = FACTORS[factor];
    let verdict = if name == Factor::DistinctKeys { Verdict::Cardinality } else { Verdict::Leak };
    let own: Vec<&Step> = steps.iter().filter(|step| own(factor, step.kind)).collect();
    let amount: f64 = all.iter().map(|step| step.amounts[factor]).sum();
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

fn row(factor: usize, rest: &[Step], slopes: &Amounts, growing: &[Growth]) -> Row {
    let name = FACTORS[factor];
    let measured = measured(factor, rest);
    let own: Vec<Step> = rest.iter().filter(|step| own(factor, step.kind)).copied().collect();
    // What was taken away for the factor itself is put back: the picture shows what was seen.
    let seen: Vec<Step> = own
        .iter()
        .map(|step| Step { grown: step.grown + slopes[factor] * step.amounts[factor], ..*step })
        .collect();
    let estimate = if measured { estimate(&seen, factor) } else { Estimate::default() };
    let grows = growing.iter().any(|growth| growth.factor == name && growth.protocol == protocol(factor));
    let interval = [per(factor, estimate.low), per(factor, estimate.high)];
    Row {
        factor: name,
        protocol: protocol(factor),
        measured,
        grows,
        slope: per(factor, estimate.value),
        unit: name.unit().to_owned(),
        interval,
        excluded: (measured && !grows).then(|| interval[1].max(0.0)),
        staircase: if measured { staircase(&seen, factor) } else { Vec::new() },
    }
}
