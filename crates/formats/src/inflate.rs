//! Compressed bodies, decompressed as they arrive: gzip, deflate, zstd and snappy.
//!
//! A decoder can stop at any byte of its input and between any two pieces of its output. It asks for its memory
//! before it takes it ([`Step::Lease`]), so that a body that wants more than there is costs nothing; and it
//! decompresses no further than its reader reads, so that a body of zeros costs what the reader takes of it.
//!
//! | encoding | what is read | memory |
//! |---|---|---|
//! | gzip | one member or several ([RFC 1952](https://www.rfc-editor.org/rfc/rfc1952)) | [`FLATE`] |
//! | deflate | a zlib stream ([RFC 1950](https://www.rfc-editor.org/rfc/rfc1950)); also a bare deflate stream, which some clients send under this name | [`FLATE`] |
//! | zstd | frames with a window of at most [`ZSTD_WINDOW`] ([RFC 8878](https://www.rfc-editor.org/rfc/rfc8878)) | the window and some 300 KiB |
//! | snappy | the framing format | 64 KiB |
//! | snappy | a raw block | its length when decompressed |
//!
//! Checksums are verified. What follows the end of the last member or frame is refused, and so is a body that
//! ends before it.
//!
//! ```
//! use formats::inflate::{Decoder, Encoding, Step};
//! # let budget = budget::Budget::new(4 << 20, 4096).unwrap();
//! # let account = budget.account("http.0", "inflate", budget::Share::COMMON).unwrap();
//! # let body = b"\x08\x1chi snapp";
//! let mut decoder = Decoder::new(Encoding::Snappy);
//! let mut text = Vec::new();
//! for mut piece in body.chunks(3) {
//!     loop {
//!         match decoder.feed(&mut piece).unwrap() {
//!             Step::NeedInput => break,
//!             Step::Output => text.extend_from_slice(decoder.output()),
//!             Step::Lease(bytes) => decoder.prepay(account.try_lease(bytes).unwrap()),
//!         }
//!     }
//! }
//! decoder.finish().unwrap();
//! assert_eq!(text, b"hi snapp");
//! ```

mod block;
mod crc32c;
mod deflate;
mod error;
mod gzip;
mod snappy;
mod zstd;

use budget::Lease;

pub use deflate::FLATE;
pub use error::{Error, Reason};
pub use zstd::WINDOW as ZSTD_WINDOW;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `gzip` or `x-gzip`.
    Gzip,
    /// `deflate`.
    Deflate,
    /// `zstd`.
    Zstd,
    /// `snappy`, or `x-snappy-framed`.
    Snappy,
}

impl Encoding {
    /// The encoding that a `Content-Encoding` header names; `None` for one that is not known.
    pub fn named(name: &str) -> Option<Encoding> {
        let known = [
            ("gzip", Encoding::Gzip),
            ("x-gzip", Encoding::Gzip),
            ("deflate", Encoding::Deflate),
            ("zstd", Encoding::Zstd),
            ("snappy", Encoding::Snappy),
            ("x-snappy-framed", Encoding::Snappy),
        ];
        known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, encoding)| *encoding)
    }

    /// Its name in a message.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
            Encoding::Zstd => "zstd",
            Encoding::Snappy => "snappy",
        }
    }
}

/// What [`Decoder::feed`] has, or needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The slice is used up and everything it gave was read: more input, or [`Decoder::finish`].
    NeedInput,
    /// There is text: read [`Decoder::output`] and call again, also when the slice is used up.
    Output,
    /// A lease of so many bytes, handed in by [`Decoder::prepay`], before it goes on. Whoever finds it too
    /// much gives up; nothing was allocated.
    Lease(usize),
}

/// Decompresses a body. See the module.
pub struct Decoder {
    encoding: Encoding,
    codec: Box<dyn Codec>,
    offset: u64,
}

/// One encoding.
trait Codec {
    fn feed(&mut self, input: &mut &[u8]) -> Result<Step, Reason>;
    fn output(&self) -> &[u8];
    fn prepay(&mut self, lease: Lease);
    fn finish(&self) -> Result<(), Reason>;
}

impl Decoder {
    /// A decoder that holds some hundred bytes until it has been paid for more.
    pub fn new(encoding: Encoding) -> Decoder {
        let codec: Box<dyn Codec> = match encoding {
            Encoding::Gzip => Box::new(gzip::Gzip::default()),
            Encoding::Deflate => Box::new(deflate::Deflate::default()),
            Encoding::Zstd => Box::new(zstd::Zstd::default()),
            Encoding::Snappy => Box::new(snappy::Snappy::default()),
        };
        Decoder { encoding, codec, offset: 0 }
    }

    /// Bytes of the compressed body consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on. `input` shrinks by what was consumed. What [`Decoder::output`] held is gone.
    ///
    /// # Errors
    /// The body is refused. Text that was given before is not taken back.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        let before = input.len();
        let outcome = self.codec.feed(input);
        self.offset += (before - input.len()) as u64;
        outcome.map_err(|reason| self.error(reason))
    }

    /// The text that [`Step::Output`] told of.
    pub fn output(&self) -> &[u8] {
        self.codec.output()
    }

    /// Hands in the lease that [`Step::Lease`] asked for. It is kept as long as what it pays for.
    pub fn prepay(&mut self, lease: Lease) {
        self.codec.prepay(lease);
    }

    /// The body ends here.
    ///
    /// # Errors
    /// It ends too early.
    pub fn finish(&self) -> Result<(), Error> {
        self.codec.finish().map_err(|reason| self.error(reason))
    }

    fn error(&self, reason: Reason) -> Error {
        Error { encoding: self.encoding, offset: self.offset, reason }
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Decoder({} at byte {})", self.encoding.name(), self.offset)
    }
}

/// Takes the next byte.
fn byte(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}
