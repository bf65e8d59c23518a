//! Strings: whole ones at once, others by pieces that may end anywhere.

use event::Sink;

use super::super::error::{Reason, Stop};
use super::super::scan;
use super::super::text::{self, Unit};
use super::{State, Transcoder, advance};

/// Bytes of a long string that are checked and written at once. A bound, so that little is checked again
/// when the ledger had no room.
const RUN: usize = 16 * 1024;

impl<S: Sink> Transcoder<S> {
    /// A string or key from its opening quote on: whole if it is short and plain, else `within` is the state
    /// in which the rest of it is read.
    #[inline]
    pub(super) fn string(&mut self, input: &mut &[u8], after: State, within: State) -> Result<(), Stop> {
        let Some(len) = self.whole_string(input)? else {
            self.writer.begin_str()?;
            return self.go(input, within);
        };
        advance(input, len);
        self.state = after;
        Ok(())
    }

    /// Writes the string that `input` starts with, if it is one that can be written at once, and answers its length
    /// with its quotes.
    #[inline(always)]
    pub(super) fn whole_string(&mut self, input: &[u8]) -> Result<Option<usize>, Stop> {
        if let Some((block, len)) = text::short(input) {
            self.writer.short_str(block, len)?;
            return Ok(Some(len + 2));
        }
        let Some(text) = text::whole(input) else { return Ok(None) };
        self.writer.str(text)?;
        Ok(Some(text.len() + 2))
    }

    /// A string by pieces: runs of plain text, and one escape or split character at a time.
    pub(super) fn text(&mut self, input: &mut &[u8], after: State) -> Result<(), Stop> {
        while self.held.is_empty() || self.held_unit(input)? {
            let window = &input[..input.len().min(RUN)];
            self.plain_run(input, &window[..scan::text(window, RUN)])?;
            match input.first() {
                None => break,
                Some(b'"') => {
                    self.writer.end_str();
                    return self.go(input, after);
                }
                Some(b'\\') if self.escapes(input)? => {}
                Some(b'\\' | 0x80..) => self.unit(input)?,
                Some(0..0x20) if self.lenient => {
                    self.writer.piece(&mut &input[..1])?;
                    advance(input, 1);
                }
                Some(0..0x20) => return Err(Reason::Control.into()),
                // The window ended.
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Writes the valid front of `run`, which is the front of `input`.
    fn plain_run(&mut self, input: &mut &[u8], run: &[u8]) -> Result<(), Stop> {
        let valid = match std::str::from_utf8(run) {
            Ok(_) => run.len(),
            Err(error) => error.valid_up_to(),
        };
        let mut left = &run[..valid];
        let outcome = self.writer.piece(&mut left);
        advance(input, valid - left.len());
        Ok(outcome?)
    }

    /// Several escapes and the ASCII text between them at once, if they fit the page. Answers whether there
    /// were any. This only saves time.
    fn escapes(&mut self, input: &mut &[u8]) -> Result<bool, Stop> {
        let mut text = [0; 256];
        let (read, written) = text::unescape(input, &mut text);
        if read == 0 || written > self.writer.room() {
            return Ok(false);
        }
        self.writer.piece(&mut &text[..written])?;
        advance(input, read);
        Ok(true)
    }

    /// An escape, or a character that the run before it could not take: invalid, or cut.
    fn unit(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        match text::unit(input) {
            Unit::Char(found, len) => {
                self.character(found)?;
                advance(input, len);
            }
            Unit::More => {
                self.held.extend_from_slice(input);
                *input = &[];
            }
            // Half of a character, `\uXXXX`: what it was meant for nobody knows.
            Unit::Bad(Reason::Surrogate) if self.lenient => {
                self.character(char::REPLACEMENT_CHARACTER)?;
                advance(input, 6);
            }
            Unit::Bad(reason) => return Err(reason.into()),
        }
        Ok(())
    }

    /// Completes the unit that is held. Answers whether it could.
    fn held_unit(&mut self, input: &mut &[u8]) -> Result<bool, Stop> {
        loop {
            match text::unit(&self.held) {
                Unit::Char(found, _) => {
                    self.character(found)?;
                    self.release_held();
                    return Ok(true);
                }
                Unit::Bad(reason) => return Err(reason.into()),
                Unit::More => {
                    let Some(byte) = input.first() else { return Ok(false) };
                    // What completes it is not taken before there is room for it: the slice may end here.
                    self.writer.reserve(4)?;
                    self.held.push(*byte);
                    advance(input, 1);
                }
            }
        }
    }

    fn character(&mut self, found: char) -> Result<(), Stop> {
        // A piece is never cut within a character, so this is written as a whole or not at all.
        Ok(self.writer.piece(&mut found.encode_utf8(&mut [0; 4]).as_bytes())?)
    }

    pub(super) fn release_held(&mut self) {
        self.held.clear();
        // What a long number took is given back; a few bytes may stay for the next token.
        self.held.shrink_to(32);
    }
}
