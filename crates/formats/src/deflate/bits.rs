//! Bits on their way to bytes.

use super::BLOCK;
use super::codes::{Code, Codes, DISTANCE, END, distance_symbol};
use super::matcher::Found;

/// Bytes that are written at once.
const WORD: usize = 8;

/// What was written and is not taken away yet.
pub(super) struct Bits {
    /// Room for a block that is stored, the empty one of a flush, and a word.
    bytes: Box<[u8]>,
    len: usize,
    /// The byte that is not complete.
    word: Word,
}

/// Bits that are no bytes yet.
#[derive(Debug, Clone, Copy, Default)]
struct Word {
    bits: u64,
    count: u32,
}

impl Word {
    /// Appends bits; with those that are there, there may be 64.
    #[inline]
    fn put(&mut self, code: Code) {
        self.bits |= code.bits() << self.count;
        self.count += code.size();
    }

    /// Makes bytes of the bits, of which up to seven are left; how many bytes.
    #[inline]
    fn spill(&mut self, bytes: &mut [u8]) -> usize {
        bytes[..WORD].copy_from_slice(&self.bits.to_le_bytes());
        let made = self.count / 8;
        self.bits = self.bits.checked_shr(8 * made).unwrap_or(0);
        self.count %= 8;
        made as usize
    }
}

impl Bits {
    /// A block is coded when that is shorter than to store it.
    const ROOM: usize = BLOCK + 2 * 5 + 3 * WORD;

    /// Bytes of heap that it holds.
    pub(super) const HELD: usize = Bits::ROOM;

    pub(super) fn new() -> Bits {
        Bits { bytes: vec![0; Bits::ROOM].into(), len: 0, word: Word::default() }
    }

    /// The whole bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Forgets the whole bytes, which were taken away.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    fn put(&mut self, code: Code) {
        self.word.put(code);
    }

    fn spill(&mut self) {
        self.len += self.word.spill(&mut self.bytes[self.len..]);
    }

    /// Fills the byte that is not complete.
    pub(super) fn align(&mut self) {
        self.word.count = self.word.count.next_multiple_of(8);
        self.spill();
    }

    /// Writes a block as it is.
    pub(super) fn stored(&mut self, bytes: &[u8], last: bool) {
        self.put(Code::new(u32::from(last), 3));
        self.align();
        let size = bytes.len() as u16;
        self.put(Code::new(u32::from(size), 16));
        self.put(Code::new(u32::from(!size), 16));
        self.spill();
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Writes a block with codes.
    pub(super) fn coded(&mut self, found: &Found<'_>, codes: &Codes, last: bool) {
        self.head(codes, last);
        let (lengths, literals) = (codes.lengths(), codes.of_bytes());
        let mut distances = [Code::default(); DISTANCE.len()];
        distances[..codes.distances.len()].copy_from_slice(&codes.distances);
        let mut word = self.word;
        let (mut len, mut at) = (self.len, 0);
        let bytes = &mut *self.bytes;
        for sequence in found.sequences {
            let mut run = sequence.run();
            loop {
                // Four literals, or as many as there are: their number cannot be foreseen, so nothing branches on it.
                let four: [u8; 4] = found.literals[at..].first_chunk().copied().unwrap_or_default();
                for (index, byte) in four.into_iter().enumerate() {
                    let code = literals[usize::from(byte)];
                    word.put(if index < run { code } else { Code::default() });
                }
                len += word.spill(&mut bytes[len..]);
                if run <= 4 {
                    at += run;
                    break;
                }
                (at, run) = (at + 4, run - 4);
            }
            if sequence.length() > 0 {
                let symbol = distance_symbol(sequence.distance()) % DISTANCE.len();
                let (base, extra) = DISTANCE[symbol];
                word.put(lengths[sequence.length()]);
                word.put(distances[symbol]);
                word.put(Code::new(sequence.distance() as u32 - base, extra));
                len += word.spill(&mut bytes[len..]);
            }
        }
        (self.word, self.len) = (word, len);
        self.put(codes.literals[END]);
        self.spill();
    }

    /// Says what kind of block follows, and its codes.
    fn head(&mut self, codes: &Codes, last: bool) {
        let Some(head) = &codes.head else {
            self.put(Code::new(u32::from(last) | 1 << 1, 3));
            return self.spill();
        };
        self.put(Code::new(u32::from(last) | 2 << 1, 3));
        self.put(Code::new((head.literals - 257) as u32, 5));
        self.put(Code::new((head.distances - 1) as u32, 5));
        self.put(Code::new((head.sizes - 4) as u32, 4));
        self.spill();
        for size in &head.ordered[..head.sizes] {
            self.put(Code::new(u32::from(*size), 3));
            self.spill();
        }
        for code in &head.written {
            self.put(*code);
            self.spill();
        }
    }
}
