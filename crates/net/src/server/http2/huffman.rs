//! The Huffman code of header strings: RFC 7541 appendix B.
//!
//! The code is canonical: codes of one length are consecutive numbers in the order of their symbols. So the
//! lengths are all that must be known, and a symbol is found by comparing with the first code of each length.

/// The length of the code of each byte, in bits. The 257th symbol, the end, has 30 ones.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Length {
    /// The first code that is longer than this length, shifted to the top of 32 bits; codes below it end here.
    end: u64,
    /// The first code of this length.
    first: u32,
    /// Where its symbol stands in [`SYMBOLS`].
    index: u16,
}

const fn lengths() -> ([Length; LONGEST + 1], [u8; 256]) {
    let mut table = [Length { end: 0, first: 0, index: 0 }; LONGEST + 1];
    let mut symbols = [0; 256];
    let (mut code, mut index, mut length) = (0, 0, SHORTEST);
    while length <= LONGEST {
        table[length].first = code;
        table[length].index = index;
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == length {
                symbols[index as usize] = symbol as u8;
                code += 1;
                index += 1;
            }
            symbol += 1;
        }
        table[length].end = (code as u64) << (32 - length);
        code <<= 1;
        length += 1;
    }
    (table, symbols)
}

const TABLES: ([Length; LONGEST + 1], [u8; 256]) = lengths();
static BY_LENGTH: [Length; LONGEST + 1] = TABLES.0;
static SYMBOLS: [u8; 256] = TABLES.1;

/// Appends what `coded` stands for; `None` when it is no valid code. Padding is less than a byte of ones.
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let (mut window, mut bits) = (0u64, 0usize);
    let mut coded = coded.iter();
    loop {
        while bits <= 32
            && let Some(byte) = coded.next()
        {
            window = window << 8 | u64::from(*byte);
            bits += 8;
        }
        if bits == 0 {
            return Some(());
        }
        // What is missing at the end is filled up with ones, as padding is.
        let fill = 32usize.saturating_sub(bits);
        let top = if bits >= 32 { window >> (bits - 32) } else { window << fill | ((1 << fill) - 1) };
        let top = top & 0xffff_ffff;
        let Some(length) = (SHORTEST..=LONGEST).find(|length| top < BY_LENGTH[*length].end) else {
            // Only ones: the end, or the padding.
            return (bits < 8).then_some(());
        };
        if length > bits {
            // The rest of a code is made of the ones that were filled in: padding only if it is ones throughout.
            let rest = window & ((1 << bits) - 1);
            return (bits < 8 && rest == (1 << bits) - 1).then_some(());
        }
        let Length { first, index, .. } = BY_LENGTH[length];
        let code = (top >> (32 - length)) as u32;
        text.push(SYMBOLS[usize::from(index) + (code - first) as usize]);
        bits -= length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(text: &[u8]) -> Vec<u8> {
        let (mut bits, mut coded) = (Vec::new(), Vec::new());
        for byte in text {
            let length = usize::from(LENGTHS[usize::from(*byte)]);
            let at = SYMBOLS.iter().position(|symbol| symbol == byte).unwrap();
            let Length { first, index, .. } = BY_LENGTH[length];
            let code = first + (at - usize::from(index)) as u32;
            bits.extend((0..length).rev().map(|bit| code >> bit & 1 == 1));
        }
        bits.resize(bits.len().next_multiple_of(8), true);
        coded.extend(bits.chunks(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | u8::from(*bit))));
        coded
    }

    #[test]
    fn the_code_is_complete() {
        let sum: u64 = LENGTHS.iter().map(|length| 1u64 << (LONGEST - usize::from(*length))).sum();
        assert_eq!(sum + 1, 1 << LONGEST, "every string of bits begins with one code");
    }

    #[test]
    fn every_byte_reads_back_at_every_place() {
        let all: Vec<u8> = (0..=255).collect();
        for start in 0..all.len() {
            let mut text = Vec::new();
            decode(&encode(&all[start..]), &mut text).unwrap();
            assert_eq!(text, all[start..]);
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_and_only_ones() {
        let decode = |coded: &[u8]| decode(coded, &mut Vec::new());
        assert_eq!(decode(&[0b0001_1111]), Some(()), "a 'a' of five bits and three ones");
        assert_eq!(decode(&[0b0001_1110]), None);
        assert_eq!(decode(&[0b0001_1111, 0xff]), None);
        assert_eq!(decode(&[0xff, 0xff, 0xff, 0xff]), None, "the end is no symbol");
        assert_eq!(decode(&[]), Some(()));
    }
}
