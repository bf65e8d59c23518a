//! Values to text: JSON, or the form that Fluent Bit's stdout prints.

use std::fmt::Write;

use event::{Corrupt, Cursor, Token};

use super::string::{self, Text};
use super::{decimal, scan};
use crate::Block;

/// Levels of maps and arrays that a value may have.
const MAX_DEPTH: usize = 1000;

/// How values are written.
///
/// | value | [`Style::Json`] | [`Style::Text`] |
/// |---|---|---|
/// | map | `{"k":1,"n":2}` | `{"k"=>1, "n"=>2}` |
/// | array | `[1,2]` | `[1, 2]` |
/// | nil | `null` | `nil` |
/// | float | `3.0`, `0.1`, `1e300`; NaN and infinities `null` | `3.000000` |
/// | string | escaped; invalid UTF-8 becomes U+FFFD | as it is |
/// | binary | as a string | printable ASCII, else `\x00` |
/// | extension | `"\\x00\\xff"` | `(ext: 1)"\x00..."` |
/// | key that is no string | its JSON text as a string | its text |
///
/// Floats read back as the double they were; Fluent Bit prints 16 digits, of which some doubles need 17.
/// Duplicate keys are all written, where Fluent Bit's JSON keeps the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// JSON without white space.
    Json {
        /// Characters beyond ASCII are written as `\uXXXX`, as Fluent Bit does unless told otherwise.
        escape_unicode: bool,
    },
    /// What Fluent Bit's stdout prints.
    Text,
}

/// Whether a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is; the cursor stands behind it.
    Done,
    /// The block has less than [`Printer::STEP`] bytes of room. Take its text away, clear it and call again.
    BlockFull,
}

/// Writes values, one after the other, each block by block.
///
/// What it holds is 16 bytes for each open level, whatever the size of the value.
#[derive(Debug)]
pub struct Printer {
    style: Style,
    open: Vec<Level>,
    /// The string that is being written.
    text: Option<Text>,
    /// How many levels are open outside of a map or array that is a key. Its text stands in a string.
    quoted: Option<usize>,
}

/// An open map or array.
#[derive(Debug)]
struct Level {
    /// Keys and values that are still to come.
    left: u64,
    map: bool,
    first: bool,
}

impl Level {
    fn at_key(&self) -> bool {
        self.map && self.left.is_multiple_of(2)
    }
}

impl Printer {
    /// Room that a block must have, in bytes: the longest text that is written at once is a float of 317.
    pub const STEP: usize = 512;

    /// A printer of this style.
    pub fn new(style: Style) -> Printer {
        Printer { style, open: Vec::new(), text: None, quoted: None }
    }

    /// Writes the next value of `cursor`, or goes on with it.
    ///
    /// # Errors
    /// [`Corrupt`]: it is no msgpack, nested deeper than 1,000 levels, or has a map or array as a key within
    /// another one. The next call starts with a new value.
    pub fn value(&mut self, cursor: &mut Cursor<'_>, block: &mut Block) -> Result<Progress, Corrupt> {
        let outcome = self.go_on(cursor, block);
        if outcome.is_err() {
            *self = Printer::new(self.style);
        }
        outcome
    }

    fn go_on(&mut self, cursor: &mut Cursor<'_>, block: &mut Block) -> Result<Progress, Corrupt> {
        loop {
            if block.room() < Printer::STEP {
                return Ok(Progress::BlockFull);
            }
            if let Some(text) = &mut self.text {
                if !text.write(cursor, block)? {
                    continue;
                }
                self.text = None;
            } else {
                self.next(cursor, block)?;
            }
            if self.text.is_none() && self.close(block) {
                return Ok(Progress::Done);
            }
        }
    }

    /// Closes what is complete. Answers whether the value is.
    #[inline]
    fn close(&mut self, block: &mut Block) -> bool {
        while let Some(level) = self.open.last() {
            // A closing bracket is one byte, and each had its opening one checked against a step: but many
            // may close at once.
            if level.left > 0 || block.room() < Printer::STEP / 2 {
                return false;
            }
            block.push(if level.map { b'}' } else { b']' });
            self.open.pop();
            if self.quoted == Some(self.open.len()) {
                self.quoted = None;
                block.push(b'"');
            }
        }
        true
    }

    /// The next key, element or value: what separates it from the last one, and its token.
    fn next(&mut self, cursor: &mut Cursor<'_>, block: &mut Block) -> Result<(), Corrupt> {
        let key = match self.open.last_mut() {
            None => false,
            // Closing stopped for want of room.
            Some(Level { left: 0, .. }) => return Ok(()),
            Some(level) => {
                let key = level.at_key();
                separate(self.style, level, block);
                level.first = false;
                level.left -= 1;
                key
            }
        };
        if self.quoted.is_none() && short_string(cursor, block)? {
            return Ok(());
        }
        let token = cursor.token()?;
        if let Token::Str(size) = token {
            return self.string(size, cursor, block);
        }
        if key && self.style != Style::Text {
            return self.odd_key(token, block);
        }
        self.token(token, block)
    }

    #[inline]
    fn string(&mut self, size: usize, cursor: &mut Cursor<'_>, block: &mut Block) -> Result<(), Corrupt> {
        let here = cursor.here();
        let short = size <= here.len() && size < block.room() - Printer::STEP / 2;
        if short && self.quoted.is_none() && scan::plain(here, size) == size {
            block.put_quoted(here, size);
            cursor.piece(size)?;
            return Ok(());
        }
        let kind = match self.style {
            Style::Json { escape_unicode } => string::Kind::Json { escape_unicode },
            Style::Text => string::Kind::Raw,
        };
        self.begin_text(size, kind, block);
        Ok(())
    }

    fn begin_text(&mut self, size: usize, kind: string::Kind, block: &mut Block) {
        self.text = Some(Text::begin(size, kind, self.quoted.is_some(), block));
    }

    /// A key that is no string, in quotes.
    fn odd_key(&mut self, token: Token, block: &mut Block) -> Result<(), Corrupt> {
        match token {
            Token::Bin(_) | Token::Ext(..) => self.token(token, block),
            Token::Map(_) | Token::Array(_) => {
                if self.quoted.is_some() {
                    return Err(Corrupt);
                }
                block.push(b'"');
                self.quoted = Some(self.open.len());
                self.token(token, block)?;
                Ok(())
            }
            _ => {
                let quote: &[u8] = if self.quoted.is_some() { b"\\\"" } else { b"\"" };
                block.put(quote);
                self.token(token, block)?;
                block.put(quote);
                Ok(())
            }
        }
    }

    fn token(&mut self, token: Token, block: &mut Block) -> Result<(), Corrupt> {
        let json = self.style != Style::Text;
        match token {
            Token::Nil => block.put(if json { b"null" } else { b"nil" }),
            Token::Bool(true) => block.put(b"true"),
            Token::Bool(false) => block.put(b"false"),
            Token::U64(value) => decimal::put(value, block),
            Token::I64(value) => {
                block.push(b'-');
                decimal::put(value.unsigned_abs(), block);
            }
            Token::F32(value) => self.float(f64::from(value), block),
            Token::F64(value) => self.float(value, block),
            Token::Bin(size) => match self.style {
                Style::Json { escape_unicode } => {
                    self.begin_text(size, string::Kind::Json { escape_unicode }, block);
                }
                Style::Text => self.begin_text(size, string::Kind::Printable, block),
            },
            Token::Ext(kind, size) => {
                if !json {
                    // The block has room for a step.
                    let _ = write!(block, "(ext: {kind})");
                }
                let kind = if json { string::Kind::Hex } else { string::Kind::Printable };
                self.begin_text(size, kind, block);
            }
            Token::Array(count) => self.begin(false, count as u64, block)?,
            Token::Map(count) => self.begin(true, 2 * count as u64, block)?,
            Token::Str(_) => debug_assert!(false, "strings do not come here"),
        }
        Ok(())
    }

    fn begin(&mut self, map: bool, left: u64, block: &mut Block) -> Result<(), Corrupt> {
        if self.open.len() == MAX_DEPTH {
            return Err(Corrupt);
        }
        block.push(if map { b'{' } else { b'[' });
        self.open.push(Level { left, map, first: true });
        Ok(())
    }

    fn float(&self, value: f64, block: &mut Block) {
        // A step is room for the longest of these.
        let _ = match self.style {
            Style::Text if value.is_nan() => block.write_str("nan"),
            Style::Text => write!(block, "{value:.6}"),
            _ if !value.is_finite() => block.write_str("null"),
            // Below 2^63, whole numbers are written with one decimal, as Fluent Bit does.
            _ if value.abs() < 9.2e18 && value.fract() == 0.0 => {
                if value.is_sign_negative() {
                    block.push(b'-');
                }
                decimal::put(value.abs() as u64, block);
                block.write_str(".0")
            }
            _ => write!(block, "{value:?}"),
        };
    }
}

#[inline]
fn separate(style: Style, level: &Level, block: &mut Block) {
    let value = level.map && !level.at_key();
    match (style, value) {
        (Style::Text, true) => block.put(b"=>"),
        (_, true) => block.push(b':'),
        _ if level.first => {}
        (Style::Text, false) => block.put(b", "),
        (_, false) => block.push(b','),
    }
}

/// Writes the next value if it is a string of fewer than 32 bytes that stands in one piece and needs no
/// escape. Answers whether it was. Most values are; the others take the long way by their token.
#[inline]
fn short_string(cursor: &mut Cursor<'_>, block: &mut Block) -> Result<bool, Corrupt> {
    let Some((code @ 0xa0..=0xbf, here)) = cursor.here().split_first() else { return Ok(false) };
    let size = usize::from(code & 0x1f);
    if size > here.len() || scan::plain(here, size) < size {
        return Ok(false);
    }
    block.put_quoted(here, size);
    cursor.piece(1 + size)?;
    Ok(true)
}
