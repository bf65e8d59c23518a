//! What became of records after they were taken: the slip of a chunk, and the receipts that read it.
//!
//! A slip exists only for chunks of which somebody asked for a receipt. Whoever settles the chunk fills it in;
//! each receipt looks only at its own records, so a dropped neighbour does not concern it.

use std::future::{Future, IntoFuture};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::metrics::Reason;

/// What became of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// They survive a restart.
    Stored,
    /// Every output that takes them has accepted them, or a filter removed them.
    Delivered,
    /// At least one output did not get at least one of them, for good. They are counted, and in the dead letter
    /// if there is one.
    Dropped(Reason, Arc<str>),
    /// The agent stopped before they were settled. What was stored is delivered after the next start.
    Unsettled,
}

/// Settled records that were dropped: which of the chunk, and why.
pub type Drops = Vec<(Range<usize>, Reason, Arc<str>)>;

#[derive(Debug, Clone, Default)]
enum Progress {
    #[default]
    Open,
    Stored,
    Settled(Arc<Drops>),
}

/// The side of a chunk's receipts that is filled in. Dropping it leaves them [`Fate::Unsettled`].
#[derive(Debug, Default)]
pub struct Slip(watch::Sender<Progress>);

impl Slip {
    /// Stands for these records of the chunk in a receipt.
    pub fn part(&self, records: Range<usize>) -> Part {
        Part { slip: self.0.subscribe(), records }
    }

    /// Whether nobody waits any more.
    pub fn is_unwatched(&self) -> bool {
        self.0.is_closed()
    }

    /// All records so far survive a restart.
    pub fn stored(&self) {
        self.0.send_replace(Progress::Stored);
    }

    /// Every record is delivered or dropped.
    pub fn settled(self, drops: Drops) {
        self.0.send_replace(Progress::Settled(Arc::new(drops)));
    }
}

/// A promise for records that were taken. Awaiting it gives their fate as soon as they are safe over a restart
/// or settled; dropping it changes nothing for them.
#[derive(Debug)]
pub struct Receipt {
    /// By chunk. There is none when filters left nothing of the records.
    pub(crate) parts: Vec<Part>,
}

/// The records of a receipt that are in one chunk.
#[derive(Debug)]
pub struct Part {
    slip: watch::Receiver<Progress>,
    records: Range<usize>,
}

impl Receipt {
    /// Waits until the records are safe over a restart, or settled.
    pub async fn safe(self) -> Fate {
        self.reach(|progress| !matches!(progress, Progress::Open)).await
    }

    /// Waits until the records are delivered or dropped.
    pub async fn settled(self) -> Fate {
        self.reach(|progress| matches!(progress, Progress::Settled(_))).await
    }

    /// The worst of the parts.
    async fn reach(self, enough: impl Fn(&Progress) -> bool) -> Fate {
        let mut worst = Fate::Delivered;
        for part in self.parts {
            match part.reach(&enough).await {
                Fate::Delivered => {}
                Fate::Stored if worst == Fate::Delivered => worst = Fate::Stored,
                Fate::Stored => {}
                bad => return bad,
            }
        }
        worst
    }
}

impl Part {
    async fn reach(mut self, enough: impl Fn(&Progress) -> bool) -> Fate {
        let Ok(progress) = self.slip.wait_for(|progress| enough(progress)).await else {
            return Fate::Unsettled;
        };
        let Progress::Settled(drops) = &*progress else { return Fate::Stored };
        let own = &self.records;
        let dropped = drops.iter().find(|(range, ..)| range.start < own.end && own.start < range.end);
        dropped.map_or(Fate::Delivered, |(_, reason, why)| Fate::Dropped(*reason, Arc::clone(why)))
    }
}

impl IntoFuture for Receipt {
    type Output = Fate;
    type IntoFuture = Pin<Box<dyn Future<Output = Fate>>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.safe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_receipt_tells_of_its_own_records_only() {
        let slip = Slip::default();
        let [first, second, third] =
            [0..2, 2..5, 5..6].map(|records| Receipt { parts: vec![slip.part(records)] });
        slip.settled(vec![(4..6, Reason::Rejected, "too long".into())]);
        assert_eq!(first.await, Fate::Delivered);
        assert_eq!(second.await, Fate::Dropped(Reason::Rejected, "too long".into()));
        assert_eq!(third.settled().await, Fate::Dropped(Reason::Rejected, "too long".into()));
    }

    #[tokio::test]
    async fn stored_is_enough_to_be_safe_but_not_to_be_settled() {
        let slip = Slip::default();
        let [safe, settled] = [0, 1].map(|_| Receipt { parts: vec![slip.part(0..1)] });
        slip.stored();
        assert_eq!(safe.await, Fate::Stored);
        drop(slip);
        assert_eq!(settled.settled().await, Fate::Unsettled);
    }
}
