//! Finds the end of a run of bytes, sixteen at a time.
//!
//! Each function answers how many bytes at the front of `bytes` belong to the run, at most `limit`. It may
//! look at bytes behind `limit` (never behind the slice), so callers pass the longest slice they have: only
//! the last fifteen bytes of a slice are looked at one by one.

/// ASCII text that JSON writes as it is: no quote, no backslash, no control character.
#[inline]
pub(crate) fn plain(bytes: &[u8], limit: usize) -> usize {
    run(bytes, limit, block::plain, |byte| matches!(byte, 0x20..=0x7f) && byte != b'"' && byte != b'\\')
}

/// As [`plain`], of a block that is looked at at once.
#[inline(always)]
pub(crate) fn plain_in(block: &[u8; 32]) -> usize {
    let (halves, _) = block.as_chunks::<16>();
    let [first, second] = halves else { return 0 };
    let ends = u64::from(block::plain(first) | block::plain(second) << 16);
    (ends | 1 << block.len()).trailing_zeros() as usize
}

/// As [`plain`], bytes of characters beyond ASCII included, whether they are valid or not.
#[inline]
pub(crate) fn text(bytes: &[u8], limit: usize) -> usize {
    run(bytes, limit, block::text, |byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
}

/// What follows the white space at the front.
#[inline(always)]
pub(crate) fn skip_blank(bytes: &[u8]) -> &[u8] {
    match bytes {
        [0..=b' ', ..] => &bytes[blank(bytes)..],
        _ => bytes,
    }
}

/// White space as JSON knows it.
fn blank(bytes: &[u8]) -> usize {
    match bytes {
        // A single space, as behind a colon.
        [b' ', 0x21..=0xff, ..] => 1,
        _ => run(bytes, usize::MAX, block::blank, |byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')),
    }
}

/// `ends` answers a bit for each byte of a block that is not of the run, `belongs` does it for one byte.
#[inline(always)]
fn run(
    bytes: &[u8],
    limit: usize,
    ends: impl Fn(&[u8; 16]) -> u32,
    belongs: impl Fn(u8) -> bool + Copy,
) -> usize {
    let mut at = 0;
    while at < limit {
        let Some(block) = bytes[at..].first_chunk::<16>() else {
            let tail = &bytes[at..];
            return limit.min(at + tail.iter().position(|byte| !belongs(*byte)).unwrap_or(tail.len()));
        };
        let ends = ends(block);
        if ends != 0 {
            return limit.min(at + ends.trailing_zeros() as usize);
        }
        at += block.len();
    }
    limit
}

#[cfg(target_arch = "x86_64")]
mod block {
    //! SSE2, which every x86-64 processor has.

    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set_epi64x, _mm_set1_epi8,
    };

    #[inline]
    #[target_feature(enable = "sse2")]
    fn load(block: &[u8; 16]) -> __m128i {
        let block = u128::from_le_bytes(*block);
        _mm_set_epi64x((block >> 64) as i64, block as i64)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn is(block: __m128i, byte: u8) -> __m128i {
        _mm_cmpeq_epi8(block, _mm_set1_epi8(byte as i8))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn bits(a: __m128i, b: __m128i, c: __m128i) -> u32 {
        _mm_movemask_epi8(_mm_or_si128(a, _mm_or_si128(b, c))) as u32
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn plain_sse2(block: &[u8; 16]) -> u32 {
        let block = load(block);
        // Compared as signed numbers, the bytes from 0x80 on are below the space as control characters are.
        let low = _mm_cmplt_epi8(block, _mm_set1_epi8(0x20));
        bits(low, is(block, b'"'), is(block, b'\\'))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn text_sse2(block: &[u8; 16]) -> u32 {
        let block = load(block);
        let low = _mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(0x1f)), block);
        bits(low, is(block, b'"'), is(block, b'\\'))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn blank_sse2(block: &[u8; 16]) -> u32 {
        let block = load(block);
        let line_ends = _mm_or_si128(is(block, b'\n'), is(block, b'\r'));
        !bits(line_ends, is(block, b' '), is(block, b'\t')) & 0xffff
    }

    #[inline(always)]
    pub(super) fn plain(block: &[u8; 16]) -> u32 {
        // SAFETY: the processor has SSE2.
        unsafe { plain_sse2(block) }
    }

    #[inline(always)]
    pub(super) fn text(block: &[u8; 16]) -> u32 {
        // SAFETY: the processor has SSE2.
        unsafe { text_sse2(block) }
    }

    #[inline(always)]
    pub(super) fn blank(block: &[u8; 16]) -> u32 {
        // SAFETY: the processor has SSE2.
        unsafe { blank_sse2(block) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod block {
    //! Loops without branches, which compilers turn into vector code.

    fn bits(block: &[u8; 16], ends: impl Fn(u8) -> bool) -> u32 {
        block.iter().enumerate().fold(0, |bits, (at, byte)| bits | u32::from(ends(*byte)) << at)
    }

    pub(super) fn plain(block: &[u8; 16]) -> u32 {
        bits(block, |byte| (byte < 0x20) | (byte > 0x7f) | (byte == b'"') | (byte == b'\\'))
    }

    pub(super) fn text(block: &[u8; 16]) -> u32 {
        bits(block, |byte| (byte < 0x20) | (byte == b'"') | (byte == b'\\'))
    }

    pub(super) fn blank(block: &[u8; 16]) -> u32 {
        bits(block, |byte| (byte != b' ') & (byte != b'\n') & (byte != b'\r') & (byte != b'\t'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of `len` bytes with `end` behind it, at every place of a block and with every rest behind it.
    fn check(find: impl Fn(&[u8], usize) -> usize, filler: u8, ends: impl Fn(u8) -> bool) {
        for byte in 0..=255 {
            for len in [0, 1, 7, 15, 16, 17, 31, 40] {
                for behind in [0, 1, 14, 15, 16, 40] {
                    let mut bytes = vec![filler; len];
                    bytes.push(byte);
                    bytes.extend(vec![filler; behind]);
                    let expected = if ends(byte) { len } else { bytes.len() };
                    for limit in [0, 1, len, len + 1, bytes.len(), usize::MAX] {
                        let found = find(&bytes, limit).min(bytes.len());
                        assert_eq!(found, expected.min(limit), "{byte:#x} behind {len}, before {behind}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_run_ends_at_each_byte_that_is_not_of_it_and_at_no_other() {
        let special = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
        check(plain, b'a', |byte| special(byte) || byte > 0x7f);
        check(text, 0xc3, special);
        check(|bytes, limit| blank(bytes).min(limit), b' ', |byte| !b" \n\r\t".contains(&byte));
    }

    #[test]
    fn a_block_at_once_is_as_its_bytes_one_by_one() {
        for byte in 0..=255 {
            for at in 0..32 {
                let mut block = [b'a'; 32];
                block[at] = byte;
                assert_eq!(plain_in(&block), plain(&block, 32), "{byte:#x} at {at}");
            }
        }
    }
}
