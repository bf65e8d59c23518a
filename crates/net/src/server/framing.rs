//! Where a request's body ends: RFC 9112 section 6, for requests.

use httparse::Header;

/// The longest line of a chunk's size, extensions included, and of a trailer.
const LINE_BYTES: usize = 4_096;

/// How a body is framed, and where in it the connection stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes are left.
    Length(usize),
    /// In chunks.
    Chunked(Chunked),
}

/// Where in a chunked body the connection stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    /// Before the line with the size of a chunk.
    Size,
    /// In a chunk: so many bytes are left.
    Data(usize),
    /// Before the line end behind a chunk.
    DataEnd,
    /// In the trailers: so many bytes of them were seen.
    Trailer(usize),
    /// Behind the last trailer.
    Over,
    /// Where the body ends is unknown: nothing behind it can be understood.
    Broken,
}

/// What the bytes at hand are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Framing to pass over, then bytes of the body.
    Data {
        /// Bytes to pass over.
        skip: usize,
        /// Bytes of the body behind them.
        size: usize,
    },
    /// Framing to pass over; then more must be received.
    More {
        /// Bytes to pass over.
        skip: usize,
    },
    /// The body ends behind these bytes.
    End {
        /// Bytes to pass over.
        skip: usize,
    },
}

impl Framing {
    /// Reads Content-Length and Transfer-Encoding.
    ///
    /// # Errors
    /// What is wrong with them. Two different lengths, or a length beside chunks, are how requests are
    /// smuggled past a proxy, so they are refused.
    pub(super) fn of(headers: &[Header<'_>]) -> Result<Framing, String> {
        let mut length = None;
        for value in all(headers, "content-length") {
            let text = std::str::from_utf8(value).unwrap_or("").trim_matches([' ', '\t']);
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = text.parse().ok().filter(|_| digits);
            let parsed: usize = parsed.ok_or_else(|| "invalid Content-Length".to_owned())?;
            if length.is_some_and(|length| length != parsed) {
                return Err("two different Content-Length headers".to_owned());
            }
            length = Some(parsed);
        }
        let mut encodings = all(headers, "transfer-encoding");
        match (encodings.next(), length) {
            (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
            (Some(_), Some(_)) => Err("both Content-Length and Transfer-Encoding".to_owned()),
            (Some(value), None)
                if value.trim_ascii().eq_ignore_ascii_case(b"chunked") && encodings.next().is_none() =>
            {
                Ok(Framing::Chunked(Chunked::Size))
            }
            (Some(_), None) => Err("the only transfer encoding known is chunked".to_owned()),
        }
    }

    /// Whether the body has ended, or there is none.
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Framing::Length(0) | Framing::Chunked(Chunked::Over))
    }

    /// The bytes that are left, as far as that is known: of chunks, none but those of the current one.
    pub(super) fn rest(&self) -> usize {
        match self {
            Framing::Length(left) | Framing::Chunked(Chunked::Data(left)) => *left,
            Framing::Chunked(_) => 0,
        }
    }

    /// What the bytes at hand are. The caller passes over what the piece says before it calls again.
    ///
    /// # Errors
    /// What is wrong with the chunks.
    pub(super) fn next(&mut self, bytes: &[u8]) -> Result<Piece, String> {
        match self {
            Framing::Length(0) => Ok(Piece::End { skip: 0 }),
            Framing::Length(_) if bytes.is_empty() => Ok(Piece::More { skip: 0 }),
            Framing::Length(left) => {
                let size = bytes.len().min(*left);
                *left -= size;
                Ok(Piece::Data { skip: 0, size })
            }
            Framing::Chunked(state) => {
                let piece = state.next(bytes);
                if piece.is_err() {
                    *state = Chunked::Broken;
                }
                piece
            }
        }
    }
}

impl Chunked {
    fn next(&mut self, bytes: &[u8]) -> Result<Piece, String> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self {
                Chunked::Data(left) => {
                    let size = rest.len().min(*left);
                    if size == 0 {
                        return Ok(Piece::More { skip: at });
                    }
                    *left -= size;
                    if *left == 0 {
                        *self = Chunked::DataEnd;
                    }
                    return Ok(Piece::Data { skip: at, size });
                }
                Chunked::DataEnd => match rest {
                    [b'\r', b'\n', ..] => (at, *self) = (at + 2, Chunked::Size),
                    [] | [b'\r'] => return Ok(Piece::More { skip: at }),
                    _ => return Err("a chunk is longer than its size says".to_owned()),
                },
                Chunked::Size => {
                    let Some(line) = line(rest)? else { return Ok(Piece::More { skip: at }) };
                    at += line.len() + 2;
                    *self = match size(line)? {
                        0 => Chunked::Trailer(0),
                        size => Chunked::Data(size),
                    };
                }
                Chunked::Over => return Ok(Piece::End { skip: at }),
                Chunked::Broken => return Err("the chunks were not understood".to_owned()),
                Chunked::Trailer(seen) => {
                    let Some(line) = line(rest)? else { return Ok(Piece::More { skip: at }) };
                    at += line.len() + 2;
                    *seen += line.len() + 2;
                    if line.is_empty() {
                        *self = Chunked::Over;
                        return Ok(Piece::End { skip: at });
                    }
                    if *seen > LINE_BYTES {
                        return Err("the trailers are too long".to_owned());
                    }
                }
            }
        }
    }
}

/// All values of a header.
fn all<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// The first line without its end, or `None` if it is not complete.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    let within = &bytes[..bytes.len().min(LINE_BYTES)];
    match within.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) => Ok(Some(&within[..end])),
        None if bytes.len() >= LINE_BYTES => Err("a line of a chunk is too long".to_owned()),
        None => Ok(None),
    }
}

fn size(line: &[u8]) -> Result<usize, String> {
    // A line feed or carriage return within the line ends it for some readers and not for others.
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        return Err("a line of a chunk has a bare line end".to_owned());
    }
    let digits = line.split(|byte| *byte == b';').next().unwrap_or(&[]);
    let blanks = digits.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let digits = &digits[..digits.len() - blanks];
    let text = std::str::from_utf8(digits).unwrap_or("");
    let valid = !text.is_empty() && text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    usize::from_str_radix(text, 16).ok().filter(|_| valid).ok_or_else(|| "invalid size of a chunk".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a chunked body that arrives in pieces of `step` bytes.
    fn decode(text: &[u8], step: usize) -> Result<(Vec<u8>, usize), String> {
        let mut framing = Framing::Chunked(Chunked::Size);
        let (mut body, mut received, mut at) = (Vec::new(), step.min(text.len()), 0);
        loop {
            match framing.next(&text[at..received])? {
                Piece::Data { skip, size } => {
                    body.extend_from_slice(&text[at + skip..at + skip + size]);
                    at += skip + size;
                }
                Piece::More { skip } => {
                    at += skip;
                    if received == text.len() {
                        return Err("incomplete".to_owned());
                    }
                    received = (received + step).min(text.len());
                }
                Piece::End { skip } => return Ok((body, at + skip)),
            }
        }
    }

    #[test]
    fn a_chunked_body_is_the_same_however_it_arrives() {
        let text = b"5\r\nhello\r\n1;name=value\r\n \r\n00A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nNEXT";
        for step in 1..=text.len() {
            assert_eq!(
                decode(text, step),
                Ok((b"hello 0123456789".to_vec(), text.len() - 4)),
                "steps of {step}"
            );
        }
    }

    #[test]
    fn chunks_that_lie_about_their_size_are_refused() {
        for text in [
            "5\r\nhello!\r\n0\r\n\r\n",
            "x\r\n",
            "\r\n",
            "-1\r\n",
            "+5\r\nhello\r\n",
            "fffffffffffffffff\r\n",
            "5;a\nx\r\nhello\r\n0\r\n\r\n",
            "\n5\r\nhello\r\n0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
        ] {
            let answer = decode(text.as_bytes(), 100);
            assert!(answer.as_ref().is_err_and(|why| why != "incomplete"), "{text:?} gave {answer:?}");
        }
    }

    #[test]
    fn after_an_error_no_end_is_ever_found() {
        let text = format!("0\r\n{}\r\n", "name: value\r\n".repeat(500));
        let mut framing = Framing::Chunked(Chunked::Size);
        assert!(framing.next(text.as_bytes()).is_err());
        assert!(framing.next(b"\r\n").is_err());
    }
}
