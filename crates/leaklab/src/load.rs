//! Load over HTTP/1.1 from one thread: as many connections as wanted, each with one request at a time.
//!
//! The generator prepares the bytes of its request once and sends them again and again, so that it costs little
//! more than the system calls. It still reports the share of a core it used: where that is all of one, the
//! figures are the generator's and not the server's.

mod command;
mod connection;
mod driver;
mod outcome;
mod plan;
mod poll;

pub use command::command;
pub use driver::{Held, run};
pub use outcome::{Latency, Outcome, Progress};
pub use plan::{Plan, Target};

/// Connections at a time.
pub const CONNECTIONS: usize = 50_000;
/// The share of a core above which the generator may have been what was measured.
pub const BUSY: f64 = 0.9;
