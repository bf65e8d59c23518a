//! Reading files, and knowing which have been read.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use options::{Pos, Problem};

use crate::Format;
use crate::limits::{MAX_BYTES, MAX_FILES, MAX_INCLUDE_DEPTH};

/// Why a file could not be read.
#[derive(Debug)]
pub enum ReadError {
    /// The system says no.
    Io(io::Error),
    /// It is no regular file, so reading it might never end.
    NotAFile,
    /// It holds more bytes than allowed.
    TooLarge {
        /// How many are allowed.
        limit: u64,
    },
    /// It is not UTF-8, first at this line and column.
    NotUtf8 {
        /// Line, from 1.
        line: u32,
        /// Column in characters, from 1.
        column: u32,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::NotFound => out.write_str("it does not exist"),
            Self::Io(error) => write!(out, "{error}"),
            Self::NotAFile => out.write_str("it is not a regular file"),
            Self::TooLarge { limit } => write!(out, "it is larger than the limit of {limit} bytes"),
            Self::NotUtf8 { .. } => out.write_str("it is not UTF-8 text"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads a regular file of UTF-8 text of at most `limit` bytes.
///
/// # Errors
///
/// When it cannot be read, is something else than a file, is too large or is not UTF-8.
pub fn read_limited(path: &Path, limit: u64) -> Result<String, ReadError> {
    let meta = fs::metadata(path).map_err(ReadError::Io)?;
    if !meta.is_file() {
        return Err(ReadError::NotAFile);
    }
    let file = File::open(path).map_err(ReadError::Io)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that just fits from one that grows while it is read.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > limit {
        return Err(ReadError::TooLarge { limit });
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let (line, column) = end_of(&String::from_utf8_lossy(valid));
        ReadError::NotUtf8 { line, column }
    })
}

/// Line and column of the character after `text`.
fn end_of(text: &str) -> (u32, u32) {
    let line = text.matches('\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (small(line), small(column))
}

/// A count that fits a position: files are bounded far below four thousand million.
pub fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The name of a file in positions: as the user would write it.
pub fn name_of(path: &Path) -> Arc<str> {
    Arc::from(path.display().to_string())
}

/// Which files have been read, which are being read, and how much is left of the bounds.
pub struct Files {
    read: Vec<PathBuf>,
    chain: Vec<PathBuf>,
    bytes_left: u64,
}

impl Default for Files {
    fn default() -> Self {
        Self { read: Vec::new(), chain: Vec::new(), bytes_left: MAX_BYTES }
    }
}

impl Files {
    /// Reads `path`, asked for at `from`; [`close`](Self::close) must follow when its text is done with.
    pub fn open(&mut self, path: &Path, from: Option<&Pos>, format: Format) -> Result<String, Problem> {
        let asked = || from.cloned().unwrap_or_else(|| Pos::whole(name_of(path)));
        let refuse = |why: &dyn fmt::Display| match from {
            Some(pos) => Problem::new(pos.clone(), format!("cannot include {}: {why}", path.display())),
            None => Problem::new(asked(), format!("cannot read the file: {why}")),
        };
        let real = fs::canonicalize(path).map_err(|error| refuse(&ReadError::Io(error)))?;
        if self.chain.contains(&real) {
            return Err(refuse(&"it includes itself"));
        }
        // As in Fluent Bit: a classic file is read once, a YAML file may be shared by several others.
        if format == Format::Classic && self.read.contains(&real) {
            return Err(refuse(&"it is already included"));
        }
        if self.read.len() >= MAX_FILES {
            return Err(refuse(&format_args!("more than {MAX_FILES} files")));
        }
        if self.chain.len() >= MAX_INCLUDE_DEPTH {
            return Err(refuse(&format_args!("more than {MAX_INCLUDE_DEPTH} files include one another")));
        }
        self.read.push(real.clone());
        match read_limited(path, self.bytes_left) {
            Ok(text) => {
                self.chain.push(real);
                self.bytes_left -= text.len() as u64;
                Ok(text)
            }
            Err(ReadError::NotUtf8 { line, column }) => {
                Err(Problem::new(Pos::new(name_of(path), line, column), "not UTF-8 text"))
            }
            Err(ReadError::TooLarge { .. }) => Err(refuse(&format_args!(
                "all files together are larger than the limit of {MAX_BYTES} bytes"
            ))),
            Err(error) => Err(refuse(&error)),
        }
    }

    /// The file opened last is done with.
    pub fn close(&mut self) {
        self.chain.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_larger_than_its_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_limited(&path, 5).unwrap(), "12345");
        assert_eq!(read_limited(&path, 4).unwrap_err().to_string(), "it is larger than the limit of 4 bytes");
        assert!(matches!(read_limited(dir.path(), 4), Err(ReadError::NotAFile)));
    }

    #[test]
    fn bytes_that_are_no_text_are_located() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"one\ntw\xc3\xb6 \xff").unwrap();
        assert!(matches!(read_limited(&path, 99), Err(ReadError::NotUtf8 { line: 2, column: 5 })));
    }
}
