//! Why a compressed body was refused.

use std::fmt;

use super::Encoding;

/// A compressed body was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// What the body was said to be.
    pub encoding: Encoding,
    /// Bytes of the compressed body that were consumed. Where exactly a decoder notices depends on how the body
    /// was cut, so this is near the damage and no more.
    pub offset: u64,
    /// What is wrong.
    pub reason: Reason,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid {} body near byte {}: {}", self.encoding.name(), self.offset, self.reason)
    }
}

impl std::error::Error for Error {}

/// What is wrong with a compressed body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is documented by its text below")]
pub enum Reason {
    Truncated,
    Trailing,
    NotThis,
    Damaged,
    Checksum,
    Window,
    Dictionary,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Reason::Truncated => "it ends before the compressed data does",
            Reason::Trailing => "something follows the end of the compressed data",
            Reason::NotThis => "it does not start as one",
            Reason::Damaged => "the compressed data is damaged",
            Reason::Checksum => "the checksum or length of what was decompressed is wrong",
            Reason::Window => "it needs a window of more than 8 MiB",
            Reason::Dictionary => "it needs a dictionary",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
