//! The only door in: everything that an input takes passes [`Emitter::append`].

use std::rc::Rc;
use std::time::Duration;

use budget::{Account, Lease};
use event::{Events, Tag};
use tokio::time::{Instant, timeout_at};

use crate::limits::EMITTED_TAGS;
use crate::pass::{Origin, Pass, Passed, Work};
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
    origin: Origin,
    tag: Tag,
    store: Rc<Store>,
    pass: Rc<Pass>,
}

/// How long the records of one request wait for room, in all, before they are refused.
pub const PATIENCE: Duration = Duration::from_secs(10);

impl Emitter {
    pub(crate) fn new(origin: Origin, tag: Tag, store: Rc<Store>, pass: Rc<Pass>) -> Emitter {
        Emitter { shared: Rc::new(Shared { origin, tag, store, pass }) }
    }

    /// The account that the input's records are charged to, from their first byte.
    pub fn account(&self) -> &Account {
        &self.shared.origin.account
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
        self.append_all(vec![(tag.clone(), events)]).await
    }

    /// Takes records of several tags, all or none. Only when filters send them under many tags a part may be in
    /// when there is no room for the rest.
    ///
    /// # Errors
    /// [`Refused`] when there was no room for [`PATIENCE`].
    pub async fn append_all(&self, parts: Vec<(Tag, Events)>) -> Result<(), Refused> {
        let Shared { origin, store, pass, .. } = &*self.shared;
        let deadline = Some(Instant::now() + PATIENCE);
        let mut ready = Vec::with_capacity(parts.len());
        for (tag, events) in parts {
            let mut work = pass.start(origin, &tag, events, deadline);
            gather(pass, store, &mut work, &mut ready).await?;
        }
        put(store, &mut ready).await
    }

    /// Waits for a page, at most until `deadline`. The lease pays for the writer's next one.
    ///
    /// # Errors
    /// [`Refused`] when there is none by then.
    pub async fn page(&self, deadline: Instant) -> Result<Lease, Refused> {
        page(self.account(), deadline).await
    }
}

/// Goes through with the work. What is ready is put into the store at once only where it is too many tags to wait
/// for the rest.
pub(crate) async fn gather(
    pass: &Pass,
    store: &Store,
    work: &mut Work,
    ready: &mut Vec<Passed>,
) -> Result<(), Refused> {
    let enough = ready.len() + 1 + EMITTED_TAGS;
    while let Some(passed) = pass.next(work).await? {
        ready.push(passed);
        if ready.len() > enough {
            put(store, ready).await?;
        }
    }
    Ok(())
}

/// Puts records into the store, and counts them as taken.
pub(crate) async fn put(store: &Store, ready: &mut Vec<Passed>) -> Result<(), Refused> {
    for Passed { origin, tag, events, taken } in ready.drain(..) {
        if events.records > 0 {
            store.append(origin.input, &tag, events).await?;
        }
        origin.metrics.records.add(taken.0);
        origin.metrics.bytes.add(taken.1);
    }
    Ok(())
}

pub(crate) async fn page(account: &Account, deadline: Instant) -> Result<Lease, Refused> {
    let page = account.lease(account.page_size());
    timeout_at(deadline, page).await.map_err(|_| Refused)?.map_err(|_| Refused)
}
