//! From a name to a connection that speaks HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::rt::{Read, Write};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::body::Sending;
use super::pool::Peer;
use super::{Error, Settings, Tls};

/// Addresses of one name that are tried, each with a fair share of the time that is left.
const ADDRESSES: usize = 4;

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
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The task holds the socket and what is left of the request's body.
        self.io.abort();
    }
}

/// Resolves, connects and shakes hands, all within the connect timeout.
pub(super) async fn open(peer: Peer, settings: &Settings) -> Result<Connection, Error> {
    let after = settings.connect_timeout;
    let deadline = Instant::now() + after;
    let name = peer.to_string();
    let opened = timeout_at(deadline, async move {
        let tcp = dial(&peer, deadline).await?;
        if !peer.https {
            return speak(peer, TokioIo::new(tcp)).await;
        }
        let tls = settings.tls.as_ref().ok_or(Error::Url("TLS, which is not configured,"))?;
        let stream = shake_hands(&peer, tls, tcp).await?;
        speak(peer, TokioIo::new(stream)).await
    });
    opened.await.unwrap_or(Err(Error::Timeout { peer: name, doing: "connect", after }))
}

async fn dial(peer: &Peer, deadline: Instant) -> Result<TcpStream, Error> {
    let found = tokio::net::lookup_host((peer.host.as_str(), peer.port)).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(found) => found.take(ADDRESSES).collect(),
        Err(source) => return Err(Error::Resolve { peer: peer.to_string(), source }),
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        // One address that does not answer must not use up the time of the others.
        let share = (deadline - Instant::now()) / (addresses.len() - tried) as u32;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                // The head and the body go out in a few large writes, so waiting for more bytes gains nothing.
                let _kept_waiting = tcp.set_nodelay(true);
                return Ok(tcp);
            }
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} is silent")),
        }
    }
    Err(Error::Connect { peer: peer.to_string(), source: last })
}

async fn shake_hands(
    peer: &Peer,
    tls: &Tls,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let name = match &tls.vhost {
        Some(name) => name.clone(),
        None => ServerName::try_from(peer.host.clone()).map_err(|_| Error::Url("the host"))?,
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.config));
    connector.connect(name, tcp).await.map_err(|source| Error::Tls { peer: peer.to_string(), source })
}

async fn speak<T>(peer: Peer, io: T) -> Result<Connection, Error>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    builder.max_buf_size(READ_BUFFER);
    let (sender, connection) =
        builder.handshake(io).await.map_err(|source| Error::Send { peer: peer.to_string(), source })?;
    let task = tokio::spawn(async move {
        // A request in flight gets the error too; without one it is only a connection that ended.
        if let Err(error) = connection.await {
            tracing::debug!("a connection ended: {}", super::chain(&error));
        }
    });
    Ok(Connection { peer, sender, requests: 0, io: task })
}
