//! Datagrams to a peer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::Error;
use super::dial::Reach;
use super::peer::Peer;

/// Sends datagrams. The socket is made with the first one, and anew after a failure, when the name may have got
/// another address.
#[derive(Debug)]
pub struct Datagrams {
    reach: Reach,
    socket: Mutex<Option<UdpSocket>>,
}

impl Datagrams {
    /// Without a socket.
    pub fn new(reach: Reach) -> Datagrams {
        Datagrams { reach, socket: Mutex::new(None) }
    }

    /// Sends a datagram; finding the peer and handing it to the system may each take so long.
    ///
    /// # Errors
    /// [`Error`]: what failed. That it arrives, nobody says.
    pub async fn send(&self, peer: &Peer, bytes: &[u8], limit: Duration) -> Result<(), Error> {
        let late = |_| Error::Timeout { peer: peer.to_string(), doing: "take a datagram", after: limit };
        let mut socket = self.socket.lock().await;
        if socket.is_none() {
            *socket = Some(timeout(limit, self.open(peer)).await.map_err(late)??);
        }
        let Some(open) = socket.as_ref() else { return Ok(()) };
        let sent = timeout(limit, open.send(bytes)).await.map_err(late);
        match sent {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => {
                *socket = None;
                Err(Error::Broken { peer: peer.to_string(), source })
            }
            Err(error) => {
                *socket = None;
                Err(error)
            }
        }
    }

    async fn open(&self, peer: &Peer) -> Result<UdpSocket, Error> {
        let found = self.reach.names.addresses(&peer.host, peer.port).await;
        let addresses = found.map_err(|source| Error::Resolve { peer: peer.to_string(), source })?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match bound(self.reach.source, address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(Error::Connect { peer: peer.to_string(), source: last })
    }
}

async fn bound(source: Option<IpAddr>, address: SocketAddr) -> io::Result<UdpSocket> {
    let any =
        if address.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((source.unwrap_or(any), 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}
