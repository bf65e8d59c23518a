//! A connection of either protocol, and what is sent over it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::http1::Http1;
use super::http2::Http2;

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS.
    Http2,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `POST`, or `GET` where the server takes nothing else.
    pub method: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// What the `Host` header says.
    pub host: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// A key that no other request has, sent as a header.
    pub token: Option<&'a str>,
}

/// A connection.
pub enum Wire {
    /// Over HTTP/1.1.
    Http1(Http1),
    /// Over HTTP/2.
    Http2(Box<Http2>),
}

impl Wire {
    /// Connects.
    ///
    /// # Errors
    /// The system's, or the server does not speak the protocol.
    pub fn open(protocol: Protocol, address: SocketAddr, patience: Duration) -> io::Result<Wire> {
        match protocol {
            Protocol::Http1 => Http1::open(address, patience).map(Wire::Http1),
            Protocol::Http2 => Http2::open(address, patience).map(|wire| Wire::Http2(Box::new(wire))),
        }
    }

    /// Sends a request and returns the status of its answer.
    ///
    /// # Errors
    /// The system's, or an answer that is none.
    pub fn send(&mut self, request: &Request) -> io::Result<u16> {
        match self {
            Wire::Http1(wire) => wire.send(request),
            Wire::Http2(wire) => wire.send(request),
        }
    }

    /// Whether the server has kept the connection open.
    pub fn is_open(&self) -> bool {
        match self {
            Wire::Http1(wire) => wire.is_open(),
            Wire::Http2(wire) => wire.is_open(),
        }
    }
}
