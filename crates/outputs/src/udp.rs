//! Sends each record as a datagram.
//!
//! ```text
//! [OUTPUT]
//!     name   udp
//!     match  *
//!     host   127.0.0.1
//!     port   5170
//!     format json_lines
//! ```
//!
//! Datagrams may be lost on the way and nobody hears of it. A record that makes more than the 65,507 bytes of the
//! largest datagram cannot be sent: it is left out, counted and told of.

use std::sync::Arc;
use std::time::Duration;

use budget::{Account, Share};
use engine::metrics::Counter;
use engine::{Batch, Drive, Figure, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use net::client::{Datagrams, Error, NetOptions, Peer, Reach};
use options::{Options, Reader};

use crate::payload::unwritten;
use crate::rows::{BLOCK, Failed, Single};
use crate::stdout::DateOptions;
use crate::tcp::{Format, RAW_BYTES, Sent};
use crate::template::Template;

/// The `udp` output.
pub static DEF: OutputDef =
    OutputDef { name: "udp", about: "Sends each record as a datagram", specs: UdpOptions::specs, open };

/// Bytes that a datagram can carry over IPv4.
pub(crate) const DATAGRAM: usize = 65_507;

/// How long the system may not take a datagram.
pub(crate) const SILENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Options)]
struct UdpOptions {
    /// Host to send to.
    #[option(default = "127.0.0.1")]
    host: String,
    /// Its port.
    #[option(default = "5170", min = "1")]
    port: u16,
    /// How a record is written.
    #[option(default = "json_lines")]
    format: Format,
    #[option(flatten)]
    date: DateOptions,
    /// Send only this of each record, and a line feed: a key as $key, or a text with several of them.
    raw_message_key: Option<Template>,
    #[option(flatten)]
    net: NetOptions,
}

struct Udp {
    peer: Peer,
    reach: Reach,
    sent: Sent,
    /// A datagram of JSON ends with a line feed.
    ended: bool,
    escape_unicode: bool,
    account: Account,
    too_long: Counter,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let UdpOptions { host, port, format, date, raw_message_key, net } = UdpOptions::read(reader)?;
    let mut settings = net::client::Settings::default();
    net.apply(&mut settings);
    let escape_unicode = setup.escape_unicode;
    let sent = Sent::new(format, &date, raw_message_key, escape_unicode);
    Some(Arc::new(Udp {
        peer: Peer::new(&host, port, false),
        reach: settings.reach,
        ended: matches!(sent, Sent::Json(_)),
        sent,
        escape_unicode,
        // What `raw_message_key` makes of a record is cut later.
        account: setup.account("datagram", Share::fixed(DATAGRAM + BLOCK + RAW_BYTES), reader)?,
        too_long: Counter::default(),
    }))
}

impl Output for Udp {
    fn drive(&self) -> Drive {
        Drive { lanes: 1, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn figures(&self) -> Vec<Figure> {
        let help = "Records that are larger than a datagram and were left out.";
        vec![Figure::counter("weir_output_udp_too_long_records_total", help, self.too_long.get())]
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        let datagrams = Datagrams::new(self.reach.clone());
        Box::new(Lane { udp: self, datagrams })
    }
}

struct Lane {
    udp: Arc<Udp>,
    datagrams: Datagrams,
}

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(async {
            match self.deliver(batch).await {
                Ok(Ok(())) => Outcome::Done,
                Ok(Err(error)) => Outcome::Retry { after: None, why: error.to_string() },
                Err(failed) => unwritten(failed, batch),
            }
        })
    }
}

impl Lane {
    async fn deliver(&self, batch: &Batch) -> Result<Result<(), Error>, Failed> {
        let udp = &*self.udp;
        let _lease = udp.account.try_lease(DATAGRAM + BLOCK + RAW_BYTES)?;
        let mut datagram = Vec::with_capacity(DATAGRAM);
        let mut too_long = 0;
        for part in &batch.parts {
            let mut records = Single::new(&udp.sent, part, udp.escape_unicode)?;
            while let Some(whole) = records.next(&mut datagram, DATAGRAM)? {
                if datagram.is_empty() {
                    continue;
                }
                if udp.ended && !datagram.ends_with(b"\n") {
                    datagram.push(b'\n');
                }
                if !whole || datagram.len() > DATAGRAM {
                    too_long += 1;
                    continue;
                }
                if let Err(error) = self.datagrams.send(&udp.peer, &datagram, SILENCE).await {
                    return Ok(Err(error));
                }
            }
        }
        udp.too_long.add(too_long);
        if too_long > 0 {
            tracing::error!("[output:udp] {too_long} records are larger than a datagram: they are left out");
        }
        Ok(Ok(()))
    }
}
