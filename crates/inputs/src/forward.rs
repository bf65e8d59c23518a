//! `forward`: takes records from Fluentd, Fluent Bit and their client libraries.
//!
//! ```text
//! [INPUT]
//!     name  forward
//!     port  24224
//! ```
//!
//! This is version 1 of the Forward Protocol: single messages, arrays of entries, packed entries, and packed
//! entries compressed with gzip or zstd; times as integers or with nanoseconds; metadata. The tag is the client's
//! (behind `tag_prefix`), unless the section has a `tag`.
//!
//! A message is taken whole or not at all. When its options have a `chunk`, it is acknowledged after the input's
//! `acknowledge` level was reached; a client whose message cannot be read is disconnected without an
//! acknowledgement.
//!
//! With `shared_key` (or `empty_shared_key`) clients must prove that they know it, and with `security.users` a
//! user's password as well:
//!
//! ```text
//! [INPUT]
//!     name            forward
//!     shared_key      secret
//!     security.users  alice password
//! ```

mod handshake;
mod message;

use std::rc::Rc;
use std::sync::Arc;

use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::Tag;
use net::listener::ListenOptions;
use net::server::{Closed, Connection, Protocol, TlsServerOptions};
use options::{Options, Reader, Secret, Size, Words};

use crate::endpoint::{Endpoint, Permissions};
use handshake::Security;
use message::{Done, Message};

/// The registry's entry.
pub static INPUT: InputDef = InputDef {
    name: "forward",
    about: "takes records from Fluentd and Fluent Bit",
    specs: ForwardOptions::specs,
    open,
};

#[derive(Debug, Options)]
#[options(check = ForwardOptions::check)]
struct ForwardOptions {
    /// Address to listen on.
    #[option(default = "0.0.0.0", alias = "host")]
    listen: String,
    /// Port to listen on.
    #[option(default = "24224")]
    port: u16,
    /// Path to listen on, instead of an address.
    unix_path: Option<String>,
    /// The permissions of `unix_path`, octal.
    unix_perm: Option<Permissions>,
    /// Text to put before the tags of clients.
    tag_prefix: Option<String>,
    /// The key that clients must know.
    shared_key: Option<Secret>,
    /// Let clients in that shake hands with an empty key.
    #[option(default = "off")]
    empty_shared_key: bool,
    /// This server's name in the handshake.
    #[option(default = "localhost")]
    self_hostname: String,
    /// A user and the password.
    #[option(name = "security.users")]
    users: Vec<Words<2>>,
    /// The largest message, in bytes, as sent and decompressed.
    #[option(default = "6144000", min = "1024", max = "1G")]
    buffer_max_size: Size,
    /// Threads that take connections.
    #[option(default = "1", min = "1", max = "64")]
    workers: usize,
    #[option(flatten)]
    /// How connections are accepted.
    listener: ListenOptions,
    #[option(flatten)]
    /// TLS.
    tls: TlsServerOptions,
}

impl ForwardOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if !self.users.is_empty() && self.shared_key.is_none() && !self.empty_shared_key {
            let what = "security.users without a key: clients would not say who they are";
            let hint = "set shared_key, or empty_shared_key to on".to_owned();
            reader.refuse("security.users", what, Some(hint));
        }
    }
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Input>> {
    let options = ForwardOptions::read(reader)?;
    // A tag in the section is meant for every record.
    let own_tag = reader.section().get("tag").is_some();
    let endpoint = Endpoint::open(options.workers, &options.listener, &options.tls, reader, setup)?;
    let key = match (&options.shared_key, options.empty_shared_key) {
        (_, true) => Some(Secret::default()),
        (key, false) => key.clone(),
    };
    let security = key.map(|key| Security::new(key, &options.self_hostname, &options.users));
    let names = match (&options.tag_prefix, own_tag) {
        (Some(prefix), _) => Names::Prefixed(prefix.clone()),
        (None, true) => Names::Own,
        (None, false) => Names::Client,
    };
    Some(Arc::new(Forward { options, security, names, endpoint }))
}

struct Forward {
    options: ForwardOptions,
    security: Option<Security>,
    names: Names,
    endpoint: Endpoint,
}

/// Where tags come from.
enum Names {
    Client,
    Prefixed(String),
    Own,
}

impl Input for Forward {
    fn lanes(&self) -> usize {
        self.endpoint.workers()
    }

    fn start(&self) -> Result<(), String> {
        let ForwardOptions { listen, port, unix_path, unix_perm, listener, .. } = &self.options;
        match unix_path {
            Some(path) => {
                self.endpoint.bind_unix(path, unix_perm.map(|Permissions(bits)| bits))?;
                tracing::info!("[input:forward] listening on unix://{path}");
            }
            None => {
                self.endpoint.bind(listen, *port, listener)?;
                tracing::info!("[input:forward] listening on {listen}:{port}");
            }
        }
        Ok(())
    }

    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let forward = Arc::clone(&self);
            self.endpoint.serve(Clients { forward, out }, &stop).await
        })
    }
}

struct Clients {
    forward: Arc<Forward>,
    out: Emitter,
}

/// A message that is not complete, and what its records wait for room with.
type Begun = (Box<Message>, Emitter);

/// Why a client is disconnected.
enum End {
    Closed(Closed),
    /// What it did wrong.
    Wrong(String),
}

impl From<Closed> for End {
    fn from(closed: Closed) -> End {
        End::Closed(closed)
    }
}

impl Protocol for Clients {
    async fn serve(self: Rc<Self>, mut connection: Connection) {
        if let Some(security) = &self.forward.security {
            let shaken = Box::pin(security.shake_hands(&mut connection)).await;
            if let Err(end) = shaken {
                return say(&connection, &end, false);
            }
        }
        let mut message = None;
        let end = loop {
            if let Err(closed) = connection.receive(message.is_some()).await {
                break End::Closed(closed);
            }
            // Boxed, so that a connection that waits is small.
            match Box::pin(self.take(&mut connection, &mut message)).await {
                Ok(()) => connection.consume(0),
                Err(end) => break end,
            }
        };
        say(&connection, &end, message.is_some() || !connection.input.is_empty());
    }
}

/// Says why a client was disconnected, where it lost something by it.
fn say(connection: &Connection, end: &End, begun: bool) {
    let peer = connection.peer().map_or_else(|| "a client".to_owned(), |peer| peer.to_string());
    match end {
        End::Wrong(why) => tracing::warn!("[input:forward] {peer} is disconnected: {why}"),
        End::Closed(Closed::Silent) if begun => {
            tracing::warn!("[input:forward] {peer} is disconnected: it stopped in the middle of a message");
        }
        End::Closed(_) if begun => {
            tracing::warn!("[input:forward] {peer} closed in the middle of a message: none of it is taken");
        }
        End::Closed(_) => {}
    }
}

impl Clients {
    /// Takes the messages that have arrived.
    async fn take(&self, connection: &mut Connection, begun: &mut Option<Begun>) -> Result<(), End> {
        let limit = self.forward.options.buffer_max_size.0 as usize;
        while !connection.input.is_empty() {
            let (mut message, out) = begun.take().unwrap_or_else(|| {
                let out = self.out.waiting();
                (Box::new(Message::new(&out, limit)), out)
            });
            if message.advance(&mut connection.input, &out).await.map_err(End::Wrong)? {
                self.done(connection, message.done(), &out).await?;
            } else {
                *begun = message.holds().then_some((message, out));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Hands the records over, then acknowledges them.
    async fn done(&self, connection: &mut Connection, done: Done, out: &Emitter) -> Result<(), End> {
        let Done { tag, events, chunk } = done;
        if events.records > 0 {
            let tag = self.tag(&tag);
            out.append(&tag, events).await.map_err(|refused| End::Wrong(refused.to_string()))?;
        }
        if let Some(chunk) = chunk {
            connection.send(&acknowledgement(&chunk)).await?;
        }
        Ok(())
    }

    fn tag(&self, client: &[u8]) -> Tag {
        let text = String::from_utf8_lossy(client);
        let text = match &self.forward.names {
            Names::Own => return self.out.tag().clone(),
            Names::Client => text.into_owned(),
            Names::Prefixed(prefix) => format!("{prefix}{text}"),
        };
        Tag::new(&text[..text.floor_char_boundary(engine::limits::TAG_BYTES)])
    }
}

/// `{"ack": chunk}`.
fn acknowledgement(chunk: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x81, 0xa3, b'a', b'c', b'k'];
    let (header, size) = event::msgpack::str_header(chunk.len());
    bytes.extend_from_slice(&header[..size]);
    bytes.extend_from_slice(chunk);
    bytes
}
