//! Where the agent delivers to: an HTTP server that counts lines, and that can be made to misbehave.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::agent::{free_port, local};

/// Connections at a time.
const CONNECTIONS: usize = 64;

/// A machine that is busy wakes it late: so much of what it would have taken meanwhile it takes at once.
const CATCH_UP: Duration = Duration::from_millis(500);

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

/// A server on the loopback interface.
pub struct Destination {
    port: u16,
    state: Arc<State>,
}

struct State {
    mood: AtomicU8,
    stop: AtomicBool,
    connections: AtomicUsize,
    lines: AtomicU64,
    /// Bytes of requests that have arrived.
    received: AtomicU64,
    /// Bytes a second over all connections; 0 for as many as come.
    rate: u64,
    due: Mutex<Instant>,
}

impl Destination {
    /// Starts it. `rate`: the bytes that it takes in a second; 0 for no limit.
    ///
    /// # Errors
    /// The system's.
    pub fn start(rate: u64) -> Result<Destination, String> {
        let port = free_port()?;
        let listener = TcpListener::bind(local(port)).map_err(|error| error.to_string())?;
        let state = Arc::new(State {
            mood: AtomicU8::new(0),
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            lines: AtomicU64::new(0),
            received: AtomicU64::new(0),
            rate,
            due: Mutex::new(Instant::now()),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || accept(&listener, &shared));
        Ok(Destination { port, state })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on.
    pub fn turn(&self, mood: Mood) {
        self.state.mood.store(mood as u8, Ordering::Relaxed);
    }

    /// Lines of the requests that it has answered 200.
    pub fn lines(&self) -> u64 {
        self.state.lines.load(Ordering::Relaxed)
    }

    /// Bytes that it has read.
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(local(self.port)));
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    for stream in listener.incoming() {
        if state.stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if state.connections.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS {
            state.connections.fetch_sub(1, Ordering::Relaxed);
            continue;
        }
        let shared = Arc::clone(state);
        std::thread::spawn(move || {
            // A connection that breaks is the agent's to try again.
            let _broken = Peer { stream, state: &shared, left: Vec::new() }.serve();
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

struct Peer<'a> {
    stream: TcpStream,
    state: &'a State,
    /// Received and not looked at.
    left: Vec<u8>,
}

impl Peer<'_> {
    fn serve(mut self) -> io::Result<()> {
        self.stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        self.stream.set_nodelay(true)?;
        loop {
            let length = self.head()?;
            let lines = self.body(length)?;
            let refused = self.mood() == Mood::Refuses;
            if !refused {
                self.state.lines.fetch_add(lines, Ordering::Relaxed);
            }
            let status = if refused { "503 Service Unavailable" } else { "200 OK" };
            write!(self.stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n")?;
        }
    }

    fn mood(&self) -> Mood {
        MOODS[usize::from(self.state.mood.load(Ordering::Relaxed)) % MOODS.len()]
    }

    /// Reads to the end of a head: the length of the body.
    fn head(&mut self) -> io::Result<usize> {
        let end = loop {
            if let Some(end) = self.left.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.receive()?;
        };
        let head = String::from_utf8_lossy(&self.left[..end]).to_ascii_lowercase();
        self.left.drain(..end);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        length.ok_or_else(|| io::Error::other("no length"))
    }

    fn body(&mut self, length: usize) -> io::Result<u64> {
        let (mut lines, mut missing) = (0, length);
        loop {
            let here = self.left.len().min(missing);
            lines += self.left[..here].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.left.drain(..here);
            missing -= here;
            if missing == 0 {
                return Ok(lines);
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 64 << 10];
        loop {
            if self.state.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let most = match self.mood() {
                Mood::Healthy | Mood::Refuses => buffer.len(),
                Mood::Hangs => {
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
                Mood::Crawls => {
                    std::thread::sleep(Duration::from_secs(1));
                    1
                }
            };
            match self.stream.read(&mut buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    self.left.extend_from_slice(&buffer[..read]);
                    self.state.received.fetch_add(read as u64, Ordering::Relaxed);
                    self.pace(read);
                    return Ok(());
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until so many more bytes fit the rate.
    fn pace(&self, bytes: usize) {
        if self.state.rate == 0 {
            return;
        }
        let due = {
            let mut due = self.state.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = (*due).max(Instant::now() - CATCH_UP)
                + Duration::from_secs_f64(bytes as f64 / self.state.rate as f64);
            *due
        };
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
