//! Where bytes were before.

use super::BLOCK;
use super::codes::{Counts, distance_symbol, length_symbol};

/// How far back a match may be.
const WINDOW: usize = 32 << 10;
/// Bytes before the window, so that eight can be read that end at its first.
const MARGIN: usize = 8;
/// Bytes behind the block, so that what is read beyond its end is there.
const BEYOND: usize = 64;
/// The longest match.
const LONGEST: usize = 258;
/// The table's size: half of a processor's fastest memory at most.
const HASH_BITS: u32 = 13;
/// Literals in a sequence at most; more make several.
const RUN: usize = 127;
/// Bytes at the end of a block in which no match begins.
const TAIL: usize = 16;
/// After so many bytes in a row without a match, one more is passed over with each.
const PATIENCE: u32 = 7;

/// Gathers a block and looks for matches in it.
pub(super) struct Matcher {
    /// Margin, window, block, beyond.
    bytes: Box<[u8]>,
    /// Where the block begins and ends.
    start: usize,
    end: usize,
    /// The first byte that was ever written, as long as it is in the window.
    first: usize,
    /// The number of the byte at index 0, in 16 bits.
    base: u16,
    /// Where each six bytes were last.
    table: Box<[u16; 1 << HASH_BITS]>,
    sequences: Box<[Sequence]>,
    /// The literals of the sequences, one behind the other, and [`BEYOND`] bytes.
    literals: Box<[u8]>,
    counts: Counts,
}

/// Literals, and a match behind them: how many, how long (0: none), and how far back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sequence(u32);

/// What is to be written of a block.
pub(super) struct Found<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) sequences: &'a [Sequence],
    pub(super) literals: &'a [u8],
    pub(super) counts: &'a Counts,
}

impl Sequence {
    #[inline]
    fn new(run: usize, length: usize, distance: usize) -> Sequence {
        Sequence(run as u32 | (length as u32) << 7 | (distance as u32) << 16)
    }

    #[inline]
    pub(super) fn run(self) -> usize {
        (self.0 & 127) as usize
    }

    #[inline]
    pub(super) fn length(self) -> usize {
        (self.0 >> 7 & 511) as usize
    }

    #[inline]
    pub(super) fn distance(self) -> usize {
        (self.0 >> 16) as usize
    }
}

impl Matcher {
    /// Sequences that a block has at most: a match is four bytes or more.
    const SEQUENCES: usize = BLOCK / 4 + BLOCK / RUN + 2;

    /// Bytes of heap that it holds.
    pub(super) const HELD: usize = MARGIN
        + WINDOW
        + 2 * (BLOCK + BEYOND)
        + size_of::<[u16; 1 << HASH_BITS]>()
        + Matcher::SEQUENCES * size_of::<Sequence>();

    pub(super) fn new() -> Matcher {
        let start = MARGIN + WINDOW;
        Matcher {
            bytes: vec![0; start + BLOCK + BEYOND].into(),
            start,
            end: start,
            first: start,
            base: 0,
            table: Box::new([0; 1 << HASH_BITS]),
            sequences: vec![Sequence(0); Matcher::SEQUENCES].into(),
            literals: vec![0; BLOCK + BEYOND].into(),
            counts: Counts::default(),
        }
    }

    /// Takes what fits into the block.
    pub(super) fn take(&mut self, input: &mut &[u8]) {
        let (now, later) = input.split_at(input.len().min(self.start + BLOCK - self.end));
        self.bytes[self.end..self.end + now.len()].copy_from_slice(now);
        self.end += now.len();
        *input = later;
    }

    pub(super) fn is_full(&self) -> bool {
        self.end == self.start + BLOCK
    }

    pub(super) fn is_empty(&self) -> bool {
        self.end == self.start
    }

    /// Begins the next block; the end of this one is its window.
    pub(super) fn slide(&mut self) {
        let begin = MARGIN + WINDOW;
        let shift = self.end - begin;
        self.bytes.copy_within(shift..self.end, 0);
        self.base = self.base.wrapping_add(shift as u16);
        self.first = self.first.saturating_sub(shift).max(MARGIN);
        (self.start, self.end) = (begin, begin);
    }

    /// The block as sequences.
    pub(super) fn find(&mut self) -> Found<'_> {
        let Matcher { start, end, first, base, .. } = *self;
        self.counts = Counts::default();
        let (bytes, table, counts) = (&*self.bytes, &mut *self.table, &mut self.counts);
        let mut list = List { sequences: &mut self.sequences, len: 0 };
        let limit = end.saturating_sub(TAIL);
        // Everything before `anchor` is in a sequence; of what is behind, `at` is looked at.
        let (mut at, mut anchor, mut misses, mut literals) = (start, start, 0_usize, 0);
        while at < limit {
            let here = load(bytes, at);
            let number = base.wrapping_add(at as u16);
            let slot = &mut table[hash(here)];
            // Taken for a place in the window whatever it is, so that no branch has to tell; the bytes do.
            let distance = usize::from(number.wrapping_sub(*slot).wrapping_sub(1)) % WINDOW + 1;
            *slot = number;
            let from = at - distance;
            let difference = load(bytes, from) ^ here;
            if difference as u32 != 0 {
                misses += 1;
                at += 1 + (misses >> PATIENCE);
                continue;
            }
            if from < first {
                // Bytes that nobody wrote.
                at += 1;
                continue;
            }
            misses = 0;
            let back = agreement_before(bytes, at, from).min(at - anchor).min(from - first);
            let forth = agreement(bytes, at, from, difference).min(end - at).min(LONGEST - MARGIN);
            at -= back;
            let (length, run) = (back + forth, at - anchor);
            literals = gather(&mut self.literals, literals, &bytes[anchor..], run);
            list.push(run, length, distance);
            counts.add_match(length_symbol(length), distance_symbol(distance));
            anchor = at + length;
            for more in [at + 2, anchor - 2] {
                if more < limit {
                    table[hash(load(bytes, more))] = base.wrapping_add(more as u16);
                }
            }
            at = anchor;
        }
        let run = end - anchor;
        literals = gather(&mut self.literals, literals, &bytes[anchor..], run);
        list.push(run, 0, 0);
        counts.add_literals(&self.literals[..literals]);
        let made = list.len;
        Found {
            bytes: &self.bytes[start..end],
            sequences: &self.sequences[..made],
            literals: &self.literals,
            counts: &self.counts,
        }
    }
}

#[inline]
fn load(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight))
}

/// Of the first six bytes.
#[inline]
fn hash(bytes: u64) -> usize {
    ((bytes << 16).wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - HASH_BITS)) as usize
}

/// How many of the eight bytes before two places agree.
#[inline]
fn agreement_before(bytes: &[u8], at: usize, from: usize) -> usize {
    ((load(bytes, at - MARGIN) ^ load(bytes, from - MARGIN)).leading_zeros() / 8) as usize
}

/// How many bytes agree from two places on, up to [`LONGEST`] and somewhat more; `difference` is that of the first
/// eight. Up to 32 it takes no branch.
#[inline]
fn agreement(bytes: &[u8], at: usize, from: usize, difference: u64) -> usize {
    let more = |behind: usize| load(bytes, at + behind) ^ load(bytes, from + behind);
    let equal = |difference: u64| (difference.trailing_zeros() / 8) as usize;
    let (second, third, fourth) = (more(8), more(16), more(24));
    let mut length = 24 + equal(fourth);
    length = if third != 0 { 16 + equal(third) } else { length };
    length = if second != 0 { 8 + equal(second) } else { length };
    length = if difference != 0 { equal(difference) } else { length };
    if length < 32 {
        return length;
    }
    while length < LONGEST && at + length + 8 < bytes.len() {
        let difference = more(length);
        if difference != 0 {
            return length + equal(difference);
        }
        length += 8;
    }
    length
}

/// Appends literals to those that are there; how many there are then.
#[inline]
fn gather(literals: &mut [u8], have: usize, from: &[u8], run: usize) -> usize {
    // Few, mostly: a copy of fixed size, of which the rest is overwritten by the next.
    match (from.first_chunk::<16>(), literals[have..].first_chunk_mut::<16>()) {
        (Some(from), Some(to)) if run <= 16 => *to = *from,
        _ => literals[have..have + run].copy_from_slice(&from[..run]),
    }
    have + run
}

/// The sequences of a block as they are made.
struct List<'a> {
    sequences: &'a mut [Sequence],
    len: usize,
}

impl List<'_> {
    #[inline]
    fn push(&mut self, mut run: usize, length: usize, distance: usize) {
        while run > RUN {
            self.add(Sequence::new(RUN, 0, 0));
            run -= RUN;
        }
        self.add(Sequence::new(run, length, distance));
    }

    #[inline]
    fn add(&mut self, sequence: Sequence) {
        self.sequences[self.len] = sequence;
        self.len += 1;
    }
}
