//! Sends records to a server by HTTP.
//!
//! ```text
//! [OUTPUT]
//!     name     http
//!     match    *
//!     host     logs.example.com
//!     port     443
//!     uri      /ingest
//!     format   json_lines
//!     compress gzip
//!     header   X-Team platform
//!     tls      on
//! ```
//!
//! Each chunk of records becomes one request. What the answer means:
//!
//! | answer | the records |
//! |---|---|
//! | 2xx | are delivered |
//! | 401 with `oauth2.enable` | are sent again, with a new token |
//! | none, 1xx, 3xx, 408, 429, 5xx | are sent again; a `Retry-After` is kept |
//! | 413 | are sent again in halves |
//! | any other 4xx | are dropped |

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use budget::{Full, Share};
use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use event::{Corrupt, Cursor};
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, Uri};
use net::client::{Body, Client, Error, NetOptions, Proxy, Settings, Tls, TlsOptions};
use options::{Choice, Options, Period, Reader, Secret, Words};

use crate::payload::{Encoder, PATIENCE, Slot, Slots, unwritten};
use crate::retry_after::retry_after;
use crate::rows::{self, Dated, Failed, Form, Layout};
use crate::stdout::DateOptions;
use crate::template::Path;
use oauth2::{NoToken, OAuth2Options, Tokens};
use stream::Stream;

mod oauth2;
mod record;
mod stream;

/// The `http` output.
pub static DEF: OutputDef =
    OutputDef { name: "http", about: "Sends records to a server by HTTP", specs: HttpOptions::specs, open };

/// Requests at a time: Fluent Bit's two workers, on one thread.
const CONCURRENCY: usize = 2;

/// Bytes of pages that are set aside for each request. A body that fits is written once and sent from there. A
/// larger one is written twice: first to learn its length, then as it is sent, block by block.
const BODY_PAGES: usize = 512 << 10;

/// The accounts of the requests.
const BODIES: [&str; CONCURRENCY] = ["body.0", "body.1"];

/// Effort of the compression: gzip's own default.
const GZIP_LEVEL: u32 = 6;

/// Characters of an answer's body that go into a log line.
const ANSWER: usize = 200;

#[derive(Debug, Options)]
#[options(check = HttpOptions::check)]
struct HttpOptions {
    /// Server to send to.
    #[option(default = "127.0.0.1")]
    host: String,
    /// Its port.
    #[option(default = "80", min = "1")]
    port: u16,
    /// Path, and query if any, of the request.
    #[option(default = "/")]
    uri: String,
    /// Method of the request.
    #[option(default = "POST")]
    http_method: HttpMethod,
    /// How records are written.
    #[option(default = "json")]
    format: Format,
    #[option(flatten)]
    date: DateOptions,
    /// How the body is compressed; without it, it is not.
    compress: Option<Compress>,
    /// A header to add: its name, then its value.
    header: Vec<Words<2>>,
    /// Name of a header that carries the tag.
    header_tag: Option<String>,
    /// User of the basic authentication.
    http_user: Option<String>,
    /// Password of the basic authentication.
    http_passwd: Option<Secret>,
    #[option(flatten)]
    oauth2: OAuth2Options,
    /// Send a header that is configured more than once each time. Without, the last one counts.
    #[option(default = "on")]
    allow_duplicated_headers: bool,
    /// Send each record as a request of its own: this of it is the body, a text.
    body_key: Option<Path>,
    /// With `body_key`: this of the record is a map of headers.
    headers_key: Option<Path>,
    /// The HTTP proxy to go through: http://host:port, with user:password@ if need be.
    proxy: Option<String>,
    /// How long a server may be silent within an answer; 0 leaves that to `http.response_timeout`.
    #[option(name = "http.read_idle_timeout", default = "0s")]
    read_idle_timeout: Period,
    /// The time that one request may take, to the end of its answer.
    #[option(name = "http.response_timeout", default = "60s", min = "1s")]
    response_timeout: Period,
    /// Log what a server says when it refuses.
    #[option(default = "on")]
    log_response_payload: bool,
    #[option(flatten)]
    tls: TlsOptions,
    #[option(flatten)]
    net: NetOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum HttpMethod {
    Post,
    Put,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Format {
    Json,
    #[choice(name = "json_lines")]
    JsonLines,
    #[choice(name = "json_stream")]
    JsonStream,
    Msgpack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Compress {
    Gzip,
}

impl HttpOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.http_passwd.is_some() && self.http_user.is_none() {
            reader.refuse("http_passwd", "http_passwd without http_user", None);
        }
        match (&self.body_key, &self.headers_key) {
            (Some(_), None) => reader.refuse("body_key", "body_key without headers_key", None),
            (None, Some(_)) => reader.refuse("headers_key", "headers_key without body_key", None),
            (Some(_), Some(_)) if self.compress.is_some() => {
                let hint = Some("remove compress".to_owned());
                reader.refuse("compress", "the bodies of body_key are sent as they are", hint);
            }
            _ => {}
        }
    }

    fn url(&self) -> Result<Uri, http::uri::InvalidUri> {
        let scheme = if self.tls.enabled { "https" } else { "http" };
        let slash = if self.uri.starts_with('/') { "" } else { "/" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        format!("{scheme}://{open}{}{close}:{}{slash}{}", self.host, self.port, self.uri).parse()
    }

    fn layout(&self) -> Option<Layout> {
        match self.format {
            Format::Json => Some(Layout::Array),
            Format::JsonLines => Some(Layout::Lines),
            Format::JsonStream => Some(Layout::Stream),
            Format::Msgpack => None,
        }
    }

    /// The headers of every request. The user's come last and replace what is set here.
    fn headers(&self) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        let kind = match self.format {
            Format::Json | Format::JsonStream => "application/json",
            Format::JsonLines => "application/x-ndjson",
            Format::Msgpack => "application/msgpack",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("Weir/", env!("CARGO_PKG_VERSION"))));
        if self.compress == Some(Compress::Gzip) {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(user) = &self.http_user {
            let password = self.http_passwd.as_ref().map_or("", Secret::expose);
            let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
            let mut value = HeaderValue::try_from(value).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let own: Vec<HeaderName> = headers.keys().cloned().collect();
        for name in own {
            if self.header.iter().any(|header| header[0].eq_ignore_ascii_case(name.as_str())) {
                headers.remove(name);
            }
        }
        for header in &self.header {
            let [name, value] = &**header;
            let name =
                HeaderName::try_from(name).map_err(|_| format!("\"{name}\" is no name of a header"))?;
            let value = HeaderValue::try_from(value)
                .map_err(|_| format!("the value of {name} has control characters"))?;
            if self.allow_duplicated_headers {
                headers.append(name, value);
            } else {
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }
}

struct Http {
    slots: Slots,
    settings: Settings,
    method: Method,
    url: Uri,
    headers: HeaderMap,
    header_tag: Option<HeaderName>,
    records: Records,
    escape_unicode: bool,
    log_answers: bool,
    /// Tokens for the requests.
    tokens: Option<Tokens>,
    /// Where a record has the body and the headers of its own request.
    by_record: Option<(Path, Path)>,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let options = HttpOptions::read(reader)?;
    let refuse_url = |_| "host, port and uri do not make a URL".to_owned();
    let url = refused(reader, "uri", options.url().map_err(refuse_url));
    let headers = refused(reader, "header", options.headers());
    let header_tag = options.header_tag.as_ref().map(HeaderName::try_from).transpose();
    let no_name = |_| "this is no name of a header".to_owned();
    let header_tag = refused(reader, "header_tag", header_tag.map_err(no_name));
    let tls = if options.tls.enabled { Some(Tls::new(&options.tls)) } else { None };
    let tls = match tls.transpose() {
        Ok(tls) => Some(tls),
        Err(error) => refused(reader, error.option, Err(error.what)),
    };
    let mut settings = Settings { exchange_timeout: options.response_timeout.0, ..Settings::default() };
    settings.tls = tls?;
    options.net.apply(&mut settings);
    if !options.read_idle_timeout.0.is_zero() {
        settings.reach.io_timeout = Some(options.read_idle_timeout.0);
    }
    if let Some(proxy) = &options.proxy {
        settings.reach.proxy = Some(refused(reader, "proxy", Proxy::parse(proxy))?);
    }
    let layout = options.layout();
    let tokens = match Tokens::new(options.oauth2, &settings) {
        Ok(tokens) => tokens,
        Err((option, what)) => return refused(reader, option, Err(what)),
    };
    let each = net::client::CONNECTION + if options.tls.enabled { net::client::SESSION } else { 0 };
    let connections = setup.account("connections", Share::fixed(CONCURRENCY * each), reader);
    settings.toll.account = Some(connections?);
    let gzip = options.compress.map(|Compress::Gzip| GZIP_LEVEL);
    let slots = Slots::open(&BODIES, BODY_PAGES, gzip, setup, reader);
    let escape_unicode = setup.escape_unicode;
    Some(Arc::new(Http {
        slots: slots?,
        settings,
        method: match options.http_method {
            HttpMethod::Post => Method::POST,
            HttpMethod::Put => Method::PUT,
        },
        url: url?,
        headers: headers?,
        header_tag: header_tag?,
        records: Records(layout.map(|layout| options.date.records(layout, escape_unicode))),
        escape_unicode,
        log_answers: options.log_response_payload,
        tokens,
        by_record: options.body_key.zip(options.headers_key),
    }))
}

/// The value, or its problem on record.
fn refused<T>(reader: &mut Reader<'_>, option: &str, value: Result<T, String>) -> Option<T> {
    value.map_err(|what| reader.refuse(option, what, None)).ok()
}

impl Output for Http {
    fn drive(&self) -> Drive {
        // A request has one chunk, as with Fluent Bit, because a chunk has one tag.
        Drive { lanes: 1, concurrency: CONCURRENCY, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        let client = Client::new(self.settings.clone());
        Box::new(Lane { http: self, client })
    }
}

struct Lane {
    http: Arc<Http>,
    client: Client,
}

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(async {
            let mut token = None;
            if let Some(tokens) = &self.http.tokens {
                token = match Box::pin(tokens.header()).await {
                    Ok(token) => Some(token),
                    Err(NoToken::Later(why)) => return Outcome::Retry { after: None, why },
                    Err(NoToken::Denied(why)) => return Outcome::Hold { why },
                };
            }
            if let Some((body, headers)) = &self.http.by_record {
                if batch.records() > 1 {
                    return Outcome::Split { why: "each record is a request of its own".to_owned() };
                }
                return Box::pin(self.one(batch, body, headers, token)).await;
            }
            match Box::pin(self.deliver(batch, token)).await {
                Ok(Ok(response)) => self.http.outcome(&response),
                // Success, with more to say than anybody reads.
                Ok(Err(Error::TooLarge { .. })) => Outcome::Done,
                Ok(Err(error)) => Outcome::Retry { after: None, why: error.to_string() },
                Err(failed) => unwritten(failed, batch),
            }
        })
    }
}

/// What a request became.
type Sent = Result<Response<bytes::Bytes>, Error>;

impl Lane {
    /// Sends the only record of a batch: its body and headers are those of the request.
    async fn one(&self, batch: &Batch, body: &Path, headers: &Path, token: Option<HeaderValue>) -> Outcome {
        let missing = || Outcome::Reject {
            why: "the record has no text at body_key, or no map at headers_key".to_owned(),
        };
        let read = batch.parts.first().map(|part| record::read(part, body, headers));
        let (text, own) = match read {
            Some(Ok(Some(read))) => read,
            Some(Err(corrupt)) => return unwritten(corrupt.into(), batch),
            _ => return missing(),
        };
        let Ok(slot) = self.http.slots.take() else { return unwritten(Failed::Full, batch) };
        let Ok(mut pages) = slot.buffer(PATIENCE).await else { return unwritten(Failed::Full, batch) };
        match record::copy(text, &mut pages, slot.pages()) {
            Ok(true) => {}
            Ok(false) => {
                let why = format!("the body of the record is larger than {} bytes", slot.pages());
                return Outcome::Reject { why };
            }
            Err(corrupt) => return unwritten(corrupt.into(), batch),
        }
        let mut request = self.http.request(batch, Body::pages(Arc::new(pages)), token);
        for (name, value) in own {
            request.headers_mut().insert(name, value);
        }
        match self.client.send(request).await {
            Ok(response) => self.http.outcome(&response),
            Err(Error::TooLarge { .. }) => Outcome::Done,
            Err(error) => Outcome::Retry { after: None, why: error.to_string() },
        }
    }

    async fn deliver(&self, batch: &Batch, token: Option<HeaderValue>) -> Result<Sent, Failed> {
        let slot = self.http.slots.take()?;
        let mut length = 0;
        {
            let mut encoder = self.http.encoder(batch, &slot)?;
            while let Some(pages) = encoder.next(PATIENCE).await? {
                if length == 0 && encoder.complete() {
                    drop(encoder);
                    let body = Body::pages(Arc::new(pages));
                    return Ok(self.client.send(self.http.request(batch, body, token)).await);
                }
                length += pages.len() as u64;
            }
        }
        self.stream(batch, &slot, length, token).await
    }

    /// Writes the body as it is sent.
    async fn stream(
        &self,
        batch: &Batch,
        slot: &Slot<'_>,
        length: u64,
        token: Option<HeaderValue>,
    ) -> Result<Sent, Failed> {
        let (body, mut tries) = Stream::open(length);
        let sent = self.client.send(self.http.request(batch, body, token));
        let written = tries.write(|| Ok(self.http.encoder(batch, slot)?.by_page()));
        tokio::select! {
            biased;
            sent = sent => Ok(sent),
            failed = written => Err(failed),
        }
    }
}

/// The form of the body; `None` is msgpack, as it lies.
struct Records(Option<Dated>);

impl Form for Records {
    fn opening(&self) -> &[u8] {
        self.0.as_ref().map_or(b"", Form::opening)
    }

    fn closing(&self) -> &[u8] {
        self.0.as_ref().map_or(b"", Form::closing)
    }

    fn head(
        &self,
        first: bool,
        tag: &[u8],
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<rows::Body, Corrupt> {
        match &self.0 {
            Some(dated) => dated.head(first, tag, cursor, out),
            None => {
                let mut end = cursor.clone();
                end.skip()?;
                Ok(rows::Body::Copy(end.offset()))
            }
        }
    }

    fn tail(&self) -> &[u8] {
        self.0.as_ref().map_or(b"", Form::tail)
    }
}

impl Http {
    fn encoder<'a>(&'a self, batch: &'a Batch, slot: &Slot<'_>) -> Result<Encoder<'a, Records>, Full> {
        slot.encoder(&self.records, batch, self.escape_unicode)
    }

    fn request(&self, batch: &Batch, body: Body, token: Option<HeaderValue>) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        if let (Some(name), Some(part)) = (&self.header_tag, batch.parts.first()) {
            request.headers_mut().insert(name, header_value(part.tag().as_str()));
        }
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        request
    }

    /// See the table of the module.
    fn outcome(&self, response: &Response<bytes::Bytes>) -> Outcome {
        let status = response.status();
        let mut why = format!("the server answered {status}");
        if self.log_answers && !response.body().is_empty() {
            let text = String::from_utf8_lossy(response.body());
            let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
            why = format!("{why}: {}", words.chars().take(ANSWER).collect::<String>());
        }
        if let (Some(tokens), 401) = (&self.tokens, status.as_u16()) {
            tokens.forget();
            return Outcome::Retry { after: None, why };
        }
        match status.as_u16() {
            200..=299 => Outcome::Done,
            413 => Outcome::Split { why },
            408 | 429 => Outcome::Retry { after: retry_after(response.headers(), SystemTime::now()), why },
            400..=499 => Outcome::Reject { why },
            _ => Outcome::Retry { after: retry_after(response.headers(), SystemTime::now()), why },
        }
    }
}

/// A tag as the value of a header: what no header may hold becomes a question mark.
fn header_value(tag: &str) -> HeaderValue {
    let bytes: Vec<u8> =
        tag.bytes().map(|byte| if byte < 0x20 || byte == 0x7f { b'?' } else { byte }).collect();
    HeaderValue::from_bytes(&bytes).unwrap_or(HeaderValue::from_static("?"))
}
