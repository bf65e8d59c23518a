//! An HTTP server that agents deliver to: it counts requests and lines, forgets them, and answers 200; it can be
//! made slow, and made to misbehave.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::message::{Message, Reader, Side};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// Bytes that are read at a time.
const BUFFER: usize = 256 << 10;
/// How often a connection that is silent looks whether it should end, and one that hangs whether it still should.
const GLANCE: Duration = Duration::from_millis(200);
const NAP: Duration = Duration::from_millis(50);
/// The longest wait for an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Takes them.
    Healthy,
    /// Reads nothing and says nothing.
    Hangs,
    /// Reads them and answers 503.
    Refuses,
    /// Reads one byte a second.
    Crawls,
}

const MOODS: [Mood; 4] = [Mood::Healthy, Mood::Hangs, Mood::Refuses, Mood::Crawls];

/// How much it takes, from all connections together.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes in a second.
    pub rate: u64,
    /// A machine that is busy wakes it late: of what it would have taken meanwhile it takes so much at once.
    pub catch_up: Duration,
}

/// A server on the loopback interface. It stops when this is dropped.
pub struct Sink {
    port: u16,
    state: Arc<State>,
}

struct State {
    mood: AtomicU8,
    stop: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicU64,
    lines: AtomicU64,
    received: AtomicU64,
    pace: Option<Pace>,
    due: Mutex<Instant>,
}

impl Sink {
    /// Starts it. Without a pace it takes all there is.
    ///
    /// # Errors
    /// The system's.
    pub fn start(pace: Option<Pace>) -> io::Result<Sink> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            mood: AtomicU8::new(Mood::Healthy as u8),
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            lines: AtomicU64::new(0),
            received: AtomicU64::new(0),
            pace,
            due: Mutex::new(Instant::now()),
        });
        let shared = Arc::clone(&state);
        std::thread::Builder::new().name("sink".to_owned()).spawn(move || accept(&listener, &shared))?;
        Ok(Sink { port, state })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on.
    pub fn turn(&self, mood: Mood) {
        self.state.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// Requests that it has answered 200.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Lines of their bodies.
    pub fn lines(&self) -> u64 {
        self.state.lines.load(Ordering::Relaxed)
    }

    /// Bytes that it has read.
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))));
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        // One more than allowed is closed again.
        if state.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            state.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let shared = Arc::clone(state);
        let spawned = std::thread::Builder::new().name("sink".to_owned()).spawn(move || {
            // A connection that breaks is the agent's to report, and to try again.
            let _broken = shared.serve(stream);
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            state.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl State {
    fn mood(&self) -> Mood {
        MOODS[usize::from(self.mood.load(Ordering::Relaxed)) % MOODS.len()]
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(GLANCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut reader = Reader::new(Side::Requests);
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = self.receive(&mut stream, &mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            let mut bytes = &buffer[..count];
            while let Some(message) = reader.take(&mut bytes).map_err(io::Error::other)? {
                stream.write_all(self.answer(message))?;
                if message.close {
                    return Ok(());
                }
            }
        }
    }

    fn answer(&self, message: Message) -> &'static [u8] {
        if self.mood() == Mood::Refuses {
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.lines.fetch_add(message.lines, Ordering::Relaxed);
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    }

    /// Reads as much as mood and pace allow.
    fn receive(&self, stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        while !self.stop.load(Ordering::Relaxed) {
            let most = match self.mood() {
                Mood::Healthy | Mood::Refuses => buffer.len(),
                Mood::Hangs => {
                    std::thread::sleep(NAP);
                    continue;
                }
                Mood::Crawls => {
                    std::thread::sleep(Duration::from_secs(1));
                    1
                }
            };
            match stream.read(&mut buffer[..most]) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                result => {
                    let count = result?;
                    self.received.fetch_add(count as u64, Ordering::Relaxed);
                    self.wait(count);
                    return Ok(count);
                }
            }
        }
        Ok(0)
    }

    /// Waits until so many more bytes fit the pace of all connections together.
    fn wait(&self, bytes: usize) {
        let Some(Pace { rate, catch_up }) = self.pace else { return };
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let earliest = Instant::now().checked_sub(catch_up).unwrap_or(*due);
            *due = (*due).max(earliest) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *due
        };
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Connection;

    #[test]
    fn it_answers_every_request_of_a_connection_and_counts_lines_of_those_it_took() {
        let sink = Sink::start(None).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, sink.port()));
        let mut connection = Connection::open(address, PATIENCE).unwrap();
        let body = "{\"a\":1}\n".repeat(40_000);
        for _ in 0..3 {
            assert_eq!(connection.post("/a", body.as_bytes()).unwrap(), 200);
        }
        sink.turn(Mood::Refuses);
        assert_eq!(connection.post("/a", body.as_bytes()).unwrap(), 503);
        assert_eq!((sink.requests(), sink.lines()), (3, 120_000));
        assert!(sink.received() > 4 * body.len() as u64);
    }
}
