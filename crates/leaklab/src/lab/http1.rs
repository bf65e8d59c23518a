//! One connection over HTTP/1.1.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::wire::Request;
use crate::message::{Reader, Side};

/// Bytes received at a time.
const BUFFER: usize = 16 << 10;

/// A connection that sends one request at a time and throws the bodies of answers away.
pub struct Http1 {
    stream: TcpStream,
    reader: Reader,
    /// The server has said or shown that it closes.
    closed: bool,
}

impl Http1 {
    /// Connects; connecting, sending and waiting for an answer each take `patience` at most.
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Http1> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Http1 { stream, reader: Reader::new(Side::Answers), closed: false })
    }

    /// Sends a request and returns the status of its answer.
    pub fn send(&mut self, request: &Request) -> io::Result<u16> {
        self.stream.write_all(&head(request))?;
        if let Err(error) = self.stream.write_all(request.body) {
            // A server may answer and close before it has read everything; the answer is there then.
            self.closed = true;
            return self.answer().map_err(|_| error);
        }
        self.answer()
    }

    fn answer(&mut self) -> io::Result<u16> {
        let mut buffer = [0; BUFFER];
        loop {
            acknowledge_at_once(&self.stream);
            let count = self.stream.read(&mut buffer)?;
            if count == 0 {
                self.closed = true;
                let message = self.reader.closed();
                return message.map(|message| message.status).ok_or(ErrorKind::UnexpectedEof.into());
            }
            let mut bytes = &buffer[..count];
            let taken = self.reader.take(&mut bytes);
            let taken = taken.map_err(|what| io::Error::new(ErrorKind::InvalidData, what))?;
            if let Some(message) = taken {
                self.closed |= message.close;
                return Ok(message.status);
            }
        }
    }

    /// Whether the server has kept the connection open, as far as can be seen now.
    pub fn is_open(&self) -> bool {
        !self.closed && is_open(&self.stream)
    }
}

fn head(request: &Request) -> Vec<u8> {
    let Request { method, path, host, body, token } = request;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\n");
    if !body.is_empty() {
        head.push_str("Content-Type: application/json\r\n");
    }
    if *method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    if let Some(token) = token {
        head.push_str(&format!("X-Request-Id: {token}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A server that writes an answer in two pieces waits for the first to be acknowledged, which the kernel would put
/// off for 40 ms. The setting does not last, so it is made before each read.
pub fn acknowledge_at_once(stream: &TcpStream) {
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to a number that lives during the call. Without the setting it is only slower.
    unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_QUICKACK,
            (&raw const on).cast(),
            size,
        )
    };
}

/// Whether the other side has not closed: looks, takes nothing, does not wait.
pub fn is_open(stream: &TcpStream) -> bool {
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let open = match stream.peek(&mut [0]) {
        Ok(count) => count > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).is_ok() && open
}
