//! `fluentbit_logs`: the agent's own log lines as records.
//!
//! ```text
//! [INPUT]
//!     name  fluentbit_logs
//!     tag   weir.logs
//! ```
//!
//! A record is `{"level": "info", "message": "..."}`. Of lines that come faster than they are taken the oldest are
//! dropped: the agent never waits for its own log.

use std::sync::{Arc, Mutex, PoisonError};

use engine::logs::{self, Line};
use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::EventTime;
use options::Reader;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::records::{Records, Value};

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "fluentbit_logs", about: "the agent's own log lines", specs: |_| {}, open };

fn open(_reader: &mut Reader<'_>, _setup: &Setup) -> Option<Arc<dyn Input>> {
    Some(Arc::new(OwnLogs { lines: Mutex::new(logs::subscribe()) }))
}

struct OwnLogs {
    /// From the start of the agent on.
    lines: Mutex<Receiver<Line>>,
}

impl Input for OwnLogs {
    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let mut lines = self.lines();
            let mut records = Records::new(&out);
            loop {
                let line = tokio::select! {
                    line = lines.recv() => line,
                    () = stop.requested() => return Ok(()),
                };
                match line {
                    Ok(line) => add(&mut records, line).await,
                    // The oldest are gone: the agent does not wait for its own log.
                    Err(RecvError::Lagged(_)) => continue,
                    Err(RecvError::Closed) => return Ok(()),
                }
                while let Ok(line) = lines.try_recv() {
                    add(&mut records, line).await;
                }
                records.send().await;
            }
        })
    }
}

impl OwnLogs {
    /// The lines since the start, and for a second run those from now on.
    fn lines(&self) -> Receiver<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut lines, logs::subscribe())
    }
}

async fn add(records: &mut Records, line: Line) {
    let (level, message) = (line.level.as_bytes(), line.message.as_bytes());
    let entries = [("level", Value::Str(level)), ("message", Value::Str(message))];
    records.add(EventTime::now(), &entries).await;
}
