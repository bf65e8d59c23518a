//! HTTP/2 connections: RFC 9113, by the `h2` crate.
//!
//! What a client may make this end hold is bounded by windows and by the settings sent at the start, and paid
//! for while the connection is active: [`ACTIVE_BYTES`] are leased before the socket is read and given back
//! when no request is in flight and nothing is left to read.
//!
//! `h2` keeps its buffer for a frame as large as the largest one was, and makes a new one only when it must,
//! because somebody still holds a piece of the old one. So it is given no more than a frame at a time, and a
//! connection that comes to rest behind a large frame holds on to it until one small frame more has come: the
//! answer to a ping. (2,000 connections at rest behind bodies of 493 KB: 56 KiB each without, 26 with this.)

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use budget::{Account, Acquire, Buf, Lease};
use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Ping, PingPong, RecvStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::stream::Stream;
use super::watch::{Tick, Watch};
use super::{Answer, Begin, Body, HEAD_BYTES, Head, Headers, STREAMS, Server, Service, http1};

/// Bytes that a client may send before they are consumed, per stream and in all. 65,535 is what the protocol
/// starts with and what cannot be refused.
const WINDOW: u32 = 65_535;
/// The largest frame.
const FRAME: u32 = 16_384;
/// What a connection holds beside its windows and heads: buffers for a frame in each direction, the tables of
/// header compression, the state of its streams.
const IDLE_BYTES: usize = 24 << 10;
/// What it may hold in addition while requests are in flight: the window and a head for each stream.
const ACTIVE_BYTES: usize = WINDOW as usize + FRAME as usize + STREAMS as usize * HEAD_BYTES;
/// A frame that makes `h2`'s buffer larger than it is at first.
const LARGE: usize = 4 << 10;
/// How long a connection is given to end after it was told to.
const CLOSING: Duration = Duration::from_secs(5);

/// Serves a connection to its end. What was received before it turned out to be HTTP/2 is read first.
pub(super) async fn run<S: Service>(server: Rc<Server<S>>, connection: http1::Connection) {
    let http1::Connection { stream, input, watch, slot: _slot, .. } = connection;
    let Ok(_lease) = server.accounts.connections.try_lease(IDLE_BYTES) else { return };
    let active = Rc::new(Cell::new(false));
    let gate = Gate {
        account: server.accounts.receive.clone(),
        active: Rc::clone(&active),
        lease: None,
        acquire: None,
    };
    let socket = Socket { stream, input, frames: Frames::new(), gate };
    watch.arm(watch.after(server.settings.head), true);
    let handshake = h2::server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .max_header_list_size(HEAD_BYTES as u32)
        .max_concurrent_streams(STREAMS)
        .max_send_buffer_size(FRAME as usize)
        .handshake::<_, Bytes>(socket);
    if let Ok(Ok(connection)) = watch.within(handshake).await {
        serve(server, connection, &watch, &active).await;
    }
}

/// Requests in flight.
#[expect(clippy::disallowed_types, reason = "never more than STREAMS: see Open::poll")]
type Tasks = tokio::task::JoinSet<()>;

/// A piece of the last large frame.
type Last = Rc<RefCell<Option<Bytes>>>;

/// What happens on a connection.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
enum Event {
    Request(Request<RecvStream>, SendResponse<Bytes>),
    /// A request was answered.
    Answered,
    /// A frame has come behind the last large one.
    Pong,
    /// The connection has ended.
    Over,
    Expired,
}

async fn serve<S: Service>(
    server: Rc<Server<S>>,
    connection: Connection<Socket, Bytes>,
    watch: &Watch,
    active: &Cell<bool>,
) {
    let last = Last::default();
    let mut open = Open { connection, tasks: Tasks::new(), watch, ping: None };
    open.ping = open.connection.ping_pong();
    let mut pinged = false;
    let mut closing = false;
    loop {
        let idle = open.tasks.is_empty();
        if !closing {
            // Requests have deadlines of their own.
            watch.arm(if idle { watch.after(server.settings.idle) } else { Tick::NEVER }, true);
        }
        if idle && last.borrow().is_some() && !pinged {
            pinged = open.ping.as_mut().is_some_and(|ping| ping.send_ping(Ping::opaque()).is_ok());
        }
        active.set(!idle || last.borrow().is_some());
        match poll_fn(|context| open.poll(context, pinged)).await {
            Event::Request(request, respond) => {
                open.tasks.spawn_local(answer(Rc::clone(&server), request, respond, Rc::clone(&last)));
            }
            Event::Answered => {}
            Event::Pong => {
                pinged = false;
                // With requests in flight there may be another large frame by now.
                if open.tasks.is_empty() {
                    last.take();
                }
            }
            Event::Over => return,
            Event::Expired if closing => return,
            Event::Expired => {
                closing = true;
                open.connection.graceful_shutdown();
                watch.arm(watch.after(CLOSING), false);
            }
        }
    }
}

/// An open connection and its requests.
struct Open<'a> {
    connection: Connection<Socket, Bytes>,
    tasks: Tasks,
    watch: &'a Watch,
    ping: Option<PingPong>,
}

impl Open<'_> {
    fn poll(&mut self, context: &mut Context<'_>, pinged: bool) -> Poll<Event> {
        if let Poll::Ready(Some(_answered)) = self.tasks.poll_join_next(context) {
            return Poll::Ready(Event::Answered);
        }
        if pinged
            && let Some(ping) = &mut self.ping
            && ping.poll_pong(context).is_ready()
        {
            return Poll::Ready(Event::Pong);
        }
        // With as many requests as may be the connection is only driven: their bodies and answers move on.
        if self.tasks.len() < STREAMS as usize {
            match self.connection.poll_accept(context) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    return Poll::Ready(Event::Request(request, respond));
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Event::Over),
                Poll::Pending => {}
            }
        } else if self.connection.poll_closed(context).is_ready() {
            return Poll::Ready(Event::Over);
        }
        self.watch.poll_expired(context).map(|()| Event::Expired)
    }
}

/// Answers one request.
async fn answer<S: Service>(
    server: Rc<Server<S>>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    last: Last,
) {
    let (head, mut body) = request.into_parts();
    let head_only = head.method == http::Method::HEAD;
    let begin = {
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        server.service.begin(&Head {
            method: head.method.as_str(),
            target,
            headers: Headers::Map(&head.headers),
        })
    };
    drop(head);
    let Some(answer) = receive(&server, begin, &mut body, &last).await else {
        return respond.send_reset(h2::Reason::CANCEL);
    };
    pass_over(&mut body).await;
    let mut response = Response::builder().status(answer.status).header("server", "weir");
    for (name, value) in answer.fields() {
        response = response.header(name, value);
    }
    if answer.status != 204 {
        response = response.header("content-length", answer.body.len());
    }
    let Ok(response) = response.body(()) else { return respond.send_reset(h2::Reason::INTERNAL_ERROR) };
    let empty = answer.body.is_empty() || head_only;
    if let Ok(mut stream) = respond.send_response(response, empty)
        && !empty
    {
        // A client that is gone does not want it.
        let _sent = stream.send_data(Bytes::from(answer.body), true);
    }
}

/// Takes the body in and gives the answer; `None` when the client has gone away, or takes too long.
async fn receive<S: Service>(
    server: &Server<S>,
    begin: Begin<S::Body>,
    stream: &mut RecvStream,
    last: &Last,
) -> Option<Answer> {
    let deadline = Instant::now() + server.settings.body;
    let (mut body, limit) = match timeout_at(deadline, begin.now()).await.ok()? {
        Begin::Answer(answer) => return Some(answer),
        Begin::Body(body, limit) => (body, limit),
        Begin::Later(_) => return None, // `now` has waited for it
    };
    let mut received = 0;
    loop {
        let silence = deadline.min(Instant::now() + server.settings.idle);
        match timeout_at(silence, stream.data()).await.ok()? {
            None => return Some(body.end().await),
            Some(piece) => {
                let piece = piece.ok()?;
                received += piece.len();
                if received > limit {
                    return Some(Answer::too_large(limit));
                }
                if let Err(refusal) = body.data(&piece).await {
                    return Some(refusal);
                }
                // Only now, when its memory is free again, may the client send as much more.
                let size = piece.len();
                last.replace((size > LARGE).then_some(piece));
                stream.flow_control().release_capacity(size).ok()?;
            }
        }
    }
}

/// Throws a short rest of a refused body away: clients do not expect an answer before they have sent it.
async fn pass_over(stream: &mut RecvStream) {
    let deadline = Instant::now() + http1::LINGER;
    let mut seen = 0;
    while seen <= http1::PASSED_OVER
        && let Ok(Some(Ok(piece))) = timeout_at(deadline, stream.data()).await
    {
        seen += piece.len();
        if stream.flow_control().release_capacity(piece.len()).is_err() {
            break;
        }
    }
}

/// The connection's socket, read only when what may come of it is paid for, and handed on by frames.
struct Socket {
    stream: Stream,
    /// What was received and not handed on: one page.
    input: Buf,
    frames: Frames,
    gate: Gate,
}

/// Where in the frames the bytes stand that were handed on: RFC 9113 sections 3.4 and 4.1.
struct Frames {
    /// The header of a frame as far as it was handed on.
    header: [u8; 9],
    seen: usize,
    /// Bytes of the frame that are still to come. At first: the preface.
    left: usize,
}

impl Frames {
    fn new() -> Frames {
        Frames { header: [0; 9], seen: 0, left: http1::PREFACE.len() }
    }

    /// How many of these bytes may be handed on: to the end of a frame. They count as handed on.
    fn take(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        if self.left == 0 {
            at = bytes.len().min(self.header.len() - self.seen);
            self.header[self.seen..self.seen + at].copy_from_slice(&bytes[..at]);
            self.seen += at;
            if self.seen < self.header.len() {
                return at;
            }
            self.seen = 0;
            self.left = u32::from_be_bytes([0, self.header[0], self.header[1], self.header[2]]) as usize;
        }
        let here = self.left.min(bytes.len() - at);
        self.left -= here;
        at + here
    }
}

struct Gate {
    account: Account,
    /// Requests are in flight, or what they left is held.
    active: Rc<Cell<bool>>,
    lease: Option<Lease>,
    acquire: Option<Acquire>,
}

impl Gate {
    /// Waits until what may be held is paid for, and gives `input` a page.
    fn poll_open(&mut self, context: &mut Context<'_>, input: &mut Buf) -> Poll<io::Result<()>> {
        if self.lease.is_none() {
            self.lease = Some(ready!(self.poll_lease(context, ACTIVE_BYTES))?);
        }
        input.grow_with(ready!(self.poll_lease(context, self.account.page_size()))?);
        Poll::Ready(Ok(()))
    }

    fn poll_lease(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<io::Result<Lease>> {
        let acquire = self.acquire.get_or_insert_with(|| self.account.lease(bytes));
        let lease = ready!(Pin::new(acquire).poll(context));
        self.acquire = None;
        Poll::Ready(lease.map_err(|_| io::ErrorKind::OutOfMemory.into()))
    }

    fn close(&mut self) {
        if !self.active.get() {
            (self.lease, self.acquire) = (None, None);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Socket { stream, input, frames, gate } = self.get_mut();
        if input.is_empty() {
            *input = Buf::new(&gate.account);
            if stream.poll_ready(context)?.is_pending() {
                gate.close();
                return Poll::Pending;
            }
            ready!(gate.poll_open(context, input))?;
            let Poll::Ready(read) = stream.poll_read(context, input.spare())? else {
                *input = Buf::new(&gate.account);
                gate.close();
                return Poll::Pending;
            };
            if read == 0 {
                return Poll::Ready(Ok(()));
            }
            input.advance(read);
        }
        let front = input.front();
        let front = &front[..front.len().min(buffer.remaining())];
        let size = frames.take(front);
        buffer.put_slice(&front[..size]);
        input.consume(size);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_handed_on_to_the_end_of_a_frame_however_they_arrive() {
        let frame = |size: usize| {
            let mut frame = vec![0; 9 + size];
            frame[..3].copy_from_slice(&(size as u32).to_be_bytes()[1..]);
            frame
        };
        let stream = [http1::PREFACE.to_vec(), frame(0), frame(300), frame(16_384)].concat();
        let ends = [24, 33, 342, 342 + 9 + 16_384];
        for step in [1, 2, 7, 100, stream.len()] {
            let (mut frames, mut at) = (Frames::new(), 0);
            while at < stream.len() {
                let taken = frames.take(&stream[at..stream.len().min(at + step)]);
                assert!(taken > 0);
                assert!(ends.iter().all(|end| at >= *end || at + taken <= *end), "{at} and {taken} more");
                at += taken;
            }
        }
    }
}
