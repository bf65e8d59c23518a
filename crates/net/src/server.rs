//! An HTTP server whose idle connections cost nothing but their task.
//!
//! HTTP/1.0 and 1.1 (RFC 9112) are read by a loop of our own over `httparse`, because a connection then holds
//! no buffer while no bytes are in flight: it takes a leased page when its socket becomes readable and gives
//! it back when the bytes are consumed. HTTP/2 (RFC 9113), with prior knowledge or agreed on in the TLS
//! handshake, is read by the `h2` crate behind windows that the ledger has paid for. Bodies are handed to the
//! service as they arrive and are never stored here.
//!
//! What a client may cost is bounded: the head by [`HEAD_BYTES`], the body by the limit of [`Begin::Body`],
//! time by [`Settings`], connections by `connections` and their account, streams by [`STREAMS`].

mod answer;
mod framing;
mod http1;
mod http2;
mod lanes;
mod stream;
mod tls;
mod watch;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use budget::{Account, Lease};
use tokio::net::{TcpListener, TcpStream};

pub use answer::Answer;
pub use lanes::Lanes;
use lanes::{Arrival, Member};
use stream::Stream;
pub use tls::{TlsServer, TlsServerOptions};
use watch::{TICK, Watches};

/// The longest head of a request, request line and all headers.
pub const HEAD_BYTES: usize = 16_384;
/// Requests at a time of an HTTP/2 connection.
pub const STREAMS: u32 = 8;

/// What an open connection costs beside its pages: task, registration, line in the table of deadlines. Measured:
/// 0.85 KiB.
const CONNECTION_BYTES: usize = 1_024;
/// What a TLS session costs between two records. Measured, with the connection: 8.9 KiB.
const TLS_BYTES: usize = 8_192;

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
    headers: Headers<'a>,
}

enum Headers<'a> {
    Lines(&'a [httparse::Header<'a>]),
    Map(&'a http::HeaderMap),
}

impl<'a> Head<'a> {
    /// The value of the last header of this name (case does not count), without blanks around it.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let value = match self.headers {
            Headers::Lines(lines) => {
                lines.iter().rfind(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
            }
            Headers::Map(map) => map.get_all(name).iter().next_back().map(http::HeaderValue::as_bytes),
        };
        std::str::from_utf8(value?).ok().map(|value| value.trim_matches([' ', '\t']))
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
    watches: Rc<Watches>,
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
        Rc::new(Server { service, settings, accounts, watches: Rc::default() })
    }

    /// Accepts until `stop` is ready; connections then end after the request they are in. `lanes` are those
    /// that accept from copies of the same listener: connections are spread evenly over them.
    pub async fn serve(
        self: Rc<Self>,
        listener: TcpListener,
        lanes: Arc<Lanes>,
        stop: impl Future<Output = ()>,
    ) {
        let (member, mut arrivals) = lanes.join();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => self.place(stream, &lanes, &member),
                    // No descriptors left, most often: the ones in use come back, so accepting goes on shortly.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                },
                Some(arrival) = arrivals.recv() => self.arrive(arrival, &member),
                _ = tick.tick(), if !self.watches.is_empty() => self.watches.sweep(),
                () = &mut stop => break,
            }
        }
        lanes.leave(&member);
        self.watches.stop();
        // Requests that have begun keep their deadlines.
        let watches = Rc::clone(&self.watches);
        tokio::task::spawn_local(async move {
            while !watches.is_empty() {
                tick.tick().await;
                watches.sweep();
            }
        });
    }

    /// Gives a new connection to the lane that has the fewest.
    fn place(self: &Rc<Self>, stream: TcpStream, lanes: &Lanes, member: &Arc<Member>) {
        match lanes.place(member) {
            lanes::Place::Full => self.turn_away(stream),
            lanes::Place::Here => self.admit(stream, member),
            lanes::Place::There(other) => {
                // A lane that is too busy to take it, or gone, leaves it to this one.
                let Ok(stream) = stream.into_std() else { return other.leave() };
                if let Err(stream) = other.send(stream) {
                    other.leave();
                    member.enter();
                    self.arrive(stream, member);
                }
            }
        }
    }

    /// Takes a connection that was counted as this lane's.
    fn arrive(self: &Rc<Self>, stream: Arrival, member: &Arc<Member>) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.admit(stream, member),
            Err(_) => member.leave(),
        }
    }

    fn admit(self: &Rc<Self>, stream: TcpStream, member: &Arc<Member>) {
        let bytes = CONNECTION_BYTES + if self.settings.tls.is_some() { TLS_BYTES } else { 0 };
        let Ok(lease) = self.accounts.connections.try_lease(bytes) else {
            member.leave();
            return self.turn_away(stream);
        };
        let slot = Slot { member: Arc::clone(member), _lease: lease };
        let _nodelay = stream.set_nodelay(true);
        let stream = match &self.settings.tls {
            None => Stream::plain(stream),
            Some(tls) => match tls.session() {
                Some(session) => Stream::tls(stream, session, &self.accounts.active),
                None => return,
            },
        };
        let watch = self.watches.watch();
        tokio::task::spawn_local(http1::run(Rc::clone(self), stream, watch, slot));
    }

    /// Answers a connection that there is no room for. A TLS client could not read the answer.
    fn turn_away(&self, stream: TcpStream) {
        if self.settings.tls.is_none() {
            turn_away(&Stream::plain(stream));
        }
    }
}

/// Answers a connection that there is no room for, without memory for it.
fn turn_away(stream: &Stream) {
    stream.turn_away(
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
}
