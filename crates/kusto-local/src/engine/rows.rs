//! The records of a blob, one at a time, as stored rows.
//!
//! Formats ("Data formats supported for ingestion"):
//!
//! * `json` - one object per line. The service skips lines which are no JSON object without a word; they are
//!   skipped here too, and counted, since an agent under test should send none.
//! * `csv` - RFC 4180; in a `dynamic` column what is no JSON is a string.
//! * `multijson` - objects separated by white space, or arrays of them; one byte out of place and nothing of
//!   the blob is ingested.
//!
//! Without a mapping a member of the object goes to the column of exactly its name, a field to the column of its
//! place. A row is stored as a JSON
//! array in the order of the columns. Only one record is in memory.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Read, Write};

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::mapping::{Element, Source, Step};
use super::schema::{Column, ColumnType};
use super::value;
use crate::limits;

/// Layout of the records in a blob.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Json,
    MultiJson,
    Csv,
}

impl Format {
    /// The `format` of an ingestion message; names are compared without regard to case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "multijson" | "singlejson" => Some(Self::MultiJson),
            "csv" => Some(Self::Csv),
            _ => None,
        }
    }

    /// Whether its mappings are for JSON.
    pub(crate) fn is_json(self) -> bool {
        self != Self::Csv
    }
}

/// How the records of a blob are to be read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) format: Format,
    /// Without one, members go to the columns of their names, fields to the columns in their order.
    pub(crate) mapping: Option<Vec<Element>>,
    /// The first record is a heading.
    pub(crate) skip_first: bool,
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
    pub(crate) mapping: Option<&'a [Element]>,
    pub(crate) out: W,
    pub(crate) rows: u64,
    pub(crate) complaints: &'a mut Complaints,
}

/// Reads all records of `input` into `writer`. The text of an error is for the ingestion record.
pub(crate) fn copy(
    reading: &Reading,
    mut input: impl BufRead,
    writer: &mut RowWriter<'_, impl Write>,
) -> Result<(), String> {
    if reading.skip_first && reading.format == Format::Json {
        input.skip_until(b'\n').map_err(|error| error.to_string())?;
    }
    match reading.format {
        Format::Json => copy_lines(input, writer),
        Format::MultiJson => copy_values(input, writer),
        Format::Csv => copy_fields(input, reading.skip_first, writer),
    }
}

fn copy_fields(
    input: impl BufRead,
    skip_first: bool,
    writer: &mut RowWriter<'_, impl Write>,
) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(skip_first).flexible(true).from_reader(input);
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| error.to_string())? {
        let field = |at: usize| record.get(at).map(String::from_utf8_lossy);
        let values: Vec<Option<Cow<'_, str>>> = match writer.mapping {
            None => (0..writer.columns.len()).map(field).collect(),
            Some(elements) => {
                let mut values = vec![None; writer.columns.len()];
                for element in elements {
                    values[element.column] = match &element.source {
                        Source::Ordinal(at) => field(*at),
                        Source::Constant(text) => serde_json::from_str(text).ok().map(Cow::Owned),
                        Source::Path(_) => None,
                    };
                }
                values
            }
        };
        let values: Vec<Option<Box<RawValue>>> = writer
            .columns
            .iter()
            .zip(values)
            .map(|(column, value)| value.and_then(|value| json_of(column.kind, &value)))
            .collect();
        writer.write(&values).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A field as the JSON that [`value::store`] reads. An empty one is missing.
fn json_of(kind: ColumnType, field: &str) -> Option<Box<RawValue>> {
    if field.is_empty() {
        return None;
    }
    if kind == ColumnType::Dynamic
        && let Ok(value) = RawValue::from_string(field.to_owned())
    {
        return Some(value);
    }
    serde_json::value::to_raw_value(field).ok()
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
        let mut one = RowWriter {
            columns: writer.columns,
            mapping: writer.mapping,
            out: &mut row,
            rows: writer.rows,
            complaints,
        };
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
        if let Some(elements) = self.writer.mapping {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry::<String, Box<RawValue>>()? {
                members.push(member);
            }
            let values = mapped(elements, &members, self.writer.columns.len());
            return self.writer.write(&values).map_err(A::Error::custom);
        }
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

/// The columns' values out of a record's members.
fn mapped(
    elements: &[Element],
    members: &[(String, Box<RawValue>)],
    columns: usize,
) -> Vec<Option<Box<RawValue>>> {
    let mut values = vec![None; columns];
    for element in elements {
        let found = match &element.source {
            Source::Path(steps) => at(members, steps),
            Source::Constant(text) => RawValue::from_string(text.clone()).ok(),
            Source::Ordinal(_) => None,
        };
        values[element.column] = match found {
            // What does not fit a transform is stored as null, with a complaint of the column's type.
            Some(raw) if element.transforms() => {
                element.transform(raw.get()).and_then(|text| RawValue::from_string(text).ok()).or(Some(raw))
            }
            found => found,
        };
    }
    values
}

/// The value at the end of a path.
fn at(members: &[(String, Box<RawValue>)], steps: &[Step]) -> Option<Box<RawValue>> {
    let Some((first, rest)) = steps.split_first() else {
        // The record itself.
        let members: Vec<String> = members
            .iter()
            .map(|(key, value)| format!("{}:{}", serde_json::Value::from(key.as_str()), value.get()))
            .collect();
        return RawValue::from_string(format!("{{{}}}", members.join(","))).ok();
    };
    let Step::Member(name) = first else { return None };
    let (_, found) = members.iter().rev().find(|(key, _)| key == name)?;
    below(found, rest).map(ToOwned::to_owned)
}

/// The value that `steps` lead to.
pub(crate) fn below<'a>(mut value: &'a RawValue, steps: &[Step]) -> Option<&'a RawValue> {
    for step in steps {
        value = match step {
            Step::Member(name) => {
                let members: HashMap<String, &RawValue> = serde_json::from_str(value.get()).ok()?;
                members.get(name.as_str())?
            }
            Step::Index(index) => {
                let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
                items.get(*index)?
            }
        };
    }
    Some(value)
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
    use crate::engine::mapping;
    use crate::engine::schema::column_list;

    fn read(format: Format, text: &str) -> (Result<String, String>, Vec<String>) {
        read_mapped(format, None, text)
    }

    fn read_mapped(
        format: Format,
        mapping: Option<&str>,
        text: &str,
    ) -> (Result<String, String>, Vec<String>) {
        let columns = column_list("(tag:string,n:long,log:dynamic)").unwrap();
        let mut complaints = Complaints::default();
        let mapping = mapping.map(|text| mapping::parse(text, format.is_json(), &columns).unwrap());
        let reading = Reading { format, mapping, skip_first: false };
        let mut writer = RowWriter {
            columns: &columns,
            mapping: reading.mapping.as_deref(),
            out: Vec::new(),
            rows: 0,
            complaints: &mut complaints,
        };
        let result = copy(&reading, text.as_bytes(), &mut writer);
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

    #[test]
    fn csv_goes_by_place_and_quoted_fields_keep_what_is_in_them() {
        let text = "a,1,\"{\"\"x\"\": 1}\"\n\"b,\nc\",,text\n";
        let (rows, complaints) = read(Format::Csv, text);
        assert_eq!(rows.unwrap(), "[\"a\",1,{\"x\": 1}]\n[\"b,\\nc\",null,\"text\"]\n");
        assert!(complaints.is_empty(), "{complaints:?}");
        let mapping = r#"[{"column":"n","Properties":{"Ordinal":"0"}},{"column":"tag","Properties":{"ConstValue":"c"}}]"#;
        assert_eq!(read_mapped(Format::Csv, Some(mapping), "7,x\n").0.unwrap(), "[\"c\",7,null]\n");
    }

    #[test]
    fn a_mapping_reaches_into_records_and_keeps_their_text() {
        let mapping = r#"[
            {"column":"tag","Properties":{"Path":"$.k['s p']"}},
            {"column":"n","Properties":{"Path":"$.list[1]"}},
            {"column":"log","Properties":{"Path":"$"}}
        ]"#;
        let text = r#"{"k":{"s p":"v"},"list":[1,2],"big":18446744073709551617}"#;
        for format in [Format::Json, Format::MultiJson] {
            let (rows, complaints) = read_mapped(format, Some(mapping), text);
            assert_eq!(rows.unwrap(), format!("[\"v\",2,{text}]\n"));
            assert!(complaints.is_empty(), "{complaints:?}");
        }
    }
}
