//! The lanes that accept from one listener, and who of them has how many connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::accept::Arrival;

/// Connections on their way to a lane.
const ARRIVALS: usize = 64;

/// The lanes of one listener.
#[derive(Debug)]
pub struct Lanes {
    /// Connections at a time, over all lanes.
    limit: usize,
    members: Mutex<Vec<Arc<Member>>>,
}

/// A lane.
#[derive(Debug)]
pub(super) struct Member {
    open: AtomicUsize,
    arrivals: mpsc::Sender<Arrival>,
}

/// Where a new connection goes. It is counted there already.
pub(super) enum Place {
    Here,
    There(Arc<Member>),
    /// Nowhere: there are as many as may be.
    Full,
}

impl Lanes {
    /// Lanes that have up to `limit` connections at a time; 0 for no limit but the ledger's.
    pub fn new(limit: usize) -> Arc<Lanes> {
        let limit = if limit == 0 { usize::MAX } else { limit };
        Arc::new(Lanes { limit, members: Mutex::default() })
    }

    fn members(&self) -> MutexGuard<'_, Vec<Arc<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One lane more.
    pub(super) fn join(&self) -> (Arc<Member>, mpsc::Receiver<Arrival>) {
        let (arrivals, receiver) = mpsc::channel(ARRIVALS);
        let member = Arc::new(Member { open: AtomicUsize::new(0), arrivals });
        self.members().push(Arc::clone(&member));
        (member, receiver)
    }

    /// One lane less.
    pub(super) fn leave(&self, member: &Arc<Member>) {
        self.members().retain(|other| !Arc::ptr_eq(other, member));
    }

    /// Chooses the lane with the fewest connections, the asking one among equals.
    pub(super) fn place(&self, here: &Arc<Member>) -> Place {
        let members = self.members();
        let mut open = 0;
        let mut fewest = here;
        for member in members.iter() {
            open += member.count();
            if member.count() < fewest.count() {
                fewest = member;
            }
        }
        if open >= self.limit {
            return Place::Full;
        }
        fewest.enter();
        if Arc::ptr_eq(fewest, here) { Place::Here } else { Place::There(Arc::clone(fewest)) }
    }
}

impl Member {
    fn count(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// One connection more.
    pub(super) fn enter(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// One connection less.
    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Hands a connection over, or gives it back.
    pub(super) fn send(&self, arrival: Arrival) -> Result<(), Arrival> {
        self.arrivals.try_send(arrival).map_err(|error| error.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_spread_evenly_and_limited_in_all() {
        let lanes = Lanes::new(5);
        let (one, _arrivals) = lanes.join();
        let (two, _arrivals) = lanes.join();
        for _ in 0..5 {
            assert!(!matches!(lanes.place(&one), Place::Full));
        }
        assert_eq!((one.count(), two.count()), (3, 2));
        assert!(matches!(lanes.place(&two), Place::Full));
        one.leave();
        assert!(matches!(lanes.place(&two), Place::Here));
    }
}
