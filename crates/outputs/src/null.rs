//! Takes everything and keeps nothing: to measure what is before it.
//!
//! ```text
//! [OUTPUT]
//!     name  null
//!     match *
//! ```

use std::sync::Arc;

use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane};
use event::Signal;

/// The `null` output.
pub static DEF: OutputDef = OutputDef {
    name: "null",
    about: "Throws records away",
    specs: |_| {},
    open: |_, _| Some(Arc::new(Null)),
};

struct Null;

impl Output for Null {
    fn drive(&self) -> Drive {
        Drive { lanes: 0, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: usize::MAX }
    }

    fn signals(&self) -> &'static [Signal] {
        &[Signal::Logs, Signal::Metrics]
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        Box::new(Null)
    }
}

impl OutputLane for Null {
    fn flush<'a>(&'a self, _batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(std::future::ready(Outcome::Done))
    }
}
