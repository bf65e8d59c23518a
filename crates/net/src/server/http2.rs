//! HTTP/2 connections: RFC 9113, by the `h2` crate.
//!
//! What a client may make this end hold is bounded by windows and by the settings sent at the start, and paid
//! for while the connection is active: [`ACTIVE_BYTES`] are leased before the socket is read and given back
//! when no request is in flight and nothing is left to read. A connection at rest costs 26 KiB, and 56 behind
//! a large body, because `h2` keeps its buffer for a frame.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use budget::{Account, Acquire, Buf, Lease};
use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Connection, SendResponse};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::stream::Stream;
use super::watch::{Tick, Watch};
use super::{Answer, Begin, Body, Head, Headers, SLOW, STREAMS, Server, Service, http1};

/// Bytes that a client may send before they are consumed, per stream and in all. 65,535 is what the protocol
/// starts with and what cannot be refused.
const WINDOW: u32 = 65_535;
/// The largest frame.
const FRAME: u32 = 16_384;
/// The longest head of a request, as the sum of its fields. Several are there at a time, so it is shorter than
/// with HTTP/1.
const HEAD_BYTES: usize = 8_192;
/// What a connection holds at rest: buffers for a frame in each direction, the tables of header compression, the
/// state of its streams. Measured: 56 KiB behind large bodies.
const IDLE_BYTES: usize = 56 << 10;
/// What it may hold in addition while requests are in flight: the window and a head for each stream.
const ACTIVE_BYTES: usize = WINDOW as usize + STREAMS as usize * HEAD_BYTES;
/// How long a connection is given to end after it was told to.
const CLOSING: Duration = Duration::from_secs(5);

/// Serves a connection to its end. What was received before it turned out to be HTTP/2 is read first.
pub(super) async fn run<S: Service>(server: Rc<Server<S>>, connection: http1::Connection) {
    let http1::Connection { stream, input, watch, slot: _slot, .. } = connection;
    let connections = &server.accounts.connections;
    let admitted = connections.admits(IDLE_BYTES).then(|| connections.try_lease(IDLE_BYTES).ok()).flatten();
    let Some(_lease) = admitted else { return refuse(stream, &watch).await };
    let paid = Paid::default();
    let gate = Gate { account: server.accounts.active.clone(), paid: Rc::clone(&paid), acquire: None };
    let socket = Socket { stream, input, gate };
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
        serve(server, connection, &watch, &paid).await;
    }
}

/// An empty SETTINGS, then GOAWAY before the first stream with ENHANCE_YOUR_CALM: RFC 9113 sections 6.5 and 6.8.
/// A client sees that nothing of it was taken and that it may come again later.
const REFUSAL: &[u8] = &[
    0, 0, 0, 4, 0, 0, 0, 0, 0, // SETTINGS
    0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0b, // GOAWAY
];

/// Turns a connection away in its own language.
async fn refuse(mut stream: Stream, watch: &Watch) {
    watch.arm(watch.after(http1::LINGER), false);
    let mut rest = REFUSAL;
    let said = watch.within(poll_fn(|context| {
        while !rest.is_empty() {
            let written = ready!(stream.poll_write(context, rest))?;
            rest = &rest[written..];
        }
        stream.poll_flush(context)
    }));
    if !matches!(said.await, Ok(Ok(()))) {
        return;
    }
    poll_fn(|context| {
        stream.shutdown_write(context);
        Poll::Ready(())
    })
    .await;
    // A socket closed over unread bytes would be reset, and the refusal lost with it.
    let mut away = [0; 1_024];
    let mut seen = 0;
    while seen <= http1::PASSED_OVER
        && let Ok(Ok(read)) = watch.within(poll_fn(|context| stream.poll_read(context, &mut away))).await
        && read > 0
    {
        seen += read;
    }
}

/// What is leased for an active connection.
type Paid = Rc<Cell<Option<Lease>>>;

/// Requests in flight.
#[expect(clippy::disallowed_types, reason = "never more than STREAMS: see `poll`")]
type Tasks = tokio::task::JoinSet<()>;

/// What happens on a connection.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
enum Event {
    Request(Request<RecvStream>, SendResponse<Bytes>),
    /// A request was answered.
    Answered,
    /// The connection has ended.
    Over,
    Expired,
}

async fn serve<S: Service>(
    server: Rc<Server<S>>,
    mut connection: Connection<Socket, Bytes>,
    watch: &Watch,
    paid: &Paid,
) {
    let mut tasks = Tasks::new();
    let mut closing = false;
    loop {
        if !closing {
            // Requests have deadlines of their own.
            let deadline = if tasks.is_empty() { watch.after(server.settings.idle) } else { Tick::NEVER };
            watch.arm(deadline, true);
        }
        match poll_fn(|context| poll(&mut connection, &mut tasks, watch, paid, context)).await {
            Event::Request(request, respond) => {
                tasks.spawn_local(answer(Rc::clone(&server), request, respond));
            }
            Event::Answered => {}
            Event::Over => return,
            Event::Expired if closing => return,
            Event::Expired => {
                closing = true;
                connection.graceful_shutdown();
                watch.arm(watch.after(CLOSING), false);
            }
        }
    }
}

fn poll(
    connection: &mut Connection<Socket, Bytes>,
    tasks: &mut Tasks,
    watch: &Watch,
    paid: &Paid,
    context: &mut Context<'_>,
) -> Poll<Event> {
    if let Poll::Ready(Some(_answered)) = tasks.poll_join_next(context) {
        return Poll::Ready(Event::Answered);
    }
    // With as many requests as may be the connection is only driven: their bodies and answers move on.
    if tasks.len() < STREAMS as usize {
        match connection.poll_accept(context) {
            Poll::Ready(Some(Ok((request, respond)))) => {
                return Poll::Ready(Event::Request(request, respond));
            }
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Event::Over),
            // Nothing is in flight and nothing left to read: at rest.
            Poll::Pending if tasks.is_empty() => drop(paid.take()),
            Poll::Pending => {}
        }
    } else if connection.poll_closed(context).is_ready() {
        return Poll::Ready(Event::Over);
    }
    watch.poll_expired(context).map(|()| Event::Expired)
}

/// Answers one request.
async fn answer<S: Service>(
    server: Rc<Server<S>>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
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
    let Some(answer) = receive(&server, begin, &mut body).await else {
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
) -> Option<Answer> {
    let mut begun = Instant::now();
    let deadline = begun + server.settings.body;
    let (mut body, limit) = match timeout_at(deadline, begin.now()).await.ok()? {
        Begin::Answer(answer) => return Some(answer),
        Begin::Body(body, limit) => (body, limit),
        Begin::Later(_) => return None, // `now` has waited for it
    };
    let mut received = 0_usize;
    loop {
        let silence = deadline.min(Instant::now() + server.settings.idle);
        let slow = received.checked_div(server.settings.rate);
        let late = slow.map(|seconds| begun + SLOW + Duration::from_secs(seconds as u64));
        match timeout_at(late.map_or(silence, |late| late.min(silence)), stream.data()).await {
            Err(_) if late.is_some_and(|late| late <= Instant::now()) => return Some(Answer::too_slow()),
            data => match data.ok()? {
                None => return Some(body.end().await),
                Some(piece) => {
                    let piece = piece.ok()?;
                    received += piece.len();
                    if received > limit {
                        return Some(Answer::too_large(limit));
                    }
                    let before = Instant::now();
                    if let Err(refusal) = body.data(&piece).await {
                        return Some(refusal);
                    }
                    // What this end takes to find room is not the client's.
                    begun += before.elapsed();
                    // Only now, when its memory is free again, may the client send as much more.
                    let size = piece.len();
                    drop(piece);
                    stream.flow_control().release_capacity(size).ok()?;
                }
            },
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

/// The connection's socket, read only when what may come of it is paid for.
struct Socket {
    stream: Stream,
    /// What was received before.
    input: Buf,
    gate: Gate,
}

struct Gate {
    account: Account,
    paid: Paid,
    acquire: Option<Acquire>,
}

impl Gate {
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let paid = self.paid.take();
        if paid.is_some() {
            self.paid.set(paid);
            return Poll::Ready(Ok(()));
        }
        let acquire = self.acquire.get_or_insert_with(|| self.account.lease(ACTIVE_BYTES));
        let lease = ready!(Pin::new(acquire).poll(context));
        self.acquire = None;
        self.paid.set(Some(lease.map_err(|_| io::ErrorKind::OutOfMemory)?));
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Socket { stream, input, gate } = self.get_mut();
        if input.is_empty() {
            ready!(stream.poll_ready(context))?;
        }
        ready!(gate.poll_open(context))?;
        if input.is_empty() {
            return Pin::new(stream).poll_read(context, buffer);
        }
        let front = input.front();
        let size = front.len().min(buffer.remaining());
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
