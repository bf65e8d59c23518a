//! Records to anything that bytes are written to, through one block.

use std::io::Write;

use event::{Corrupt, Cursor};
use formats::Block;
use formats::json::{Printer, Progress, Style};

use crate::rows::BLOCK;

/// Gathers text in a block, which whoever opens the sink has leased ([`BLOCK`] bytes).
pub(crate) struct Sink<W: Write> {
    out: W,
    block: Block,
    json: Printer,
    text: Printer,
}

/// Why something is not written.
#[derive(Debug)]
pub(crate) enum Unwritten {
    Io(std::io::Error),
    Corrupt,
}

impl From<std::io::Error> for Unwritten {
    fn from(error: std::io::Error) -> Unwritten {
        Unwritten::Io(error)
    }
}

impl From<Corrupt> for Unwritten {
    fn from(_: Corrupt) -> Unwritten {
        Unwritten::Corrupt
    }
}

impl<W: Write> Sink<W> {
    pub(crate) fn new(out: W, escape_unicode: bool) -> Sink<W> {
        Sink {
            out,
            block: Block::new(BLOCK),
            json: Printer::new(Style::Json { escape_unicode }),
            text: Printer::new(Style::Text),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> Result<(), Unwritten> {
        loop {
            self.block.write(&mut bytes);
            if bytes.is_empty() {
                return Ok(());
            }
            self.pass_on()?;
        }
    }

    /// Writes the value at the cursor as JSON.
    pub(crate) fn json(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Unwritten> {
        while self.json.value(cursor, &mut self.block)? == Progress::BlockFull {
            self.out.write_all(self.block.bytes())?;
            self.block.clear();
        }
        Ok(())
    }

    /// Writes the value at the cursor as Fluent Bit prints values.
    pub(crate) fn text(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Unwritten> {
        while self.text.value(cursor, &mut self.block)? == Progress::BlockFull {
            self.out.write_all(self.block.bytes())?;
            self.block.clear();
        }
        Ok(())
    }

    /// Writes so many bytes at the cursor as they lie.
    pub(crate) fn copy(&mut self, cursor: &mut Cursor<'_>, mut bytes: usize) -> Result<(), Unwritten> {
        while bytes > 0 {
            let piece = cursor.piece(bytes)?;
            self.put(piece)?;
            bytes -= piece.len();
        }
        Ok(())
    }

    fn pass_on(&mut self) -> Result<(), Unwritten> {
        self.out.write_all(self.block.bytes())?;
        self.block.clear();
        Ok(())
    }

    /// Writes what is left in the block.
    pub(crate) fn finish(&mut self) -> Result<(), Unwritten> {
        self.pass_on()?;
        Ok(self.out.flush()?)
    }
}
