//! Datagrams, one at a time, into one buffer.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use budget::{Account, Lease};
use tokio::net::{UdpSocket, UnixDatagram};

/// The longest datagram that is received; what is longer is cut by the kernel.
pub const LONGEST: usize = 65_536;

/// A socket that datagrams arrive at.
pub struct Datagrams {
    socket: Socket,
    buffer: Box<[u8]>,
    _lease: Lease,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// Who sent a datagram.
#[derive(Debug, Clone, Copy)]
pub enum Sender {
    /// From an address.
    Udp(SocketAddr),
    /// From this machine.
    Unix,
}

impl fmt::Display for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sender::Udp(address) => write!(f, "udp://{address}"),
            // As Fluent Bit says it.
            Sender::Unix => f.write_str("unix://unavailable"),
        }
    }
}

impl Datagrams {
    /// Datagrams of a bound socket. `account` pays for the buffer.
    ///
    /// # Errors
    /// The system's, or there is no room for the buffer.
    pub fn udp(socket: std::net::UdpSocket, account: &Account) -> io::Result<Datagrams> {
        Datagrams::new(Socket::Udp(UdpSocket::from_std(socket)?), account)
    }

    /// As [`Datagrams::udp`], of a path.
    ///
    /// # Errors
    /// As there.
    pub fn unix(socket: std::os::unix::net::UnixDatagram, account: &Account) -> io::Result<Datagrams> {
        Datagrams::new(Socket::Unix(UnixDatagram::from_std(socket)?), account)
    }

    fn new(socket: Socket, account: &Account) -> io::Result<Datagrams> {
        let lease = account.try_lease(LONGEST).map_err(|_| io::ErrorKind::OutOfMemory)?;
        Ok(Datagrams { socket, buffer: vec![0; LONGEST].into_boxed_slice(), _lease: lease })
    }

    /// The next datagram and who sent it; none when `stop` is ready first.
    pub async fn next(&mut self, stop: impl Future<Output = ()>) -> Option<(&[u8], Sender)> {
        let Datagrams { socket, buffer, .. } = self;
        let receive = async {
            loop {
                let received = match socket {
                    Socket::Udp(socket) => {
                        socket.recv_from(buffer).await.map(|(size, from)| (size, Sender::Udp(from)))
                    }
                    Socket::Unix(socket) => socket.recv(buffer).await.map(|size| (size, Sender::Unix)),
                };
                match received {
                    Ok(received) => return received,
                    // As when an answer of this socket was refused: the next datagram is another matter.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let (size, sender) = tokio::select! {
            received = receive => received,
            () = stop => return None,
        };
        Some((&self.buffer[..size], sender))
    }
}
