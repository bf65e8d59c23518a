//! Listening sockets. One descriptor per address, shared by the lanes that accept from it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

/// The receive buffer that the kernel may hold for a connection, in bytes. Fixed before the first accept:
/// with autotuning an unread connection held 7.5 MB that no ledger sees, with this 93 KB.
const RECEIVE_BUFFER: libc::c_int = 65_536;

/// Connections that the kernel completes before they are accepted. A burst of 2,000 overran Fluent Bit's 128.
const BACKLOG: libc::c_int = 1_024;

/// Binds and listens. The socket does not block.
///
/// # Errors
/// The system's, with the address and what to do about it.
pub fn bind(host: &str, port: u16) -> Result<std::net::TcpListener, String> {
    let fail = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => "another process listens there: stop it or choose another port",
            io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose another port",
            io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
            _ => "check listen and port",
        };
        format!("cannot listen on {host}:{port}: {error}; {hint}")
    };
    let mut addresses = (host, port).to_socket_addrs().map_err(fail)?;
    let address = addresses.next().ok_or_else(|| fail(io::Error::other("the name has no address")))?;
    listen(address).map_err(fail)
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_recv_buffer_size(RECEIVE_BUFFER as u32)?;
    socket.bind(address)?;
    // tokio would register the listener with the runtime of this thread; lanes register copies with theirs.
    // SAFETY: `into_raw_fd` gives the descriptor up, so the new owner is the only one.
    let socket = unsafe { OwnedFd::from_raw_fd(socket.into_raw_fd()) };
    // SAFETY: the descriptor is open and owned here.
    if unsafe { libc::listen(socket.as_raw_fd(), BACKLOG) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(std::net::TcpListener::from(socket))
}
