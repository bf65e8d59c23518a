//! Where an HTTP/1.1 message ends: heads are kept, bodies are counted and forgotten.

/// The longest head that is taken.
const HEAD: usize = 16 << 10;

/// Which messages are read: they differ in the first line and in what no length means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Requests: without a length there is no body.
    Requests,
    /// Answers: without a length the body lasts until the connection closes.
    Answers,
}

/// A message that has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// The status of an answer; 0 for a request.
    pub status: u16,
    /// Bytes of the body, as they travelled.
    pub body: u64,
    /// Line ends in it, where its length was told beforehand.
    pub lines: u64,
    /// The other side closes the connection behind it.
    pub close: bool,
}

/// Reads messages from bytes as they arrive.
#[derive(Debug)]
pub struct Reader {
    side: Side,
    head: Vec<u8>,
    state: State,
    message: Message,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    /// So many bytes of the body are missing.
    Length(u64),
    /// The line with the size of a piece; what was read of the size.
    Size(u64, bool),
    /// So many bytes of the piece and its line end are missing.
    Piece(u64),
    /// Lines behind the last piece; bytes of the line so far.
    Trailer(u32),
    UntilClose,
}

const NOTHING: Message = Message { status: 0, body: 0, lines: 0, close: false };

impl Reader {
    /// A reader of one side's messages.
    pub fn new(side: Side) -> Reader {
        Reader { side, head: Vec::new(), state: State::Head, message: NOTHING }
    }

    /// Whether a message has begun and not ended.
    pub fn is_inside(&self) -> bool {
        !self.head.is_empty() || !matches!(self.state, State::Head)
    }

    /// Takes bytes from the front until a message ends; what is left of them belongs to the next.
    ///
    /// # Errors
    /// The bytes are no HTTP/1.1 message.
    pub fn take(&mut self, bytes: &mut &[u8]) -> Result<Option<Message>, &'static str> {
        loop {
            let done = match self.state {
                State::Head => match self.take_head(bytes)? {
                    Some(done) => done,
                    None => return Ok(None),
                },
                _ if bytes.is_empty() => return Ok(None),
                State::Length(missing) | State::Piece(missing) => self.skip(bytes, missing),
                State::Size(size, ended) => self.take_size(bytes, size, ended)?,
                State::Trailer(length) => self.take_trailer(bytes, length),
                State::UntilClose => {
                    self.message.body += bytes.len() as u64;
                    *bytes = &[];
                    false
                }
            };
            if done {
                self.state = State::Head;
                return Ok(Some(std::mem::replace(&mut self.message, NOTHING)));
            }
        }
    }

    /// The connection is closed: a message that lasts until then has ended.
    pub fn closed(&mut self) -> Option<Message> {
        let ended = matches!(self.state, State::UntilClose);
        self.state = State::Head;
        self.head.clear();
        let message = std::mem::replace(&mut self.message, NOTHING);
        ended.then_some(Message { close: true, ..message })
    }

    /// None when the head has not ended; else whether the message has.
    fn take_head(&mut self, bytes: &mut &[u8]) -> Result<Option<bool>, &'static str> {
        let before = self.head.len();
        let taken = bytes.len().min(HEAD - before);
        self.head.extend_from_slice(&bytes[..taken]);
        let from = before.saturating_sub(3);
        let Some(end) = self.head[from..].windows(4).position(|window| window == b"\r\n\r\n") else {
            *bytes = &bytes[taken..];
            return if self.head.len() == HEAD { Err("the head is too long") } else { Ok(None) };
        };
        let end = from + end + 4;
        *bytes = &bytes[end - before..];
        let head = std::mem::take(&mut self.head);
        let done = self.begin(&head[..end])?;
        // The allocation serves the next head.
        self.head = head;
        self.head.clear();
        Ok(Some(done))
    }

    fn begin(&mut self, head: &[u8]) -> Result<bool, &'static str> {
        let head = std::str::from_utf8(head).map_err(|_| "the head is no text")?;
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or("");
        let status = match self.side {
            Side::Requests => 0,
            Side::Answers => first
                .split(' ')
                .nth(1)
                .and_then(|word| word.parse().ok())
                .ok_or("an answer without a status")?,
        };
        let (mut length, mut chunked, mut close) = (None, false, first.ends_with("HTTP/1.0"));
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse::<u64>().map_err(|_| "a length that is no number")?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                close = value.eq_ignore_ascii_case("close");
            }
        }
        if (100..200).contains(&status) {
            return Ok(false);
        }
        self.message = Message { status, close, ..NOTHING };
        self.state = match length {
            _ if chunked => State::Size(0, false),
            _ if matches!(status, 204 | 304) => State::Length(0),
            Some(length) => State::Length(length),
            None if self.side == Side::Requests => State::Length(0),
            None => State::UntilClose,
        };
        Ok(matches!(self.state, State::Length(0)))
    }

    fn skip(&mut self, bytes: &mut &[u8], missing: u64) -> bool {
        let taken = missing.min(bytes.len() as u64);
        let (body, rest) = bytes.split_at(taken as usize);
        *bytes = rest;
        self.message.body += taken;
        let missing = missing - taken;
        let in_pieces = matches!(self.state, State::Piece(_));
        if self.side == Side::Requests && !in_pieces {
            self.message.lines += body.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        self.state = match missing {
            0 if in_pieces => State::Size(0, false),
            missing if in_pieces => State::Piece(missing),
            missing => State::Length(missing),
        };
        missing == 0 && !in_pieces
    }

    fn take_size(&mut self, bytes: &mut &[u8], size: u64, ended: bool) -> Result<bool, &'static str> {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        self.state = match (byte, (byte as char).to_digit(16)) {
            (b'\n', _) if size == 0 => State::Trailer(0),
            // The line end behind the piece is skipped with it.
            (b'\n', _) => State::Piece(size + 2),
            (b'\r', _) => State::Size(size, true),
            (_, Some(digit)) if !ended => {
                let size = size.checked_mul(16).ok_or("a piece without end")?;
                State::Size(size + u64::from(digit), false)
            }
            (b';', _) => State::Size(size, true),
            _ if ended => State::Size(size, true),
            _ => return Err("the size of a piece is no number"),
        };
        Ok(false)
    }

    fn take_trailer(&mut self, bytes: &mut &[u8], length: u32) -> bool {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        match byte {
            b'\n' if length == 0 => return true,
            b'\n' => self.state = State::Trailer(0),
            b'\r' => {}
            _ => self.state = State::Trailer(length.saturating_add(1)),
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of each length and expects the same messages from all.
    fn check(side: Side, text: &str, expected: &[(u16, u64, bool)]) {
        for piece in [1, 2, 3, 7, text.len()] {
            let mut reader = Reader::new(side);
            let mut found = Vec::new();
            for mut bytes in text.as_bytes().chunks(piece) {
                while let Some(message) = reader.take(&mut bytes).unwrap() {
                    found.push((message.status, message.body, message.close));
                }
            }
            found.extend(reader.closed().map(|message| (message.status, message.body, message.close)));
            assert_eq!(found, expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn answers_end_where_their_length_says() {
        check(
            Side::Answers,
            "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\nHTTP/1.1 503 Busy\r\ncontent-length: 5\r\nConnection: close\r\n\r\nwait!",
            &[(201, 0, false), (503, 5, true)],
        );
        check(Side::Answers, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", &[(204, 0, false)]);
        check(Side::Answers, "HTTP/1.1 200 OK\r\n\r\nabc", &[(200, 3, true)]);
    }

    #[test]
    fn bodies_in_pieces_end_with_the_empty_piece() {
        check(
            Side::Requests,
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nA;x=y\r\n0\r\n\r\n45678\r\n0\r\nT: v\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            &[(0, 19, false), (0, 0, false)],
        );
    }

    #[test]
    fn what_is_no_http_is_refused() {
        for text in ["hello\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"] {
            assert!(Reader::new(Side::Answers).take(&mut text.as_bytes()).is_err(), "{text}");
        }
        let long = "x".repeat(HEAD);
        assert!(Reader::new(Side::Answers).take(&mut long.as_bytes()).is_err());
    }
}
