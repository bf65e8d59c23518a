//! `stdout`: prints the records that pass.
//!
//! ```text
//! [FILTER]
//!     name   stdout
//!     match  *
//! ```
//!
//! One line for each record, numbered within what an input handed over at once:
//! `[0] app.log: [1700000000.123456789, {}, {"level"=>"info"}]`.

use std::io::Write;

use engine::{Filter, FilterDef, Setup};
use event::{Cursor, Raw, Record, Tag, Window};
use formats::Block;
use formats::json::{Printer, Progress, Style};
use options::{Options, Reader};

/// The registry's entry.
pub static FILTER: FilterDef =
    FilterDef { name: "stdout", about: "prints the records that pass", specs: StdoutOptions::specs, open };

#[derive(Debug, Options)]
struct StdoutOptions {}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Box<dyn Filter>> {
    StdoutOptions::read(reader)?;
    Some(Box::new(Stdout))
}

struct Stdout;

impl Filter for Stdout {
    fn logs(&mut self, tag: &Tag, window: &mut Window<'_>) {
        let mut out = std::io::stdout().lock();
        for (number, record) in (window.index..).zip(&window.records) {
            if print(number, tag, record, &mut out).is_err() {
                // Nobody reads any more: that is no reason to lose records.
                return;
            }
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(Stdout)
    }
}

fn print(number: usize, tag: &Tag, record: &Record<'_>, out: &mut impl Write) -> std::io::Result<()> {
    let time = record.time();
    write!(out, "[{number}] {tag}: [{}.{:09}, ", time.seconds, time.nanoseconds)?;
    value(record.metadata(), out)?;
    out.write_all(b", {")?;
    for (index, entry) in record.body().iter().enumerate() {
        out.write_all(if index == 0 { b"" } else { b", " })?;
        value(&entry.key, out)?;
        out.write_all(b"=>")?;
        value(&entry.value, out)?;
    }
    out.write_all(b"}]\n")
}

/// Block by block, so that a large value is not there twice.
fn value(value: &Raw<'_>, out: &mut impl Write) -> std::io::Result<()> {
    let mut printer = Printer::new(Style::Text);
    let mut block = Block::new(2 * Printer::STEP);
    let mut cursor = Cursor::of(value.bytes());
    loop {
        let progress = printer.value(&mut cursor, &mut block);
        out.write_all(block.bytes())?;
        block.clear();
        if progress != Ok(Progress::BlockFull) {
            return Ok(());
        }
    }
}
