//! Counts records: a line of JSON on standard output for each chunk.
//!
//! ```text
//! [OUTPUT]
//!     name  counter
//!     match *
//! ```
//!
//! `{"ts":1700000000.123456,"serialized_events":12,"log_records":12,"total":12}`: the events of a chunk, and those
//! of them that are records and no marks of a group.

use std::io::Write;
use std::sync::Arc;

use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Part};
use event::{Corrupt, EventTime};

use crate::payload::unwritten;
use crate::rows::{is_mark, record_time};

/// The `counter` output.
pub static DEF: OutputDef = OutputDef {
    name: "counter",
    about: "Counts records, chunk by chunk",
    specs: |_| {},
    open: |_, _| Some(Arc::new(Counter)),
};

struct Counter;

impl Output for Counter {
    fn drive(&self) -> Drive {
        // A thread of its own, because a pipe that nobody reads blocks it.
        Drive { lanes: 1, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        Box::new(Counter)
    }
}

impl OutputLane for Counter {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(std::future::ready(print(batch, EventTime::now(), &mut std::io::stdout().lock())))
    }
}

fn print(batch: &Batch, now: EventTime, out: &mut impl Write) -> Outcome {
    let EventTime { seconds, nanoseconds } = now;
    for part in &batch.parts {
        let Ok(records) = log_records(part) else { return unwritten(Corrupt.into(), batch) };
        let all = part.records();
        let micros = nanoseconds / 1_000;
        let written = writeln!(
            out,
            "{{\"ts\":{seconds}.{micros:06},\"serialized_events\":{all},\"log_records\":{records},\"total\":{all}}}"
        );
        if let Err(error) = written.and_then(|()| out.flush()) {
            return Outcome::Retry { after: None, why: format!("cannot write to standard output: {error}") };
        }
    }
    Outcome::Done
}

/// The records without the marks that begin and end a group: these have times of their own.
pub(crate) fn log_records(part: &Part) -> Result<usize, Corrupt> {
    let mut cursor = part.cursor()?;
    let mut records = 0;
    for _ in 0..part.records() {
        let time = record_time(&mut cursor)?;
        records += usize::from(!is_mark(time));
        cursor.skip()?;
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn the_records_of_a_chunk_are_counted_on_one_line() {
        let mut out = Vec::new();
        let now = EventTime { seconds: 17, nanoseconds: 5_000_999 };
        assert_eq!(print(&testing::batch("t", &["{}", "{}"]), now, &mut out), Outcome::Done);
        let expected = "{\"ts\":17.005000,\"serialized_events\":2,\"log_records\":2,\"total\":2}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
