//! Sends records to Fluent Bit, Fluentd or Weir, by the Forward protocol.
//!
//! ```text
//! [OUTPUT]
//!     name                 forward
//!     match                *
//!     host                 aggregator.example.com
//!     port                 24224
//!     shared_key           secret
//!     require_ack_response on
//!     compress             gzip
//!     tls                  on
//! ```
//!
//! The protocol: <https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1>. A chunk is one message:
//! its records as they lie (Forward mode), or compressed (CompressedPackedForward mode). A `tag` with values of the
//! record makes each record a message (Message mode).
//!
//! With `require_ack_response` a chunk is delivered when the other side says so, by the chunk's own name, which is the same
//! when it is sent again. Without, it is delivered when the system has taken all of its bytes.
//!
//! `upstream` names a list of nodes that take turns; the next one is tried when one cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use event::Signal;
use net::client::{Error, NetOptions, Peer, Settings, Stream, Streams, Tls, TlsOptions};
use options::{Choice, Options, Reader, Secret, Words};

use crate::link;
use crate::payload::{Slots, unwritten};
use crate::rows::Failed;
use crate::template::Template;
use entries::Entries;
use handshake::Credentials;

mod entries;
mod handshake;
mod message;
mod send;
mod wire;

/// The `forward` output.
pub static DEF: OutputDef = OutputDef {
    name: "forward",
    about: "Sends records to Fluent Bit, Fluentd or Weir",
    specs: ForwardOptions::specs,
    open,
};

/// Chunks at a time: Fluent Bit's two workers, on one thread.
const CONCURRENCY: usize = 2;

/// The accounts of the chunks.
const CHUNKS: [&str; CONCURRENCY] = ["chunk.0", "chunk.1"];

/// Bytes of pages that a chunk passes through. A compressed one that fits is compressed once; a larger one twice,
/// because its length is sent before it.
const PAGES: usize = 512 << 10;

/// Effort of the compression: gzip's own default.
const GZIP_LEVEL: u32 = 6;

#[derive(Debug, Options)]
#[options(check = ForwardOptions::check)]
struct ForwardOptions {
    /// Server to send to.
    #[option(default = "127.0.0.1")]
    host: String,
    /// Its port.
    #[option(default = "24224", min = "1")]
    port: u16,
    /// Unix socket to send to, in place of host and port.
    unix_path: Option<String>,
    /// A list of servers that take turns: a file with [UPSTREAM] and [NODE] sections, or the name of one of
    /// `upstream_servers`.
    upstream: Option<String>,
    /// Key that both sides know, and prove to know before records are sent.
    shared_key: Option<Secret>,
    /// Prove to know the empty key.
    #[option(default = "off")]
    empty_shared_key: bool,
    /// User, where the other side asks for one.
    username: Option<String>,
    /// The user's password.
    password: Option<Secret>,
    /// This machine's name, as the other side is told.
    #[option(default = "localhost")]
    self_hostname: String,
    /// Tag to send instead of the records' own; it may have places for values of the record.
    tag: Option<Template>,
    /// Send times as whole seconds, for Fluentd before 0.14.
    #[option(default = "off")]
    time_as_integer: bool,
    /// Send the metadata of records along.
    #[option(default = "on")]
    retain_metadata_in_forward_mode: bool,
    /// Say how many records a message has, and what they are.
    #[option(default = "off")]
    send_options: bool,
    /// Wait until the other side says that it has the records.
    #[option(default = "off")]
    require_ack_response: bool,
    /// How records are compressed.
    #[option(default = "text")]
    compress: Compress,
    /// Wrap metrics and traces so that Fluentd can read them.
    #[option(default = "off")]
    fluentd_compat: bool,
    /// An option to add to each message: its name, then its value.
    add_option: Vec<Words<2>>,
    #[option(flatten)]
    tls: TlsOptions,
    #[option(flatten)]
    net: NetOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Compress {
    Text,
    Gzip,
}

impl ForwardOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        let secure = self.shared_key.is_some() || self.empty_shared_key;
        for (option, set) in [("username", self.username.is_some()), ("password", self.password.is_some())] {
            if set && !secure {
                let what = format!("{option} without shared_key: only who shares a key is asked for a user");
                reader.refuse(option, what, Some("set shared_key, or empty_shared_key on".to_owned()));
            }
        }
        if self.compress == Compress::Gzip {
            let by_record = self.tag.as_ref().is_some_and(Template::varies_by_record);
            for (option, set) in [("time_as_integer", self.time_as_integer), ("tag", by_record)] {
                if set {
                    let what = format!("compress gzip does not go together with this {option}");
                    reader.refuse("compress", what, Some(format!("remove compress or {option}")));
                }
            }
        }
    }

    fn credentials(&self) -> Option<Credentials> {
        let key = if self.empty_shared_key { Some("") } else { self.shared_key.as_ref().map(Secret::expose) };
        let password = self.password.as_ref().map_or("", Secret::expose);
        let user = self.username.clone().unwrap_or_default();
        key.map(|key| Credentials::new(key, &user, password, &self.self_hostname))
    }
}

struct Forward {
    slots: Slots,
    settings: Settings,
    nodes: Vec<Node>,
    /// Whose turn it is.
    turn: AtomicUsize,
    escape_unicode: bool,
}

/// A server, and how to speak with it.
struct Node {
    peer: Peer,
    tls: Option<Tls>,
    credentials: Option<Credentials>,
    tag: Option<Template>,
    entries: Entries,
    /// Whether messages end with options, and the options that are the same for all.
    options: bool,
    extra: Vec<(String, String)>,
    ack: bool,
    gzip: bool,
    /// Metrics go out as entries of a map instead of bytes.
    fluentd: bool,
}

impl Node {
    fn new(options: &ForwardOptions, reader: &mut Reader<'_>) -> Option<Node> {
        let tls = link::tls(&options.tls, reader);
        let extra = options.add_option.iter().map(|option| (option[0].clone(), option[1].clone()));
        let extra: Vec<(String, String)> = extra.collect();
        let gzip = options.compress == Compress::Gzip;
        Some(Node {
            peer: match &options.unix_path {
                Some(path) => Peer::unix(path),
                None => Peer::new(&options.host, options.port, options.tls.enabled),
            },
            tls: tls?,
            credentials: options.credentials(),
            tag: options.tag.clone(),
            entries: Entries {
                metadata: options.retain_metadata_in_forward_mode && !options.time_as_integer,
                whole_seconds: options.time_as_integer,
            },
            options: options.send_options || options.require_ack_response || gzip || !extra.is_empty(),
            extra,
            ack: options.require_ack_response,
            gzip,
            fluentd: options.fluentd_compat,
        })
    }

    /// Whether each record is a message with a tag of its own.
    fn by_record(&self) -> bool {
        self.tag.as_ref().is_some_and(Template::varies_by_record)
    }
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let options = ForwardOptions::read(reader)?;
    let nodes = match &options.upstream {
        None => vec![Node::new(&options, reader)?],
        Some(upstream) => nodes(upstream, reader, setup)?,
    };
    let secure = nodes.iter().any(|node| node.tls.is_some());
    let settings = link::settings(&options.net, CONCURRENCY, secure, setup, reader);
    let gzip = nodes.iter().any(|node| node.gzip).then_some(GZIP_LEVEL);
    let slots = Slots::open(&CHUNKS, PAGES, gzip, setup, reader);
    Some(Arc::new(Forward {
        slots: slots?,
        settings: settings?,
        nodes,
        turn: AtomicUsize::new(0),
        escape_unicode: setup.escape_unicode,
    }))
}

/// The nodes of a group, whose sections have the same options as the output.
fn nodes(upstream: &str, reader: &mut Reader<'_>, setup: &Setup) -> Option<Vec<Node>> {
    let Some(group) = setup.upstreams.iter().find(|group| group.called == upstream) else {
        let hint = "name a file with [UPSTREAM] and [NODE] sections, or one of upstream_servers".to_owned();
        reader.refuse("upstream", format!("there is no group of servers \"{upstream}\""), Some(hint));
        return None;
    };
    let mut nodes = Vec::new();
    for section in group.section.groups.iter().filter(|group| group.kind.eq_ignore_ascii_case("node")) {
        let mut own = Reader::new(section);
        let node = ForwardOptions::read(&mut own).and_then(|options| Node::new(&options, &mut own));
        for problem in own.finish(&["name", "tls.debug"]).problems.iter() {
            reader.refuse("upstream", problem.to_string(), None);
        }
        nodes.push(node);
    }
    if nodes.is_empty() {
        reader.refuse("upstream", format!("the group of servers \"{upstream}\" has no node"), None);
        return None;
    }
    nodes.into_iter().collect()
}

impl Output for Forward {
    fn drive(&self) -> Drive {
        // A message has one chunk, because a chunk has one tag.
        Drive { lanes: 1, concurrency: CONCURRENCY, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn signals(&self) -> &'static [Signal] {
        &[Signal::Logs, Signal::Metrics]
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        let streams = Streams::new(self.settings.clone());
        Box::new(Lane { forward: self, streams })
    }
}

struct Lane {
    forward: Arc<Forward>,
    streams: Streams,
}

/// Why a chunk is not delivered.
enum Undelivered {
    /// The other side was not reached, or broke off.
    Net(Error),
    /// It does not let us in.
    Denied(String),
    Unwritten(Failed),
}

impl<T: Into<Failed>> From<T> for Undelivered {
    fn from(failed: T) -> Undelivered {
        Undelivered::Unwritten(failed.into())
    }
}

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(async {
            match Box::pin(self.deliver(batch)).await {
                Ok(()) => Outcome::Done,
                Err(Undelivered::Net(error)) => Outcome::Retry { after: None, why: error.to_string() },
                Err(Undelivered::Denied(why)) => Outcome::Hold { why },
                Err(Undelivered::Unwritten(failed)) => unwritten(failed, batch),
            }
        })
    }
}

impl Lane {
    /// Begins with the node whose turn it is, and goes on to the others while none can be reached.
    async fn deliver(&self, batch: &Batch) -> Result<(), Undelivered> {
        let nodes = &self.forward.nodes;
        let first = self.forward.turn.fetch_add(1, Ordering::Relaxed);
        let mut last = Undelivered::Unwritten(Failed::Full);
        for offset in 0..nodes.len() {
            let node = &nodes[(first + offset) % nodes.len()];
            match self.deliver_to(node, batch).await {
                Err(Undelivered::Net(error)) => last = Undelivered::Net(error),
                Err(Undelivered::Denied(why)) if nodes.len() > 1 => last = Undelivered::Denied(why),
                delivered => return delivered,
            }
            tracing::debug!("[output:forward] {} was not reached, the next node is tried", node.peer);
        }
        Err(last)
    }

    async fn deliver_to(&self, node: &Node, batch: &Batch) -> Result<(), Undelivered> {
        let stream = self.streams.open(&node.peer, node.tls.as_ref()).await.map_err(Undelivered::Net)?;
        let kept = !stream.is_new();
        match self.over(stream, node, batch).await {
            // A connection that waited may have been closed by the other side in the same moment.
            Err(Undelivered::Net(_)) if kept => {
                let stream = self.streams.open_new(&node.peer, node.tls.as_ref()).await;
                self.over(stream.map_err(Undelivered::Net)?, node, batch).await
            }
            delivered => delivered,
        }
    }

    async fn over(&self, mut stream: Stream, node: &Node, batch: &Batch) -> Result<(), Undelivered> {
        let mut keep = true;
        if stream.is_new()
            && let Some(credentials) = &node.credentials
        {
            keep = credentials.shake_hands(&mut stream).await?;
        }
        let name = STANDARD.encode(batch.id.to_be_bytes());
        for part in &batch.parts {
            if part.signal() == Signal::Metrics {
                let slot = self.forward.slots.take()?;
                send::metrics(&mut stream, node, &slot, batch, part, &name).await?;
            } else if node.by_record() {
                message::send(&mut stream, node, part, &name).await?;
            } else {
                let slot = self.forward.slots.take()?;
                send::chunk(&mut stream, node, &slot, batch, part, &name, self.forward.escape_unicode)
                    .await?;
            }
        }
        if keep {
            self.streams.keep(stream);
        }
        Ok(())
    }
}
