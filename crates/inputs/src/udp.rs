//! `udp`: takes JSON objects or lines over UDP.
//!
//! ```text
//! [INPUT]
//!     name    udp
//!     port    5170
//!     format  json
//! ```
//!
//! A datagram is complete: it holds whole objects, or lines of which the last needs no separator. Records are as
//! with `tcp`. A datagram longer than `buffer_size` is dropped, and one that there is no room for is dropped and counted
//! (`weir_input_dropped_total`).

use std::sync::{Arc, Mutex, PoisonError};

use budget::{Account, Share};
use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use net::datagram::{self, Datagrams};
use net::listener;
use options::{Options, Reader};

use crate::payload::{Payload, PayloadOptions};
use crate::records::or_drop;

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "udp", about: "takes JSON or lines over UDP", specs: UdpOptions::specs, open };

#[derive(Debug, Options)]
struct UdpOptions {
    /// Address to listen on.
    #[option(default = "0.0.0.0", alias = "host")]
    listen: String,
    /// Port to listen on.
    #[option(default = "5170")]
    port: u16,
    #[option(flatten)]
    /// What arrives.
    payload: PayloadOptions,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Input>> {
    let options = UdpOptions::read(reader)?;
    let payload = Payload::open("udp", &options.payload, reader, setup)?;
    let receive = setup.account("receive", Share::fixed(datagram::LONGEST), reader)?;
    Some(Arc::new(Udp { options, payload, receive, socket: Mutex::new(None) }))
}

struct Udp {
    options: UdpOptions,
    payload: Payload,
    /// What a datagram is received into, set aside.
    receive: Account,
    socket: Mutex<Option<std::net::UdpSocket>>,
}

impl Input for Udp {
    fn lanes(&self) -> usize {
        1
    }

    fn start(&self) -> Result<(), String> {
        let UdpOptions { listen, port, .. } = &self.options;
        let socket = listener::bind_udp(listen, *port, None)?;
        tracing::info!("[input:udp] listening on {listen}:{port}");
        *self.socket.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
        Ok(())
    }

    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let mut datagrams = self.datagrams().map_err(|error| format!("the socket is lost: {error}"))?;
            let mut too_long: u64 = 0;
            while let Some((datagram, peer)) = datagrams.next(stop.requested()).await {
                if datagram.len() > self.payload.limit {
                    too_long += 1;
                    if too_long.is_power_of_two() {
                        tracing::warn!(
                            "[input:udp] {too_long} datagram(s) longer than buffer_size were dropped"
                        );
                    }
                    continue;
                }
                let source = self.payload.source(peer);
                or_drop(&out, self.payload.datagram(datagram, source.as_ref(), &out)).await;
            }
            Ok(())
        })
    }
}

impl Udp {
    fn datagrams(&self) -> std::io::Result<Datagrams> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let socket = socket.as_ref().ok_or(std::io::ErrorKind::NotConnected)?.try_clone()?;
        Datagrams::udp(socket, &self.receive)
    }
}
