//! From a name to a connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::client::TlsStream;

use super::names::Names;
use super::peer::Peer;
use super::proxy::Proxy;
use super::wire::{Io, Wire};
use super::{Error, Tls};

/// How the way to a peer is made.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// How names become addresses.
    pub names: Names,
    /// The address of this machine that connections come from.
    pub source: Option<IpAddr>,
    /// Whether the kernel asks now and then whether a silent peer is still there.
    pub keepalive: Option<TcpKeepalive>,
    /// How long a peer may take no bytes, or give none when it was asked; `None` is without a limit.
    pub io_timeout: Option<Duration>,
    /// What lies between.
    pub proxy: Option<Proxy>,
}

/// The kernel's questions; `None` leaves a number to the system.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpKeepalive {
    /// Seconds of silence before the first question.
    pub time: Option<u32>,
    /// Seconds between two questions.
    pub interval: Option<u32>,
    /// Questions without an answer until the connection is given up.
    pub probes: Option<u32>,
}

impl Reach {
    /// The proxy that leads to a peer.
    pub(super) fn proxy(&self, peer: &Peer) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|proxy| !peer.is_unix() && proxy.leads_to(&peer.host))
    }

    /// Opens a connection and shakes hands; the caller limits the time to `deadline`. With `tunnel` a proxy is asked
    /// for one to the peer; without, the proxy is what is spoken with.
    pub(super) async fn open(
        &self,
        peer: &Peer,
        tls: Option<&Tls>,
        tunnel: bool,
        deadline: Instant,
    ) -> Result<Wire, Error> {
        if peer.is_unix() {
            let unix = UnixStream::connect(&peer.host).await;
            let unix = unix.map_err(|source| Error::Connect { peer: peer.to_string(), source })?;
            return Ok(Wire::new(Io::Unix(unix), self.io_timeout));
        }
        let tcp = match self.proxy(peer) {
            None => self.dial(peer, deadline).await?,
            Some(proxy) => {
                let mut tcp = self.dial(&proxy.peer, deadline).await?;
                if tunnel || peer.tls {
                    let refused =
                        |what| Error::Proxy { peer: peer.to_string(), proxy: proxy.peer.to_string(), what };
                    proxy.tunnel(&mut tcp, peer).await.map_err(refused)?;
                }
                tcp
            }
        };
        if !peer.tls {
            return Ok(Wire::new(Io::Plain(tcp), self.io_timeout));
        }
        let tls = tls.ok_or(Error::Url("TLS, which is not configured,"))?;
        let session = shake_hands(peer, tls, tcp).await?;
        Ok(Wire::new(Io::Tls(Box::new(session)), self.io_timeout))
    }

    async fn dial(&self, peer: &Peer, deadline: Instant) -> Result<TcpStream, Error> {
        let found = self.names.addresses(&peer.host, peer.port).await;
        let addresses = found.map_err(|source| Error::Resolve { peer: peer.to_string(), source })?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for (tried, address) in addresses.iter().enumerate() {
            // One address that does not answer must not use up the time of the others.
            let share = (deadline - Instant::now()) / (addresses.len() - tried) as u32;
            match timeout(share, self.connect(*address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => last = error,
                Err(_elapsed) => {
                    last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} is silent"))
                }
            }
        }
        self.names.forget(&peer.host);
        Err(Error::Connect { peer: peer.to_string(), source: last })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        if let Some(keepalive) = self.keepalive {
            keepalive.apply(&socket)?;
        }
        let tcp = socket.connect(address).await?;
        // Messages go out in a few large writes, so waiting for more bytes gains nothing.
        let _kept_waiting = tcp.set_nodelay(true);
        Ok(tcp)
    }
}

impl TcpKeepalive {
    fn apply(self, socket: &TcpSocket) -> io::Result<()> {
        socket.set_keepalive(true)?;
        for (name, value) in [
            (libc::TCP_KEEPIDLE, self.time),
            (libc::TCP_KEEPINTVL, self.interval),
            (libc::TCP_KEEPCNT, self.probes),
        ] {
            let Some(value) = value else { continue };
            let value = value as libc::c_int;
            // SAFETY: the socket is open, and the value is as long as said.
            let set = unsafe {
                let size = size_of::<libc::c_int>() as libc::socklen_t;
                libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, name, (&raw const value).cast(), size)
            };
            if set != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

async fn shake_hands(peer: &Peer, tls: &Tls, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Error> {
    let name = match &tls.vhost {
        Some(name) => name.clone(),
        None => ServerName::try_from(peer.host.clone()).map_err(|_| Error::Url("the host"))?,
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&tls.config));
    connector.connect(name, tcp).await.map_err(|source| Error::Tls { peer: peer.to_string(), source })
}
