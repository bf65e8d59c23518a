//! Prefix codes: made from counts, and what a block costs with them.

/// Symbols of literals and lengths, and the one that ends a block.
pub(super) const LITERALS: usize = 286;
/// Symbols of distances.
pub(super) const DISTANCES: usize = 30;
/// Symbols that lengths of codes are written with.
pub(super) const SIZES: usize = 19;
/// The symbol that ends a block.
pub(super) const END: usize = 256;
/// Bits of a code at most; fifteen would be allowed, but four literals are written at once.
const MOST: usize = 14;
/// Bits of a code that lengths of codes are written with.
const MOST_SIZE: usize = 7;

/// How often each symbol stands in a block.
#[derive(Clone)]
pub(super) struct Counts {
    literals: [u32; LITERALS],
    distances: [u32; DISTANCES],
}

impl Default for Counts {
    fn default() -> Counts {
        let mut literals = [0; LITERALS];
        literals[END] = 1;
        Counts { literals, distances: [0; DISTANCES] }
    }
}

impl Counts {
    #[inline]
    pub(super) fn add_match(&mut self, length: usize, distance: usize) {
        self.literals[END + 1 + length] += 1;
        self.distances[distance] += 1;
    }

    /// In four tables, because one that is added to twice in a row waits for itself.
    pub(super) fn add_literals(&mut self, literals: &[u8]) {
        let mut tables = [[0_u32; 256]; 4];
        let mut fours = literals.chunks_exact(4);
        for four in &mut fours {
            if let [a, b, c, d] = *four {
                tables[0][usize::from(a)] += 1;
                tables[1][usize::from(b)] += 1;
                tables[2][usize::from(c)] += 1;
                tables[3][usize::from(d)] += 1;
            }
        }
        for byte in fours.remainder() {
            tables[0][usize::from(*byte)] += 1;
        }
        for (byte, count) in self.literals[..256].iter_mut().enumerate() {
            *count += tables.iter().map(|table| table[byte]).sum::<u32>();
        }
    }
}

/// A code: its bits, the first of them lowest, shifted by eight, and how many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Code(pub(super) u32);

impl Code {
    #[inline]
    pub(super) fn new(bits: u32, size: u32) -> Code {
        Code(bits << 8 | size)
    }

    #[inline]
    pub(super) fn bits(self) -> u64 {
        u64::from(self.0 >> 8)
    }

    #[inline]
    pub(super) fn size(self) -> u32 {
        self.0 & 255
    }

    /// The same with bits behind it.
    #[inline]
    pub(super) fn and(self, bits: u32, size: u32) -> Code {
        Code::new(self.0 >> 8 | bits << self.size(), self.size() + size)
    }
}

/// What says which codes a block has; the fixed ones need none.
pub(super) struct Head {
    /// How many of each kind are said.
    pub(super) literals: usize,
    pub(super) distances: usize,
    pub(super) sizes: usize,
    /// Bits of the codes that sizes are written with, in their odd order.
    pub(super) ordered: [u8; SIZES],
    /// The sizes, written.
    pub(super) written: Vec<Code>,
}

/// The codes of a block.
pub(super) struct Codes {
    pub(super) literals: [Code; LITERALS],
    pub(super) distances: [Code; DISTANCES],
    pub(super) head: Option<Head>,
}

impl Codes {
    /// Bytes of heap that are held while they are made, at most.
    pub(super) const HELD: usize = 32 << 10;

    /// Those that make a block with these counts shortest.
    pub(super) fn of(counts: &Counts) -> Codes {
        let (mut literals, mut distances) = ([0; LITERALS], [0; DISTANCES]);
        sizes(&counts.literals, MOST, &mut literals);
        sizes(&counts.distances, MOST, &mut distances);
        if distances == [0; DISTANCES] {
            // One code must be there.
            distances[0] = 1;
        }
        let head = Head::new(&literals, &distances);
        let (mut codes, mut of_distances) = ([Code::default(); LITERALS], [Code::default(); DISTANCES]);
        assign(&literals, &mut codes);
        assign(&distances, &mut of_distances);
        Codes { literals: codes, distances: of_distances, head: Some(head) }
    }

    /// Those that everybody knows.
    pub(super) fn fixed() -> Codes {
        // There are 288 of them; the last two never stand in a block.
        let mut sizes = [8; 288];
        sizes[144..256].fill(9);
        sizes[256..280].fill(7);
        let (mut all, mut distances) = ([Code::default(); 288], [Code::default(); DISTANCES]);
        assign(&sizes, &mut all);
        assign(&[5; DISTANCES], &mut distances);
        let mut literals = [Code::default(); LITERALS];
        literals.copy_from_slice(&all[..LITERALS]);
        Codes { literals, distances, head: None }
    }

    /// Bits of a block with these counts.
    pub(super) fn cost(&self, counts: &Counts) -> usize {
        let sum = |codes: &[Code], counts: &[u32], extra: fn(usize) -> u32| {
            let each = codes.iter().zip(counts).enumerate();
            each.map(|(symbol, (code, count))| *count * (code.size() + extra(symbol))).sum::<u32>() as usize
        };
        let of_length = |symbol: usize| symbol.checked_sub(END + 1).map_or(0, |length| LENGTHS[length].1);
        let head = self.head.as_ref().map_or(0, Head::cost);
        3 + head
            + sum(&self.literals, &counts.literals, of_length)
            + sum(&self.distances, &counts.distances, |symbol| DISTANCE[symbol].1)
    }

    /// The codes of bytes.
    pub(super) fn of_bytes(&self) -> [Code; 256] {
        std::array::from_fn(|byte| self.literals[byte])
    }

    /// The code of each length, with what is behind it. So many that an index needs no check.
    pub(super) fn lengths(&self) -> [Code; 512] {
        let mut codes = [Code::default(); 512];
        for (length, code) in codes.iter_mut().enumerate().take(259).skip(3) {
            let symbol = length_symbol(length);
            let (base, extra) = LENGTHS[symbol];
            *code = self.literals[END + 1 + symbol].and(length as u32 - base, extra);
        }
        codes
    }
}

/// The order in which sizes of codes for sizes are said.
const ORDER: [usize; SIZES] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

impl Head {
    fn new(literals: &[u8; LITERALS], distances: &[u8; DISTANCES]) -> Head {
        let used = |sizes: &[u8]| sizes.iter().rposition(|size| *size > 0).map_or(0, |last| last + 1);
        let (many, far) = (used(literals), used(distances));
        let said = runs(&[&literals[..many], &distances[..far]].concat());
        let mut counts = [0; SIZES];
        for (symbol, ..) in &said {
            counts[*symbol] += 1;
        }
        let (mut bits, mut codes) = ([0; SIZES], [Code::default(); SIZES]);
        sizes(&counts, MOST_SIZE, &mut bits);
        assign(&bits, &mut codes);
        let ordered = ORDER.map(|symbol| bits[symbol]);
        let written = said.iter().map(|(symbol, extra, size)| codes[*symbol].and(*extra, *size)).collect();
        Head { literals: many, distances: far, sizes: used(&ordered).max(4), ordered, written }
    }

    fn cost(&self) -> usize {
        14 + 3 * self.sizes + self.written.iter().map(|code| code.size() as usize).sum::<usize>()
    }
}

/// Sizes of codes with what stands often in a row written once: symbol, extra bits and how many of these.
fn runs(sizes: &[u8]) -> Vec<(usize, u32, u32)> {
    let mut said = Vec::with_capacity(sizes.len());
    for run in sizes.chunk_by(|a, b| a == b) {
        let (symbol, mut left) = (usize::from(run[0]), run.len());
        if symbol > 0 {
            said.push((symbol, 0, 0));
            left -= 1;
        }
        while left >= 3 {
            let (repeat, least, most, bits) = match (symbol, left) {
                (0, 11..) => (18, 11, 138, 7),
                (0, _) => (17, 3, 10, 3),
                _ => (16, 3, 6, 2),
            };
            let now = left.min(most);
            said.push((repeat, (now - least) as u32, bits));
            left -= now;
        }
        said.extend((0..left).map(|_| (symbol, 0, 0)));
    }
    said
}

/// The sizes of codes that are best for these counts, up to `most` bits. A symbol that is not there has none.
fn sizes(counts: &[u32], most: usize, sizes: &mut [u8]) {
    let there = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let mut symbols: Vec<(u32, usize)> = there.map(|(symbol, count)| (*count, symbol)).collect();
    sizes.fill(0);
    if let [(_, only)] = symbols[..] {
        sizes[only] = 1;
    }
    if symbols.len() < 2 {
        return;
    }
    symbols.sort_unstable();
    let mut of_size = [0_usize; MOST + 2];
    for depth in depths(&symbols) {
        of_size[depth.min(most)] += 1;
    }
    // Codes that were cut to the most bits take too much room, in units of the longest code. Each step gives one back:
    // a shorter code makes room for itself and one of the longest.
    let taken: usize = (1..=most).map(|size| of_size[size] << (most - size)).sum();
    for _ in 1 << most..taken {
        let shorter = (1..most).rev().find(|size| of_size[*size] > 0).unwrap_or(1);
        of_size[shorter] -= 1;
        of_size[shorter + 1] += 2;
        of_size[most] -= 1;
    }
    let mut rarest_last = symbols.iter().rev();
    for (size, count) in of_size.iter().enumerate() {
        for (_, symbol) in rarest_last.by_ref().take(*count) {
            sizes[*symbol] = size as u8;
        }
    }
}

/// How deep each of two or more symbols is in the tree of Huffman's code; they come in the order of their counts.
fn depths(symbols: &[(u32, usize)]) -> Vec<usize> {
    let leaves = symbols.len();
    // Leaves, and behind them the nodes as they are made; both are in the order of their weights.
    let mut weights: Vec<u32> = symbols.iter().map(|(count, _)| *count).collect();
    let mut parents = vec![0; 2 * leaves - 1];
    let (mut leaf, mut node) = (0, leaves);
    for made in leaves..2 * leaves - 1 {
        let mut lightest = || {
            let next = if leaf < leaves && (node == made || weights[leaf] <= weights[node]) {
                &mut leaf
            } else {
                &mut node
            };
            *next += 1;
            *next - 1
        };
        let (a, b) = (lightest(), lightest());
        (parents[a], parents[b]) = (made, made);
        weights.push(weights[a] + weights[b]);
    }
    let mut depths = vec![0; 2 * leaves - 1];
    for index in (0..2 * leaves - 2).rev() {
        depths[index] = depths[parents[index]] + 1;
    }
    depths.truncate(leaves);
    depths
}

/// The codes that follow from their sizes.
fn assign(sizes: &[u8], codes: &mut [Code]) {
    let mut next = [0_u32; 17];
    for size in sizes.iter().filter(|size| **size > 0) {
        next[usize::from(*size) + 1] += 1;
    }
    for size in 1..17 {
        next[size] = (next[size] + next[size - 1]) << 1;
    }
    for (code, size) in codes.iter_mut().zip(sizes).filter(|(_, size)| **size > 0) {
        let first = &mut next[usize::from(*size)];
        *code = Code::new((*first).reverse_bits() >> (32 - u32::from(*size)), u32::from(*size));
        *first += 1;
    }
}

/// The symbols of lengths: the shortest of each, and its extra bits.
const LENGTHS: [(u32, u32); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The symbols of distances likewise. A power of two of them, so that an index needs no check.
pub(super) const DISTANCE: [(u32, u32); 32] = {
    let mut symbols = [(0, 0); 32];
    let (mut symbol, mut base) = (0, 1);
    while symbol < DISTANCES {
        let extra = if symbol < 4 { 0 } else { symbol as u32 / 2 - 1 };
        symbols[symbol] = (base, extra);
        base += 1 << extra;
        symbol += 1;
    }
    symbols
};

const LENGTH_SYMBOLS: [u8; 512] = {
    let mut symbols = [0; 512];
    let (mut length, mut symbol) = (3, 0);
    while length <= 258 {
        if symbol + 1 < LENGTHS.len() && LENGTHS[symbol + 1].0 as usize <= length {
            symbol += 1;
        }
        symbols[length] = symbol as u8;
        length += 1;
    }
    symbols
};

/// The symbol of a length from 3 to 258.
#[inline]
pub(super) fn length_symbol(length: usize) -> usize {
    usize::from(LENGTH_SYMBOLS[length % 512])
}

/// The symbol of a distance from 1 to 32,768.
#[inline]
pub(super) fn distance_symbol(distance: usize) -> usize {
    let from = distance as u32 - 1;
    // Two symbols for each power of two, told apart by the bit below the highest; the first two are alone.
    let top = 31 - (from | 2).leading_zeros();
    let symbol = 2 * top + (from >> (top - 1) & 1);
    (if from < 2 { from } else { symbol }) as usize
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn sizes_of(counts: &[u32]) -> Vec<u8> {
        let mut found = vec![0; counts.len()];
        sizes(counts, MOST, &mut found);
        found
    }

    #[test]
    fn symbols_are_those_of_the_standard() {
        for (distance, symbol) in [
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 3),
            (5, 4),
            (6, 4),
            (7, 5),
            (8, 5),
            (9, 6),
            (24_577, 29),
            (32_768, 29),
        ] {
            assert_eq!(distance_symbol(distance), symbol, "{distance}");
        }
        for distance in 1..=32_768 {
            let (base, extra) = DISTANCE[distance_symbol(distance)];
            assert!((distance as u32).checked_sub(base).is_some_and(|rest| rest < 1 << extra), "{distance}");
        }
        for (length, symbol) in [(3, 0), (10, 7), (11, 8), (12, 8), (257, 27), (258, 28)] {
            assert_eq!(length_symbol(length), symbol, "{length}");
        }
    }

    #[test]
    fn the_fixed_codes_are_those_of_the_standard() {
        let codes = Codes::fixed();
        let first = |bits: u32, size: u32| Code::new(bits.reverse_bits() >> (32 - size), size);
        assert_eq!(codes.literals[0], first(0b0011_0000, 8));
        assert_eq!(codes.literals[144], first(0b1_1001_0000, 9));
        assert_eq!(codes.literals[END], first(0, 7));
        assert_eq!(codes.literals[280], first(0b1100_0000, 8));
        assert_eq!(codes.distances[29], first(29, 5));
    }
}
