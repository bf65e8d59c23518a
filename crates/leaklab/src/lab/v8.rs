//! Asking V8 (Node.js) to collect its garbage.
//!
//! Node opens its inspector when it receives SIGUSR1, on the port that `NODE_OPTIONS` names; the inspector has a
//! command for it. Without it the memory of a Node process moves by tens of megabytes from one rest to the next.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How long the inspector may take to open, and the collection to end.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest message that is taken.
const MESSAGE: usize = 1 << 20;

/// A port for an inspector, free a moment ago.
pub fn free_port() -> Option<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    listener.local_addr().ok().map(|address| address.port())
}

/// `NODE_OPTIONS` with the port in it.
pub fn options(port: u16) -> String {
    let given = std::env::var("NODE_OPTIONS").unwrap_or_default();
    format!("{given} --inspect-port=127.0.0.1:{port}").trim().to_owned()
}

/// A connection to the inspector of a process.
pub struct Inspector {
    stream: TcpStream,
    number: u32,
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// The path of the first target in a listing, which does not end with the connection.
fn path(listing: &mut TcpStream, port: u16) -> io::Result<String> {
    let place = format!("\"ws://127.0.0.1:{port}");
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    while text.len() < MESSAGE {
        let count = listing.read(&mut bytes)?;
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let path = text.split_once(&place).and_then(|(_, rest)| rest.split_once('"'));
        if let Some((path, _)) = path {
            return Ok(path.to_owned());
        }
        if count == 0 {
            break;
        }
    }
    Err(wrong("no target"))
}

impl Inspector {
    /// Opens the inspector of a process and connects to it.
    ///
    /// # Errors
    /// The process has no inspector, or does not open it.
    pub fn open(pid: u32, port: u16) -> io::Result<Inspector> {
        // SAFETY: a signal to a process of our own; Node without a handler of its own opens the inspector.
        unsafe { libc::kill(pid as libc::pid_t, libc::SIGUSR1) };
        let begun = Instant::now();
        let mut listing = loop {
            match connect(port) {
                Ok(stream) => break stream,
                Err(error) if begun.elapsed() > PATIENCE => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        write!(listing, "GET /json/list HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n")?;
        let path = path(&mut listing, port)?;
        let mut stream = connect(port)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && head.len() < MESSAGE {
            stream.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(wrong("no inspector"));
        }
        Ok(Inspector { stream, number: 0 })
    }

    /// Collects, and waits until that is done.
    ///
    /// # Errors
    /// The system's.
    pub fn collect(&mut self) -> io::Result<()> {
        self.number += 1;
        let id = self.number;
        let text = format!("{{\"id\":{id},\"method\":\"HeapProfiler.collectGarbage\"}}");
        // A final text frame, masked with zeros.
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend(text.as_bytes());
        self.stream.write_all(&frame)?;
        let wanted = format!("\"id\":{id}");
        loop {
            let message = self.receive()?;
            if String::from_utf8_lossy(&message).contains(&wanted) {
                return Ok(());
            }
        }
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let length = match head[1] & 127 {
            126 => {
                let mut long = [0; 2];
                self.stream.read_exact(&mut long)?;
                usize::from(u16::from_be_bytes(long))
            }
            127 => return Err(wrong("a message that is too long")),
            length => usize::from(length),
        };
        let mut message = vec![0; length];
        self.stream.read_exact(&mut message)?;
        Ok(message)
    }
}
