//! `http`: takes records over HTTP.
//!
//! ```text
//! [INPUT]
//!     name  http
//!     port  9880
//! ```
//!
//! A POST with `Content-Type: application/json` (or `application/x-ndjson`, `application/jsonl`) carries one
//! object, several (concatenated, separated by commas or newlines) or one array of objects; each object is a
//! record. The path is the tag: the text behind the first `/`, with every character other than ASCII letters,
//! digits, `_` and `.` replaced by `_`; `/` alone stands for the input's own tag.
//!
//! A body is taken whole or refused whole, with one answer:
//!
//! | answer | when |
//! |---|---|
//! | 201, 200 or 204 (`successful_response_code`) | every record is in the pipeline |
//! | 400 | wrong method, no or another content type, no body, or a body that is not what it says: the line names the byte |
//! | 413 | longer than `buffer_max_size` |
//! | 415 | a content encoding that is not known |
//! | 503 with Retry-After | no memory left for the records for ten seconds |
//!
//! The body is parsed as it arrives, so a request costs its events and one page, whatever its size.

use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use budget::{Account, Share};
use engine::emit::PATIENCE;
use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::{EventTime, Tag};
use formats::json::{Step, Transcoder};
use net::http1::{Answer, Begin, Body, Head, Limits, Server, Service};
use options::{Options, Period, Reader, Size, Words};
use tokio::time::Instant;

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "http", about: "takes records over HTTP", specs: HttpOptions::specs, open };

/// Characters of a tag made from a path.
const TAG_BYTES: usize = engine::limits::TAG_BYTES;
/// Pages a lane can always receive into.
const RECEIVING_PAGES: usize = 4;
/// The time a whole head and a whole body may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(60);

#[derive(Debug, Options)]
#[options(check = HttpOptions::check)]
struct HttpOptions {
    /// Address to listen on.
    #[option(default = "0.0.0.0", alias = "host")]
    listen: String,
    /// Port to listen on.
    #[option(default = "9880")]
    port: u16,
    /// The largest body that is taken, in bytes.
    #[option(
        name = "http_server.buffer_max_size",
        alias = "buffer_max_size",
        default = "4M",
        min = "1",
        max = "1G"
    )]
    buffer_max_size: Size,
    /// Connections at a time; 0 for as many as the memory limit pays for.
    #[option(name = "http_server.max_connections", alias = "max_connections", default = "0")]
    max_connections: usize,
    /// How long a connection may be silent.
    #[option(name = "http_server.idle_timeout", alias = "idle_timeout", default = "10s", min = "1")]
    idle_timeout: Period,
    /// Threads that take requests.
    #[option(name = "http_server.workers", alias = "workers", default = "1", min = "1", max = "64")]
    workers: usize,
    /// The status of a request that was taken: 200, 201 or 204.
    #[option(default = "201")]
    successful_response_code: u16,
    /// A header to add to answers of success: its name, then its value.
    success_header: Vec<Words<2>>,
    /// Answer GET /health.
    #[option(default = "off")]
    enable_health_endpoint: bool,
}

impl HttpOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        let code = self.successful_response_code;
        if ![200, 201, 204].contains(&code) {
            let what = format!("option \"successful_response_code\": {code} is not 200, 201 or 204");
            reader.refuse("successful_response_code", what, None);
        }
    }
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Input>> {
    let options = HttpOptions::read(reader);
    // However full the budget is, requests can be received, if only to be refused.
    let workers = options.as_ref().map_or(1, |options| options.workers);
    let share = Share { guaranteed: workers * RECEIVING_PAGES * setup.budget.page_size(), max: usize::MAX };
    let connections = setup.account("connections", share, reader);
    let options = options?;
    let stat = setup.budget.stat();
    let room = (stat.limit - stat.guaranteed) as u64 / 2;
    if options.buffer_max_size.0 > room {
        let what = format!(
            "option \"buffer_max_size\": a body of {} bytes and its records do not fit the memory limit",
            options.buffer_max_size.0
        );
        let hint = format!("set it to {room} or less, or raise memory_limit in the service section");
        reader.refuse("http_server.buffer_max_size", what, Some(hint));
    }
    Some(Arc::new(Http { options, connections: connections?, listener: Mutex::new(None) }))
}

struct Http {
    options: HttpOptions,
    /// Pays for connections and for the pages that bytes are received into.
    connections: Account,
    listener: Mutex<Option<TcpListener>>,
}

impl Input for Http {
    fn lanes(&self) -> usize {
        self.options.workers
    }

    fn start(&self) -> Result<(), String> {
        let listener = net::listener::bind(&self.options.listen, self.options.port)?;
        tracing::info!(
            "[input:http] listening on {}:{} with {} worker(s)",
            self.options.listen,
            self.options.port,
            self.options.workers
        );
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
        Ok(())
    }

    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let listener = self.listener().map_err(|error| format!("the listener is lost: {error}"))?;
            let limits = Limits {
                idle: self.options.idle_timeout.duration(),
                head: HEAD_TIME,
                body: BODY_TIME,
                connections: self.options.max_connections.div_ceil(self.options.workers),
            };
            let account = self.connections.clone();
            let ingest = Ingest { http: self, out };
            Server::new(ingest, limits, account).serve(listener, stop.requested()).await;
            Ok(())
        })
    }
}

impl Http {
    /// A lane's copy of the listening descriptor.
    fn listener(&self) -> std::io::Result<tokio::net::TcpListener> {
        let listener = self.listener.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = listener.as_ref().ok_or(std::io::ErrorKind::NotConnected)?.try_clone()?;
        tokio::net::TcpListener::from_std(copy)
    }
}

struct Ingest {
    http: Arc<Http>,
    out: Emitter,
}

impl Service for Ingest {
    type Body = Records;

    fn begin(&self, head: &Head<'_>) -> Begin<Records> {
        match self.check(head) {
            Some(answer) => Begin::Answer(answer),
            None => {
                let transcoder = Transcoder::new(self.out.account(), EventTime::now());
                let tag = tag_of(head.path()).unwrap_or_else(|| self.out.tag().clone());
                let records = Records {
                    transcoder,
                    tag,
                    out: self.out.clone(),
                    http: Arc::clone(&self.http),
                    empty: true,
                    deadline: None,
                };
                Begin::Body(records, self.http.options.buffer_max_size.0 as usize)
            }
        }
    }
}

impl Ingest {
    /// The answer to a request that is no ingestion, in Fluent Bit's order of checks.
    fn check(&self, head: &Head<'_>) -> Option<Answer> {
        if !head.target.starts_with('/') {
            return Some(Answer::text(400, "error: invalid request"));
        }
        if self.http.options.enable_health_endpoint && head.method == "GET" && head.path() == "/health" {
            return Some(self.http.success(Answer::text(200, health())));
        }
        if head.method != "POST" {
            return Some(Answer::text(400, "error: invalid HTTP method"));
        }
        let Some(kind) = head.header("content-type") else {
            return Some(Answer::text(400, "error: header 'Content-Type' is not set"));
        };
        let kind = kind.split(';').next().unwrap_or("").trim();
        let known = ["application/json", "application/x-ndjson", "application/jsonl"];
        if !known.iter().any(|known| kind.eq_ignore_ascii_case(known)) {
            return Some(Answer::text(400, "error: invalid 'Content-Type'"));
        }
        let encoding = head.header("content-encoding").unwrap_or("identity");
        if !encoding.eq_ignore_ascii_case("identity") {
            let text =
                format!("error: the content encoding \"{encoding}\" is not known; send the body as it is");
            return Some(Answer::text(415, text));
        }
        None
    }
}

impl Http {
    fn success(&self, answer: Answer) -> Answer {
        let mut answer = answer;
        for Words([name, value]) in &self.options.success_header {
            answer.extra.push((name.clone(), value.clone()));
        }
        answer
    }
}

/// Tells that the input is up, and the time as the input sees it.
fn health() -> String {
    let now = EventTime::now();
    let (year, month, day, hour, minute, second) = now.civil();
    let time =
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", now.nanoseconds);
    format!(
        "{{\n  \"status\": \"ok\",\n  \"message\": \"the http input is ready\",\n  \"timestamp\": \"{time}\"\n}}"
    )
}

/// The tag that a path stands for; `None` for `/`.
fn tag_of(path: &str) -> Option<Tag> {
    let keep = |byte: u8| {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' { byte as char } else { '_' }
    };
    let tag: String = path.bytes().skip(1).take(TAG_BYTES).map(keep).collect();
    (!tag.is_empty()).then(|| Tag::new(&tag))
}

/// A body being received.
struct Records {
    transcoder: Transcoder,
    tag: Tag,
    out: Emitter,
    http: Arc<Http>,
    empty: bool,
    /// Until when room is waited for; set by the first wait.
    deadline: Option<Instant>,
}

fn no_room() -> Answer {
    Answer::text(503, "error: no memory left for these records; send them again").header("Retry-After", "1")
}

impl Body for Records {
    async fn data(&mut self, mut piece: &[u8]) -> Result<(), Answer> {
        self.empty &= piece.is_empty();
        loop {
            match self.transcoder.feed(&mut piece) {
                Ok(Step::NeedInput) => return Ok(()),
                Ok(Step::Full) => {
                    let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                    let page = self.out.page(deadline).await.map_err(|_| no_room())?;
                    self.transcoder.prepay(page);
                }
                Err(error) => return Err(Answer::text(400, format!("error: {error}"))),
            }
        }
    }

    async fn end(self) -> Answer {
        if self.empty {
            return Answer::text(400, "error: no payload found");
        }
        let events = match self.transcoder.finish() {
            Ok(events) => events,
            Err(error) => return Answer::text(400, format!("error: {error}")),
        };
        match self.out.append(&self.tag, events).await {
            Ok(()) => self.http.success(Answer::status(self.http.options.successful_response_code)),
            Err(_) => no_room(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_tag_with_odd_characters_replaced() {
        for (path, tag) in
            [("/", None), ("/app.log", Some("app.log")), ("/a/b-c", Some("a_b_c")), ("/%20é", Some("_20__"))]
        {
            assert_eq!(tag_of(path).as_ref().map(Tag::as_str), tag, "{path}");
        }
        assert_eq!(tag_of(&format!("/{}", "x".repeat(9000))).map(|tag| tag.as_str().len()), Some(TAG_BYTES));
    }
}
