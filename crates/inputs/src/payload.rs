//! What `tcp` and `udp` take: JSON values, or lines with a separator between them.

use std::fmt::Display;

use budget::Buf;
use engine::emit::Refused;
use engine::{Emitter, Setup};
use event::{Entry, EventTime, Events, Raw};
use memchr::memmem;
use options::{Choice, Invalid, Kind, Options, Reader, Value};

use crate::json_stream::{JsonStream, Read};
use crate::parsing::LineParser;
use crate::records::{self, Records, hand_over};

/// How payload is read.
#[derive(Debug, Clone, Options)]
pub(crate) struct PayloadOptions {
    /// What arrives: `json` for objects one after the other, `none` for lines.
    #[option(default = "json")]
    pub(crate) format: Format,
    /// What stands between two lines; `\n`, `\r`, `\t` and the like stand for what they do in C.
    separator: Option<String>,
    /// The parser that takes a line apart. With one, `format` is `none`.
    parser: Option<String>,
    /// What a connection is read by, in KiB. Weir reads by its pages; this is only the default of
    /// `buffer_size`.
    #[option(default = "32")]
    chunk_size: KiB,
    /// The longest line or object, in KiB; `chunk_size` if not set.
    buffer_size: Option<KiB>,
    /// The key to add the client's address under, to JSON and to what a parser made.
    source_address_key: Option<String>,
}

/// What arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum Format {
    /// Objects.
    Json,
    /// Lines.
    None,
}

/// A number of KiB; a unit behind it does not count, as in Fluent Bit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KiB(usize);

impl Value for KiB {
    const KIND: Kind = Kind::Integer;

    fn parse(text: &str) -> Result<KiB, Invalid> {
        let digits =
            text.trim().trim_end_matches(|letter: char| letter.is_ascii_alphabetic() || letter == ' ');
        match digits.parse() {
            Ok(number @ 1..=1_048_576) => Ok(KiB(number)),
            _ => Err(Invalid::not(text, "a number of KiB from 1 to 1048576")),
        }
    }
}

/// The options, read.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    plugin: &'static str,
    format: Format,
    separator: Vec<u8>,
    parser: LineParser,
    /// The longest line or object.
    pub(crate) limit: usize,
    address_key: Option<String>,
}

/// What is held between two pieces of payload.
pub(crate) struct Held {
    /// Waits for room for what is being read.
    out: Emitter,
    json: JsonStream,
    /// Bytes of the buffer that hold no separator.
    searched: usize,
}

impl Held {
    /// Whether something was begun that is not complete.
    pub(crate) fn is_used(&self, input: &Buf) -> bool {
        self.json.holds() || !input.is_empty()
    }
}

/// A line or an object is longer than it may be.
pub(crate) struct TooLong;

impl Payload {
    pub(crate) fn open(
        plugin: &'static str,
        options: &PayloadOptions,
        reader: &mut Reader<'_>,
        setup: &Setup,
    ) -> Option<Payload> {
        let parser = LineParser::open(options.parser.as_deref(), reader, setup)?;
        let separator = options.separator.as_deref().map_or_else(|| b"\n".to_vec(), unescape);
        if separator.is_empty() {
            reader.refuse("separator", "option \"separator\" is empty", None);
            return None;
        }
        Some(Payload {
            plugin,
            format: if parser.is_some() { Format::None } else { options.format },
            separator,
            parser,
            limit: options.buffer_size.unwrap_or(options.chunk_size).0 << 10,
            address_key: options.source_address_key.clone(),
        })
    }

    /// Nothing has arrived from a client, which waits when it is not read.
    pub(crate) fn held(&self, out: &Emitter) -> Held {
        Held { out: out.waiting(), json: JsonStream::new("msg", self.limit), searched: 0 }
    }

    /// The client's address as an entry, where it is wanted.
    pub(crate) fn source(&self, address: impl Display) -> Option<Source> {
        self.address_key.as_ref().map(|key| Source { key: key.clone(), address: address.to_string() })
    }

    /// Reads what has arrived. What a value that is not complete has come to stays.
    pub(crate) async fn read(
        &self,
        held: &mut Held,
        input: &mut Buf,
        source: Option<&Source>,
    ) -> Result<(), TooLong> {
        if self.format == Format::Json {
            while !input.is_empty() {
                let page = input.front();
                let sent = self.json(&mut held.json, page, source, &held.out).await?;
                let read = page.len();
                input.consume(read);
                if sent {
                    held.out = held.out.waiting();
                }
            }
            return Ok(());
        }
        let mut records = Records::new(&held.out);
        while let Some(end) = self.next_end(held, input) {
            let size = end + self.separator.len();
            if input.front().len() >= size {
                self.line(&input.front()[..end], source, &mut records).await;
            } else {
                let Ok(_lease) = held.out.account().lease(size).await else { return Err(TooLong) };
                let line = copy(input, end);
                self.line(&line, source, &mut records).await;
            }
            input.consume(size);
        }
        records.send().await;
        held.out = held.out.waiting();
        if input.len() > self.limit { Err(TooLong) } else { Ok(()) }
    }

    /// Where the next separator starts.
    fn next_end(&self, held: &mut Held, input: &Buf) -> Option<usize> {
        let found = find(input, held.searched, &self.separator);
        held.searched = match found {
            Some(_) => 0,
            None => input.len().saturating_sub(self.separator.len() - 1),
        };
        found
    }

    /// The last line of a client that is gone, if it ended without a separator.
    pub(crate) async fn end(&self, held: &Held, input: &Buf, source: Option<&Source>) {
        if held.json.holds() {
            let plugin = self.plugin;
            return tracing::warn!(
                "[input:{plugin}] a client closed in the middle of an object: it is dropped"
            );
        }
        if self.format == Format::None && !input.is_empty() {
            let Ok(_lease) = held.out.account().lease(input.len()).await else { return };
            self.datagram(&copy(input, input.len()), source, &held.out).await;
        }
    }

    /// Reads a datagram: what it holds is complete.
    pub(crate) async fn datagram(&self, datagram: &[u8], source: Option<&Source>, out: &Emitter) {
        if self.format == Format::Json {
            let mut stream = JsonStream::new("msg", usize::MAX);
            let _never_too_long = self.json(&mut stream, datagram, source, out).await;
            if stream.holds() {
                let plugin = self.plugin;
                tracing::warn!("[input:{plugin}] a datagram ended in the middle of an object: it is dropped");
            }
            return;
        }
        let mut records = Records::new(out);
        let mut rest = datagram;
        while let Some(end) = memmem::find(rest, &self.separator) {
            self.line(&rest[..end], source, &mut records).await;
            rest = &rest[end + self.separator.len()..];
        }
        self.line(rest, source, &mut records).await;
        records.send().await;
    }

    /// Returns whether records were complete.
    async fn json(
        &self,
        stream: &mut JsonStream,
        mut text: &[u8],
        source: Option<&Source>,
        out: &Emitter,
    ) -> Result<bool, TooLong> {
        let mut sent = false;
        loop {
            match stream.read(&mut text, out).await {
                Read::All => return Ok(sent),
                Read::TooLong => return Err(TooLong),
                Read::Bad(error) => {
                    tracing::warn!(
                        "[input:{}] invalid JSON, the rest of the line is skipped: {error}",
                        self.plugin
                    );
                }
                Read::Records(events) => {
                    sent = true;
                    let count = events.records;
                    match source {
                        None => hand_over(events, out).await,
                        Some(source) => match source.add_to(events, out).await {
                            Ok(events) => hand_over(events, out).await,
                            Err(refused) => out.dropped(count, "records", &refused),
                        },
                    }
                }
            }
        }
    }

    /// Adds the record of a line; an empty one has none. What the parser does not take stays whole.
    async fn line(&self, line: &[u8], source: Option<&Source>, records: &mut Records) {
        if line.is_empty() {
            return;
        }
        let now = EventTime::now();
        if !self.parser.is_some() {
            return self.parser.add_whole(records, now, line, "log", &[]).await;
        }
        let entry = source.map(Source::entry);
        if !self.parser.add(records, now, line, "log", entry.as_slice()).await {
            self.parser.add_whole(records, now, line, "log", entry.as_slice()).await;
        }
    }
}

/// The client's address, and the key to add it under.
pub(crate) struct Source {
    key: String,
    address: String,
}

impl Source {
    /// As an entry of a record.
    pub(crate) fn entry(&self) -> (&str, records::Value<'_>) {
        (&self.key, records::Value::Str(self.address.as_bytes()))
    }

    /// Adds it to records.
    async fn add_to(&self, events: Events, out: &Emitter) -> Result<Events, Refused> {
        let entry = Entry { key: Raw::text(&self.key), value: Raw::text(&self.address) };
        records::edit(out, events, |record| record.body_mut().push(entry.clone())).await
    }
}

/// The first `bytes` bytes in one piece. The caller has paid for them.
pub(crate) fn copy(input: &Buf, bytes: usize) -> Vec<u8> {
    let mut line = Vec::with_capacity(bytes);
    for page in input.pages() {
        line.extend_from_slice(&page[..page.len().min(bytes - line.len())]);
    }
    line
}

/// Where `separator` starts, at `from` or behind it; it may lie over page ends.
pub(crate) fn find(input: &Buf, from: usize, separator: &[u8]) -> Option<usize> {
    // Nearly always everything stands in one page.
    if let Some(found) = input.front().get(from..).and_then(|rest| memmem::find(rest, separator)) {
        return Some(from + found);
    }
    let (mut before, mut seen) = (Vec::new(), 0);
    for page in input.pages() {
        let skip = from.saturating_sub(seen).min(page.len());
        let start = seen + skip - before.len();
        // The end of what was before and this page's front, where the separator may lie over both.
        let joint = [&before[..], &page[skip..page.len().min(skip + separator.len() - 1)]].concat();
        if let Some(found) = memmem::find(&joint, separator) {
            return Some(start + found);
        }
        if let Some(found) = memmem::find(&page[skip..], separator) {
            return Some(seen + skip + found);
        }
        seen += page.len();
        if skip < page.len() {
            before.extend_from_slice(&page[skip..]);
            let keep = before.len().min(separator.len() - 1);
            before.drain(..before.len() - keep);
        }
    }
    None
}

/// What an escaped text stands for.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes().peekable();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let stands_for = match (byte, bytes.peek()) {
            (b'\\', Some(b'n')) => Some(b'\n'),
            (b'\\', Some(b'r')) => Some(b'\r'),
            (b'\\', Some(b't')) => Some(b'\t'),
            (b'\\', Some(b'a')) => Some(7),
            (b'\\', Some(b'b')) => Some(8),
            (b'\\', Some(b'v')) => Some(11),
            (b'\\', Some(b'f')) => Some(12),
            (b'\\', Some(b'\\')) => Some(b'\\'),
            _ => None,
        };
        if stands_for.is_some() {
            bytes.next();
        }
        plain.push(stands_for.unwrap_or(byte));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Budget, Share};

    #[test]
    fn a_separator_is_found_wherever_pages_end() {
        let budget = Budget::new(4 << 20, 4096).unwrap();
        let account = budget.account("test", "x", Share::COMMON).unwrap();
        let text = b"one||two|three||four";
        for step in 1..text.len() {
            let mut buf = Buf::new(&account);
            for piece in text.chunks(step) {
                let mut page = Buf::new(&account);
                page.write(piece).unwrap();
                buf.append(page).unwrap();
            }
            assert_eq!(find(&buf, 0, b"||"), Some(3), "{step}");
            assert_eq!(find(&buf, 4, b"||"), Some(14), "{step}");
            assert_eq!(find(&buf, 15, b"||"), None, "{step}");
            assert_eq!(copy(&buf, 9), b"one||two|");
        }
    }

    #[test]
    fn escapes_stand_for_what_they_do_in_c() {
        assert_eq!(unescape(r"\r\n|\\|\q"), b"\r\n|\\|\\q");
    }
}
