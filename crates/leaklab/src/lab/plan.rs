//! Plan files: what an experiment does, in JSON. Everything has a default; see docs/leaklab.md.

use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::capture::Kind;

/// The largest plan and the largest payload that are read.
const PLAN: u64 = 1 << 20;
const PAYLOAD: u64 = 64 << 20;

/// The name of the payload that is made.
pub const ALERT: &str = "alert";

/// A plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// A file with the payload, relative to the folder of the plan; or `alert`, the one of `leaklab payload`.
    pub payload: Option<String>,
    /// The target's command line, where none is given.
    pub cmd: Option<String>,
    /// The URL, where none is given.
    pub url: Option<String>,
    /// Bytes of a large body.
    pub large: usize,
    /// The most connections that are held at a time.
    pub held: u64,
    /// The sizes of the last staircase; the server may refuse the larger ones.
    pub sizes: Vec<usize>,
    /// The blocks of a cycle.
    pub blocks: Vec<Kind>,
    /// Seconds of load in a block at least; a larger budget makes them longer.
    pub block: f64,
    /// Seconds of rest before memory is read.
    pub rest: f64,
    /// Cycles at most; a budget may allow fewer.
    pub cycles: u32,
    /// Requests (or connections) in a block at most.
    pub requests: u64,
    /// Ask allocator and collector of the target to give back what nobody needs before memory is read.
    pub trim: bool,
    /// The first bytes per unit that count as growth; see [`Margins`].
    pub margins: Margins,
}

/// Growth below these is taken for none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Margins {
    /// Bytes per request.
    pub request: f64,
    /// Bytes per byte of payload.
    pub payload_byte: f64,
    /// Bytes per connection opened.
    pub connection_opened: f64,
    /// Bytes per connection held.
    pub connection_held: f64,
    /// Bytes per distinct key.
    pub key: f64,
    /// Bytes per hour.
    pub hour: f64,
    /// Bytes that a process may keep of its peak.
    pub kept: f64,
}

impl Default for Margins {
    fn default() -> Margins {
        Margins {
            request: 16.0,
            payload_byte: 0.001,
            connection_opened: 64.0,
            connection_held: (128 << 10) as f64,
            key: 24.0,
            hour: 8e6,
            kept: (6 << 20) as f64,
        }
    }
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            payload: None,
            cmd: None,
            url: None,
            large: 186 << 10,
            held: 100,
            sizes: vec![1 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20],
            blocks: vec![
                Kind::Requests,
                Kind::Payload,
                Kind::Connections,
                Kind::Keys,
                Kind::Held,
                Kind::Streams,
                Kind::Rest,
            ],
            block: 0.5,
            rest: 0.3,
            cycles: 12,
            requests: 50_000,
            trim: true,
            margins: Margins::default(),
        }
    }
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// The file cannot be read, or is no plan: a sentence with the place.
    pub fn read(path: &Path) -> Result<Plan, String> {
        let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let bytes = limited(path, PLAN)?;
        let mut plan: Plan = serde_json::from_slice(&bytes).map_err(|error| fail(&error))?;
        if let (Some(payload), Some(folder)) = (&plan.payload, path.parent())
            && payload != ALERT
        {
            plan.payload = Some(folder.join(payload).to_string_lossy().into_owned());
        }
        let sound = plan.block > 0.0 && plan.rest > 0.0 && plan.held < 10_000 && plan.cycles > 0;
        if sound {
            Ok(plan)
        } else {
            Err(fail(&"block, rest, held or cycles are outside of what is possible"))
        }
    }
}

/// A payload from a file.
///
/// # Errors
/// The system's, or it is too large.
pub fn payload(path: &Path) -> Result<Vec<u8>, String> {
    limited(path, PAYLOAD)
}

fn limited(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(largest + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("{}: {error}", path.display())),
        Ok(count) if count as u64 > largest => {
            Err(format!("{} is larger than {largest} bytes", path.display()))
        }
        Ok(_) => Ok(bytes),
    }
}
