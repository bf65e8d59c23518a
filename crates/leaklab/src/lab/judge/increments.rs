//! What memory grew by over each block, and what was done in it.

use crate::lab::capture::{Floor, Kind};

/// Amounts of the factors: requests, payload bytes, connections opened, distinct keys, streams, seconds.
pub type Amounts = [f64; 6];

/// The place of time among the amounts, and of streams.
pub const TIME: usize = 5;
pub const STREAMS: usize = 4;

/// A block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// 0 is the warm-up.
    pub cycle: u32,
    /// What it did.
    pub kind: Kind,
    /// By how many bytes the floor behind it is above the one before.
    pub grown: f64,
    /// How much of each factor it had.
    pub amounts: Amounts,
}

/// How much of each factor there was until a floor.
pub fn amounts(floor: &Floor) -> Amounts {
    let counts = &floor.counts;
    [
        counts.requests as f64,
        counts.payload_bytes as f64,
        counts.connections_opened as f64,
        counts.distinct_keys as f64,
        counts.streams as f64,
        floor.t,
    ]
}

/// What was done between two floors.
pub fn between(before: &Floor, after: &Floor) -> Amounts {
    let (before, after) = (amounts(before), amounts(after));
    std::array::from_fn(|factor| after[factor] - before[factor])
}

/// Every block of the cycles, until connections are held.
pub fn steps(floors: &[Floor]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut before: Option<&Floor> = None;
    for floor in floors {
        match floor.kind {
            Kind::Held | Kind::HeldLarge | Kind::Size | Kind::Patience => break,
            _ => {}
        }
        if let Some(before) = before {
            let grown = floor.anonymous as f64 - before.anonymous as f64;
            steps.push(Step { cycle: floor.cycle, kind: floor.kind, grown, amounts: between(before, floor) });
        }
        before = Some(floor);
    }
    steps
}
