//! What to send, where and how often.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

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
}

impl Target {
    /// Reads `http://HOST[:PORT][/PATH]` and looks the host up.
    ///
    /// # Errors
    /// A sentence on what is wrong with the URL.
    pub fn parse(url: &str) -> Result<Target, String> {
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some((scheme, _)) => return Err(format!("{url}: only http is spoken, not {scheme}")),
            None => url,
        };
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let with_port = if has_port { host.to_owned() } else { format!("{host}:80") };
        let found: io::Result<Vec<SocketAddr>> = with_port.to_socket_addrs().map(Iterator::collect);
        let found = found.map_err(|error| format!("{url}: {error}"))?;
        let address = *found.first().ok_or_else(|| format!("{url}: the host has no address"))?;
        Ok(Target { address, host: host.to_owned(), path: path.to_owned() })
    }
}

/// A load.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// The body of each request.
    pub body: Vec<u8>,
    /// Records in the body.
    pub records: u64,
    /// Connections at a time.
    pub connections: usize,
    /// Requests in all; without it, as many as the duration allows.
    pub requests: Option<u64>,
    /// When to begin no more requests.
    pub duration: Option<Duration>,
    /// Pause of a connection between an answer and the next request.
    pub delay: Duration,
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
    pub fn new(target: Target, body: Vec<u8>, records: u64) -> Plan {
        Plan {
            target,
            body,
            records,
            connections: 1,
            requests: None,
            duration: None,
            delay: Duration::ZERO,
            in_turn: false,
            new_connections: false,
            chunked: false,
            patience: Duration::from_secs(60),
        }
    }

    /// The bytes of one request.
    pub(super) fn request(&self) -> Vec<u8> {
        let Target { host, path, .. } = &self.target;
        let mut bytes = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n");
        if self.new_connections {
            bytes.push_str("Connection: close\r\n");
        }
        if !self.chunked {
            bytes.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
            return [bytes.as_bytes(), &self.body].concat();
        }
        bytes.push_str("Transfer-Encoding: chunked\r\n\r\n");
        let mut bytes = bytes.into_bytes();
        for piece in self.body.chunks(PIECE) {
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
        assert_eq!(Target::parse("http://[::1]:99").unwrap().address, "[::1]:99".parse().unwrap());
        assert!(Target::parse("https://127.0.0.1").unwrap_err().contains("only http"));
    }

    #[test]
    fn a_request_is_one_whole_message() {
        let mut plan = Plan::new(Target::parse("127.0.0.1:1").unwrap(), vec![b'x'; 40_000], 1);
        for chunked in [false, true] {
            plan.chunked = chunked;
            let request = plan.request();
            let mut bytes = request.as_slice();
            let message = Reader::new(Side::Requests).take(&mut bytes).unwrap().unwrap();
            assert!(bytes.is_empty() && message.body >= 40_000, "{message:?}");
        }
    }
}
