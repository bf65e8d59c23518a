//! Clients that want something else.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::clients::{Poster, Tally};
use crate::payload;

/// A connection of a crowd, and what is still to be sent over it.
struct One {
    stream: TcpStream,
    left: Vec<u8>,
    sent: usize,
}

/// How a crowd behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Sends a byte a second behind the first bytes.
    Drips,
    /// Sends as much as is taken and reads nothing.
    Deaf,
}

/// Keeps `count` connections open that begin with `start` and go on with `rest` in their way, until it is over. One
/// that is closed is opened anew.
fn crowd(address: SocketAddr, count: usize, start: &[u8], rest: &[u8], way: Way, tally: &Tally) {
    let mut crowd: Vec<One> = Vec::new();
    while !tally.is_over() {
        for _ in crowd.len()..count {
            let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_secs(5)) else { break };
            let _nonblocking = stream.set_nonblocking(true);
            let mut one = One { stream, left: start.to_vec(), sent: 0 };
            let _begun = one.send(if way == Way::Drips { start.len() } else { usize::MAX }, rest);
            crowd.push(one);
        }
        crowd.retain_mut(|one| {
            let most = if way == Way::Drips { 1 } else { usize::MAX };
            one.send(most, rest).is_ok() && (way == Way::Deaf || one.is_open())
        });
        std::thread::sleep(Duration::from_millis(if way == Way::Drips { 1_000 } else { 100 }));
    }
}

impl One {
    /// Sends up to so many bytes of what is left, and then of `rest`, as far as the socket takes them.
    fn send(&mut self, most: usize, rest: &[u8]) -> io::Result<()> {
        let mut most = most;
        while most > 0 {
            if self.sent == self.left.len() {
                (self.left, self.sent) = (rest.to_vec(), 0);
            }
            let end = self.left.len().min(self.sent.saturating_add(most));
            match self.stream.write(&self.left[self.sent..end]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => (self.sent, most) = (self.sent + written, most - written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the other end has not closed; what it says is thrown away.
    fn is_open(&mut self) -> bool {
        let mut away = [0; 1_024];
        loop {
            match self.stream.read(&mut away) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

fn head(path: &str, length: usize, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{more}Content-Length: {length}\r\n\r\n"
    )
}

/// Connections that send a byte a second of a body of 4 MB.
pub fn drip(address: SocketAddr, count: usize, tally: &Tally) {
    let start = [head("/drip", 4_000_000, "").as_bytes(), b"{\"text\":\"0123456789"].concat();
    crowd(address, count, &start, b"x", Way::Drips, tally);
}

/// Connections that send requests without end and read no answer.
pub fn deaf(address: SocketAddr, count: usize, tally: &Tally) {
    // Of an error there is more to say than of success.
    let request = [head("/deaf", 9, "").as_bytes(), b"{\"a\":oh}}"].concat().repeat(200);
    crowd(address, count, &request, &request, Way::Deaf, tally);
}

/// Connections of HTTP/2 that open as many streams as they may and finish none.
pub fn streams(address: SocketAddr, count: usize, tally: &Tally) {
    let mut start = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // :method POST, :scheme http, :path /a, content-type, of the static table of RFC 7541.
    let fields = [&b"\x83\x86\x44\x02/a\x5f\x10"[..], b"application/json"].concat();
    for stream in 0..8_u32 {
        let id = (stream * 2 + 1).to_be_bytes();
        frame(&mut start, 1, 4, id, &fields);
        frame(&mut start, 0, 0, id, payload::records(16, 1).as_bytes().get(..7_000).unwrap_or(b"["));
    }
    let mut more = Vec::new();
    frame(&mut more, 6, 0, [0; 4], b"12345678");
    crowd(address, count, &start, &more, Way::Drips, tally);
}

fn frame(into: &mut Vec<u8>, kind: u8, flags: u8, stream: [u8; 4], body: &[u8]) {
    into.extend_from_slice(&(body.len() as u32).to_be_bytes()[1..]);
    into.extend_from_slice(&[kind, flags]);
    into.extend_from_slice(&stream);
    into.extend_from_slice(body);
}

/// Posts `body` under `more` headers again and again; every answer will do.
pub fn hammer(address: SocketAddr, more: &str, body: &[u8], tally: &Tally) {
    let request = [head("/hammer", body.len(), more).as_bytes(), body].concat();
    while !tally.is_over() {
        tally.answered(once(address, &request).unwrap_or(0), 0, 0);
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The status of the answer to one request over a connection of its own.
fn once(address: SocketAddr, request: &[u8]) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.set_write_timeout(Some(Duration::from_secs(30)))?;
    // The answer may come before the end, and the rest not be read.
    let sent = stream.write_all(request);
    let mut answer = [0; 64];
    let read = stream.read(&mut answer)?;
    sent?;
    let status =
        String::from_utf8_lossy(&answer[..read]).split(' ').nth(1).and_then(|text| text.parse().ok());
    Ok(status.unwrap_or(0))
}

/// A gigabyte of text in a megabyte of gzip.
pub fn bomb() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let text = vec![b'x'; 1 << 20];
    // A vector takes all that is written to it.
    let _ = encoder.write_all(b"{\"text\":\"");
    for _ in 0..1_000 {
        let _ = encoder.write_all(&text);
    }
    let _ = encoder.write_all(b"\"}");
    encoder.finish().unwrap_or_default()
}

/// A frame of zstd (RFC 8878) that asks for a window of 128 MB and has a gigabyte of text in 32 KB: each block is
/// one byte that is repeated.
pub fn wide_window() -> Vec<u8> {
    const BLOCK: u32 = 128 << 10;
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (27 - 10) << 3];
    for last in (0..8_192).map(|block| u32::from(block == 8_191)) {
        bytes.extend_from_slice(&(last | 1 << 1 | BLOCK << 3).to_le_bytes()[..3]);
        bytes.push(b' ');
    }
    bytes
}

/// Empty records, 4 MB of them.
pub fn empties() -> Vec<u8> {
    b"{},".repeat(4_000_000 / 3)
}

/// One record of 100 MB, until it is over.
pub fn giant(address: SocketAddr, tally: &Tally) {
    let body = super::clients::record_of(100_000_000);
    let mut poster = Poster::new(address);
    while !tally.is_over() {
        let status = poster.post("/giant", body.as_bytes());
        tally.answered(status, 1, body.len() as u64);
        std::thread::sleep(Duration::from_millis(if status == 201 { 0 } else { 500 }));
    }
}
