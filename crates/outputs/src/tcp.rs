//! Sends records over TCP, or TLS: msgpack, JSON, or a text made of each record.
//!
//! ```text
//! [OUTPUT]
//!     name   tcp
//!     match  *
//!     host   logs.example.com
//!     port   5170
//!     format json_lines
//! ```
//!
//! Nothing tells whether the other side has dealt with what it was sent: a batch is delivered when the system has
//! taken all of its bytes. A connection that breaks within a batch has the whole batch sent again.

use std::sync::Arc;

use budget::{Account, Share};
use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use event::{Corrupt, Cursor};
use net::client::{Error, NetOptions, Peer, Settings, Stream, Streams, Tls, TlsOptions};
use options::{Choice, Options, Reader};
use tokio::io::AsyncWriteExt as _;

use crate::link;
use crate::payload::{Encoder, PATIENCE, Slots, unwritten};
use crate::rows::{Body, Dated, Failed, Form, Layout};
use crate::stdout::DateOptions;
use crate::template::Template;

/// The `tcp` output.
pub static DEF: OutputDef =
    OutputDef { name: "tcp", about: "Sends records over TCP", specs: TcpOptions::specs, open };

/// Batches at a time: Fluent Bit's two workers, on one thread.
const CONCURRENCY: usize = 2;

/// The accounts of the batches.
const BATCHES: [&str; CONCURRENCY] = ["batch.0", "batch.1"];

/// Bytes of pages that a batch passes through.
const PAGES: usize = 128 << 10;

/// The longest text that `raw_message_key` makes of a record; it is cut there.
pub(crate) const RAW_BYTES: usize = 256 << 10;

#[derive(Debug, Options)]
struct TcpOptions {
    /// Server to send to.
    #[option(default = "127.0.0.1")]
    host: String,
    /// Its port.
    #[option(default = "5170", min = "1")]
    port: u16,
    /// How records are written.
    #[option(default = "msgpack")]
    format: Format,
    #[option(flatten)]
    date: DateOptions,
    /// Send only this of each record, and a line feed: a key as $key, or a text with several of them.
    raw_message_key: Option<Template>,
    #[option(flatten)]
    tls: TlsOptions,
    #[option(flatten)]
    net: NetOptions,
}

/// How `tcp` and `udp` write records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(crate) enum Format {
    Msgpack,
    Json,
    #[choice(name = "json_lines")]
    JsonLines,
    #[choice(name = "json_stream")]
    JsonStream,
}

/// The form of what is sent.
pub(crate) enum Sent {
    /// As the records lie.
    Msgpack,
    Json(Dated),
    Raw(Template),
}

impl Sent {
    pub(crate) fn new(
        format: Format,
        date: &DateOptions,
        raw: Option<Template>,
        escape_unicode: bool,
    ) -> Sent {
        let layout = match (raw, format) {
            (Some(raw), _) => return Sent::Raw(raw),
            (None, Format::Msgpack) => return Sent::Msgpack,
            (None, Format::Json) => Layout::Array,
            (None, Format::JsonLines) => Layout::Lines,
            (None, Format::JsonStream) => Layout::Stream,
        };
        Sent::Json(date.records(layout, escape_unicode))
    }
}

impl Form for Sent {
    fn opening(&self) -> &[u8] {
        if let Sent::Json(dated) = self { dated.opening() } else { b"" }
    }

    fn closing(&self) -> &[u8] {
        if let Sent::Json(dated) = self { dated.closing() } else { b"" }
    }

    fn tag(&self, tag: &str) -> Vec<u8> {
        tag.as_bytes().to_vec()
    }

    fn head(
        &self,
        first: bool,
        tag: &[u8],
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Body, Corrupt> {
        if let Sent::Json(dated) = self {
            return dated.head(first, tag, cursor, out);
        }
        if let Sent::Raw(template) = self {
            let mut body = cursor.clone();
            crate::rows::record_time(&mut body)?;
            let tag = std::str::from_utf8(tag).unwrap_or_default();
            template.fill(tag, &body, out, RAW_BYTES)?;
            out.push(b'\n');
            cursor.skip()?;
            // The record as a body of no bytes.
            return Ok(Body::Copy(cursor.offset()));
        }
        let mut end = cursor.clone();
        end.skip()?;
        Ok(Body::Copy(end.offset()))
    }

    fn tail(&self) -> &[u8] {
        if let Sent::Json(dated) = self { dated.tail() } else { b"" }
    }
}

struct Tcp {
    slots: Slots,
    settings: Settings,
    peer: Peer,
    tls: Option<Tls>,
    sent: Sent,
    escape_unicode: bool,
    /// Pays for the texts of `raw_message_key`.
    raw: Option<Account>,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let TcpOptions { host, port, format, date, raw_message_key, tls, net } = TcpOptions::read(reader)?;
    let peer = Peer::new(&host, port, tls.enabled);
    let settings = link::settings(&net, CONCURRENCY, tls.enabled, setup, reader);
    let tls = link::tls(&tls, reader);
    let slots = Slots::open(&BATCHES, PAGES, None, setup, reader);
    let raw = match raw_message_key {
        Some(_) => Some(setup.account("texts", Share::fixed(CONCURRENCY * RAW_BYTES), reader)?),
        None => None,
    };
    let escape_unicode = setup.escape_unicode;
    let sent = Sent::new(format, &date, raw_message_key, escape_unicode);
    Some(Arc::new(Tcp { slots: slots?, settings: settings?, peer, tls: tls?, sent, escape_unicode, raw }))
}

impl Output for Tcp {
    fn drive(&self) -> Drive {
        Drive { lanes: 1, concurrency: CONCURRENCY, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        let streams = Streams::new(self.settings.clone());
        Box::new(Lane { tcp: self, streams })
    }
}

struct Lane {
    tcp: Arc<Tcp>,
    streams: Streams,
}

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(async {
            match Box::pin(self.deliver(batch)).await {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(error)) => Outcome::Retry { after: None, why: error.to_string() },
                Err(failed) => unwritten(failed, batch),
            }
        })
    }
}

impl Lane {
    async fn deliver(&self, batch: &Batch) -> Result<Result<(), Error>, Failed> {
        let slot = self.tcp.slots.take()?;
        let _text = self.tcp.raw.as_ref().map(|account| account.try_lease(RAW_BYTES)).transpose()?;
        let mut stream = match self.streams.open(&self.tcp.peer, self.tcp.tls.as_ref()).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        let mut encoder = slot.encoder(&self.tcp.sent, batch, self.tcp.escape_unicode)?;
        let sent = send(&mut stream, &mut encoder).await?;
        let peer = stream.peer().to_string();
        Ok(match sent {
            Ok(()) => {
                self.streams.keep(stream);
                Ok(())
            }
            Err(source) => Err(Error::Broken { peer, source }),
        })
    }
}

/// Writes all blocks of a batch.
async fn send(stream: &mut Stream, encoder: &mut Encoder<'_, Sent>) -> Result<std::io::Result<()>, Failed> {
    while let Some(block) = encoder.next(PATIENCE).await? {
        for page in block.pages() {
            if let Err(error) = stream.write_all(page).await {
                return Ok(Err(error));
            }
        }
    }
    Ok(stream.flush().await)
}
