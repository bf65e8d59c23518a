//! The open chunks of a lane: one per input and tag, sealed when large enough or when the flush timer ticks.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use event::{Chunk, Events, Tag};
use tokio::sync::mpsc;

use crate::emit::Refused;
use crate::limits::{CHUNK_BYTES, OPEN_CHUNKS};

/// The numbers of chunks, unique in the process.
#[derive(Debug, Clone, Default)]
pub struct ChunkIds(Arc<AtomicU64>);

/// The open chunks of one lane.
pub struct Store {
    open: RefCell<HashMap<(usize, Tag), Chunk>>,
    /// Sealed, and on their way to the core. They stand here and not in the future that sends them, so that
    /// a future dropped in the middle, as when a client goes away, takes nothing with it.
    ready: RefCell<VecDeque<Chunk>>,
    sealed: mpsc::Sender<Chunk>,
    ids: ChunkIds,
}

impl Store {
    /// A store that hands sealed chunks to `sealed`.
    pub fn new(sealed: mpsc::Sender<Chunk>, ids: ChunkIds) -> Store {
        Store { open: RefCell::default(), ready: RefCell::default(), sealed, ids }
    }

    /// Adds records to the open chunk of their input and tag. Waits while the core has too many sealed chunks;
    /// the records are in before that.
    ///
    /// # Errors
    /// [`Refused`] when the engine has stopped: nobody would deliver them.
    pub async fn append(&self, input: usize, tag: &Tag, events: Events) -> Result<(), Refused> {
        if self.sealed.is_closed() {
            return Err(Refused);
        }
        let sealed = self.put(input, tag, events);
        if !sealed.is_empty() {
            self.ready.borrow_mut().extend(sealed);
            self.hand_over().await?;
        }
        Ok(())
    }

    /// Seals everything.
    ///
    /// # Errors
    /// [`Refused`] when the engine has stopped: what was open is lost, and said so.
    pub async fn flush(&self) -> Result<(), Refused> {
        let mut chunks: Vec<Chunk> = self.open.take().into_values().collect();
        chunks.sort_unstable_by_key(|chunk| chunk.id);
        self.ready.borrow_mut().extend(chunks);
        self.hand_over().await
    }

    async fn hand_over(&self) -> Result<(), Refused> {
        while !self.ready.borrow().is_empty() {
            // The core drops its end only after every lane has ended, or the grace is over.
            let Ok(permit) = self.sealed.reserve().await else {
                let records: usize = self.ready.take().iter().map(|chunk| chunk.events.records).sum();
                tracing::error!("{records} records were sealed after the engine had stopped: they are lost");
                return Err(Refused);
            };
            if let Some(chunk) = self.ready.borrow_mut().pop_front() {
                permit.send(chunk);
            }
        }
        Ok(())
    }

    /// Returns what has to be sealed: the chunk if it is large enough now, the one before if the records did
    /// not fit, the oldest one if there are too many.
    fn put(&self, input: usize, tag: &Tag, events: Events) -> Vec<Chunk> {
        let mut open = self.open.borrow_mut();
        let mut sealed = Vec::new();
        let key = (input, tag.clone());
        let mut events = Some(events);
        if let Some(chunk) = open.get_mut(&key) {
            let after = chunk.len() + events.as_ref().map_or(0, |events| events.buf.len());
            if after <= CHUNK_BYTES
                && let Some(Err((_, back))) = events.take().map(|events| chunk.append(events))
            {
                events = Some(back);
            }
            if events.is_some() || after >= CHUNK_BYTES {
                sealed.extend(open.remove(&key));
            }
        }
        if let Some(events) = events {
            if open.len() >= OPEN_CHUNKS {
                sealed.extend(oldest(&open).and_then(|key| open.remove(&key)));
            }
            let id = self.ids.0.fetch_add(1, Ordering::Relaxed);
            let chunk = Chunk { id, tag: tag.clone(), input, events, created: Instant::now() };
            if chunk.len() >= CHUNK_BYTES {
                sealed.push(chunk);
            } else {
                open.insert(key, chunk);
            }
        }
        sealed
    }
}

fn oldest(open: &HashMap<(usize, Tag), Chunk>) -> Option<(usize, Tag)> {
    open.iter().min_by_key(|(_, chunk)| chunk.id).map(|(key, _)| key.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Account, Budget, Share};
    use event::{EventTime, Writer};

    fn account() -> Account {
        Budget::new(64 << 20, 16384).unwrap().account("http.0", "chunks", Share::COMMON).unwrap()
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
        let store = Store::new(sender, ChunkIds::default());
        let account = account();
        for _ in 0..45 {
            store.append(0, &Tag::new("a"), events(&account, 100_000)).await.unwrap();
        }
        store.flush().await.unwrap();
        let mut records = Vec::new();
        while let Ok(chunk) = sealed.try_recv() {
            assert!(chunk.len() <= CHUNK_BYTES);
            records.push(chunk.events.records);
        }
        assert_eq!(records, [20, 20, 5]);
        assert_eq!(account.held(), 0, "the chunks are gone, and so are their pages");
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_while_waiting_takes_no_records_with_it() {
        let (sender, mut sealed) = mpsc::channel(1);
        let store = Store::new(sender, ChunkIds::default());
        let account = account();
        for number in 0..5 {
            let tag = Tag::new(&number.to_string());
            let append = store.append(0, &tag, events(&account, CHUNK_BYTES));
            // Polled once, then dropped: as when the connection's task is cut off.
            let _ = tokio::time::timeout(std::time::Duration::ZERO, append).await;
        }
        let mut tags = Vec::new();
        let receive = async {
            while let Some(chunk) = sealed.recv().await {
                tags.push(chunk.tag.to_string())
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
        let store = Store::new(sender, ChunkIds::default());
        let account = account();
        for number in 0..OPEN_CHUNKS + 10 {
            store.append(0, &Tag::new(&number.to_string()), events(&account, 10)).await.unwrap();
        }
        assert_eq!(store.open.borrow().len(), OPEN_CHUNKS);
        assert_eq!(sealed.try_recv().unwrap().tag, Tag::new("0"), "the oldest goes first");
    }
}
