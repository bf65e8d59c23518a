//! A client's connection: plain or TLS, read and written without waiting.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use budget::{Account, Acquire, Lease};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::rustls::ServerConnection;

/// What a TLS session may hold beside itself while a record arrives: rustls' buffers for a record that is not
/// complete and for one that is decrypted. Leased from the first byte of a record to the last of its text.
const RECORD_BYTES: usize = 40 << 10;
/// The same while it shakes hands: messages are small, and clients are not known yet.
const HANDSHAKE_BYTES: usize = 12 << 10;
/// The most that one look into the socket takes: a record of the largest size, and the start of the next.
const PEEK_BYTES: usize = 18 << 10;
/// What is thrown away is read in pieces of so many bytes, which are on the stack.
const AWAY_BYTES: usize = 8 << 10;

/// A connection.
pub(super) enum Stream {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<Tls>),
}

/// A TLS session over a socket. What rustls cannot take yet stays in the kernel's buffer, so that nothing is
/// held here between two records.
pub(super) struct Tls {
    tcp: TcpStream,
    session: ServerConnection,
    account: Account,
    /// Held while rustls holds payload.
    lease: Option<Lease>,
    /// Waits for the lease.
    acquire: Option<Acquire>,
    records: Records,
    closed: bool,
}

thread_local! {
    /// One for the lane: it is empty between two calls.
    static PEEKED: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl Stream {
    pub(super) fn plain(tcp: TcpStream) -> Stream {
        Stream::Plain(tcp)
    }

    /// A session that has not begun. What it holds is charged to `account`.
    pub(super) fn tls(tcp: TcpStream, session: ServerConnection, account: &Account) -> Stream {
        let account = account.clone();
        let records = Records::default();
        Stream::Tls(Box::new(Tls {
            tcp,
            session,
            account,
            lease: None,
            acquire: None,
            records,
            closed: false,
        }))
    }

    fn descriptor(&self) -> i32 {
        match self {
            Stream::Plain(tcp) => tcp.as_raw_fd(),
            Stream::Unix(unix) => unix.as_raw_fd(),
            Stream::Tls(tls) => tls.tcp.as_raw_fd(),
        }
    }

    /// The client's address, unless it is on this machine by a path.
    pub(super) fn peer(&self) -> Option<SocketAddr> {
        match self {
            Stream::Plain(tcp) => tcp.peer_addr().ok(),
            Stream::Unix(_) => None,
            Stream::Tls(tls) => tls.tcp.peer_addr().ok(),
        }
    }

    /// Whether a read would find something: bytes, the end, or an error.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(tcp) => tcp.poll_read_ready(context),
            Stream::Unix(unix) => unix.poll_read_ready(context),
            Stream::Tls(tls) => {
                if tls.lease.is_some() && tls.has_text() {
                    return Poll::Ready(Ok(()));
                }
                ready!(tls.tcp.poll_read_ready(context))?;
                // Without it nothing would be read, and asking again at once would be a busy loop.
                tls.poll_lease(context)
            }
        }
    }

    /// Reads what is there. 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        match self {
            Stream::Plain(tcp) => ready!(Pin::new(tcp).poll_read(context, &mut buffer))?,
            Stream::Unix(unix) => ready!(Pin::new(unix).poll_read(context, &mut buffer))?,
            Stream::Tls(tls) => return tls.poll_read(context, into),
        }
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Writes what fits. What TLS has taken goes out with [`Stream::poll_flush`].
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Unix(unix) => Pin::new(unix).poll_write(context, bytes),
            Stream::Tls(tls) => {
                // What was taken before goes first, so that no more than one piece waits.
                ready!(tls.poll_flush(context))?;
                Poll::Ready(tls.session.writer().write(bytes))
            }
        }
    }

    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) | Stream::Unix(_) => Poll::Ready(Ok(())),
            Stream::Tls(tls) => tls.poll_flush(context),
        }
    }

    /// Shakes hands; at once done without TLS.
    pub(super) fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Stream::Tls(tls) = self else { return Poll::Ready(Ok(())) };
        while tls.session.is_handshaking() {
            ready!(tls.poll_flush(context))?;
            if tls.session.is_handshaking() && ready!(tls.poll_feed(context))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        tls.poll_flush(context)
    }

    /// Whether the client and this end agreed on HTTP/2 in the handshake.
    pub(super) fn speaks_http2(&self) -> bool {
        matches!(self, Stream::Tls(tls) if tls.session.alpn_protocol() == Some(b"h2"))
    }

    /// Says that nothing more will be written, as far as that is possible at once.
    pub(super) fn shutdown_write(&mut self, context: &mut Context<'_>) {
        if let Stream::Tls(tls) = self {
            tls.session.send_close_notify();
            let _as_far_as_it_goes = tls.poll_flush(context);
        }
        // SAFETY: the descriptor is the stream's and open. The stream offers this only as a future that owns it.
        unsafe { libc::shutdown(self.descriptor(), libc::SHUT_WR) };
    }

    /// Reads what is there and throws it away, without a page. Returns how much it was; 0 is the end.
    pub(super) fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut away = [0; AWAY_BYTES];
        self.poll_read(context, &mut away)
    }

    /// Whether the connection is broken: nobody reads what is answered.
    pub(super) fn is_broken(&self) -> bool {
        self.has(libc::POLLERR | libc::POLLHUP)
    }

    /// Whether the client has closed the connection, or broken it. One that only says that it sends no more looks
    /// the same.
    pub(super) fn is_closed(&self) -> bool {
        self.has(libc::POLLERR | libc::POLLHUP | libc::POLLRDHUP)
    }

    fn has(&self, events: i16) -> bool {
        let mut poll = libc::pollfd { fd: self.descriptor(), events: events & libc::POLLRDHUP, revents: 0 };
        // SAFETY: one entry, as said; the descriptor is the stream's and open.
        unsafe { libc::poll(&raw mut poll, 1, 0) > 0 && poll.revents & events != 0 }
    }

    /// Sends `answer` as far as the socket takes it at once and reads away what the client has sent. What it sends
    /// later costs it the answer, so this is for when there are too many to wait for.
    pub(super) fn turn_away(&self, answer: &[u8]) {
        // A TLS client could not read it.
        if let Stream::Plain(tcp) = self {
            // Not by the runtime: it does not know yet whether a new socket is ready.
            let descriptor = tcp.as_raw_fd();
            let _sent = Descriptor(descriptor).write(answer);
            // SAFETY: as above.
            unsafe { libc::shutdown(descriptor, libc::SHUT_WR) };
            let mut away = [0; AWAY_BYTES];
            for _ in 0..32 {
                if !receive(descriptor, &mut away, 0).is_ok_and(|read| read > 0) {
                    break;
                }
            }
        }
    }
}

impl Tls {
    fn has_text(&mut self) -> bool {
        use io::BufRead;
        self.session.reader().fill_buf().is_ok_and(|text| !text.is_empty())
    }

    fn poll_read(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match io::Read::read(&mut self.session.reader(), into) {
                Ok(read) => {
                    self.rest();
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            self.rest();
            if self.closed || ready!(self.poll_feed(context))? == 0 {
                return Poll::Ready(Ok(0));
            }
            // Answers of the session itself, as to a key update. A socket that is full takes them later.
            let _sent_or_later = self.poll_flush(context)?;
        }
    }

    /// Gives the lease back when rustls holds neither the start of a record nor text.
    fn rest(&mut self) {
        if self.lease.is_some() && self.records.at_boundary() && !self.has_text() {
            // rustls lets go of the buffer of a record when it looks for the next one.
            let _nothing_there = self.session.read_tls(&mut Nothing);
            self.lease = None;
        }
    }

    /// Hands bytes of the socket to the session until it has text, or the socket is empty. Returns how many.
    fn poll_feed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_read_ready(context))?;
            ready!(self.poll_lease(context))?;
            match self.feed() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.rest(),
                Ok(0) => {
                    self.closed = true;
                    return Poll::Ready(Ok(0));
                }
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_lease(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lease.is_none() {
            let bytes = if self.session.is_handshaking() { HANDSHAKE_BYTES } else { RECORD_BYTES };
            let acquire = self.acquire.get_or_insert_with(|| self.account.lease(bytes));
            let lease = ready!(Pin::new(acquire).poll(context));
            self.acquire = None;
            self.lease = Some(lease.map_err(|_| io::ErrorKind::OutOfMemory)?);
        }
        Poll::Ready(Ok(()))
    }

    /// Looks into the socket and takes out what the session takes in.
    fn feed(&mut self) -> io::Result<usize> {
        let Tls { tcp, session, records, .. } = self;
        PEEKED.with_borrow_mut(|peeked| {
            peeked.resize(PEEK_BYTES, 0);
            let descriptor = tcp.as_raw_fd();
            let there = tcp.try_io(Interest::READABLE, || receive(descriptor, peeked, libc::MSG_PEEK))?;
            let mut rest = &peeked[..there];
            while !rest.is_empty() {
                let taken = session.read_tls(&mut rest)?;
                if taken == 0 {
                    break;
                }
                if let Err(error) = session.process_new_packets() {
                    // The alert that says why; the connection ends with it.
                    let _as_far_as_it_goes =
                        tcp.try_io(Interest::WRITABLE, || session.write_tls(&mut Descriptor(descriptor)));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
                if !session.wants_read() {
                    break;
                }
            }
            let fed = there - rest.len();
            records.pass(&peeked[..fed]);
            // For TCP this only drops bytes: nothing is copied.
            receive(descriptor, &mut peeked[..fed], libc::MSG_TRUNC)?;
            Ok(fed)
        })
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            ready!(self.tcp.poll_write_ready(context))?;
            let (tcp, session) = (&self.tcp, &mut self.session);
            let mut socket = Descriptor(tcp.as_raw_fd());
            match tcp.try_io(Interest::WRITABLE, || session.write_tls(&mut socket)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => drop(result?),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// `recv`, without waiting.
fn receive(descriptor: i32, into: &mut [u8], flags: i32) -> io::Result<usize> {
    // SAFETY: the descriptor is open for as long as the stream that the caller holds, and the buffer is as long
    // as said.
    let read =
        unsafe { libc::recv(descriptor, into.as_mut_ptr().cast(), into.len(), flags | libc::MSG_DONTWAIT) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}

/// A socket that has nothing.
struct Nothing;

impl io::Read for Nothing {
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}

/// Writes to a socket that does not block.
struct Descriptor(i32);

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: as in `receive`.
        let sent = unsafe {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            libc::send(self.0, bytes.as_ptr().cast(), bytes.len(), flags)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where in the TLS records the bytes stand that the session was given: RFC 8446 section 5.1.
#[derive(Debug, Default)]
struct Records {
    /// The header of a record as far as it has come.
    header: [u8; 5],
    seen: usize,
    /// Bytes of the record that are still to come.
    left: usize,
}

impl Records {
    fn at_boundary(&self) -> bool {
        self.seen == 0 && self.left == 0
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            if self.left > 0 {
                let here = self.left.min(bytes.len());
                self.left -= here;
                bytes = &bytes[here..];
                continue;
            }
            self.header[self.seen] = *first;
            self.seen += 1;
            bytes = rest;
            if self.seen == self.header.len() {
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
                self.seen = 0;
            }
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(Stream::poll_read(self.get_mut(), context, buffer.initialize_unfilled()))?;
        buffer.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Stream::poll_write(self.get_mut(), context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Stream::poll_flush(self.get_mut(), context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().shutdown_write(context);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_record_is_known_however_the_bytes_arrive() {
        let stream = [&[22, 3, 1, 0, 3, 1, 2, 3, 23, 3, 3, 1, 0][..], &[7; 256]].concat();
        for step in 1..stream.len() {
            let mut records = Records::default();
            for (at, piece) in stream.chunks(step).enumerate() {
                records.pass(piece);
                let end = at * step + piece.len();
                assert_eq!(
                    records.at_boundary(),
                    end == 8 || end == stream.len(),
                    "{end} in steps of {step}"
                );
            }
        }
    }
}
