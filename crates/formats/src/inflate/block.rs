//! A snappy block, decompressed as it arrives.
//!
//! The `snap` library reads a block only when all of it is there, so it would take the block and its text at
//! once, and the block is as large as the body. Here the text alone is held: copies reach back into it.

use super::Reason;

/// Literals and copies, read up to any byte.
pub(super) struct Block {
    text: Box<[u8]>,
    /// Text that there is.
    len: usize,
    /// Text that there will be.
    total: usize,
    element: Element,
}

/// The element being read.
#[derive(Clone, Copy)]
enum Element {
    Tag,
    /// The tag, and `got` of the `need` bytes that follow it.
    Operand {
        tag: u8,
        bytes: u32,
        got: u32,
        need: u32,
    },
    Literal {
        left: usize,
    },
}

impl Block {
    /// Room for texts of `room` bytes.
    pub(super) fn new(room: usize) -> Block {
        // Zeroed memory of this size comes from the system as it is touched.
        Block { text: vec![0; room].into(), len: 0, total: room, element: Element::Tag }
    }

    /// Starts a block whose text has `total` bytes.
    pub(super) fn begin(&mut self, total: usize) {
        debug_assert!(total <= self.text.len());
        (self.len, self.total, self.element) = (0, total, Element::Tag);
    }

    /// The text so far.
    pub(super) fn text(&self) -> &[u8] {
        &self.text[..self.len]
    }

    /// Whether all text is there and no element is half read.
    pub(super) fn complete(&self) -> bool {
        self.len == self.total && matches!(self.element, Element::Tag)
    }

    /// Takes bytes that stand for themselves.
    pub(super) fn literal(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        let room = self.text[self.len..self.total].get_mut(..bytes.len()).ok_or(Reason::Damaged)?;
        room.copy_from_slice(bytes);
        self.len += bytes.len();
        Ok(())
    }

    /// Reads `input`, to the end of the block at most: it shrinks by what was read.
    pub(super) fn feed(&mut self, input: &mut &[u8]) -> Result<(), Reason> {
        while let Some((&first, rest)) = input.split_first() {
            match self.element {
                Element::Tag if self.len == self.total => break,
                Element::Tag => {
                    *input = rest;
                    let need = operand(first);
                    // Nearly always the operand is there.
                    if let Some(bytes) = rest.first_chunk::<4>() {
                        let bytes = u32::from_le_bytes(*bytes) & ((1u64 << (8 * need)) - 1) as u32;
                        *input = &rest[need as usize..];
                        self.run(first, bytes)?;
                    } else if need == 0 {
                        self.run(first, 0)?;
                    } else {
                        self.element = Element::Operand { tag: first, bytes: 0, got: 0, need };
                    }
                }
                Element::Operand { tag, bytes, got, need } => {
                    *input = rest;
                    let bytes = bytes | u32::from(first) << (8 * got);
                    if got + 1 == need {
                        self.run(tag, bytes)?;
                    } else {
                        self.element = Element::Operand { tag, bytes, got: got + 1, need };
                    }
                }
                Element::Literal { left } => {
                    let (now, later) = input.split_at(left.min(input.len()));
                    self.literal(now)?;
                    *input = later;
                    self.element = match left - now.len() {
                        0 => Element::Tag,
                        left => Element::Literal { left },
                    };
                }
            }
        }
        Ok(())
    }

    fn run(&mut self, tag: u8, operand: u32) -> Result<(), Reason> {
        self.element = Element::Tag;
        let upper = usize::from(tag >> 2);
        match tag & 3 {
            0 => {
                let left = if upper < 60 { upper } else { operand as usize } + 1;
                if left > self.total - self.len {
                    return Err(Reason::Damaged);
                }
                self.element = Element::Literal { left };
                Ok(())
            }
            1 => self.copy(usize::from(tag >> 5) << 8 | operand as usize, (upper & 7) + 4),
            _ => self.copy(operand as usize, upper + 1),
        }
    }

    /// Repeats `len` bytes of the text from `back` bytes ago, which may be the ones that this writes.
    fn copy(&mut self, back: usize, len: usize) -> Result<(), Reason> {
        if back == 0 || back > self.len || len > self.total - self.len {
            return Err(Reason::Damaged);
        }
        let (mut from, mut to, end) = (self.len - back, self.len, self.len + len);
        self.len = end;
        // Sixteen bytes at a time, and some more than asked for, where that harms nothing.
        if back >= 16 && end + 16 <= self.text.len() {
            while to < end {
                let (before, after) = self.text.split_at_mut(to);
                if let (Some(source), Some(room)) =
                    (before[from..].first_chunk::<16>(), after.first_chunk_mut::<16>())
                {
                    *room = *source;
                }
                (from, to) = (from + 16, to + 16);
            }
            return Ok(());
        }
        while to < end {
            let step = (to - from).min(end - to);
            self.text.copy_within(from..from + step, to);
            to += step;
        }
        Ok(())
    }
}

/// Bytes that follow a tag.
fn operand(tag: u8) -> u32 {
    match (tag & 3, tag >> 2) {
        (0, long @ 60..) => u32::from(long) - 59,
        (0, _) => 0,
        (1, _) => 1,
        (2, _) => 2,
        _ => 4,
    }
}
