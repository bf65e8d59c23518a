//! Finding out what a server is and can, before it is measured: protocol, keep-alive, more than one connection at
//! a time, the sizes it takes, and where a key may differ.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::body::{Keys, Payload, Template, token};
use super::drive::Server;
use super::wire::{Protocol, Request, Wire};

/// How long a second connection may wait for its answer while a first is held, at least.
const SECOND: Duration = Duration::from_millis(1500);
/// A request that takes longer than this is waiting for something: more of them go at a time.
const SLOW: Duration = Duration::from_millis(4);

/// What was found out.
pub struct Found {
    /// The server.
    pub server: Server,
    /// The least body.
    pub small: Vec<u8>,
    /// A large body, where the server takes a larger one than the small.
    pub large: Option<Vec<u8>>,
    /// Bodies with keys, and the path with a place for one.
    pub template: Template,
    /// The path, with `{key}` where a key may stand.
    pub pattern: String,
    /// The status of the small body.
    pub status: u16,
    /// A large body's time.
    pub large_time: Duration,
}

/// Asks the server.
///
/// # Errors
/// It does not answer over HTTP.
pub fn probe(
    address: SocketAddr,
    host: &str,
    path: &str,
    payload: &Payload,
    large: usize,
    patience: Duration,
) -> Result<Found, String> {
    let mut server = Server {
        address,
        host: host.to_owned(),
        path: path.to_owned(),
        method: "POST".to_owned(),
        protocol: Protocol::Http1,
        streams: false,
        keeps_alive: false,
        concurrent: false,
        workers: 1,
        patience,
    };
    let small = payload.small();
    let mut status = match once(&server, &small) {
        Ok(status) => status,
        Err(first) => {
            server.protocol = Protocol::Http2;
            once(&server, &small).map_err(|_| format!("the server does not answer: {first}"))?
        }
    };
    if matches!(status, 404 | 405 | 501) {
        server.method = "GET".to_owned();
        match once(&server, &small) {
            Ok(other @ 200..300) => status = other,
            _ => server.method = "POST".to_owned(),
        }
    }
    connections(&mut server, &small);
    server.streams = server.protocol == Protocol::Http1 && speaks_http2(&server, &small, status);
    let (large, large_time) = largest(&server, payload, large, small.len(), status);
    let (template, pattern) = keys(&server, payload, status);
    Ok(Found { server, small, large, template, pattern, status, large_time })
}

/// One request on a connection of its own.
fn once(server: &Server, body: &[u8]) -> std::io::Result<u16> {
    let mut wire = Wire::open(server.protocol, server.address, server.patience)?;
    wire.send(&server.request(body))
}

/// Whether connections stay open, whether there may be two, and how many workers it takes.
fn connections(server: &mut Server, small: &[u8]) {
    let Ok(mut first) = Wire::open(server.protocol, server.address, server.patience) else { return };
    let mut fastest = server.patience;
    let mut answered = 0;
    for _ in 0..4 {
        let begun = Instant::now();
        if first.send(&server.request(small)).is_err() {
            break;
        }
        fastest = fastest.min(begun.elapsed());
        answered += 1;
        std::thread::sleep(Duration::from_millis(10));
        if !first.is_open() {
            break;
        }
    }
    server.keeps_alive = answered == 4;
    if !server.keeps_alive {
        // The first is closed already: whether two are served at a time is asked with one that says nothing.
        drop(first);
        let silent = std::net::TcpStream::connect_timeout(&server.address, server.patience);
        server.concurrent = silent.is_ok() && second(server, small, fastest);
    } else {
        server.concurrent = second(server, small, fastest);
    }
    server.workers = match (server.concurrent, fastest > SLOW) {
        (false, _) => 1,
        (true, false) => 4,
        (true, true) => 16,
    };
}

/// Whether another connection is served meanwhile.
fn second(server: &Server, small: &[u8], fastest: Duration) -> bool {
    let patience = (fastest * 4).max(SECOND).min(server.patience);
    let wire = Wire::open(server.protocol, server.address, patience);
    wire.is_ok_and(|mut wire| wire.send(&server.request(small)).is_ok())
}

fn speaks_http2(server: &Server, small: &[u8], status: u16) -> bool {
    let wire = Wire::open(Protocol::Http2, server.address, SECOND.min(server.patience));
    wire.and_then(|mut wire| wire.send(&server.request(small))).is_ok_and(|other| same(status, other))
}

/// Of the same class: both accepted, or both refused.
fn same(one: u16, other: u16) -> bool {
    one / 100 == other / 100
}

fn largest(
    server: &Server,
    payload: &Payload,
    wanted: usize,
    small: usize,
    status: u16,
) -> (Option<Vec<u8>>, Duration) {
    if server.method == "GET" {
        return (None, Duration::ZERO);
    }
    for part in [1, 2, 4, 12, 40] {
        let body = payload.sized(wanted / part);
        if body.len() < small * 4 {
            continue;
        }
        let begun = Instant::now();
        if once(server, &body).is_ok_and(|other| same(status, other)) {
            return (Some(body), begun.elapsed());
        }
    }
    (None, Duration::ZERO)
}

/// As many places for a key as the server accepts.
fn keys(server: &Server, payload: &Payload, status: u16) -> (Template, String) {
    let mut number = 1 << 40;
    let mut accepts = |template: &Template, pattern: &str| {
        number += 1;
        let key = token(number);
        let mut body = Vec::new();
        template.fill(&key, &mut body);
        let path = pattern.replace("{key}", &key);
        let request = Request { path: &path, token: Some(&key), ..server.request(&body) };
        let wire = Wire::open(server.protocol, server.address, server.patience);
        wire.and_then(|mut wire| wire.send(&request)).is_ok_and(|other| same(status, other))
    };
    let mut template = payload.template(Keys::Nothing);
    for keys in [Keys::Everything, Keys::Strings] {
        let candidate = payload.template(keys);
        if accepts(&candidate, &server.path) {
            template = candidate;
            break;
        }
    }
    let (path, query) = server.path.split_once('?').map_or((server.path.as_str(), ""), |parts| parts);
    let join =
        |path: &str, query: &str| if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    let mut pattern = server.path.clone();
    let in_query = join(path, &format!("{query}{}key={{key}}", if query.is_empty() { "" } else { "&" }));
    if accepts(&template, &in_query) {
        pattern = in_query;
    }
    let (before, rest) = pattern.split_once('?').map_or((pattern.as_str(), ""), |parts| parts);
    let in_path = join(&format!("{}/k{{key}}", before.trim_end_matches('/')), rest);
    if accepts(&template, &in_path) {
        pattern = in_path;
    }
    (template, pattern)
}
