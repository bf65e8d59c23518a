//! Records of one tag on their way to the outputs.

use std::time::Instant;

use budget::{Buf, Full};

use crate::Tag;
use crate::cursor::Cursor;

/// Whole records, as an input hands them over.
#[derive(Debug)]
pub struct Events {
    /// The records, one after the other.
    pub buf: Buf,
    /// How many.
    pub records: usize,
}

/// What events are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Records.
    Logs,
    /// Metrics, in the msgpack that Fluent Bit has for them.
    Metrics,
}

impl Events {
    /// What they are about, as their first byte tells: a record is an array, and metrics are a map.
    pub fn signal(&self) -> Signal {
        match self.buf.front().first() {
            Some(0x80..=0x8f | 0xde | 0xdf) => Signal::Metrics,
            _ => Signal::Logs,
        }
    }

    /// Reads them from the start.
    pub fn cursor(&self) -> Cursor<'_> {
        Cursor::new(&self.buf)
    }
}

/// Records of one tag. An open one grows in its lane; a sealed one is shared by the routes that it takes.
#[derive(Debug)]
pub struct Chunk {
    /// Unique in the process, in the order of creation.
    pub id: u64,
    /// What routing looks at.
    pub tag: Tag,
    /// The input that took the records: an index that the engine gave out.
    pub input: usize,
    /// The records.
    pub events: Events,
    /// When the first record came.
    pub created: Instant,
}

impl Chunk {
    /// Adds records: a few bytes are copied into the last page, more are moved with their pages.
    ///
    /// # Errors
    /// [`Full`] with the events given back, when they were charged to another account and this one is full.
    pub fn append(&mut self, events: Events) -> Result<(), (Full, Events)> {
        let Events { buf, records } = events;
        if buf.len() <= self.events.buf.room() {
            for page in buf.pages() {
                // The room was looked at, so this needs no page and cannot fail.
                let copied = self.events.buf.write(page);
                debug_assert!(copied.is_ok());
            }
        } else if let Err((full, buf)) = self.events.buf.append(buf) {
            return Err((full, Events { buf, records }));
        }
        self.events.records += records;
        Ok(())
    }

    /// Bytes of records.
    pub fn len(&self) -> usize {
        self.events.buf.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.records == 0
    }
}
