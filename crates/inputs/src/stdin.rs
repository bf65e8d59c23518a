//! `stdin`: takes JSON objects or lines from standard input.
//!
//! ```text
//! [INPUT]
//!     name  stdin
//! ```
//!
//! Without a parser each JSON object is a record; an array `[time, {...}]` or `[[time, {metadata}], {...}]` is a
//! record with that time, as Fluent Bit's outputs write them. What is no JSON is skipped up to the next line
//! end. With a parser each line is a record; one that it does not take is kept as `{"log": line}`. At the end of the input
//! the agent delivers what it has and exits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use budget::Share;
use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::{Cursor, EventTime, Events, Progress, Token, Writer};
use options::{Options, Reader, Size};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::json_stream::{JsonStream, Read};
use crate::parsing::LineParser;
use crate::records::{Records, hand_over, room};

/// The registry's entry.
pub static INPUT: InputDef = InputDef {
    name: "stdin",
    about: "takes JSON or lines from standard input",
    specs: StdinOptions::specs,
    open,
};

/// The key of a record that was an array. No text holds it.
const ARRAY: &str = "\0array";

#[derive(Debug, Options)]
struct StdinOptions {
    /// The parser that takes a line apart. Without one the input is JSON.
    parser: Option<String>,
    /// The longest line or object, in bytes.
    #[option(default = "16000", min = "16000", max = "1G")]
    buffer_size: Size,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Input>> {
    let options = StdinOptions::read(reader)?;
    let parser = LineParser::open(options.parser.as_deref(), reader, setup)?;
    let size = options.buffer_size.0 as usize;
    setup
        .account("read", Share::fixed(size), reader)
        .map(|account| Arc::new(Stdin { size, parser, account }) as Arc<dyn Input>)
}

struct Stdin {
    size: usize,
    parser: LineParser,
    /// For what is read into, set aside.
    account: budget::Account,
}

impl Input for Stdin {
    fn lanes(&self) -> usize {
        1
    }

    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let _lease = self.account.try_lease(self.size).map_err(|full| full.to_string())?;
            let mut buffer = vec![0; self.size];
            let mut source = Source::new();
            let mut stream = JsonStream::new(ARRAY, self.size);
            let mut held = 0;
            loop {
                let read = tokio::select! {
                    read = source.read(&mut buffer[held..]) => read,
                    () = stop.requested() => return Ok(()),
                };
                // What does not fit waits, and the source with it.
                let out = out.waiting();
                match read {
                    Ok(0) => break,
                    Ok(read) if self.parser.is_some() => {
                        held = self.lines(&mut buffer, held + read, &out).await;
                    }
                    Ok(read) => self.json(&mut stream, &buffer[..read], &out).await,
                    Err(error) => return Err(format!("standard input cannot be read: {error}")),
                }
            }
            if held > 0 {
                let mut records = Records::new(&out.waiting());
                self.line(&buffer[..held], &mut records).await;
                records.send().await;
            }
            tracing::warn!("[input:stdin] end of file (stdin closed by remote end)");
            stop.ask_exit(0);
            Ok(())
        })
    }
}

impl Stdin {
    async fn json(&self, stream: &mut JsonStream, mut text: &[u8], out: &Emitter) {
        loop {
            match stream.read(&mut text, out).await {
                Read::All => return,
                Read::Bad(error) => {
                    tracing::warn!("[input:stdin] invalid JSON, the rest of the line is skipped: {error}");
                }
                Read::TooLong => {
                    tracing::warn!("[input:stdin] an object is longer than buffer_size: it is skipped");
                    stream.skip_line();
                }
                Read::Records(events) => {
                    let events = if has_array(&events) { unwrap(events, out).await } else { events };
                    hand_over(events, out).await;
                }
            }
        }
    }

    /// Takes the lines out of the front of the buffer. Returns how much of it is the start of another one.
    async fn lines(&self, buffer: &mut [u8], end: usize, out: &Emitter) -> usize {
        let mut records = Records::new(out);
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..end]) {
            self.line(&buffer[start..start + length], &mut records).await;
            start += length + 1;
        }
        if start == 0 && end == buffer.len() {
            tracing::warn!("[input:stdin] a line is longer than buffer_size: it is cut");
            self.line(&buffer[..end], &mut records).await;
            start = end;
        }
        records.send().await;
        buffer.copy_within(start..end, 0);
        end - start
    }

    async fn line(&self, line: &[u8], records: &mut Records) {
        if !self.parser.add(records, EventTime::now(), line, "log", &[]).await {
            tracing::debug!("[input:stdin] the parser does not take a line: it is kept whole");
        }
        if records.len() > 64 << 10 {
            records.send().await;
        }
    }
}

/// Whether a record was an array.
fn has_array(events: &Events) -> bool {
    let mut cursor = events.cursor();
    std::iter::from_fn(|| {
        if cursor.at_end() {
            return None;
        }
        let start = cursor.clone();
        cursor.skip().ok()?;
        Some(array_of(start).is_some())
    })
    .any(|array| array)
}

/// The array that the record at the cursor was, if it was one.
fn array_of(mut cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    cursor.record_head().ok()?;
    cursor.skip().ok()?;
    if cursor.token().ok()? != Token::Map(1) || cursor.token().ok()? != Token::Str(ARRAY.len()) {
        return None;
    }
    let mut key = [0; ARRAY.len()];
    for byte in &mut key {
        *byte = *cursor.piece(1).ok()?.first()?;
    }
    (key == ARRAY.as_bytes()).then_some(cursor)
}

/// Records of arrays as what these say: `[time, {...}]` or `[[time, {metadata}], {...}]`. Others are dropped.
async fn unwrap(events: Events, out: &Emitter) -> Events {
    let mut writer = Writer::new(out.account());
    let mut cursor = events.cursor();
    while !cursor.at_end() {
        let start = cursor.clone();
        if cursor.skip().is_err() {
            break;
        }
        let (from, end) = match array_of(start.clone()) {
            None => (start, cursor.offset()),
            Some(array) => (array, cursor.offset()),
        };
        let Some(Whole { time, metadata, body }) = Whole::read(from, end) else {
            tracing::error!("[input:stdin] invalid record found, it's not a JSON map or array");
            continue;
        };
        let mut progress = Progress::default();
        let part = |index: usize| [&metadata[..], &body[..]].get(index).copied();
        while writer.record(time, part, &mut progress).is_err() {
            writer.prepay(room(out).await);
        }
    }
    writer.finish()
}

struct Whole {
    time: EventTime,
    metadata: Vec<u8>,
    body: Vec<u8>,
}

impl Whole {
    fn read(mut cursor: Cursor<'_>, end: usize) -> Option<Whole> {
        let (time, with_metadata) = cursor.record_head().ok()?;
        let metadata = if with_metadata { map(&mut cursor)? } else { vec![0x80] };
        let body = map(&mut cursor)?;
        (cursor.offset() == end).then_some(Whole { time, metadata, body })
    }
}

/// The map at the cursor.
fn map(cursor: &mut Cursor<'_>) -> Option<Vec<u8>> {
    let mut start = cursor.clone();
    let Ok(Token::Map(_)) = cursor.clone().token() else { return None };
    cursor.skip().ok()?;
    start.copy(cursor.offset() - start.offset()).ok()
}

/// Standard input: waited for where the system can, read at once where it is a file.
struct Source(Option<AsyncFd<io::Stdin>>);

impl Source {
    fn new() -> Source {
        // SAFETY: nothing closes standard input while the agent runs.
        Source(unsafe { AsyncFd::register_with_interest(io::stdin(), Interest::READABLE) }.ok())
    }

    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(stdin) = &self.0 else {
            // A file: it always has something, and others want to run as well.
            tokio::task::yield_now().await;
            return read(into);
        };
        loop {
            let mut guard = stdin.readable().await?;
            if readable() {
                return read(into);
            }
            guard.clear_ready();
            tokio::time::sleep(Duration::ZERO).await;
        }
    }
}

/// Whether a read would not wait.
fn readable() -> bool {
    let mut poll = libc::pollfd { fd: 0, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry, as said.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

fn read(into: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is as long as said.
    let read = unsafe { libc::read(0, into.as_mut_ptr().cast(), into.len()) };
    usize::try_from(read).map_err(|_| io::Error::last_os_error())
}
