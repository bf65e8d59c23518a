//! Sends records as syslog messages, by RFC 5424 or RFC 3164, over UDP, TCP or TLS.
//!
//! ```text
//! [OUTPUT]
//!     name                syslog
//!     match               *
//!     host                syslog.example.com
//!     port                514
//!     mode                tcp
//!     syslog_message_key  log
//!     syslog_hostname_key host
//!     syslog_sd_key       details
//! ```
//!
//! `<14>1 2023-11-14T22:13:20.123456Z web-1 - - - - the text of the key log`. A message over UDP is a datagram; over TCP it
//! ends with a line feed. A text that begins with `<` is taken for a whole message and sent as it is.
//!
//! Syslog has no answer: a batch is delivered when the system has taken all of its bytes. A connection that breaks
//! within a batch has the whole batch sent again.

use std::sync::Arc;

use budget::{Account, Share};
use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use net::client::{Datagrams, Error, NetOptions, Peer, Reach, Settings, Stream, Streams, Tls, TlsOptions};
use options::{Choice, Options, Reader, Size};
use tokio::io::AsyncWriteExt as _;

use crate::link;
use crate::payload::unwritten;
use crate::rows::{Failed, record_time};
use crate::udp::{DATAGRAM, SILENCE};
use message::Message;

mod message;

/// The `syslog` output.
pub static DEF: OutputDef = OutputDef {
    name: "syslog",
    about: "Sends records as syslog messages",
    specs: SyslogOptions::specs,
    open,
};

/// Bytes that are gathered before they are written to a connection.
const GATHERED: usize = 64 << 10;

/// The longest message: what is made of one record is held in memory.
const MOST: u64 = 1 << 20;

#[derive(Debug, Options)]
#[options(check = SyslogOptions::check)]
struct SyslogOptions {
    /// Server to send to.
    #[option(default = "127.0.0.1")]
    host: String,
    /// Its port.
    #[option(default = "514", min = "1")]
    port: u16,
    /// How messages are carried.
    #[option(default = "udp")]
    mode: Mode,
    /// Which RFC they follow.
    #[option(default = "rfc5424")]
    syslog_format: Rfc,
    /// The most bytes of a message, which is cut there; 0 for the 2,048 of RFC 5424 or the 1,024 of RFC 3164.
    #[option(default = "0", max = "1M")]
    syslog_maxsize: Size,
    /// Key of the severity: a number from 0 to 7, or a name.
    syslog_severity_key: Option<String>,
    /// The severity of records without one.
    #[option(default = "6", max = "7")]
    syslog_severity_preset: u8,
    /// Key of the facility: a number from 0 to 23, or a name.
    syslog_facility_key: Option<String>,
    /// The facility of records without one.
    #[option(default = "1", max = "23")]
    syslog_facility_preset: u8,
    /// Key of the host's name.
    syslog_hostname_key: Option<String>,
    /// The host's name for records without one.
    syslog_hostname_preset: Option<String>,
    /// Key of the application's name.
    syslog_appname_key: Option<String>,
    /// The application's name for records without one.
    syslog_appname_preset: Option<String>,
    /// Key of the process.
    syslog_procid_key: Option<String>,
    /// The process for records without one.
    syslog_procid_preset: Option<String>,
    /// Key of the kind of message.
    syslog_msgid_key: Option<String>,
    /// The kind of message for records without one.
    syslog_msgid_preset: Option<String>,
    /// Key of a map that becomes structured data of that name; several may be given.
    syslog_sd_key: Vec<String>,
    /// Key of the text.
    syslog_message_key: Option<String>,
    /// Leave names of structured data longer than the 32 characters of the RFC.
    #[option(default = "off")]
    allow_longer_sd_id: bool,
    #[option(flatten)]
    tls: TlsOptions,
    #[option(flatten)]
    net: NetOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Mode {
    Udp,
    Tcp,
    Tls,
    Dtls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Rfc {
    #[choice(name = "rfc5424")]
    New,
    #[choice(name = "rfc3164")]
    Old,
}

impl SyslogOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.mode == Mode::Dtls {
            let hint = "use mode tls, or mode udp in a network that is trusted".to_owned();
            reader.refuse("mode", "TLS over datagrams is not available", Some(hint));
        }
        if self.mode == Mode::Udp && self.tls.enabled {
            let hint = "use mode tls".to_owned();
            reader.refuse("tls", "tls is on, and datagrams go out in the clear", Some(hint));
        }
    }

    fn most(&self) -> usize {
        match (self.syslog_maxsize.0, self.syslog_format) {
            (0, Rfc::New) => 2_048,
            (0, Rfc::Old) => 1_024,
            (size, _) => size.min(MOST) as usize,
        }
    }
}

struct Syslog {
    options: SyslogOptions,
    peer: Peer,
    tls: Option<Tls>,
    reach: Reach,
    /// Of connections.
    settings: Option<Settings>,
    account: Account,
    held: usize,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let mut options = SyslogOptions::read(reader)?;
    options.tls.enabled |= options.mode == Mode::Tls;
    let secure = options.tls.enabled;
    let tls = link::tls(&options.tls, reader);
    let mut plain = Settings::default();
    options.net.apply(&mut plain);
    let settings = match options.mode {
        Mode::Udp => Some(None),
        _ => link::settings(&options.net, 1, secure, setup, reader).map(Some),
    };
    // The values of a message, each as long as the message may be, the message, and those that are gathered.
    let held = 10 * options.most() + GATHERED;
    let account = setup.account("messages", Share::fixed(held), reader);
    Some(Arc::new(Syslog {
        peer: Peer::new(&options.host, options.port, secure),
        tls: tls?,
        reach: plain.reach,
        settings: settings?,
        account: account?,
        held,
        options,
    }))
}

impl Output for Syslog {
    fn drive(&self) -> Drive {
        // In order: syslog servers write down what comes as it comes.
        Drive { lanes: 1, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        let way = match &self.settings {
            Some(settings) => Way::Stream(Streams::new(settings.clone())),
            None => Way::Datagrams(Datagrams::new(self.reach.clone())),
        };
        Box::new(Lane { syslog: self, way })
    }
}

struct Lane {
    syslog: Arc<Syslog>,
    way: Way,
}

#[expect(clippy::large_enum_variant, reason = "one for each lane")]
enum Way {
    Stream(Streams),
    Datagrams(Datagrams),
}

/// Whether the system took it all.
type Sent = Result<(), Error>;

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(async {
            let sent = match &self.way {
                Way::Stream(streams) => Box::pin(self.stream(streams, batch)).await,
                Way::Datagrams(datagrams) => self.datagrams(datagrams, batch).await,
            };
            match sent {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(error)) => Outcome::Retry { after: None, why: error.to_string() },
                Err(failed) => unwritten(failed, batch),
            }
        })
    }
}

impl Lane {
    async fn datagrams(&self, datagrams: &Datagrams, batch: &Batch) -> Result<Sent, Failed> {
        let syslog = &*self.syslog;
        let _lease = syslog.account.try_lease(syslog.held)?;
        let mut text = Vec::new();
        for part in &batch.parts {
            let mut cursor = part.cursor()?;
            for _ in 0..part.records() {
                text.clear();
                let time = record_time(&mut cursor)?;
                Message::of(&syslog.options, &mut cursor)?.write(&syslog.options, time, &mut text);
                text.truncate(DATAGRAM);
                if let Err(error) = datagrams.send(&syslog.peer, &text, SILENCE).await {
                    return Ok(Err(error));
                }
            }
        }
        Ok(Ok(()))
    }

    async fn stream(&self, streams: &Streams, batch: &Batch) -> Result<Sent, Failed> {
        let syslog = &*self.syslog;
        let _lease = syslog.account.try_lease(syslog.held)?;
        let mut stream = match streams.open(&syslog.peer, syslog.tls.as_ref()).await {
            Ok(stream) => stream,
            Err(error) => return Ok(Err(error)),
        };
        let broken = |source| Error::Broken { peer: syslog.peer.to_string(), source };
        match write(&mut stream, &syslog.options, batch).await? {
            Ok(()) => streams.keep(stream),
            Err(error) => return Ok(Err(broken(error))),
        }
        Ok(Ok(()))
    }
}

async fn write(
    stream: &mut Stream,
    options: &SyslogOptions,
    batch: &Batch,
) -> Result<std::io::Result<()>, Failed> {
    let mut text = Vec::with_capacity(GATHERED);
    for part in &batch.parts {
        let mut cursor = part.cursor()?;
        for _ in 0..part.records() {
            let time = record_time(&mut cursor)?;
            Message::of(options, &mut cursor)?.write(options, time, &mut text);
            text.push(b'\n');
            if text.len() >= GATHERED / 2 {
                if let Err(error) = stream.write_all(&text).await {
                    return Ok(Err(error));
                }
                text.clear();
            }
        }
    }
    let written = stream.write_all(&text).await;
    Ok(match written {
        Ok(()) => stream.flush().await,
        Err(error) => Err(error),
    })
}
