//! Compressed bodies to text: what is accepted, what is refused, and that neither depends on where the body is
//! cut.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use common::compressed::*;
use formats::inflate::{Decoder, Encoding, FLATE, Reason, Step, ZSTD_WINDOW};
use proptest::prelude::*;

/// Text with repetitions near and far, and with none.
fn text(len: usize) -> Vec<u8> {
    let noise = |n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8;
    let mut text: Vec<u8> =
        (0..len as u32).map(|n| if n % 5000 < 700 { noise(n) } else { b'a' + (n % 7) as u8 }).collect();
    for at in (300..len.saturating_sub(400)).step_by(997) {
        text.copy_within(at - 300..at - 250, at);
    }
    text
}

fn whole(encoding: Encoding, body: &[u8]) -> (Vec<u8>, Result<(), Reason>) {
    let (text, end) = inflate(encoding, [body], &inflate_account());
    (text, end.map_err(|error| error.reason))
}

#[test]
fn what_other_implementations_compressed_is_read_wherever_it_is_cut() {
    for len in [0, 1, 100, 3000, 70_000, 300_000] {
        let text = text(len);
        // No text makes no frames at all.
        for (name, encoding, body) in all(&text).into_iter().filter(|(_, _, body)| !body.is_empty()) {
            for piece in [1, 7, 1000, 65_536, usize::MAX] {
                let (found, end) = inflate(encoding, body.chunks(piece), &inflate_account());
                assert!(found == text, "{name}: {len} bytes in pieces of {piece}: {} found", found.len());
                assert_eq!(end, Ok(()), "{name}");
            }
        }
    }
}

#[test]
fn a_body_cut_short_is_refused_at_each_byte() {
    let text = text(2000);
    for (name, encoding, body) in all(&text) {
        for len in 0..body.len() {
            let (found, end) = whole(encoding, &body[..len]);
            assert!(text.starts_with(&found));
            // Several members, frames or streams: the end of each is an end.
            let an_end = name.contains("members") || name.contains("frames");
            assert!(end == Err(Reason::Truncated) || (an_end && end == Ok(())), "{name} {len}: {end:?}");
        }
        assert_eq!(whole(encoding, &body).1, Ok(()));
    }
}

#[test]
fn what_follows_the_end_is_refused() {
    for (name, encoding, mut body) in all(&text(500)) {
        body.extend_from_slice(b"\x02\x02more than nothing");
        for piece in [1, usize::MAX] {
            let end = inflate(encoding, body.chunks(piece), &inflate_account()).1.unwrap_err();
            // What follows a chunk of snappy is another chunk, of a type that must be understood.
            let expected = if name.contains("snappy frames") { Reason::Damaged } else { Reason::Trailing };
            assert_eq!(end.reason, expected, "{name}");
        }
    }
}

#[test]
fn a_wrong_checksum_or_length_is_refused() {
    let text = text(500);
    let flipped = |mut body: Vec<u8>, from_end: usize| {
        let at = body.len() - from_end;
        body[at] ^= 1;
        body
    };
    for from_end in 1..=8 {
        assert_eq!(whole(Encoding::Gzip, &flipped(gzip(&text, 6), from_end)).1, Err(Reason::Checksum));
    }
    for from_end in 1..=4 {
        assert_eq!(
            whole(Encoding::Zstd, &flipped(zstd(&text, 3, 0, true), from_end)).1,
            Err(Reason::Checksum)
        );
        assert_eq!(whole(Encoding::Deflate, &flipped(zlib(&text, 6), from_end)).1, Err(Reason::Damaged));
    }
    let mut frames = snappy_frames(&text);
    frames[14] ^= 1;
    let (found, end) = whole(Encoding::Snappy, &frames);
    assert!(found.is_empty(), "nothing of a frame is given before its checksum");
    assert_eq!(end, Err(Reason::Checksum));
}

/// A gzip header with every field there is: extra, name, comment and its own checksum.
#[test]
fn a_gzip_header_with_every_field_is_passed_over_and_its_checksum_holds() {
    let member = gzip(b"text", 6);
    let mut header = vec![0x1f, 0x8b, 8, 2 | 4 | 8 | 16, 0, 0, 0, 0, 0, 3, 3, 0, 1, 2, 3];
    header.extend_from_slice(b"name\0comment\0");
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    header.extend_from_slice(&(crc.sum() as u16).to_le_bytes());
    let body = [&header, &member[10..]].concat();
    for piece in [1, 2, usize::MAX] {
        let (found, end) = inflate(Encoding::Gzip, body.chunks(piece), &inflate_account());
        assert_eq!((found.as_slice(), end), (b"text".as_slice(), Ok(())));
    }
    for at in [header.len() - 2, header.len() - 1] {
        let mut damaged = body.clone();
        damaged[at] ^= 1;
        assert_eq!(whole(Encoding::Gzip, &damaged).1, Err(Reason::Checksum));
    }
}

#[test]
fn a_body_that_is_something_else_is_told_apart_from_a_damaged_one() {
    assert_eq!(whole(Encoding::Gzip, b"{\"a\":1}").1, Err(Reason::NotThis));
    assert_eq!(whole(Encoding::Zstd, b"{\"a\":1}").1, Err(Reason::NotThis));
    assert_eq!(whole(Encoding::Gzip, b"\x1f\x8b\x08\xff").1, Err(Reason::Damaged));
    let error = inflate(Encoding::Gzip, [b"{}".as_slice()], &inflate_account()).1.unwrap_err();
    assert_eq!(error.to_string(), "invalid gzip body near byte 1: it does not start as one");
}

/// A zstd frame that asks for a window of this logarithm, with a block of four plain bytes.
fn window_of(log: u8) -> Vec<u8> {
    [b"\x28\xb5\x2f\xfd\x00", [(log - 10) << 3].as_slice(), b"\x21\x00\x00text"].concat()
}

/// What a decoder asks for first.
fn asked(encoding: Encoding, body: &[u8]) -> Step {
    let mut decoder = Decoder::new(encoding);
    decoder.feed(&mut &body[..]).unwrap()
}

#[test]
fn memory_is_asked_for_by_what_the_body_says_before_it_is_taken() {
    let text = text(1000);
    assert_eq!(asked(Encoding::Gzip, &gzip(&text, 6)), Step::Lease(FLATE));
    assert_eq!(asked(Encoding::Deflate, &zlib(&text, 6)), Step::Lease(FLATE));
    assert_eq!(asked(Encoding::Snappy, &snappy_block(&text)), Step::Lease(1000));
    assert_eq!(asked(Encoding::Snappy, &snappy_frames(&text)), Step::Lease(65_536));
    // A raw block that claims the most there can be, in six bytes.
    assert_eq!(asked(Encoding::Snappy, b"\xff\xff\xff\xff\x0f\x00"), Step::Lease(u32::MAX as usize));
    let Step::Lease(small) = asked(Encoding::Zstd, &zstd(&text, 3, 0, true)) else { panic!("no lease") };
    let Step::Lease(large) = asked(Encoding::Zstd, &window_of(23)) else { panic!("no lease") };
    assert!(small < 400 << 10, "{small}");
    assert!((ZSTD_WINDOW..ZSTD_WINDOW + (600 << 10)).contains(&large), "{large}");
}

#[test]
fn a_zstd_window_of_more_than_8_mib_and_a_dictionary_are_refused() {
    assert_eq!(whole(Encoding::Zstd, &window_of(23)), (b"text".to_vec(), Ok(())));
    assert_eq!(whole(Encoding::Zstd, &window_of(24)).1, Err(Reason::Window));
    // A header with a dictionary's number, of one byte.
    assert_eq!(whole(Encoding::Zstd, b"\x28\xb5\x2f\xfd\x21\x07\x04").1, Err(Reason::Dictionary));
    // zlib: the bit that says so.
    assert_eq!(whole(Encoding::Deflate, b"\x78\xbb\x00\x00\x00\x01\x00\x00").1, Err(Reason::Dictionary));
}

#[test]
fn a_raw_snappy_block_may_copy_from_any_distance() {
    // 70,000 bytes as literals, then a copy of 4 bytes from the very first, by an offset of four bytes.
    let text = text(70_000);
    let mut body = vec![0xf4, 0xa2, 0x04];
    for part in text.chunks(60) {
        body.push(((part.len() - 1) << 2) as u8);
        body.extend_from_slice(part);
    }
    body.extend_from_slice(&[3 << 2 | 3, 0x70, 0x11, 0x01, 0x00]);
    let (found, end) = whole(Encoding::Snappy, &body);
    assert_eq!((found.len(), end), (70_004, Ok(())));
    assert!(found[..70_000] == text && found[70_000..] == text[..4]);
}

#[test]
fn a_raw_snappy_block_whose_length_starts_like_a_frame_is_still_a_block() {
    // Lengths of which the lowest seven bits are set start with 0xff; the last is longer by one byte of it.
    for len in [127, 255, 895, 895 + (3 << 14)] {
        let text = text(len);
        let body = snappy_block(&text);
        for piece in [1, usize::MAX] {
            let (found, end) = inflate(Encoding::Snappy, body.chunks(piece), &inflate_account());
            assert!(found == text && end == Ok(()), "{len}: {end:?}");
        }
    }
}

#[test]
fn a_bomb_is_decompressed_no_further_than_it_is_read() {
    let zeros = vec![0; 20 << 20];
    for (name, encoding, body) in all(&zeros) {
        let account = inflate_account();
        let mut decoder = Decoder::new(encoding);
        let mut rest = body.as_slice();
        let mut read = 0;
        while read < 100_000 {
            match decoder.feed(&mut rest).unwrap() {
                Step::NeedInput => panic!("{name}: there is more"),
                Step::Output => {
                    // A raw block has leased its text; the others give it by blocks.
                    assert!(decoder.output().len() <= 65_536 || name == "snappy block");
                    read += decoder.output().len();
                }
                Step::Lease(bytes) => decoder.prepay(account.try_lease(bytes).unwrap()),
            }
        }
        drop(decoder);
        assert_eq!(account.held(), 0, "{name}");
    }
}

#[test]
fn many_members_are_read_in_the_memory_of_one() {
    let body = gzip(b"", 6).repeat(100_000);
    let (found, end) = whole(Encoding::Gzip, &body);
    assert_eq!((found.len(), end), (0, Ok(())));
    let body = zstd(b"ab", 3, 10, false).repeat(50_000);
    assert_eq!(whole(Encoding::Zstd, &body).0.len(), 100_000);
}

#[test]
fn names_are_those_of_the_registry_and_what_clients_send() {
    assert_eq!(Encoding::named("GZIP"), Some(Encoding::Gzip));
    assert_eq!(Encoding::named("x-gzip"), Some(Encoding::Gzip));
    assert_eq!(Encoding::named("deflate"), Some(Encoding::Deflate));
    assert_eq!(Encoding::named("zstd"), Some(Encoding::Zstd));
    assert_eq!(Encoding::named("snappy"), Some(Encoding::Snappy));
    assert_eq!(Encoding::named("br"), None);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_in_any_pieces_comes_back(
        text in prop::collection::vec(prop_oneof![4 => 0u8..3, 1 => any::<u8>()], 0..3000),
        repeat in 1usize..40,
        cuts in prop::collection::vec(1usize..3000, 1..8),
    ) {
        let text = text.repeat(repeat);
        for (name, encoding, body) in all(&text) {
            let mut rest = body.as_slice();
            let mut pieces = Vec::new();
            for cut in cuts.iter().cycle().take_while(|_| true) {
                if rest.is_empty() { break; }
                let (piece, later) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = later;
            }
            let (found, end) = inflate(encoding, pieces, &inflate_account());
            prop_assert!(found == text, "{}", name);
            prop_assert!(end.is_ok() || body.is_empty(), "{}", name);
        }
    }

    #[test]
    fn a_damaged_body_gives_the_same_text_and_reason_wherever_it_is_cut(
        text in prop::collection::vec(prop_oneof![4 => 0u8..3, 1 => any::<u8>()], 0..2000),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        piece in 1usize..100,
    ) {
        for (name, encoding, mut body) in all(&text) {
            prop_assume!(!body.is_empty());
            for (at, byte) in &damage {
                let at = at.index(body.len());
                body[at] = *byte;
            }
            let (one, end) = inflate(encoding, [body.as_slice()], &inflate_account());
            let (many, cut) = inflate(encoding, body.chunks(piece), &inflate_account());
            prop_assert_eq!(end.map_err(|error| error.reason), cut.map_err(|error| error.reason), "{}", name);
            // The block in which the damage shows may have been given in part before it did.
            prop_assert!(end.is_err() || one == many);
            prop_assert!(one.starts_with(&many) || many.starts_with(&one));
        }
    }
}
