//! A record as a line of a file.

use std::io::Write;

use event::{Cursor, Token};

use super::{FileOptions, Format};
use crate::rows::record_time;
use crate::sink::{Sink, Unwritten};
use crate::template::is_key;

/// How records are written.
pub(super) struct Writing {
    format: Format,
    delimiter: &'static str,
    label: &'static str,
    template: Vec<Piece>,
    column_names: bool,
}

/// A part of a template.
enum Piece {
    Text(String),
    Time,
    Key(String),
}

impl Writing {
    pub(super) fn new(options: &FileOptions) -> Writing {
        let usual = if options.format == Format::Ltsv { "\t" } else { "," };
        Writing {
            format: options.format,
            delimiter: options.delimiter.map_or(usual, |delimiter| delimiter.text()),
            label: options.label_delimiter.map_or(":", |delimiter| delimiter.text()),
            template: pieces(&options.template),
            column_names: options.csv_column_names,
        }
    }

    /// Writes the record at the cursor; `first` is the first one of a file.
    pub(super) fn record<W: Write>(
        &self,
        tag: &str,
        cursor: &mut Cursor<'_>,
        first: bool,
        sink: &mut Sink<W>,
    ) -> Result<(), Unwritten> {
        if self.format == Format::Msgpack {
            let mut end = cursor.clone();
            end.skip()?;
            return sink.copy(cursor, end.offset() - cursor.offset());
        }
        let time = record_time(cursor)?;
        let stamp = format!("{}.{:09}", time.seconds, time.nanoseconds);
        let float = format!("{:.6}", f64::from(time.seconds) + f64::from(time.nanoseconds) / 1e9);
        match self.format {
            Format::OutFile => {
                sink.put(format!("{tag}: [{stamp}, ").as_bytes())?;
                sink.json(cursor)?;
                sink.put(b"]\n")
            }
            Format::Csv => self.csv(&stamp, cursor, first && self.column_names, sink),
            Format::Ltsv => self.ltsv(&float, cursor, sink),
            Format::Template => self.filled(&float, cursor, sink),
            Format::Plain | Format::Msgpack => {
                sink.json(cursor)?;
                sink.put(b"\n")
            }
        }
    }

    fn csv<W: Write>(
        &self,
        stamp: &str,
        cursor: &mut Cursor<'_>,
        names: bool,
        sink: &mut Sink<W>,
    ) -> Result<(), Unwritten> {
        let mut body = cursor.clone();
        let Token::Map(count) = cursor.token()? else { return Err(Unwritten::Corrupt) };
        if count == 0 {
            return Ok(());
        }
        if names {
            body.token()?;
            sink.put(b"timestamp")?;
            for _ in 0..count {
                sink.put(self.delimiter.as_bytes())?;
                sink.text(&mut body)?;
                body.skip()?;
            }
            sink.put(b"\n")?;
        }
        sink.put(stamp.as_bytes())?;
        for _ in 0..count {
            sink.put(self.delimiter.as_bytes())?;
            cursor.skip()?;
            sink.text(cursor)?;
        }
        sink.put(b"\n")
    }

    fn ltsv<W: Write>(
        &self,
        float: &str,
        cursor: &mut Cursor<'_>,
        sink: &mut Sink<W>,
    ) -> Result<(), Unwritten> {
        let Token::Map(count) = cursor.token()? else { return Err(Unwritten::Corrupt) };
        if count == 0 {
            return Ok(());
        }
        sink.put(format!("\"time\"{}{float}", self.label).as_bytes())?;
        for _ in 0..count {
            sink.put(self.delimiter.as_bytes())?;
            sink.text(cursor)?;
            sink.put(self.label.as_bytes())?;
            sink.text(cursor)?;
        }
        sink.put(b"\n")
    }

    fn filled<W: Write>(
        &self,
        float: &str,
        cursor: &mut Cursor<'_>,
        sink: &mut Sink<W>,
    ) -> Result<(), Unwritten> {
        for piece in &self.template {
            match piece {
                Piece::Text(text) => sink.put(text.as_bytes())?,
                Piece::Time => sink.put(float.as_bytes())?,
                Piece::Key(key) => {
                    if !value(key, cursor.clone(), sink)? {
                        sink.put(format!("{{{key}}}").as_bytes())?;
                    }
                }
            }
        }
        cursor.skip()?;
        sink.put(b"\n")
    }
}

/// Writes the first value of a key, strings without quotes; answers whether there is one.
fn value<W: Write>(key: &str, mut body: Cursor<'_>, sink: &mut Sink<W>) -> Result<bool, Unwritten> {
    let Token::Map(count) = body.token()? else { return Err(Unwritten::Corrupt) };
    for _ in 0..count {
        if is_key(&mut body, key.as_bytes())? {
            let mut value = body.clone();
            match value.token()? {
                Token::Str(size) => sink.copy(&mut value, size)?,
                _ => sink.text(&mut body)?,
            }
            return Ok(true);
        }
        body.skip()?;
    }
    Ok(false)
}

/// `at {time} {message}`: a brace that is not closed, or has another one before its end, is text.
fn pieces(template: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some(close) = rest.find('}') {
        let (before, behind) = (&rest[..close], &rest[close + 1..]);
        match before.rfind('{') {
            None => pieces.push(Piece::Text(rest[..=close].to_owned())),
            Some(open) => {
                pieces.push(Piece::Text(before[..open].to_owned()));
                pieces.push(match &before[open + 1..] {
                    "time" => Piece::Time,
                    key => Piece::Key(key.to_owned()),
                });
            }
        }
        rest = behind;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    pieces
}
