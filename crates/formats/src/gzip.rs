//! gzip ([RFC 1952](https://www.rfc-editor.org/rfc/rfc1952)), straight into leased pages.

use budget::{Buf, Full};
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

use crate::deflate::Deflate;

/// Compresses one member as its bytes come.
///
/// ```
/// # let budget = budget::Budget::new(1 << 20, 4096).unwrap();
/// # let account = budget.account("http.0", "encode", budget::Share::COMMON).unwrap();
/// let mut out = budget::Buf::new(&account);
/// let mut encoder = formats::gzip::Encoder::new(6);
/// encoder.write(&mut b"text".as_slice(), &mut out)?;
/// encoder.finish(&mut out)?;
/// # Ok::<(), budget::Full>(())
/// ```
pub struct Encoder {
    stream: Stream,
    taken: u64,
    checksum: Hasher,
    /// What is written around the stream, and how much of it was.
    frame: Vec<u8>,
    framed: usize,
    ended: bool,
}

/// What compresses: the first level is our own.
enum Stream {
    Fast(Box<Deflate>),
    Zlib(Compress),
}

impl Encoder {
    /// Bytes of heap that an encoder of any level holds at most, from its making until it is dropped. They
    /// are its caller's to lease.
    pub const HELD: usize = {
        assert!(Deflate::HELD <= ZLIB_HELD, "what is leased is enough for either");
        ZLIB_HELD
    };

    /// An encoder of this level: 0 stores, 1 is fast, 9 is small. Higher ones count as 9.
    pub fn new(level: u32) -> Encoder {
        // The stream alone: the processor's own instructions sum faster than the compressor does.
        let zlib = || Compress::new_with_window_bits(Compression::new(level.min(9)), false, WINDOW_BITS);
        Encoder {
            stream: if level == 1 { Stream::Fast(Box::new(Deflate::new())) } else { Stream::Zlib(zlib()) },
            taken: 0,
            checksum: Hasher::new(),
            frame: HEADER.to_vec(),
            framed: 0,
            ended: false,
        }
    }

    /// Bytes compressed so far, before compression.
    pub fn uncompressed(&self) -> u64 {
        self.taken
    }

    /// Compresses bytes to the end of `out`; `input` shrinks by what was taken.
    ///
    /// # Errors
    /// [`Full`]: after room was made, call again with what `input` still holds.
    pub fn write(&mut self, input: &mut &[u8], out: &mut Buf) -> Result<(), Full> {
        assert!(!self.ended, "the member is complete");
        self.frame(out)?;
        let before = *input;
        let written = match &mut self.stream {
            Stream::Fast(deflate) => deflate.write(input, out),
            Stream::Zlib(zlib) => write(zlib, input, out),
        };
        let taken = &before[..before.len() - input.len()];
        self.checksum.update(taken);
        self.taken += taken.len() as u64;
        written
    }

    /// The checksum of what was written so far, before compression.
    pub fn sum(&self) -> u32 {
        self.checksum.clone().finalize()
    }

    /// Writes what is left of the frame.
    fn frame(&mut self, out: &mut Buf) -> Result<(), Full> {
        while self.framed < self.frame.len() {
            if out.room() == 0 {
                out.grow()?;
            }
            let rest = &self.frame[self.framed..];
            let now = &rest[..rest.len().min(out.room())];
            out.write(now)?;
            self.framed += now.len();
        }
        Ok(())
    }

    /// Brings everything written so far to `out`, which then ends with a whole byte: what is behind it can be
    /// replaced by [`completion`].
    ///
    /// # Errors
    /// [`Full`]: after room was made, call again.
    pub fn flush(&mut self, out: &mut Buf) -> Result<(), Full> {
        self.frame(out)?;
        let zlib = match &mut self.stream {
            Stream::Fast(deflate) => return deflate.flush(out),
            Stream::Zlib(zlib) => zlib,
        };
        loop {
            run(zlib, &[], out, FlushCompress::Sync)?;
            // With room left nothing waits inside.
            if out.room() > 0 {
                return Ok(());
            }
        }
    }

    /// Ends the member. Nothing can be written then.
    ///
    /// # Errors
    /// [`Full`]: after room was made, call again.
    pub fn finish(&mut self, out: &mut Buf) -> Result<(), Full> {
        self.frame(out)?;
        if !self.ended {
            match &mut self.stream {
                Stream::Fast(deflate) => deflate.finish(out)?,
                Stream::Zlib(zlib) => {
                    while run(zlib, &[], out, FlushCompress::Finish)? != Status::StreamEnd {}
                }
            }
            self.ended = true;
            self.frame = ending(self.sum(), self.taken).to_vec();
            self.framed = 0;
        }
        self.frame(out)
    }
}

fn write(zlib: &mut Compress, input: &mut &[u8], out: &mut Buf) -> Result<(), Full> {
    while !input.is_empty() {
        let before = zlib.total_in();
        let run = run(zlib, input, out, FlushCompress::None);
        *input = &input[(zlib.total_in() - before) as usize..];
        run?;
    }
    Ok(())
}

fn run(zlib: &mut Compress, input: &[u8], out: &mut Buf, flush: FlushCompress) -> Result<Status, Full> {
    if out.room() == 0 {
        out.grow()?;
    }
    let before = zlib.total_out();
    let outcome = zlib.compress(input, out.spare(), flush);
    out.advance((zlib.total_out() - before) as usize);
    // It fails when it is misused, which the assertions here and there rule out.
    let Ok(status) = outcome else { panic!("the deflate stream is inconsistent") };
    Ok(status)
}

/// What ends a member that was cut behind an [`Encoder::flush`]: an empty last block, the checksum and the length of
/// its `bytes` bytes.
pub fn completion(sum: u32, bytes: u64) -> [u8; 10] {
    let mut completion = [0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    completion[2..].copy_from_slice(&ending(sum, bytes));
    completion
}

/// Checksum and length, which is kept modulo 2^32.
fn ending(sum: u32, bytes: u64) -> [u8; 8] {
    let mut ending = [0; 8];
    ending[..4].copy_from_slice(&sum.to_le_bytes());
    ending[4..].copy_from_slice(&(bytes as u32).to_le_bytes());
    ending
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoder({} bytes)", self.taken)
    }
}

/// Magic, deflate, no flags, no time, no hint, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// What zlib holds at any level, rounded up.
const ZLIB_HELD: usize = 384 * 1024;

/// A window of 32 KiB, the largest there is.
const WINDOW_BITS: u8 = 15;

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use budget::{Budget, Share};
    use proptest::prelude::*;

    fn inflate(out: &Buf) -> Vec<u8> {
        let mut plain = Vec::new();
        // The decoder of one member: what follows it would stay unread and show as a difference in length.
        let bytes = out.to_vec();
        let mut decoder = flate2::bufread::GzDecoder::new(bytes.as_slice());
        decoder.read_to_end(&mut plain).unwrap();
        assert!(decoder.into_inner().is_empty(), "one member and nothing behind it");
        plain
    }

    proptest! {
        #[test]
        fn what_was_written_comes_back_at_each_level_whatever_the_pieces(
            body in prop::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 0..40_000),
            piece in 1usize..9_000,
            level in 0u32..=9,
        ) {
            let account =
                Budget::new(1 << 20, 4096).unwrap().account("http.0", "encode", Share::COMMON).unwrap();
            let (mut out, mut encoder) = (Buf::new(&account), Encoder::new(level));
            for mut piece in body.chunks(piece) {
                encoder.write(&mut piece, &mut out).unwrap();
            }
            encoder.finish(&mut out).unwrap();
            prop_assert_eq!(encoder.uncompressed(), body.len() as u64);
            prop_assert_eq!(inflate(&out), body);
        }
    }

    #[test]
    fn a_member_that_was_cut_behind_a_flush_is_completed_by_its_ending() {
        let account = Budget::new(1 << 20, 4096).unwrap().account("http.0", "encode", Share::COMMON).unwrap();
        for level in [1, 6, 9] {
            let (mut out, mut encoder) = (Buf::new(&account), Encoder::new(level));
            let parts: Vec<Vec<u8>> =
                (1..40u32).map(|n| n.to_string().repeat(n as usize * 30).into_bytes()).collect();
            let mut plain = Vec::new();
            for part in &parts {
                encoder.write(&mut part.as_slice(), &mut out).unwrap();
                encoder.flush(&mut out).unwrap();
                plain.extend_from_slice(part);
                let mut cut = out.to_vec();
                cut.extend_from_slice(&completion(encoder.sum(), plain.len() as u64));
                let mut read = Vec::new();
                let mut decoder = flate2::bufread::GzDecoder::new(cut.as_slice());
                decoder.read_to_end(&mut read).unwrap();
                assert!(read == plain && decoder.into_inner().is_empty(), "level {level}");
            }
        }
    }

    #[test]
    fn a_full_ledger_stops_the_encoder_and_room_lets_it_go_on() {
        let account =
            Budget::new(16 * 4096, 4096).unwrap().account("http.0", "encode", Share::COMMON).unwrap();
        let body: Vec<u8> =
            (0..20_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let (mut out, mut encoder) = (Buf::new(&account), Encoder::new(1));
        let mut sent = Vec::new();
        let mut rest = body.as_slice();
        let mut stops = 0;
        while encoder.write(&mut rest, &mut out).is_err() || encoder.finish(&mut out).is_err() {
            // As when a block was uploaded.
            sent.extend(out.to_vec());
            out = Buf::new(&account);
            stops += 1;
        }
        sent.extend(out.to_vec());
        let mut plain = Vec::new();
        flate2::bufread::GzDecoder::new(sent.as_slice()).read_to_end(&mut plain).unwrap();
        assert!(plain == body && stops > 0);
    }
}
