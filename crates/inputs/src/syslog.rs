//! `syslog`: takes messages of syslog daemons and of programs.
//!
//! ```text
//! [INPUT]
//!     name    syslog
//!     mode    udp
//!     port    5140
//!     parser  syslog-rfc5424
//! ```
//!
//! | mode | listens on | a message is |
//! |---|---|---|
//! | `tcp` | address, TLS too | a line, or with `format octet_counting` what its length says (RFC 6587) |
//! | `udp` | address | a datagram |
//! | `unix_tcp` | path | as with `tcp` |
//! | `unix_udp` | path | a datagram |
//!
//! A connection whose messages there is no room for is not read until there is; a datagram that there is no room for
//! is dropped and counted (`weir_input_dropped_total`).
//!
//! The parser makes the record; without one it is `syslog-rfc5424` with an address and `syslog-rfc3164-local`
//! with a path. A message that the parser does not take is kept as `{"log": message}`.

use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use budget::{Account, Buf, Share};
use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::EventTime;
use net::datagram::{self, Datagrams};
use net::listener::{self, ListenOptions, SocketPath};
use net::server::{Closed, Connection, Protocol, TlsServerOptions};
use options::{Choice, Options, Reader, Size};

use crate::endpoint::{Endpoint, Permissions};
use crate::parsing::LineParser;
use crate::payload::{copy, find};
use crate::records::{Records, Value, or_drop};

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "syslog", about: "takes syslog messages", specs: SyslogOptions::specs, open };

/// The digits of a length that are read.
const LENGTH_DIGITS: usize = 10;

#[derive(Debug, Options)]
#[options(check = SyslogOptions::check)]
struct SyslogOptions {
    /// Where messages come from.
    #[option(default = "unix_udp")]
    mode: Mode,
    /// Address to listen on, with the modes tcp and udp.
    #[option(default = "0.0.0.0", alias = "host")]
    listen: String,
    /// Port to listen on, with the modes tcp and udp.
    #[option(default = "5140")]
    port: u16,
    /// Path to listen on, with the modes unix_tcp and unix_udp.
    path: Option<String>,
    /// The permissions of `path`, octal.
    #[option(default = "0644")]
    unix_perm: Permissions,
    /// How messages of a connection are told apart.
    #[option(default = "newline")]
    format: Framing,
    /// The parser that takes a message apart.
    parser: Option<String>,
    /// What a connection is read by. Weir reads by its pages; this is only the default of `buffer_max_size`.
    #[option(default = "32768", min = "1")]
    buffer_chunk_size: Size,
    /// The longest message, in bytes; `buffer_chunk_size` if not set.
    buffer_max_size: Option<Size>,
    /// The kernel's buffer for datagrams, in bytes.
    receive_buffer_size: Option<Size>,
    /// The key to add the whole message under.
    raw_message_key: Option<String>,
    /// The key to add the sender's address under.
    source_address_key: Option<String>,
    #[option(flatten)]
    /// How connections are accepted.
    listener: ListenOptions,
    #[option(flatten)]
    /// TLS.
    tls: TlsServerOptions,
}

/// Where messages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Mode {
    /// Connections to an address.
    Tcp,
    /// Datagrams to an address.
    Udp,
    /// Connections to a path.
    #[choice(name = "unix_tcp")]
    UnixTcp,
    /// Datagrams to a path.
    #[choice(name = "unix_udp")]
    UnixUdp,
}

/// How messages of a connection are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Framing {
    /// By line ends.
    Newline,
    /// By their length in front of them.
    #[choice(name = "octet_counting", alias = "octet")]
    OctetCounting,
}

impl SyslogOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if matches!(self.mode, Mode::UnixTcp | Mode::UnixUdp) && self.path.is_none() {
            let what = "mode unix_tcp or unix_udp without a path";
            reader.refuse("mode", what, Some("set path, or mode to tcp or udp".to_owned()));
        }
    }
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Input>> {
    let options = SyslogOptions::read(reader)?;
    let usual = match options.mode {
        Mode::Tcp | Mode::Udp => "syslog-rfc5424",
        Mode::UnixTcp | Mode::UnixUdp => "syslog-rfc3164-local",
    };
    let parser = LineParser::open(Some(options.parser.as_deref().unwrap_or(usual)), reader, setup)?;
    let door = match options.mode {
        Mode::Tcp | Mode::UnixTcp => {
            Door::Connections(Endpoint::open(1, &options.listener, &options.tls, reader, setup)?)
        }
        Mode::Udp | Mode::UnixUdp => Door::Datagrams {
            receive: setup.account("receive", Share::fixed(datagram::LONGEST), reader)?,
            bound: Mutex::new(None),
        },
    };
    Some(Arc::new(Syslog { options, parser, door }))
}

struct Syslog {
    options: SyslogOptions,
    parser: LineParser,
    door: Door,
}

enum Door {
    Connections(Endpoint),
    Datagrams {
        /// What a datagram is received into, set aside.
        receive: Account,
        bound: Mutex<Option<Bound>>,
    },
}

enum Bound {
    Udp(std::net::UdpSocket),
    Unix(std::os::unix::net::UnixDatagram, #[allow(dead_code, reason = "removes the file")] SocketPath),
}

impl Input for Syslog {
    fn lanes(&self) -> usize {
        1
    }

    fn start(&self) -> Result<(), String> {
        let SyslogOptions { listen, port, path, unix_perm, receive_buffer_size, listener, .. } =
            &self.options;
        let (path, mode) = (path.as_deref().unwrap_or_default(), Some(unix_perm.0));
        let kernel = receive_buffer_size.map(|size| size.0 as usize).filter(|size| *size > 0);
        match (&self.door, self.options.mode) {
            (Door::Connections(endpoint), Mode::Tcp) => endpoint.bind(listen, *port, listener)?,
            (Door::Connections(endpoint), _) => endpoint.bind_unix(path, mode)?,
            (Door::Datagrams { bound, .. }, transport) => {
                let socket = match transport {
                    Mode::Udp => Bound::Udp(listener::bind_udp(listen, *port, kernel)?),
                    _ => {
                        let (socket, file) = listener::bind_unix_datagram(path, mode, kernel)?;
                        Bound::Unix(socket, file)
                    }
                };
                *bound.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
            }
        }
        match self.options.mode {
            Mode::Tcp => tracing::info!("[input:syslog] listening on {listen}:{port}"),
            Mode::Udp => tracing::info!("[input:syslog] listening on {listen}:{port}/udp"),
            Mode::UnixTcp | Mode::UnixUdp => tracing::info!("[input:syslog] listening on unix://{path}"),
        }
        Ok(())
    }

    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            match &self.door {
                Door::Connections(endpoint) => {
                    let syslog = Arc::clone(&self);
                    endpoint.serve(Clients { syslog, out }, &stop).await
                }
                Door::Datagrams { receive, bound } => self.datagrams(receive, bound, &out, &stop).await,
            }
        })
    }
}

impl Syslog {
    fn limit(&self) -> usize {
        let size = self.options.buffer_max_size.filter(|size| size.0 > 0);
        size.unwrap_or(self.options.buffer_chunk_size).0 as usize
    }

    async fn datagrams(
        &self,
        receive: &Account,
        bound: &Mutex<Option<Bound>>,
        out: &Emitter,
        stop: &Stop,
    ) -> Result<(), String> {
        let lost = |error: std::io::Error| format!("the socket is lost: {error}");
        let socket = match bound.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(Bound::Udp(socket)) => socket.try_clone().and_then(|socket| Datagrams::udp(socket, receive)),
            Some(Bound::Unix(socket, _)) => {
                socket.try_clone().and_then(|socket| Datagrams::unix(socket, receive))
            }
            None => Err(std::io::ErrorKind::NotConnected.into()),
        };
        let mut socket = socket.map_err(lost)?;
        while let Some((datagram, sender)) = socket.next(stop.requested()).await {
            let source = self.options.source_address_key.is_some().then(|| sender.to_string());
            let taking = async {
                let mut records = Records::new(out);
                self.message(datagram, source.as_deref(), &mut records).await;
                records.send().await;
            };
            or_drop(out, taking).await;
        }
        Ok(())
    }

    /// Adds the record of a message.
    async fn message(&self, message: &[u8], source: Option<&str>, records: &mut Records) {
        let SyslogOptions { raw_message_key, source_address_key, .. } = &self.options;
        let raw = raw_message_key.as_deref().map(|key| (key, Value::Bin(message)));
        let source = source_address_key
            .as_deref()
            .zip(source)
            .map(|(key, address)| (key, Value::Str(address.as_bytes())));
        let more = [raw, source];
        let more: Vec<(&str, Value<'_>)> = more.into_iter().flatten().collect();
        if !self.parser.add(records, EventTime::now(), message, "log", &more).await {
            tracing::debug!("[input:syslog] the parser does not take a message: it is kept whole");
        }
    }

    /// Takes the messages at the front of what has arrived.
    async fn messages(
        &self,
        input: &mut Buf,
        source: Option<&str>,
        records: &mut Records,
        out: &Emitter,
    ) -> Result<(), String> {
        loop {
            let next = match self.options.format {
                Framing::Newline => line(input),
                Framing::OctetCounting => counted(input)?,
            };
            let Some(Frame { start, end, behind }) = next else { break };
            if end - start > self.limit() {
                return Err(self.too_long());
            }
            if let Some(message) = input.front().get(start..end) {
                if !message.is_empty() {
                    self.message(message, source, records).await;
                }
            } else {
                let lease = out.account().lease(end).await;
                let _lease = lease.map_err(|_| "a message is larger than memory".to_owned())?;
                let message = copy(input, end);
                self.message(&message[start..], source, records).await;
            }
            input.consume(behind.min(input.len()));
        }
        if input.len() > self.limit() + LENGTH_DIGITS + 1 { Err(self.too_long()) } else { Ok(()) }
    }

    fn too_long(&self) -> String {
        format!("a message is longer than buffer_max_size ({} bytes)", self.limit())
    }
}

/// Where a message stands, and where the next one starts.
struct Frame {
    start: usize,
    end: usize,
    behind: usize,
}

/// A line. NUL ends one as well, as some programs send it.
fn line(input: &Buf) -> Option<Frame> {
    let end = match memchr::memchr2(b'\n', 0, input.front()) {
        Some(end) => end,
        None => find(input, input.front().len(), b"\n")?,
    };
    Some(Frame { start: 0, end, behind: end + 1 })
}

/// A length, a blank and so many bytes; a line end may follow.
fn counted(input: &Buf) -> Result<Option<Frame>, String> {
    let head = copy(input, input.len().min(LENGTH_DIGITS + 2));
    if let Some(b'\n') = head.first() {
        return Ok(Some(Frame { start: 0, end: 0, behind: 1 }));
    }
    let digits = head.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match head.get(digits) {
        Some(b' ') if digits > 0 && digits <= LENGTH_DIGITS => {}
        None if digits <= LENGTH_DIGITS => return Ok(None),
        _ => return Err("a message does not start with its length".to_owned()),
    }
    let length = std::str::from_utf8(&head[..digits]).ok().and_then(|text| text.parse::<usize>().ok());
    let start = digits + 1;
    let end = start + length.unwrap_or(usize::MAX / 2);
    Ok((input.len() >= end).then_some(Frame { start, end, behind: end }))
}

struct Clients {
    syslog: Arc<Syslog>,
    out: Emitter,
}

impl Protocol for Clients {
    async fn serve(self: Rc<Self>, mut connection: Connection) {
        let source = match connection.peer() {
            Some(peer) => format!("tcp://{peer}"),
            None => format!("unix://{}", self.syslog.options.path.as_deref().unwrap_or_default()),
        };
        let wanted = self.syslog.options.source_address_key.is_some();
        let source = wanted.then_some(source);
        loop {
            let received = connection.receive(false).await;
            // Boxed, so that a connection that waits is small.
            match received {
                Ok(()) => {
                    if let Err(why) = Box::pin(self.take(&mut connection, source.as_deref())).await {
                        return tracing::warn!("[input:syslog] a client is disconnected: {why}");
                    }
                }
                Err(closed) => return Box::pin(self.end(connection, closed, source.as_deref())).await,
            }
        }
    }
}

impl Clients {
    async fn take(&self, connection: &mut Connection, source: Option<&str>) -> Result<(), String> {
        let out = self.out.waiting();
        let mut records = Records::new(&out);
        let taken = self.syslog.messages(&mut connection.input, source, &mut records, &out).await;
        records.send().await;
        connection.consume(0);
        taken
    }

    /// What a client sent behind its last line end is a message when it closes.
    async fn end(&self, connection: Connection, closed: Closed, source: Option<&str>) {
        let input = &connection.input;
        if input.is_empty()
            || !matches!(closed, Closed::End)
            || self.syslog.options.format != Framing::Newline
        {
            return;
        }
        let out = self.out.waiting();
        let mut records = Records::new(&out);
        if let Ok(_lease) = out.account().lease(input.len()).await {
            self.syslog.message(&copy(input, input.len()), source, &mut records).await;
            records.send().await;
        }
    }
}
