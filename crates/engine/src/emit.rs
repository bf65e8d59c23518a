//! The only door in: everything that an input takes passes [`Emitter::append`].

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use budget::{Account, Lease};
use event::{Events, Tag};
use tokio::time::{Instant, timeout_at};

use crate::metrics::InputMetrics;
use crate::pass::Pass;
use crate::store::Store;

/// The records were not taken; nothing of them is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the agent has no memory left for these records at the moment")
    }
}

impl std::error::Error for Refused {}

/// How an input hands records to its lane.
#[derive(Clone)]
pub struct Emitter {
    shared: Rc<Shared>,
}

struct Shared {
    input: usize,
    tag: Tag,
    account: Account,
    store: Rc<Store>,
    pass: Rc<Pass>,
    metrics: Arc<InputMetrics>,
}

/// What the filters left of records, and what these were before.
struct Passed {
    events: Events,
    records: usize,
    bytes: usize,
}

/// How long the records of one request wait for room, in all, before they are refused.
pub const PATIENCE: Duration = Duration::from_secs(10);

impl Emitter {
    pub(crate) fn new(
        input: usize,
        tag: Tag,
        account: Account,
        store: Rc<Store>,
        pass: Rc<Pass>,
        metrics: Arc<InputMetrics>,
    ) -> Emitter {
        Emitter { shared: Rc::new(Shared { input, tag, account, store, pass, metrics }) }
    }

    /// The account that the input's records are charged to, from their first byte.
    pub fn account(&self) -> &Account {
        &self.shared.account
    }

    /// The input's own tag.
    pub fn tag(&self) -> &Tag {
        &self.shared.tag
    }

    /// Takes records: after `Ok` they are in the pipeline. Waiting here is the input's backpressure.
    ///
    /// # Errors
    /// [`Refused`] when there was no room for [`PATIENCE`].
    pub async fn append(&self, tag: &Tag, events: Events) -> Result<(), Refused> {
        let passed = self.pass(tag, events).await?;
        self.store(tag, passed).await
    }

    /// Takes records of several tags, all or none.
    ///
    /// # Errors
    /// [`Refused`] when there was no room for [`PATIENCE`].
    pub async fn append_all(&self, parts: Vec<(Tag, Events)>) -> Result<(), Refused> {
        let mut passed = Vec::with_capacity(parts.len());
        for (tag, events) in parts {
            let events = self.pass(&tag, events).await?;
            passed.push((tag, events));
        }
        for (tag, events) in passed {
            self.store(&tag, events).await?;
        }
        Ok(())
    }

    async fn pass(&self, tag: &Tag, events: Events) -> Result<Passed, Refused> {
        let (records, bytes) = (events.records, events.buf.len());
        let events = self.shared.pass.run(tag, events).await?;
        Ok(Passed { events, records, bytes })
    }

    async fn store(&self, tag: &Tag, passed: Passed) -> Result<(), Refused> {
        let shared = &*self.shared;
        if passed.events.records > 0 {
            shared.store.append(shared.input, tag, passed.events).await?;
        }
        shared.metrics.records.add(passed.records);
        shared.metrics.bytes.add(passed.bytes);
        Ok(())
    }

    /// Waits for a page, at most until `deadline`. The lease pays for the writer's next one.
    ///
    /// # Errors
    /// [`Refused`] when there is none by then.
    pub async fn page(&self, deadline: Instant) -> Result<Lease, Refused> {
        page(&self.shared.account, deadline).await
    }
}

pub(crate) async fn page(account: &Account, deadline: Instant) -> Result<Lease, Refused> {
    let page = account.lease(account.page_size());
    timeout_at(deadline, page).await.map_err(|_| Refused)?.map_err(|_| Refused)
}
