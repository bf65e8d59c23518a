//! One connection over HTTP/2 without TLS (prior knowledge), one stream at a time.
//!
//! Small on purpose: header lists are literals without Huffman and without the dynamic table, and the server is
//! told to keep no table for its answers, so that a status can be read without remembering anything.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::http1;
use super::wire::Request;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's payload: what every server must take.
const FRAME: usize = 16 << 10;
/// The largest frame that is taken.
const TAKEN: usize = 1 << 20;
const WINDOW: i64 = 65_535;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH: u8 = 5;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;
const ACK: u8 = 1;

/// A connection.
pub struct Http2 {
    stream: TcpStream,
    buffer: Vec<u8>,
    last: u32,
    /// What may be sent on the connection, and on a stream that begins.
    window: i64,
    initial: i64,
    closed: bool,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// What is known of the stream that runs.
#[derive(Default)]
struct Running {
    window: i64,
    status: Option<u16>,
    ended: bool,
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what.to_owned())
}

impl Http2 {
    /// Connects and exchanges settings. A server that does not speak it fails here.
    pub fn open(address: SocketAddr, patience: Duration) -> io::Result<Http2> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut connection =
            Http2 { stream, buffer: Vec::new(), last: 0, window: WINDOW, initial: WINDOW, closed: false };
        // HEADER_TABLE_SIZE 0 and ENABLE_PUSH 0.
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]));
        connection.stream.write_all(&bytes)?;
        let first = connection.receive()?;
        if first.kind != SETTINGS || first.flags & ACK != 0 {
            return Err(wrong("no HTTP/2"));
        }
        connection.handle(&first, &mut Running::default())?;
        Ok(connection)
    }

    /// Sends a request on a stream of its own and returns the status of its answer.
    pub fn send(&mut self, request: &Request) -> io::Result<u16> {
        let id = if self.last == 0 { 1 } else { self.last + 2 };
        self.last = id;
        let end = if request.body.is_empty() { END_STREAM } else { 0 };
        let mut bytes = frame(HEADERS, END_HEADERS | end, id, &headers(request));
        let mut running = Running { window: self.initial, ..Running::default() };
        let mut rest = request.body;
        while !running.ended {
            let room = self.window.min(running.window).clamp(0, FRAME as i64) as usize;
            if rest.is_empty() || room == 0 {
                self.stream.write_all(&std::mem::take(&mut bytes))?;
                let received = self.receive()?;
                self.handle(&received, &mut running)?;
                continue;
            }
            let (piece, more) = rest.split_at(room.min(rest.len()));
            self.window -= piece.len() as i64;
            running.window -= piece.len() as i64;
            rest = more;
            let end = if rest.is_empty() { END_STREAM } else { 0 };
            bytes.extend(frame(DATA, end, id, piece));
        }
        running.status.ok_or_else(|| wrong("a stream without an answer"))
    }

    fn receive(&mut self) -> io::Result<Frame> {
        loop {
            if self.buffer.len() >= 9 {
                let b = &self.buffer;
                let length = usize::from(b[0]) << 16 | usize::from(b[1]) << 8 | usize::from(b[2]);
                if length > TAKEN {
                    return Err(wrong("a frame that is too large, or no HTTP/2"));
                }
                if b.len() >= 9 + length {
                    let stream = number(&b[5..9]) & 0x7fff_ffff;
                    let (kind, flags) = (b[3], b[4]);
                    let payload = self.buffer[9..9 + length].to_vec();
                    self.buffer.drain(..9 + length);
                    return Ok(Frame { kind, flags, stream, payload });
                }
            }
            let mut bytes = [0; FRAME];
            http1::acknowledge_at_once(&self.stream);
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                self.closed = true;
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&bytes[..count]);
        }
    }

    fn handle(&mut self, frame: &Frame, running: &mut Running) -> io::Result<()> {
        let ours = frame.stream == self.last && self.last != 0;
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => self.settings(&frame.payload, running)?,
            PING if frame.flags & ACK == 0 => {
                self.stream.write_all(&self::frame(PING, ACK, 0, &frame.payload))?;
            }
            UPDATE if frame.payload.len() == 4 => {
                let more = i64::from(number(&frame.payload) & 0x7fff_ffff);
                match frame.stream {
                    0 => self.window += more,
                    _ if ours => running.window += more,
                    _ => {}
                }
            }
            GO_AWAY => self.closed = true,
            RESET if ours => {
                running.ended = true;
                // Without an error it only says that no more of the body is wanted.
                running.status = running.status.or(Some(499));
            }
            HEADERS if ours => {
                running.status = status(inside(frame)?).or(running.status);
                running.ended |= frame.flags & END_STREAM != 0;
                if frame.flags & END_HEADERS == 0 {
                    return Err(wrong("headers in pieces"));
                }
            }
            DATA if ours => {
                running.ended |= frame.flags & END_STREAM != 0;
                self.give_back(frame.payload.len() as u32, frame.stream)?;
            }
            PUSH => return Err(wrong("a push that was not wanted")),
            _ => {}
        }
        Ok(())
    }

    fn settings(&mut self, payload: &[u8], running: &mut Running) -> io::Result<()> {
        for setting in payload.chunks_exact(6) {
            if setting[..2] == [0, 4] {
                let initial = i64::from(number(&setting[2..]));
                running.window += initial - self.initial;
                self.initial = initial;
            }
        }
        self.stream.write_all(&frame(SETTINGS, ACK, 0, &[]))
    }

    /// Lets the server send as much again as it has sent.
    fn give_back(&mut self, bytes: u32, stream: u32) -> io::Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let mut updates = frame(UPDATE, 0, 0, &bytes.to_be_bytes());
        updates.extend(frame(UPDATE, 0, stream, &bytes.to_be_bytes()));
        self.stream.write_all(&updates)
    }

    /// Whether the server has kept the connection open, as far as can be seen now.
    pub fn is_open(&self) -> bool {
        !self.closed && http1::is_open(&self.stream)
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header list: literals that no table remembers.
fn headers(request: &Request) -> Vec<u8> {
    let mut block = Vec::new();
    let length = request.body.len().to_string();
    let mut fields = vec![
        (":method", request.method),
        (":scheme", "http"),
        (":path", request.path),
        (":authority", request.host),
        ("content-type", "application/json"),
        ("content-length", &length),
    ];
    if let Some(token) = request.token {
        fields.push(("x-request-id", token));
    }
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// A string with its length: seven bits, and more bytes for what does not fit.
fn string(block: &mut Vec<u8>, text: &str) {
    let length = text.len();
    if length < 127 {
        block.push(length as u8);
    } else {
        block.push(127);
        let mut rest = length - 127;
        while rest >= 128 {
            block.push((rest & 127) as u8 | 128);
            rest >>= 7;
        }
        block.push(rest as u8);
    }
    block.extend(text.as_bytes());
}

/// The header block of a frame: without padding and priority.
fn inside(frame: &Frame) -> io::Result<&[u8]> {
    let mut block = frame.payload.as_slice();
    let short = || wrong("a frame that is too short");
    let mut padding = 0;
    if frame.flags & PADDED != 0 {
        let (first, rest) = block.split_first().ok_or_else(short)?;
        (padding, block) = (usize::from(*first), rest);
    }
    if frame.flags & PRIORITY != 0 {
        block = block.get(5..).ok_or_else(short)?;
    }
    block.get(..block.len().saturating_sub(padding)).ok_or_else(short)
}

/// The status at the head of a header block: `:status` comes before any other field.
fn status(block: &[u8]) -> Option<u16> {
    let mut rest = block;
    // Changes of the size of the table may stand before it.
    while let [first, more @ ..] = rest
        && first & 0xe0 == 0x20
    {
        rest = more;
    }
    let (first, rest) = rest.split_first()?;
    let known = [200, 204, 206, 304, 400, 404, 500];
    match first {
        0x88..=0x8e => Some(known[usize::from(first - 0x88)]),
        // A literal whose name is that of entry 8 to 14.
        0x08..=0x0e | 0x18..=0x1e | 0x48..=0x4e => {
            let (length, value) = rest.split_first()?;
            let value = value.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 { std::str::from_utf8(value).ok()?.parse().ok() } else { digits(value) }
        }
        _ => None,
    }
}

/// Three digits in the Huffman code of HPACK: 0, 1 and 2 have five bits, the others six.
fn digits(bytes: &[u8]) -> Option<u16> {
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let five = (0..5).try_fold(0, |code, _| Some(code << 1 | bits.next()?))?;
        let digit = if five <= 2 {
            five
        } else {
            let six = five << 1 | bits.next()?;
            // 3 is 011001 and 9 is 011111.
            six.checked_sub(0x19 - 3).filter(|digit| (3..=9).contains(digit))?
        };
        number = number * 10 + digit;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_however_it_is_written() {
        assert_eq!(status(&[0x88, 1, 2]), Some(200));
        assert_eq!(status(&[0x20, 0x8d]), Some(404));
        assert_eq!(status(&[0x08, 3, b'2', b'0', b'1']), Some(201));
        // "201" in Huffman: 00010 00000 00001, then ones.
        assert_eq!(status(&[0x48, 0x82, 0b0001_0000, 0b0000_0011]), Some(201));
        // "503": 011011 00000 011001, then ones.
        assert_eq!(status(&[0x08, 0x83, 0b0110_1100, 0b0000_1100, 0b1111_1111]), Some(503));
        assert_eq!(status(&[0x48, 0x82, 0xff, 0xff]), None);
        assert_eq!(status(&[]), None);
    }

    #[test]
    fn long_strings_have_their_length_in_more_bytes() {
        let mut block = Vec::new();
        string(&mut block, &"x".repeat(127 + 300));
        assert_eq!(&block[..3], &[127, (300 & 127) as u8 | 128, (300 >> 7) as u8]);
        assert_eq!(block.len(), 3 + 427);
    }
}
