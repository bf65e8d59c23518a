//! The load of an experiment: few connections, exact counts.
//!
//! Every request, byte, connection and key is counted when the server has answered, because the judge divides
//! memory by them. Connections of the pool stay open between blocks, as those of a client that keeps alive do.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::body::{Template, token};
use super::wire::{Protocol, Request, Wire};

/// After so many failures one after the other a worker ends its block.
const FAILURES: u32 = 5;
/// Pause behind a failure.
const BACKOFF: Duration = Duration::from_millis(20);
/// Workers that open held connections at the same time.
const OPENERS: usize = 8;

/// What was done to the server, since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests that were answered.
    pub requests: u64,
    /// Bytes of their bodies.
    pub payload_bytes: u64,
    /// Connections opened.
    pub connections_opened: u64,
    /// Keys that were sent for the first time.
    pub distinct_keys: u64,
    /// Those of the requests that came over HTTP/2 beside HTTP/1.1.
    pub streams: u64,
    /// Answers outside 200 to 299.
    pub refused: u64,
    /// Requests without an answer, and connections that were refused.
    pub failed: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.requests += other.requests;
        self.payload_bytes += other.payload_bytes;
        self.connections_opened += other.connections_opened;
        self.distinct_keys += other.distinct_keys;
        self.streams += other.streams;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

/// What the server is and can, as found out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// `POST` or `GET`.
    pub method: String,
    /// The protocol of all blocks but that of streams.
    pub protocol: Protocol,
    /// It also speaks HTTP/2.
    pub streams: bool,
    /// It keeps connections open behind an answer.
    pub keeps_alive: bool,
    /// It serves more than one connection at a time.
    pub concurrent: bool,
    /// Workers that send at the same time.
    pub workers: usize,
    /// The longest wait for an answer.
    pub patience: Duration,
}

/// What the requests of a block carry.
#[derive(Clone, Copy)]
pub enum Work<'a> {
    /// The same body again and again.
    Same(&'a [u8]),
    /// A key of its own in each, in the body and where else the path has `{key}`.
    Distinct(&'a Template, &'a str),
}

/// When a block ends, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    /// Requests or connections.
    pub count: u64,
    /// The time.
    pub until: Instant,
}

/// The load.
pub struct Drive {
    /// The server.
    pub server: Server,
    /// What was done so far.
    pub counts: Counts,
    pool: Vec<Option<Wire>>,
    stream: Vec<Option<Wire>>,
    keys: AtomicU64,
}

impl Drive {
    /// Nothing sent yet.
    pub fn new(server: Server) -> Drive {
        let pool = (0..server.workers).map(|_| None).collect();
        Drive { server, counts: Counts::default(), pool, stream: vec![None], keys: AtomicU64::new(0) }
    }

    /// Requests over the connections of the pool. `stop` ends the block early.
    pub fn requests(&mut self, work: Work, limit: Limit, stop: &AtomicBool) {
        let mut pool = std::mem::take(&mut self.pool);
        self.send(&mut pool, self.server.protocol, work, limit, stop);
        if self.server.concurrent && self.server.keeps_alive {
            self.pool = pool;
        } else {
            self.pool = pool.iter().map(|_| None).collect();
        }
    }

    /// Requests one after the other over the first connection of the pool.
    pub fn one_by_one(&mut self, body: &[u8], limit: Limit, stop: &AtomicBool) {
        let mut pool = std::mem::take(&mut self.pool);
        self.send(&mut pool[..1], self.server.protocol, Work::Same(body), limit, stop);
        if !self.server.concurrent {
            pool = pool.iter().map(|_| None).collect();
        }
        self.pool = pool;
    }

    /// Requests over one HTTP/2 connection that is held from block to block.
    pub fn streams(&mut self, body: &[u8], limit: Limit, stop: &AtomicBool) {
        let mut stream = std::mem::take(&mut self.stream);
        let before = self.counts.requests;
        self.send(&mut stream, Protocol::Http2, Work::Same(body), limit, stop);
        self.counts.streams += self.counts.requests - before;
        self.stream = stream;
    }

    /// A request over the HTTP/2 connection, where there is one: what streams leave belongs to their connection, and
    /// a server that closes it for being idle between two blocks takes it away.
    pub fn keep_stream(&mut self, body: &[u8], stop: &AtomicBool) {
        if self.stream.iter().any(Option::is_some) {
            let limit = Limit { count: 1, until: Instant::now() + self.server.patience };
            self.streams(body, limit, stop);
        }
    }

    /// Closes what is open.
    pub fn close(&mut self) {
        self.pool.iter_mut().chain(&mut self.stream).for_each(|wire| *wire = None);
    }

    fn send(
        &mut self,
        wires: &mut [Option<Wire>],
        protocol: Protocol,
        work: Work,
        limit: Limit,
        stop: &AtomicBool,
    ) {
        let left = AtomicU64::new(limit.count);
        let job = Job {
            server: &self.server,
            protocol,
            work,
            until: limit.until,
            left: &left,
            stop,
            keys: &self.keys,
        };
        let counts: Vec<Counts> = std::thread::scope(|scope| {
            let job = &job;
            let workers: Vec<_> = wires.iter_mut().map(|wire| scope.spawn(move || job.run(wire))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or_default()).collect()
        });
        counts.iter().for_each(|counts| self.counts.add(counts));
    }

    /// Connections that are opened, send one request (or nothing, `body` None) and are closed.
    pub fn connections(&mut self, body: Option<&[u8]>, limit: Limit, stop: &AtomicBool) {
        let left = AtomicU64::new(limit.count);
        let server = &self.server;
        let work = || {
            let mut counts = Counts::default();
            let mut failures = 0;
            while failures < FAILURES
                && !stop.load(Ordering::Relaxed)
                && Instant::now() < limit.until
                && take(&left)
            {
                match server.visit(body, &mut counts) {
                    Ok(()) => failures = 0,
                    Err(_) => {
                        failures += 1;
                        counts.failed += 1;
                        std::thread::sleep(BACKOFF);
                    }
                }
            }
            counts
        };
        let counts: Vec<Counts> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..server.workers).map(|_| scope.spawn(work)).collect();
            workers.into_iter().map(|worker| worker.join().unwrap_or_default()).collect()
        });
        counts.iter().for_each(|counts| self.counts.add(counts));
    }

    /// Opens connections that send one request each and stay open. The server may close some of them.
    pub fn hold(&mut self, body: &[u8], limit: Limit) -> Vec<Wire> {
        let left = AtomicU64::new(limit.count);
        let server = &self.server;
        let work = || {
            let (mut held, mut counts) = (Vec::new(), Counts::default());
            while Instant::now() < limit.until && take(&left) {
                match server
                    .open(&mut counts)
                    .and_then(|mut wire| server.ask(&mut wire, body, &mut counts).map(|()| wire))
                {
                    Ok(wire) => held.push(wire),
                    Err(_) => {
                        counts.failed += 1;
                        break;
                    }
                }
            }
            (held, counts)
        };
        let (held, counts) = in_parallel(server, &work);
        self.counts.add(&counts);
        held
    }

    /// Sends a request over each held connection; those that fail are dropped.
    pub fn ask_all(&mut self, held: Vec<Wire>, body: &[u8], until: Instant) -> Vec<Wire> {
        let server = &self.server;
        let held = std::sync::Mutex::new(held);
        let work = || {
            let (mut kept, mut counts) = (Vec::new(), Counts::default());
            loop {
                let next = held.lock().ok().and_then(|mut held| held.pop());
                let Some(mut wire) = next else { return (kept, counts) };
                // What is not asked in time stays as it is.
                if Instant::now() >= until || server.ask(&mut wire, body, &mut counts).is_ok() {
                    kept.push(wire);
                } else {
                    counts.failed += 1;
                }
            }
        };
        let (held, counts) = in_parallel(server, &work);
        self.counts.add(&counts);
        held
    }
}

fn in_parallel(server: &Server, work: &(dyn Fn() -> (Vec<Wire>, Counts) + Sync)) -> (Vec<Wire>, Counts) {
    let openers = OPENERS.min(server.workers * 2);
    let results: Vec<(Vec<Wire>, Counts)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..openers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_default()).collect()
    });
    let (mut all, mut sum) = (Vec::new(), Counts::default());
    for (held, counts) in results {
        sum.add(&counts);
        all.extend(held);
    }
    (all, sum)
}

fn take(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
}

impl Server {
    /// A request with this body.
    pub fn request<'a>(&'a self, body: &'a [u8]) -> Request<'a> {
        let body = if self.method == "GET" { &[] } else { body };
        Request { method: &self.method, path: &self.path, host: &self.host, body, token: None }
    }

    fn open(&self, counts: &mut Counts) -> io::Result<Wire> {
        let wire = Wire::open(self.protocol, self.address, self.patience)?;
        counts.connections_opened += 1;
        Ok(wire)
    }

    fn ask(&self, wire: &mut Wire, body: &[u8], counts: &mut Counts) -> io::Result<()> {
        let request = self.request(body);
        let status = wire.send(&request)?;
        counts.answered(status, request.body.len());
        Ok(())
    }

    fn visit(&self, body: Option<&[u8]>, counts: &mut Counts) -> io::Result<()> {
        let mut wire = self.open(counts)?;
        body.map_or(Ok(()), |body| self.ask(&mut wire, body, counts))
    }
}

impl Counts {
    fn answered(&mut self, status: u16, bytes: usize) {
        self.requests += 1;
        self.payload_bytes += bytes as u64;
        self.refused += u64::from(!(200..300).contains(&status));
    }
}

/// A block of requests, as its workers share it.
struct Job<'a> {
    server: &'a Server,
    protocol: Protocol,
    work: Work<'a>,
    until: Instant,
    left: &'a AtomicU64,
    stop: &'a AtomicBool,
    keys: &'a AtomicU64,
}

impl Job<'_> {
    fn run(&self, wire: &mut Option<Wire>) -> Counts {
        let mut counts = Counts::default();
        let mut failures = 0;
        let (mut body, mut path) = (Vec::new(), String::new());
        while failures < FAILURES
            && !self.stop.load(Ordering::Relaxed)
            && Instant::now() < self.until
            && take(self.left)
        {
            let request = self.next(&mut body, &mut path);
            match self.deliver(wire, &request, &mut counts) {
                Ok(status) => {
                    failures = 0;
                    counts.answered(status, request.body.len());
                    counts.distinct_keys += u64::from(request.token.is_some());
                }
                Err(_) => {
                    failures += 1;
                    counts.failed += 1;
                    std::thread::sleep(BACKOFF);
                }
            }
        }
        counts
    }

    fn next<'a>(&'a self, body: &'a mut Vec<u8>, path: &'a mut String) -> Request<'a> {
        match self.work {
            Work::Same(body) => self.server.request(body),
            Work::Distinct(template, pattern) => {
                let number = self.keys.fetch_add(1, Ordering::Relaxed);
                let key = token(number);
                template.fill(&key, body);
                // Every other one leaves the path alone: a server may do nothing at paths it does not know.
                let pattern = if number.is_multiple_of(2) { &self.server.path } else { pattern };
                *path = pattern.replace("{key}", &key);
                // The header's value lives in the path's string: the path ends before it.
                let at = path.len();
                path.push_str(&key);
                let (path, key) = path.split_at(at);
                Request { path, token: Some(key), ..self.server.request(body) }
            }
        }
    }

    /// Over the connection there is, or a new one where that was closed meanwhile.
    fn deliver(&self, slot: &mut Option<Wire>, request: &Request, counts: &mut Counts) -> io::Result<u16> {
        if let Some(wire) = slot {
            match wire.send(request) {
                Ok(status) => return Ok(status),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    *slot = None;
                    return Err(error);
                }
                Err(_) => *slot = None,
            }
        }
        let mut wire = Wire::open(self.protocol, self.server.address, self.server.patience)?;
        counts.connections_opened += 1;
        let status = wire.send(request)?;
        if self.server.keeps_alive {
            *slot = Some(wire);
        }
        Ok(status)
    }
}
