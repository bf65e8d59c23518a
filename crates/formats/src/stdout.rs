//! Records as Fluent Bit's stdout prints them:
//! `[0] app.log: [[1700000000.123456789, {}], {"level"=>"info", "n"=>1}]`.

use std::io::Write;

use event::{Corrupt, Cursor};

use crate::Block;
use crate::json::{Printer, Progress, Style};

/// Writes one record after the other, block by block.
#[derive(Debug)]
pub struct RecordLine {
    printer: Printer,
    /// Text that comes before the next part; `at` bytes of it are written.
    text: Vec<u8>,
    at: usize,
    next: Part,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Metadata,
    Body,
    End,
}

impl Default for RecordLine {
    fn default() -> RecordLine {
        RecordLine { printer: Printer::new(Style::Text), text: Vec::new(), at: 0, next: Part::End }
    }
}

impl RecordLine {
    /// Starts the record at the cursor, the `index`th one of its tag. Then call [`RecordLine::write`].
    ///
    /// # Errors
    /// [`Corrupt`] when there is no record.
    pub fn begin(&mut self, index: usize, tag: &str, cursor: &mut Cursor<'_>) -> Result<(), Corrupt> {
        let (time, with_metadata) = cursor.record_head()?;
        let empty = if with_metadata { "" } else { "{}], " };
        self.text.clear();
        // Writing to a vector cannot fail.
        let _ = write!(self.text, "[{index}] {tag}: [[{}.{:09}, {empty}", time.seconds, time.nanoseconds);
        self.at = 0;
        self.next = if with_metadata { Part::Metadata } else { Part::Body };
        Ok(())
    }

    /// Writes the record, or goes on with it.
    ///
    /// # Errors
    /// [`Corrupt`]: it is no msgpack, or nested too deep.
    pub fn write(&mut self, cursor: &mut Cursor<'_>, block: &mut Block) -> Result<Progress, Corrupt> {
        loop {
            let mut left = &self.text[self.at..];
            block.write(&mut left);
            self.at = self.text.len() - left.len();
            if self.at < self.text.len() {
                return Ok(Progress::BlockFull);
            }
            let (text, next) = match self.next {
                Part::Metadata => (b"], ".as_slice(), Part::Body),
                Part::Body => (b"]\n".as_slice(), Part::End),
                Part::End => return Ok(Progress::Done),
            };
            if self.printer.value(cursor, block)? == Progress::BlockFull {
                return Ok(Progress::BlockFull);
            }
            self.text.clear();
            self.text.extend_from_slice(text);
            (self.at, self.next) = (0, next);
        }
    }
}
