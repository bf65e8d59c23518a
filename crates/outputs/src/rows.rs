//! Records to JSON text, block by block.
//!
//! The text goes to a [`Sink`] whenever the block is full, so what is held is the block, whatever the size of
//! a record or of a batch.

use budget::Full;
use event::{Corrupt, Cursor, EventTime, Token};
use formats::Block;
use formats::json::{DateFormat, Printer, Progress, Style};

/// Bytes of the block: small enough to stay in the processor's cache, large enough that a compressor is
/// called once for dozens of records. Whoever opens [`Rows`] leases them.
pub(crate) const BLOCK: usize = 16 << 10;

/// Where text goes.
pub(crate) trait Sink {
    /// Takes text, all of it or none that counts: after an error nothing of the batch is used.
    fn take(&mut self, text: &[u8]) -> Result<(), Full>;
}

/// Why a batch cannot become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The sink has no room.
    Full,
    /// The bytes are no records.
    Corrupt,
}

impl From<Full> for Failed {
    fn from(_: Full) -> Failed {
        Failed::Full
    }
}

impl From<Corrupt> for Failed {
    fn from(_: Corrupt) -> Failed {
        Failed::Corrupt
    }
}

/// Writes JSON text.
pub(crate) struct Rows {
    printer: Printer,
    block: Block,
    /// The first byte of the block is not to be written: see [`Rows::members`].
    skip: bool,
}

impl Rows {
    pub(crate) fn new(escape_unicode: bool) -> Rows {
        let printer = Printer::new(Style::Json { escape_unicode });
        Rows { printer, block: Block::new(BLOCK), skip: false }
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, mut text: &[u8], sink: &mut impl Sink) -> Result<(), Full> {
        loop {
            self.block.write(&mut text);
            if text.is_empty() {
                return Ok(());
            }
            self.drain(sink)?;
        }
    }

    /// Writes the next value of the cursor.
    pub(crate) fn value(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl Sink) -> Result<(), Failed> {
        while self.printer.value(cursor, &mut self.block)? == Progress::BlockFull {
            self.drain(sink)?;
        }
        Ok(())
    }

    /// Writes the next map of the cursor without its opening bracket, to go on in an object that is open.
    pub(crate) fn members(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl Sink) -> Result<(), Failed> {
        if !matches!(cursor.clone().token()?, Token::Map(_)) {
            return Err(Failed::Corrupt);
        }
        // The bracket becomes the first byte of the block, where it is easily left out.
        self.drain(sink)?;
        self.skip = true;
        self.value(cursor, sink)
    }

    /// Hands over what is in the block. To be called at the end of a batch.
    pub(crate) fn drain(&mut self, sink: &mut impl Sink) -> Result<(), Full> {
        let text = self.block.bytes();
        let skip = usize::from(self.skip && !text.is_empty());
        let taken = sink.take(&text[skip..]);
        self.skip &= text.is_empty();
        self.block.clear();
        taken
    }
}

/// A text as a JSON string with its quotes.
pub(crate) fn json_string(text: &str, escape_unicode: bool) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut packed = vec![0xdb];
    packed.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    packed.extend_from_slice(bytes);
    let mut rows = Rows::new(escape_unicode);
    let mut out = Plain(Vec::new());
    // A string is a value, and a vector is never full.
    let written = rows.value(&mut Cursor::of(&packed), &mut out);
    debug_assert!(written.is_ok());
    let drained = rows.drain(&mut out);
    debug_assert!(drained.is_ok());
    out.0
}

struct Plain(Vec<u8>);

impl Sink for Plain {
    fn take(&mut self, text: &[u8]) -> Result<(), Full> {
        self.0.extend_from_slice(text);
        Ok(())
    }
}

/// How records stand beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[{...},{...}]`
    Array,
    /// `{...}` and a line feed for each.
    Lines,
    /// `{...}{...}`
    Stream,
}

/// A record as Fluent Bit's JSON formats write it: its body as one object, with the time as first member.
/// The metadata is left out.
#[derive(Debug, Clone)]
pub(crate) struct Dated {
    layout: Layout,
    format: DateFormat,
    /// `{"date":`; without a date only the bracket.
    head: Vec<u8>,
    with_date: bool,
}

impl Dated {
    /// Records with the time under `key`, or without it.
    pub(crate) fn new(layout: Layout, key: Option<&str>, format: DateFormat, escape_unicode: bool) -> Dated {
        let mut head = b"{".to_vec();
        if let Some(key) = key {
            head.extend_from_slice(&json_string(key, escape_unicode));
            head.push(b':');
        }
        Dated { layout, format, head, with_date: key.is_some() }
    }

    /// What stands before the first record.
    pub(crate) fn opening(&self) -> &'static [u8] {
        if self.layout == Layout::Array { b"[" } else { b"" }
    }

    /// What stands behind the last record.
    pub(crate) fn closing(&self) -> &'static [u8] {
        if self.layout == Layout::Array { b"]" } else { b"" }
    }

    /// Whether every record ends its line.
    pub(crate) fn ends_lines(&self) -> bool {
        self.layout == Layout::Lines
    }

    /// Writes the record at the cursor.
    pub(crate) fn record(
        &self,
        first: bool,
        cursor: &mut Cursor<'_>,
        rows: &mut Rows,
        sink: &mut impl Sink,
    ) -> Result<(), Failed> {
        let time = record_time(cursor)?;
        if self.layout == Layout::Array && !first {
            rows.text(b",", sink)?;
        }
        rows.text(&self.head, sink)?;
        if self.with_date {
            let mut date = Vec::with_capacity(32);
            self.format.write(time, &mut date);
            if cursor.clone().token()? != Token::Map(0) {
                date.push(b',');
            }
            rows.text(&date, sink)?;
        }
        rows.members(cursor, sink)?;
        if self.layout == Layout::Lines {
            rows.text(b"\n", sink)?;
        }
        Ok(())
    }
}

/// The time of the record at the cursor, which then stands at the body.
pub(crate) fn record_time(cursor: &mut Cursor<'_>) -> Result<EventTime, Corrupt> {
    let (time, with_metadata) = cursor.record_head()?;
    if with_metadata {
        cursor.skip()?;
    }
    Ok(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[[time, {}], body]` with the body as msgpack.
    fn record(body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x92, 0x92];
        bytes.extend(EventTime { seconds: 1_700_000_000, nanoseconds: 500_000_000 }.to_msgpack());
        bytes.push(0x80);
        bytes.extend_from_slice(body);
        bytes
    }

    fn written(dated: &Dated, bodies: &[&[u8]]) -> Result<String, Failed> {
        let (mut rows, mut out) = (Rows::new(true), Plain(Vec::new()));
        rows.text(dated.opening(), &mut out)?;
        for (at, body) in bodies.iter().enumerate() {
            dated.record(at == 0, &mut Cursor::of(&record(body)), &mut rows, &mut out)?;
        }
        rows.text(dated.closing(), &mut out)?;
        rows.drain(&mut out)?;
        Ok(String::from_utf8(out.0).unwrap())
    }

    #[test]
    fn every_layout_has_the_exact_bytes_of_its_format() {
        let bodies: [&[u8]; 2] = [b"\x81\xa1a\x01", b"\x80"];
        for (layout, expected) in [
            (Layout::Array, r#"[{"date":1700000000.5,"a":1},{"date":1700000000.5}]"#),
            (Layout::Lines, "{\"date\":1700000000.5,\"a\":1}\n{\"date\":1700000000.5}\n"),
            (Layout::Stream, r#"{"date":1700000000.5,"a":1}{"date":1700000000.5}"#),
        ] {
            let dated = Dated::new(layout, Some("date"), DateFormat::Double, true);
            assert_eq!(written(&dated, &bodies).unwrap(), expected);
        }
        let dated = Dated::new(Layout::Lines, None, DateFormat::Double, true);
        assert_eq!(written(&dated, &bodies).unwrap(), "{\"a\":1}\n{}\n");
        let dated = Dated::new(Layout::Array, Some("date"), DateFormat::Double, true);
        assert_eq!(written(&dated, &[]).unwrap(), "[]");
    }

    #[test]
    fn a_record_larger_than_the_block_comes_out_whole() {
        let text = "x".repeat(3 * BLOCK);
        let mut body = b"\x81\xa1a\xdb".to_vec();
        body.extend_from_slice(&(text.len() as u32).to_be_bytes());
        body.extend_from_slice(text.as_bytes());
        let dated = Dated::new(Layout::Lines, Some("d"), DateFormat::Epoch, true);
        assert_eq!(written(&dated, &[&body]).unwrap(), format!("{{\"d\":1700000000,\"a\":\"{text}\"}}\n"));
    }

    #[test]
    fn a_key_is_escaped_as_any_string() {
        assert_eq!(json_string("a\"\u{e9}", true), b"\"a\\\"\\u00e9\"");
        assert_eq!(json_string("\u{e9}", false), "\"\u{e9}\"".as_bytes());
    }

    #[test]
    fn a_body_that_is_no_map_is_refused() {
        let dated = Dated::new(Layout::Lines, Some("d"), DateFormat::Epoch, true);
        assert_eq!(written(&dated, &[b"\x01"]), Err(Failed::Corrupt));
    }
}
