//! What is not settled yet: chunks by number, in memory or on the disk, until each of their records is delivered or
//! dropped with every output that takes them.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use event::{Chunk, Events, Tag};

use crate::batch::{Batch, Part};
use crate::limits::{KNOWN_STORED, LOAD_BYTES};
use crate::metrics::{Reason, StorageMetrics};
use crate::receipt::{Drops, Slip};
use crate::storage::{Ask, Storage, Stored, Task};

/// Records of one chunk that an output has to deliver.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) chunk: u64,
    pub(crate) records: Range<usize>,
    pub(crate) bytes: usize,
    /// It counts for `storage.total_limit_size`.
    pub(crate) stored: bool,
    pub(crate) attempt: u32,
    pub(crate) held: u32,
}

/// A chunk until all its records are settled with all outputs that take it.
struct Holding {
    tag: Tag,
    input: usize,
    records: usize,
    bytes: usize,
    /// The records; `None` while they are on the disk only.
    chunk: Option<Arc<Chunk>>,
    stored: Option<Stored>,
    /// Records that are due, over all its outputs.
    unsettled: usize,
    slip: Option<Slip>,
    drops: Drops,
}

/// All chunks, and the disk.
pub(crate) struct Held {
    chunks: HashMap<u64, Holding>,
    storage: Option<Storage>,
    /// What is still to be given to the writing thread.
    tasks: VecDeque<Task>,
    /// Chunks of each file that are not settled; more than one when a file was too large for one.
    files: HashMap<Arc<str>, usize>,
    /// What is being read, so that it can be delivered together. One at a time: two halves of two would wait for
    /// each other's memory.
    lifting: Vec<u64>,
    /// Asked for and not told yet.
    loading: Option<u64>,
    pub(crate) max_up: usize,
    pub(crate) metrics: Arc<StorageMetrics>,
}

/// Whether records are there to be delivered.
pub(crate) enum Lifted {
    /// They are.
    Up(Vec<Part>),
    /// They are being read, or somebody else's are.
    Later,
}

impl Held {
    pub(crate) fn new(metrics: Arc<StorageMetrics>) -> Held {
        Held {
            chunks: HashMap::new(),
            storage: None,
            tasks: VecDeque::new(),
            files: HashMap::new(),
            lifting: Vec::new(),
            loading: None,
            max_up: usize::MAX,
            metrics,
        }
    }

    /// There is a disk from now on.
    pub(crate) fn adopt(&mut self, storage: Storage) {
        self.storage = Some(storage);
    }

    /// Takes a chunk that so many outputs have to deliver.
    pub(crate) fn take(
        &mut self,
        chunk: Chunk,
        here: bool,
        stored: Option<Stored>,
        slip: Option<Slip>,
        outputs: usize,
    ) {
        let records = chunk.events.records;
        let bytes = stored.as_ref().map_or(chunk.len(), |stored| stored.bytes as usize);
        let (tag, input, id) = (chunk.tag.clone(), chunk.input, chunk.id);
        if let Some(stored) = &stored {
            *self.files.entry(Arc::clone(&stored.file)).or_default() += 1;
        }
        let chunk = here.then(|| Arc::new(chunk));
        let holding = Holding {
            tag,
            input,
            records,
            bytes,
            chunk,
            stored,
            unsettled: records * outputs,
            slip,
            drops: Vec::new(),
        };
        self.count(&holding, 1);
        self.chunks.insert(id, holding);
    }

    fn count(&self, holding: &Holding, by: isize) {
        let add = |gauge: &crate::metrics::Gauge| match by {
            1.. => gauge.add(1),
            _ => gauge.sub(1),
        };
        if holding.stored.is_none() {
            add(&self.metrics.memory_chunks);
            return;
        }
        add(&self.metrics.stored_chunks);
        if holding.chunk.is_some() {
            add(&self.metrics.stored_up);
        }
    }

    /// Takes records that were found on the disk.
    pub(crate) fn take_found(
        &mut self,
        id: u64,
        tag: Tag,
        input: usize,
        records: usize,
        stored: Stored,
        outputs: usize,
    ) {
        *self.files.entry(Arc::clone(&stored.file)).or_default() += 1;
        let holding = Holding {
            tag,
            input,
            records,
            bytes: stored.bytes as usize,
            chunk: None,
            stored: Some(stored),
            unsettled: records * outputs,
            slip: None,
            drops: Vec::new(),
        };
        self.count(&holding, 1);
        self.chunks.insert(id, holding);
    }

    /// Deletes a file that nobody takes.
    pub(crate) fn delete(&mut self, file: Arc<str>) {
        self.tasks.push_back(Task::Gone(file));
        self.pump();
    }

    /// A piece of all records of a chunk.
    pub(crate) fn whole(&self, id: u64) -> Option<Piece> {
        let holding = self.chunks.get(&id)?;
        let (records, bytes) = (0..holding.records, holding.bytes);
        Some(Piece { chunk: id, records, bytes, stored: holding.stored.is_some(), attempt: 0, held: 0 })
    }

    /// Whether one more chunk on the disk should stay unknown until others are settled.
    pub(crate) fn is_crowded(&self) -> bool {
        self.files.len() >= KNOWN_STORED
    }

    /// Whether there is room to look for more.
    pub(crate) fn has_room(&self) -> bool {
        self.files.len() < KNOWN_STORED / 2
    }

    pub(crate) fn storage(&self) -> Option<&Storage> {
        self.storage.as_ref()
    }

    /// Whether what is stored should be on the disk only.
    pub(crate) fn is_full(&self) -> bool {
        self.metrics.stored_up.get() > self.max_up as u64
            || self.storage.as_ref().is_some_and(|storage| storage.full.now())
    }

    /// Lets go of the memory of a chunk that is on the disk.
    pub(crate) fn put_down(&mut self, id: u64) {
        let Some(holding) = self.chunks.get_mut(&id) else { return };
        // What is larger than what is set aside for reading might never come back.
        if holding.stored.is_some() && holding.bytes <= LOAD_BYTES / 2 && holding.chunk.take().is_some() {
            self.metrics.stored_up.sub(1);
        }
    }

    /// Whether the records are in memory.
    pub(crate) fn is_up(&self, piece: &Piece) -> bool {
        self.chunks.get(&piece.chunk).is_some_and(|holding| holding.chunk.is_some())
    }

    /// The records of pieces, to be delivered together. Those on the disk are asked for.
    pub(crate) fn lift(&mut self, pieces: &[Piece]) -> Lifted {
        let down: Vec<u64> = pieces.iter().filter(|p| !self.is_up(p)).map(|p| p.chunk).collect();
        if !down.is_empty() {
            if self.lifting.is_empty() {
                self.lifting = pieces.iter().map(|piece| piece.chunk).collect();
            }
            self.load_next();
            return Lifted::Later;
        }
        let part = |piece: &Piece| {
            let chunk = self.chunks.get(&piece.chunk)?.chunk.as_ref()?;
            Some(Part::of(Arc::clone(chunk), piece.records.clone()))
        };
        let parts: Vec<Part> = pieces.iter().filter_map(part).collect();
        if pieces.iter().any(|piece| self.lifting.contains(&piece.chunk)) {
            self.lifting.clear();
        }
        if self.is_full() {
            pieces.iter().for_each(|piece| self.put_down(piece.chunk));
        }
        Lifted::Up(parts)
    }

    /// Asks for the next chunk that is being lifted.
    pub(crate) fn load_next(&mut self) {
        if self.loading.is_some() {
            return;
        }
        self.lifting.retain(|id| self.chunks.contains_key(id));
        let next = self.lifting.iter().find_map(|id| {
            let holding = self.chunks.get(id)?;
            if holding.chunk.is_some() { None } else { Some((*id, holding.stored.clone()?, holding.records)) }
        });
        let (Some((id, stored, records)), Some(storage)) = (next, &self.storage) else { return };
        if storage.ask(Ask::Load { id, stored, records }) {
            self.loading = Some(id);
        }
    }

    /// A chunk was read.
    pub(crate) fn loaded(&mut self, id: u64, events: Events) {
        self.loading = None;
        let Some(holding) = self.chunks.get_mut(&id) else { return };
        let (tag, input, created) = (holding.tag.clone(), holding.input, std::time::Instant::now());
        if holding.chunk.is_none() {
            self.metrics.stored_up.add(1);
        }
        holding.chunk = Some(Arc::new(Chunk { id, tag, input, events, created }));
        self.load_next();
    }

    /// A chunk could not be read now; others may be.
    pub(crate) fn not_loaded(&mut self, give_up: bool) {
        self.loading = None;
        if give_up {
            self.lifting.clear();
        }
    }

    /// Takes settled records off a chunk; one of which nothing is due any more is gone, and so is its file.
    pub(crate) fn settled(&mut self, piece: &Piece, dropped: Option<&(Reason, Arc<str>)>) {
        let Some(holding) = self.chunks.get_mut(&piece.chunk) else { return };
        holding.unsettled -= piece.records.len();
        if let Some((reason, why)) = dropped
            && holding.slip.is_some()
        {
            holding.drops.push((piece.records.clone(), *reason, Arc::clone(why)));
        }
        if holding.unsettled > 0 {
            return;
        }
        let Some(holding) = self.chunks.remove(&piece.chunk) else { return };
        self.count(&holding, -1);
        self.lifting.retain(|id| *id != piece.chunk);
        let Holding { stored, slip, drops, .. } = holding;
        if let Some(slip) = slip {
            slip.settled(drops);
        }
        if let Some(Stored { file, .. }) = stored {
            let left = self.files.get_mut(&file).map_or(0, |left| {
                *left -= 1;
                *left
            });
            if left == 0 {
                self.files.remove(&file);
                self.tasks.push_back(Task::Gone(file));
            }
        }
        self.pump();
    }

    /// Has records kept that were dropped. Before their chunk is gone: tasks are done in their order.
    pub(crate) fn keep(&mut self, name: String, part: Part) {
        self.tasks.push_back(Task::Keep(name, part));
        self.pump();
    }

    /// Gives the writing thread what it has room for.
    pub(crate) fn pump(&mut self) {
        let Some(storage) = &self.storage else { return self.tasks.clear() };
        while let Some(task) = self.tasks.pop_front() {
            if let Err(back) = storage.task(task) {
                return self.tasks.push_front(back);
            }
        }
    }

    /// The oldest chunk of an input.
    pub(crate) fn oldest_of(&self, input: usize) -> Option<u64> {
        self.chunks.iter().filter(|(_, holding)| holding.input == input).map(|(id, _)| *id).min()
    }

    /// Chunks that are lost when the agent ends, and those that are delivered after the next start.
    pub(crate) fn left(&self) -> (usize, usize) {
        let stored = self.chunks.values().filter(|holding| holding.stored.is_some()).count();
        (self.chunks.len() - stored, stored)
    }

    /// The end: waits for the disk.
    pub(crate) async fn close(self, patience: std::time::Duration) {
        if let Some(storage) = self.storage {
            storage.close(self.tasks.into(), patience).await;
        }
    }
}

/// A batch as pieces.
pub(crate) fn pieces_of(batch: &Batch, stored: impl Fn(u64) -> bool) -> Vec<Piece> {
    let piece = |part: &Part| {
        let (chunk, records) = part.place();
        let stored = stored(chunk);
        Piece { chunk, records, bytes: part.bytes(), stored, attempt: batch.attempt, held: batch.held }
    };
    batch.parts.iter().map(piece).collect()
}

impl Held {
    /// Whether a chunk is on the disk.
    pub(crate) fn is_stored(&self, id: u64) -> bool {
        self.chunks.get(&id).is_some_and(|holding| holding.stored.is_some())
    }
}
