//! HTTP/2 connections: RFC 9113.
//!
//! One task per connection reads frames from the page that bytes are received into, in the order in which they
//! come. The bytes of a body go to the service from there: nothing of it is stored here, and what is not taken
//! yet stays in the socket. So a client cannot make this end hold more than a page, a head, and what the
//! service makes of [`STREAMS`] bodies. Requests whose bodies are complete end side by side.
//!
//! A connection at rest costs its task and the table of header compression, which [`IDLE_BYTES`] pays for.

mod bodies;
mod frame;
mod hpack;
mod huffman;
mod request;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use budget::Lease;

use self::frame::{FRAME_BYTES, Frame, HEADER, Reason};
use self::hpack::Decoder;
use self::request::Heard;
use super::http1::{ANSWERS_BYTES, PAGE_WAIT, PASSED_OVER, PREFACE, Pace};
use super::watch::Tick;
use super::{Answer, Begin, End, STREAMS, Server, Service, http1};

/// The longest head of a request, compressed and not.
const HEAD_BYTES: usize = 8_192;
/// Bytes that a client may send before it is told that they were taken, per stream and in all. More than the
/// socket holds, so that it is the socket that holds a sender back.
const WINDOW: usize = 256 << 10;
/// What the protocol lets a client send on a connection before it is told anything.
const FIRST_WINDOW: usize = 65_535;
/// The largest window there may be.
const LARGEST_WINDOW: i64 = (1 << 31) - 1;
/// The longest frame of settings that is read.
const SETTINGS_BYTES: usize = 1_024;
/// What a connection holds at rest beside what every connection does: its state and the table of header
/// compression. Measured: 12 KiB in all, behind a body of 471 KB.
const IDLE_BYTES: usize = 11 << 10;
/// What a request holds beside pages: its state, and that of its end.
const STREAM_BYTES: usize = 4 << 10;

/// Serves a connection to its end. What was received before it turned out to be HTTP/2 is read first.
pub(super) async fn run<S: Service>(server: Rc<Server<S>>, connection: http1::Connection) {
    let connections = &server.accounts.connections;
    let admitted = connections.admits(IDLE_BYTES).then(|| connections.try_lease(IDLE_BYTES).ok()).flatten();
    let mut session = Session::new(&server, connection);
    let over = match admitted {
        Some(_) => match session.serve().await {
            Ok(never) => match never {},
            Err(over) => over,
        },
        // The client sees that nothing of it was taken and that it may come again later.
        None => Over::Say(Reason::Calm),
    };
    session.part(over).await;
}

/// How a connection ends.
enum Over {
    /// Without a word: nobody would hear it.
    Gone,
    /// With a GOAWAY.
    Say(Reason),
}

impl From<End> for Over {
    fn from(end: End) -> Over {
        match end {
            End::Gone => Over::Gone,
            End::Close => Over::Say(Reason::No),
            End::Full => Over::Say(Reason::Calm),
        }
    }
}

impl From<super::watch::Expired> for Over {
    fn from(_: super::watch::Expired) -> Over {
        Over::Say(Reason::No)
    }
}

impl From<hpack::Broken> for Over {
    fn from(_: hpack::Broken) -> Over {
        Over::Say(Reason::Compression)
    }
}

const PROTOCOL: Over = Over::Say(Reason::Protocol);

/// A connection.
struct Session<'s, S: Service> {
    server: &'s Server<S>,
    io: http1::Connection,
    reading: Reading,
    /// A head that goes on in the next frame.
    block: Option<Block>,
    decoder: Decoder,
    requests: Vec<Request<S::Body>>,
    answering: Answering,
    /// Frames that wait to be sent.
    out: Vec<u8>,
    /// The last stream that the client began.
    last: u32,
    /// What the client may still send, and what it was not told of yet.
    window: Window,
    peer: Peer,
    /// When a connection without requests ends.
    idle: Tick,
    /// It was said that no more requests are taken.
    leaving: bool,
}

/// What comes next.
#[derive(Debug, Clone, Copy)]
enum Reading {
    Preface,
    /// SETTINGS, and nothing else.
    First,
    Frame,
    /// The rest of a DATA frame.
    Data {
        stream: u32,
        left: usize,
        padding: usize,
        last: bool,
    },
    /// Bytes that nobody reads.
    Skip(usize),
}

/// The first part of a head.
struct Block {
    stream: u32,
    last: bool,
    text: Vec<u8>,
    deadline: Tick,
    _lease: Lease,
}

/// What the other end asked for.
struct Peer {
    /// What it takes on a new stream, and on all.
    stream: i64,
    window: i64,
}

/// Flow control of what is received.
#[derive(Debug)]
struct Window {
    open: usize,
    taken: usize,
}

impl Window {
    /// Counts bytes that have come; false when there were too many.
    fn receive(&mut self, bytes: usize) -> bool {
        let left = self.open.checked_sub(bytes);
        self.open = left.unwrap_or(0);
        left.is_some()
    }

    /// Counts bytes that are done with, and tells the client when it is worth a frame.
    fn release(&mut self, stream: u32, bytes: usize, out: &mut Vec<u8>) {
        self.taken += bytes;
        if self.taken >= WINDOW / 2 {
            frame::window_update(stream, self.taken, out);
            self.open += self.taken;
            self.taken = 0;
        }
    }
}

/// A request.
struct Request<B> {
    id: u32,
    state: State<B>,
    /// Everything of it has come.
    ended: bool,
    head_only: bool,
    received: u64,
    /// The length that its head says.
    length: Option<u64>,
    window: Window,
    /// Bytes of an answer that the client takes.
    credit: i64,
    deadline: Tick,
    silence: Tick,
    _lease: Lease,
}

enum State<B> {
    /// The body goes to the service.
    Body { body: B, limit: usize, pace: Pace },
    /// The answer is known; a short rest of the body is passed over, because clients do not expect an answer
    /// before they have sent it.
    Refused { answer: Answer, seen: usize },
    /// The service ends it.
    Ending,
    /// It is answered, as far as the client takes the answer's body. A rest of the request is passed over for a
    /// while: some clients lose an answer when the stream is reset right behind it.
    Sending { text: Vec<u8>, sent: usize },
}

impl<B> Request<B> {
    /// When it has taken too long.
    fn due(&self) -> Tick {
        match &self.state {
            State::Body { pace, .. } => self.late(pace).min(self.deadline).min(self.silence),
            State::Refused { .. } => self.deadline.min(self.silence),
            State::Ending => Tick::NEVER,
            State::Sending { .. } => self.deadline,
        }
    }

    fn late(&self, pace: &Pace) -> Tick {
        pace.late(usize::try_from(self.received).unwrap_or(usize::MAX))
    }
}

/// The end of a request, by the service.
type Ending = Pin<Box<dyn Future<Output = Answer>>>;

/// Requests that the service ends: at most [`STREAMS`].
#[derive(Default)]
struct Answering {
    pending: Vec<(u32, Ending)>,
    done: Vec<(u32, Answer)>,
}

impl Answering {
    fn poll(&mut self, context: &mut Context<'_>) {
        let mut at = 0;
        while let Some((id, end)) = self.pending.get_mut(at) {
            match end.as_mut().poll(context) {
                Poll::Ready(answer) => {
                    self.done.push((*id, answer));
                    drop(self.pending.swap_remove(at));
                }
                Poll::Pending => at += 1,
            }
        }
    }

    /// Does `work` while requests end: what they hold may be what the work waits for.
    async fn beside<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        poll_fn(|context| {
            self.poll(context);
            work.as_mut().poll(context)
        })
        .await
    }
}

/// Why a wait is over.
enum Wake {
    Readable,
    Answered,
    Expired,
}

impl<'s, S: Service> Session<'s, S> {
    fn new(server: &'s Server<S>, io: http1::Connection) -> Session<'s, S> {
        let mut out = Vec::new();
        let settings = [(3, STREAMS), (4, WINDOW as u32), (6, HEAD_BYTES as u32)];
        frame::settings(&settings, &mut out);
        frame::window_update(0, WINDOW - FIRST_WINDOW, &mut out);
        let idle = io.watch.after(server.settings.head);
        Session {
            server,
            io,
            reading: Reading::Preface,
            block: None,
            decoder: Decoder::default(),
            requests: Vec::new(),
            answering: Answering::default(),
            out,
            last: 0,
            window: Window { open: WINDOW, taken: 0 },
            peer: Peer { stream: FIRST_WINDOW as i64, window: FIRST_WINDOW as i64 },
            idle,
            leaving: false,
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, Over> {
        loop {
            while self.step().await? {
                self.answer_done();
                if self.out.len() >= ANSWERS_BYTES {
                    self.send().await?;
                }
            }
            self.answer_done();
            self.send().await?;
            if self.leaving && self.requests.is_empty() {
                return Err(Over::Gone); // the word was said
            }
            match self.wait().await? {
                Wake::Readable => drop(self.answering.beside(self.io.fill_now()).await?),
                Wake::Answered => {}
                Wake::Expired => self.expire()?,
            }
        }
    }

    /// Waits for bytes, for the end of a request, or for a deadline.
    async fn wait(&mut self) -> Result<Wake, Over> {
        if self.requests.is_empty() {
            self.out = Vec::new();
        }
        let requests = self.requests.iter().map(Request::due).min().unwrap_or(self.idle);
        let due = self.block.as_ref().map_or(requests, |block| block.deadline.min(requests));
        self.io.watch.arm(due, !self.leaving);
        let (io, answering) = (&mut self.io, &mut self.answering);
        poll_fn(|context| {
            answering.poll(context);
            if !answering.done.is_empty() {
                return Poll::Ready(Ok(Wake::Answered));
            }
            if let Poll::Ready(ready) = io.stream.poll_ready(context) {
                return Poll::Ready(ready.map(|()| Wake::Readable).map_err(|_| Over::Gone));
            }
            io.watch.poll_expired(context).map(|()| Ok(Wake::Expired))
        })
        .await
    }

    /// Acts on deadlines, and on the stop of the server.
    fn expire(&mut self) -> Result<(), Over> {
        if self.io.watch.stopping() && !self.leaving {
            self.leaving = true;
            frame::goaway(self.last, Reason::No, &mut self.out);
            return Ok(());
        }
        let now = self.io.watch.now();
        if self.requests.is_empty() || self.block.as_ref().is_some_and(|block| block.deadline <= now) {
            return Err(Over::Say(Reason::No));
        }
        while let Some(at) = self.requests.iter().position(|request| request.due() <= now) {
            let request = &self.requests[at];
            match &request.state {
                State::Body { pace, .. } if request.late(pace) <= now => self.answer(at, Answer::too_slow()),
                // The rest of the request is not wanted: section 8.1.
                State::Sending { text, sent } if *sent == text.len() => self.reset(request.id, Reason::No),
                _ => self.reset(request.id, Reason::Cancel),
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Over> {
        Ok(self.answering.beside(self.io.send(&mut self.out)).await?)
    }

    /// Says why the connection ends, in a way that lets the client read it.
    async fn part(mut self, over: Over) {
        let Over::Say(reason) = over else { return };
        self.requests.clear();
        if !self.leaving {
            frame::goaway(self.last, reason, &mut self.out);
        }
        if self.io.send(&mut self.out).await.is_ok() {
            self.io.linger(PASSED_OVER).await;
        }
    }

    /// Reads what comes next; false when more bytes are needed.
    async fn step(&mut self) -> Result<bool, Over> {
        match self.reading {
            Reading::Preface => {
                let front = self.io.input.front();
                if !front.starts_with(PREFACE) {
                    return if PREFACE.starts_with(front) { Ok(false) } else { Err(PROTOCOL) };
                }
                self.io.consume(PREFACE.len());
                self.reading = Reading::First;
                Ok(true)
            }
            Reading::Skip(left) => {
                let here = left.min(self.io.input.front().len());
                self.io.consume(here);
                self.reading = if here == left { Reading::Frame } else { Reading::Skip(left - here) };
                Ok(here == left)
            }
            Reading::Data { stream, left, padding, last } => self.data(stream, left, padding, last).await,
            Reading::First | Reading::Frame => self.frame().await,
        }
    }

    async fn frame(&mut self) -> Result<bool, Over> {
        let front = self.io.input.front();
        let Some((header, rest)) = front.split_first_chunk::<HEADER>() else { return Ok(false) };
        let frame = Frame::of(header);
        if frame.length > FRAME_BYTES {
            return Err(Over::Say(Reason::FrameSize));
        }
        if matches!(self.reading, Reading::First) && (frame.kind != frame::SETTINGS || frame.has(frame::ACK))
        {
            return Err(PROTOCOL);
        }
        let goes_on = self.block.as_ref().map(|block| block.stream);
        if goes_on.is_some_and(|stream| frame.kind != frame::CONTINUATION || frame.stream != stream) {
            return Err(PROTOCOL);
        }
        let whole = match frame.kind {
            frame::DATA => return self.begin_data(frame),
            frame::HEADERS | frame::CONTINUATION => HEAD_BYTES,
            frame::SETTINGS => SETTINGS_BYTES,
            frame::PRIORITY | frame::RST_STREAM | frame::PING | frame::WINDOW_UPDATE => 8,
            frame::PUSH_PROMISE => return Err(PROTOCOL),
            // GOAWAY: no more requests come, which needs nothing done. Others are unknown and are ignored.
            _ => {
                self.io.consume(HEADER);
                self.reading = Reading::Skip(frame.length);
                return Ok(true);
            }
        };
        if frame.length > whole {
            let is_long = matches!(frame.kind, frame::HEADERS | frame::CONTINUATION | frame::SETTINGS);
            return Err(Over::Say(if is_long { Reason::Calm } else { Reason::FrameSize }));
        }
        if rest.len() < frame.length {
            return Ok(false);
        }
        if matches!(self.reading, Reading::First) {
            self.idle = self.io.watch.after(self.server.settings.idle);
        }
        self.reading = Reading::Frame;
        match frame.kind {
            frame::HEADERS => self.headers(frame).await?,
            frame::CONTINUATION => self.continuation(frame).await?,
            _ => {
                self.control(frame)?;
                self.io.consume(HEADER + frame.length);
            }
        }
        Ok(true)
    }

    /// Frames of a fixed form.
    fn control(&mut self, frame: Frame) -> Result<(), Over> {
        let payload = &self.io.input.front()[HEADER..HEADER + frame.length];
        let number = payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        match (frame.kind, frame.length, number) {
            (frame::SETTINGS, ..) => return self.settings(frame),
            (frame::PING, 8, _) if frame.stream != 0 => return Err(PROTOCOL),
            (frame::PING, 8, _) if frame.has(frame::ACK) => {}
            (frame::PING, 8, _) => frame::pong(payload, &mut self.out),
            (frame::PRIORITY, 5, _) if frame.stream != 0 => {}
            (frame::RST_STREAM, 4, _) if frame.stream == 0 || frame.stream > self.last => {
                return Err(PROTOCOL);
            }
            (frame::RST_STREAM, 4, _) => self.forget(frame.stream),
            (frame::WINDOW_UPDATE, 4, Some(bytes)) => return self.credit(frame.stream, bytes),
            (frame::PRIORITY | frame::PING, 5 | 8, _) => return Err(PROTOCOL),
            _ => return Err(Over::Say(Reason::FrameSize)),
        }
        Ok(())
    }

    fn settings(&mut self, frame: Frame) -> Result<(), Over> {
        if frame.stream != 0 {
            return Err(PROTOCOL);
        }
        if !frame.length.is_multiple_of(6) || (frame.has(frame::ACK) && frame.length != 0) {
            return Err(Over::Say(Reason::FrameSize));
        }
        if frame.has(frame::ACK) {
            return Ok(());
        }
        let payload = &self.io.input.front()[HEADER..HEADER + frame.length];
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                2 if value > 1 => return Err(PROTOCOL),
                4 if i64::from(value) > LARGEST_WINDOW => return Err(Over::Say(Reason::FlowControl)),
                4 => {
                    let more = i64::from(value) - self.peer.stream;
                    self.peer.stream = i64::from(value);
                    self.requests.iter_mut().for_each(|request| request.credit += more);
                }
                5 if !(FRAME_BYTES as u32..1 << 24).contains(&value) => return Err(PROTOCOL),
                _ => {}
            }
        }
        frame::settings_ack(&mut self.out);
        self.send_bodies();
        Ok(())
    }

    /// The client takes more of an answer.
    fn credit(&mut self, stream: u32, bytes: u32) -> Result<(), Over> {
        let bytes = i64::from(bytes & (u32::MAX >> 1));
        if stream == 0 {
            self.peer.window += bytes;
            if bytes == 0 {
                return Err(PROTOCOL);
            }
            if self.peer.window > LARGEST_WINDOW {
                return Err(Over::Say(Reason::FlowControl));
            }
        } else if stream > self.last {
            return Err(PROTOCOL);
        } else if let Some(at) = self.find(stream) {
            let request = &mut self.requests[at];
            request.credit += bytes;
            if bytes == 0 {
                self.reset(stream, Reason::Protocol);
            } else if request.credit > LARGEST_WINDOW {
                self.reset(stream, Reason::FlowControl);
            }
        }
        self.send_bodies();
        Ok(())
    }

    fn find(&self, stream: u32) -> Option<usize> {
        self.requests.iter().position(|request| request.id == stream)
    }

    /// Ends a request that is not answered, and says so.
    fn reset(&mut self, stream: u32, reason: Reason) {
        frame::reset(stream, reason, &mut self.out);
        self.forget(stream);
    }

    fn forget(&mut self, stream: u32) {
        self.answering.pending.retain(|(id, _)| *id != stream);
        if let Some(at) = self.find(stream) {
            self.remove(at);
        }
    }

    fn remove(&mut self, at: usize) {
        self.requests.swap_remove(at);
        if self.requests.is_empty() {
            self.idle = self.io.watch.after(self.server.settings.idle);
        }
    }
}

/// Heads.
impl<S: Service> Session<'_, S> {
    async fn headers(&mut self, frame: Frame) -> Result<(), Over> {
        let (stream, last) = (frame.stream, frame.has(frame::END_STREAM));
        if stream % 2 == 0 {
            return Err(PROTOCOL);
        }
        let payload = &self.io.input.front()[HEADER..HEADER + frame.length];
        let text = frame.text(payload).ok_or(PROTOCOL)?;
        if !frame.has(frame::END_HEADERS) {
            let Ok(lease) = self.server.accounts.active.try_lease(HEAD_BYTES) else {
                return Err(Over::Say(Reason::Calm));
            };
            let deadline = self.io.watch.after(self.server.settings.head);
            self.block = Some(Block { stream, last, text: text.to_vec(), deadline, _lease: lease });
            self.io.consume(HEADER + frame.length);
            return Ok(());
        }
        let heard = if stream > self.last {
            Some(request::hear(&mut self.decoder, &self.server.service, text)?)
        } else {
            request::pass_over(&mut self.decoder, text)?;
            None
        };
        self.io.consume(HEADER + frame.length);
        self.head(stream, last, heard).await
    }

    async fn continuation(&mut self, frame: Frame) -> Result<(), Over> {
        let Some(mut block) = self.block.take() else { return Err(PROTOCOL) };
        let payload = &self.io.input.front()[HEADER..HEADER + frame.length];
        // Frames with nothing in them could go on for ever.
        if block.text.len() + payload.len() > HEAD_BYTES
            || (payload.is_empty() && !frame.has(frame::END_HEADERS))
        {
            return Err(Over::Say(Reason::Calm));
        }
        block.text.extend_from_slice(payload);
        self.io.consume(HEADER + frame.length);
        if !frame.has(frame::END_HEADERS) {
            self.block = Some(block);
            return Ok(());
        }
        let heard = if block.stream > self.last {
            Some(request::hear(&mut self.decoder, &self.server.service, &block.text)?)
        } else {
            request::pass_over(&mut self.decoder, &block.text)?;
            None
        };
        self.head(block.stream, block.last, heard).await
    }

    /// Acts on a head: a new request, or the fields behind a body.
    async fn head(&mut self, stream: u32, last: bool, heard: Option<Heard<S::Body>>) -> Result<(), Over> {
        let Some(heard) = heard else {
            // Of a stream that is over they may be on their way still.
            match self.find(stream) {
                Some(at) if self.requests[at].ended => self.reset(stream, Reason::StreamClosed),
                Some(_) if !last => self.reset(stream, Reason::Protocol),
                Some(at) => self.end(at),
                None => {}
            }
            return Ok(());
        };
        self.last = stream;
        let Heard::Request { begin, head_only, length } = heard else {
            self.reset(stream, Reason::Protocol);
            return Ok(());
        };
        if self.leaving || self.requests.len() >= STREAMS as usize {
            self.reset(stream, Reason::Refused);
            return Ok(());
        }
        self.begin(stream, begin, head_only, length).await?;
        if last && let Some(at) = self.find(stream) {
            self.end(at);
        }
        Ok(())
    }

    async fn begin(
        &mut self,
        id: u32,
        begin: Begin<S::Body>,
        head_only: bool,
        length: Option<u64>,
    ) -> Result<(), Over> {
        let room = tokio::time::timeout(PAGE_WAIT, self.server.accounts.active.lease(STREAM_BYTES));
        let Ok(Ok(lease)) = self.answering.beside(room).await else {
            let answer = Answer::status(503).header("Retry-After", "1");
            frame::head(id, &answer, true, &mut self.out);
            frame::reset(id, Reason::No, &mut self.out);
            return Ok(());
        };
        let (settings, watch) = (&self.server.settings, &self.io.watch);
        watch.arm(watch.after(settings.head), false);
        let begin = self.answering.beside(watch.within(begin.now())).await?;
        let state = match begin {
            Begin::Answer(answer) => State::Refused { answer, seen: 0 },
            Begin::Body(_, limit) if length.is_some_and(|length| length > limit as u64) => {
                State::Refused { answer: Answer::too_large(limit), seen: 0 }
            }
            Begin::Body(body, limit) => {
                State::Body { body, limit, pace: Pace::new(watch.now(), settings.rate) }
            }
            Begin::Later(_) => return Err(Over::Gone), // `now` has waited for it
        };
        self.requests.push(Request {
            id,
            state,
            ended: false,
            head_only,
            received: 0,
            length,
            window: Window { open: WINDOW, taken: 0 },
            credit: self.peer.stream,
            deadline: watch.after(settings.body),
            silence: watch.after(settings.idle),
            _lease: lease,
        });
        Ok(())
    }
}
