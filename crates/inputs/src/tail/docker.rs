//! `docker_mode`: Docker's JSON lines whose `log` does not end a line belong together.
//!
//! The record is that of the last line, with the texts of all as its `log`. With `docker_mode_parser` lines that
//! are whole are joined as well, until one comes that the parser takes.

use std::sync::Arc;

use budget::{Account, Full};
use event::EventTime;
use formats::multiline::LIMIT;
use formats::parser::{Fields, Leased, Parser, Unparsed};

use super::join::{Done, whole};

/// Joins the lines of one file.
pub(super) struct Docker {
    first: Option<Arc<Parser>>,
    account: Account,
    /// The texts so far, as they stand in the JSON.
    text: Leased,
    /// The last line, and where its text stands in it.
    last: Leased,
    at: std::ops::Range<usize>,
    /// The last line was whole.
    complete: bool,
    /// A first line was seen.
    seen: bool,
}

impl Docker {
    pub(super) fn new(first: Option<Arc<Parser>>, account: &Account) -> Docker {
        Docker {
            first,
            account: account.clone(),
            text: Leased::new(account),
            last: Leased::new(account),
            at: 0..0,
            complete: false,
            seen: false,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.last.is_empty()
    }

    pub(super) fn flush(&mut self, out: &mut Vec<Done>) {
        let mut line = std::mem::replace(&mut self.last, Leased::new(&self.account));
        let text = std::mem::replace(&mut self.text, Leased::new(&self.account));
        if line.is_empty() {
            return;
        }
        line.remove(self.at.clone());
        // There is room: it was made when the line came.
        if line.insert(self.at.start, text.len()).is_ok() {
            line.patch(self.at.start, text.bytes());
        }
        out.push(Done::Line(line));
    }

    pub(super) fn line(&mut self, now: EventTime, line: &[u8], out: &mut Vec<Done>) -> Result<(), Full> {
        let Some(at) = log_of(line) else {
            self.flush(out);
            return whole(line, &self.account, out);
        };
        let text = &line[at.clone()];
        if let Some(parser) = &self.first {
            let is_first = match parser.parse(line, now, &mut Fields::new(&self.account)) {
                Ok(_) => true,
                Err(Unparsed::NoMatch) => false,
                Err(Unparsed::Full) => return Err(Full),
            };
            self.seen |= is_first;
            if self.complete && (is_first || !self.seen) {
                self.flush(out);
            }
        }
        if self.text.len() + text.len() > LIMIT {
            self.flush(out);
        }
        let mut last = Leased::new(&self.account);
        last.ensure(line.len() + self.text.len())?;
        last.extend(line)?;
        self.text.extend(text)?;
        (self.last, self.at) = (last, at);
        self.complete = ends_line(text);
        if self.complete && self.first.is_none() {
            self.flush(out);
        }
        Ok(())
    }
}

/// Whether text, as it stands in JSON, ends with a line end.
fn ends_line(text: &[u8]) -> bool {
    let escapes: [&[u8]; 3] = [b"n", b"u000a", b"u000A"];
    let before = escapes.iter().find_map(|escape| text.strip_suffix(*escape));
    before.is_some_and(|text| text.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1)
}

/// Where the text of the key `log` stands in an object, without its quotes.
fn log_of(line: &[u8]) -> Option<std::ops::Range<usize>> {
    let (mut at, mut depth, mut is_key, mut is_log) = (0, 0, false, false);
    while let Some(byte) = line.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                is_key = depth == 1 && *byte == b'{';
            }
            b'}' | b']' => depth -= 1,
            b',' if depth == 1 => is_key = true,
            b':' if depth == 1 => is_key = false,
            b'"' => {
                let end = string_end(line, at + 1)?;
                if depth == 1 && !is_key && is_log {
                    // What follows is an object's end: lines that are cut or no JSON are left as they are.
                    return line.trim_ascii_end().ends_with(b"}").then_some(at + 1..end);
                }
                is_log = depth == 1 && is_key && &line[at + 1..end] == b"log";
                at = end;
            }
            byte if byte.is_ascii_whitespace() => {}
            _ if depth == 0 => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string ends whose first byte stands at `start`.
fn string_end(line: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match line.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str) -> Option<&str> {
        log_of(line.as_bytes()).map(|range| &line[range])
    }

    #[test]
    fn an_escaped_backslash_is_no_line_end() {
        assert!(ends_line(br"a\n") && ends_line(br"\\\n") && ends_line(br"\u000A"));
        assert!(!ends_line(br"a\\n") && !ends_line(b"n") && !ends_line(b""));
    }

    #[test]
    fn the_log_of_a_line_is_found_at_the_top_only() {
        assert_eq!(text(r#"{"log":"a\"b\n","stream":"stdout"}"#), Some(r#"a\"b\n"#));
        assert_eq!(text(r#" { "x": {"log": "no"}, "y": ["log"], "log" : "yes" }"#), Some("yes"));
        assert_eq!(text(r#"{"a":"log","b":"c"}"#), None);
        assert_eq!(text(r#"{"log":1,"b":"c"}"#), None);
        assert_eq!(text("plain"), None);
        assert_eq!(text(r#"{"log":"cut"#), None);
    }
}
