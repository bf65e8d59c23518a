//! The HTTP proxy between an output and its destination.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::peer::Peer;

/// The longest answer of a proxy to a request for a tunnel.
const ANSWER: usize = 8 << 10;

/// A proxy, and who is reached without it.
#[derive(Debug, Clone)]
pub struct Proxy {
    pub(super) peer: Peer,
    /// The value of `Proxy-Authorization`.
    authorization: Option<String>,
    /// Hosts that are reached without it: names, ends of names, or `*`.
    without: Vec<String>,
}

impl Proxy {
    /// Reads `http://user:password@host:port`.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Proxy, String> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
            Some((scheme, _)) => return Err(format!("a proxy is reached by http://, not by {scheme}://")),
            None => text,
        };
        let rest = rest.trim_end_matches('/');
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (place, "80"),
        };
        let port = port.parse().map_err(|_| format!("\"{port}\" is no port"))?;
        if host.is_empty() || port == 0 {
            return Err("it names no host and port: write http://host:port".to_owned());
        }
        let authorization = user.map(|user| format!("Basic {}", STANDARD.encode(user)));
        Ok(Proxy { peer: Peer::new(host, port, false), authorization, without: Vec::new() })
    }

    /// The proxy of the environment: `HTTP_PROXY` or `http_proxy`, and `NO_PROXY` or `no_proxy`.
    ///
    /// # Errors
    /// What is wrong with the variable.
    pub fn from_environment() -> Result<Option<Proxy>, String> {
        let read = |names: [&str; 2]| {
            names.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        };
        let Some(text) = read(["HTTP_PROXY", "http_proxy"]) else { return Ok(None) };
        let mut proxy = Proxy::parse(&text).map_err(|what| format!("HTTP_PROXY: {what}"))?;
        let without = read(["NO_PROXY", "no_proxy"]).unwrap_or_default();
        proxy.without = without.split(',').map(|host| host.trim().to_ascii_lowercase()).collect();
        proxy.without.retain(|host| !host.is_empty());
        Ok(Some(proxy))
    }

    /// Whether a host is reached through the proxy.
    pub(super) fn leads_to(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        !self.without.iter().any(|without| {
            let end = without.trim_start_matches('*').trim_start_matches('.');
            end.is_empty()
                || host == end
                || host.strip_suffix(end).is_some_and(|before| before.ends_with('.'))
        })
    }

    pub(super) fn authorization(&self) -> Option<&str> {
        self.authorization.as_deref()
    }

    /// Asks for a tunnel to the peer.
    ///
    /// # Errors
    /// The line of the proxy that says no, or what broke off.
    pub(super) async fn tunnel(&self, tcp: &mut TcpStream, peer: &Peer) -> Result<(), String> {
        let mut request = format!("CONNECT {peer} HTTP/1.1\r\nHost: {peer}\r\n");
        if let Some(authorization) = &self.authorization {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        tcp.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        // Byte by byte, because what stands behind the head belongs to the peer.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() == ANSWER {
                return Err("its answer has no end".to_owned());
            }
            answer.push(tcp.read_u8().await.map_err(|error| error.to_string())?);
        }
        let text = String::from_utf8_lossy(&answer);
        let line = text.lines().next().unwrap_or_default();
        let status = line.split(' ').nth(1).unwrap_or_default();
        if line.starts_with("HTTP/1.") && status.starts_with('2') {
            Ok(())
        } else {
            Err(format!("it answered \"{line}\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_with_its_user_and_its_port() {
        let proxy = Proxy::parse("http://me:secret@proxy.example:3128/").unwrap();
        assert_eq!(proxy.peer, Peer::new("proxy.example", 3128, false));
        assert_eq!(proxy.authorization(), Some("Basic bWU6c2VjcmV0"));
        assert_eq!(Proxy::parse("proxy").unwrap().peer, Peer::new("proxy", 80, false));
        assert_eq!(Proxy::parse("http://[::1]:8080").unwrap().peer, Peer::new("::1", 8080, false));
        for text in ["https://proxy:1", "http://", "http://proxy:x", "http://proxy:0"] {
            assert!(Proxy::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_of_no_proxy_are_reached_without_it() {
        let proxy = |without: &str| Proxy {
            without: without.split(',').map(str::to_owned).collect(),
            ..Proxy::parse("proxy").unwrap()
        };
        let some = proxy("localhost,.internal,example.com,10.0.0.1");
        for host in ["localhost", "a.internal", "example.com", "www.Example.com", "10.0.0.1"] {
            assert!(!some.leads_to(host), "{host}");
        }
        for host in ["notexample.com", "internal.org", "10.0.0.11"] {
            assert!(some.leads_to(host), "{host}");
        }
        assert!(!proxy("*").leads_to("anything"));
    }
}
