//! Connections that wait for another request.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::Uri;
use tokio::time::Instant;

use super::Error;
use super::connect::Connection;

/// Whom a connection leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) https: bool,
    /// A name or an address; one of IPv6 without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Peer {
    pub(super) fn of(uri: &Uri) -> Result<Peer, Error> {
        let https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(Error::Url("the scheme (http or https)")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(Error::Url("the host"))?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
        Ok(Peer { https, host: host.to_owned(), port })
    }

    /// The value of the `Host` header: the scheme's own port is left out.
    pub(super) fn authority(&self) -> String {
        let text = self.to_string();
        let own = if self.https { ":443" } else { ":80" };
        text.strip_suffix(own).map(str::to_owned).unwrap_or(text)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// The pool of one client.
#[derive(Debug)]
pub(super) struct Pool {
    most: usize,
    most_per_peer: usize,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they came: the first has waited longest.
    idle: Vec<(Connection, Instant)>,
    /// Whether a task waits to close what has waited too long.
    swept: bool,
}

impl Pool {
    pub(super) fn new(most: usize, most_per_peer: usize, timeout: Duration) -> Pool {
        Pool { most, most_per_peer, timeout, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to `peer` that waited least: the one least likely to have been closed.
    pub(super) fn take(&self, peer: &Peer) -> Option<Connection> {
        let mut state = self.lock();
        state.drop_older_than(self.timeout);
        state.idle.retain(|(connection, _)| !connection.sender.is_closed());
        let at = state.idle.iter().rposition(|(connection, _)| connection.peer == *peer)?;
        Some(state.idle.remove(at).0)
    }

    /// Keeps a connection, if need be in place of the one that waited longest.
    pub(super) fn put(self: &Arc<Self>, connection: Connection) {
        if self.most.min(self.most_per_peer) == 0 || self.timeout.is_zero() {
            return;
        }
        let mut state = self.lock();
        let same = |(other, _): &(Connection, Instant)| other.peer == connection.peer;
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

impl State {
    fn drop_older_than(&mut self, age: Duration) {
        self.idle.retain(|(_, since)| since.elapsed() < age);
    }
}

/// Runs while connections wait, so that an idle client ends up with none.
async fn sweep(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.expire()) {
        tokio::time::sleep_until(next).await;
    }
}
