//! Records to text, block by block.
//!
//! [`Rows`] is pulled: it fills its block and stops, in the middle of a record if need be, until the text was
//! taken. So what is held is the block, whatever the size of a record or of a batch, and whoever takes the text
//! may wait between two blocks.

use budget::Full;
use engine::Part;
use event::{Corrupt, Cursor, EventTime, Token};
use formats::Block;
use formats::json::{DateFormat, Printer, Progress, Style};

/// Bytes of the block: small enough to stay in the processor's cache, large enough that a compressor is
/// called once for dozens of records. Whoever opens [`Rows`] leases them.
pub(crate) const BLOCK: usize = 16 << 10;

/// Why a batch cannot become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// There is no room for it.
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

/// How records stand in a text.
pub(crate) trait Form {
    /// What stands before the first record.
    fn opening(&self) -> &[u8] {
        b""
    }

    /// What stands behind the last record.
    fn closing(&self) -> &[u8] {
        b""
    }

    /// What [`Form::head`] is to get for each record with this tag.
    fn tag(&self, _tag: &str) -> Vec<u8> {
        Vec::new()
    }

    /// Writes what stands before the body of the record at the cursor, and says what follows.
    fn head(
        &self,
        first: bool,
        tag: &[u8],
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Body, Corrupt>;

    /// What stands behind the body of each record.
    fn tail(&self) -> &[u8] {
        b""
    }
}

/// What is written from the cursor on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body {
    /// A value as JSON.
    Value,
    /// A map as JSON without its opening bracket, to go on in an object that is open.
    Members,
    /// The bytes as they lie, to this offset of the cursor.
    Copy(usize),
    /// Nothing: the record is a mark that has no text, and the cursor stands behind it.
    Nothing,
}

/// What is to be done when the text that is at hand was written.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Record,
    Body(Body),
    End,
}

/// Writes records as text.
pub(crate) struct Rows<'a, F> {
    form: &'a F,
    parts: std::slice::Iter<'a, Part>,
    /// Where the part that is being read stands.
    cursor: Cursor<'a>,
    /// Records of it that are still to come.
    left: usize,
    tag: Vec<u8>,
    first: bool,
    /// Text that goes out before the stage goes on, and how much of it did.
    text: Vec<u8>,
    written: usize,
    stage: Stage,
    printer: Printer,
    block: Block,
    /// Bytes of the block that were taken.
    taken: usize,
}

impl<'a, F: Form> Rows<'a, F> {
    pub(crate) fn new(form: &'a F, parts: &'a [Part], escape_unicode: bool) -> Rows<'a, F> {
        Rows {
            form,
            parts: parts.iter(),
            cursor: Cursor::of(b""),
            left: 0,
            tag: Vec::new(),
            first: true,
            text: form.opening().to_vec(),
            written: 0,
            stage: Stage::Record,
            printer: Printer::new(Style::Json { escape_unicode }),
            block: Block::new(BLOCK),
            taken: 0,
        }
    }

    /// The text that was not taken yet; `None` at the end.
    pub(crate) fn text(&mut self) -> Result<Option<&[u8]>, Corrupt> {
        if self.taken == self.block.bytes().len() {
            self.block.clear();
            self.taken = 0;
            self.fill()?;
        }
        let text = &self.block.bytes()[self.taken..];
        Ok((!text.is_empty()).then_some(text))
    }

    /// So much of the text is dealt with.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.taken += bytes;
    }

    /// Fills the block. It stays empty only when nothing is left.
    fn fill(&mut self) -> Result<(), Corrupt> {
        loop {
            let mut rest = &self.text[self.written..];
            self.block.write(&mut rest);
            self.written = self.text.len() - rest.len();
            if !rest.is_empty() {
                return Ok(());
            }
            match self.stage {
                Stage::Record => self.record()?,
                Stage::Body(body) => {
                    if self.body(body)? == Progress::BlockFull {
                        return Ok(());
                    }
                    self.say_tail();
                }
                Stage::End => return Ok(()),
            }
        }
    }

    /// Begins the next record, or the end.
    fn record(&mut self) -> Result<(), Corrupt> {
        self.text.clear();
        self.written = 0;
        while self.left == 0 {
            let Some(part) = self.parts.next() else {
                self.text.extend_from_slice(self.form.closing());
                self.stage = Stage::End;
                return Ok(());
            };
            self.cursor = part.cursor()?;
            self.left = part.records();
            self.tag = self.form.tag(part.tag().as_str());
        }
        self.left -= 1;
        let body = self.form.head(self.first, &self.tag, &mut self.cursor, &mut self.text)?;
        if body != Body::Nothing {
            self.first = false;
            self.stage = Stage::Body(body);
        }
        Ok(())
    }

    fn say_tail(&mut self) {
        self.text.clear();
        self.written = 0;
        self.text.extend_from_slice(self.form.tail());
        self.stage = Stage::Record;
    }

    fn body(&mut self, body: Body) -> Result<Progress, Corrupt> {
        match body {
            Body::Value => self.printer.value(&mut self.cursor, &mut self.block),
            // The bracket becomes the first byte of the block, where it is easily left out.
            Body::Members if !self.block.is_empty() => Ok(Progress::BlockFull),
            Body::Members => {
                self.stage = Stage::Body(Body::Value);
                let progress = self.printer.value(&mut self.cursor, &mut self.block)?;
                self.taken = 1;
                Ok(progress)
            }
            Body::Nothing => Ok(Progress::Done),
            Body::Copy(end) => {
                while self.cursor.offset() < end {
                    let room = self.block.room();
                    if room == 0 {
                        return Ok(Progress::BlockFull);
                    }
                    let mut piece = self.cursor.piece(room.min(end - self.cursor.offset()))?;
                    self.block.write(&mut piece);
                }
                Ok(Progress::Done)
            }
        }
    }
}

/// Writes each record as a text of its own, with what stands around it.
pub(crate) struct Single<'a, F> {
    form: &'a F,
    cursor: Cursor<'a>,
    left: usize,
    tag: Vec<u8>,
    printer: Printer,
    block: Block,
}

impl<'a, F: Form> Single<'a, F> {
    pub(crate) fn new(form: &'a F, part: &'a Part, escape_unicode: bool) -> Result<Single<'a, F>, Corrupt> {
        Ok(Single {
            form,
            cursor: part.cursor()?,
            left: part.records(),
            tag: form.tag(part.tag().as_str()),
            printer: Printer::new(Style::Json { escape_unicode }),
            block: Block::new(BLOCK),
        })
    }

    /// Writes the next record over `out`, and says whether all of it fits into `most` bytes; `None` behind the last.
    pub(crate) fn next(&mut self, out: &mut Vec<u8>, most: usize) -> Result<Option<bool>, Corrupt> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        out.clear();
        out.extend_from_slice(self.form.opening());
        let body = self.form.head(true, &self.tag, &mut self.cursor, out)?;
        if body == Body::Nothing {
            out.clear();
            return Ok(Some(true));
        }
        let mut whole = true;
        if let Body::Copy(end) = body {
            while self.cursor.offset() < end {
                let piece = self.cursor.piece(end - self.cursor.offset())?;
                whole &= out.len() + piece.len() <= most;
                out.extend_from_slice(if whole { piece } else { b"" });
            }
        } else {
            let mut open = body == Body::Members;
            loop {
                self.block.clear();
                let progress = self.printer.value(&mut self.cursor, &mut self.block)?;
                let text = &self.block.bytes()[usize::from(open && !self.block.is_empty())..];
                open &= self.block.is_empty();
                whole &= out.len() + text.len() <= most;
                out.extend_from_slice(if whole { text } else { b"" });
                if progress == Progress::Done {
                    break;
                }
            }
        }
        out.extend_from_slice(self.form.tail());
        out.extend_from_slice(self.form.closing());
        Ok(Some(whole && out.len() <= most))
    }
}

/// A text as a JSON string with its quotes.
pub(crate) fn json_string(text: &str, escape_unicode: bool) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut packed = vec![0xdb];
    packed.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    packed.extend_from_slice(bytes);
    let mut printer = Printer::new(Style::Json { escape_unicode });
    let (mut block, mut out) = (Block::new(0), Vec::new());
    let mut cursor = Cursor::of(&packed);
    loop {
        let progress = printer.value(&mut cursor, &mut block);
        // A string is a value.
        debug_assert!(progress.is_ok());
        out.extend_from_slice(block.bytes());
        block.clear();
        if progress != Ok(Progress::BlockFull) {
            return out;
        }
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

/// A record as Fluent Bit's JSON formats write it: its body as one object, with the time as first member and, where
/// there is metadata, it as the second: `"__internal__":{"log_metadata":{...}}`.
#[derive(Debug, Clone)]
pub(crate) struct Dated {
    layout: Layout,
    format: DateFormat,
    /// `{"date":`; without a date only the bracket.
    head: Vec<u8>,
    with_date: bool,
    escape_unicode: bool,
}

impl Dated {
    /// Records with the time under `key`, or without it.
    pub(crate) fn new(layout: Layout, key: Option<&str>, format: DateFormat, escape_unicode: bool) -> Dated {
        let mut head = b"{".to_vec();
        if let Some(key) = key {
            head.extend_from_slice(&json_string(key, escape_unicode));
            head.push(b':');
        }
        Dated { layout, format, head, with_date: key.is_some(), escape_unicode }
    }

    /// Whether every record ends its line.
    pub(crate) fn ends_lines(&self) -> bool {
        self.layout == Layout::Lines
    }
}

impl Form for Dated {
    fn opening(&self) -> &[u8] {
        if self.layout == Layout::Array { b"[" } else { b"" }
    }

    fn closing(&self) -> &[u8] {
        if self.layout == Layout::Array { b"]" } else { b"" }
    }

    fn head(
        &self,
        first: bool,
        _tag: &[u8],
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Body, Corrupt> {
        let (time, with_metadata) = cursor.record_head()?;
        let metadata = cursor.clone();
        if with_metadata {
            cursor.skip()?;
        }
        if is_mark(time) {
            cursor.skip()?;
            return Ok(Body::Nothing);
        }
        let Token::Map(members) = cursor.clone().token()? else { return Err(Corrupt) };
        let with_metadata = with_metadata && !matches!(metadata.clone().token()?, Token::Map(0));
        if self.layout == Layout::Array && !first {
            out.push(b',');
        }
        out.extend_from_slice(&self.head);
        if self.with_date {
            self.format.write(time, out);
            if members != 0 || with_metadata {
                out.push(b',');
            }
        }
        if with_metadata {
            out.extend_from_slice(b"\"__internal__\":{\"log_metadata\":");
            json(metadata, self.escape_unicode, out)?;
            out.push(b'}');
            if members != 0 {
                out.push(b',');
            }
        }
        Ok(Body::Members)
    }

    fn tail(&self) -> &[u8] {
        if self.layout == Layout::Lines { b"\n" } else { b"" }
    }
}

/// Bytes of metadata that are written with a record. It stands in memory as a whole.
const METADATA: usize = 64 << 10;

/// Appends a value as JSON; `null` in the place of one that is too long.
fn json(mut cursor: Cursor<'_>, escape_unicode: bool, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    let mut printer = Printer::new(Style::Json { escape_unicode });
    let (start, mut block) = (out.len(), Block::new(0));
    loop {
        let progress = printer.value(&mut cursor, &mut block)?;
        out.extend_from_slice(block.bytes());
        block.clear();
        if progress == Progress::Done {
            return Ok(());
        }
        if out.len() - start > METADATA {
            out.truncate(start);
            out.extend_from_slice(b"null");
            return Ok(());
        }
    }
}

/// Whether a time marks the begin or end of a group of records.
pub(crate) fn is_mark(time: EventTime) -> bool {
    time.nanoseconds == 0 && time.seconds >= u32::MAX - 1
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
    use crate::testing;

    fn written(form: &impl Form, batch: &engine::Batch) -> Result<Vec<u8>, Corrupt> {
        let (mut rows, mut out) = (Rows::new(form, &batch.parts, true), Vec::new());
        while let Some(text) = rows.text()? {
            // Taken in two pieces, as when a page ends in between.
            let taken = text.len().div_ceil(2);
            out.extend_from_slice(&text[..taken]);
            rows.take(taken);
        }
        Ok(out)
    }

    fn text(dated: &Dated, records: &[&str]) -> String {
        String::from_utf8(written(dated, &testing::batch("t", records)).unwrap()).unwrap()
    }

    #[test]
    fn every_layout_has_the_exact_bytes_of_its_format() {
        let bodies = [r#"{"a":1}"#, "{}"];
        for (layout, expected) in [
            (Layout::Array, r#"[{"date":1700000000.123457,"a":1},{"date":1700000001.123457}]"#),
            (Layout::Lines, "{\"date\":1700000000.123457,\"a\":1}\n{\"date\":1700000001.123457}\n"),
            (Layout::Stream, r#"{"date":1700000000.123457,"a":1}{"date":1700000001.123457}"#),
        ] {
            assert_eq!(text(&Dated::new(layout, Some("date"), DateFormat::Double, true), &bodies), expected);
        }
        let dated = Dated::new(Layout::Lines, None, DateFormat::Double, true);
        assert_eq!(text(&dated, &bodies), "{\"a\":1}\n{}\n");
        let dated = Dated::new(Layout::Array, Some("date"), DateFormat::Double, true);
        assert_eq!(text(&dated, &[]), "[]");
    }

    #[test]
    fn a_record_larger_than_the_block_comes_out_whole() {
        let long = "x".repeat(3 * BLOCK);
        let dated = Dated::new(Layout::Lines, Some("d"), DateFormat::Epoch, true);
        let record = format!(r#"{{"a":"{long}"}}"#);
        assert_eq!(text(&dated, &[&record]), format!("{{\"d\":1700000000,\"a\":\"{long}\"}}\n"));
    }

    #[test]
    fn a_key_is_escaped_as_any_string_however_long() {
        assert_eq!(json_string("a\"\u{e9}", true), b"\"a\\\"\\u00e9\"");
        assert_eq!(json_string("\u{e9}", false), "\"\u{e9}\"".as_bytes());
        let long = "k".repeat(BLOCK);
        assert_eq!(json_string(&long, true), format!("\"{long}\"").as_bytes());
        let dated = Dated::new(Layout::Lines, Some(&long), DateFormat::Epoch, true);
        assert_eq!(text(&dated, &["{}"]), format!("{{\"{long}\":1700000000}}\n"));
    }

    #[test]
    fn metadata_is_a_member_and_the_marks_of_groups_are_left_out() {
        let record = |time: EventTime, metadata: &[u8], body: &[u8]| {
            [&[0x92, 0x92], time.to_msgpack().as_slice(), metadata, body].concat()
        };
        let now = EventTime { seconds: 17, nanoseconds: 0 };
        let mark = |seconds| EventTime { seconds, nanoseconds: 0 };
        let one = [0x81, 0xa1, b'k', 0x01];
        let records = [
            record(mark(u32::MAX), &[0x80], &one),
            record(now, &one, &one),
            record(now, &one, &[0x80]),
            record(now, &[0x80], &one),
            record(mark(u32::MAX - 1), &[0x80], &[0x80]),
        ];
        let budget = budget::Budget::new(1 << 20, 4096).unwrap();
        let mut buf = budget::Buf::new(&budget.account("in.0", "chunks", budget::Share::COMMON).unwrap());
        records.iter().for_each(|record| buf.write(record).unwrap());
        let events = event::Events { buf, records: records.len() };
        let tag = event::Tag::new("t");
        let chunk = event::Chunk { id: 1, tag, input: 0, events, created: std::time::Instant::now() };
        let batch = engine::Batch::new(1, vec![Part::whole(std::sync::Arc::new(chunk))]);
        let dated = Dated::new(Layout::Array, Some("d"), DateFormat::Epoch, true);
        assert_eq!(
            String::from_utf8(written(&dated, &batch).unwrap()).unwrap(),
            r#"[{"d":17,"__internal__":{"log_metadata":{"k":1}},"k":1},"#.to_owned()
                + r#"{"d":17,"__internal__":{"log_metadata":{"k":1}}},{"d":17,"k":1}]"#
        );
        let dated = Dated::new(Layout::Lines, None, DateFormat::Epoch, true);
        let lines = written(&dated, &batch).unwrap();
        assert!(lines.starts_with(b"{\"__internal__\":{\"log_metadata\":{\"k\":1}},\"k\":1}\n"));
    }

    #[test]
    fn a_body_that_is_no_map_is_refused() {
        let dated = Dated::new(Layout::Lines, Some("d"), DateFormat::Epoch, true);
        assert_eq!(written(&dated, &testing::batch("t", &["1"])), Err(Corrupt));
    }
}
