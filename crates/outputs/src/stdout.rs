//! Prints records to standard output.
//!
//! ```text
//! [OUTPUT]
//!     name   stdout
//!     match  *
//!     format json_lines
//! ```
//!
//! The default format is Fluent Bit's own, one line per record, numbered within a chunk:
//! `[0] app.log: [[1700000000.123456789, {}], {"level"=>"info"}]`. The JSON formats write the body of a record
//! as an object, with its time as first member.

use std::io::Write;
use std::sync::Arc;

use budget::{Account, Share};
use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use event::{Corrupt, Signal};
use formats::Block;
use formats::json::{DateFormat, Progress};
use formats::metrics;
use formats::stdout::RecordLine;
use options::{Choice, Options, Reader};

use crate::payload::unwritten;
use crate::rows::{BLOCK, Dated, Layout, Rows};

/// The `stdout` output.
pub static DEF: OutputDef = OutputDef {
    name: "stdout",
    about: "Prints records to standard output",
    specs: StdoutOptions::specs,
    open,
};

#[derive(Debug, Options)]
struct StdoutOptions {
    /// How records are printed.
    #[option(default = "msgpack")]
    format: Format,
    #[option(flatten)]
    date: DateOptions,
}

/// How JSON formats carry the time of a record.
#[derive(Debug, Clone, Options)]
pub(crate) struct DateOptions {
    /// Key of the time in the JSON formats; `false` leaves the time out.
    #[option(default = "date")]
    pub(crate) json_date_key: String,
    /// Form of the time in the JSON formats.
    #[option(default = "double")]
    pub(crate) json_date_format: JsonDate,
}

impl DateOptions {
    pub(crate) fn records(&self, layout: Layout, escape_unicode: bool) -> Dated {
        let off = ["false", "off"].iter().any(|word| self.json_date_key.eq_ignore_ascii_case(word));
        let key = (!off).then_some(self.json_date_key.as_str());
        Dated::new(layout, key, self.json_date_format.format(), escape_unicode)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Format {
    Msgpack,
    Json,
    #[choice(name = "json_lines")]
    JsonLines,
    #[choice(name = "json_stream")]
    JsonStream,
}

/// The forms of `json_date_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum JsonDate {
    Double,
    Iso8601,
    Epoch,
    #[choice(name = "epoch_ms", alias = "epoch_millis")]
    EpochMs,
    #[choice(name = "java_sql_timestamp")]
    JavaSqlTimestamp,
}

impl JsonDate {
    fn format(self) -> DateFormat {
        match self {
            JsonDate::Double => DateFormat::Double,
            JsonDate::Iso8601 => DateFormat::Iso8601,
            JsonDate::Epoch => DateFormat::Epoch,
            JsonDate::EpochMs => DateFormat::EpochMs,
            JsonDate::JavaSqlTimestamp => DateFormat::JavaSqlTimestamp,
        }
    }
}

struct Stdout {
    /// `None` is the msgpack format.
    records: Option<Dated>,
    escape_unicode: bool,
    /// Set aside for the block that text passes through.
    account: Account,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let options = StdoutOptions::read(reader)?;
    let layout = match options.format {
        Format::Msgpack => None,
        Format::Json => Some(Layout::Array),
        Format::JsonLines => Some(Layout::Lines),
        Format::JsonStream => Some(Layout::Stream),
    };
    let escape_unicode = setup.escape_unicode;
    let records = layout.map(|layout| options.date.records(layout, escape_unicode));
    let share = Share { guaranteed: BLOCK, max: BLOCK + metrics::HELD };
    let account = setup.account("text", share, reader)?;
    Some(Arc::new(Stdout { records, escape_unicode, account }))
}

impl Output for Stdout {
    fn drive(&self) -> Drive {
        // A thread of its own, because a pipe that nobody reads blocks it. One chunk at a time, because
        // records are numbered, and arrays closed, by chunk.
        Drive { lanes: 1, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn signals(&self) -> &'static [Signal] {
        &[Signal::Logs, Signal::Metrics]
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        Box::new(Lane(self))
    }
}

struct Lane(Arc<Stdout>);

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        let metrics = batch.parts.iter().any(|part| part.signal() == Signal::Metrics);
        let outcome = match self.0.account.try_lease(BLOCK + if metrics { metrics::HELD } else { 0 }) {
            Ok(_lease) => self.0.print(batch, &mut std::io::stdout().lock()),
            Err(full) => unwritten(full.into(), batch),
        };
        Box::pin(std::future::ready(outcome))
    }
}

impl Stdout {
    fn print(&self, batch: &Batch, out: &mut impl Write) -> Outcome {
        let printed = match &self.records {
            _ if batch.parts.iter().any(|part| part.signal() == Signal::Metrics) => print_metrics(batch, out),
            None => print_lines(batch, out),
            Some(records) => self.print_json(records, batch, out),
        };
        match printed.and_then(|()| Ok(out.flush()?)) {
            Ok(()) => Outcome::Done,
            Err(Unprinted::Io(error)) => {
                Outcome::Retry { after: None, why: format!("cannot write to standard output: {error}") }
            }
            // What stands before the record is printed already, so the batch is not tried again.
            Err(Unprinted::Corrupt) => Outcome::Reject { why: "a record is not valid msgpack".to_owned() },
        }
    }

    fn print_json(&self, records: &Dated, batch: &Batch, out: &mut impl Write) -> Result<(), Unprinted> {
        for part in &batch.parts {
            let mut rows = Rows::new(records, std::slice::from_ref(part), self.escape_unicode);
            while let Some(text) = rows.text()? {
                out.write_all(text)?;
                let taken = text.len();
                rows.take(taken);
            }
            if !records.ends_lines() {
                out.write_all(b"\n")?;
            }
        }
        Ok(())
    }
}

fn print_lines(batch: &Batch, out: &mut impl Write) -> Result<(), Unprinted> {
    let (mut line, mut block) = (RecordLine::default(), Block::new(BLOCK));
    for part in &batch.parts {
        let mut cursor = part.cursor()?;
        for at in 0..part.records() {
            line.begin(at, part.tag().as_str(), &mut cursor)?;
            while line.write(&mut cursor, &mut block)? == Progress::BlockFull {
                out.write_all(block.bytes())?;
                block.clear();
            }
        }
    }
    Ok(out.write_all(block.bytes())?)
}

/// A line for each sample, whatever the format of records.
fn print_metrics(batch: &Batch, out: &mut impl Write) -> Result<(), Unprinted> {
    for part in &batch.parts {
        let mut cursor = part.cursor()?;
        for _ in 0..part.records() {
            let mut written = Ok(());
            metrics::decode(&mut cursor, |family| {
                let mut text = String::new();
                metrics::text(&[family], &mut text);
                if written.is_ok() {
                    written = out.write_all(text.as_bytes());
                }
            })?;
            written?;
        }
    }
    Ok(())
}

/// Why a batch is not printed.
enum Unprinted {
    Io(std::io::Error),
    Corrupt,
}

impl From<std::io::Error> for Unprinted {
    fn from(error: std::io::Error) -> Unprinted {
        Unprinted::Io(error)
    }
}

impl From<Corrupt> for Unprinted {
    fn from(_: Corrupt) -> Unprinted {
        Unprinted::Corrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn printed(pairs: &[(&str, &str)]) -> String {
        let (setup, batch) = (testing::setup(), testing::batch("app.log", &[r#"{"a":1}"#, r#"{"b":"x"}"#]));
        let options = StdoutOptions::from_pairs(pairs).unwrap();
        let layout = match options.format {
            Format::Msgpack => None,
            Format::Json => Some(Layout::Array),
            Format::JsonLines => Some(Layout::Lines),
            Format::JsonStream => Some(Layout::Stream),
        };
        let account = setup.budget.account("stdout.0", "text", Share::fixed(BLOCK)).unwrap();
        let records = layout.map(|layout| options.date.records(layout, true));
        let stdout = Stdout { records, escape_unicode: true, account };
        let mut out = Vec::new();
        assert_eq!(stdout.print(&batch, &mut out), Outcome::Done);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_format_prints_the_bytes_that_fluent_bit_prints() {
        assert_eq!(
            printed(&[]),
            "[0] app.log: [[1700000000.123456789, {}], {\"a\"=>1}]\n\
             [1] app.log: [[1700000001.123456789, {}], {\"b\"=>\"x\"}]\n"
        );
        let lines = "{\"date\":1700000000.123457,\"a\":1}\n{\"date\":1700000001.123457,\"b\":\"x\"}\n";
        assert_eq!(printed(&[("format", "json_lines")]), lines);
        let one_line = lines.trim_end();
        assert_eq!(printed(&[("format", "json")]), format!("[{}]\n", one_line.replace('\n', ",")));
        assert_eq!(printed(&[("format", "json_stream")]), format!("{}\n", one_line.replace('\n', "")));
        assert_eq!(
            printed(&[("format", "json_lines"), ("json_date_key", "t"), ("json_date_format", "iso8601")]),
            "{\"t\":\"2023-11-14T22:13:20.123456Z\",\"a\":1}\n{\"t\":\"2023-11-14T22:13:21.123456Z\",\"b\":\"x\"}\n"
        );
    }

    #[test]
    fn a_closed_pipe_is_tried_again() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (setup, batch) = (testing::setup(), testing::batch("t", &["{}"]));
        let account = setup.budget.account("stdout.0", "text", Share::fixed(BLOCK)).unwrap();
        let stdout = Stdout { records: None, escape_unicode: true, account };
        assert!(matches!(stdout.print(&batch, &mut Closed), Outcome::Retry { .. }));
    }

    #[test]
    fn a_batch_of_any_size_is_printed_with_one_block_while_others_hold_all_of_the_budget() {
        let setup = testing::setup();
        let account = setup.budget.account("stdout.0", "text", Share::fixed(BLOCK)).unwrap();
        let options =
            StdoutOptions::from_pairs(&[("format", "json_lines"), ("json_date_key", "off")]).unwrap();
        let records = Some(options.date.records(Layout::Lines, true));
        let stdout = Stdout { records, escape_unicode: true, account };
        let _filled = testing::fill(&setup.budget);
        for records in testing::unwieldy() {
            let _block = stdout.account.try_lease(BLOCK).unwrap();
            let mut out = Vec::new();
            assert_eq!(stdout.print(&testing::batch_of(1, &records), &mut out), Outcome::Done);
            assert!(out == records.iter().map(|record| format!("{record}\n")).collect::<String>().as_bytes());
        }
    }
}
