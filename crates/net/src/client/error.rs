//! What can go wrong between a request and its response.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why there is no response. Displayed it is one line for a log; it names host and port but never the rest of
/// a URL, in which a signature may stand.
#[derive(Debug)]
pub enum Error {
    /// The URL is not one that can be sent to; the text names the part.
    Url(&'static str),
    /// The name of the host has no address.
    Resolve {
        /// Host and port.
        peer: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// No address of the host took the connection.
    Connect {
        /// Host and port.
        peer: String,
        /// The error of the last address.
        source: io::Error,
    },
    /// The proxy does not lead there.
    Proxy {
        /// Host and port.
        peer: String,
        /// Those of the proxy.
        proxy: String,
        /// What it said.
        what: String,
    },
    /// The connection broke.
    Broken {
        /// Host and port.
        peer: String,
        /// The system's error.
        source: io::Error,
    },
    /// Every connection that the output may have is in use.
    Full {
        /// Host and port.
        peer: String,
    },
    /// The handshake failed: for example an unknown issuer, or another name.
    Tls {
        /// Host and port.
        peer: String,
        /// The error of the TLS library.
        source: io::Error,
    },
    /// The request was not taken.
    Send {
        /// Host and port.
        peer: String,
        /// The HTTP library's error.
        source: hyper::Error,
    },
    /// What came back is no response, or broke off.
    Response {
        /// Host and port.
        peer: String,
        /// The HTTP library's error.
        source: hyper::Error,
    },
    /// It took too long.
    Timeout {
        /// Host and port.
        peer: String,
        /// What the peer did not do: `connect` or `answer`.
        doing: &'static str,
        /// The time it had.
        after: Duration,
    },
    /// The body of a successful response is longer than the client reads.
    TooLarge {
        /// Host and port.
        peer: String,
        /// Bytes that the client reads.
        limit: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Url(part) => write!(f, "the URL cannot be used: {part} is missing or not valid"),
            Error::Resolve { peer, source } => write!(f, "cannot resolve {peer}: {}", chain(source)),
            Error::Connect { peer, source } => write!(f, "cannot connect to {peer}: {}", chain(source)),
            Error::Proxy { peer, proxy, what } => {
                write!(f, "the proxy {proxy} does not lead to {peer}: {what}")
            }
            Error::Broken { peer, source } => write!(f, "the connection to {peer} broke: {}", chain(source)),
            Error::Full { peer } => write!(f, "no further connection to {peer} is allowed at the moment"),
            Error::Tls { peer, source } => write!(f, "cannot speak TLS with {peer}: {}", chain(source)),
            Error::Send { peer, source } => write!(f, "cannot send to {peer}: {}", chain(source)),
            Error::Response { peer, source } => write!(f, "no whole response from {peer}: {}", chain(source)),
            Error::Timeout { peer, doing, after } => {
                write!(f, "{peer} did not {doing} within {} s", after.as_secs_f64())
            }
            Error::TooLarge { peer, limit } => {
                write!(f, "the response of {peer} is longer than {limit} bytes")
            }
        }
    }
}

impl std::error::Error for Error {}

/// An error with its causes, in one line. Causes that repeat what stands before are left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = one_line(&error.to_string());
    let mut source = error.source();
    while let Some(cause) = source {
        let text = one_line(&cause.to_string());
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        source = cause.source();
    }
    line
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
