//! Integers as decimal digits.

use crate::Block;

/// The decimal digits of 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        pairs[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    pairs
};

/// Writes a number of at most 20 digits. The block has room for them.
#[inline]
pub(super) fn put(mut value: u64, block: &mut Block) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    while value >= 100 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    let [high, low] = PAIRS[value as usize];
    at -= 1;
    digits[at] = low;
    if value >= 10 {
        at -= 1;
        digits[at] = high;
    }
    block.put(&digits[at..]);
}
