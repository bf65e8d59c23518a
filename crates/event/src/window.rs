//! What filters see: a window of decoded records.
//!
//! Only the top level of a body is taken apart; values stay raw msgpack in their page, so decoding costs two
//! slices per entry whatever the values hold. New values are small and shared.

use std::cell::OnceCell;
use std::sync::Arc;

use budget::Lease;

use crate::cursor::{Corrupt, Cursor, Token};
use crate::msgpack::{map_header, put_str, put_text};
use crate::writer::{Progress, Writer};
use crate::{EventTime, Tag};

/// One msgpack value as bytes: in its page, or made by a filter.
#[derive(Debug, Clone)]
pub enum Raw<'a> {
    /// Bytes in a page.
    Page(&'a [u8]),
    /// Bytes that a filter made. Shared, because a rule writes the same value into many records.
    Made(Arc<[u8]>),
    /// A part of bytes that a filter made: from where, and to where.
    Part(Arc<[u8]>, u32, u32),
}

impl Raw<'_> {
    /// A string value.
    pub fn text(text: &str) -> Raw<'static> {
        let mut bytes = Vec::with_capacity(text.len() + 5);
        put_str(&mut bytes, text);
        Raw::Made(bytes.into())
    }

    /// A string value of bytes that may not be UTF-8.
    pub fn text_of(text: &[u8]) -> Raw<'static> {
        let mut bytes = Vec::with_capacity(text.len() + 5);
        put_text(&mut bytes, text);
        Raw::Made(bytes.into())
    }

    /// A value that `put` appends.
    pub fn made(put: impl FnOnce(&mut Vec<u8>)) -> Raw<'static> {
        let mut bytes = Vec::new();
        put(&mut bytes);
        Raw::Made(bytes.into())
    }

    /// The bytes of the string or binary, if the value is one.
    pub fn as_text(&self) -> Option<&[u8]> {
        let mut cursor = Cursor::of(self.bytes());
        match cursor.token() {
            Ok(Token::Str(size) | Token::Bin(size)) => cursor.here().get(..size),
            _ => None,
        }
    }

    /// The first token of the value; for all but strings, binaries, maps, arrays and extensions it is the value.
    pub fn token(&self) -> Option<Token> {
        Cursor::of(self.bytes()).token().ok()
    }

    /// The entries of a map that stands in a page; none of anything else.
    pub fn entries_of(map: &[u8]) -> Vec<Entry<'_>> {
        entries(map)
    }

    /// The entries of a map; none of anything else.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        entries(self.bytes())
    }

    /// A map of entries.
    pub fn map(entries: &[Entry<'_>]) -> Raw<'static> {
        let (header, size) = map_header(entries.len());
        let bytes =
            entries.iter().map(|entry| entry.key.bytes().len() + entry.value.bytes().len()).sum::<usize>();
        let mut map = Vec::with_capacity(size + bytes);
        map.extend(&header[..size]);
        for entry in entries {
            map.extend(entry.key.bytes());
            map.extend(entry.value.bytes());
        }
        Raw::Made(map.into())
    }

    /// The msgpack bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Raw::Page(bytes) => bytes,
            Raw::Made(bytes) => bytes,
            Raw::Part(bytes, from, to) => bytes.get(*from as usize..*to as usize).unwrap_or(&[]),
        }
    }

    /// The bytes of the string, if the value is one.
    pub fn as_str(&self) -> Option<&[u8]> {
        let mut cursor = Cursor::of(self.bytes());
        match cursor.token() {
            Ok(Token::Str(size)) => cursor.here().get(..size),
            _ => None,
        }
    }
}

/// A key and its value.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The key, normally a string.
    pub key: Raw<'a>,
    /// The value.
    pub value: Raw<'a>,
}

impl Entry<'_> {
    /// The same with bytes of its own.
    pub fn owned(&self) -> Entry<'static> {
        let own = |raw: &Raw<'_>| Raw::Made(raw.bytes().into());
        Entry { key: own(&self.key), value: own(&self.value) }
    }
}

/// A record: time, metadata and the entries of its body in their order. Duplicate keys stay as they came.
///
/// The body is taken apart when somebody first asks for its entries, and a record that nobody changed is written
/// as the bytes that it came as: a filter that only looks costs neither.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    time: EventTime,
    metadata: Raw<'a>,
    /// The map of the body, as it came.
    map: &'a [u8],
    /// The map of the body that a filter put in place of it, until an entry is changed.
    made: Option<Arc<[u8]>>,
    body: OnceCell<Vec<Entry<'a>>>,
    /// The whole record as it came, until it is changed.
    source: Option<&'a [u8]>,
}

/// Entries that filters can add to a record before its list must be copied to a larger one.
pub const SPARE_ENTRIES: usize = 16;

const EMPTY_MAP: &[u8] = &[0x80];

impl<'a> Record<'a> {
    /// Reads a record that stands in one piece.
    ///
    /// # Errors
    /// [`Corrupt`] when it is no record, or its body is no map.
    pub fn decode(bytes: &'a [u8]) -> Result<Record<'a>, Corrupt> {
        let mut cursor = Cursor::of(bytes);
        cursor.skip()?;
        Record::of_whole(&bytes[..cursor.offset()])
    }

    /// Reads a record of which it is known that the bytes are one whole msgpack value.
    ///
    /// # Errors
    /// [`Corrupt`] when the value is no record, or its body is no map.
    pub fn of_whole(bytes: &'a [u8]) -> Result<Record<'a>, Corrupt> {
        let mut cursor = Cursor::of(bytes);
        let (time, with_metadata) = cursor.record_head()?;
        let metadata = if with_metadata { cursor.whole()?.ok_or(Corrupt)? } else { EMPTY_MAP };
        let map = cursor.here();
        let Token::Map(_) = cursor.token()? else { return Err(Corrupt) };
        Ok(Record {
            time,
            metadata: Raw::Page(metadata),
            map,
            made: None,
            body: OnceCell::new(),
            source: with_metadata.then_some(bytes),
        })
    }

    /// A new record.
    pub fn new(time: EventTime, metadata: Raw<'a>, body: Vec<Entry<'a>>) -> Record<'a> {
        Record { time, metadata, map: EMPTY_MAP, made: None, body: OnceCell::from(body), source: None }
    }

    /// Puts a map in the place of the body. It must be one whole msgpack map.
    pub fn set_map(&mut self, map: Arc<[u8]>) {
        debug_assert!(matches!(Cursor::of(&map).token(), Ok(Token::Map(_))), "a body is a map");
        self.made = Some(map);
        self.body = OnceCell::new();
        self.source = None;
    }

    /// When it happened.
    pub fn time(&self) -> EventTime {
        self.time
    }

    /// Sets the time.
    pub fn set_time(&mut self, time: EventTime) {
        self.time = time;
        self.source = None;
    }

    /// The metadata, a map.
    pub fn metadata(&self) -> &Raw<'a> {
        &self.metadata
    }

    /// Sets the metadata, which must be a map.
    pub fn set_metadata(&mut self, metadata: Raw<'a>) {
        self.metadata = metadata;
        self.source = None;
    }

    /// The entries of the body.
    pub fn body(&self) -> &[Entry<'a>] {
        self.body.get_or_init(|| match &self.made {
            Some(map) => shared_entries(map),
            None => entries(self.map),
        })
    }

    /// The entries of the body, to be changed. To look at them use [`Record::body`]: after this call the record
    /// counts as changed, and is written anew.
    pub fn body_mut(&mut self) -> &mut Vec<Entry<'a>> {
        self.source = None;
        self.body();
        self.made = None;
        match self.body.get_mut() {
            Some(body) => body,
            None => unreachable!("it was made a moment ago"),
        }
    }

    /// The map of the body as it came, if the entries were not taken apart or made.
    pub(crate) fn untouched_map(&self) -> Option<&'a [u8]> {
        (self.body.get().is_none() && self.made.is_none()).then_some(self.map)
    }

    /// The record as it came, if nothing of it was changed.
    pub fn source(&self) -> Option<&'a [u8]> {
        self.source
    }

    /// Writes the record; see [`Writer::record`].
    ///
    /// # Errors
    /// [`budget::Full`]: call again with the same progress when there is room.
    pub fn encode(&self, writer: &mut Writer, progress: &mut Progress) -> Result<(), budget::Full> {
        if let Some(source) = self.source {
            return writer.whole_record(source, progress);
        }
        if let Some(map) = &self.made {
            let part = |index: usize| match index {
                0 => Some(self.metadata.bytes()),
                1 => Some(&map[..]),
                _ => None,
            };
            return writer.record(self.time, part, progress);
        }
        let entries = self.body();
        let (header, size) = map_header(entries.len());
        let header = &header[..size];
        let part = |index: usize| match index {
            0 => Some(self.metadata.bytes()),
            1 => Some(header),
            _ => {
                let entry = entries.get((index - 2) / 2)?;
                Some(if index.is_multiple_of(2) { entry.key.bytes() } else { entry.value.bytes() })
            }
        };
        writer.record(self.time, part, progress)
    }

    /// The place of the first entry with this key.
    pub fn position(&self, key: &[u8]) -> Option<usize> {
        self.body().iter().position(|entry| entry.key.as_str() == Some(key))
    }

    /// The value of the first entry with this key.
    pub fn get(&self, key: &[u8]) -> Option<&Raw<'a>> {
        self.body().iter().find(|entry| entry.key.as_str() == Some(key)).map(|entry| &entry.value)
    }
}

/// Takes a map apart. Its bytes were gone through before, so nothing is missing; if it were, the rest would not
/// count.
fn entries(map: &[u8]) -> Vec<Entry<'_>> {
    let mut cursor = Cursor::of(map);
    let Ok(Token::Map(count)) = cursor.token() else { return Vec::new() };
    // A count that the bytes cannot hold takes no memory.
    let count = count.min(cursor.here().len() / 2);
    let mut body = Vec::with_capacity(count + SPARE_ENTRIES);
    for _ in 0..count {
        let (Ok(Some(key)), Ok(Some(value))) = (cursor.whole(), cursor.whole()) else { break };
        body.push(Entry { key: Raw::Page(key), value: Raw::Page(value) });
    }
    body
}

/// As [`entries`], of a map that is shared: so are its entries.
fn shared_entries(map: &Arc<[u8]>) -> Vec<Entry<'static>> {
    let mut at = 0;
    let mut part = |bytes: &[u8]| {
        let from = at;
        at += bytes.len() as u32;
        Raw::Part(Arc::clone(map), from, at)
    };
    let found = entries(map);
    let inside: usize = found.iter().map(|entry| entry.key.bytes().len() + entry.value.bytes().len()).sum();
    // The header of the map comes first.
    part(&map[..map.len() - inside]);
    let mut body = Vec::with_capacity(found.len() + SPARE_ENTRIES);
    body.extend(
        found.iter().map(|entry| Entry { key: part(entry.key.bytes()), value: part(entry.value.bytes()) }),
    );
    body
}

/// A window of records of one tag, and what a filter makes of it beside them.
#[derive(Debug, Default)]
pub struct Window<'a> {
    /// The records, in their order. A filter may change, remove and add.
    pub records: Vec<Record<'a>>,
    /// The input that took them: an index that the engine gave out. Together with the tag it says which stream
    /// the records belong to.
    pub input: usize,
    /// More records of those that came in together follow in another window.
    pub more: bool,
    /// How many records of the same request were in the windows before.
    pub index: usize,
    emitted: Vec<(Tag, Record<'a>)>,
    held: Vec<Lease>,
    exit: Option<u8>,
}

impl<'a> Window<'a> {
    /// Records of an input.
    pub fn new(input: usize, records: Vec<Record<'a>>) -> Window<'a> {
        Window { records, input, more: false, index: 0, emitted: Vec::new(), held: Vec::new(), exit: None }
    }

    /// Sends a record under another tag, through the filters and routes as if an input had taken it. It is not
    /// shown again to the filter that sends it. Only filters with an emitter may.
    pub fn emit(&mut self, tag: Tag, record: Record<'a>) {
        self.emitted.push((tag, record));
    }

    /// Asks for the end of the agent, with this exit code: what was taken is delivered before.
    pub fn ask_exit(&mut self, code: u8) {
        self.exit.get_or_insert(code);
    }

    /// The exit code that was asked for.
    pub fn exit_asked(&self) -> Option<u8> {
        self.exit
    }

    /// Keeps a lease until the records of this window are written: it pays for values that the filter made.
    pub fn hold(&mut self, lease: Lease) {
        self.held.push(lease);
    }

    /// What was emitted since the last call.
    pub fn take_emitted(&mut self) -> Vec<(Tag, Record<'a>)> {
        std::mem::take(&mut self.emitted)
    }
}
