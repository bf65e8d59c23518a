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

use budget::{Account, Full, Share};
use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use formats::Block;
use formats::json::{DateFormat, Progress};
use formats::stdout::RecordLine;
use options::{Choice, Options, Reader};

use crate::rows::{BLOCK, Dated, Failed, Layout, Rows, Sink};

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
    let account = setup.account("text", Share::fixed(BLOCK), reader)?;
    Some(Arc::new(Stdout { records, escape_unicode, account }))
}

impl Output for Stdout {
    fn drive(&self) -> Drive {
        // A thread of its own, because a pipe that nobody reads blocks it. One chunk at a time, because
        // records are numbered, and arrays closed, by chunk.
        Drive { lanes: 1, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        Box::new(Lane(self))
    }
}

struct Lane(Arc<Stdout>);

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        let outcome = match self.0.account.try_lease(BLOCK) {
            Ok(_lease) => self.0.print(batch, &mut std::io::stdout().lock()),
            Err(full) => Outcome::Retry { after: None, why: full.to_string() },
        };
        Box::pin(std::future::ready(outcome))
    }
}

impl Stdout {
    fn print(&self, batch: &Batch, out: &mut impl Write) -> Outcome {
        let mut printed = Printed { out, failed: None };
        let result = match &self.records {
            None => print_lines(batch, &mut printed),
            Some(records) => self.print_json(records, batch, &mut printed),
        };
        if result.is_ok() && printed.failed.is_none() {
            printed.failed = printed.out.flush().err();
        }
        match (printed.failed, result) {
            (Some(error), _) => {
                Outcome::Retry { after: None, why: format!("cannot write to standard output: {error}") }
            }
            (None, Ok(())) => Outcome::Done,
            // What stands before the record is printed already, so the batch is not tried again.
            (None, Err(_)) => Outcome::Reject { why: "a record is not valid msgpack".to_owned() },
        }
    }

    fn print_json(&self, records: &Dated, batch: &Batch, out: &mut impl Sink) -> Result<(), Failed> {
        let mut rows = Rows::new(self.escape_unicode);
        for part in &batch.parts {
            rows.text(records.opening(), out)?;
            let mut cursor = part.cursor()?;
            for at in 0..part.records() {
                records.record(at == 0, &mut cursor, &mut rows, out)?;
            }
            rows.text(records.closing(), out)?;
            if !records.ends_lines() {
                rows.text(b"\n", out)?;
            }
        }
        rows.drain(out).map_err(Failed::from)
    }
}

fn print_lines(batch: &Batch, out: &mut impl Sink) -> Result<(), Failed> {
    let (mut line, mut block) = (RecordLine::default(), Block::new(BLOCK));
    for part in &batch.parts {
        let mut cursor = part.cursor()?;
        for at in 0..part.records() {
            line.begin(at, part.tag().as_str(), &mut cursor)?;
            while line.write(&mut cursor, &mut block)? == Progress::BlockFull {
                out.take(block.bytes())?;
                block.clear();
            }
        }
    }
    out.take(block.bytes()).map_err(Failed::from)
}

/// Standard output as a sink. It remembers what went wrong; a sink can only say that it is full.
struct Printed<'a, W> {
    out: &'a mut W,
    failed: Option<std::io::Error>,
}

impl<W: Write> Sink for Printed<'_, W> {
    fn take(&mut self, text: &[u8]) -> Result<(), Full> {
        self.out.write_all(text).map_err(|error| {
            self.failed = Some(error);
            Full
        })
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
}
