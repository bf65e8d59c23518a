//! snappy: the framing format, or a raw block.
//!
//! A raw block may refer to any byte of its text, so all of the text must be held. How long it is stands in the
//! first five bytes, and that much is asked for before any of it is taken. A frame's text is at most 64 KiB.

use budget::Lease;

use super::block::Block;
use super::{Codec, Reason, Step, byte, crc32c};

/// What the framing format starts with: the type of the first chunk, its length and its text.
const IDENTIFIER: [u8; 10] = *b"\xff\x06\x00\x00sNaPpY";

/// Text of a frame.
const FRAME: usize = 64 * 1024;

/// The longest block that an encoder makes of [`FRAME`] bytes.
const FRAME_COMPRESSED: usize = 32 + FRAME + FRAME / 6;

#[derive(Default)]
pub(super) struct Snappy {
    state: State,
    /// Bytes that are to be read before the input.
    held: [u8; 10],
    fed: usize,
    block: Option<(Block, Lease)>,
    /// The text of the block that is to be given next, and that was given last, if any.
    given: std::ops::Range<usize>,
}

#[derive(Clone, Copy)]
enum State {
    /// The bytes of the identifier that were read: as long as they are its own, it is not known what this is.
    Start(usize),
    /// The length of a raw block, in pieces of seven bits.
    Length { len: u64, shift: u32 },
    /// A raw block whose length is known.
    Raw { len: usize },
    /// The header of a chunk.
    Chunk { header: u32, got: u32 },
    /// The checksum of a chunk with text.
    Sum { sum: u32, got: u32, left: usize, plain: bool },
    /// The length of the text of a chunk.
    FrameLength { sum: u32, len: u64, shift: u32, left: usize },
    /// What is left of a chunk with text.
    Frame { sum: u32, left: usize, plain: bool },
    /// A further identifier.
    Again { at: usize },
    /// What is left of a chunk without a meaning.
    Skip { left: usize },
}

impl Default for State {
    fn default() -> State {
        State::Start(0)
    }
}

impl Snappy {
    /// What the bytes at the start say. They are read again if this is a raw block.
    fn start(&mut self, matched: usize, input: &mut &[u8]) -> Option<()> {
        let byte = byte(input)?;
        self.held[matched] = byte;
        self.state = if byte != IDENTIFIER[matched] {
            // Filled from its end, so that what is left of it is always its end.
            self.held.rotate_right(10 - (matched + 1));
            self.fed = 10 - (matched + 1);
            State::Length { len: 0, shift: 0 }
        } else if matched + 1 == IDENTIFIER.len() {
            self.fed = 10;
            State::Chunk { header: 0, got: 0 }
        } else {
            State::Start(matched + 1)
        };
        Some(())
    }

    /// The chunk that this header starts.
    fn chunk(header: u32) -> Result<State, Reason> {
        let left = (header >> 8) as usize;
        let text = |plain| State::Sum { sum: 0, got: 0, left: left - 4, plain };
        Ok(match header as u8 {
            0 if (4..=FRAME_COMPRESSED + 4).contains(&left) => text(false),
            1 if (4..=FRAME + 4).contains(&left) => text(true),
            0xff if left == 6 => State::Again { at: 4 },
            0x80..=0xfe if left == 0 => State::Chunk { header: 0, got: 0 },
            0x80..=0xfe => State::Skip { left },
            _ => return Err(Reason::Damaged),
        })
    }

    /// The text of a chunk is complete: it may be given if it is what its checksum says.
    fn frame(&mut self, sum: u32) -> Result<bool, Reason> {
        let Some((block, _)) = &self.block else { return Err(Reason::Damaged) };
        if !block.complete() {
            return Err(Reason::Damaged);
        }
        if crc32c::masked(block.text()) != sum {
            return Err(Reason::Checksum);
        }
        self.given = 0..block.text().len();
        self.state = State::Chunk { header: 0, got: 0 };
        Ok(!self.given.is_empty())
    }

    /// One step within the framing format. Answers what to tell, if there is something.
    fn framed(&mut self, input: &mut &[u8]) -> Result<Option<Step>, Reason> {
        match self.state {
            State::Frame { sum, left: 0, .. } => return Ok(self.frame(sum)?.then_some(Step::Output)),
            State::Frame { sum, left, plain } if !input.is_empty() => {
                let Some((block, _)) = &mut self.block else { return Err(Reason::Damaged) };
                let (mut now, later) = input.split_at(left.min(input.len()));
                let left = left - now.len();
                if plain {
                    block.literal(now)?;
                } else {
                    block.feed(&mut now)?;
                    if !now.is_empty() {
                        return Err(Reason::Damaged);
                    }
                }
                *input = later;
                self.state = State::Frame { sum, left, plain };
                return Ok(None);
            }
            State::Skip { left } if !input.is_empty() => {
                let now = left.min(input.len());
                *input = &input[now..];
                self.state = if left == now {
                    State::Chunk { header: 0, got: 0 }
                } else {
                    State::Skip { left: left - now }
                };
                return Ok(None);
            }
            _ => {}
        }
        let Some(byte) = byte(input) else { return Ok(Some(Step::NeedInput)) };
        self.state = match self.state {
            State::Chunk { header, got } => {
                let header = header | u32::from(byte) << (8 * got);
                if got == 3 { Self::chunk(header)? } else { State::Chunk { header, got: got + 1 } }
            }
            State::Sum { sum, got, left, plain } => {
                let sum = sum | u32::from(byte) << (8 * got);
                match (got, plain) {
                    (3, true) => self.begin_frame(sum, left, left, true)?,
                    (3, false) => State::FrameLength { sum, len: 0, shift: 0, left },
                    _ => State::Sum { sum, got: got + 1, left, plain },
                }
            }
            State::FrameLength { sum, len, shift, left } => {
                let left = left.checked_sub(1).ok_or(Reason::Damaged)?;
                match length(len, shift, byte)? {
                    (len, true) => self.begin_frame(sum, len as usize, left, false)?,
                    (len, false) => State::FrameLength { sum, len, shift: shift + 7, left },
                }
            }
            State::Again { at } if byte != IDENTIFIER[at] => return Err(Reason::Damaged),
            State::Again { at: 9 } => State::Chunk { header: 0, got: 0 },
            State::Again { at } => State::Again { at: at + 1 },
            other => other,
        };
        Ok(None)
    }

    fn begin_frame(&mut self, sum: u32, len: usize, left: usize, plain: bool) -> Result<State, Reason> {
        let Some((block, _)) = &mut self.block else { return Err(Reason::Damaged) };
        if len > FRAME {
            return Err(Reason::Damaged);
        }
        block.begin(len);
        Ok(State::Frame { sum, left, plain })
    }

    /// One step within a raw block or its length.
    fn raw(&mut self, input: &mut &[u8]) -> Result<Option<Step>, Reason> {
        match self.state {
            State::Length { len, shift } => {
                let Some(byte) = byte(input) else { return Ok(Some(Step::NeedInput)) };
                self.state = match length(len, shift, byte)? {
                    (len, true) => State::Raw { len: len as usize },
                    (len, false) => State::Length { len, shift: shift + 7 },
                };
                Ok(None)
            }
            State::Raw { len } => {
                let Some((block, _)) = &mut self.block else { return Ok(Some(Step::Lease(len.max(1)))) };
                block.feed(input)?;
                self.given = self.given.end..block.text().len();
                match (self.given.is_empty(), input.is_empty()) {
                    (false, _) => Ok(Some(Step::Output)),
                    (true, true) => Ok(Some(Step::NeedInput)),
                    (true, false) => Err(Reason::Trailing),
                }
            }
            _ => Ok(None),
        }
    }
}

/// A length that goes on with this byte, and whether it ends with it.
fn length(len: u64, shift: u32, byte: u8) -> Result<(u64, bool), Reason> {
    let len = len | u64::from(byte & 0x7f) << shift;
    if len > u64::from(u32::MAX) || (shift == 28 && byte >= 0x80) {
        return Err(Reason::Damaged);
    }
    Ok((len, byte < 0x80))
}

impl Codec for Snappy {
    fn feed(&mut self, input: &mut &[u8]) -> Result<Step, Reason> {
        loop {
            let step = match self.state {
                State::Start(matched) => {
                    if self.start(matched, input).is_none() {
                        return Ok(Step::NeedInput);
                    }
                    None
                }
                State::Length { .. } | State::Raw { .. } => {
                    let held = self.held;
                    let mut first = &held[self.fed.min(10)..];
                    if first.is_empty() {
                        self.raw(input)?
                    } else {
                        let step = self.raw(&mut first)?;
                        self.fed = 10 - first.len();
                        step.filter(|step| *step != Step::NeedInput)
                    }
                }
                _ if self.block.is_none() => Some(Step::Lease(FRAME)),
                _ => self.framed(input)?,
            };
            if let Some(step) = step {
                return Ok(step);
            }
        }
    }

    fn output(&self) -> &[u8] {
        self.block.as_ref().map_or(&[], |(block, _)| &block.text()[self.given.clone()])
    }

    fn prepay(&mut self, lease: Lease) {
        let room = if let State::Raw { len } = self.state { len } else { FRAME };
        assert!(lease.bytes() >= room, "it is paid for");
        self.block = Some((Block::new(room), lease));
    }

    fn finish(&self) -> Result<(), Reason> {
        let whole = match self.state {
            State::Raw { len: 0 } => true,
            State::Raw { .. } => self.block.as_ref().is_some_and(|(block, _)| block.complete()),
            State::Chunk { got: 0, .. } => true,
            _ => false,
        };
        if whole { Ok(()) } else { Err(Reason::Truncated) }
    }
}
