//! Sockets that do not block, and waiting for many of them (epoll).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// Events taken at a time.
const EVENTS: usize = 256;

/// A set of sockets that is waited for. Each is reported once per change: what can be done is done until the
/// kernel says that it would block.
pub struct Poll {
    descriptor: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poll {
    pub fn new() -> io::Result<Poll> {
        // SAFETY: the call has no preconditions, and a descriptor it returns belongs to nobody else.
        let descriptor = unsafe {
            let number = check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?;
            OwnedFd::from_raw_fd(number)
        };
        Ok(Poll { descriptor, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS] })
    }

    /// Adds a socket; it leaves the set when it is closed.
    pub fn add(&self, stream: &TcpStream, token: usize) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: interest as u32, u64: token as u64 };
        // SAFETY: both descriptors are open and the event lives during the call.
        let result = unsafe {
            libc::epoll_ctl(
                self.descriptor.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                stream.as_raw_fd(),
                &raw mut event,
            )
        };
        check(result).map(|_| ())
    }

    /// Waits and hands over the tokens of sockets with something to do.
    pub fn wait(&mut self, patience: Duration, tokens: &mut Vec<usize>) -> io::Result<()> {
        tokens.clear();
        // Rounded up: a wait of less than a millisecond would spin.
        let milliseconds = patience.as_micros().div_ceil(1000).min(10_000) as i32;
        // SAFETY: the pointer and the number describe the vector's own elements.
        let result = unsafe {
            libc::epoll_wait(
                self.descriptor.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as i32,
                milliseconds,
            )
        };
        match check(result) {
            Ok(count) => tokens.extend(self.events[..count as usize].iter().map(|event| event.u64 as usize)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Begins to connect; the socket becomes writable when it is connected or has failed.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: the call has no preconditions, and a descriptor it returns belongs to nobody else.
    let stream = unsafe { TcpStream::from_raw_fd(check(libc::socket(family, kind, 0))?) };
    stream.set_nodelay(true)?;
    let (storage, length) = raw(address);
    // SAFETY: the storage holds an address of that length and lives during the call.
    let result = unsafe { libc::connect(stream.as_raw_fd(), (&raw const storage).cast(), length) };
    match check(result) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(stream),
    }
}

fn raw(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    let mut storage = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    // SAFETY: the storage is larger than either address and aligned for both; all zeros is a valid one.
    unsafe {
        let length = match address {
            SocketAddr::V4(v4) => {
                let place = storage.as_mut_ptr().cast::<libc::sockaddr_in>();
                (*place).sin_family = libc::AF_INET as u16;
                (*place).sin_port = v4.port().to_be();
                (*place).sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let place = storage.as_mut_ptr().cast::<libc::sockaddr_in6>();
                (*place).sin6_family = libc::AF_INET6 as u16;
                (*place).sin6_port = v6.port().to_be();
                (*place).sin6_addr.s6_addr = v6.ip().octets();
                (*place).sin6_scope_id = v6.scope_id();
                size_of::<libc::sockaddr_in6>()
            }
        };
        (storage.assume_init(), length as libc::socklen_t)
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
