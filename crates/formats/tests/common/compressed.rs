//! Bodies compressed by other implementations, and what the decoder makes of bodies.

use std::io::Write as _;

use budget::{Account, Budget, Share};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use formats::inflate::{Decoder, Encoding, Error, Step};
use zstd_sys as c;

pub fn gzip(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub fn deflate(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

pub fn snappy_frames(text: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(text).unwrap();
    encoder.into_inner().unwrap()
}

pub fn snappy_block(text: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(text).unwrap()
}

/// A frame with a checksum. `window` is the logarithm of its window; `sized` says whether its header tells the
/// length of the text.
pub fn zstd(text: &[u8], level: i32, window: i32, sized: bool) -> Vec<u8> {
    // SAFETY: the functions are called as their manual says, with slices that live meanwhile.
    unsafe {
        let context = c::ZSTD_createCCtx();
        let set = |parameter, value| {
            assert_eq!(c::ZSTD_isError(c::ZSTD_CCtx_setParameter(context, parameter, value)), 0);
        };
        set(c::ZSTD_cParameter::ZSTD_c_compressionLevel, level);
        set(c::ZSTD_cParameter::ZSTD_c_windowLog, window);
        set(c::ZSTD_cParameter::ZSTD_c_checksumFlag, 1);
        set(c::ZSTD_cParameter::ZSTD_c_contentSizeFlag, i32::from(sized));
        let mut out = vec![0u8; c::ZSTD_compressBound(text.len())];
        let len =
            c::ZSTD_compress2(context, out.as_mut_ptr().cast(), out.len(), text.as_ptr().cast(), text.len());
        assert_eq!(c::ZSTD_isError(len), 0);
        c::ZSTD_freeCCtx(context);
        out.truncate(len);
        out
    }
}

/// Each way to compress a body, by name.
pub fn all(text: &[u8]) -> Vec<(&'static str, Encoding, Vec<u8>)> {
    let (head, tail) = text.split_at(text.len() / 2);
    let skippable = b"\x53\x2a\x4d\x18\x03\x00\x00\x00abc".to_vec();
    vec![
        ("gzip", Encoding::Gzip, gzip(text, 6)),
        ("gzip stored", Encoding::Gzip, gzip(text, 0)),
        ("gzip members", Encoding::Gzip, [gzip(head, 1), gzip(b"", 6), gzip(tail, 9)].concat()),
        ("zlib", Encoding::Deflate, zlib(text, 6)),
        ("bare deflate", Encoding::Deflate, deflate(text, 6)),
        ("zstd", Encoding::Zstd, zstd(text, 3, 0, true)),
        ("zstd small window", Encoding::Zstd, zstd(text, 19, 10, false)),
        (
            "zstd frames",
            Encoding::Zstd,
            [zstd(head, 1, 10, false), skippable, zstd(tail, 3, 20, false)].concat(),
        ),
        ("snappy frames", Encoding::Snappy, snappy_frames(text)),
        ("snappy frames twice", Encoding::Snappy, [snappy_frames(head), snappy_frames(tail)].concat()),
        ("snappy block", Encoding::Snappy, snappy_block(text)),
    ]
}

pub fn inflate_account() -> Account {
    Budget::new(64 << 20, 4096).unwrap().account("http.0", "inflate", Share::COMMON).unwrap()
}

/// Feeds the pieces one after the other; gives the text.
pub fn inflate<'a>(
    encoding: Encoding,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    account: &Account,
) -> (Vec<u8>, Result<(), Error>) {
    let mut decoder = Decoder::new(encoding);
    let mut text = Vec::new();
    for mut piece in pieces {
        loop {
            match decoder.feed(&mut piece) {
                Ok(Step::NeedInput) => break,
                Ok(Step::Output) => {
                    assert!(!decoder.output().is_empty(), "there is text when it says so");
                    text.extend_from_slice(decoder.output());
                }
                Ok(Step::Lease(bytes)) => match account.try_lease(bytes) {
                    Ok(lease) => decoder.prepay(lease),
                    Err(_full) => return (text, decoder.finish()),
                },
                Err(error) => return (text, Err(error)),
            }
        }
        assert!(piece.is_empty(), "all of it is consumed");
    }
    let end = decoder.finish();
    (text, end)
}
