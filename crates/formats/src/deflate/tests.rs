use std::io::Read;

use budget::{Account, Budget, Share};
use proptest::prelude::*;

use super::*;

fn account() -> Account {
    Budget::new(4 << 20, 4096).unwrap().account("http.0", "encode", Share::COMMON).unwrap()
}

fn deflated<'a>(pieces: impl Iterator<Item = &'a [u8]>, flush: bool) -> Vec<u8> {
    let (account, mut deflate) = (account(), Deflate::new());
    let mut out = Buf::new(&account);
    for mut piece in pieces {
        deflate.write(&mut piece, &mut out).unwrap();
        if flush {
            deflate.flush(&mut out).unwrap();
        }
    }
    deflate.finish(&mut out).unwrap();
    out.to_vec()
}

fn inflated(bytes: &[u8]) -> Vec<u8> {
    let (mut plain, mut decoder) = (Vec::new(), flate2::bufread::DeflateDecoder::new(bytes));
    decoder.read_to_end(&mut plain).unwrap();
    assert!(decoder.into_inner().is_empty(), "nothing is behind the stream");
    plain
}

fn check(body: &[u8]) -> usize {
    let bytes = deflated(body.chunks(16 << 10), false);
    assert!(inflated(&bytes) == body);
    assert!(bytes == deflated(body.chunks(1_001), false), "the same bytes, however they are cut");
    assert!(inflated(&deflated(body.chunks(9_000), true)) == body, "with flushes");
    assert!(bytes.len() <= body.len() + 5 * body.len().div_ceil(BLOCK) + 2, "nothing grows");
    bytes.len()
}

/// Bytes of which nobody can tell the next.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_written_comes_back_whatever_it_is(
        words in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..30),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..8_000),
    ) {
        let body: Vec<u8> = order.iter().flat_map(|index| index.get(&words).clone()).collect();
        check(&body);
    }

    #[test]
    fn few_different_bytes_come_back(
        body in prop::collection::vec(prop_oneof![4 => Just(b'a'), 2 => Just(b'b'), 1 => any::<u8>()], 0..70_000),
    ) {
        check(&body);
    }

    #[test]
    fn codes_are_complete_and_short_whatever_the_counts(
        // Counts like those of Fibonacci make the deepest trees.
        counts in prop::collection::vec(prop_oneof![0_u32..3, (0_u32..24).prop_map(|size| 1 << size)], 2..=286),
    ) {
        let mut padded = counts.clone();
        padded.resize(286, 0);
        let sizes = codes::tests::sizes_of(&padded);
        prop_assert!(padded.iter().zip(&sizes).all(|(count, size)| (*count > 0) == (*size > 0)));
        let taken: u32 = sizes.iter().filter(|size| **size > 0).map(|size| 1_u32 << (14 - size)).sum();
        match padded.iter().filter(|count| **count > 0).count() {
            0 => prop_assert_eq!(taken, 0),
            1 => prop_assert_eq!(taken, 1 << 13),
            _ => prop_assert_eq!(taken, 1 << 14),
        }
    }
}

#[test]
fn the_ends_of_blocks_and_windows_lose_nothing() {
    let noise = noise(3 * BLOCK);
    for size in [0, 1, 3, 4, 15, 16, 17, 300, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK] {
        check(&noise[..size]);
        check(&vec![b'x'; size]);
        check(&vec![0; size]);
    }
    // What was there exactly a window ago, and a byte more.
    for distance in [32_767, 32_768, 32_769] {
        let body: Vec<u8> = noise[..distance].iter().cycle().take(5 * distance).copied().collect();
        check(&body);
    }
}

#[test]
fn lines_become_small_and_noise_is_stored() {
    let line = |n: u64| {
        let id = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!(
            "{{\"time\":\"2026-11-24T02:05:{:02}Z\",\"level\":\"info\",\"id\":\"{id:016x}\",\"count\":{}}}\n",
            n % 60,
            n % 977
        )
    };
    let lines: String = (0..20_000).map(line).collect();
    let size = check(lines.as_bytes());
    assert!(size * 4 < lines.len(), "{} to {size}", lines.len());
    assert!(check(&noise(BLOCK)) >= BLOCK);
}

#[test]
fn a_full_ledger_stops_it_anywhere_and_room_lets_it_go_on() {
    let account = Budget::new(4 * 4096, 4096).unwrap().account("http.0", "encode", Share::COMMON).unwrap();
    let body = [noise(BLOCK), vec![b'x'; 100_000], noise(30_000)].concat();
    let (mut deflate, mut out, mut sent) = (Deflate::new(), Buf::new(&account), Vec::new());
    let (mut rest, mut stops) = (body.as_slice(), 0);
    while deflate.write(&mut rest, &mut out).is_err()
        || deflate.flush(&mut out).is_err()
        || deflate.finish(&mut out).is_err()
    {
        sent.extend(out.to_vec());
        out = Buf::new(&account);
        stops += 1;
    }
    sent.extend(out.to_vec());
    assert!(inflated(&sent) == body && stops > 3);
}
