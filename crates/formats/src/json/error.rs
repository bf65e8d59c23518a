//! Why a text was refused.

use std::fmt;

/// A text was refused: at which byte and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error {
    /// Bytes of the body before the one that cannot be accepted.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: Reason,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid JSON at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for Error {}

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is documented by its text below")]
pub enum Reason {
    Empty,
    Truncated,
    NotAnObject,
    ElementNotAnObject,
    BetweenObjects,
    BetweenElements,
    Trailing,
    ExpectedKey,
    ExpectedColon,
    ExpectedValue,
    AfterMember,
    AfterElement,
    TooDeep,
    Literal,
    Number,
    LeadingZero,
    NumberTooLong,
    NumberTooLarge,
    Control,
    Escape,
    Surrogate,
    Utf8,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Reason::Empty => "the body is empty",
            Reason::Truncated => "the body ends before its last value does",
            Reason::NotAnObject => "expected an object or an array of objects",
            Reason::ElementNotAnObject => "an element of the array is not an object",
            Reason::BetweenObjects => "expected the next object",
            Reason::BetweenElements => "expected ',' or ']' after an element of the array",
            Reason::Trailing => "text follows the array",
            Reason::ExpectedKey => "expected a key in double quotes",
            Reason::ExpectedColon => "expected ':' after the key",
            Reason::ExpectedValue => "expected a value",
            Reason::AfterMember => "expected ',' or '}' after the value",
            Reason::AfterElement => "expected ',' or ']' after the value",
            Reason::TooDeep => "nested deeper than 128 levels",
            Reason::Literal => "expected true, false or null",
            Reason::Number => "not a valid number",
            Reason::LeadingZero => "a number starts with a needless zero",
            Reason::NumberTooLong => "a number is longer than 1024 bytes",
            Reason::NumberTooLarge => "a number is larger than a double can hold",
            Reason::Control => "a control character stands in a string unescaped",
            Reason::Escape => "not a valid escape",
            Reason::Surrogate => "an escaped surrogate has no partner",
            Reason::Utf8 => "not valid UTF-8",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why the transcoder stops within a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The ledger has no room now. Nothing is lost.
    Full,
    /// The text is refused.
    Bad(Reason),
}

impl From<budget::Full> for Stop {
    fn from(_: budget::Full) -> Stop {
        Stop::Full
    }
}

impl From<Reason> for Stop {
    fn from(reason: Reason) -> Stop {
        Stop::Bad(reason)
    }
}
