//! The bytes of a connection, plain or within TLS, with a limit on how long each step may take.

use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep};
use tokio_rustls::client::TlsStream;

/// A connection. When the peer takes no bytes, or does not answer to some, for longer than the limit, it breaks.
#[derive(Debug)]
pub struct Wire {
    io: Io,
    limit: Option<Duration>,
    /// Runs while the peer is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// Something was sent and nothing came back yet.
    asked: bool,
}

#[derive(Debug)]
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

impl Wire {
    pub(super) fn new(io: Io, limit: Option<Duration>) -> Wire {
        Wire { io, limit, timer: None, asked: false }
    }

    /// Whether the peer has closed its end. What it sent is not looked at.
    pub(super) fn is_closed(&self) -> bool {
        let socket = match &self.io {
            Io::Plain(tcp) => tcp.as_raw_fd(),
            Io::Tls(tls) => tls.get_ref().0.as_raw_fd(),
            Io::Unix(unix) => unix.as_raw_fd(),
        };
        let mut byte = 0u8;
        // SAFETY: the socket is open, and the buffer is one byte long, as said.
        let size =
            unsafe { libc::recv(socket, (&raw mut byte).cast(), 1, libc::MSG_PEEK | libc::MSG_DONTWAIT) };
        match size {
            0 => true,
            1.. => false,
            _ => io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Waits, but not for longer than the limit.
    fn wait<T>(&mut self, context: &mut Context<'_>, doing: &str) -> Poll<io::Result<T>> {
        let Some(limit) = self.limit else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        match timer.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                let what = format!("the peer {doing} for {} s (net.io_timeout)", limit.as_secs_f64());
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, what)))
            }
        }
    }

    /// The peer did something.
    fn moved(&mut self) {
        if let (Some(timer), Some(limit)) = (&mut self.timer, self.limit) {
            timer.as_mut().reset(Instant::now() + limit);
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = match &mut this.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_read(context, into),
            Io::Tls(tls) => Pin::new(tls).poll_read(context, into),
            Io::Unix(unix) => Pin::new(unix).poll_read(context, into),
        };
        match read {
            Poll::Pending if this.asked => this.wait(context, "did not answer"),
            Poll::Pending => Poll::Pending,
            Poll::Ready(read) => {
                this.asked = false;
                this.timer = None;
                Poll::Ready(read)
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = match &mut this.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Io::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
            Io::Unix(unix) => Pin::new(unix).poll_write(context, bytes),
        };
        if written.is_pending() {
            return this.wait(context, "took nothing");
        }
        this.asked = true;
        this.moved();
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = match &mut this.io {
            Io::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Io::Tls(tls) => Pin::new(tls).poll_flush(context),
            Io::Unix(unix) => Pin::new(unix).poll_flush(context),
        };
        if flushed.is_pending() { this.wait(context, "took nothing") } else { flushed }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            Io::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Io::Tls(tls) => Pin::new(tls).poll_shutdown(context),
            Io::Unix(unix) => Pin::new(unix).poll_shutdown(context),
        }
    }
}
