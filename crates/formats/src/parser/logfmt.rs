//! Lines of [logfmt](https://brandur.org/logfmt).

use event::EventTime;

use super::unescape::escaped_utf8;
use super::{Fields, Stamp, Time, Types, Unparsed};

/// How lines of logfmt are read.
#[derive(Debug)]
pub(super) struct Logfmt {
    pub(super) types: Types,
    /// A key without `=` makes the line something else.
    pub(super) no_bare_keys: bool,
}

/// A key and what stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pair<'a> {
    key: &'a [u8],
    /// Empty if there is none.
    value: &'a [u8],
    /// `=` follows the key.
    has_value: bool,
    /// It stands in quotes.
    quoted: bool,
    /// It has escapes.
    escaped: bool,
}

const TRUE: &[u8] = &[0xc3];

impl Logfmt {
    pub(super) fn read(
        &self,
        line: &[u8],
        now: EventTime,
        stamp: Option<&Stamp>,
        fields: &mut Fields,
    ) -> Result<Time, Unparsed> {
        fields.clear();
        let mut time = Time::Absent;
        let mut rest = line;
        while let Some((pair, behind)) = pair(rest) {
            rest = behind;
            if self.no_bare_keys && !pair.has_value {
                return Err(Unparsed::NoMatch);
            }
            match stamp.filter(|stamp| pair.key == stamp.key.as_bytes() && !pair.value.is_empty()) {
                Some(stamp) => {
                    time = stamp.read(pair.value, now);
                    if time == Time::Invalid {
                        return Err(Unparsed::NoMatch);
                    }
                    if stamp.keep {
                        self.append(&pair, fields)?;
                    }
                }
                None if !pair.key.is_empty() => self.append(&pair, fields)?,
                None => {}
            }
            // One line is one record: what stands behind its end is not looked at.
            if matches!(rest.first(), Some(b'\r' | b'\n')) {
                break;
            }
        }
        if fields.is_empty() { Err(Unparsed::NoMatch) } else { Ok(time) }
    }

    fn append(&self, pair: &Pair<'_>, fields: &mut Fields) -> Result<(), Unparsed> {
        // With types every value is taken as it stands, as in Fluent Bit.
        if !self.types.is_empty() || (pair.quoted && pair.value.is_empty()) {
            self.types.append(pair.key, pair.value, fields)?;
        } else if pair.value.is_empty() {
            fields.key(pair.key, TRUE)?;
        } else if pair.escaped {
            fields.made_text(pair.key, pair.value.len(), |out| escaped_utf8(pair.value, out))?;
        } else {
            fields.text(pair.key, pair.value)?;
        }
        Ok(())
    }
}

/// Bytes that keys, and values without quotes, are made of.
fn in_word(byte: u8) -> bool {
    byte > b' ' && byte != b'=' && byte != b'"'
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let len = text.iter().position(|byte| !in_word(*byte)).unwrap_or(text.len());
    text.split_at(len)
}

/// The next key with its value, and what follows.
fn pair(line: &[u8]) -> Option<(Pair<'_>, &[u8])> {
    let start = line.iter().position(|byte| in_word(*byte))?;
    let (key, rest) = word(&line[start..]);
    let bare = Pair { key, value: &[], has_value: false, quoted: false, escaped: false };
    let Some(rest) = rest.strip_prefix(b"=") else { return Some((bare, rest)) };
    if let Some(text) = rest.strip_prefix(b"\"") {
        let (value, escaped, rest) = within_quotes(text);
        return Some((Pair { value, has_value: true, quoted: true, escaped, ..bare }, rest));
    }
    let (value, rest) = word(rest);
    Some((Pair { value, has_value: true, ..bare }, rest))
}

/// Text up to the closing quote, whether it has escapes, and what follows the quote.
fn within_quotes(text: &[u8]) -> (&[u8], bool, &[u8]) {
    let mut escaped = false;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return (&text[..at], escaped, &text[at + 1..]),
            b'\\' => (escaped, at) = (true, (at + 2).min(text.len())),
            _ => at += 1,
        }
    }
    (text, escaped, &[])
}
