//! The open chunks of a lane: one per input and tag, sealed when large enough or when the flush timer ticks.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use event::{Chunk, Events, Tag};
use tokio::sync::mpsc;

use crate::emit::{Receipts, Refused};
use crate::limits::{CHUNK_BYTES, OPEN_CHUNKS};
use crate::metrics::StorageMetrics;
use crate::receipt::{Part, Slip};
use crate::storage::{Append, Entry, Stored, Writer};

/// The numbers of chunks, unique in the process.
#[derive(Debug, Clone, Default)]
pub struct ChunkIds(Arc<AtomicU64>);

impl ChunkIds {
    /// A number that nobody else has.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A chunk that grows.
struct Open {
    chunk: Chunk,
    /// Only when somebody asked for a receipt.
    slip: Option<Slip>,
}

/// A chunk that grows no more, on its way to the core.
#[derive(Debug)]
pub struct Sealed {
    /// The records.
    pub chunk: Chunk,
    /// Who waits for what becomes of them.
    pub slip: Option<Slip>,
    /// Their file, if they have one.
    pub(crate) stored: Option<Stored>,
    /// The records are in memory, and not on the disk only.
    pub(crate) here: bool,
}

/// The disk as a lane sees it.
#[derive(Clone)]
pub(crate) struct Disk {
    pub(crate) writer: Writer,
    pub(crate) metrics: Arc<StorageMetrics>,
}

/// The open chunks of one lane.
pub struct Store {
    open: RefCell<HashMap<(usize, Tag), Open>>,
    /// Sealed, and on their way to the core. They stand here and not in the future that sends them, so that
    /// a future dropped in the middle, as when a client goes away, takes nothing with it.
    ready: RefCell<VecDeque<Sealed>>,
    sealed: mpsc::Sender<Sealed>,
    ids: ChunkIds,
    disk: Option<Disk>,
    /// On their way to the disk. They stand here for the same reason.
    appends: RefCell<VecDeque<Append>>,
}

impl Store {
    /// A store that hands sealed chunks to `sealed`, and to the disk what belongs there.
    pub(crate) fn new(sealed: mpsc::Sender<Sealed>, ids: ChunkIds, disk: Option<Disk>) -> Store {
        let (open, ready, appends) = Default::default();
        Store { open, ready, sealed, ids, disk, appends }
    }

    /// Stores records on the disk, all or none. When `wait` is set this returns when they are as safe as
    /// `storage.sync` says.
    ///
    /// # Errors
    /// [`Refused`] when they cannot be stored.
    pub(crate) async fn write(
        &self,
        entries: Vec<Entry>,
        receipts: &mut Receipts,
        wait: bool,
    ) -> Result<(), Refused> {
        let (append, answered) = Append::new(entries, receipts.is_some());
        self.appends.borrow_mut().push_back(append);
        self.pump().await?;
        if !wait && receipts.is_none() {
            return Ok(());
        }
        let parts: Vec<Part> = answered.await.map_err(|_| Refused::Stopping)??;
        if let Some(receipts) = receipts {
            receipts.extend(parts);
        }
        Ok(())
    }

    /// Waits until fewer than so many chunks are on the disk.
    ///
    /// # Errors
    /// [`Refused`] when that takes longer than `waits`, if that is a time.
    pub(crate) async fn below(&self, most: u64, waits: Option<Duration>) -> Result<(), Refused> {
        let Some(disk) = &self.disk else { return Ok(()) };
        let started = Instant::now();
        while disk.metrics.stored_chunks.get() >= most {
            if waits.is_some_and(|waits| started.elapsed() > waits) {
                let why = format!("storage.max_chunks_up is reached: {most} chunks wait for the outputs");
                return Err(Refused::NotStored(why.into()));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Hands appends to the disk.
    async fn pump(&self) -> Result<(), Refused> {
        let Some(disk) = &self.disk else { return Ok(()) };
        while !self.appends.borrow().is_empty() {
            let permit = disk.writer.reserve().await?;
            if let Some(append) = self.appends.borrow_mut().pop_front() {
                permit.send(append);
            }
        }
        Ok(())
    }

    /// Whether there is somebody to deliver what comes in.
    ///
    /// # Errors
    /// [`Refused`] when the engine has stopped.
    pub fn accepts(&self) -> Result<(), Refused> {
        if self.sealed.is_closed() { Err(Refused::Stopping) } else { Ok(()) }
    }

    /// Seals everything.
    ///
    /// # Errors
    /// [`Refused`] when the engine has stopped: what was open is lost, and said so.
    pub async fn flush(&self) -> Result<(), Refused> {
        let mut open: Vec<Open> = self.open.take().into_values().collect();
        open.sort_unstable_by_key(|open| open.chunk.id);
        self.ready.borrow_mut().extend(open.into_iter().map(Open::seal));
        self.hand_over().await?;
        self.pump().await
    }

    /// Sends sealed chunks to the core. Waits while it has too many.
    ///
    /// # Errors
    /// As of [`Store::flush`].
    pub async fn hand_over(&self) -> Result<(), Refused> {
        while !self.ready.borrow().is_empty() {
            // The core drops its end only after every lane has ended, or the grace is over.
            let Ok(permit) = self.sealed.reserve().await else {
                let records: usize = self.ready.take().iter().map(|sealed| sealed.chunk.events.records).sum();
                tracing::error!("{records} records were sealed after the engine had stopped: they are lost");
                return Err(Refused::Stopping);
            };
            if let Some(sealed) = self.ready.borrow_mut().pop_front() {
                permit.send(sealed);
            }
        }
        Ok(())
    }

    /// Puts records into the open chunk of their input and tag. What has to be sealed is ready then: the chunk if it
    /// is large enough now, the one before if the records did not fit, the oldest one if there are too many.
    pub(crate) fn put(&self, input: usize, tag: Tag, events: Events, receipts: &mut Receipts) {
        let mut open = self.open.borrow_mut();
        let mut ready = self.ready.borrow_mut();
        let key = (input, tag);
        let mut events = Some(events);
        if let Some(chunk) = open.get_mut(&key) {
            let after = chunk.chunk.len() + events.as_ref().map_or(0, |events| events.buf.len());
            if after <= CHUNK_BYTES {
                events = events.and_then(|events| chunk.append(events, receipts).err());
            }
            if events.is_some() || after >= CHUNK_BYTES {
                ready.extend(open.remove(&key).map(Open::seal));
            }
        }
        let Some(events) = events else { return };
        if open.len() >= OPEN_CHUNKS {
            ready.extend(oldest(&open).and_then(|key| open.remove(&key)).map(Open::seal));
        }
        let chunk = Chunk { id: self.ids.next(), tag: key.1.clone(), input, events, created: Instant::now() };
        let mut fresh = Open { chunk, slip: None };
        fresh.receipt(0, receipts);
        if fresh.chunk.len() >= CHUNK_BYTES {
            ready.push_back(fresh.seal());
        } else {
            open.insert(key, fresh);
        }
    }
}

impl Open {
    /// Adds records; gives them back when their account has no room.
    fn append(&mut self, events: Events, receipts: &mut Receipts) -> Result<(), Events> {
        let before = self.chunk.events.records;
        self.chunk.append(events).map_err(|(_, back)| back)?;
        self.receipt(before, receipts);
        Ok(())
    }

    /// A receipt for the records from `first` on, if somebody wants one.
    fn receipt(&mut self, first: usize, receipts: &mut Receipts) {
        if let Some(receipts) = receipts {
            let slip = self.slip.get_or_insert_default();
            receipts.push(slip.part(first..self.chunk.events.records));
        }
    }

    fn seal(self) -> Sealed {
        Sealed { chunk: self.chunk, slip: self.slip, stored: None, here: true }
    }
}

fn oldest(open: &HashMap<(usize, Tag), Open>) -> Option<(usize, Tag)> {
    open.iter().min_by_key(|(_, open)| open.chunk.id).map(|(key, _)| key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Account, Budget, Share};
    use event::{EventTime, Writer};

    fn account() -> Account {
        Budget::new(64 << 20, 16384).unwrap().account("http.0", "chunks", Share::COMMON).unwrap()
    }

    async fn append(store: &Store, tag: &str, events: Events) {
        store.put(0, Tag::new(tag), events, &mut None);
        store.hand_over().await.unwrap();
    }

    fn events(account: &Account, bytes: usize) -> Events {
        let mut writer = Writer::new(account);
        writer.begin_record(EventTime::default()).unwrap();
        writer.begin_str().unwrap();
        writer.piece(&mut vec![b'x'; bytes].as_slice()).unwrap();
        writer.end_str();
        writer.end_record();
        writer.finish()
    }

    #[tokio::test]
    async fn records_of_a_tag_share_a_chunk_until_it_is_full() {
        let (sender, mut sealed) = mpsc::channel(64);
        let store = Store::new(sender, ChunkIds::default(), None);
        let account = account();
        for _ in 0..45 {
            append(&store, "a", events(&account, 100_000)).await;
        }
        store.flush().await.unwrap();
        let mut records = Vec::new();
        while let Ok(Sealed { chunk, .. }) = sealed.try_recv() {
            assert!(chunk.len() <= CHUNK_BYTES);
            records.push(chunk.events.records);
        }
        assert_eq!(records, [20, 20, 5]);
        assert_eq!(account.held(), 0, "the chunks are gone, and so are their pages");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_while_waiting_takes_no_records_with_it() {
        let (sender, mut sealed) = mpsc::channel(1);
        let store = Store::new(sender, ChunkIds::default(), None);
        let account = account();
        for number in 0..5 {
            let tag = number.to_string();
            let append = append(&store, &tag, events(&account, CHUNK_BYTES));
            // Polled once, then dropped: as when the connection's task is cut off.
            let _ = tokio::time::timeout(std::time::Duration::ZERO, append).await;
        }
        let mut tags = Vec::new();
        let receive = async {
            while let Some(sealed) = sealed.recv().await {
                tags.push(sealed.chunk.tag.to_string())
            }
        };
        let flush = async {
            store.flush().await.unwrap();
            drop(store)
        };
        tokio::join!(receive, flush);
        assert_eq!(tags, ["0", "1", "2", "3", "4"]);
    }

    #[tokio::test]
    async fn open_chunks_are_bounded_whatever_the_tags() {
        let (sender, mut sealed) = mpsc::channel(2 * OPEN_CHUNKS);
        let store = Store::new(sender, ChunkIds::default(), None);
        let account = account();
        for number in 0..OPEN_CHUNKS + 10 {
            append(&store, &number.to_string(), events(&account, 10)).await;
        }
        assert_eq!(store.open.borrow().len(), OPEN_CHUNKS);
        assert_eq!(sealed.try_recv().unwrap().chunk.tag, Tag::new("0"), "the oldest goes first");
    }
}
