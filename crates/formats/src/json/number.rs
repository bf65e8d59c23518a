//! Numbers: what JSON allows, and their shortest msgpack form.

use super::error::Reason;

/// The longest number that is read. Longer ones are refused rather than kept in memory.
pub(super) const MAX: usize = 1024;

/// A number at the front of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Bytes that belong to it. If these are all there are, more may follow in the next slice.
    pub len: usize,
    /// What stands here is a whole number, if nothing follows.
    pub whole: bool,
    /// No fraction and no exponent.
    pub integer: bool,
}

/// Finds the end of the number that `bytes` start with.
///
/// # Errors
/// It is not written as JSON wants it.
pub(super) fn scan(bytes: &[u8]) -> Result<Scanned, Reason> {
    let digits = |from: usize| {
        bytes[from..].iter().position(|byte| !byte.is_ascii_digit()).map_or(bytes.len(), |n| from + n)
    };
    let unfinished = Ok(Scanned { len: bytes.len(), whole: false, integer: false });
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    match bytes.get(at) {
        None => return unfinished,
        Some(b'0') if bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {
            return Err(Reason::LeadingZero);
        }
        Some(b'0'..=b'9') => at = digits(at),
        Some(_) => return Err(Reason::Number),
    }
    let mut integer = true;
    if bytes.get(at) == Some(&b'.') {
        integer = false;
        let end = digits(at + 1);
        if end == at + 1 {
            return if end == bytes.len() { unfinished } else { Err(Reason::Number) };
        }
        at = end;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        integer = false;
        let from = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let end = digits(from.min(bytes.len()));
        if end <= from {
            return if end == bytes.len() { unfinished } else { Err(Reason::Number) };
        }
        at = end;
    }
    if bytes.get(at).is_some_and(|byte| in_numbers(*byte)) {
        return Err(Reason::Number);
    }
    Ok(Scanned { len: at, whole: true, integer })
}

/// Whether numbers are made of this byte.
pub(super) fn in_numbers(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

/// A number as msgpack: the bytes and how many of them count.
pub(crate) type Packed = ([u8; 9], usize);

/// Reads a number that [`scan`] found whole. Integers that fit 64 bits stay integers (`-0` is 0), all others
/// become doubles.
///
/// # Errors
/// [`Reason::NumberTooLarge`] when a double would be infinite.
pub(super) fn pack(bytes: &[u8], integer: bool) -> Result<Packed, Reason> {
    let text = std::str::from_utf8(bytes).map_err(|_| Reason::Number)?;
    if integer {
        if let Ok(value) = text.parse::<u64>() {
            return Ok(unsigned(value));
        }
        if let Ok(value) = text.parse::<i64>() {
            return Ok(signed(value));
        }
    }
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(float(value)),
        Ok(_) => Err(Reason::NumberTooLarge),
        Err(_) => Err(Reason::Number),
    }
}

/// Powers of ten that a double holds exactly.
const POWERS: [f64; 19] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// The number that `bytes` start with, and its length, if it has at most 18 digits, no exponent, and ends
/// within them. Most numbers do; the others, and those that are refused, take [`scan`] and [`pack`].
#[inline]
pub(super) fn short(bytes: &[u8]) -> Option<(Packed, usize)> {
    let negative = bytes.first() == Some(&b'-');
    let start = usize::from(negative);
    let (whole, point) = digits(bytes, start, 0)?;
    if point == start || (bytes[start] == b'0' && point > start + 1) {
        return None;
    }
    if bytes[point] != b'.' {
        let value = if negative { -whole } else { whole };
        return (!in_numbers(bytes[point])).then_some((signed(value), point));
    }
    let (value, end) = digits(bytes, point + 1, whole)?;
    // Up to 2^53 the digits are a double as they are, so one division rounds once, as it should.
    if end == point + 1 || end > 18 || value > 1 << 53 || in_numbers(bytes[end]) {
        return None;
    }
    let value = value as f64 / POWERS[end - point - 1];
    Some((float(if negative { -value } else { value }), end))
}

/// Reads digits from `at` on: the value of them behind those of `value`, and where they end. None if they do
/// not end, or not among the first 18 bytes.
#[inline(always)]
fn digits(bytes: &[u8], mut at: usize, mut value: i64) -> Option<(i64, usize)> {
    if let Some(block) = bytes.get(at..)?.first_chunk::<8>() {
        let (read, count) = up_to_eight(*block);
        if count < 8 && at + count <= 18 {
            return Some((value * WHOLE_POWERS[count] + read, at + count));
        }
    }
    loop {
        let digit = bytes.get(at)?.wrapping_sub(b'0');
        if digit > 9 {
            return Some((value, at));
        }
        if at >= 18 {
            return None;
        }
        value = value * 10 + i64::from(digit);
        at += 1;
    }
}

const WHOLE_POWERS: [i64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

/// The digits at the front of a block, all at once: their value, and how many they are.
#[inline(always)]
fn up_to_eight(block: [u8; 8]) -> (i64, usize) {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Digits become 0 to 9; with 0x76 added, everything else has its highest bit set. What a byte carries over
    // is seen only behind it, and the first one is what counts.
    let digits = u64::from_le_bytes(block) ^ 0x3030_3030_3030_3030;
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & HIGH;
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    // Zeros in front of the digits; then pairs, fours and all eight are added up.
    let digits = digits << (64 - 8 * count);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let fours =
        |pairs: u64, first: u64, second: u64| (pairs & 0xff_0000_00ff).wrapping_mul(first << 32 | second);
    let eight = fours(pairs, 1_000_000, 100).wrapping_add(fours(pairs >> 16, 10_000, 1)) >> 32;
    (eight as i64, count)
}

/// The shortest form of an unsigned integer.
#[inline]
pub(crate) fn unsigned(value: u64) -> Packed {
    match value {
        0..=0x7f => packed([value as u8]),
        0x80..=0xff => packed([0xcc, value as u8]),
        0x100..=0xffff => with_code(0xcd, (value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => with_code(0xce, (value as u32).to_be_bytes()),
        _ => with_code(0xcf, value.to_be_bytes()),
    }
}

/// The shortest form of an integer.
#[inline]
pub(crate) fn signed(value: i64) -> Packed {
    match value {
        0.. => unsigned(value as u64),
        -0x20..0 => packed([value as u8]),
        -0x80..-0x20 => packed([0xd0, value as u8]),
        -0x8000..-0x80 => with_code(0xd1, (value as i16).to_be_bytes()),
        -0x8000_0000..-0x8000 => with_code(0xd2, (value as i32).to_be_bytes()),
        _ => with_code(0xd3, value.to_be_bytes()),
    }
}

#[inline]
fn float(value: f64) -> Packed {
    with_code(0xcb, value.to_be_bytes())
}

#[inline]
fn packed<const N: usize>(bytes: [u8; N]) -> Packed {
    let mut packed = [0; 9];
    packed[..N].copy_from_slice(&bytes);
    (packed, N)
}

#[inline]
fn with_code<const N: usize>(code: u8, bytes: [u8; N]) -> Packed {
    let mut packed = [0; 9];
    packed[0] = code;
    packed[1..=N].copy_from_slice(&bytes);
    (packed, N + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_integer_takes_its_shortest_form() {
        for (value, len) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (255, 2),
            (256, 3),
            (65_535, 3),
            (65_536, 5),
            (4_294_967_295, 5),
            (4_294_967_296, 9),
            (i64::MAX, 9),
            (-1, 1),
            (-32, 1),
            (-33, 2),
            (-128, 2),
            (-129, 3),
            (-32_768, 3),
            (-32_769, 5),
            (-2_147_483_648, 5),
            (-2_147_483_649, 9),
            (i64::MIN, 9),
        ] {
            let (bytes, size) = signed(value);
            assert_eq!(size, len, "{value}");
            assert_eq!(rmpv::decode::read_value(&mut &bytes[..size]).unwrap(), value.into());
        }
    }

    #[test]
    fn the_grammar_of_numbers_is_that_of_rfc_8259() {
        for (text, len, integer) in [
            ("0 ", 1, true),
            ("-0]", 2, true),
            ("12,", 2, true),
            ("0.5}", 3, false),
            ("1e5 ", 3, false),
            ("1E+05 ", 5, false),
            ("-1.25e-3 ", 8, false),
            ("1x", 1, true),
        ] {
            assert_eq!(scan(text.as_bytes()), Ok(Scanned { len, whole: true, integer }), "{text}");
        }
        for (text, reason) in [
            ("01", Reason::LeadingZero),
            ("-00", Reason::LeadingZero),
            ("-x", Reason::Number),
            ("1.x", Reason::Number),
            ("1.e5", Reason::Number),
            ("1ex", Reason::Number),
            ("1e+-", Reason::Number),
            ("1-2", Reason::Number),
            ("1.5.", Reason::Number),
            ("1e5e", Reason::Number),
        ] {
            assert_eq!(scan(text.as_bytes()), Err(reason), "{text}");
        }
        for text in ["-", "1.", "-0.", "1e", "1e+", "1.5E-"] {
            assert_eq!(scan(text.as_bytes()).map(|found| (found.len, found.whole)), Ok((text.len(), false)));
        }
    }

    #[test]
    fn digits_are_read_at_once_up_to_whatever_ends_them() {
        for end in 0..=255_u8 {
            for count in 0..=8 {
                let mut block = *b"98765432";
                let digits = 98_765_432 / 10_i64.pow(8 - count);
                if let Some(byte) = block.get_mut(count as usize) {
                    if end.is_ascii_digit() {
                        continue;
                    }
                    *byte = end;
                }
                assert_eq!(up_to_eight(block), (digits, count as usize), "{count} before {end:#x}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_short_way_reads_numbers_as_the_long_way(text in "-?[0-9]{1,19}(\\.[0-9]{0,9})?[ ,}.e0+-][0-9.,:/ ]{0,9}") {
            if let Some((packed, len)) = short(text.as_bytes()) {
                let found = scan(text.as_bytes()).unwrap();
                prop_assert_eq!((len, true), (found.len, found.whole));
                prop_assert_eq!(Ok(packed), pack(&text.as_bytes()[..len], found.integer));
            }
        }
    }
}
