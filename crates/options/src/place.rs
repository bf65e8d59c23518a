//! Where a piece of configuration text stands in its file.

use std::fmt;
use std::sync::Arc;

/// A position in a configuration file. Lines and columns count from 1, columns in characters.
///
/// Line 0 means the file as a whole, for example one that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pos {
    /// The file as the user would write it.
    pub file: Arc<str>,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// Column, from 1; 0 for the file as a whole.
    pub column: u32,
}

impl Pos {
    /// A position inside `file`.
    pub fn new(file: impl Into<Arc<str>>, line: u32, column: u32) -> Self {
        Self { file: file.into(), line, column }
    }

    /// The whole of `file`.
    pub fn whole(file: impl Into<Arc<str>>) -> Self {
        Self::new(file, 0, 0)
    }

    /// The same file at another place.
    #[must_use]
    pub fn at(&self, line: u32, column: u32) -> Self {
        Self { file: Arc::clone(&self.file), line, column }
    }
}

impl fmt::Display for Pos {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(out, "{}", self.file);
        }
        write!(out, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// A piece of text and the place it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text, with quotes decoded and variables replaced.
    pub value: String,
    /// Where its first character stands in the source.
    pub pos: Pos,
}

impl Text {
    /// Text that starts at `pos`.
    pub fn new(value: impl Into<String>, pos: Pos) -> Self {
        Self { value: value.into(), pos }
    }
}
