//! An HTTP server that agents deliver to: it counts, forgets and answers 200.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::running::local;
use crate::message::{Reader, Side};

/// Connections at a time.
const CONNECTIONS: usize = 64;
/// How long a connection may be silent.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on the loopback interface. It stops when this is dropped.
pub struct Sink {
    port: u16,
    state: Arc<State>,
}

struct State {
    stop: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicU64,
    /// Bytes a second, and when the next are due.
    rate: Option<u64>,
    due: Mutex<Instant>,
}

impl State {
    /// Waits until so many more bytes fit the rate of all connections together.
    fn pace(&self, bytes: usize) {
        let Some(rate) = self.rate else { return };
        let due = {
            let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
            *due = (*due).max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *due
        };
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

impl Sink {
    /// Starts it. `rate`: bytes that it takes in a second, from all connections together.
    pub fn start(rate: Option<u64>) -> io::Result<Sink> {
        let listener = TcpListener::bind(local(0))?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            stop: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            rate,
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

    /// Requests that were taken.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(local(self.port)));
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
            // A connection that breaks is the agent's to report.
            let _broken = serve(stream, &shared);
            shared.connections.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            state.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(mut stream: TcpStream, state: &State) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = Reader::new(Side::Requests);
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        state.pace(count);
        let mut bytes = &buffer[..count];
        while let Some(message) = reader.take(&mut bytes).map_err(io::Error::other)? {
            state.requests.fetch_add(1, Ordering::Relaxed);
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
            if message.close {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Connection;

    #[test]
    fn it_answers_every_request_of_a_connection() {
        let sink = Sink::start(None).unwrap();
        let mut connection = Connection::open(local(sink.port()), PATIENCE).unwrap();
        for _ in 0..3 {
            assert_eq!(connection.post("/a", &[b'x'; 300_000]).unwrap(), 200);
        }
        assert_eq!(sink.requests(), 3);
    }
}
