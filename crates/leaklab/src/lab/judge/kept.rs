//! What is kept of the peak, by the program or by its allocator.

use super::increments::{Amounts, between};
use super::{Factor, Growth, Verdict};
use crate::lab::capture::{Floor, Kind, Program};
use crate::lab::figure;
use crate::lab::plan::Margins;
use crate::lab::program;
use crate::lab::statistics::{median, theil_sen};

/// What an allocator may keep of what was freed before it is called retention.
const RETAINED: f64 = (8 << 20) as f64;
/// The share of the largest body that must be kept to be its peak.
const OF_PEAK: f64 = 0.5;
/// The same for a runtime that collects garbage, and how much of it must go with the size.
const OF_PEAK_COLLECTED: f64 = 0.75;
/// What a program may need more than at its start, once it is warm.
const WARM: f64 = (24 << 20) as f64;

/// Finds it.
pub fn kept(
    floors: &[Floor],
    slopes: &Amounts,
    margins: &Margins,
    program: &Program,
    growing: &[Growth],
) -> Vec<Growth> {
    let mut found = Vec::new();
    found.extend(by_size(floors, slopes, margins, program::collects(program)));
    let known = !growing.is_empty() || !found.is_empty();
    let cycles: Vec<&Floor> = floors.iter().filter(|floor| floor.kind != Kind::Size).collect();
    if !program.asked.is_empty() {
        found.extend(by_allocator(&cycles));
    }
    let last = cycles.last().filter(|_| !known && found.is_empty() && !program::collects(program));
    if let Some(last) = last {
        // Where nobody could ask the allocator, that the program holds it is not shown.
        let verdict = if program.asked.is_empty() { Verdict::Retention } else { Verdict::HighWater };
        found.extend(since_start(floors, last, slopes, verdict));
    }
    found
}

/// Memory between two floors that is not explained by what grows anyway.
fn beyond(from: &Floor, to: &Floor, slopes: &Amounts) -> f64 {
    let amounts = between(from, to);
    let leaked: f64 = amounts.iter().zip(slopes).map(|(amount, slope)| amount * slope).sum();
    to.anonymous as f64 - from.anonymous as f64 - leaked
}

/// Memory that follows the largest body there ever was.
fn by_size(floors: &[Floor], slopes: &Amounts, margins: &Margins, collects: bool) -> Option<Growth> {
    let first = floors.iter().position(|floor| floor.kind == Kind::Size)?;
    let before = floors.get(first.checked_sub(1)?)?;
    let last = floors.last()?;
    let points: Vec<(f64, f64)> = std::iter::once((0.0, 0.0))
        .chain(
            floors[first..]
                .iter()
                .filter(|floor| floor.kind == Kind::Size)
                .map(|floor| (floor.body as f64, beyond(before, floor, slopes))),
        )
        .collect();
    let largest = points.iter().map(|(size, _)| *size).fold(0.0, f64::max);
    let kept = beyond(before, last, slopes);
    let slope = theil_sen(&points);
    let share = if collects { OF_PEAK_COLLECTED } else { OF_PEAK };
    // The line must go through what was seen: what a collector has not yet taken does not.
    let errors: Vec<f64> = points.iter().map(|(x, y)| (y - slope * x).abs()).collect();
    let worst = errors.iter().copied().fold(0.0, f64::max);
    let least = margins.kept * if collects { 3.0 } else { 1.0 };
    // The largest must have raised it too: what an allocator keeps has a bound.
    let last_step = points
        .windows(2)
        .last()
        .is_some_and(|pair| pair[1].1 - pair[0].1 > 0.4 * slope * (pair[1].0 - pair[0].0));
    if !last_step || kept < least || kept < share * largest || slope < share || worst > 0.5 * slope * largest
    {
        return None;
    }
    let interval = [kept.min(slope * largest) / largest, kept.max(slope * largest) / largest];
    let evidence = format!(
        "after a body of {} memory stays {} higher, {slope:.2} bytes per byte of the largest body so far, and many smaller requests do not bring it down",
        figure::bytes(largest),
        figure::bytes(kept),
    );
    Some(growth(Verdict::HighWater, Factor::PayloadBytes, slope, interval, kept, evidence))
}

fn growth(
    verdict: Verdict,
    factor: Factor,
    slope: f64,
    interval: [f64; 2],
    bytes: f64,
    evidence: String,
) -> Growth {
    Growth {
        verdict,
        factor,
        slope,
        unit: factor.unit().to_owned(),
        interval,
        protocol: None,
        bytes,
        evidence,
    }
}

/// What the allocator gave back when it was asked.
fn by_allocator(floors: &[&Floor]) -> Option<Growth> {
    // Where it was watched longer, that counts: some allocators give back after seconds.
    let watched = |floor: &&&Floor| floor.kind == Kind::Patience;
    let usual = |floor: &&&Floor| floor.cycle > 0 && floor.held == 0;
    let mut warm: Vec<&&Floor> = floors.iter().filter(watched).collect();
    if warm.is_empty() {
        warm = floors.iter().filter(usual).collect();
    }
    let given: Vec<f64> = warm.iter().map(|floor| floor.unasked as f64 - floor.anonymous as f64).collect();
    let before: Vec<f64> = warm.iter().map(|floor| floor.unasked as f64).collect();
    let (given, before) = (median(&given), median(&before));
    if given < RETAINED.max(0.1 * before) {
        return None;
    }
    let evidence = format!(
        "the allocator keeps {} that the program has freed: memory falls from {} to {} when it is asked to give it back",
        figure::bytes(given),
        figure::bytes(before),
        figure::bytes(before - given),
    );
    Some(Growth {
        unit: "bytes".to_owned(),
        ..growth(Verdict::Retention, Factor::None, given, [given, given], given, evidence)
    })
}

/// Memory that came with the first load and stayed, without growing further.
fn since_start(floors: &[Floor], to: &Floor, slopes: &Amounts, verdict: Verdict) -> Option<Growth> {
    let kept = beyond(floors.first()?, to, slopes);
    if kept < WARM {
        return None;
    }
    let (factor, name) = cause(floors);
    let evidence = format!(
        "memory is {} higher than before the first load and does not fall; it came with {name} and then no more",
        figure::bytes(kept),
    );
    Some(Growth { unit: "bytes".to_owned(), ..growth(verdict, factor, kept, [kept, kept], kept, evidence) })
}

/// The block of the warm-up, or the larger body, that raised memory most.
fn cause(floors: &[Floor]) -> (Factor, &'static str) {
    let mut most = (0.0, Factor::None, "the load");
    for pair in floors.windows(2).filter(|pair| pair[1].cycle == 0 || pair[1].kind == Kind::Size) {
        let grown = pair[1].anonymous as f64 - pair[0].anonymous as f64;
        let (factor, name) = match pair[1].kind {
            Kind::Requests | Kind::Streams => (Factor::Requests, "requests"),
            Kind::Payload | Kind::HeldLarge => (Factor::PayloadBytes, "large requests"),
            Kind::Size => (Factor::PayloadBytes, "larger bodies"),
            Kind::Connections => (Factor::ConnectionsOpened, "connections"),
            Kind::Keys => (Factor::DistinctKeys, "new keys"),
            Kind::Held => (Factor::ConnectionsHeld, "connections held at a time"),
            _ => continue,
        };
        if grown > most.0 {
            most = (grown, factor, name);
        }
    }
    (most.1, most.2)
}
