//! Answers, and their text in HTTP/1.1.

use std::rc::Rc;

/// What an answer has beside its fields and its body, at most: the status line and three headers.
const FRAME_BYTES: usize = 144;

/// An answer. Small: payload does not travel this way.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers beside Content-Length and Connection.
    pub headers: Vec<(&'static str, String)>,
    /// Headers that the user configured.
    pub extra: Option<Rc<[(String, String)]>>,
    /// The body.
    pub body: String,
    /// Close the connection afterwards.
    pub close: bool,
}

impl Answer {
    /// A status without a body.
    pub fn status(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), extra: None, body: String::new(), close: false }
    }

    /// A status with one line of text.
    pub fn text(status: u16, text: impl Into<String>) -> Answer {
        let mut body = text.into();
        body.push('\n');
        Answer { body, ..Answer::status(status) }
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    /// Closes the connection after this answer.
    pub fn closing(self) -> Answer {
        Answer { close: true, ..self }
    }

    pub(super) fn too_slow() -> Answer {
        Answer::text(408, "error: the body comes too slowly").closing()
    }

    pub(super) fn too_large(limit: usize) -> Answer {
        Answer::text(413, format!("error: the body is larger than buffer_max_size ({limit} bytes)"))
    }

    /// All headers but those that belong to the version of the protocol.
    pub(super) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let own = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let extra = self.extra.iter().flat_map(|extra| extra.iter());
        own.chain(extra.map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// Appends the answer as HTTP/1.1 has it.
    pub(super) fn write(&self, close: bool, head_only: bool, text: &mut Vec<u8>) {
        // At once: growing piece by piece was a twelfth of what a small request costs.
        let fields: usize = self.fields().map(|(name, value)| name.len() + value.len() + 4).sum();
        text.reserve(FRAME_BYTES + fields + self.body.len());
        text.extend_from_slice(b"HTTP/1.1 ");
        decimal(usize::from(self.status), text);
        text.push(b' ');
        text.extend_from_slice(reason(self.status).as_bytes());
        text.extend_from_slice(b"\r\nServer: weir\r\n");
        for (name, value) in self.fields() {
            for part in [name, ": ", value, "\r\n"] {
                text.extend_from_slice(part.as_bytes());
            }
        }
        if self.status != 204 {
            text.extend_from_slice(b"Content-Length: ");
            decimal(self.body.len(), text);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(if close { b"Connection: close\r\n\r\n" } else { b"\r\n" });
        if !head_only {
            text.extend_from_slice(self.body.as_bytes());
        }
    }
}

fn decimal(mut number: usize, text: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}

fn reason(status: u16) -> &'static str {
    http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_headers_its_length_and_its_body() {
        let answer = Answer {
            extra: Some(Rc::from([("X-One".to_owned(), "1".to_owned())])),
            ..Answer::text(503, "no").header("Retry-After", "1")
        };
        let mut text = Vec::new();
        answer.write(true, false, &mut text);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "HTTP/1.1 503 Service Unavailable\r\nServer: weir\r\nRetry-After: 1\r\nX-One: 1\r\n\
             Content-Length: 3\r\nConnection: close\r\n\r\nno\n"
        );
        let mut text = Vec::new();
        Answer::status(204).write(false, false, &mut text);
        assert_eq!(text, b"HTTP/1.1 204 No Content\r\nServer: weir\r\n\r\n");
    }
}
