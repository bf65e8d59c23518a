//! Messages on a connection.

use event::msgpack::{map_header, put_str, put_u64};
use event::{Cursor, Token};
use net::client::{Error, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Node, Undelivered};

/// Bytes of a message of the other side: its greeting, or that it has the records.
const ANSWER: usize = 4 << 10;

/// The kinds of signal, by Fluent Bit's numbers.
pub(super) const LOGS: u64 = 0;
/// See [`LOGS`].
pub(super) const METRICS: u64 = 1;

pub(super) fn broken(stream: &Stream, source: std::io::Error) -> Undelivered {
    Undelivered::Net(Error::Broken { peer: stream.peer().to_string(), source })
}

/// Writes bytes to the end.
pub(super) async fn write(stream: &mut Stream, bytes: &[u8]) -> Result<(), Undelivered> {
    match stream.write_all(bytes).await {
        Ok(()) => Ok(()),
        Err(error) => Err(broken(stream, error)),
    }
}

pub(super) async fn flush(stream: &mut Stream) -> Result<(), Undelivered> {
    match stream.flush().await {
        Ok(()) => Ok(()),
        Err(error) => Err(broken(stream, error)),
    }
}

/// Reads one message.
pub(super) async fn read(stream: &mut Stream) -> Result<Vec<u8>, Undelivered> {
    let mut message = Vec::new();
    loop {
        let mut piece = [0; 512];
        let read = match stream.read(&mut piece).await {
            Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(_) if message.len() > ANSWER => Err(std::io::Error::other("its message is too long")),
            read => read,
        };
        let size = read.map_err(|error| broken(stream, error))?;
        message.extend_from_slice(&piece[..size]);
        if Cursor::of(&message).skip().is_ok() {
            return Ok(message);
        }
    }
}

/// Appends the options of a message.
pub(super) fn put_options(
    out: &mut Vec<u8>,
    node: &Node,
    chunk: &str,
    records: Option<usize>,
    signal: u64,
    metadata: Option<&[u8]>,
) {
    let compressed = node.gzip && (records.is_some() || signal != LOGS);
    let entries = usize::from(node.ack) + usize::from(records.is_some()) + usize::from(compressed) + 1;
    let entries = entries + node.extra.len() + usize::from(metadata.is_some());
    let (header, size) = map_header(entries);
    out.extend_from_slice(&header[..size]);
    if node.ack {
        put_str(out, "chunk");
        put_str(out, chunk);
    }
    if let Some(records) = records {
        put_str(out, "size");
        put_u64(out, records as u64);
    }
    if compressed {
        put_str(out, "compressed");
        put_str(out, "gzip");
    }
    put_str(out, "fluent_signal");
    put_u64(out, signal);
    for (name, value) in &node.extra {
        put_str(out, name);
        put_str(out, value);
    }
    if let Some(metadata) = metadata {
        put_str(out, "metadata");
        out.extend_from_slice(metadata);
    }
}

/// Waits until the other side says that it has the chunk of this name.
pub(super) async fn acknowledged(stream: &mut Stream, chunk: &str) -> Result<(), Undelivered> {
    let message = read(stream).await?;
    match text_of(&message, "ack") {
        Some(name) if name == chunk.as_bytes() => Ok(()),
        _ => Err(broken(stream, std::io::Error::other("it acknowledged something else"))),
    }
}

/// The text that a map has under a key.
pub(super) fn text_of<'m>(map: &'m [u8], key: &str) -> Option<&'m [u8]> {
    let mut cursor = Cursor::of(map);
    let Ok(Token::Map(count)) = cursor.token() else { return None };
    for _ in 0..count {
        let name = string(&mut cursor);
        if name == Some(key.as_bytes()) {
            return string(&mut cursor);
        }
        cursor.skip().ok()?;
    }
    None
}

/// The next value if it is a string or bytes; passes over it.
pub(super) fn string<'m>(cursor: &mut Cursor<'m>) -> Option<&'m [u8]> {
    let mut value = cursor.clone();
    cursor.skip().ok()?;
    match value.token().ok()? {
        Token::Str(0) | Token::Bin(0) => Some(b""),
        Token::Str(size) | Token::Bin(size) => value.piece(size).ok(),
        _ => None,
    }
}
