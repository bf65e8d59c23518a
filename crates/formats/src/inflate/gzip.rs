//! gzip, member by member.
//!
//! The header and the trailer are read here and not by the library, which can only be made ready for another
//! member by giving its window back and taking a new one: a body of many small members would spend its time
//! with that.

use budget::Lease;
use flate2::Crc;

use super::deflate::{FLATE, Flate};
use super::{Codec, Reason, Step, byte};

const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const FIXED: usize = 10;

/// Bits of the header's flags.
const CHECKED: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

#[derive(Default)]
pub(super) struct Gzip {
    flate: Option<Flate>,
    part: Part,
    flags: u8,
    /// Of the header, then of the text.
    crc: Crc,
    /// Whether a member was read to its end.
    whole: bool,
}

/// What comes next, with the bytes of it that were read.
#[derive(Clone, Copy)]
enum Part {
    Fixed(usize),
    ExtraLen(u16, usize),
    Extra(u16),
    Name,
    Comment,
    HeaderSum(u16, usize),
    Text,
    Trailer([u8; 8], usize),
}

impl Default for Part {
    fn default() -> Part {
        Part::Fixed(0)
    }
}

impl Gzip {
    /// The optional fields come in a fixed order; this is the first of those from `from` on that is there.
    fn field(&self, from: u8) -> Part {
        for flag in [EXTRA, NAME, COMMENT].into_iter().filter(|flag| *flag >= from) {
            if self.flags & flag != 0 {
                return match flag {
                    EXTRA => Part::ExtraLen(0, 0),
                    NAME => Part::Name,
                    _ => Part::Comment,
                };
            }
        }
        if self.flags & CHECKED != 0 { Part::HeaderSum(0, 0) } else { Part::Text }
    }

    /// One byte of the header.
    fn header(&mut self, byte: u8) -> Result<(), Reason> {
        let sum = self.crc.sum() as u16;
        self.crc.update(&[byte]);
        self.part = match self.part {
            Part::Fixed(at) => {
                if MAGIC.get(at).is_some_and(|expected| *expected != byte) {
                    return Err(if self.whole { Reason::Trailing } else { Reason::NotThis });
                }
                if at == 3 {
                    self.flags = byte;
                    if byte & RESERVED != 0 {
                        return Err(Reason::Damaged);
                    }
                }
                if at + 1 < FIXED { Part::Fixed(at + 1) } else { self.field(EXTRA) }
            }
            Part::ExtraLen(len, 0) => Part::ExtraLen(len | u16::from(byte), 1),
            Part::ExtraLen(len, _) => match len | u16::from(byte) << 8 {
                0 => self.field(NAME),
                len => Part::Extra(len),
            },
            Part::Extra(1) => self.field(NAME),
            Part::Extra(left) => Part::Extra(left - 1),
            Part::Name if byte == 0 => self.field(COMMENT),
            Part::Comment if byte == 0 => self.field(COMMENT + 1),
            Part::HeaderSum(_, 0) => Part::HeaderSum(sum ^ u16::from(byte), 1),
            Part::HeaderSum(differs, _) if differs != u16::from(byte) << 8 => return Err(Reason::Checksum),
            Part::HeaderSum(..) => Part::Text,
            same => same,
        };
        Ok(())
    }

    /// One byte of the trailer.
    fn trailer(&mut self, mut bytes: [u8; 8], at: usize, byte: u8) -> Result<(), Reason> {
        bytes[at] = byte;
        if at < 7 {
            self.part = Part::Trailer(bytes, at + 1);
            return Ok(());
        }
        let said = u64::from_le_bytes(bytes);
        if said != u64::from(self.crc.sum()) | u64::from(self.crc.amount()) << 32 {
            return Err(Reason::Checksum);
        }
        self.part = Part::Fixed(0);
        self.whole = true;
        self.crc.reset();
        if let Some(flate) = &mut self.flate {
            flate.reset();
        }
        Ok(())
    }
}

impl Codec for Gzip {
    fn feed(&mut self, input: &mut &[u8]) -> Result<Step, Reason> {
        loop {
            match self.part {
                Part::Text => {
                    let Some(flate) = &mut self.flate else { return Ok(Step::Lease(FLATE)) };
                    let done = input.is_empty();
                    let ended = flate.run(input)?;
                    self.crc.update(flate.output());
                    let text = !flate.output().is_empty();
                    if ended {
                        self.part = Part::Trailer([0; 8], 0);
                    }
                    if text {
                        return Ok(Step::Output);
                    }
                    if done {
                        return Ok(Step::NeedInput);
                    }
                }
                Part::Trailer(bytes, at) => {
                    let Some(byte) = byte(input) else { return Ok(Step::NeedInput) };
                    self.trailer(bytes, at, byte)?;
                }
                _ => {
                    let Some(byte) = byte(input) else { return Ok(Step::NeedInput) };
                    self.header(byte)?;
                    if matches!(self.part, Part::Text) {
                        self.crc.reset();
                    }
                }
            }
        }
    }

    fn output(&self) -> &[u8] {
        self.flate.as_ref().map_or(&[], Flate::output)
    }

    fn prepay(&mut self, lease: Lease) {
        self.flate = Some(Flate::new(false, lease));
    }

    fn finish(&self) -> Result<(), Reason> {
        if self.whole && matches!(self.part, Part::Fixed(0)) { Ok(()) } else { Err(Reason::Truncated) }
    }
}
