//! Connections that wait for another use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use super::peer::Peer;
use super::toll::{Paid, Toll};

/// A connection as the pool sees it.
pub(super) trait Pooled: Send + 'static {
    fn peer(&self) -> &Peer;

    /// Whether the peer has closed it.
    fn is_closed(&self) -> bool;
}

/// The pool of one client.
#[derive(Debug)]
pub(super) struct Pool<C> {
    most: usize,
    most_per_peer: usize,
    timeout: Duration,
    state: Mutex<State<C>>,
}

#[derive(Debug)]
struct State<C> {
    /// In the order in which they came: the first has waited longest.
    idle: Vec<(C, Instant)>,
    /// Whether a task waits to close what has waited too long.
    swept: bool,
}

impl<C: Pooled> Pool<C> {
    pub(super) fn new(most: usize, most_per_peer: usize, timeout: Duration) -> Pool<C> {
        let state = State { idle: Vec::new(), swept: false };
        Pool { most, most_per_peer, timeout, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to `peer` that waited least: the one least likely to have been closed.
    pub(super) fn take(&self, peer: &Peer) -> Option<C> {
        let mut state = self.lock();
        state.drop_older_than(self.timeout);
        state.idle.retain(|(connection, _)| !connection.is_closed());
        let at = state.idle.iter().rposition(|(connection, _)| connection.peer() == peer)?;
        Some(state.idle.remove(at).0)
    }

    /// Closes the connection that waited longest; answers whether there was one.
    fn evict(&self) -> bool {
        let mut state = self.lock();
        let any = !state.idle.is_empty();
        if any {
            state.idle.remove(0);
        }
        any
    }

    /// Pays for a new connection, if need be in place of ones that wait.
    pub(super) fn pay(&self, toll: &Toll, peer: &Peer) -> Result<Paid, Error> {
        loop {
            if let Some(paid) = toll.pay(peer.tls) {
                return Ok(paid);
            }
            if !self.evict() {
                return Err(Error::Full { peer: peer.to_string() });
            }
        }
    }

    /// Keeps a connection, if need be in place of the one that waited longest.
    pub(super) fn put(self: &Arc<Self>, connection: C) {
        if self.most.min(self.most_per_peer) == 0 || self.timeout.is_zero() {
            return;
        }
        let mut state = self.lock();
        let same = |(other, _): &(C, Instant)| other.peer() == connection.peer();
        if state.idle.iter().filter(|other| same(other)).count() >= self.most_per_peer
            && let Some(first) = state.idle.iter().position(same)
        {
            state.idle.remove(first);
        } else if state.idle.len() >= self.most {
            state.idle.remove(0);
        }
        state.idle.push((connection, Instant::now()));
        if !std::mem::replace(&mut state.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    /// Closes what has waited too long. Returns when to look again, if anything waits.
    fn expire(&self) -> Option<Instant> {
        let mut state = self.lock();
        state.drop_older_than(self.timeout);
        let next = state.idle.first().map(|(_, since)| *since + self.timeout);
        state.swept = next.is_some();
        next
    }
}

impl<C> State<C> {
    fn drop_older_than(&mut self, age: Duration) {
        self.idle.retain(|(_, since)| since.elapsed() < age);
    }
}

/// Runs while connections wait, so that an idle client ends up with none.
async fn sweep<C: Pooled>(pool: Weak<Pool<C>>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.expire()) {
        tokio::time::sleep_until(next).await;
    }
}
