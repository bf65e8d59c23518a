//! One batch, or one file, on its way: blob, then message; or a stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use azure_core::http::Url;
use engine::{Batch, Outcome};
use net::client::Client;

use super::Kusto;
use super::fault::{Fault, Step, Verdict};
use super::message::{Destination, Message};
use super::options::KustoOptions;
use super::resources::{Resources, place_of};
use super::storage::{self, Piece};
use super::stream::Why;
use super::watch::Watch;
use crate::payload::{PATIENCE, unwritten};

/// Blobs that are remembered between the tries of their batches. A batch that is forgotten is uploaded again,
/// under the same name.
const REMEMBERED: usize = 1024;

/// A batch of so many bytes that is too large for a stream is streamed in parts; a larger one is queued.
const SPLIT: usize = 4_000_000;

/// Storage accounts that the beginning of a blob, or a message, is offered to within one flush.
const ACCOUNTS: u32 = 2;

/// Where the records go.
pub(super) struct Target {
    database: String,
    table: String,
    mapping: Option<String>,
    tags: Vec<String>,
    once: bool,
    flush_immediately: bool,
}

impl Target {
    pub(super) fn new(options: &KustoOptions) -> Target {
        Target {
            database: options.database_name.clone(),
            table: options.table_name.clone(),
            mapping: options.ingestion_mapping_reference.clone(),
            tags: options.extent_tags.as_ref().map(|tags| tags.to_vec()).unwrap_or_default(),
            once: options.ingest_by_tags,
            flush_immediately: options.flush_immediately,
        }
    }

    /// The name of a blob: the same for each try, so that trying again stores no second one.
    fn blob_name(&self, id: u128, suffix: &str) -> String {
        format!("weir__{}__{}__{id:032x}.{suffix}", self.database, self.table)
    }

    fn destination(&self, suffix: &str) -> Destination<'_> {
        Destination {
            database: &self.database,
            table: &self.table,
            mapping: self.mapping.as_deref(),
            format: if suffix.starts_with("multijson") { "multijson" } else { "json" },
            tags: &self.tags,
            once: self.once,
            flush_immediately: self.flush_immediately,
        }
    }
}

/// The blobs that are stored but whose message no queue has accepted yet.
#[derive(Default)]
pub(super) struct Uploaded(Mutex<VecDeque<Stored>>);

/// A blob that is stored.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) id: u128,
    /// The container's URL without its signature, which may be another one when the message is posted.
    pub(super) container: String,
    pub(super) raw: u64,
}

impl Uploaded {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Stored>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: u128) -> Option<Stored> {
        self.lock().iter().find(|stored| stored.id == id).cloned()
    }

    fn remember(&self, blob: Stored) {
        self.forget(blob.id);
        let mut stored = self.lock();
        if stored.len() == REMEMBERED {
            stored.pop_front();
        }
        stored.push_back(blob);
    }

    fn forget(&self, id: u128) {
        self.lock().retain(|stored| stored.id != id);
    }
}

/// Why something was not delivered.
#[derive(Debug)]
pub(super) enum Failed {
    Fault(Fault),
    /// The batch could not be written.
    Unwritten(Outcome),
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Failed {
        Failed::Fault(fault)
    }
}

/// Delivers a batch.
pub(super) async fn deliver(kusto: &Kusto, client: &Client, batch: &Batch) -> Outcome {
    let mut way = Way::new(kusto, client, batch.id, batch.attempt, kusto.lines.suffix());
    let delivered = Box::pin(way.deliver(batch)).await;
    match delivered {
        Ok(()) => {
            kusto.uploaded.forget(batch.id);
            kusto.counts.clear(&kusto.name);
            Outcome::Done
        }
        Err(Failed::Unwritten(outcome)) => outcome,
        Err(Failed::Fault(fault)) => {
            if fault.verdict() == Verdict::Hold {
                kusto.counts.raise(&kusto.name, &fault);
            }
            fault.outcome()
        }
    }
}

/// A batch or a file, and what it travels with.
pub(super) struct Way<'a> {
    kusto: &'a Kusto,
    client: &'a Client,
    id: u128,
    suffix: &'a str,
    /// Another container and queue for each batch, and for each try of it.
    turn: u128,
    resources: Option<Arc<Resources>>,
}

impl<'a> Way<'a> {
    pub(super) fn new(
        kusto: &'a Kusto,
        client: &'a Client,
        id: u128,
        attempt: u32,
        suffix: &'a str,
    ) -> Way<'a> {
        Way { kusto, client, id, suffix, turn: id.wrapping_add(u128::from(attempt)), resources: None }
    }

    async fn deliver(&mut self, batch: &Batch) -> Result<(), Failed> {
        if self.kusto.streams.is_none() {
            // First of all: without a table and resources there is nothing to write lines for.
            self.permits()?;
            self.resources().await?;
        }
        let stored = match self.kusto.uploaded.find(self.id) {
            Some(stored) if self.is_in_use(&stored.container).await? => stored,
            _ => match Box::pin(self.upload(batch)).await? {
                Some(stored) => stored,
                // It was streamed.
                None => return Ok(()),
            },
        };
        self.kusto.uploaded.remember(stored.clone());
        Ok(Box::pin(self.post(&stored)).await?)
    }

    /// The resources, which are asked for when they are first needed.
    async fn resources(&mut self) -> Result<Arc<Resources>, Fault> {
        match &self.resources {
            Some(resources) => Ok(Arc::clone(resources)),
            None => Ok(Arc::clone(self.resources.insert(self.kusto.directory.get().await?))),
        }
    }

    /// Whether a container is among those of today.
    pub(super) async fn is_in_use(&mut self, container: &str) -> Result<bool, Fault> {
        Ok(self.resources().await?.container_at(container).is_some())
    }

    fn blob_url(&self, container: &Url) -> Url {
        storage::blob_url(container, &self.kusto.target.blob_name(self.id, self.suffix))
    }

    /// Writes the batch and stores it, block by block: what is held is one block. `None`: it was streamed.
    async fn upload(&mut self, batch: &Batch) -> Result<Option<Stored>, Failed> {
        let kusto = self.kusto;
        let no_block = |failed| Failed::Unwritten(unwritten(failed, batch));
        let slot = kusto.slots.take().map_err(|full| no_block(full.into()))?;
        let mut encoder = kusto.lines.encoder(batch, &slot).map_err(|full| no_block(full.into()))?;
        let (mut place, mut blocks, mut whole) = (None, 0, false);
        while let Some(pages) = encoder.next(PATIENCE).await.map_err(no_block)? {
            whole = blocks == 0 && encoder.complete();
            let pages = Arc::new(pages);
            if let Some(streams) = kusto.streams.as_ref().filter(|_| blocks == 0) {
                let raw = if whole { encoder.raw() } else { u64::MAX };
                match streams.send(self.client, self.id, &pages, raw).await? {
                    None => return Ok(None),
                    Some(Why::TooLarge) if batch.records() > 1 && batch.bytes() <= SPLIT => {
                        let why = "it is too large for one stream".to_owned();
                        return Err(Failed::Unwritten(Outcome::Split { why }));
                    }
                    Some(why) => kusto.counts.fallback(why),
                }
            }
            let piece = if whole { Piece::Whole(pages) } else { Piece::Block(blocks, pages) };
            self.store(&mut place, &piece).await?;
            blocks += 1;
        }
        if !whole {
            self.store(&mut place, &Piece::List(blocks)).await?;
        }
        Ok(Some(Stored { id: self.id, container: place.unwrap_or_default(), raw: encoder.raw() }))
    }

    /// Stores a piece. The first one decides on the container, in the best account; the others belong there.
    pub(super) async fn store(&mut self, place: &mut Option<String>, piece: &Piece) -> Result<(), Fault> {
        let (mut refreshed, mut accounts) = (false, 1);
        loop {
            let resources = self.resources().await?;
            let container = match &place {
                None => self.kusto.ranking.pick(resources.containers(), self.turn, Instant::now()),
                Some(place) => resources
                    .container_at(place)
                    .ok_or_else(|| Fault::local(Step::Blob, "its container is no longer in use"))?,
            };
            let stored = Box::pin(storage::store(self.client, &self.blob_url(container), piece)).await;
            match self.judge(container, stored) {
                Ok(()) => {
                    *place = Some(place_of(container));
                    return Ok(());
                }
                Err(fault) => self.again(fault, place.is_none(), &mut refreshed, &mut accounts).await?,
            }
        }
    }

    /// Whether the table is there, as far as anybody knows.
    fn permits(&self) -> Result<(), Fault> {
        self.kusto.watch.as_ref().map_or(Ok(()), Watch::permits)
    }

    /// Posts the message of a blob.
    pub(super) async fn post(&mut self, stored: &Stored) -> Result<(), Fault> {
        self.permits()?;
        let (mut refreshed, mut accounts) = (false, 1);
        loop {
            let resources = self.resources().await?;
            let Some(container) = resources.container_at(&stored.container) else {
                return Err(Fault::local(Step::Queue, "the blob's container is no longer in use"));
            };
            let (url, context) = (self.blob_url(container), resources.context.expose());
            let to = self.kusto.target.destination(self.suffix);
            let text = Message::new(self.id, url.as_str(), stored.raw, to, context).text();
            let queue = self.kusto.ranking.pick(resources.queues(), self.turn, Instant::now());
            let posted = Box::pin(storage::post(self.client, queue, text)).await;
            match self.judge(queue, posted) {
                Ok(()) => {
                    self.kusto.counts.blobs.add(1);
                    if let Some(watch) = &self.kusto.watch {
                        watch.posted(stored, self.suffix);
                    }
                    return Ok(());
                }
                Err(fault) => self.again(fault, true, &mut refreshed, &mut accounts).await?,
            }
        }
    }

    /// Counts how a request to storage ended, and remembers it of the account.
    fn judge(&self, url: &Url, result: Result<(), Fault>) -> Result<(), Fault> {
        let is_served = |fault: &Fault| matches!(fault.verdict(), Verdict::Split | Verdict::NewResources);
        let served = result.as_ref().err().is_none_or(is_served);
        self.kusto.ranking.report(url, served, Instant::now());
        result.inspect_err(|fault| self.kusto.counts.fault(fault))
    }

    /// Prepares the next try within the flush, or gives the fault back: fresh signatures once, and another account
    /// unless the server has said when it wants to be asked again.
    async fn again(
        &mut self,
        fault: Fault,
        movable: bool,
        refreshed: &mut bool,
        accounts: &mut u32,
    ) -> Result<(), Fault> {
        match fault.verdict() {
            Verdict::NewResources if !*refreshed => {
                *refreshed = true;
                tracing::debug!("asking for new ingestion resources: {}", fault.text);
                let refused = self.resources().await?;
                self.resources = Some(self.kusto.directory.replace(&refused).await?);
                Ok(())
            }
            Verdict::Again if movable && fault.after.is_none() && *accounts < ACCOUNTS => {
                *accounts += 1;
                self.turn = self.turn.wrapping_add(1);
                tracing::debug!("asking another storage account: {}", fault.text);
                Ok(())
            }
            _ => Err(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure_kusto::options::tests::read;

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_when_told() {
        let uploaded = Uploaded::default();
        for id in 0..=REMEMBERED as u128 {
            uploaded.remember(Stored { id, container: "c".to_owned(), raw: 1 });
        }
        assert!(uploaded.find(0).is_none(), "the oldest made room");
        assert_eq!(uploaded.find(1).unwrap().id, 1);
        uploaded.remember(Stored { id: 1, container: "d".to_owned(), raw: 1 });
        assert_eq!(uploaded.find(1).unwrap().container, "d");
        assert_eq!(uploaded.lock().len(), REMEMBERED);
        uploaded.forget(1);
        assert!(uploaded.find(1).is_none());
    }

    #[test]
    fn the_name_of_a_blob_follows_from_the_batch() {
        let target = Target::new(&read(&[]).unwrap());
        assert_eq!(target.blob_name(0xab, "json.gz"), "weir__d__t__000000000000000000000000000000ab.json.gz");
    }
}
