//! One batch on its way: blob, then message.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use azure_core::http::Url;
use engine::{Batch, Outcome};
use net::client::Client;

use super::fault::{Fault, Step, Verdict};
use super::message::{Destination, Message};
use super::resources::{Resources, place_of};
use super::storage::{self, Piece};
use super::{Kusto, KustoOptions};
use crate::payload::{PATIENCE, unwritten};

/// Blobs that are remembered between the tries of their batches. A batch that is forgotten is uploaded again,
/// under the same name.
const REMEMBERED: usize = 1024;

/// Where the records go.
pub(super) struct Target {
    database: String,
    table: String,
    mapping: Option<String>,
}

impl Target {
    pub(super) fn new(options: &KustoOptions) -> Target {
        Target {
            database: options.database_name.clone(),
            table: options.table_name.clone(),
            mapping: options.ingestion_mapping_reference.clone(),
        }
    }

    /// The name of a batch's blob: the same for each try, so that trying again stores no second one.
    fn blob_name(&self, batch: u128, suffix: &str) -> String {
        format!("weir__{}__{}__{batch:032x}.{suffix}", self.database, self.table)
    }

    fn destination(&self) -> Destination<'_> {
        Destination { database: &self.database, table: &self.table, mapping: self.mapping.as_deref() }
    }
}

/// The blobs that are stored but whose message no queue has accepted yet.
#[derive(Default)]
pub(super) struct Uploaded(Mutex<VecDeque<Stored>>);

#[derive(Debug, Clone)]
struct Stored {
    batch: u128,
    /// The container's URL without its signature, which may be another one when the message is posted.
    container: String,
    raw: u64,
}

impl Uploaded {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Stored>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, batch: u128) -> Option<Stored> {
        self.lock().iter().find(|stored| stored.batch == batch).cloned()
    }

    fn remember(&self, blob: Stored) {
        self.forget(blob.batch);
        let mut stored = self.lock();
        if stored.len() == REMEMBERED {
            stored.pop_front();
        }
        stored.push_back(blob);
    }

    fn forget(&self, batch: u128) {
        self.lock().retain(|stored| stored.batch != batch);
    }
}

/// Delivers a batch.
pub(super) async fn deliver(kusto: &Kusto, client: &Client, batch: &Batch) -> Result<(), Outcome> {
    // First of all: without resources there is nothing to write lines for.
    let resources = kusto.directory.get().await.map_err(|fault| fault.outcome())?;
    let mut way = Way { kusto, client, batch, resources };
    let stored = match way.stored_before() {
        Some(stored) => stored,
        None => {
            let stored = Box::pin(way.upload()).await?;
            kusto.uploaded.remember(stored.clone());
            stored
        }
    };
    Box::pin(way.post(&stored)).await.map_err(|fault| fault.outcome())?;
    kusto.uploaded.forget(batch.id);
    Ok(())
}

/// A batch and what it travels with.
struct Way<'a> {
    kusto: &'a Kusto,
    client: &'a Client,
    batch: &'a Batch,
    resources: Arc<Resources>,
}

impl Way<'_> {
    /// Another container and queue for each batch, and for each try of it.
    fn turn(&self) -> u128 {
        self.batch.id.wrapping_add(u128::from(self.batch.attempt))
    }

    fn blob_url(&self, container: &Url) -> Url {
        let name = self.kusto.target.blob_name(self.batch.id, self.kusto.lines.suffix());
        storage::blob_url(container, &name)
    }

    /// The blob of an earlier try, if its container is still in use.
    fn stored_before(&self) -> Option<Stored> {
        let stored = self.kusto.uploaded.find(self.batch.id)?;
        self.resources.container_at(&stored.container).is_some().then_some(stored)
    }

    /// Writes the batch and stores it, block by block: what is held is one block.
    async fn upload(&mut self) -> Result<Stored, Outcome> {
        let (kusto, batch) = (self.kusto, self.batch);
        let no_block = |failed| unwritten(failed, batch);
        let slot = kusto.slots.take().map_err(|full| no_block(full.into()))?;
        let mut encoder = kusto.lines.encoder(batch, &slot).map_err(|full| no_block(full.into()))?;
        let (mut place, mut blocks, mut whole) = (None, 0, false);
        while let Some(pages) = encoder.next(PATIENCE).await.map_err(no_block)? {
            whole = blocks == 0 && encoder.complete();
            let pages = Arc::new(pages);
            let piece = if whole { Piece::Whole(pages) } else { Piece::Block(blocks, pages) };
            self.store(&mut place, &piece).await.map_err(|fault| fault.outcome())?;
            blocks += 1;
        }
        if !whole {
            self.store(&mut place, &Piece::List(blocks)).await.map_err(|fault| fault.outcome())?;
        }
        Ok(Stored { batch: batch.id, container: place.unwrap_or_default(), raw: encoder.raw() })
    }

    async fn store(&mut self, place: &mut Option<String>, piece: &Piece) -> Result<(), Fault> {
        match self.store_once(place, piece).await {
            Err(fault) if fault.verdict() == Verdict::NewResources => {
                self.replace_resources(&fault).await?;
                self.store_once(place, piece).await
            }
            result => result,
        }
    }

    /// The first piece decides on the container; the others belong to it.
    async fn store_once(&self, place: &mut Option<String>, piece: &Piece) -> Result<(), Fault> {
        let container = match place {
            None => self.resources.container(self.turn()),
            Some(place) => self
                .resources
                .container_at(place)
                .ok_or_else(|| Fault::local(Step::Blob, "its container is no longer in use"))?,
        };
        Box::pin(storage::store(self.client, &self.blob_url(container), piece)).await?;
        *place = Some(place_of(container));
        Ok(())
    }

    async fn post(&mut self, stored: &Stored) -> Result<(), Fault> {
        match self.post_once(stored).await {
            Err(fault) if fault.verdict() == Verdict::NewResources => {
                self.replace_resources(&fault).await?;
                self.post_once(stored).await
            }
            result => result,
        }
    }

    async fn post_once(&self, stored: &Stored) -> Result<(), Fault> {
        let resources = &self.resources;
        let Some(container) = resources.container_at(&stored.container) else {
            return Err(Fault::local(Step::Queue, "the blob's container is no longer in use"));
        };
        let url = self.blob_url(container);
        let context = resources.context.expose();
        let to = self.kusto.target.destination();
        let text = Message::new(self.batch.id, url.as_str(), stored.raw, to, context).text();
        storage::post(self.client, resources.queue(self.turn()), text).await
    }

    async fn replace_resources(&mut self, fault: &Fault) -> Result<(), Fault> {
        tracing::debug!("asking for new ingestion resources: {}", fault.text);
        self.resources = self.kusto.directory.replace(&self.resources).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_when_told() {
        let uploaded = Uploaded::default();
        for batch in 0..=REMEMBERED as u128 {
            uploaded.remember(Stored { batch, container: "c".to_owned(), raw: 1 });
        }
        assert!(uploaded.find(0).is_none(), "the oldest made room");
        assert_eq!(uploaded.find(1).unwrap().batch, 1);
        uploaded.remember(Stored { batch: 1, container: "d".to_owned(), raw: 1 });
        assert_eq!(uploaded.find(1).unwrap().container, "d");
        assert_eq!(uploaded.lock().len(), REMEMBERED);
        uploaded.forget(1);
        assert!(uploaded.find(1).is_none());
    }

    #[test]
    fn the_name_of_a_blob_follows_from_the_batch() {
        let target = Target { database: "d".to_owned(), table: "t".to_owned(), mapping: None };
        assert_eq!(target.blob_name(0xab, "json.gz"), "weir__d__t__000000000000000000000000000000ab.json.gz");
    }
}
