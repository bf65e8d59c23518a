//! Listening sockets. One descriptor per address, shared by the lanes that accept from it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use options::{Options, Period};

/// The receive buffer that the kernel may hold for a connection, in bytes. Fixed before the first accept:
/// with autotuning an unread connection held 7.5 MB that no ledger sees, with this 93 KB.
const RECEIVE_BUFFER: libc::c_int = 65_536;

/// What the kernel holds for a connection that nobody reads, with that buffer. Measured.
pub const SOCKET_BYTES: usize = 93 << 10;

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
    kept(format!("tcp {host} {port}"), || bind_anew(host, port, backlog, share))
}

fn bind_anew(host: &str, port: u16, backlog: u32, share: bool) -> Result<std::net::TcpListener, String> {
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

/// Binds a socket for datagrams. It does not block.
///
/// # Errors
/// The system's, with the address and what to do about it.
pub fn bind_udp(host: &str, port: u16, receive_buffer: Option<usize>) -> Result<std::net::UdpSocket, String> {
    kept(format!("udp {host} {port}"), || bind_udp_anew(host, port, receive_buffer))
}

fn bind_udp_anew(
    host: &str,
    port: u16,
    receive_buffer: Option<usize>,
) -> Result<std::net::UdpSocket, String> {
    let fail =
        |error: io::Error| format!("cannot listen on {host}:{port}/udp: {error}; check listen and port");
    let socket = std::net::UdpSocket::bind((host, port)).map_err(fail)?;
    socket.set_nonblocking(true).map_err(fail)?;
    receive_buffer.map_or(Ok(()), |bytes| set_receive_buffer(&socket, bytes)).map_err(fail)?;
    Ok(socket)
}

/// A path that a socket is bound to. Dropping the last copy removes the file.
#[derive(Debug, Clone)]
pub struct SocketPath {
    _file: Arc<SocketFile>,
}

#[derive(Debug)]
struct SocketFile(PathBuf);

impl SocketPath {
    /// The file of a socket that was bound, or taken over, at this path.
    fn of(path: &str) -> SocketPath {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        kept.files.retain(|file| file.strong_count() > 0);
        let known = kept.files.iter().filter_map(Weak::upgrade).find(|file| file.0 == Path::new(path));
        let file = known.unwrap_or_else(|| {
            let file = Arc::new(SocketFile(path.into()));
            kept.files.push(Arc::downgrade(&file));
            file
        });
        SocketPath { _file: file }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}

/// Listens on a path. A socket that a process left there is replaced. The socket does not block.
///
/// # Errors
/// The system's, with the path and what to do about it.
pub fn bind_unix(path: &str, mode: Option<u32>) -> Result<(UnixListener, SocketPath), String> {
    let fail = |error: io::Error| path_problem(path, &error);
    let listener = kept(format!("unix {path}"), || {
        clear(path, || UnixStream::connect(path).is_ok()).map_err(fail)?;
        UnixListener::bind(path).map_err(fail)
    })?;
    let bound = SocketPath::of(path);
    listener.set_nonblocking(true).map_err(fail)?;
    set_mode(path, mode).map_err(fail)?;
    Ok((listener, bound))
}

/// Binds a path for datagrams. A socket that a process left there is replaced. The socket does not block.
///
/// # Errors
/// The system's, with the path and what to do about it.
pub fn bind_unix_datagram(
    path: &str,
    mode: Option<u32>,
    receive_buffer: Option<usize>,
) -> Result<(UnixDatagram, SocketPath), String> {
    let fail = |error: io::Error| path_problem(path, &error);
    let in_use = || UnixDatagram::unbound().is_ok_and(|socket| socket.connect(path).is_ok());
    let socket = kept(format!("unix datagram {path}"), || {
        clear(path, in_use).map_err(fail)?;
        UnixDatagram::bind(path).map_err(fail)
    })?;
    let bound = SocketPath::of(path);
    socket.set_nonblocking(true).map_err(fail)?;
    set_mode(path, mode).map_err(fail)?;
    receive_buffer.map_or(Ok(()), |bytes| set_receive_buffer(&socket, bytes)).map_err(fail)?;
    Ok((socket, bound))
}

fn path_problem(path: &str, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there: stop it or choose another path",
        io::ErrorKind::AlreadyExists => "a file that is no socket is there: remove it or choose another path",
        io::ErrorKind::NotFound => "create the directory first",
        io::ErrorKind::PermissionDenied => "choose a directory that the agent may write to",
        _ => "check the path",
    };
    format!("cannot listen on {path}: {error}; {hint}")
}

/// Removes a socket that nobody listens on any more.
fn clear(path: &str, in_use: impl Fn() -> bool) -> io::Result<()> {
    let Ok(found) = std::fs::symlink_metadata(Path::new(path)) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    if in_use() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    std::fs::remove_file(path)
}

fn set_mode(path: &str, mode: Option<u32>) -> io::Result<()> {
    let Some(mode) = mode else { return Ok(()) };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

fn set_receive_buffer(socket: &impl AsRawFd, bytes: usize) -> io::Result<()> {
    let value = bytes.min(i32::MAX as usize) as libc::c_int;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the value is as long as said.
    let set = unsafe {
        let value = (&raw const value).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, value, size)
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The sockets of this process, so that a reload takes them over: the address is never without a listener, and
/// connections that wait to be accepted stay where they are.
struct Kept {
    /// 0 until the first start or reload begins: nothing is kept in a process that does not reload.
    generation: u64,
    sockets: Vec<Socket>,
    files: Vec<Weak<SocketFile>>,
}

struct Socket {
    key: String,
    descriptor: OwnedFd,
    /// The reload that made it, and the last one that wanted it.
    made: u64,
    wanted: u64,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { generation: 0, sockets: Vec::new(), files: Vec::new() });

/// The first start or a reload begins: what is bound from now on may take over what an earlier generation has bound.
pub fn begin_reload() {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).generation += 1;
}

/// It ends. Sockets that its configuration has no use for are let go of; when it failed, those it made.
pub fn end_reload(succeeded: bool) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = kept.generation;
    kept.sockets
        .retain(|socket| if succeeded { socket.wanted == generation } else { socket.made < generation });
}

/// The process stops: sockets close with those who accept from them.
pub fn release() {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner).sockets.clear();
}

/// The socket of an earlier generation with this key, or a new one, which is kept for the next.
fn kept<S: From<OwnedFd> + AsFd>(key: String, bind: impl FnOnce() -> Result<S, String>) -> Result<S, String> {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let generation = kept.generation;
    let known = kept.sockets.iter_mut().find(|socket| socket.key == key && socket.wanted < generation);
    if let Some(socket) = known
        && let Ok(copy) = socket.descriptor.try_clone()
    {
        socket.wanted = generation;
        return Ok(S::from(copy));
    }
    let socket = bind()?;
    if generation > 0
        && let Ok(descriptor) = socket.as_fd().try_clone_to_owned()
    {
        kept.sockets.push(Socket { key, descriptor, made: generation, wanted: generation });
    }
    Ok(socket)
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
    // Answers are short. With autotuning, clients that read none of them held 1.7 MB each.
    socket.set_send_buffer_size(RECEIVE_BUFFER as u32)?;
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
