//! deflate streams, bare or in zlib's clothes.

use budget::Lease;
use flate2::{Decompress, FlushDecompress, Status};

use super::{Codec, Reason, Step, byte};

/// Bytes that decompressing gzip or deflate holds, from the first byte of the body on. A test holds it against
/// what is allocated.
pub const FLATE: usize = 64 * 1024;

/// Text that is given at once.
const OUT: usize = 16 * 1024;

/// A deflate stream and the block it is decompressed into.
pub(super) struct Flate {
    stream: Decompress,
    out: Box<[u8]>,
    filled: usize,
    _lease: Lease,
}

impl Flate {
    pub(super) fn new(zlib: bool, lease: Lease) -> Flate {
        assert!(lease.bytes() >= FLATE, "it is paid for");
        Flate { stream: Decompress::new(zlib), out: vec![0; OUT].into(), filled: 0, _lease: lease }
    }

    /// Makes it ready for another bare stream.
    pub(super) fn reset(&mut self) {
        self.stream.reset(false);
    }

    pub(super) fn output(&self) -> &[u8] {
        &self.out[..self.filled]
    }

    /// One block of text. Answers whether the stream ended.
    pub(super) fn run(&mut self, input: &mut &[u8]) -> Result<bool, Reason> {
        let (read, written) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, &mut self.out, FlushDecompress::None);
        let read = (self.stream.total_in() - read) as usize;
        self.filled = (self.stream.total_out() - written) as usize;
        let left = &input[read..];
        let status = status.map_err(|error| match error.needs_dictionary() {
            Some(_) => Reason::Dictionary,
            None => Reason::Damaged,
        })?;
        let stuck = read == 0 && self.filled == 0 && !left.is_empty() && status != Status::StreamEnd;
        *input = left;
        // With input and room there is always a step to make.
        if stuck { Err(Reason::Damaged) } else { Ok(status == Status::StreamEnd) }
    }
}

/// The content encoding `deflate`.
#[derive(Default)]
pub(super) struct Deflate {
    /// The first two bytes, which tell a zlib stream from a bare one.
    first: [u8; 2],
    held: usize,
    /// How much of `first` the stream has read.
    fed: usize,
    flate: Option<Flate>,
    ended: bool,
}

impl Deflate {
    /// A zlib header: the method, a window that is not too large, and a sum that divides by 31. The chance
    /// that a bare stream starts so is small, and no encoder's does.
    fn zlib(&self) -> bool {
        let [method, _] = self.first;
        method & 0x0f == 8 && method >> 4 <= 7 && u16::from_be_bytes(self.first).is_multiple_of(31)
    }
}

impl Codec for Deflate {
    fn feed(&mut self, input: &mut &[u8]) -> Result<Step, Reason> {
        while self.held < 2 {
            let Some(byte) = byte(input) else { return Ok(Step::NeedInput) };
            self.first[self.held] = byte;
            self.held += 1;
        }
        let Some(flate) = &mut self.flate else { return Ok(Step::Lease(FLATE)) };
        while !self.ended {
            if self.fed < 2 {
                let mut first = &self.first[self.fed..];
                self.ended = flate.run(&mut first)?;
                self.fed = 2 - first.len();
            } else {
                let done = input.is_empty();
                self.ended = flate.run(input)?;
                if done && flate.filled == 0 {
                    return Ok(Step::NeedInput);
                }
            }
            if flate.filled > 0 {
                return Ok(Step::Output);
            }
        }
        if self.fed < 2 || !input.is_empty() {
            return Err(Reason::Trailing);
        }
        Ok(Step::NeedInput)
    }

    fn output(&self) -> &[u8] {
        self.flate.as_ref().map_or(&[], Flate::output)
    }

    fn prepay(&mut self, lease: Lease) {
        self.flate = Some(Flate::new(self.zlib(), lease));
    }

    fn finish(&self) -> Result<(), Reason> {
        if self.ended { Ok(()) } else { Err(Reason::Truncated) }
    }
}
