//! The only door in: everything that an input takes passes [`Emitter::append`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use budget::{Account, Lease, Ticket};
use event::{Events, Signal, Tag};
use tokio::time::{Instant, timeout, timeout_at};

use crate::common::Acknowledge;
use crate::metrics::{InputMetrics, Reason};
use crate::muffled::Muffled;
use crate::pass::{Origin, Pass, Passed, Work};
use crate::receipt::{Fate, Part, Receipt};
use crate::storage::Entry;
use crate::store::Store;

/// Records were not taken, or not brought as far as `acknowledge` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There was no memory for them. Nothing of them is kept.
    NoRoom,
    /// The agent stops. Nothing of them is kept.
    Stopping,
    /// They could not be stored. Nothing of them is kept.
    NotStored(Arc<str>),
    /// With `acknowledge delivered`: no output takes their tag. They are dropped and counted.
    NoRoute,
    /// At least one of them was dropped for good, and counted.
    Dropped(Arc<str>),
    /// With `acknowledge delivered`: they are in, but not settled within this time. They may still be delivered.
    Late(Duration),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::NoRoom => f.write_str("no memory left for these records; send them again"),
            Refused::Stopping => f.write_str("the agent stops; send these records again"),
            Refused::NotStored(why) => {
                write!(f, "these records cannot be stored ({why}); send them again")
            }
            Refused::NoRoute => f.write_str("no output takes this tag: the records are dropped"),
            Refused::Dropped(why) => write!(f, "not every record was delivered: {why}"),
            Refused::Late(time) => {
                write!(f, "not delivered within {} s; the records may still be delivered", time.as_secs())
            }
        }
    }
}

impl std::error::Error for Refused {}

/// How an input hands records to its lane.
#[derive(Clone)]
pub struct Emitter {
    shared: Rc<Shared>,
    /// The piece of work that it is used for, if its source waits for room with it.
    work: Option<Rc<Ticket>>,
}

struct Shared {
    origin: Origin,
    tag: Tag,
    store: Rc<Store>,
    pass: Rc<Pass>,
    promise: Promise,
    dropped: RefCell<Muffled>,
}

/// What an input promises to those whose records it takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promise {
    pub(crate) acknowledge: Acknowledge,
    /// How long `acknowledge delivered` waits.
    pub(crate) patience: Duration,
    /// How long records wait for room; `None` for as long as it takes.
    pub(crate) waits: Option<Duration>,
    /// Records go to the disk, those that filters send under another tag too.
    pub(crate) stored: bool,
    /// Refuse records while so many chunks are on the disk.
    pub(crate) pauses_at: Option<u64>,
    /// The oldest records make room for new ones.
    pub(crate) ring: bool,
}

/// How long the records of one request wait for room, in all, before they are refused.
pub const PATIENCE: Duration = Duration::from_secs(10);

impl Emitter {
    pub(crate) fn new(
        origin: Origin,
        tag: Tag,
        store: Rc<Store>,
        pass: Rc<Pass>,
        promise: Promise,
    ) -> Emitter {
        let dropped = RefCell::default();
        Emitter { shared: Rc::new(Shared { origin, tag, store, pass, promise, dropped }), work: None }
    }

    /// The same for a source that waits when it is not read, as a connection or a pipe: its records wait for room for
    /// as long as it takes. To be asked for with each piece of work anew, because of all that wait the oldest is
    /// served first.
    pub fn waiting(&self) -> Emitter {
        let ticket = self.shared.origin.account.ticket();
        Emitter { shared: Rc::clone(&self.shared), work: Some(Rc::new(ticket)) }
    }

    /// The account that the input's records are charged to, from their first byte.
    pub fn account(&self) -> &Account {
        self.work.as_ref().map_or(&self.shared.origin.account, |ticket| ticket.account())
    }

    /// Counts what the input has to drop because it was refused and its source will not send it again, and says so
    /// from time to time. `what`: what is counted, as `datagrams`.
    pub fn dropped(&self, count: usize, what: &str, why: &Refused) {
        let why: &str = match why {
            Refused::NoRoom => "no memory left for them",
            Refused::Stopping => "the agent stops",
            Refused::NotStored(why) => why,
            // They came in, and what became of them is counted there.
            Refused::NoRoute | Refused::Dropped(_) | Refused::Late(_) => return,
        };
        let metrics = &self.shared.origin.metrics;
        metrics.dropped.add(count);
        if let Some(count) = self.shared.dropped.borrow_mut().say(count) {
            tracing::warn!("[input:{}] {count} {what} were dropped: {why}", metrics.name);
        }
    }

    /// The input's own tag.
    pub fn tag(&self) -> &Tag {
        &self.shared.tag
    }

    /// Takes records: after `Ok` they are where the input's `acknowledge` wants them: in the pipeline, on the disk,
    /// or with every output. Waiting here is the input's backpressure. A future that is dropped takes no records
    /// with it that had come in.
    ///
    /// # Errors
    /// [`Refused`], which says whether anything of them is kept.
    pub async fn append(&self, tag: &Tag, events: Events) -> Result<(), Refused> {
        self.append_all(vec![(tag.clone(), events)]).await
    }

    /// Takes records of several tags, all or none. Only when filters send them under many tags a part may be in
    /// when there is no room for the rest.
    ///
    /// # Errors
    /// As of [`Emitter::append`].
    pub async fn append_all(&self, parts: Vec<(Tag, Events)>) -> Result<(), Refused> {
        let Promise { acknowledge, patience, .. } = self.shared.promise;
        if acknowledge != Acknowledge::Delivered {
            return self.take(parts, &mut None).await;
        }
        let mut receipts = Some(Vec::new());
        self.take(parts, &mut receipts).await?;
        let receipt = Receipt { parts: receipts.unwrap_or_default() };
        let fate = timeout(patience, receipt.settled()).await.map_err(|_| Refused::Late(patience))?;
        match fate {
            Fate::Delivered | Fate::Stored => Ok(()),
            Fate::Dropped(Reason::Unrouted, _) => Err(Refused::NoRoute),
            Fate::Dropped(_, why) => Err(Refused::Dropped(why)),
            Fate::Unsettled => Err(Refused::Late(patience)),
        }
    }

    /// Takes records and gives a receipt for them: after `Ok` they are in the pipeline, and the receipt tells when
    /// they are safe over a restart, or settled.
    ///
    /// # Errors
    /// [`Refused`]; nothing of them is kept.
    pub async fn append_tracked(&self, tag: &Tag, events: Events) -> Result<Receipt, Refused> {
        let mut receipts = Some(Vec::new());
        self.take(vec![(tag.clone(), events)], &mut receipts).await?;
        Ok(Receipt { parts: receipts.unwrap_or_default() })
    }

    async fn take(&self, parts: Vec<(Tag, Events)>, receipts: &mut Receipts) -> Result<(), Refused> {
        let Shared { origin, store, pass, promise, .. } = &*self.shared;
        let promise = &Promise { waits: promise.waits.filter(|_| self.work.is_none()), ..*promise };
        let deadline = promise.waits.map(|waits| Instant::now() + waits);
        let mut ready = Vec::with_capacity(parts.len());
        for (tag, events) in parts {
            // Filters and processors are for records.
            if events.signal() != Signal::Logs {
                let taken = (events.records, events.buf.len());
                ready.push(Passed { origin: origin.clone(), tag, events, taken });
                continue;
            }
            let mut work = pass.start(origin, &tag, events, deadline);
            gather(pass, store, &mut work, &mut ready, receipts, promise).await?;
        }
        put(store, &mut ready, receipts, promise).await
    }

    /// Waits for a page, at most until `deadline`. The lease pays for the writer's next one.
    ///
    /// # Errors
    /// [`Refused`] when there is none by then.
    pub async fn page(&self, deadline: Instant) -> Result<Lease, Refused> {
        page(self.account(), deadline).await
    }
}

/// Where receipts go, if somebody wants them.
pub(crate) type Receipts = Option<Vec<Part>>;

/// Goes through with the work. What is ready is put into the store at once only where it is too many tags to wait
/// for the rest.
pub(crate) async fn gather(
    pass: &Pass,
    store: &Store,
    work: &mut Work,
    ready: &mut Vec<Passed>,
    receipts: &mut Receipts,
    promise: &Promise,
) -> Result<(), Refused> {
    let enough = ready.len() + 1 + pass.tags();
    while let Some(passed) = pass.next(work).await? {
        ready.push(passed);
        if ready.len() > enough {
            put(store, ready, receipts, promise).await?;
            // A part is in: a refusal now would have the client send all of it again.
            work.deadline = None;
        }
    }
    Ok(())
}

/// Puts records into the store, all or none, and counts them as taken.
pub(crate) async fn put(
    store: &Store,
    ready: &mut Vec<Passed>,
    receipts: &mut Receipts,
    promise: &Promise,
) -> Result<(), Refused> {
    store.accepts()?;
    if promise.stored {
        return write(store, ready, receipts, promise).await;
    }
    for Passed { origin, tag, events, taken: (records, bytes) } in ready.drain(..) {
        count(&origin.metrics, records, bytes, events.records);
        if events.records > 0 {
            store.put(origin.input, tag, events, receipts);
        }
    }
    store.hand_over().await
}

/// Puts records onto the disk, all or none, and counts them as taken.
async fn write(
    store: &Store,
    ready: &mut Vec<Passed>,
    receipts: &mut Receipts,
    promise: &Promise,
) -> Result<(), Refused> {
    let mut counts = Vec::with_capacity(ready.len());
    let mut entries = Vec::with_capacity(ready.len());
    for Passed { origin, tag, events, taken } in ready.drain(..) {
        let records = events.records;
        counts.push((origin.metrics, taken, records));
        // Chunk files are for records here: metrics are in memory.
        if records > 0 && events.signal() != Signal::Logs {
            store.put(origin.input, tag, events, receipts);
        } else if records > 0 {
            entries.push(Entry { input: origin.input, tag, events });
        }
    }
    if !entries.is_empty() {
        if let Some(most) = promise.pauses_at {
            store.below(most, promise.waits).await?;
        }
        store.write(entries, receipts, promise.acknowledge != Acknowledge::Buffered).await?;
    }
    counts
        .into_iter()
        .for_each(|(metrics, (records, bytes), stored)| count(&metrics, records, bytes, stored));
    Ok(())
}

/// Counts so that `records + added = removed + stored` at any time.
fn count(metrics: &InputMetrics, records: usize, bytes: usize, stored: usize) {
    metrics.records.add(records);
    metrics.bytes.add(bytes);
    metrics.stored.add(stored);
    match stored.cmp(&records) {
        std::cmp::Ordering::Less => metrics.removed.add(records - stored),
        std::cmp::Ordering::Equal => {}
        std::cmp::Ordering::Greater => metrics.added.add(stored - records),
    }
}

/// Waits for a page, at most until `deadline`.
///
/// # Errors
/// [`Refused`] when there is none by then.
pub async fn page(account: &Account, deadline: Instant) -> Result<Lease, Refused> {
    let page = account.lease(account.page_size());
    timeout_at(deadline, page).await.map_err(|_| Refused::NoRoom)?.map_err(|_| Refused::NoRoom)
}
