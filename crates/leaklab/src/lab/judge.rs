//! From floors to a verdict, pure.
//!
//! 1. `increments`: what memory grew by over each block, and what was done in it.
//! 2. `leaks`: `fit` shares the increments of all blocks out among the factors; those that do not pass every test
//!    leave, the weakest first. Growth that dries up is no leak.
//! 3. `held`: what a held connection costs, and whether it comes back when it is closed.
//! 4. `kept`: what is kept of the peak: by the allocator if it gives it back when asked, else by the program.
//!
//! A factor without growth gets the growth that is excluded: the upper end of its interval. A run in which too
//! little was done to exclude growth that matters is `doubt`ful, and not clean.

mod doubt;
mod fit;
mod held;
mod increments;
mod kept;
mod leaks;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::capture::Capture;
use super::plan::Margins;
use super::{program, statistics};
pub use doubt::EXCLUDED;
pub use increments::{Step, steps};

/// What a process does with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Growth above the stated amounts is excluded.
    Clean,
    /// It grows as long as the factor goes on.
    Leak,
    /// It keeps its peak.
    HighWater,
    /// As much as long as a connection is held.
    PerConnection,
    /// The allocator keeps what was freed.
    Retention,
    /// It grows with keys it has not seen before.
    Cardinality,
    /// It could not be decided.
    Inconclusive,
}

/// What memory grows with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Factor {
    /// Requests answered.
    Requests,
    /// Bytes of their bodies.
    PayloadBytes,
    /// Connections opened, also when they are closed again.
    ConnectionsOpened,
    /// Connections open at a time.
    ConnectionsHeld,
    /// Keys that were sent for the first time.
    DistinctKeys,
    /// Nothing but time.
    Time,
    /// None of them.
    None,
}

impl Verdict {
    /// As in the JSON document.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Clean => "clean",
            Verdict::Leak => "leak",
            Verdict::HighWater => "high_water",
            Verdict::PerConnection => "per_connection",
            Verdict::Retention => "retention",
            Verdict::Cardinality => "cardinality",
            Verdict::Inconclusive => "inconclusive",
        }
    }
}

impl Factor {
    /// As in the JSON document.
    pub fn name(self) -> &'static str {
        match self {
            Factor::Requests => "requests",
            Factor::PayloadBytes => "payload_bytes",
            Factor::ConnectionsOpened => "connections_opened",
            Factor::ConnectionsHeld => "connections_held",
            Factor::DistinctKeys => "distinct_keys",
            Factor::Time => "time",
            Factor::None => "none",
        }
    }

    /// The unit of its slope.
    pub fn unit(self) -> &'static str {
        match self {
            Factor::Requests => "bytes per request",
            Factor::PayloadBytes => "bytes per payload byte",
            Factor::ConnectionsOpened | Factor::ConnectionsHeld => "bytes per connection",
            Factor::DistinctKeys => "bytes per key",
            Factor::Time => "bytes per hour",
            Factor::None => "bytes",
        }
    }

    /// The growth that is taken for none.
    pub fn margin(self, margins: &Margins) -> f64 {
        match self {
            Factor::Requests => margins.request,
            Factor::PayloadBytes => margins.payload_byte,
            Factor::ConnectionsOpened => margins.connection_opened,
            Factor::ConnectionsHeld => margins.connection_held,
            Factor::DistinctKeys => margins.key,
            Factor::Time => margins.hour,
            Factor::None => margins.kept,
        }
    }
}

/// Growth with one factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// Of which kind.
    pub verdict: Verdict,
    /// With what.
    pub factor: Factor,
    /// How much.
    pub slope: f64,
    /// In which unit.
    pub unit: String,
    /// Between what and what it lies.
    pub interval: [f64; 2],
    /// `http/2` where it grows over that only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// How many bytes of the run it explains.
    pub bytes: f64,
    /// What it is seen by.
    pub evidence: String,
}

/// What is known of one factor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The factor.
    pub factor: Factor,
    /// `http/2` where only that is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Whether it could be measured.
    pub measured: bool,
    /// Whether memory grows with it.
    pub grows: bool,
    /// The slope that was seen, beside the growth with other factors.
    pub slope: f64,
    /// Its unit.
    pub unit: String,
    /// Its interval.
    pub interval: [f64; 2],
    /// Growth above this is excluded; None where it grows or was not measured.
    pub excluded: Option<f64>,
    /// The staircase: how much of the factor, and the memory that came with it.
    pub staircase: Vec<(f64, f64)>,
}

/// The decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// The worst that was found.
    pub verdict: Verdict,
    /// What it goes with.
    pub factor: Factor,
    /// How much.
    pub slope: f64,
    /// In which unit.
    pub unit: String,
    /// Between what and what it lies.
    pub interval: [f64; 2],
    /// Why, in sentences.
    pub evidence: Vec<String>,
    /// Everything that grows, worst first.
    pub growing: Vec<Growth>,
    /// Every factor.
    pub factors: Vec<Row>,
}

/// How bad it is, the worst first: growth that goes on counts many times what is only kept, but a trickle does not
/// hide a flood.
fn weight(growth: &Growth) -> f64 {
    let goes_on = match growth.verdict {
        Verdict::Leak | Verdict::Cardinality => 20.0,
        Verdict::PerConnection => 4.0,
        _ => 1.0,
    };
    growth.bytes * goes_on
}

/// Cycles that it takes to tell growth from chance.
pub const CYCLES: u32 = 3;
const TOO_FEW: &str = "the time was enough for fewer than three cycles: give it a larger --budget";

/// Decides on a capture.
pub fn judge(capture: &Capture, margins: &Margins) -> Judgement {
    let floors = capture.floors();
    let program = capture.header().map(|header| header.program.clone()).unwrap_or_default();
    let collects = program::collects(&program);
    let steps = steps(&floors);
    let cycles: BTreeSet<u32> = steps.iter().filter(|step| step.cycle > 0).map(|step| step.cycle).collect();
    let usual: Vec<f64> = floors.iter().map(|floor| floor.unasked as f64).collect();
    let enough = cycles.len() >= CYCLES as usize;
    let least = leaks::least(collects, statistics::median(&usual));
    let leaks = if enough { leaks::leaks(&steps, margins, least) } else { leaks::Leaks::default() };
    let mut growing = leaks.growing;
    let mut factors = leaks.factors;
    let held = held::held(&floors, &leaks.slopes, margins, collects);
    factors.push(held.row);
    growing.extend(held.growing);
    // Of a run that ended early it is not known what would have come back.
    if enough {
        growing.extend(kept::kept(&floors, &leaks.slopes, margins, &program, &growing));
    }
    growing.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    let doubt =
        if enough { doubt::doubt(&factors, capture, margins, least) } else { Some(TOO_FEW.to_owned()) };
    conclude(growing, factors, doubt, capture)
}

/// `doubt`: why nothing may be called clean.
fn conclude(growing: Vec<Growth>, factors: Vec<Row>, doubt: Option<String>, capture: &Capture) -> Judgement {
    let mut evidence: Vec<String> = growing.iter().map(|growth| growth.evidence.clone()).collect();
    let doubt = doubt.filter(|_| growing.is_empty());
    let verdict = if doubt.is_some() { Verdict::Inconclusive } else { Verdict::Clean };
    evidence.extend(doubt);
    if growing.is_empty() {
        let excluded: Vec<String> = factors
            .iter()
            .filter_map(|row| Some(format!("{} {}", super::figure::round(row.excluded?), row.unit)))
            .collect();
        if !excluded.is_empty() {
            evidence.push(format!("growth is excluded above {}", excluded.join(", ")));
        }
    }
    // That there is no HTTP/2 is no gap.
    let not: Vec<&str> = factors
        .iter()
        .filter(|row| !row.measured && row.protocol.is_none())
        .map(|row| row.factor.name())
        .collect();
    if !not.is_empty() {
        evidence.push(format!("not measured: {}", not.join(", ")));
    }
    evidence.extend(capture.notes().map(str::to_owned));
    match growing.first() {
        Some(first) => Judgement {
            verdict: first.verdict,
            factor: first.factor,
            slope: first.slope,
            unit: first.unit.clone(),
            interval: first.interval,
            evidence,
            growing,
            factors,
        },
        None => {
            let requests = factors.first();
            Judgement {
                verdict,
                factor: Factor::None,
                slope: 0.0,
                unit: Factor::Requests.unit().to_owned(),
                interval: requests.map_or([0.0; 2], |row| row.interval),
                evidence,
                growing,
                factors,
            }
        }
    }
}

/// What could not be decided.
pub fn could_not(why: &str) -> Judgement {
    Judgement {
        verdict: Verdict::Inconclusive,
        factor: Factor::None,
        slope: 0.0,
        unit: Factor::None.unit().to_owned(),
        interval: [0.0; 2],
        evidence: vec![why.to_owned()],
        growing: Vec::new(),
        factors: Vec::new(),
    }
}
