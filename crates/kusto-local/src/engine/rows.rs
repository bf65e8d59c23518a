//! The records of a blob, one at a time, as stored rows.
//!
//! Formats ("Data formats supported for ingestion"):
//!
//! * `json` - one object per line. The service skips lines which are no JSON object without a word; they are
//!   skipped here too, and counted, since an agent under test should send none.
//! * `multijson` - objects separated by white space, or arrays of them; one byte out of place and nothing of
//!   the blob is ingested.
//!
//! Without a mapping a member of the object goes to the column of exactly its name. A row is stored as a JSON
//! array in the order of the columns. Only one record is in memory.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read, Write};

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::schema::Column;
use super::value;
use crate::limits;

/// Layout of the records in a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Json,
    MultiJson,
}

impl Format {
    /// The `format` of an ingestion message; names are compared without regard to case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "multijson" => Some(Self::MultiJson),
            _ => None,
        }
    }
}

/// Findings about records, kept to a bounded number.
#[derive(Default, Debug)]
pub(crate) struct Complaints {
    pub(crate) texts: Vec<String>,
    /// Findings beyond the bound.
    pub(crate) more: u64,
}

impl Complaints {
    /// Adds a finding.
    pub(crate) fn push(&mut self, text: impl Into<String>) {
        if self.texts.len() < limits::COMPLAINTS { self.texts.push(text.into()) } else { self.more += 1 }
    }
}

/// Writes rows; counts them and what was wrong with their values.
pub(crate) struct RowWriter<'a, W> {
    pub(crate) columns: &'a [Column],
    pub(crate) out: W,
    pub(crate) rows: u64,
    pub(crate) complaints: &'a mut Complaints,
}

/// Reads all records of `input` into `writer`. The text of an error is for the ingestion record.
pub(crate) fn copy(
    format: Format,
    input: impl BufRead,
    writer: &mut RowWriter<'_, impl Write>,
) -> Result<(), String> {
    match format {
        Format::Json => copy_lines(input, writer),
        Format::MultiJson => copy_values(input, writer),
    }
}

fn copy_lines(mut input: impl BufRead, writer: &mut RowWriter<'_, impl Write>) -> Result<(), String> {
    let (mut line, mut row) = (Vec::new(), Vec::new());
    for number in 1u64.. {
        line.clear();
        row.clear();
        let read = (&mut input).take(limits::RECORD_BYTES + 1).read_until(b'\n', &mut line);
        if read.map_err(|error| error.to_string())? == 0 {
            break;
        }
        if line.len() as u64 > limits::RECORD_BYTES {
            return Err(format!("line {number} is longer than a record may be"));
        }
        let text = String::from_utf8_lossy(&line);
        if matches!(text, Cow::Owned(_)) {
            writer.complaints.push(format!("line {number} is not UTF-8; replaced by U+FFFD"));
        }
        if text.trim().is_empty() {
            continue;
        }
        // A line counts only when nothing is behind its object, so its row waits here until then.
        let complaints = &mut *writer.complaints;
        let mut one = RowWriter { columns: writer.columns, out: &mut row, rows: writer.rows, complaints };
        let mut parser = serde_json::Deserializer::from_str(&text);
        match (RowSeed { writer: &mut one, nested: true })
            .deserialize(&mut parser)
            .and_then(|()| parser.end())
        {
            Ok(()) => {
                writer.out.write_all(&row).map_err(|error| error.to_string())?;
                writer.rows += 1;
            }
            Err(error) => writer.complaints.push(format!("line {number} was skipped: {error}")),
        }
    }
    Ok(())
}

fn copy_values(input: impl BufRead, writer: &mut RowWriter<'_, impl Write>) -> Result<(), String> {
    let mut parser = serde_json::Deserializer::from_reader(input);
    // `end` skips white space and succeeds at the end of the input.
    while let Err(more) = parser.end() {
        if more.is_io() {
            return Err(more.to_string());
        }
        RowSeed { writer, nested: false }.deserialize(&mut parser).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Takes one record, or an array of records, off a parser.
struct RowSeed<'w, 'a, W> {
    writer: &'w mut RowWriter<'a, W>,
    /// True where an array is not allowed.
    nested: bool,
}

impl<'de, W: Write> DeserializeSeed<'de> for RowSeed<'_, '_, W> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, W: Write> Visitor<'de> for RowSeed<'_, '_, W> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.nested {
            "a JSON object"
        } else {
            "a JSON object or an array of objects"
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.nested {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        }
        while seq.next_element_seed(RowSeed { writer: &mut *self.writer, nested: true })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let columns = self.writer.columns;
        let mut values: Vec<Option<Box<RawValue>>> = vec![None; columns.len()];
        while let Some(name) = map.next_key::<String>()? {
            match columns.iter().position(|column| column.name == name) {
                Some(at) => values[at] = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.writer.write(&values).map_err(A::Error::custom)
    }
}

impl<W: Write> RowWriter<'_, W> {
    fn write(&mut self, values: &[Option<Box<RawValue>>]) -> io::Result<()> {
        self.rows += 1;
        for (at, (column, raw)) in self.columns.iter().zip(values).enumerate() {
            self.out.write_all(if at == 0 { b"[" } else { b"," })?;
            let stored = raw.as_ref().map(|raw| value::store(column.kind, raw));
            match stored {
                None => self.out.write_all(value::missing(column.kind).as_bytes())?,
                Some(Ok(text)) => self.out.write_all(text.as_bytes())?,
                Some(Err(why)) => {
                    self.complaints
                        .push(format!("row {}, column {}: {why}; stored null", self.rows, column.name));
                    self.out.write_all(b"null")?;
                }
            }
        }
        self.out.write_all(b"]\n")
    }
}

/// Counts the bytes which pass, and ends with an error after `limit`.
pub(crate) struct Counted<R> {
    pub(crate) inner: R,
    pub(crate) bytes: std::rc::Rc<std::cell::Cell<u64>>,
    pub(crate) limit: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        self.bytes.set(self.bytes.get() + read as u64);
        if self.bytes.get() > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the blob is larger than an ingestion may be",
            ));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::schema::column_list;

    fn read(format: Format, text: &str) -> (Result<String, String>, Vec<String>) {
        let columns = column_list("(tag:string,n:long,log:dynamic)").unwrap();
        let mut complaints = Complaints::default();
        let mut writer =
            RowWriter { columns: &columns, out: Vec::new(), rows: 0, complaints: &mut complaints };
        let result = copy(format, text.as_bytes(), &mut writer);
        let out = String::from_utf8(writer.out).unwrap();
        (result.map(|()| out), complaints.texts)
    }

    #[test]
    fn names_match_by_case_and_unknown_members_are_ignored() {
        let (rows, complaints) =
            read(Format::Json, "{\"tag\":\"a\",\"N\":1,\"other\":{\"n\":2}}\n{\"log\":{\"x\":1.0}}\n");
        assert_eq!(rows.unwrap(), "[\"a\",null,null]\n[\"\",null,{\"x\":1.0}]\n");
        assert!(complaints.is_empty(), "{complaints:?}");
    }

    #[test]
    fn json_skips_bad_lines_and_says_so() {
        let (rows, complaints) =
            read(Format::Json, "{\"n\":1}\r\n{\"n\":\n[{\"n\":2}]\n\n{\"n\":3} x\n{\"n\":4}");
        assert_eq!(rows.unwrap(), "[\"\",1,null]\n[\"\",4,null]\n");
        assert_eq!(complaints.len(), 3, "{complaints:?}");
    }

    #[test]
    fn multijson_takes_arrays_and_objects_over_several_lines() {
        let (rows, complaints) =
            read(Format::MultiJson, " [{\"n\":1},\n{\"n\":2}] {\n\"n\":3,\"log\":{\n}}{\"n\":\"y\"}\n");
        assert_eq!(rows.unwrap(), "[\"\",1,null]\n[\"\",2,null]\n[\"\",3,{ }]\n[\"\",null,null]\n");
        assert_eq!(complaints, ["row 4, column n: \"y\" is no long; stored null"]);
    }

    #[test]
    fn multijson_refuses_what_is_no_object() {
        for text in ["[{\"n\":1}", "{\"n\":1}]", "[[{\"n\":1}]]", "12", "{\"n\":1},{\"n\":2}", "\"x\""] {
            assert!(read(Format::MultiJson, text).0.is_err(), "{text}");
        }
    }
}
