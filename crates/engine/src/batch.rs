//! What an output is given: an ordered list of chunks, fixed before the first byte leaves.

use std::ops::Range;
use std::sync::Arc;

use event::{Chunk, Corrupt, Cursor, Events, Signal, Tag};

/// Chunks for one flush. The same batch, with the same id, comes again when it is retried.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Unique over restarts: the upper half is drawn when the process starts, the lower half counts.
    pub id: u128,
    /// The records, in their order.
    pub parts: Vec<Part>,
    /// How often it was tried before.
    pub attempt: u32,
    /// How many of these tries ended in [`crate::Outcome::Hold`], which no limit counts.
    pub(crate) held: u32,
}

/// The records of one chunk, or a run of them after a split.
#[derive(Debug, Clone)]
pub struct Part {
    chunk: Arc<Chunk>,
    skip: usize,
    records: usize,
}

impl Batch {
    /// A batch that was not tried yet.
    pub fn new(id: u128, parts: Vec<Part>) -> Batch {
        Batch { id, parts, attempt: 0, held: 0 }
    }

    /// Records in all parts.
    pub fn records(&self) -> usize {
        self.parts.iter().map(Part::records).sum()
    }

    /// Bytes of records in all parts, as msgpack.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }

    /// The two halves, or `None` for a single record.
    pub(crate) fn halves(&self) -> Option<(Vec<Part>, Vec<Part>)> {
        if self.parts.len() > 1 {
            let (left, right) = self.parts.split_at(self.parts.len() / 2);
            return Some((left.to_vec(), right.to_vec()));
        }
        let part = self.parts.first().filter(|part| part.records > 1)?;
        let left = Part { records: part.records / 2, ..part.clone() };
        let right =
            Part { skip: part.skip + left.records, records: part.records - left.records, ..part.clone() };
        Some((vec![left], vec![right]))
    }
}

impl Part {
    /// All records of a chunk.
    pub fn whole(chunk: Arc<Chunk>) -> Part {
        let records = chunk.events.records;
        Part { chunk, skip: 0, records }
    }

    /// Some of the records of a chunk.
    pub(crate) fn of(chunk: Arc<Chunk>, records: Range<usize>) -> Part {
        Part { chunk, skip: records.start, records: records.len() }
    }

    /// The tag of the records.
    pub fn tag(&self) -> &Tag {
        &self.chunk.tag
    }

    /// The input that took the records.
    pub fn input(&self) -> usize {
        self.chunk.input
    }

    /// What it is about.
    pub fn signal(&self) -> Signal {
        self.chunk.events.signal()
    }

    /// How many records.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Which chunk, and which of its records.
    pub(crate) fn place(&self) -> (u64, Range<usize>) {
        (self.chunk.id, self.skip..self.skip + self.records)
    }

    /// Bytes as msgpack; of a part of a chunk its share by records.
    pub fn bytes(&self) -> usize {
        let all = self.chunk.events.records.max(1);
        (self.chunk.len() as u128 * self.records as u128 / all as u128) as usize
    }

    /// The same part with other records in place of its own.
    pub(crate) fn replaced(&self, events: Events) -> Part {
        let Chunk { id, tag, input, created, .. } = &*self.chunk;
        Part::whole(Arc::new(Chunk { id: *id, tag: tag.clone(), input: *input, events, created: *created }))
    }

    /// Stands at the first record; [`Part::records`] many follow, each to be read to its end:
    /// [`Cursor::record_head`], then the metadata if there is any, then the body.
    ///
    /// # Errors
    /// [`Corrupt`] when the bytes are no records.
    pub fn cursor(&self) -> Result<Cursor<'_>, Corrupt> {
        let mut cursor = self.chunk.events.cursor();
        for _ in 0..self.skip {
            cursor.skip()?;
        }
        Ok(cursor)
    }
}
