//! Listening sockets. One descriptor per address, shared by the lanes that accept from it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use options::{Options, Period};

/// The receive buffer that the kernel may hold for a connection, in bytes. Fixed before the first accept:
/// with autotuning an unread connection held 7.5 MB that no ledger sees, with this 93 KB.
const RECEIVE_BUFFER: libc::c_int = 65_536;

/// Connections that the kernel completes before they are accepted, where no option says how many.
const BACKLOG: u32 = 1_024;

/// How an input listens, beside its address.
#[derive(Debug, Clone, Options)]
pub struct ListenOptions {
    /// Connections that the kernel completes before they are accepted. A burst of 2,000 overruns Fluent Bit's
    /// 128.
    #[option(name = "net.backlog", default = "1024", min = "1", max = "65535")]
    pub backlog: u32,
    /// Let other processes listen on the same port.
    #[option(name = "net.share_port", default = "off")]
    pub share_port: bool,
    /// The time that a TLS handshake may take.
    #[option(name = "net.accept_timeout", default = "10s", min = "1")]
    pub accept_timeout: Period,
    /// How long a connection may be silent; 0 leaves that to the input's own limit.
    #[option(name = "net.io_timeout", default = "0")]
    pub io_timeout: Period,
    /// Let a connection carry more than one request.
    #[option(name = "net.keepalive", default = "on")]
    pub keepalive: bool,
}

/// Binds and listens. The socket does not block.
///
/// # Errors
/// The system's, with the address and what to do about it.
pub fn bind(host: &str, port: u16) -> Result<std::net::TcpListener, String> {
    bind_with(host, port, BACKLOG, false)
}

/// As [`bind`], with the user's options.
///
/// # Errors
/// The system's, with the address and what to do about it.
pub fn bind_as(host: &str, port: u16, options: &ListenOptions) -> Result<std::net::TcpListener, String> {
    bind_with(host, port, options.backlog, options.share_port)
}

fn bind_with(host: &str, port: u16, backlog: u32, share: bool) -> Result<std::net::TcpListener, String> {
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
    listen(address, backlog, share).map_err(fail)
}

fn listen(address: SocketAddr, backlog: u32, share: bool) -> io::Result<std::net::TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(share)?;
    // Accepted connections inherit it.
    socket.set_recv_buffer_size(RECEIVE_BUFFER as u32)?;
    socket.bind(address)?;
    // tokio would register the listener with the runtime of this thread; lanes register copies with theirs.
    // SAFETY: `into_raw_fd` gives the descriptor up, so the new owner is the only one.
    let socket = unsafe { OwnedFd::from_raw_fd(socket.into_raw_fd()) };
    // SAFETY: the descriptor is open and owned here.
    if unsafe { libc::listen(socket.as_raw_fd(), backlog as libc::c_int) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(std::net::TcpListener::from(socket))
}
