//! What to send, where and how often.

use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rustls::ClientConfig;

use crate::payload;

/// Bytes of a piece when bodies are sent in pieces.
const PIECE: usize = 16 << 10;

/// The server, from a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// What the `Host` header says.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// The scheme is https.
    pub tls: bool,
}

impl Target {
    /// Reads `http[s]://HOST[:PORT][/PATH]` and looks the host up.
    ///
    /// # Errors
    /// A sentence on what is wrong with the URL.
    pub fn parse(url: &str) -> Result<Target, String> {
        let (tls, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => return Err(format!("{url}: only http and https are spoken, not {scheme}")),
            None => (false, url),
        };
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let port = if tls { 443 } else { 80 };
        let with_port = if has_port { host.to_owned() } else { format!("{host}:{port}") };
        let found: io::Result<Vec<SocketAddr>> = with_port.to_socket_addrs().map(Iterator::collect);
        let found = found.map_err(|error| format!("{url}: {error}"))?;
        let address = *found.first().ok_or_else(|| format!("{url}: the host has no address"))?;
        Ok(Target { address, host: host.to_owned(), path: path.to_owned(), tls })
    }

    /// The host without its port: what a certificate is issued to.
    pub fn name(&self) -> &str {
        let host = self.host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        host.map_or(self.host.as_str(), |(name, _)| name).trim_matches(['[', ']'])
    }
}

/// A body.
#[derive(Debug, Clone)]
pub struct Body {
    /// As it travels.
    pub bytes: Bytes,
    /// Bytes before compression.
    pub plain: u64,
    /// Records in it.
    pub records: u64,
    /// Compressed.
    pub gzip: bool,
}

impl Body {
    /// A body as it is.
    pub fn new(bytes: Vec<u8>) -> Body {
        let (plain, records) = (bytes.len() as u64, payload::count(&bytes));
        Body { bytes: bytes.into(), plain, records, gzip: false }
    }

    /// The same, compressed once.
    pub fn gzip(&self) -> Body {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        // A vector takes all that is written to it.
        let _ = encoder.write_all(&self.bytes);
        let bytes = encoder.finish().unwrap_or_default();
        Body { bytes: bytes.into(), gzip: true, ..*self }
    }
}

/// A load.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// The bodies: one, or the steps of a staircase, which a load climbs once.
    pub bodies: Vec<Body>,
    /// Paths that requests go to in turn, with `.0`, `.1` and so on behind the target's; 1 for the target's own.
    pub tags: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Requests on their way on each connection: pipelined, or as streams of HTTP/2.
    pub depth: usize,
    /// HTTP/2 instead of HTTP/1.1.
    pub http2: bool,
    /// Whom to trust, for https.
    pub tls: Option<Arc<ClientConfig>>,
    /// Requests in all; without it, as many as the duration allows.
    pub requests: Option<u64>,
    /// When to begin no more requests.
    pub duration: Option<Duration>,
    /// Pause of a connection between an answer and the next request.
    pub delay: Duration,
    /// Bytes that each connection sends in a second, at most.
    pub rate: Option<u64>,
    /// One request at a time in all, over each connection in turn.
    pub in_turn: bool,
    /// A connection of its own for each request.
    pub new_connections: bool,
    /// Bodies in pieces, with no length.
    pub chunked: bool,
    /// The longest wait for an answer.
    pub patience: Duration,
}

impl Plan {
    /// A plan with one connection and nothing special.
    pub fn new(target: Target, body: Body) -> Plan {
        Plan {
            target,
            bodies: vec![body],
            tags: 1,
            connections: 1,
            depth: 1,
            http2: false,
            tls: None,
            requests: None,
            duration: None,
            delay: Duration::ZERO,
            rate: None,
            in_turn: false,
            new_connections: false,
            chunked: false,
            patience: Duration::from_secs(60),
        }
    }

    /// The step that a request belongs to: `number` requests began before it, `elapsed` after the start.
    pub(super) fn step(&self, number: u64, elapsed: Duration) -> usize {
        let steps = self.bodies.len();
        let climbed = match (self.requests, self.duration) {
            (Some(requests), _) => number as f64 / requests.max(1) as f64,
            (None, Some(duration)) => elapsed.as_secs_f64() / duration.as_secs_f64().max(1e-9),
            (None, None) => 0.0,
        };
        ((climbed * steps as f64) as usize).min(steps - 1)
    }

    /// The bytes of one request of HTTP/1.1 to each path with each body, as [`Plan::bytes`] finds them.
    pub(super) fn requests(&self) -> Vec<Vec<u8>> {
        let tagged = |body, tag| match self.tags {
            1 => self.request(body, &self.target.path),
            _ => self.request(body, &format!("{}.{tag}", self.target.path)),
        };
        self.bodies.iter().flat_map(|body| (0..self.tags).map(move |tag| tagged(body, tag))).collect()
    }

    /// Which of the [`Plan::requests`] has a body and comes behind so many others.
    pub(super) fn bytes(&self, body: usize, number: u64) -> usize {
        body * self.tags + (number % self.tags as u64) as usize
    }

    fn request(&self, body: &Body, path: &str) -> Vec<u8> {
        let host = &self.target.host;
        let mut head = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
        if body.gzip {
            head.push_str("Content-Encoding: gzip\r\n");
        }
        if self.new_connections {
            head.push_str("Connection: close\r\n");
        }
        if !self.chunked {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", body.bytes.len()));
            return [head.as_bytes(), &body.bytes].concat();
        }
        head.push_str("Transfer-Encoding: chunked\r\n\r\n");
        let mut bytes = head.into_bytes();
        for piece in body.bytes.chunks(PIECE) {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Reader, Side};

    #[test]
    fn urls_have_a_host_and_may_have_a_port_and_a_path() {
        let target = Target::parse("http://127.0.0.1:9880/app.log?a=b").unwrap();
        assert_eq!(target.address, "127.0.0.1:9880".parse().unwrap());
        assert_eq!((target.host.as_str(), target.path.as_str()), ("127.0.0.1:9880", "/app.log?a=b"));
        assert_eq!(Target::parse("127.0.0.1").unwrap().address.port(), 80);
        let target = Target::parse("https://[::1]").unwrap();
        assert_eq!((target.address, target.name()), ("[::1]:443".parse().unwrap(), "::1"));
        assert_eq!(Target::parse("http://localhost:99").unwrap().name(), "localhost");
        assert!(Target::parse("ftp://127.0.0.1").unwrap_err().contains("only http"));
    }

    #[test]
    fn a_request_is_one_whole_message() {
        let target = Target::parse("127.0.0.1:1").unwrap();
        let mut plan = Plan::new(target, Body::new(vec![b'x'; 40_000]));
        for (chunked, gzip) in [(false, false), (true, false), (false, true), (true, true)] {
            plan.chunked = chunked;
            let body = if gzip { plan.bodies[0].gzip() } else { plan.bodies[0].clone() };
            let request = plan.request(&body, "/");
            let mut bytes = request.as_slice();
            let message = Reader::new(Side::Requests).take(&mut bytes).unwrap().unwrap();
            assert!(bytes.is_empty() && message.body >= body.bytes.len() as u64, "{message:?}");
            assert_eq!((body.plain, body.bytes.len() < 40_000), (40_000, gzip));
        }
    }

    #[test]
    fn tags_take_turns() {
        let mut plan = Plan::new(Target::parse("127.0.0.1:1/app").unwrap(), Body::new(vec![b'x'; 4]));
        plan.bodies.push(Body::new(vec![b'y'; 4]));
        assert_eq!((plan.requests().len(), plan.bytes(1, 7)), (2, 1));
        plan.tags = 3;
        let requests = plan.requests();
        let request = String::from_utf8(requests[plan.bytes(1, 5)].clone()).unwrap();
        assert!(request.starts_with("POST /app.2 ") && request.ends_with("yyyy"), "{request}");
        assert_eq!(requests.len(), 6);
    }

    #[test]
    fn a_staircase_is_climbed_once() {
        let body = |size| Body::new(vec![b'1'; size]);
        let target = Target::parse("127.0.0.1:1").unwrap();
        let mut plan = Plan::new(target, body(1));
        plan.bodies = vec![body(1), body(2), body(3)];
        plan.requests = Some(6);
        let steps: Vec<_> = (0..7).map(|number| plan.step(number, Duration::ZERO)).collect();
        assert_eq!(steps, [0, 0, 1, 1, 2, 2, 2]);
        (plan.requests, plan.duration) = (None, Some(Duration::from_secs(3)));
        assert_eq!(plan.step(9, Duration::from_millis(1_500)), 1);
        assert_eq!(plan.step(9, Duration::from_secs(4)), 2);
    }
}
