//! An HTTP/1.1 server whose idle connections cost nothing but their task.
//!
//! Protocol: RFC 9112. Headers are read with `httparse`; the loop is our own because a connection then holds
//! no buffer while no bytes are in flight: it takes a leased page when its socket becomes readable and gives
//! it back when the bytes are consumed. Bodies are handed to the service as they arrive and are never stored
//! here.
//!
//! What a client may cost is bounded: the head by one page and [`HEAD_BYTES`], the body by
//! [`Begin::Body`]'s limit, time by [`Limits`], connections by `max_connections`.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use budget::{Account, Buf, Lease};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout_at};

use crate::body::{Framing, Piece};

/// The longest head of a request, request line and all headers.
pub const HEAD_BYTES: usize = 16_384;
/// The most headers of a request.
const HEADERS: usize = 64;
/// What a connection costs beside its page: task, registration, service state. Leased while it is open.
const CONNECTION_BYTES: usize = 2_048;
/// How much of a refused body is read before the connection closes, so that the client sees the answer.
const LINGER_BYTES: usize = 16 << 20;
/// The least room that is worth a read.
const READ_AT_LEAST: usize = 2_048;
/// A rest of a refused body up to this size is thrown away and the connection kept.
const PASSED_OVER: usize = 65_536;
/// How long a request waits for a page before it is answered 503.
const PAGE_WAIT: Duration = Duration::from_secs(5);
/// How long a refused body is read.
const LINGER: Duration = Duration::from_secs(2);

/// Times a connection may take. A request that is slower is cut off.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Silence: between requests, and within one.
    pub idle: Duration,
    /// A whole head.
    pub head: Duration,
    /// A whole body.
    pub body: Duration,
    /// Connections at a time; 0 for no limit but the ledger's.
    pub connections: usize,
}

/// The head of a request, borrowed from the connection's page.
pub struct Head<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The target, as sent: path and query.
    pub target: &'a str,
    /// The headers, in their order.
    headers: &'a [httparse::Header<'a>],
}

impl<'a> Head<'a> {
    /// The value of the last header of this name (case does not count), without blanks around it.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let header = self.headers.iter().rfind(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(header.value).ok().map(str::trim)
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
}

/// An answer. Small: payload does not travel this way.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers beside Content-Length and Connection.
    pub headers: Vec<(&'static str, String)>,
    /// Headers that the user configured.
    pub extra: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// Close the connection afterwards.
    pub close: bool,
}

impl Answer {
    /// A status without a body.
    pub fn status(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), extra: Vec::new(), body: String::new(), close: false }
    }

    /// A status with one line of text.
    pub fn text(status: u16, text: impl Into<String>) -> Answer {
        let mut body = text.into();
        body.push('\n');
        Answer { body, ..Answer::status(status) }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Closes the connection after this answer.
    pub fn closing(self) -> Answer {
        Answer { close: true, ..self }
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
pub trait Body {
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
    limits: Limits,
    account: Account,
    /// Connections open now.
    open: Rc<Cell<usize>>,
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

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Gone
    }
}

impl<S: Service> Server<S> {
    /// A server whose connections and pages are charged to `account`.
    pub fn new(service: S, limits: Limits, account: Account) -> Rc<Server<S>> {
        Rc::new(Server { service, limits, account, open: Rc::default() })
    }

    /// Accepts until `stop` is ready; connections then end after the request they are in.
    pub async fn serve(self: Rc<Self>, listener: TcpListener, stop: impl Future<Output = ()>) {
        let stopping = Rc::new(tokio::sync::Notify::new());
        let stopped = Rc::new(Cell::new(false));
        tokio::pin!(stop);
        loop {
            let stream = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut stop => break,
            };
            match stream {
                Ok((stream, _)) => self.admit(stream, &stopping, &stopped),
                // No descriptors left, most often: the ones in use come back, so accepting goes on shortly.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        stopped.set(true);
        stopping.notify_waiters();
    }

    fn admit(
        self: &Rc<Self>,
        stream: TcpStream,
        stopping: &Rc<tokio::sync::Notify>,
        stopped: &Rc<Cell<bool>>,
    ) {
        let limit = self.limits.connections;
        let lease = self.account.try_lease(CONNECTION_BYTES);
        let (Ok(lease), true) = (lease, limit == 0 || self.open.get() < limit) else {
            refuse_connection(&stream);
            return;
        };
        let _nodelay = stream.set_nodelay(true);
        let connection =
            Connection { stream, input: Buf::new(&self.account), _slot: Slot::taken(&self.open, lease) };
        let (server, stopping, stopped) = (Rc::clone(self), Rc::clone(stopping), Rc::clone(stopped));
        tokio::task::spawn_local(run(server, connection, stopping, stopped));
    }
}

/// One fixed answer, without memory for it: as far as the socket takes it at once. What the client has sent
/// is read away, because closing over unread bytes would cost it the answer.
fn refuse_connection(stream: &TcpStream) {
    let answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let _sent = stream.try_write(answer);
    shutdown_write(stream);
    let mut away = [0; 4096];
    for _ in 0..64 {
        if !matches!(stream.try_read(&mut away), Ok(read) if read > 0) {
            break;
        }
    }
}

async fn run<S: Service>(
    server: Rc<Server<S>>,
    mut connection: Connection,
    stopping: Rc<tokio::sync::Notify>,
    stopped: Rc<Cell<bool>>,
) {
    loop {
        // Between requests only: a request that has begun is answered.
        if stopped.get() && connection.input.is_empty() {
            break;
        }
        let idle = connection.input.is_empty();
        let first = tokio::select! {
            first = connection.wait_for_request(&server.limits), if idle => first,
            () = stopping.notified(), if idle => Err(End::Close),
            else => Ok(()),
        };
        let served = match first {
            Ok(()) => connection.request(&server).await,
            Err(end) => Err(end),
        };
        match served {
            Ok(()) => {}
            Err(End::Full) => {
                refuse_connection(&connection.stream);
                break;
            }
            Err(End::Gone | End::Close) => break,
        }
    }
}

/// An open connection. `input` holds bytes that were received and not consumed: none while it is idle.
struct Connection {
    stream: TcpStream,
    input: Buf,
    _slot: Slot,
}

/// One of the connections that a server may have. Dropping it frees it, also when its task dies of a bug.
struct Slot {
    open: Rc<Cell<usize>>,
    _lease: Lease,
}

impl Slot {
    fn taken(open: &Rc<Cell<usize>>, lease: Lease) -> Slot {
        open.set(open.get() + 1);
        Slot { open: Rc::clone(open), _lease: lease }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

/// What a head says about the rest of the request.
struct Request<B> {
    begin: Begin<B>,
    framing: Framing,
    expects_continue: bool,
    keep_alive: bool,
    head_only: bool,
}

impl Connection {
    async fn wait_for_request(&mut self, limits: &Limits) -> Result<(), End> {
        self.fill(Instant::now() + limits.idle).await
    }

    /// Waits for bytes and reads them into a page.
    async fn fill(&mut self, deadline: Instant) -> Result<(), End> {
        loop {
            timeout_at(deadline, self.stream.readable()).await.map_err(|_| End::Close)??;
            self.make_room(deadline).await?;
            match self.stream.try_read(self.input.spare()) {
                Ok(0) => return Err(End::Gone),
                Ok(read) => {
                    self.input.advance(read);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.release(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes room to receive into. What was received and not consumed stays in one page, so that heads and the
    /// lines of chunks always stand in one piece: when the page is nearly full its rest moves to a new one.
    async fn make_room(&mut self, deadline: Instant) -> Result<(), End> {
        if self.input.room() >= READ_AT_LEAST {
            return Ok(());
        }
        let account = self.input.account().clone();
        let mut fresh = Buf::new(&account);
        fresh.grow_with(page(&account, deadline).await?);
        let rest = self.input.front();
        if rest.len() >= fresh.room() {
            return Err(End::Close); // callers refuse what is that long before they ask for more
        }
        fresh.write(rest).map_err(|_| End::Full)?;
        self.input = fresh;
        Ok(())
    }

    /// Gives the page back if nothing is in it.
    fn release(&mut self) {
        if self.input.is_empty() {
            self.input = Buf::new(self.input.account());
        }
    }

    fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.release();
    }

    /// Serves one request. An error ends the connection.
    async fn request<S: Service>(&mut self, server: &Server<S>) -> Result<(), End> {
        let deadline = Instant::now() + server.limits.head;
        let request = loop {
            match parse(self.input.front(), &server.service) {
                Parsed::Head(request, size) => {
                    self.consume(size);
                    break request;
                }
                Parsed::More if self.input.len() < HEAD_BYTES - READ_AT_LEAST => self.fill(deadline).await?,
                Parsed::More => {
                    return self.refuse(Answer::text(431, "error: the request's head is too long")).await;
                }
                Parsed::Bad(why) => return self.refuse(Answer::text(400, format!("error: {why}"))).await,
            }
        };
        let Request { begin, mut framing, expects_continue, keep_alive, head_only } = request;
        let answer = match begin {
            Begin::Answer(answer) => answer,
            Begin::Body(_, limit) if framing.rest() > limit => too_large(limit),
            Begin::Body(body, limit) => {
                if expects_continue && self.input.is_empty() {
                    self.write(b"HTTP/1.1 100 Continue\r\n\r\n", Instant::now() + server.limits.idle).await?;
                }
                // Boxed, so that a connection that waits for a request is not as large as one in a body.
                Box::pin(self.body(body, &mut framing, limit, &server.limits)).await?
            }
        };
        // A small rest of a refused body is passed over, so that the connection can go on.
        if !framing.is_over() {
            let short = framing.rest() <= PASSED_OVER && !expects_continue;
            if !short || !self.pass_over(&mut framing).await.unwrap_or(false) {
                return self.refuse(answer).await;
            }
        }
        let close = answer.close || !keep_alive;
        self.answer(&answer, close, head_only).await?;
        if close { Err(End::Close) } else { Ok(()) }
    }

    /// Throws the rest of a body away. False when it is no body, or a long one.
    async fn pass_over(&mut self, framing: &mut Framing) -> Result<bool, End> {
        let deadline = Instant::now() + LINGER;
        let mut seen = 0;
        while seen <= PASSED_OVER {
            match framing.next(self.input.front()) {
                Ok(Piece::Data { skip, size }) => {
                    seen += size;
                    self.consume(skip + size);
                }
                Ok(Piece::More { skip }) => {
                    self.consume(skip);
                    self.fill(deadline).await?;
                }
                Ok(Piece::End { skip }) => {
                    self.consume(skip);
                    return Ok(true);
                }
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
    }

    /// Feeds the body to `body` as it arrives and returns its answer, or the refusal; `framing` then stands
    /// where the body was left.
    async fn body<B: Body>(
        &mut self,
        mut body: B,
        framing: &mut Framing,
        limit: usize,
        limits: &Limits,
    ) -> Result<Answer, End> {
        let deadline = Instant::now() + limits.body;
        let mut received = 0;
        loop {
            let front = self.input.front();
            match framing.next(front) {
                Ok(Piece::Data { skip, size }) => {
                    received += size;
                    let taken = if received > limit {
                        Err(too_large(limit))
                    } else {
                        body.data(&front[skip..skip + size]).await
                    };
                    self.consume(skip + size);
                    if let Err(refusal) = taken {
                        return Ok(refusal);
                    }
                }
                Ok(Piece::More { skip }) => {
                    self.consume(skip);
                    self.fill(deadline.min(Instant::now() + limits.idle)).await?;
                }
                Ok(Piece::End { skip }) => {
                    self.consume(skip);
                    return Ok(body.end().await);
                }
                Err(why) => return Ok(Answer::text(400, format!("error: {why}"))),
            }
        }
    }

    /// Answers, and ends the connection in a way that lets the client read the answer: a socket closed with
    /// unread bytes would be reset.
    async fn refuse(&mut self, answer: Answer) -> Result<(), End> {
        self.answer(&answer, true, false).await?;
        let deadline = Instant::now() + LINGER;
        shutdown_write(&self.stream);
        self.consume(self.input.len());
        let mut seen = 0;
        while seen < LINGER_BYTES && self.fill(deadline).await.is_ok() {
            seen += self.input.len();
            self.consume(self.input.len());
        }
        Err(End::Close)
    }

    async fn answer(&mut self, answer: &Answer, close: bool, head_only: bool) -> Result<(), End> {
        let bytes = encode(answer, close, head_only);
        self.write(&bytes, Instant::now() + LINGER.max(Duration::from_secs(10))).await
    }

    async fn write(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), End> {
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    timeout_at(deadline, self.stream.writable()).await.map_err(|_| End::Close)??;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// A page, as soon as there is room: waited for as long as a client waits without an answer.
async fn page(account: &Account, deadline: Instant) -> Result<Lease, End> {
    let page = account.lease(account.page_size());
    match timeout_at(deadline.min(Instant::now() + PAGE_WAIT), page).await {
        Ok(Ok(page)) => Ok(page),
        Ok(Err(_)) | Err(_) => Err(End::Full),
    }
}

fn shutdown_write(stream: &TcpStream) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is the stream's and open. The stream itself offers this only as a future.
    unsafe { libc::shutdown(stream.as_raw_fd(), libc::SHUT_WR) };
}

fn too_large(limit: usize) -> Answer {
    Answer::text(413, format!("error: the body is larger than buffer_max_size ({limit} bytes)"))
}

enum Parsed<B> {
    /// A request whose head has so many bytes.
    Head(Request<B>, usize),
    More,
    Bad(String),
}

/// Reads a head and asks the service. Not a future, so that the table of headers is on the stack only here.
fn parse<S: Service>(bytes: &[u8], service: &S) -> Parsed<S::Body> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let size = match request.parse(bytes) {
        Ok(httparse::Status::Complete(size)) => size,
        Ok(httparse::Status::Partial) => return Parsed::More,
        Err(error) => return Parsed::Bad(format!("invalid request: {error}")),
    };
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Parsed::More;
    };
    let head = Head { method, target, headers: request.headers };
    let framing = match Framing::of(&head) {
        Ok(framing) => framing,
        Err(why) => return Parsed::Bad(why),
    };
    let connection = head.header("connection").unwrap_or("");
    let says = |word: &str| connection.split(',').any(|item| item.trim().eq_ignore_ascii_case(word));
    let keep_alive = if version == 0 { says("keep-alive") } else { !says("close") };
    let expects_continue = version == 1
        && head.header("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue"));
    let begin = service.begin(&head);
    Parsed::Head(Request { begin, framing, expects_continue, keep_alive, head_only: method == "HEAD" }, size)
}

impl Head<'_> {
    /// All values of a header.
    pub(crate) fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }
}

fn encode(answer: &Answer, close: bool, head_only: bool) -> Vec<u8> {
    use std::fmt::Write;
    let mut text = String::with_capacity(128 + answer.body.len());
    // Writing to a String cannot fail.
    let _ = write!(text, "HTTP/1.1 {} {}\r\nServer: weir\r\n", answer.status, reason(answer.status));
    for (name, value) in &answer.headers {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    for (name, value) in &answer.extra {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    if answer.status != 204 {
        let _ = write!(text, "Content-Length: {}\r\n", answer.body.len());
    }
    text.push_str(if close { "Connection: close\r\n\r\n" } else { "\r\n" });
    if !head_only {
        text.push_str(&answer.body);
    }
    text.into_bytes()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Unknown",
    }
}
