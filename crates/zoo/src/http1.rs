//! HTTP/1.1 as far as a zoo needs it: a head with a length, a body, an answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::State;

/// The longest head and the largest body that are taken.
const HEAD: usize = 16 << 10;
const BODY: usize = 64 << 20;

/// Serves the requests of a connection. `first` was read already.
pub fn serve(mut stream: TcpStream, first: &[u8], state: &State) -> io::Result<()> {
    let mut rest = first.to_vec();
    let mut buffer = Vec::new();
    loop {
        let Some(length) = head(&mut stream, &mut rest)? else { return Ok(()) };
        if length > BODY {
            return stream.write_all(b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        if buffer.len() < length {
            buffer.resize(length, 0);
        }
        let there = rest.len().min(length);
        buffer[..there].copy_from_slice(&rest[..there]);
        rest = rest.split_off(there);
        stream.read_exact(&mut buffer[there..length])?;
        state.request(&mut buffer, length);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
    }
}

/// Reads a head and returns the length of the body; what came behind it stays in `rest`. None: the end.
fn head(stream: &mut TcpStream, rest: &mut Vec<u8>) -> io::Result<Option<usize>> {
    let end = loop {
        if let Some(end) = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break end + 4;
        }
        if rest.len() > HEAD {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Ok(None);
        }
        rest.extend_from_slice(&bytes[..count]);
    };
    let head = String::from_utf8_lossy(&rest[..end]).to_ascii_lowercase();
    *rest = rest.split_off(end);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    Ok(Some(length.unwrap_or(0)))
}
