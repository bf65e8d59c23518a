//! Deflate ([RFC 1951](https://www.rfc-editor.org/rfc/rfc1951)) for text that must be small soon: lines of JSON.
//!
//! Bytes are gathered to a block of [`BLOCK`]. Within it and the 32 KiB before it, one earlier place is known for
//! each six bytes, the last; from where four bytes agree, a match is made as long as it goes, also to the front
//! ([`Matcher`]). The block is written with codes of its own, with the fixed ones, or as it is, whatever is shortest
//! ([`codes`]). Next to zlib's levels it is as fast as their first and nearly as small as their third: what zlib spends
//! on looking for better matches is spent on nothing, and what a processor spends on branches that it cannot foresee is
//! avoided where bytes of text would decide them.
//!
//! The bytes that come out depend on those that were written only, not on how they were cut.

use budget::{Buf, Full};

mod bits;
mod codes;
mod matcher;

use bits::Bits;
use codes::Codes;
use matcher::Matcher;

/// Bytes of a block. What does not compress is stored, in pieces of up to 65,535.
const BLOCK: usize = 60 << 10;

/// Compresses one stream.
pub(crate) struct Deflate {
    matcher: Matcher,
    bits: Bits,
    /// Whole bytes that were brought to the output.
    sent: usize,
    /// Nothing was written behind the last flush.
    flushed: bool,
    ended: bool,
}

impl Deflate {
    /// Bytes of heap that it holds, with what it makes the codes of a block of.
    pub(crate) const HELD: usize = Matcher::HELD + Bits::HELD + Codes::HELD;

    pub(crate) fn new() -> Deflate {
        Deflate { matcher: Matcher::new(), bits: Bits::new(), sent: 0, flushed: true, ended: false }
    }

    /// Compresses bytes; `input` shrinks by what was taken.
    pub(crate) fn write(&mut self, input: &mut &[u8], out: &mut Buf) -> Result<(), Full> {
        while !input.is_empty() {
            self.drain(out)?;
            self.flushed = false;
            self.matcher.take(input);
            if self.matcher.is_full() {
                self.block(false);
            }
        }
        self.drain(out)
    }

    /// Brings everything to the output, which then ends with a whole byte.
    pub(crate) fn flush(&mut self, out: &mut Buf) -> Result<(), Full> {
        if !self.flushed {
            self.drain(out)?;
            if !self.matcher.is_empty() {
                self.block(false);
            }
            self.bits.stored(&[], false);
            self.flushed = true;
        }
        self.drain(out)
    }

    /// Ends the stream.
    pub(crate) fn finish(&mut self, out: &mut Buf) -> Result<(), Full> {
        if !self.ended {
            self.drain(out)?;
            self.block(true);
            self.bits.align();
            self.ended = true;
        }
        self.drain(out)
    }

    /// Writes the block that was gathered.
    fn block(&mut self, last: bool) {
        let found = self.matcher.find();
        let (own, fixed) = (Codes::of(found.counts), Codes::fixed());
        let stored = 8 * (found.bytes.len() + 5);
        match own.cost(found.counts).min(fixed.cost(found.counts)) {
            cost if cost >= stored => self.bits.stored(found.bytes, last),
            cost if cost == fixed.cost(found.counts) => self.bits.coded(&found, &fixed, last),
            _ => self.bits.coded(&found, &own, last),
        }
        self.matcher.slide();
    }

    fn drain(&mut self, out: &mut Buf) -> Result<(), Full> {
        let mut rest = &self.bits.bytes()[self.sent..];
        while !rest.is_empty() {
            if out.room() == 0 {
                out.grow()?;
            }
            let (now, later) = rest.split_at(rest.len().min(out.room()));
            out.write(now)?;
            self.sent += now.len();
            rest = later;
        }
        self.bits.clear();
        self.sent = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
