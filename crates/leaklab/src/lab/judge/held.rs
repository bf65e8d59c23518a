//! What a held connection costs, and whether it comes back.

use super::increments::{Amounts, between};
use super::{Factor, Growth, Row, Verdict};
use crate::lab::capture::{Floor, Kind};
use crate::lab::figure;
use crate::lab::plan::Margins;
use crate::lab::statistics::{Estimate, bootstrap, median, slope_through_origin, spread, theil_sen};

/// The share of intervals that may be wrong.
const DOUBT: f64 = 0.05;
/// The share of what connections took that is back when they are closed, of what is theirs only while held.
const RETURNED: f64 = 0.3;

/// The least connections that must have been held.
const FEWEST: f64 = 15.0;

/// What was found.
pub struct Held {
    /// What grows.
    pub growing: Vec<Growth>,
    /// The factor.
    pub row: Row,
}

/// One time that connections were held.
#[derive(Debug, Clone, Copy, Default)]
struct Visit {
    /// How many, with a small and with a large request each.
    small: f64,
    large: f64,
    /// By how much memory was higher than before.
    risen_small: f64,
    risen_large: f64,
    /// What came back when they were closed.
    returned: f64,
    /// Memory while held, above that of the first floor.
    level: f64,
    body: f64,
}

fn visits(floors: &[Floor], slopes: &Amounts) -> Vec<Visit> {
    let mut found = Vec::new();
    let mut before: Option<&Floor> = None;
    let mut visit: Option<Visit> = None;
    let Some(first) = floors.first() else { return found };
    // What grows anyway is taken away.
    let grown = |from: &Floor, to: &Floor| {
        let amounts = between(from, to);
        let leaked: f64 = amounts.iter().zip(slopes).map(|(amount, slope)| amount * slope).sum();
        to.anonymous as f64 - from.anonymous as f64 - leaked
    };
    let mut last = first;
    for floor in floors {
        match (floor.kind, before, &mut visit) {
            (Kind::Held, Some(before), None) => {
                let risen = grown(before, floor);
                let level = grown(first, floor);
                visit =
                    Some(Visit { small: floor.held as f64, risen_small: risen, level, ..Visit::default() });
            }
            (Kind::HeldLarge, Some(before), Some(visit)) => {
                visit.large = floor.held as f64;
                visit.risen_large = grown(before, floor);
                visit.level = grown(first, floor);
                visit.body = floor.body as f64;
            }
            (Kind::Closed, Some(_), _) => {
                if let Some(mut visit) = visit.take().filter(|visit| visit.small > 0.0) {
                    visit.returned = -grown(last, floor);
                    if floor.cycle > 0 {
                        found.push(visit);
                    }
                }
                before = Some(floor);
            }
            (Kind::Size, ..) => break,
            _ => before = Some(floor),
        }
        last = floor;
    }
    found
}

/// Bytes per connection, with the interval.
fn cost(points: &[(f64, f64)]) -> Estimate {
    let blocks: Vec<Vec<(f64, f64)>> = points.iter().map(|point| vec![*point]).collect();
    bootstrap(&blocks, DOUBT, |drawn| {
        slope_through_origin(&drawn.iter().map(|point| **point).collect::<Vec<_>>())
    })
}

/// Finds it.
pub fn held(floors: &[Floor], slopes: &Amounts, margins: &Margins, collects: bool) -> Held {
    let visits = visits(floors, slopes);
    let large: Vec<(f64, f64)> = visits
        .iter()
        .filter(|visit| visit.large > 0.0)
        .map(|visit| (visit.large, visit.risen_large))
        .collect();
    let small: Vec<(f64, f64)> = visits.iter().map(|visit| (visit.small, visit.risen_small)).collect();
    let points = if large.is_empty() { small.clone() } else { large.clone() };
    // A few connections say little: what a thread needs to start is more than what it needs to stay.
    let most = points.iter().fold(0.0, |most, (held, _)| f64::max(most, *held));
    let measured = points.len() >= 2 && most >= FEWEST;
    let estimate = if measured { cost(&points) } else { Estimate::default() };
    let mut growing = Vec::new();
    if measured {
        growing.extend(per_connection(&visits, &points, estimate, margins, collects));
    }
    if !growing.is_empty() && large.len() >= 2 {
        growing.extend(with_size(&visits));
    }
    let grows = !growing.is_empty();
    let mut staircase = vec![(0.0, 0.0)];
    staircase.extend(points);
    let row = Row {
        factor: Factor::ConnectionsHeld,
        protocol: None,
        measured,
        grows,
        slope: estimate.value,
        unit: Factor::ConnectionsHeld.unit().to_owned(),
        interval: [estimate.low, estimate.high],
        excluded: (measured && !grows).then(|| estimate.high.max(0.0)),
        staircase: if measured { staircase } else { Vec::new() },
    };
    Held { growing, row }
}

fn per_connection(
    visits: &[Visit],
    points: &[(f64, f64)],
    estimate: Estimate,
    margins: &Margins,
    collects: bool,
) -> Option<Growth> {
    let residuals: Vec<f64> = points.iter().map(|(x, y)| y - estimate.value * x).collect();
    let most = points.iter().fold(0.0, |most, (x, _)| f64::max(most, *x));
    let noise = spread(&residuals) * if collects { 2.0 } else { 1.0 };
    let share: Vec<f64> = visits
        .iter()
        .map(|visit| visit.returned / visit.risen_large.max(visit.risen_small).max(1.0))
        .collect();
    let returned = median(&share);
    // Where what was freed is not given back, a later visit finds it there and rises little: then the level over
    // more and more connections shows the cost.
    let levels: Vec<(f64, f64)> =
        visits.iter().map(|visit| (visit.large.max(visit.small), visit.level)).collect();
    let by_level = theil_sen(&levels);
    let clearly = estimate.low > margins.connection_held && estimate.value * most > 2.0 * noise;
    let (verdict, slope, interval) = if clearly && (returned >= RETURNED || collects) {
        (Verdict::PerConnection, estimate.value, [estimate.low, estimate.high])
    } else if clearly || (by_level > margins.connection_held * 2.0 && !collects) {
        (
            Verdict::HighWater,
            by_level.max(estimate.value),
            [estimate.low.min(by_level), estimate.high.max(by_level)],
        )
    } else {
        return None;
    };
    let evidence = format!(
        "each connection that is held costs {} ({} to {}), over {} times that up to {most:.0} were held and verified open; {:.0} % of it came back when they were closed",
        figure::bytes(slope),
        figure::bytes(interval[0]),
        figure::bytes(interval[1]),
        points.len(),
        returned.clamp(0.0, 1.0) * 100.0,
    );
    let unit = Factor::ConnectionsHeld.unit().to_owned();
    Some(Growth {
        verdict,
        factor: Factor::ConnectionsHeld,
        slope,
        unit,
        interval,
        protocol: None,
        bytes: slope * most,
        evidence,
    })
}

/// Whether the cost goes with the size of the request that came over the connection.
fn with_size(visits: &[Visit]) -> Option<Growth> {
    let body = visits.iter().map(|visit| visit.body).fold(0.0, f64::max);
    let points: Vec<(f64, f64)> = visits
        .iter()
        .filter(|visit| visit.large > 0.0 && visit.large == visit.small)
        .map(|visit| (visit.large * visit.body, visit.risen_large - visit.risen_small))
        .collect();
    let estimate = cost(&points);
    if estimate.low < 0.2 || body <= 0.0 {
        return None;
    }
    let evidence = format!(
        "a held connection costs {:.2} bytes more per byte of its largest request ({:.2} to {:.2}), {} after one of {}",
        estimate.value,
        estimate.low,
        estimate.high,
        figure::bytes(estimate.value * body),
        figure::bytes(body),
    );
    Some(Growth {
        verdict: Verdict::PerConnection,
        factor: Factor::PayloadBytes,
        slope: estimate.value,
        unit: Factor::PayloadBytes.unit().to_owned(),
        interval: [estimate.low, estimate.high],
        protocol: None,
        // Named behind the connections, which it is a part of.
        bytes: 0.0,
        evidence,
    })
}
