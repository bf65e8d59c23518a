//! A blocking HTTP/1.1 client for load: one connection, one request at a time.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection that is kept alive.
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    /// Connects. Answers and connecting are waited for at most `patience` each.
    ///
    /// # Errors
    /// The system's.
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Connection { stream, received: Vec::with_capacity(1024) })
    }

    /// Posts a JSON body and returns the status of the answer.
    ///
    /// # Errors
    /// The system's, or an answer that is none.
    pub fn post(&mut self, path: &str, body: &[u8]) -> io::Result<u16> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(head.as_bytes())?;
        self.stream.write_all(body)?;
        self.answer().map(|(status, _)| status)
    }

    /// Gets a path: status and body.
    ///
    /// # Errors
    /// The system's, or an answer that is none.
    pub fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        write!(self.stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let head = loop {
            if let Some(end) = self.received.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break self.received.drain(..end + 4).collect::<Vec<u8>>();
            }
            self.receive()?;
        };
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        // The reason behind the status may be missing.
        let status = head
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| wrong("no status"))?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize =
            length.map_or(Ok(0), |text| text.trim().parse()).map_err(|_| wrong("no length"))?;
        while self.received.len() < length {
            self.receive()?;
        }
        Ok((status, self.received.drain(..length).collect()))
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        let read = self.stream.read(&mut bytes)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&bytes[..read]);
        Ok(())
    }
}
