//! What filters see: a window of decoded records.
//!
//! Only the top level of a body is taken apart; values stay raw msgpack in their page, so decoding costs two
//! slices per entry whatever the values hold. New values are small and shared.

use std::sync::Arc;

use crate::EventTime;
use crate::cursor::{Corrupt, Cursor, Token};
use crate::msgpack::{map_header, put_str};
use crate::writer::{Progress, Writer};

/// One msgpack value as bytes: in its page, or made by a filter.
#[derive(Debug, Clone)]
pub enum Raw<'a> {
    /// Bytes in a page.
    Page(&'a [u8]),
    /// Bytes that a filter made. Shared, because a rule writes the same value into many records.
    Made(Arc<[u8]>),
}

impl Raw<'_> {
    /// A string value.
    pub fn text(text: &str) -> Raw<'static> {
        let mut bytes = Vec::with_capacity(text.len() + 5);
        put_str(&mut bytes, text);
        Raw::Made(bytes.into())
    }

    /// The msgpack bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Raw::Page(bytes) => bytes,
            Raw::Made(bytes) => bytes,
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

/// A record: time, metadata and the entries of its body in their order. Duplicate keys stay as they came.
#[derive(Debug, Clone)]
pub struct Record<'a> {
    /// When it happened.
    pub time: EventTime,
    /// The metadata, a map.
    pub metadata: Raw<'a>,
    /// The entries of the body.
    pub body: Vec<Entry<'a>>,
}

/// Entries that filters can add to a record before its list must be copied to a larger one.
pub const SPARE_ENTRIES: usize = 16;

const EMPTY_MAP: &[u8] = &[0x80];

impl<'a> Record<'a> {
    /// Takes a record apart that stands in one piece.
    ///
    /// # Errors
    /// [`Corrupt`] when it is no record, or its body is no map.
    pub fn decode(bytes: &'a [u8]) -> Result<Record<'a>, Corrupt> {
        let mut cursor = Cursor::of(bytes);
        let (time, with_metadata) = cursor.record_head()?;
        let metadata = if with_metadata { cursor.whole()?.ok_or(Corrupt)? } else { EMPTY_MAP };
        let Token::Map(count) = cursor.token()? else { return Err(Corrupt) };
        // A count that the bytes cannot hold is found out before memory is taken for it.
        if count > cursor.here().len() / 2 {
            return Err(Corrupt);
        }
        let mut body = Vec::with_capacity(count + SPARE_ENTRIES);
        for _ in 0..count {
            let key = Raw::Page(cursor.whole()?.ok_or(Corrupt)?);
            let value = Raw::Page(cursor.whole()?.ok_or(Corrupt)?);
            body.push(Entry { key, value });
        }
        Ok(Record { time, metadata: Raw::Page(metadata), body })
    }

    /// Writes the record; see [`Writer::record`].
    ///
    /// # Errors
    /// [`budget::Full`]: call again with the same progress when there is room.
    pub fn encode(&self, writer: &mut Writer, progress: &mut Progress) -> Result<(), budget::Full> {
        let (header, size) = map_header(self.body.len());
        let header = &header[..size];
        let part = |index: usize| match index {
            0 => Some(self.metadata.bytes()),
            1 => Some(header),
            _ => {
                let entry = self.body.get((index - 2) / 2)?;
                Some(if index.is_multiple_of(2) { entry.key.bytes() } else { entry.value.bytes() })
            }
        };
        writer.record(self.time, part, progress)
    }

    /// The place of the first entry with this key.
    pub fn position(&self, key: &[u8]) -> Option<usize> {
        self.body.iter().position(|entry| entry.key.as_str() == Some(key))
    }

    /// The value of the first entry with this key.
    pub fn get(&self, key: &[u8]) -> Option<&Raw<'a>> {
        self.position(key).map(|at| &self.body[at].value)
    }
}

/// A window of records of one tag.
#[derive(Debug, Default)]
pub struct Window<'a> {
    /// The records, in their order. A filter may change, remove and add.
    pub records: Vec<Record<'a>>,
}
