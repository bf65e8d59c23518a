//! HTTP/1.0 and HTTP/1.1 connections: RFC 9112.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use budget::Buf;

use super::framing::{Framing, Piece};
use super::stream::Stream;
use super::watch::{Expired, Tick, Watch};
use super::{
    Answer, Begin, Body, End, HEAD_BYTES, Head, Receive, SLOW, SMALL_BODY, Server, Service, Slot,
    UNAVAILABLE, http2,
};

/// The most headers of a request.
const HEADERS: usize = 64;
/// How much of a refused body is read before the connection closes, so that the client sees the answer.
const LINGER_BYTES: usize = 16 << 20;
/// How long that may take in all.
const LINGER_LONGEST: Duration = Duration::from_secs(10);
/// The least room that is worth a read.
const READ_AT_LEAST: usize = 2_048;
/// A rest of a refused body up to this size is thrown away and the connection kept.
pub(super) const PASSED_OVER: usize = 65_536;
/// Answers to pipelined requests go out together up to this size.
pub(super) const ANSWERS_BYTES: usize = 2_048;
/// How long a request waits for a page before it is answered 503.
pub(super) const PAGE_WAIT: Duration = Duration::from_secs(5);
/// How long a client of which the rest is thrown away may be silent.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// How long a client may leave an answer unread.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What an HTTP/2 client sends first: RFC 9113 section 3.4.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection to its end.
pub(super) async fn run<S: Service>(server: Rc<Server<S>>, stream: Stream, watch: Watch, slot: Slot) {
    let input = Buf::new(&server.accounts.receive);
    let (receive, fresh) = (Rc::clone(&server.receive), server.settings.http2);
    let mut connection = Connection { stream, input, receive, watch, _slot: slot, fresh, small: false };
    if matches!(connection.stream, Stream::Tls(_)) {
        // Boxed, as everything below, so that a connection that waits for a request is small.
        match Box::pin(connection.handshake(server.settings.accept)).await {
            Ok(true) => return Box::pin(http2::run(server, connection)).await,
            Ok(false) => {}
            Err(_) => return,
        }
    }
    let mut deadline = connection.watch.after(server.settings.idle);
    while connection.idle(deadline).await.is_ok() {
        match Box::pin(connection.requests(&server)).await {
            // Bytes that amount to nothing, as a part of a TLS record, give no more time.
            Ok(Next::Nothing) => {}
            Ok(Next::Idle) => deadline = connection.watch.after(server.settings.idle),
            Ok(Next::Http2) => return Box::pin(http2::run(server, connection)).await,
            Err(End::Full) => {
                connection.consume(connection.input.len());
                let Connection { stream, watch, .. } = &mut connection;
                return Box::pin(turn_away(stream, watch)).await;
            }
            Err(End::Gone | End::Close) => return,
        }
    }
    // The end of a TLS session is said, so that the client knows that nothing was cut off.
    poll_fn(|context| {
        connection.stream.shutdown_write(context);
        Poll::Ready(())
    })
    .await;
}

/// What a connection does when its requests are answered.
enum Next {
    /// It waits for the next one.
    Idle,
    /// It goes on waiting: nothing had arrived.
    Nothing,
    /// It speaks HTTP/2.
    Http2,
}

/// An open connection. `input` holds bytes that were received and not consumed: none while it is idle.
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) input: Buf,
    pub(super) watch: Watch,
    pub(super) _slot: Slot,
    receive: Rc<Receive>,
    /// Nothing has arrived that rules HTTP/2 out.
    fresh: bool,
    /// The last request was small.
    pub(super) small: bool,
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
    /// Shakes hands. True when HTTP/2 was agreed on.
    async fn handshake(&mut self, limit: Duration) -> Result<bool, End> {
        self.watch.arm(self.watch.after(limit), true);
        let stream = &mut self.stream;
        self.watch.within(poll_fn(|context| stream.poll_handshake(context))).await??;
        Ok(stream.speaks_http2())
    }

    /// Waits for the first byte of a request.
    async fn idle(&mut self, deadline: Tick) -> Result<(), End> {
        self.watch.arm(deadline, true);
        let stream = &mut self.stream;
        self.watch.within(poll_fn(|context| stream.poll_ready(context))).await??;
        Ok(())
    }

    /// Serves what has arrived, to the end of a request behind which nothing has.
    async fn requests<S: Service>(&mut self, server: &Server<S>) -> Result<Next, End> {
        let mut answers = Vec::new();
        self.watch.arm(self.watch.after(server.settings.idle), true);
        if !self.fill_now().await? {
            return Ok(Next::Nothing);
        }
        while !self.input.is_empty() {
            if self.fresh {
                match preface(self.input.front()) {
                    Preface::Whole => return Ok(Next::Http2),
                    Preface::Begun => {
                        self.fill().await?;
                        continue;
                    }
                    Preface::Other => self.fresh = false,
                }
            }
            self.request(server, &mut answers).await?;
            if self.watch.stopping() && self.input.is_empty() {
                self.send(&mut answers).await?;
                return Err(End::Close);
            }
        }
        self.send(&mut answers).await?;
        Ok(Next::Idle)
    }

    /// Waits for bytes and reads them into a page.
    async fn fill(&mut self) -> Result<(), End> {
        loop {
            let stream = &mut self.stream;
            self.watch.within(poll_fn(|context| stream.poll_ready(context))).await??;
            if self.fill_now().await? {
                return Ok(());
            }
        }
    }

    /// Reads what is there into a page; false when there was nothing.
    pub(super) async fn fill_now(&mut self) -> Result<bool, End> {
        self.make_room().await?;
        let Connection { stream, input, .. } = self;
        let read = poll_fn(|context| {
            // Readable is only a hint, and no page is kept while waiting for more.
            Poll::Ready(match stream.poll_read(context, input.spare()) {
                Poll::Ready(read) => read.map(Some),
                Poll::Pending => Ok(None),
            })
        });
        match read.await? {
            Some(0) => Err(End::Gone),
            Some(read) => {
                self.input.advance(read);
                Ok(true)
            }
            None => {
                self.release();
                Ok(false)
            }
        }
    }

    /// Makes room to receive into. What was received and not consumed stays in one page, so that heads and the
    /// lines of chunks always stand in one piece: when the page is nearly full its rest moves to a new one.
    async fn make_room(&mut self) -> Result<(), End> {
        if self.input.room() >= READ_AT_LEAST {
            return Ok(());
        }
        let receive = &*self.receive;
        let small = receive.small.as_ref().filter(|_| self.small && self.input.is_empty());
        let at_once = small.and_then(|small| Some((small, small.try_lease(small.page_size()).ok()?)));
        let (account, page) = match at_once {
            Some(paid) => paid,
            None => {
                let page = receive.all.lease(receive.all.page_size());
                let deadline = self.watch.after(PAGE_WAIT);
                match self.watch.unless(deadline, || self.stream.is_closed(), page).await {
                    Ok(Ok(page)) => (&receive.all, page),
                    Err(Expired) if deadline > self.watch.now() => return Err(End::Gone),
                    Ok(Err(_)) | Err(Expired) => return Err(End::Full),
                }
            }
        };
        let mut fresh = Buf::new(account);
        fresh.grow_with(page);
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

    pub(super) fn consume(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.release();
    }

    /// Serves one request, of which the first bytes are there. An error ends the connection.
    async fn request<S: Service>(&mut self, server: &Server<S>, answers: &mut Vec<u8>) -> Result<(), End> {
        let settings = &server.settings;
        // Of a head that is not complete nothing was taken: a stop does not wait for the rest.
        let deadline = self.watch.after(settings.head);
        self.watch.arm(deadline, true);
        let request = loop {
            match parse(self.input.front(), &server.service) {
                Parsed::Head(request, size) => {
                    self.consume(size);
                    break request;
                }
                Parsed::More if self.input.len() < HEAD_BYTES - READ_AT_LEAST => {
                    if !answers.is_empty() {
                        self.send(answers).await?;
                        self.watch.arm(deadline, true);
                    }
                    self.fill().await?;
                }
                Parsed::More => {
                    let answer = Answer::text(431, "error: the request's head is too long");
                    return self.refuse(&answer, false, answers).await;
                }
                Parsed::Bad(why) => {
                    return self.refuse(&Answer::text(400, format!("error: {why}")), false, answers).await;
                }
            }
        };
        let Request { begin, mut framing, expects_continue, keep_alive, head_only } = request;
        if matches!(begin, Begin::Later(_)) {
            // The answers before this one do not wait for it.
            self.send(answers).await?;
            self.watch.arm(self.watch.after(settings.head), false);
        }
        let answer = match self.watch.within(begin.now()).await? {
            Begin::Answer(answer) => answer,
            Begin::Body(_, limit) if framing.rest() > limit => Answer::too_large(limit),
            Begin::Body(body, limit) => {
                if expects_continue && self.input.is_empty() {
                    answers.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                    self.send(answers).await?;
                }
                self.body(server, body, &mut framing, limit, answers).await?
            }
            Begin::Later(_) => return Err(End::Close), // `now` has waited for it
        };
        // A small rest of a refused body is passed over, so that the connection can go on.
        if !framing.is_over() {
            let short = framing.rest() <= PASSED_OVER && !expects_continue;
            if !short || !self.pass_over(&mut framing, answers).await.unwrap_or(false) {
                return self.refuse(&answer, head_only, answers).await;
            }
        }
        let close = answer.close || !keep_alive || !settings.keep_alive || self.watch.stopping();
        answer.write(close, head_only, answers);
        if close || answers.len() >= ANSWERS_BYTES {
            self.send(answers).await?;
        }
        if close { Err(End::Close) } else { Ok(()) }
    }

    /// Throws the rest of a body away. False when it is no body, or a long one.
    async fn pass_over(&mut self, framing: &mut Framing, answers: &mut Vec<u8>) -> Result<bool, End> {
        let deadline = self.watch.after(LINGER);
        let mut seen = 0;
        while seen <= PASSED_OVER {
            match framing.next(self.input.front()) {
                Ok(Piece::Data { skip, size }) => {
                    seen += size;
                    self.consume(skip + size);
                }
                Ok(Piece::More { skip }) => {
                    self.consume(skip);
                    self.send(answers).await?;
                    self.watch.arm(deadline, false);
                    self.fill().await?;
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
    async fn body<S: Service>(
        &mut self,
        server: &Server<S>,
        mut body: S::Body,
        framing: &mut Framing,
        limit: usize,
        answers: &mut Vec<u8>,
    ) -> Result<Answer, End> {
        let settings = &server.settings;
        let deadline = self.watch.after(settings.body);
        let mut pace = Pace::new(self.watch.now(), settings.rate);
        // The service has its own limits of time; this one is about the client.
        self.watch.arm(Tick::NEVER, false);
        let mut received = 0_usize;
        loop {
            let front = self.input.front();
            match framing.next(front) {
                Ok(Piece::Data { skip, size }) => {
                    received += size;
                    let taken = if received > limit {
                        Err(Answer::too_large(limit))
                    } else {
                        let before = self.watch.now();
                        let taking = body.data(&front[skip..skip + size]);
                        let taken = self.watch.unless(Tick::NEVER, || self.stream.is_closed(), taking).await;
                        let taken = taken.map_err(|Expired| End::Gone)?;
                        // What this end takes to find room is not the client's.
                        pace.delay(before, self.watch.now());
                        taken
                    };
                    self.consume(skip + size);
                    if let Err(refusal) = taken {
                        return Ok(refusal);
                    }
                }
                Ok(Piece::More { skip }) => {
                    self.consume(skip);
                    self.send(answers).await?;
                    let late = pace.late(received);
                    self.watch.arm(deadline.min(self.watch.after(settings.idle)).min(late), false);
                    match self.fill().await {
                        Err(End::Close) if late <= self.watch.now() => return Ok(Answer::too_slow()),
                        filled => filled?,
                    }
                    self.watch.arm(Tick::NEVER, false);
                }
                Ok(Piece::End { skip }) => {
                    self.consume(skip);
                    self.small = received <= SMALL_BODY;
                    let ending = self.watch.unless(Tick::NEVER, || self.stream.is_broken(), body.end());
                    return ending.await.map_err(|Expired| End::Gone);
                }
                Err(why) => return Ok(Answer::text(400, format!("error: {why}"))),
            }
        }
    }

    /// Answers, and ends the connection in a way that lets the client read the answer: a socket closed with
    /// unread bytes would be reset.
    async fn refuse(&mut self, answer: &Answer, head_only: bool, answers: &mut Vec<u8>) -> Result<(), End> {
        answer.write(true, head_only, answers);
        self.send(answers).await?;
        self.linger(LINGER_BYTES).await;
        Err(End::Close)
    }

    /// Says that nothing more comes and reads away what the client still sends, up to so many bytes, so that
    /// it sees what was said last.
    pub(super) async fn linger(&mut self, bytes: usize) {
        self.consume(self.input.len());
        linger(&mut self.stream, &self.watch, bytes).await;
    }

    /// Writes out what is to be answered, and empties it.
    pub(super) async fn send(&mut self, answers: &mut Vec<u8>) -> Result<(), End> {
        if answers.is_empty() {
            return Ok(());
        }
        self.watch.arm(self.watch.after(ANSWER_TIME), false);
        let mut rest = answers.as_slice();
        let stream = &mut self.stream;
        while !rest.is_empty() {
            let written = self.watch.within(poll_fn(|context| stream.poll_write(context, rest))).await??;
            rest = &rest[written..];
        }
        self.watch.within(poll_fn(|context| stream.poll_flush(context))).await??;
        answers.clear();
        Ok(())
    }
}

/// Refuses a client that there is no room for, in a way that lets it read the answer.
pub(super) async fn turn_away(stream: &mut Stream, watch: &Watch) {
    watch.arm(watch.after(LINGER), false);
    let mut rest = UNAVAILABLE;
    while !rest.is_empty() {
        match watch.within(poll_fn(|context| stream.poll_write(context, rest))).await {
            Ok(Ok(written)) if written > 0 => rest = &rest[written..],
            _ => return,
        }
    }
    if let Ok(Ok(())) = watch.within(poll_fn(|context| stream.poll_flush(context))).await {
        linger(stream, watch, LINGER_BYTES).await;
    }
}

/// See [`Connection::linger`]. Holds no page: there may be none.
async fn linger(stream: &mut Stream, watch: &Watch, bytes: usize) {
    poll_fn(|context| {
        stream.shutdown_write(context);
        Poll::Ready(())
    })
    .await;
    let last = watch.after(LINGER_LONGEST);
    let mut seen = 0;
    while seen < bytes {
        watch.arm(last.min(watch.after(LINGER)), false);
        match watch.within(poll_fn(|context| stream.poll_discard(context))).await {
            Ok(Ok(read)) if read > 0 => seen += read,
            _ => return,
        }
    }
}

/// How fast a body must be.
pub(super) struct Pace {
    begun: Tick,
    rate: usize,
}

impl Pace {
    /// So many bytes in a second from `begun` on; 0 for any.
    pub(super) fn new(begun: Tick, rate: usize) -> Pace {
        Pace { begun, rate }
    }

    /// Time passed that does not count.
    pub(super) fn delay(&mut self, from: Tick, to: Tick) {
        self.begun = self.begun.delayed(from, to);
    }

    /// When a body of which so much has come is too slow.
    pub(super) fn late(&self, received: usize) -> Tick {
        match received.checked_div(self.rate) {
            Some(seconds) => self.begun.plus(SLOW + Duration::from_secs(seconds as u64)),
            None => Tick::NEVER,
        }
    }
}

/// Whether bytes are what an HTTP/2 client begins with.
enum Preface {
    Whole,
    Begun,
    Other,
}

fn preface(bytes: &[u8]) -> Preface {
    if bytes.starts_with(PREFACE) {
        Preface::Whole
    } else if PREFACE.starts_with(bytes) {
        Preface::Begun
    } else {
        Preface::Other
    }
}

enum Parsed<B> {
    /// A request whose head has so many bytes.
    Head(Request<B>, usize),
    More,
    Bad(String),
}

impl Head<'_> {
    /// All values of a header.
    fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        self.headers.iter().filter(move |line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value)
    }
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
    // Some readers end a line there and others do not, which is how requests are smuggled; Fluent Bit closes.
    if memchr::memchr_iter(b'\n', &bytes[..size]).any(|at| at == 0 || bytes[at - 1] != b'\r') {
        return Parsed::Bad("a line of the head ends without a carriage return".to_owned());
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Parsed::More;
    };
    let head = Head { method, target, headers: request.headers };
    let framing = match Framing::of(request.headers) {
        Ok(framing) => framing,
        Err(why) => return Parsed::Bad(why),
    };
    if version == 0 && matches!(framing, Framing::Chunked(_)) {
        return Parsed::Bad("HTTP/1.0 has no chunks".to_owned());
    }
    let says = |word: &str| {
        let mut lines = head.all("connection").flat_map(|line| line.split(|byte| *byte == b','));
        lines.any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
    };
    let keep_alive = if version == 0 { says("keep-alive") } else { !says("close") };
    let expects_continue = version == 1
        && head.header("expect").is_some_and(|expect| expect.eq_ignore_ascii_case("100-continue"));
    let begin = service.begin(&head);
    Parsed::Head(Request { begin, framing, expects_continue, keep_alive, head_only: method == "HEAD" }, size)
}
