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
//! record. With `application/x-www-form-urlencoded` the fields of the form are one record. Bodies may be
//! compressed (`Content-Encoding`: gzip, deflate, zstd or snappy). The path is the tag: the text behind the
//! first `/`, with every character other than ASCII letters, digits, `_` and `.` replaced by `_`; `/` alone
//! stands for the input's own tag.
//!
//! A body is taken whole or refused whole, with one answer:
//!
//! | answer | when |
//! |---|---|
//! | 201, 200 or 204 (`successful_response_code`) | every record is in the pipeline |
//! | 400 | wrong method, no or another content type, no body, or a body that is not what it says: the line names the byte |
//! | 401 | with `oauth2.validate`: no valid token |
//! | 408 | slower than 1 KiB a second, after ten seconds |
//! | 413 | longer than `buffer_max_size`, as sent or decompressed, or its records would never fit the memory limit |
//! | 415 | a content encoding that is not known |
//! | 503 with Retry-After | no memory left for the records for ten seconds, or no room to store them |
//! | 503 | with `acknowledge delivered`: no output takes the tag |
//! | 502 | with `acknowledge delivered`: a record was dropped for good; the line says why |
//! | 504 | with `acknowledge delivered`: not delivered within `acknowledge_timeout`; the records may still be |
//!
//! The body is parsed as it arrives, so a request costs its events and one page, whatever its size.

mod marking;
mod records;

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use budget::{Account, Share};
use engine::emit::Refused;
use engine::{Emitter, Input, InputDef, InputNeeds, Local, Setup, Stop};
use event::{EventTime, Tag};
use formats::inflate::Encoding;
use net::jwt::{Denied, ValidateOptions, Validator};
use net::listener::ListenOptions;
use net::server::{
    Accounts, Answer, Begin, Head, Lanes, SMALL_BODY, Server, Service, Settings, TlsServer, TlsServerOptions,
    connection_bytes,
};
use options::{Options, Period, Reader, Size, Words};

use marking::Marking;
use records::{Format, Plan, Records};

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "http", about: "takes records over HTTP", specs: HttpOptions::specs, open };

/// Characters of a tag made from a path.
const TAG_BYTES: usize = engine::limits::TAG_BYTES;
/// Open connections may hold this part of the budget, and the active ones among them with TLS or HTTP/2 once
/// more.
const CONNECTIONS_PART: usize = 4;
/// So many connections can always be open, and so many bytes of TLS records on their way.
const OWN_CONNECTIONS: usize = 64;
const OWN_RECORDS: usize = 160 << 10;
/// Pages a lane can always receive into.
const RECEIVING_PAGES: usize = 4;
/// The part of the budget that bytes may be received into.
const RECEIVING_PART: usize = 8;
/// Pages of a lane for small requests: they are not made to wait behind large ones.
const SMALL_PAGES: usize = 12;
/// The time a whole head and a whole body may take.
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(60);
/// Bytes in a second that a body must come to after ten seconds. A slower one would hold its pages for nothing.
const BODY_RATE: usize = 1_024;

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
    /// Speak HTTP/2 with clients that begin with it, or agree on it in the TLS handshake.
    #[option(name = "http_server.http2", alias = "http2", default = "on")]
    http2: bool,
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
    /// The value in a record that is its tag: a key, or an accessor like `$a['b']`.
    tag_key: Option<String>,
    /// Add the client's address to each record: the first one of the header `X-Forwarded-For`.
    #[option(default = "off")]
    add_remote_addr: bool,
    /// The key that `add_remote_addr` adds.
    #[option(default = "REMOTE_ADDR")]
    remote_addr_key: String,
    #[option(flatten)]
    /// How connections are accepted.
    listener: ListenOptions,
    #[option(flatten)]
    /// Whom to let in.
    validate: ValidateOptions,
    #[option(flatten)]
    /// TLS.
    tls: TlsServerOptions,
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
    let guaranteed = workers * RECEIVING_PAGES * setup.budget.page_size();
    let stat = setup.budget.stat();
    // What waits for room to be parsed does not take the room itself.
    let most = (stat.size / RECEIVING_PART).max(guaranteed);
    let receive = setup.account("receive", Share { guaranteed, max: most }, reader);
    let small =
        setup.account("small", Share::fixed(workers * SMALL_PAGES * setup.budget.page_size()), reader);
    let part = stat.size / CONNECTIONS_PART;
    let tls = options.as_ref().is_some_and(|options| options.tls.enabled);
    let own = OWN_CONNECTIONS * connection_bytes(tls);
    let connections =
        setup.account("connections", Share { guaranteed: own.min(part), max: part.max(own) }, reader);
    let own = if tls { OWN_RECORDS } else { 0 };
    let active = setup.account("active", Share { guaranteed: own, max: part.max(own) }, reader);
    let options = options?;
    let tls = TlsServer::new(&options.tls, options.http2)
        .map_err(|refused| reader.refuse(refused.option, refused.what, None))
        .ok()?;
    let validator = Validator::new(&options.validate)
        .map_err(|refused| reader.refuse(refused.option, refused.what, None))
        .ok()?;
    let keys = match &validator {
        Some(_) => Some(setup.account("oauth2", Share::fixed(Validator::HELD), reader)?),
        None => None,
    };
    let marking = Marking::new(&options, reader)?;
    let success = options.success_header.iter().map(|Words([name, value])| (name.clone(), value.clone()));
    Some(Arc::new(Http {
        success: success.collect(),
        lanes: Lanes::new(options.max_connections),
        accounts: Accounts { connections: connections?, receive: receive?, active: active?, small },
        listener: Mutex::new(None),
        options,
        marking,
        tls,
        validator: validator.map(Arc::new),
        _keys: keys,
    }))
}

struct Http {
    options: HttpOptions,
    /// Headers of answers of success.
    success: Vec<(String, String)>,
    marking: Marking,
    tls: Option<TlsServer>,
    validator: Option<Arc<Validator>>,
    /// What the validator may hold, set aside.
    _keys: Option<Account>,
    accounts: Accounts,
    lanes: Arc<Lanes>,
    listener: Mutex<Option<TcpListener>>,
}

impl Input for Http {
    fn overlaps(&self) -> bool {
        true
    }

    fn lanes(&self) -> usize {
        self.options.workers
    }

    fn start(&self) -> Result<(), String> {
        let HttpOptions { listen, port, workers, listener, .. } = &self.options;
        let listener = net::listener::bind_as(listen, *port, listener)?;
        let connections = self.connections();
        tracing::info!(
            "[input:http] listening on {listen}:{port} with {workers} worker(s), up to {connections} connections"
        );
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
        Ok(())
    }

    fn needs(&self) -> InputNeeds {
        InputNeeds {
            largest: Some((self.options.buffer_max_size.0 as usize, "http_server.buffer_max_size")),
            connections: self.connections(),
            socket_bytes: net::listener::SOCKET_BYTES,
        }
    }

    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let listener = self.listener().map_err(|error| format!("the listener is lost: {error}"))?;
            let (settings, accounts) = (self.settings(), self.accounts.clone());
            let lanes = Arc::clone(&self.lanes);
            let success = (!self.success.is_empty()).then(|| Rc::from(self.success.as_slice()));
            let ingest = Ingest { http: self, out, success };
            Server::new(ingest, settings, accounts).serve(listener, lanes, stop.requested()).await;
            Ok(())
        })
    }
}

impl Http {
    /// How many connections may be open at a time.
    fn connections(&self) -> usize {
        let paid = self.accounts.connections.share().max / connection_bytes(self.tls.is_some());
        if self.options.max_connections == 0 { paid } else { paid.min(self.options.max_connections) }
    }

    fn settings(&self) -> Settings {
        let ListenOptions { accept_timeout, io_timeout, keepalive, .. } = &self.options.listener;
        let idle = if io_timeout.is_zero() { self.options.idle_timeout } else { *io_timeout };
        Settings {
            accept: accept_timeout.duration(),
            idle: idle.duration(),
            head: HEAD_TIME,
            body: BODY_TIME,
            rate: BODY_RATE,
            keep_alive: *keepalive,
            http2: self.options.http2,
            tls: self.tls.clone(),
        }
    }

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
    success: Option<Rc<[(String, String)]>>,
}

impl Service for Ingest {
    type Body = Records;

    fn begin(&self, head: &Head<'_>) -> Begin<Records> {
        if !head.target.starts_with('/') {
            return Begin::Answer(Answer::text(400, "error: invalid request"));
        }
        if self.http.options.enable_health_endpoint && head.method == "GET" && head.path() == "/health" {
            return Begin::Answer(Answer { extra: self.success.clone(), ..Answer::text(200, health()) });
        }
        let begin = match self.plan(head) {
            Err(answer) => Begin::Answer(answer),
            Ok(plan) => {
                let limit = plan.limit;
                Begin::Body(Records::new(self.out.clone(), plan), limit)
            }
        };
        let Some(validator) = self.http.validator.clone() else { return begin };
        let authorization = head.header("authorization").unwrap_or("");
        // It waits with the request, for as long as the issuer takes to answer.
        let Ok(lease) = self.out.account().try_lease(authorization.len()) else {
            return Begin::Answer(records::refused(Refused::NoRoom));
        };
        let authorization = head.header("authorization").map(str::to_owned);
        Begin::Later(Box::pin(async move {
            let _lease = lease;
            match validator.check(authorization.as_deref().map(str::as_bytes)).await {
                Ok(()) => begin,
                Err(denied) => Begin::Answer(unauthorized(&denied)),
            }
        }))
    }
}

fn unauthorized(denied: &Denied) -> Answer {
    if denied.is_temporary() {
        tracing::warn!("[input:http] a token could not be checked: {denied}");
        return Answer::text(503, "error: tokens cannot be checked now; send the records again")
            .header("Retry-After", "5");
    }
    tracing::debug!("[input:http] a request was refused with 401: {denied}");
    Answer::text(401, format!("error: {denied}")).header("WWW-Authenticate", "Bearer")
}

impl Ingest {
    /// What to do with the records of a request, or the answer to one that has none, in Fluent Bit's order of
    /// checks.
    fn plan(&self, head: &Head<'_>) -> Result<Plan, Answer> {
        if head.method != "POST" {
            return Err(Answer::text(400, "error: invalid HTTP method"));
        }
        let Some(kind) = head.header("content-type") else {
            return Err(Answer::text(400, "error: header 'Content-Type' is not set"));
        };
        let format = Format::named(kind).ok_or_else(|| Answer::text(400, "error: invalid 'Content-Type'"))?;
        let options = &self.http.options;
        let answer = Answer::status(options.successful_response_code);
        let length = head.header("content-length").and_then(|length| length.parse::<usize>().ok());
        let short =
            length.is_some_and(|length| length <= SMALL_BODY) && head.header("content-encoding").is_none();
        Ok(Plan {
            small: self.http.accounts.small.clone().filter(|small| short && small.is_waited_for()),
            tag: tag_of(head.path()).unwrap_or_else(|| self.out.tag().clone()),
            marks: self.http.marking.of(head),
            format,
            encoding: encoding_of(head)?,
            limit: options.buffer_max_size.0 as usize,
            success: Answer { extra: self.success.clone(), ..answer },
        })
    }
}

/// How the body is compressed. Several encodings, one over the other, are more than anybody sends.
fn encoding_of(head: &Head<'_>) -> Result<Option<Encoding>, Answer> {
    let Some(name) = head.header("content-encoding") else { return Ok(None) };
    if name.is_empty() || name.eq_ignore_ascii_case("identity") {
        return Ok(None);
    }
    Encoding::named(name).map(Some).ok_or_else(|| {
        let known = "gzip, deflate, zstd and snappy";
        let text = format!("error: the content encoding \"{name}\" is not known; there are {known}");
        Answer::text(415, text).header("Accept-Encoding", "gzip, deflate, zstd, snappy")
    })
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
    clean_tag(path.as_bytes().get(1..)?)
}

/// Text as a tag: characters that tags do not have are replaced.
fn clean_tag(text: &[u8]) -> Option<Tag> {
    let keep = |byte: u8| {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.' { byte as char } else { '_' }
    };
    let tag: String = text.iter().copied().take(TAG_BYTES).map(keep).collect();
    (!tag.is_empty()).then(|| Tag::new(&tag))
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
