//! A connection that speaks HTTP.

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::body::Sending;
use super::peer::Peer;
use super::pool::Pooled;
use super::toll::Paid;
use super::wire::Wire;
use super::{Error, Settings};

/// What hyper may read ahead, and so the longest head of a response, in bytes. hyper's least is 8 KiB.
const READ_BUFFER: usize = 16 << 10;

/// A connection that has no request in flight, or that of its owner. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) peer: Peer,
    pub(super) sender: SendRequest<Sending>,
    /// Requests it has carried.
    pub(super) requests: usize,
    io: JoinHandle<()>,
    _paid: Paid,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The task holds the socket and what is left of the request's body.
        self.io.abort();
    }
}

impl Pooled for Connection {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// Resolves, connects and shakes hands, all within the connect timeout.
pub(super) async fn open(peer: Peer, settings: &Settings, paid: Paid) -> Result<Connection, Error> {
    let after = settings.connect_timeout;
    let deadline = Instant::now() + after;
    let name = peer.to_string();
    let opened = timeout_at(deadline, async move {
        let wire = settings.reach.open(&peer, settings.tls.as_ref(), false, deadline).await?;
        speak(peer, wire, paid).await
    });
    opened.await.unwrap_or(Err(Error::Timeout { peer: name, doing: "connect", after }))
}

async fn speak(peer: Peer, wire: Wire, paid: Paid) -> Result<Connection, Error> {
    let mut builder = Builder::new();
    builder.max_buf_size(READ_BUFFER);
    let shaken = builder.handshake(TokioIo::new(wire)).await;
    let (sender, connection) = shaken.map_err(|source| Error::Send { peer: peer.to_string(), source })?;
    let task = tokio::spawn(async move {
        // A request in flight gets the error too; without one it is only a connection that ended.
        if let Err(error) = connection.await {
            tracing::debug!("a connection ended: {}", super::chain(&error));
        }
    });
    Ok(Connection { peer, sender, requests: 0, io: task, _paid: paid })
}
