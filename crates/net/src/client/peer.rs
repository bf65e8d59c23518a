//! Whom a connection leads to.

use std::fmt;

use http::Uri;

use super::Error;

/// A host and a port, and whether to speak TLS with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Whether TLS is spoken.
    pub(super) tls: bool,
    /// A name or an address; one of IPv6 without its brackets. A path with a slash is a Unix socket.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Peer {
    /// A host, by name or address, and a port.
    pub fn new(host: &str, port: u16, tls: bool) -> Peer {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Peer { tls, host: host.to_owned(), port }
    }

    /// A Unix socket.
    pub fn unix(path: &str) -> Peer {
        Peer { tls: false, host: path.to_owned(), port: 0 }
    }

    pub(super) fn is_unix(&self) -> bool {
        self.port == 0 && self.host.contains('/')
    }

    pub(super) fn of(uri: &Uri) -> Result<Peer, Error> {
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(Error::Url("the scheme (http or https)")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(Error::Url("the host"))?;
        Ok(Peer::new(host, uri.port_u16().unwrap_or(if tls { 443 } else { 80 }), tls))
    }

    /// The value of the `Host` header: the scheme's own port is left out.
    pub(super) fn authority(&self) -> String {
        let text = self.to_string();
        let own = if self.tls { ":443" } else { ":80" };
        text.strip_suffix(own).map(str::to_owned).unwrap_or(text)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unix() {
            f.write_str(&self.host)
        } else if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
