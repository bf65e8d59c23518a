//! Forms ([`application/x-www-form-urlencoded`](https://url.spec.whatwg.org/#application/x-www-form-urlencoded))
//! to records.
//!
//! A body is one record: `user=ann&text=a+b%26c` gives `{"user": "ann", "text": "a b&c"}`. Keys and values are
//! decoded: `+` is a space and `%26` the byte `0x26`. Every value is a string. A key without `=` has the value
//! `""`. Keys keep their order, duplicates included. Nothing between two `&` is no field. Line ends that stand
//! before a field, or behind one, are no part of it, because files end with one.
//!
//! Refused is what has no field, a `%` without two hexadecimal digits behind it, and text that is not UTF-8.

use std::fmt;

use budget::{Account, Lease};
use event::{EventTime, Events, Writer};

use crate::json::Step;

/// Bytes of a long text that are checked and written at once.
const RUN: usize = 16 * 1024;

/// Bytes of a text that is written at once when all of it is there.
const SHORT: usize = 256;

/// Bytes that a character takes at most: four, each written `%xx`.
const UNIT: usize = 12;

/// Reads a form and writes its record. The interface is that of [`json::Transcoder`](crate::json::Transcoder),
/// but for [`Transcoder::end`].
pub struct Transcoder {
    writer: Writer,
    time: EventTime,
    offset: u64,
    state: State,
    /// The start of a character that the last slice ended in.
    held: [u8; UNIT],
    len: usize,
    /// A line end that is part of the text unless the text ends behind it.
    line_end: &'static [u8],
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first field.
    Start,
    /// The map of the record that the writer has begun.
    Begun,
    /// A field.
    Field,
    /// A key of a field that is there.
    Key,
    /// The rest of a key.
    InKey,
    /// A value, or none.
    Value,
    /// The rest of a value.
    InValue,
    /// A field was written and is to be counted.
    Count,
}

/// A form was refused: at which byte and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// Bytes of the body before the escape or character that cannot be accepted.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is documented by its text below")]
pub enum Reason {
    Empty,
    Escape,
    Utf8,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::Empty => "there is no field",
            Reason::Escape => "expected two hexadecimal digits behind '%'",
            Reason::Utf8 => "not valid UTF-8",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid form at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for Error {}

/// Why it stops within a slice.
enum Stop {
    Full,
    Bad(Reason),
}

impl From<budget::Full> for Stop {
    fn from(_: budget::Full) -> Stop {
        Stop::Full
    }
}

/// What bytes start with.
enum Unit {
    Char(char, usize),
    /// The start of a character or escape.
    More,
    Bad(Reason),
}

impl Transcoder {
    /// A transcoder whose record is charged to `account` and carries `time`.
    pub fn new(account: &Account, time: EventTime) -> Transcoder {
        Transcoder {
            writer: Writer::new(account),
            time,
            offset: 0,
            state: State::Start,
            held: [0; UNIT],
            len: 0,
            line_end: b"",
        }
    }

    /// Bytes of the body consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads on. `input` shrinks by what was consumed.
    ///
    /// # Errors
    /// The body is refused.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        let before = input.len();
        let outcome = self.run(input);
        self.offset += (before - input.len()) as u64;
        match outcome {
            Ok(()) => Ok(Step::NeedInput),
            Err(Stop::Full) => Ok(Step::Full),
            Err(Stop::Bad(reason)) => Err(self.error(reason)),
        }
    }

    /// Bytes charged for the records so far: whole pages.
    pub fn charged(&self) -> usize {
        self.writer.charged()
    }

    /// Hands in a lease of a page, after [`Step::Full`]: the next page is paid with it.
    pub fn prepay(&mut self, lease: Lease) {
        self.writer.prepay(lease);
    }

    /// The body ends here: completes its last field. After [`Step::Full`] it is called again; after
    /// [`Step::NeedInput`] comes [`Transcoder::finish`].
    ///
    /// # Errors
    /// The body ends within an escape or a character.
    pub fn end(&mut self) -> Result<Step, Error> {
        let offset = self.offset;
        // The end of a body and that of a field are the same.
        let outcome = self.feed(&mut b"&".as_slice());
        self.offset = offset;
        outcome
    }

    /// Gives the record, after [`Transcoder::end`].
    ///
    /// # Errors
    /// The body has no field.
    pub fn finish(mut self) -> Result<Events, Error> {
        if self.state == State::Start {
            return Err(self.error(Reason::Empty));
        }
        assert!(self.state == State::Field, "the body was ended");
        self.writer.end();
        self.writer.end_record();
        Ok(self.writer.finish())
    }

    /// The offset is that of the start of the escape or character: the same wherever the slices ended.
    fn error(&self, reason: Reason) -> Error {
        Error { offset: self.offset - self.len as u64, reason }
    }

    fn run(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        loop {
            if self.state == State::Count {
                self.writer.entry()?;
                self.state = State::Field;
            }
            let Some(&byte) = input.first() else { return Ok(()) };
            match self.state {
                State::Start | State::Field if matches!(byte, b'&' | b'\r' | b'\n') => advance(input, 1),
                State::Start => {
                    self.writer.begin_record(self.time)?;
                    self.state = State::Begun;
                }
                State::Begun => {
                    self.writer.begin_map()?;
                    self.state = State::Key;
                }
                State::Field => self.state = State::Key,
                State::Key => self.string(input, State::Value, State::InKey)?,
                // What ends the key is still there: `=`, or `&` if there is no value.
                State::Value => {
                    let mut value = *input;
                    advance(&mut value, usize::from(byte == b'='));
                    self.string(&mut value, State::Count, State::InValue)?;
                    *input = value;
                }
                State::InKey => self.text(input, State::Value)?,
                State::InValue => self.text(input, State::Count)?,
                State::Count => {}
            }
        }
    }

    /// Whether this byte ends the text that is being read. Keys end at `=` too.
    fn ends(&self, byte: u8) -> bool {
        byte == b'&' || byte == b'=' && matches!(self.state, State::Key | State::InKey)
    }

    /// A key or value: whole if it is short and its end is there, else `within` is the state in which it is
    /// read. What ends it is left, but for the `&` behind a value.
    fn string(&mut self, input: &mut &[u8], after: State, within: State) -> Result<(), Stop> {
        let (mut text, mut written, mut rest) = ([0; SHORT], 0, *input);
        while written + 4 <= SHORT
            && let Some(&byte) = rest.first()
            && !matches!(byte, b'\r' | b'\n')
        {
            if self.ends(byte) {
                self.writer.str(&text[..written])?;
                *input = rest;
                self.state = after;
                return Ok(());
            }
            // Whatever is wrong, or cut, is found again where it is told.
            let Unit::Char(found, len) = unit(rest) else { break };
            written += found.encode_utf8(&mut text[written..]).len();
            advance(&mut rest, len);
        }
        self.writer.begin_str()?;
        self.state = within;
        Ok(())
    }

    /// A text by pieces.
    fn text(&mut self, input: &mut &[u8], after: State) -> Result<(), Stop> {
        while let Some(&byte) = input.first() {
            if self.len > 0 {
                self.held_unit(input)?;
                continue;
            }
            if self.ends(byte) {
                if byte != b'&' {
                    self.writer.piece(&mut self.line_end)?;
                }
                self.line_end = b"";
                self.writer.end_str();
                self.state = after;
                return Ok(());
            }
            match (self.line_end, byte) {
                (b"", b'\r') => self.set_line_end(input, b"\r"),
                (b"", b'\n') => self.set_line_end(input, b"\n"),
                (b"\r", b'\n') => self.set_line_end(input, b"\r\n"),
                _ => {
                    self.writer.piece(&mut self.line_end)?;
                    if !matches!(byte, b'\r' | b'\n') {
                        self.plain(input)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn set_line_end(&mut self, input: &mut &[u8], line_end: &'static [u8]) {
        self.line_end = line_end;
        advance(input, 1);
    }

    /// A run of text that stands for itself, or one character.
    fn plain(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        let window = &input[..input.len().min(RUN)];
        let len = window.iter().position(|byte| matches!(byte, b'%' | b'+' | b'&' | b'=' | b'\r' | b'\n'));
        let run = &window[..len.unwrap_or(window.len())];
        let valid = match std::str::from_utf8(run) {
            Ok(_) => run.len(),
            Err(error) => error.valid_up_to(),
        };
        if valid > 0 {
            let mut left = &run[..valid];
            let outcome = self.writer.piece(&mut left);
            advance(input, valid - left.len());
            return Ok(outcome?);
        }
        match unit(input) {
            Unit::Char(found, len) => {
                self.character(found)?;
                advance(input, len);
            }
            Unit::More => {
                self.len = input.len();
                self.held[..self.len].copy_from_slice(input);
                *input = &[];
            }
            Unit::Bad(reason) => return Err(Stop::Bad(reason)),
        }
        Ok(())
    }

    /// Completes the character that is held, as far as the input goes.
    fn held_unit(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        loop {
            match unit(&self.held[..self.len]) {
                Unit::Char(found, _) => {
                    self.character(found)?;
                    self.len = 0;
                    return Ok(());
                }
                Unit::Bad(reason) => return Err(Stop::Bad(reason)),
                Unit::More => {
                    let Some(&byte) = input.first() else { return Ok(()) };
                    self.held[self.len] = byte;
                    self.len += 1;
                    advance(input, 1);
                }
            }
        }
    }

    fn character(&mut self, found: char) -> Result<(), Stop> {
        // A piece is never cut within a character, so this is written as a whole or not at all.
        Ok(self.writer.piece(&mut found.encode_utf8(&mut [0; 4]).as_bytes())?)
    }
}

fn advance(input: &mut &[u8], len: usize) {
    *input = &input[len..];
}

/// The character that `bytes` start with. Each of its bytes may be escaped or not.
fn unit(bytes: &[u8]) -> Unit {
    let (mut found, mut len, mut read) = ([0; 4], 0, 0);
    while len < 4 {
        let byte = match bytes.get(read) {
            None => return Unit::More,
            Some(b'%') => match escape(&bytes[read + 1..]) {
                Ok(Some(byte)) => {
                    read += 3;
                    byte
                }
                Ok(None) => return Unit::More,
                Err(reason) => return Unit::Bad(reason),
            },
            Some(byte) => {
                read += 1;
                if *byte == b'+' { b' ' } else { *byte }
            }
        };
        found[len] = byte;
        len += 1;
        match std::str::from_utf8(&found[..len]) {
            Ok(text) => return text.chars().next().map_or(Unit::More, |found| Unit::Char(found, read)),
            Err(error) if error.error_len().is_some() => return Unit::Bad(Reason::Utf8),
            Err(_incomplete) => {}
        }
    }
    Unit::Bad(Reason::Utf8)
}

/// The byte that two digits stand for; `None` if they are not there yet.
fn escape(digits: &[u8]) -> Result<Option<u8>, Reason> {
    let mut byte = 0;
    for at in 0..2 {
        let Some(digit) = digits.get(at) else { return Ok(None) };
        let digit = char::from(*digit).to_digit(16).ok_or(Reason::Escape)?;
        byte = byte << 4 | digit as u8;
    }
    Ok(Some(byte))
}
