//! Connections of protocols that are not HTTP.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use budget::Buf;
use tokio::net::TcpStream;

use super::accept::{self, Listener};
use super::stream::Stream;
use super::watch::{Expired, Tick, Watch, Watches};
use super::{Accounts, Lanes, Slot, TlsServer};

/// The least room that is worth a read.
const READ_AT_LEAST: usize = 2_048;
/// How long a client may leave an answer unread.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// How a server treats its clients.
#[derive(Debug, Clone)]
pub struct RawSettings {
    /// The time that a TLS handshake may take.
    pub accept: Duration,
    /// How long a connection of which nothing is held may be silent; `None` for as long as it likes.
    pub idle: Option<Duration>,
    /// How long a client may leave something that it has begun without another byte of it: memory is held for
    /// that.
    pub begun: Duration,
    /// Speak TLS.
    pub tls: Option<TlsServer>,
}

/// What speaks with the clients of a lane.
pub trait Protocol: 'static {
    /// Speaks with one client, to the end.
    fn serve(self: Rc<Self>, connection: Connection) -> impl Future<Output = ()> + 'static;
}

/// What the connections of a lane share.
pub struct RawServer<P> {
    protocol: Rc<P>,
    settings: RawSettings,
    accounts: Accounts,
    watches: Rc<Watches>,
}

/// Why nothing more comes from a connection.
#[derive(Debug)]
pub enum Closed {
    /// The client has closed it.
    End,
    /// The client was silent for too long.
    Silent,
    /// The agent stops.
    Stopping,
    /// It broke.
    Broken(io::Error),
    /// The budget could never have a page.
    Full,
}

impl From<io::Error> for Closed {
    fn from(error: io::Error) -> Closed {
        Closed::Broken(error)
    }
}

impl<P: Protocol> RawServer<P> {
    /// A server for one lane.
    pub fn new(protocol: P, settings: RawSettings, accounts: Accounts) -> Rc<RawServer<P>> {
        Rc::new(RawServer { protocol: Rc::new(protocol), settings, accounts, watches: Rc::default() })
    }

    /// Accepts until `stop` is ready; waits for bytes then end. `lanes` are those that accept from copies of
    /// the same listener: connections are spread evenly over them.
    pub async fn serve(
        self: Rc<Self>,
        listener: Listener,
        lanes: Arc<Lanes>,
        stop: impl Future<Output = ()>,
    ) {
        accept::serve(self, listener, lanes, stop).await;
    }
}

impl<P: Protocol> accept::Host for RawServer<P> {
    fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    fn tls(&self) -> Option<&TlsServer> {
        self.settings.tls.as_ref()
    }

    fn watches(&self) -> &Rc<Watches> {
        &self.watches
    }

    fn run(self: Rc<Self>, stream: Stream, watch: Watch, slot: Slot) {
        let input = Buf::new(&self.accounts.receive);
        let RawSettings { idle, begun, accept, .. } = self.settings;
        let mut connection = Connection { input, stream, watch, idle, begun, _slot: slot };
        let protocol = Rc::clone(&self.protocol);
        tokio::task::spawn_local(async move {
            connection.keep_alive();
            if connection.handshake(accept).await.is_ok() {
                protocol.serve(connection).await;
            }
        });
    }

    fn turn_away(self: Rc<Self>, _stream: Stream) {
        // There is nothing to say that every protocol would understand: the connection closes.
    }
}

/// A client's connection. It holds no page while `input` is empty.
pub struct Connection {
    /// What was received and not consumed.
    pub input: Buf,
    stream: Stream,
    watch: Watch,
    idle: Option<Duration>,
    begun: Duration,
    _slot: Slot,
}

impl Connection {
    /// Lets the kernel find out that the client's machine is gone: nobody else would.
    fn keep_alive(&self) {
        if let Stream::Plain(tcp) = &self.stream {
            let _as_far_as_it_goes = keep_alive(tcp);
        }
    }

    async fn handshake(&mut self, limit: Duration) -> Result<(), Closed> {
        self.watch.arm(self.watch.after(limit), true);
        let stream = &mut self.stream;
        self.watch
            .within(poll_fn(|context| stream.poll_handshake(context)))
            .await
            .map_err(|_| Closed::Silent)??;
        Ok(())
    }

    /// The client's address, unless it came by a path.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.stream.peer()
    }

    /// Whether the agent stops.
    pub fn stopping(&self) -> bool {
        self.watch.stopping()
    }

    /// Waits until bytes have arrived behind `input` and are read. What is held for the client elsewhere, as
    /// the start of a record, is said by `begun`: then it may not be silent for long.
    ///
    /// # Errors
    /// Nothing more comes.
    pub async fn receive(&mut self, begun: bool) -> Result<(), Closed> {
        let begun = begun || !self.input.is_empty();
        let limit = if begun { Some(self.begun) } else { self.idle };
        let deadline = limit.map_or(Tick::NEVER, |limit| self.watch.after(limit));
        loop {
            self.watch.arm(deadline, true);
            let stream = &mut self.stream;
            let ready = self.watch.within(poll_fn(|context| stream.poll_ready(context))).await;
            ready.map_err(|_| self.expired())??;
            self.make_room(begun).await?;
            match self.read_now().await? {
                Some(0) => return Err(Closed::End),
                Some(read) => {
                    self.input.advance(read);
                    return Ok(());
                }
                // Readable was only a hint, and no page is kept while waiting for more.
                None => self.release(),
            }
        }
    }

    async fn read_now(&mut self) -> io::Result<Option<usize>> {
        let Connection { stream, input, .. } = self;
        poll_fn(|context| {
            Poll::Ready(match stream.poll_read(context, input.spare()) {
                Poll::Ready(read) => read.map(Some),
                Poll::Pending => Ok(None),
            })
        })
        .await
    }

    fn expired(&self) -> Closed {
        if self.watch.stopping() { Closed::Stopping } else { Closed::Silent }
    }

    /// Waits for a page to receive into. Who holds nothing waits for as long as it takes: the client waits with
    /// it. Who holds something must not keep the others waiting.
    async fn make_room(&mut self, begun: bool) -> Result<(), Closed> {
        if self.input.room() >= READ_AT_LEAST {
            return Ok(());
        }
        let account = self.input.account().clone();
        let page = account.lease(account.page_size());
        if !begun {
            self.watch.arm(Tick::NEVER, true);
        }
        let page = self.watch.within(page).await;
        let page = page.map_err(|Expired| self.expired())?.map_err(|_| Closed::Full)?;
        self.input.grow_with(page);
        Ok(())
    }

    fn release(&mut self) {
        if self.input.is_empty() {
            self.input = Buf::new(&self.input.account().clone());
        }
    }

    /// Forgets the first `bytes` bytes of `input`.
    pub fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.release();
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    /// The client does not take them.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        self.watch.arm(self.watch.after(ANSWER_TIME), false);
        let Connection { stream, watch, .. } = self;
        let mut rest = bytes;
        let sending = async {
            while !rest.is_empty() {
                let written = poll_fn(|context| stream.poll_write(context, rest)).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest = &rest[written..];
            }
            poll_fn(|context| stream.poll_flush(context)).await
        };
        watch.within(sending).await.map_err(|_| Closed::Silent)??;
        Ok(())
    }

    /// Whether a read would find something at once.
    pub async fn has_more(&mut self) -> bool {
        let stream = &mut self.stream;
        poll_fn(|context| Poll::Ready(matches!(stream.poll_ready(context), Poll::Ready(Ok(()))))).await
    }

    /// Says that nothing more will be sent.
    pub async fn close(mut self) {
        poll_fn(|context| {
            self.stream.shutdown_write(context);
            Poll::Ready(())
        })
        .await;
    }
}

/// Probes after a minute of silence, then every ten seconds, three times.
fn keep_alive(tcp: &TcpStream) -> io::Result<()> {
    let options = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
        (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 60),
        (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 10),
        (libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 3),
    ];
    for (level, name, value) in options {
        let value: libc::c_int = value;
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the descriptor is open, and the value is as long as said.
        if unsafe { libc::setsockopt(tcp.as_raw_fd(), level, name, (&raw const value).cast(), size) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
