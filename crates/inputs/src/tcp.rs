//! `tcp`: takes JSON objects or lines over TCP.
//!
//! ```text
//! [INPUT]
//!     name    tcp
//!     port    5170
//!     format  json
//! ```
//!
//! With `format json` each object is a record as it is, and each array is the record `{"msg": [...]}`; values
//! may follow each other directly or with white space, line ends or commas between them. What is no JSON is
//! skipped up to the next line end. With `format none` each line is the record `{"log": line}`; empty lines are
//! passed over, and what a client sent behind its last separator is a line when it closes.
//!
//! A client whose records there is no room for is not read until there is.
//!
//! A client whose line or object is longer than `buffer_size` is disconnected, and so is one that stops in the
//! middle of one for a minute.

use std::rc::Rc;
use std::sync::Arc;

use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use net::listener::ListenOptions;
use net::server::{Closed, Connection, Protocol, TlsServerOptions};
use options::{Options, Reader};

use crate::endpoint::Endpoint;
use crate::payload::{Payload, PayloadOptions};

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "tcp", about: "takes JSON or lines over TCP", specs: TcpOptions::specs, open };

#[derive(Debug, Options)]
struct TcpOptions {
    /// Address to listen on.
    #[option(default = "0.0.0.0", alias = "host")]
    listen: String,
    /// Port to listen on.
    #[option(default = "5170")]
    port: u16,
    /// Threads that take connections.
    #[option(default = "1", min = "1", max = "64")]
    workers: usize,
    #[option(flatten)]
    /// What arrives.
    payload: PayloadOptions,
    #[option(flatten)]
    /// How connections are accepted.
    listener: ListenOptions,
    #[option(flatten)]
    /// TLS.
    tls: TlsServerOptions,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Input>> {
    let options = TcpOptions::read(reader)?;
    let payload = Payload::open("tcp", &options.payload, reader, setup)?;
    let endpoint = Endpoint::open(options.workers, &options.listener, &options.tls, reader, setup)?;
    Some(Arc::new(Tcp { options, payload, endpoint }))
}

struct Tcp {
    options: TcpOptions,
    payload: Payload,
    endpoint: Endpoint,
}

impl Input for Tcp {
    fn lanes(&self) -> usize {
        self.endpoint.workers()
    }

    fn start(&self) -> Result<(), String> {
        let TcpOptions { listen, port, listener, workers, .. } = &self.options;
        self.endpoint.bind(listen, *port, listener)?;
        tracing::info!("[input:tcp] listening on {listen}:{port} with {workers} worker(s)");
        Ok(())
    }

    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let tcp = Arc::clone(&self);
            self.endpoint.serve(Clients { tcp, out }, &stop).await
        })
    }
}

struct Clients {
    tcp: Arc<Tcp>,
    out: Emitter,
}

impl Protocol for Clients {
    async fn serve(self: Rc<Self>, mut connection: Connection) {
        let payload = &self.tcp.payload;
        let source =
            connection.peer().and_then(|peer| payload.source(format_args!("tcp://{peer}"))).map(Box::new);
        let mut held = None;
        loop {
            match connection.receive(held.is_some()).await {
                Ok(()) => {}
                Err(closed) => return self.close(connection, held, closed, source.as_deref()).await,
            }
            let mut state = held.take().unwrap_or_else(|| Box::new(payload.held(&self.out)));
            // Boxed, so that a connection that waits is small.
            let read = payload.read(&mut state, &mut connection.input, source.as_deref());
            if Box::pin(read).await.is_err() {
                let limit = payload.limit / 1024;
                tracing::warn!(
                    "[input:tcp] a client is disconnected: more than buffer_size ({limit} KiB) in one piece"
                );
                return;
            }
            connection.consume(0);
            held = state.is_used(&connection.input).then_some(state);
        }
    }
}

impl Clients {
    async fn close(
        &self,
        connection: Connection,
        held: Option<Box<crate::payload::Held>>,
        closed: Closed,
        source: Option<&crate::payload::Source>,
    ) {
        let Some(held) = held else { return };
        match closed {
            Closed::End => self.tcp.payload.end(&held, &connection.input, source).await,
            Closed::Silent => {
                tracing::warn!("[input:tcp] a client is disconnected: it stopped in the middle of something")
            }
            Closed::Stopping | Closed::Broken(_) | Closed::Full => {}
        }
    }
}
