//! What a connection costs: memory of the output that opened it, and one of the connections it may have.

use std::sync::Arc;

use budget::{Account, Lease};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of heap that a connection holds: what is read ahead, the head of a request, its task.
pub const CONNECTION: usize = 40 << 10;

/// Bytes that TLS adds: a record each way and the state of the session.
pub const SESSION: usize = 40 << 10;

/// Who pays for the connections of a client.
#[derive(Debug, Clone, Default)]
pub struct Toll {
    /// The account; without one, connections are part of what the process holds anyway.
    pub account: Option<Account>,
    /// How many there may be; without it, any number.
    pub most: Option<Arc<Semaphore>>,
}

/// Paid as long as the connection lives.
#[derive(Debug)]
pub(super) struct Paid {
    _lease: Option<Lease>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Toll {
    /// Pays for a connection now, if there is room.
    pub(super) fn pay(&self, tls: bool) -> Option<Paid> {
        let cost = CONNECTION + if tls { SESSION } else { 0 };
        let permit = match &self.most {
            Some(most) => Some(Arc::clone(most).try_acquire_owned().ok()?),
            None => None,
        };
        let lease = match &self.account {
            Some(account) => Some(account.try_lease(cost).ok()?),
            None => None,
        };
        Some(Paid { _lease: lease, _permit: permit })
    }
}
