//! Clients that want their records taken.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::client::Connection;
use crate::payload;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Behind a refusal, or a connection that broke.
const PAUSE: Duration = Duration::from_millis(100);
/// A polite client's answers come within this time.
const PROMPT: Duration = Duration::from_secs(2);

/// What clients did, and when to stop.
#[derive(Default)]
pub struct Tally {
    stop: AtomicBool,
    /// Records that were answered 2xx.
    pub records: AtomicU64,
    /// Bytes of their bodies.
    pub bytes: AtomicU64,
    /// Bytes that were answered 2xx before the first 503, and one; 0 while there was none.
    before_refusal: AtomicU64,
    answers: Mutex<BTreeMap<u16, u64>>,
    /// Requests of the polite client, and those that were answered well and in time.
    pub polite: AtomicU64,
    /// See [`Tally::polite`].
    pub pleased: AtomicU64,
}

impl Tally {
    /// From now on nobody begins anything.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it is time to end.
    pub fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An answer to a body.
    pub fn answered(&self, status: u16, records: u64, bytes: u64) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(status).or_default() += 1;
        if (200..300).contains(&status) {
            self.records.fetch_add(records, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        if status == 503 {
            let taken = self.bytes.load(Ordering::Relaxed) + 1;
            let _not_the_first =
                self.before_refusal.compare_exchange(0, taken, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Answers by status; 0 stands for none.
    pub fn answers(&self) -> BTreeMap<u16, u64> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes that were taken before the first 503.
    pub fn before_refusal(&self) -> Option<u64> {
        self.before_refusal.load(Ordering::Relaxed).checked_sub(1)
    }
}

/// Posts over a connection that is opened anew when it breaks.
pub struct Poster {
    address: SocketAddr,
    connection: Option<Connection>,
}

impl Poster {
    /// One that is not connected yet.
    pub fn new(address: SocketAddr) -> Poster {
        Poster { address, connection: None }
    }

    /// The status, or 0 when there was no answer.
    pub fn post(&mut self, path: &str, body: &[u8]) -> u16 {
        if self.connection.is_none() {
            self.connection = Connection::open(self.address, PATIENCE).ok();
        }
        let status = self.connection.as_mut().and_then(|connection| connection.post(path, body).ok());
        // What was refused may have been closed behind it.
        if status.is_none_or(|status| status >= 300) {
            self.connection = None;
        }
        status.unwrap_or(0)
    }
}

/// Posts the same body as fast as it is taken; `rate` bounds the bytes in a second, 0 does not.
pub fn flood(address: SocketAddr, path: &str, body: &[u8], records: u64, rate: u64, tally: &Tally) {
    let mut poster = Poster::new(address);
    let mut due = Instant::now();
    while !tally.is_over() {
        let status = poster.post(path, body);
        tally.answered(status, records, body.len() as u64);
        if status == 0 || status >= 300 {
            std::thread::sleep(PAUSE);
        }
        if let Some(pause) = (body.len() as u64 * 1_000_000).checked_div(rate) {
            due = due.max(Instant::now() - Duration::from_secs(1)) + Duration::from_micros(pause);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    }
}

/// A record of 483 bytes or so each second, and whether it is taken in time.
pub fn polite(address: SocketAddr, path: &str, tally: &Tally) {
    let mut poster = Poster::new(address);
    let mut seed = 0;
    let mut due = Instant::now();
    while !tally.is_over() {
        seed += 1;
        let body = payload::record(seed);
        let begun = Instant::now();
        let status = poster.post(path, body.as_bytes());
        let well = (200..300).contains(&status);
        if well {
            tally.records.fetch_add(1, Ordering::Relaxed);
        }
        tally.polite.fetch_add(1, Ordering::Relaxed);
        tally.pleased.fetch_add(u64::from(well && begun.elapsed() <= PROMPT), Ordering::Relaxed);
        due = (due + Duration::from_secs(1)).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Bodies of one record, from a byte of text to 4 MB, as many of each order of magnitude.
pub fn random(address: SocketAddr, seed: u64, tally: &Tally) {
    let mut poster = Poster::new(address);
    let mut numbers = Numbers(seed);
    while !tally.is_over() {
        let size = (2.0_f64.powf(numbers.below(2_190) as f64 / 100.0)) as usize;
        let body = record_of(size);
        let status = poster.post("/random", body.as_bytes());
        tally.answered(status, 1, body.len() as u64);
        if status == 0 || status >= 300 {
            std::thread::sleep(PAUSE);
        }
    }
}

/// A record with so much text.
pub fn record_of(size: usize) -> String {
    format!("{{\"text\":\"{}\"}}", "0123456789abcdef".repeat(size / 16 + 1).get(..size).unwrap_or(""))
}

/// A record each under tags that nobody has used before, from `first` in steps, up to `end`.
pub fn tags(address: SocketAddr, first: u64, step: usize, end: u64, tally: &Tally) {
    let mut poster = Poster::new(address);
    let body = payload::record(1);
    for tag in (first..end).step_by(step) {
        // The last tag counts, not the time: it takes as long as it takes, within bounds.
        loop {
            let status = poster.post(&format!("/tag.{tag}"), body.as_bytes());
            tally.answered(status, 1, body.len() as u64);
            if (200..300).contains(&status) || tally.is_over() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        if tally.is_over() {
            return;
        }
    }
}

/// splitmix64.
pub struct Numbers(pub u64);

impl Numbers {
    /// A number below the bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}
