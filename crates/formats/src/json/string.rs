//! Strings, binaries and extensions on their way out, piece by piece.

use event::{Corrupt, Cursor};

use super::print::Printer;
use super::scan;
use crate::Block;

/// How the bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// JSON escapes; what is not UTF-8 becomes U+FFFD.
    Json { escape_unicode: bool },
    /// As they are.
    Raw,
    /// Printable ASCII as it is, all else as `\x00`.
    Printable,
    /// All as `\x00`, the backslash escaped for JSON.
    Hex,
}

/// A string that is being written.
#[derive(Debug)]
pub(super) struct Text {
    left: usize,
    kind: Kind,
    /// It stands within the text of a key, so its quotes and backslashes are escaped once more.
    quoted: bool,
    /// The start of a character that a page ended in.
    split: [u8; 4],
    split_len: usize,
}

/// What is left free for what is short: an escaped character and the closing quote.
const MARGIN: usize = Printer::STEP / 2;

const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Text {
    /// Writes the opening quote.
    pub(super) fn begin(left: usize, kind: Kind, quoted: bool, block: &mut Block) -> Text {
        let text = Text { left, kind, quoted, split: [0; 4], split_len: 0 };
        text.put(b"\"", block);
        text
    }

    /// Writes on, up to the closing quote or until the block has less than a step of room. Answers whether
    /// the string is complete.
    pub(super) fn write(&mut self, cursor: &mut Cursor<'_>, block: &mut Block) -> Result<bool, Corrupt> {
        while self.left > 0 {
            if block.room() < Printer::STEP {
                return Ok(false);
            }
            let here = cursor.here();
            let here = &here[..here.len().min(self.left)];
            let used = match self.kind {
                _ if here.is_empty() => return Err(Corrupt),
                Kind::Json { .. } if self.split_len > 0 => self.split_character(here[0], block),
                Kind::Json { escape_unicode } => self.json(here, cursor.here(), escape_unicode, block),
                Kind::Raw => {
                    let run = here.len().min(block.room() - MARGIN);
                    block.put(&here[..run]);
                    run
                }
                Kind::Printable => printable(here[0], block),
                Kind::Hex => {
                    self.put(b"\\\\x", block);
                    block.put(&hex(here[0]));
                    1
                }
            };
            self.left -= used;
            cursor.pass(used)?;
        }
        if self.split_len > 0 {
            self.replace(block);
        }
        self.put(b"\"", block);
        Ok(true)
    }

    /// Writes text whose quotes and backslashes may have to be escaped once more.
    fn put(&self, text: &[u8], block: &mut Block) {
        if !self.quoted {
            return block.put(text);
        }
        for byte in text {
            if matches!(byte, b'"' | b'\\') {
                block.push(b'\\');
            }
            block.push(*byte);
        }
    }

    /// Writes the front of `here`, which is the string's part of `page`. Answers how many bytes that were.
    fn json(&mut self, here: &[u8], page: &[u8], escape_unicode: bool, block: &mut Block) -> usize {
        let run = scan::plain(page, here.len().min(block.room() - MARGIN));
        if run > 0 {
            block.put(&here[..run]);
            return run;
        }
        if here[0] < 0x80 {
            self.escape(here[0], block);
            return 1;
        }
        if !escape_unicode {
            let run = &here[..scan::text(page, here.len().min(block.room() - MARGIN))];
            let valid = std::str::from_utf8(run).map_or_else(|error| error.valid_up_to(), str::len);
            if valid > 0 {
                block.put(&run[..valid]);
                return valid;
            }
        }
        self.beyond_ascii(here, escape_unicode, block)
    }

    fn escape(&self, byte: u8, block: &mut Block) {
        let letter = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\t' => b't',
            b'\r' => b'r',
            0x08 => b'b',
            0x0c => b'f',
            _ => return self.put_unit(u16::from(byte), block),
        };
        self.put(&[b'\\', letter], block);
    }

    fn put_unit(&self, unit: u16, block: &mut Block) {
        let [high, low] = unit.to_be_bytes();
        let ([a, b], [c, d]) = (hex(high), hex(low));
        self.put(&[b'\\', b'u', a, b, c, d], block);
    }

    fn character(&self, found: char, escape_unicode: bool, block: &mut Block) {
        if escape_unicode {
            for unit in found.encode_utf16(&mut [0; 2]) {
                self.put_unit(*unit, block);
            }
        } else {
            block.put(found.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn beyond_ascii(&mut self, here: &[u8], escape_unicode: bool, block: &mut Block) -> usize {
        let bytes = &here[..here.len().min(4)];
        let (valid, error) = match std::str::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => (std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""), Some(error)),
        };
        if let Some(found) = valid.chars().next() {
            self.character(found, escape_unicode, block);
            return found.len_utf8();
        }
        if let Some(invalid) = error.and_then(|error| error.error_len()) {
            self.character(REPLACEMENT, escape_unicode, block);
            return invalid;
        }
        // The page or the string ends within the character.
        self.split[..bytes.len()].copy_from_slice(bytes);
        self.split_len = bytes.len();
        bytes.len()
    }

    /// Takes one more byte of the character that a page ended in, unless it belongs to the next one.
    fn split_character(&mut self, byte: u8, block: &mut Block) -> usize {
        self.split[self.split_len] = byte;
        let Kind::Json { escape_unicode } = self.kind else { return 1 };
        match std::str::from_utf8(&self.split[..=self.split_len]) {
            Ok(text) => {
                self.character(text.chars().next().unwrap_or(REPLACEMENT), escape_unicode, block);
                self.split_len = 0;
                1
            }
            Err(error) if error.error_len().is_none() => {
                self.split_len += 1;
                1
            }
            Err(_) => {
                self.replace(block);
                0
            }
        }
    }

    /// What is held of a character will not be completed.
    fn replace(&mut self, block: &mut Block) {
        if let Kind::Json { escape_unicode } = self.kind {
            self.character(REPLACEMENT, escape_unicode, block);
        }
        self.split_len = 0;
    }
}

fn printable(byte: u8, block: &mut Block) -> usize {
    match byte {
        b'"' => block.put(b"\\\""),
        0x20..0x7f => block.push(byte),
        _ => {
            block.put(b"\\x");
            block.put(&hex(byte));
        }
    }
    1
}

fn hex(byte: u8) -> [u8; 2] {
    [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}
