//! zstd, in memory of a size that the frame tells beforehand.
//!
//! The C library, and not a decoder in Rust (`ruzstd`), for three reasons. It works within one piece of memory
//! that it is given, so the lease is exact; `ruzstd` grows several vectors as it goes. It stops at any byte;
//! `ruzstd` wants a whole block of up to 128 KiB at once, which would have to be collected. And it is five
//! times as fast (log lines at level 3: 1.0 GB/s to 0.2). The price is a C compiler, which `ring` and jemalloc want anyway. The functions that take
//! the memory are not wrapped by the `zstd` and `zstd-safe` libraries, so they are called here.

use std::ffi::c_void;
use std::ptr::NonNull;

use budget::Lease;
use zstd_sys as c;

use super::{Codec, Reason, Step};

/// The largest window of a frame: what RFC 8878 asks decoders to support, and what every level of the `zstd`
/// program but those behind `--ultra` and `--long` uses at most.
pub const WINDOW: usize = 8 << 20;

/// Text that is given at once.
const OUT: usize = 16 * 1024;

/// The longest header of a frame.
const HEADER: usize = 18;
/// Bytes that tell how long a header is.
const PREFIX: usize = 5;

#[derive(Default)]
pub(super) struct Zstd {
    state: State,
    /// The header of the frame, and how much of it was read and has been fed to the stream.
    header: [u8; HEADER],
    held: usize,
    fed: usize,
    stream: Option<Stream>,
    /// Whether a frame was read to its end.
    whole: bool,
}

#[derive(Clone, Copy, Default)]
enum State {
    /// A header of which so many bytes are needed.
    #[default]
    Prefix,
    Header {
        need: usize,
    },
    /// A frame for which a stream of so many bytes is needed.
    Frame {
        need: usize,
    },
    /// A frame that says nothing, to the end of which this is left.
    Skip {
        left: u64,
    },
}

impl Zstd {
    /// Reads the header up to `need` bytes. Answers whether they are there.
    fn collect(&mut self, input: &mut &[u8], need: usize) -> bool {
        let (now, later) = input.split_at((need - self.held).min(input.len()));
        self.header[self.held..self.held + now.len()].copy_from_slice(now);
        self.held += now.len();
        *input = later;
        self.held == need
    }

    /// What the header says, as far as it was read.
    fn parse(&mut self) -> Result<State, Reason> {
        let mut header = std::mem::MaybeUninit::<c::ZSTD_FrameHeader>::zeroed();
        // SAFETY: the header is written to, and read from as far as it was filled.
        let needed =
            unsafe { c::ZSTD_getFrameHeader(header.as_mut_ptr(), self.header.as_ptr().cast(), self.held) };
        if is_error(needed) {
            return Err(if self.whole { Reason::Trailing } else { Reason::NotThis });
        }
        if needed > 0 {
            let longer = needed > self.held && needed <= HEADER;
            return if longer { Ok(State::Header { need: needed }) } else { Err(Reason::Damaged) };
        }
        // SAFETY: zeros are a header, and the library has filled it.
        let header = unsafe { header.assume_init() };
        if header.frameType == c::ZSTD_FrameType_e::ZSTD_skippableFrame {
            self.held = 0;
            return Ok(State::Skip { left: header.frameContentSize });
        }
        if header.dictID != 0 {
            return Err(Reason::Dictionary);
        }
        if header.windowSize > WINDOW as u64 {
            return Err(Reason::Window);
        }
        self.fed = 0;
        Ok(State::Frame { need: Stream::needs(header.windowSize as usize) })
    }

    /// One block of the frame. Answers what to tell, if there is something.
    fn frame(&mut self, input: &mut &[u8], need: usize) -> Result<Option<Step>, Reason> {
        if self.stream.as_ref().is_some_and(|stream| stream.room < need) {
            // What the last frame was paid with is given back before more is asked for.
            self.stream = None;
        }
        let Some(stream) = &mut self.stream else { return Ok(Some(Step::Lease(need))) };
        let ended = if self.fed < self.held {
            let mut header = &self.header[self.fed..self.held];
            let ended = stream.run(&mut header)?;
            self.fed = self.held - header.len();
            ended
        } else {
            let done = input.is_empty();
            let ended = stream.run(input)?;
            if done && !ended && stream.filled == 0 {
                return Ok(Some(Step::NeedInput));
            }
            ended
        };
        if ended {
            self.whole = true;
            self.held = 0;
            self.state = State::Prefix;
        }
        Ok((stream.filled > 0).then_some(Step::Output))
    }
}

impl Codec for Zstd {
    fn feed(&mut self, input: &mut &[u8]) -> Result<Step, Reason> {
        loop {
            match self.state {
                State::Prefix | State::Header { .. } => {
                    let need = if let State::Header { need } = self.state { need } else { PREFIX };
                    if !self.collect(input, need) {
                        return Ok(Step::NeedInput);
                    }
                    self.state = self.parse()?;
                }
                State::Frame { need } => {
                    if let Some(step) = self.frame(input, need)? {
                        return Ok(step);
                    }
                }
                State::Skip { left: 0 } => {
                    self.whole = true;
                    self.state = State::Prefix;
                }
                State::Skip { left } => {
                    let now = left.min(input.len() as u64);
                    if now == 0 {
                        return Ok(Step::NeedInput);
                    }
                    *input = &input[now as usize..];
                    self.state = State::Skip { left: left - now };
                }
            }
        }
    }

    fn output(&self) -> &[u8] {
        self.stream.as_ref().map_or(&[], |stream| &stream.out[..stream.filled])
    }

    fn prepay(&mut self, lease: Lease) {
        if let State::Frame { need } = self.state {
            assert!(lease.bytes() >= need, "it is paid for");
            self.stream = Some(Stream::new(need, lease));
        }
    }

    fn finish(&self) -> Result<(), Reason> {
        let between = matches!(self.state, State::Prefix) && self.held == 0;
        if between && self.whole { Ok(()) } else { Err(Reason::Truncated) }
    }
}

/// The library's stream, in memory of ours.
struct Stream {
    /// Lies within `memory`.
    stream: NonNull<c::ZSTD_DStream>,
    _memory: Box<[u64]>,
    out: Box<[u8]>,
    filled: usize,
    /// Bytes held, and so what was asked for.
    room: usize,
    _lease: Lease,
}

impl Stream {
    /// Bytes that a stream for this window holds.
    fn needs(window: usize) -> usize {
        // The estimate is a little short for windows that are smaller than any encoder's.
        // SAFETY: it only counts.
        let stream = unsafe { c::ZSTD_estimateDStreamSize(window.max(1024)) };
        stream.next_multiple_of(8) + OUT
    }

    fn new(room: usize, lease: Lease) -> Stream {
        let mut memory: Box<[u64]> = vec![0; (room - OUT) / 8].into();
        // SAFETY: the memory is as long as said, aligned to eight bytes, and stays where it is as long as the
        // stream is used: both are dropped together, and the box is never moved out of.
        let stream =
            unsafe { c::ZSTD_initStaticDStream(memory.as_mut_ptr().cast::<c_void>(), memory.len() * 8) };
        let Some(stream) = NonNull::new(stream) else { panic!("a stream fits what was estimated") };
        Stream { stream, _memory: memory, out: vec![0; OUT].into(), filled: 0, room, _lease: lease }
    }

    /// One block of text. Answers whether the frame ended.
    fn run(&mut self, input: &mut &[u8]) -> Result<bool, Reason> {
        let mut from = c::ZSTD_inBuffer { src: input.as_ptr().cast(), size: input.len(), pos: 0 };
        let mut to = c::ZSTD_outBuffer { dst: self.out.as_mut_ptr().cast(), size: OUT, pos: 0 };
        // SAFETY: both buffers are as long as said, and the stream lies in memory that is still held.
        let hint = unsafe { c::ZSTD_decompressStream(self.stream.as_ptr(), &mut to, &mut from) };
        *input = &input[from.pos..];
        self.filled = to.pos;
        if !is_error(hint) {
            return Ok(hint == 0);
        }
        // SAFETY: it only translates.
        match unsafe { c::ZSTD_getErrorCode(hint) } {
            c::ZSTD_ErrorCode::ZSTD_error_checksum_wrong => Err(Reason::Checksum),
            _ => Err(Reason::Damaged),
        }
    }
}

fn is_error(code: usize) -> bool {
    // SAFETY: it only compares.
    unsafe { c::ZSTD_isError(code) != 0 }
}
