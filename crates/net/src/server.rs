//! An HTTP server whose idle connections cost nothing but their task.
//!
//! HTTP/1.0 and 1.1 (RFC 9112) are read by a loop of our own over `httparse`, because a connection then holds
//! no buffer while no bytes are in flight: it takes a leased page when its socket becomes readable and gives
//! it back when the bytes are consumed. HTTP/2 (RFC 9113), with prior knowledge or agreed on in the TLS
//! handshake, is read from the same pages. Bodies are handed to the service as they arrive and are never
//! stored here.
//!
//! Protocols that are not HTTP get the same connections as a [`RawServer`]: a leased page while bytes are in
//! flight, deadlines, TLS, lanes.
//!
//! What a client may cost is bounded: the head by [`HEAD_BYTES`], the body by the limit of [`Begin::Body`],
//! time by [`Settings`], connections by `connections` and their account, streams by [`STREAMS`].

mod accept;
mod answer;
mod framing;
mod http1;
mod http2;
mod lanes;
mod raw;
mod stream;
pub(crate) mod tls;
mod watch;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use budget::{Account, Lease};
use tokio::net::TcpListener;

pub use accept::Listener;
pub use answer::Answer;
pub use lanes::Lanes;
use lanes::Member;
pub use raw::{Closed, Connection, Protocol, RawServer, RawSettings};
use stream::Stream;
pub use tls::{TlsServer, TlsServerOptions};
use watch::{Watch, Watches};

/// The longest head of a request, request line and all headers.
pub const HEAD_BYTES: usize = 16_384;
/// Requests at a time of an HTTP/2 connection.
pub const STREAMS: u32 = 8;

/// What an open connection costs beside its pages: task, registration, line in the table of deadlines. Measured:
/// 0.85 KiB.
const CONNECTION_BYTES: usize = 1_024;
/// What a TLS session costs between two records. Measured, with the connection: 8.9 KiB.
const TLS_BYTES: usize = 8_192;

/// Connections of a lane that are turned away and waited for until their clients have read why. They take no room
/// in the ledger: what each of them costs is what a connection does. More are closed at once.
const LEAVING: usize = 128;

/// Up to this size a body is small: what it becomes fits a page of any size.
pub const SMALL_BODY: usize = 4_096;

/// How long a body may be slower than [`Settings::rate`].
const SLOW: Duration = Duration::from_secs(10);

/// What an idle connection costs.
pub const fn connection_bytes(tls: bool) -> usize {
    CONNECTION_BYTES + if tls { TLS_BYTES } else { 0 }
}

/// How a server treats its clients.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The TLS handshake.
    pub accept: Duration,
    /// Silence: between requests, and within one.
    pub idle: Duration,
    /// A whole head.
    pub head: Duration,
    /// A whole body.
    pub body: Duration,
    /// Bytes in a second that a body must come to on average, after a while; 0 for no limit.
    pub rate: usize,
    /// Let connections carry more than one request.
    pub keep_alive: bool,
    /// Speak HTTP/2 with clients that ask for it.
    pub http2: bool,
    /// Speak TLS.
    pub tls: Option<TlsServer>,
}

/// Who pays.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// For connections while they are open. Its maximum is their cap.
    pub connections: Account,
    /// For the pages that bytes are received into.
    pub receive: Account,
    /// The same for connections whose last request was small, where that is apart: they are not made to wait behind
    /// large ones.
    pub small: Option<Account>,
    /// For what TLS sessions and HTTP/2 connections hold while something is on its way. Apart from the pages, and
    /// with a maximum: who waits here must not stand before those who already have something on its way and
    /// need a page to finish.
    pub active: Account,
}

/// The head of a request, borrowed from where it was received.
pub struct Head<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The target, as sent: path and query.
    pub target: &'a str,
    headers: &'a [httparse::Header<'a>],
}

impl<'a> Head<'a> {
    /// The value of the last header of this name (case does not count), without blanks around it.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let line = self.headers.iter().rfind(|line| line.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(line.value).ok().map(|value| value.trim_matches([' ', '\t']))
    }

    /// The path without the query.
    pub fn path(&self) -> &'a str {
        self.target.split(['?', '#']).next().unwrap_or("")
    }
}

/// What a service makes of a head.
pub enum Begin<B> {
    /// Answer at once; the body, if there is one, is read and thrown away.
    Answer(Answer),
    /// Take the body, up to so many bytes.
    Body(B, usize),
    /// It takes a moment to say, as when keys must be fetched. Nothing of the body is read before.
    Later(Later<B>),
}

/// What a service makes of a head, when it cannot say at once.
pub type Later<B> = Pin<Box<dyn Future<Output = Begin<B>>>>;

impl<B> Begin<B> {
    /// Waits until it is said.
    async fn now(self) -> Begin<B> {
        let mut begin = self;
        while let Begin::Later(later) = begin {
            begin = later.await;
        }
        begin
    }
}

/// What answers requests. One per lane; it stays on its thread.
pub trait Service: 'static {
    /// The state of a body being received.
    type Body: Body;

    /// Looks at the head of a request.
    fn begin(&self, head: &Head<'_>) -> Begin<Self::Body>;
}

/// Receives a body as it arrives.
pub trait Body: 'static {
    /// Takes a piece of the body, all of it. Waiting here stops the reading of the connection.
    ///
    /// # Errors
    /// The answer that refuses the request.
    fn data(&mut self, piece: &[u8]) -> impl Future<Output = Result<(), Answer>>;

    /// The body is complete.
    fn end(self) -> impl Future<Output = Answer>;
}

/// What the connections of a lane share.
pub struct Server<S> {
    service: S,
    settings: Settings,
    accounts: Accounts,
    /// Those of the accounts that pages are received on.
    receive: Rc<Receive>,
    watches: Rc<Watches>,
    /// Held by each connection that is turned away and waited for.
    leaving: Rc<()>,
}

/// What pages are received on: by everybody, and by those whose last request was small.
struct Receive {
    all: Account,
    small: Option<Account>,
}

/// Why a connection ends.
enum End {
    /// The client closed it, or broke it.
    Gone,
    /// Time or the protocol says so.
    Close,
    /// There was no page to receive into.
    Full,
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> End {
        End::Gone
    }
}

impl From<watch::Expired> for End {
    fn from(_: watch::Expired) -> End {
        End::Close
    }
}

/// One of the connections that a lane has. Dropping it frees it, also when its task dies of a bug.
struct Slot {
    member: Arc<Member>,
    _lease: Lease,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.member.leave();
    }
}

impl<S: Service> Server<S> {
    /// A server for one lane.
    pub fn new(service: S, settings: Settings, accounts: Accounts) -> Rc<Server<S>> {
        let receive = Rc::new(Receive { all: accounts.receive.clone(), small: accounts.small.clone() });
        Rc::new(Server {
            service,
            settings,
            accounts,
            receive,
            watches: Rc::default(),
            leaving: Rc::default(),
        })
    }

    /// Accepts until `stop` is ready; connections then end after the request they are in. `lanes` are those
    /// that accept from copies of the same listener: connections are spread evenly over them.
    pub async fn serve(
        self: Rc<Self>,
        listener: TcpListener,
        lanes: Arc<Lanes>,
        stop: impl Future<Output = ()>,
    ) {
        accept::serve(self, Listener::Tcp(listener), lanes, stop).await;
    }
}

impl<S: Service> accept::Host for Server<S> {
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
        tokio::task::spawn_local(http1::run(self, stream, watch, slot));
    }

    fn turn_away(self: Rc<Self>, mut stream: Stream) {
        let leaving = Rc::clone(&self.leaving);
        if Rc::strong_count(&leaving) > LEAVING {
            return stream.turn_away(UNAVAILABLE);
        }
        let watch = self.watches.watch();
        tokio::task::spawn_local(async move {
            http1::turn_away(&mut stream, &watch).await;
            drop(leaving);
        });
    }
}

/// The answer to a connection that there is no room for.
const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
