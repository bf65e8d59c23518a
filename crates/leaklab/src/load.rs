//! Load from one thread: as many connections as wanted, over HTTP/1.1 or HTTP/2, encrypted or not.
//!
//! The generator prepares the bytes of its requests once and sends them again and again, so that it costs little
//! more than the system calls. It still reports the share of a core it used: where that is all of one, the
//! figures are the generator's and not the server's.

use std::any::Any;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

mod command;
mod connection;
mod driver;
mod http2;
mod outcome;
mod plan;
mod poll;
mod tally;
mod tls;

pub use command::command;
pub use outcome::{Latency, Outcome, Progress, Step};
pub use plan::{Body, Plan, Target};
pub use tls::config as tls_config;

/// Connections at a time.
pub const CONNECTIONS: usize = 50_000;
/// The share of a core above which the generator may have been what was measured.
pub const BUSY: f64 = 0.9;
/// How often progress is told and waiting requests are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How long a connection rests after a failure.
const BACKOFF: Duration = Duration::from_millis(100);

/// Connections that stay open until this is dropped.
pub struct Held {
    count: usize,
    _open: Box<dyn Any>,
}

impl Held {
    fn new(count: usize, open: impl Any) -> Held {
        Held { count, _open: Box::new(open) }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// Sends a load and waits for its last answer. The connections are handed back open.
///
/// # Errors
/// The server cannot be reached at all, or the system refuses what a load needs.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(Progress)) -> io::Result<(Outcome, Held)> {
    // A server that is not there is one error, not as many as there are requests.
    drop(TcpStream::connect_timeout(&plan.target.address, plan.patience)?);
    if plan.http2 { http2::run(plan, progress) } else { driver::run(plan, progress) }
}
