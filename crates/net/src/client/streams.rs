//! Connections for protocols other than HTTP: forward, syslog, plain TCP.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::peer::Peer;
use super::pool::{Pool, Pooled};
use super::toll::Paid;
use super::wire::Wire;
use super::{Error, Settings, Tls};

/// Opens connections and keeps those that wait for another use. Cheap to clone; all clones share the pool.
#[derive(Debug, Clone)]
pub struct Streams {
    settings: Arc<Settings>,
    pool: Arc<Pool<Stream>>,
}

/// A connection, to be written to and read from. Dropping it closes it; see [`Streams::keep`].
#[derive(Debug)]
pub struct Stream {
    peer: Peer,
    wire: Wire,
    uses: usize,
    _paid: Paid,
}

impl Streams {
    /// Without connections. Of the settings those count that are not about HTTP.
    pub fn new(settings: Settings) -> Streams {
        let pool = Pool::new(settings.idle, settings.idle_per_peer, settings.idle_timeout);
        Streams { settings: Arc::new(settings), pool: Arc::new(pool) }
    }

    /// A connection that waited, or a new one.
    ///
    /// # Errors
    /// [`Error`]: what failed, within the connect timeout.
    pub async fn open(&self, peer: &Peer, tls: Option<&Tls>) -> Result<Stream, Error> {
        match self.pool.take(peer) {
            Some(stream) => Ok(stream),
            None => Box::pin(self.open_new(peer, tls)).await,
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`Error`]: what failed, within the connect timeout.
    pub async fn open_new(&self, peer: &Peer, tls: Option<&Tls>) -> Result<Stream, Error> {
        let paid = self.pool.pay(&self.settings.toll, peer)?;
        let after = self.settings.connect_timeout;
        let deadline = Instant::now() + after;
        let opened = timeout_at(deadline, self.settings.reach.open(peer, tls, true, deadline)).await;
        let late = |_| Error::Timeout { peer: peer.to_string(), doing: "connect", after };
        let wire = opened.map_err(late)??;
        Ok(Stream { peer: peer.clone(), wire, uses: 0, _paid: paid })
    }

    /// Keeps a connection for another use, unless it is worn.
    pub fn keep(&self, mut stream: Stream) {
        stream.uses += 1;
        if self.settings.recycle == 0 || stream.uses < self.settings.recycle {
            self.pool.put(stream);
        }
    }
}

impl Stream {
    /// Whether nothing was done with it yet.
    pub fn is_new(&self) -> bool {
        self.uses == 0
    }

    /// Whom it leads to, for a log line.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }
}

impl Pooled for Stream {
    fn peer(&self) -> &Peer {
        &self.peer
    }

    fn is_closed(&self) -> bool {
        self.wire.is_closed()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_read(context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().wire).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire).poll_shutdown(context)
    }
}
