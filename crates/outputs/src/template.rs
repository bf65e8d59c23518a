//! Texts with places for a record's values: `app-$kubernetes['pod'][0].$TAG[1].log`.
//!
//! Outputs read records where they lie, so a value is found by passing over what stands before it; nothing is
//! decoded and nothing is kept.

use std::io::Write;

use event::{Corrupt, Cursor, Token};
use formats::Block;
use formats::json::{Printer, Progress, Style};
use options::{Invalid, Kind, Value};

/// A text with places, as Fluent Bit's record accessor has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Tag,
    /// The part of the tag between two dots.
    TagPart(usize),
    Field(Path),
}

/// Where in the body of a record a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(Vec<u8>),
    Index(usize),
}

/// What a template made of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    /// All of it.
    Whole,
    /// A value is missing; its place is empty.
    Missing,
    /// The text is longer than its limit, at which it is cut.
    TooLong,
}

impl Template {
    /// The text as it stands in the configuration.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there is any place in it.
    pub(crate) fn varies(&self) -> bool {
        self.pieces.iter().any(|piece| !matches!(piece, Piece::Text(_)))
    }

    /// Whether any place is for a value of the record.
    pub(crate) fn varies_by_record(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Field(_)))
    }

    /// The text for a tag, where no place is for a value of the record.
    pub(crate) fn of_tag(&self, tag: &str) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Tag => tag.to_owned(),
            Piece::TagPart(number) => tag.split('.').nth(*number).unwrap_or_default().to_owned(),
            Piece::Field(_) => String::new(),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// Reads a text whose places were checked before something else in it was filled in.
    pub(crate) fn parse_or_text(text: &str) -> Option<Template> {
        Template::parse(text).ok()
    }

    /// Appends the text for the record whose body the cursor stands at, at most so many bytes.
    ///
    /// # Errors
    /// [`Corrupt`]: the body is no msgpack.
    pub(crate) fn fill(
        &self,
        tag: &str,
        body: &Cursor<'_>,
        out: &mut Vec<u8>,
        most: usize,
    ) -> Result<Filled, Corrupt> {
        let mut filled = Filled::Whole;
        let limit = out.len() + most;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Tag => out.extend_from_slice(tag.as_bytes()),
                Piece::TagPart(number) => match tag.split('.').nth(*number) {
                    Some(part) => out.extend_from_slice(part.as_bytes()),
                    None => filled = Filled::Missing,
                },
                Piece::Field(path) => match path.find(body.clone())? {
                    Some(value) => {
                        if !plain(value, out, limit)? {
                            return Ok(Filled::TooLong);
                        }
                    }
                    None => filled = Filled::Missing,
                },
            }
            if out.len() > limit {
                return Ok(Filled::TooLong);
            }
        }
        Ok(filled)
    }
}

impl Value for Template {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Template, Invalid> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            if at > 0 {
                pieces.push(Piece::Text(rest[..at].to_owned()));
            }
            let (piece, behind) = place(&rest[at + 1..]).map_err(|what| Invalid::not(text, what))?;
            pieces.push(piece);
            rest = behind;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.to_owned()));
        }
        Ok(Template { text: text.to_owned(), pieces })
    }
}

/// A place behind its `$`, and what follows it.
fn place(text: &str) -> Result<(Piece, &str), String> {
    let end = text.find(|c: char| !in_name(c)).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if name.is_empty() {
        return Err("a text with places: a name must follow each \"$\"".to_owned());
    }
    if name.eq_ignore_ascii_case("TAG") {
        let part = rest.strip_prefix('[').and_then(|inner| inner.split_once(']'));
        let part = part.and_then(|(digits, behind)| Some((digits.parse().ok()?, behind)));
        return Ok(part.map_or((Piece::Tag, rest), |(number, behind)| (Piece::TagPart(number), behind)));
    }
    let mut steps = vec![Step::Key(name.as_bytes().to_vec())];
    while let Some(inner) = rest.strip_prefix('[') {
        let (step, behind) = step(inner)?;
        steps.push(step);
        rest = behind.strip_prefix(']').ok_or("a text with places: a \"[\" has no \"]\"")?;
    }
    Ok((Piece::Field(Path(steps)), rest))
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/')
}

/// A step behind its `[`: an index, or a key in quotes within which `''` stands for one.
fn step(text: &str) -> Result<(Step, &str), String> {
    let Some(mut quoted) = text.strip_prefix('\'') else {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let index = text[..end].parse().map_err(|_| "a text with places: write ['key'] or [0]".to_owned())?;
        return Ok((Step::Index(index), &text[end..]));
    };
    let mut key = String::new();
    loop {
        let (piece, behind) = quoted.split_once('\'').ok_or("a text with places: a quote is not closed")?;
        key.push_str(piece);
        let Some(more) = behind.strip_prefix('\'') else { return Ok((Step::Key(key.into_bytes()), behind)) };
        key.push('\'');
        quoted = more;
    }
}

impl Path {
    /// Reads `$key['inner'][0]`; without the `$` the whole text is the key.
    pub(crate) fn parse(text: &str) -> Result<Path, Invalid> {
        let Some(name) = text.strip_prefix('$') else {
            return Ok(Path(vec![Step::Key(text.as_bytes().to_vec())]));
        };
        match place(name) {
            Ok((Piece::Field(path), "")) => Ok(path),
            Ok(_) => Err(Invalid::not(text, "a place in a record").hint("write $key or $key['inner']")),
            Err(what) => Err(Invalid::not(text, what)),
        }
    }

    /// The place of the value below the one that the cursor stands at.
    pub(crate) fn find<'a>(&self, mut cursor: Cursor<'a>) -> Result<Option<Cursor<'a>>, Corrupt> {
        for step in &self.0 {
            match step.enter(cursor)? {
                Some(there) => cursor = there,
                None => return Ok(None),
            }
        }
        Ok(Some(cursor))
    }
}

impl Value for Path {
    const KIND: Kind = Kind::Text;

    fn parse(text: &str) -> Result<Path, Invalid> {
        Path::parse(text)
    }
}

impl Step {
    fn enter<'a>(&self, mut cursor: Cursor<'a>) -> Result<Option<Cursor<'a>>, Corrupt> {
        match (self, cursor.token()?) {
            (Step::Index(index), Token::Array(count)) if *index < count => {
                for _ in 0..*index {
                    cursor.skip()?;
                }
                Ok(Some(cursor))
            }
            (Step::Key(key), Token::Map(count)) => {
                let mut found = None;
                for _ in 0..count {
                    if is_key(&mut cursor, key)? {
                        found = Some(cursor.clone());
                    }
                    cursor.skip()?;
                }
                Ok(found)
            }
            _ => Ok(None),
        }
    }
}

/// Whether the next value is this string; passes over it.
pub(crate) fn is_key(cursor: &mut Cursor<'_>, key: &[u8]) -> Result<bool, Corrupt> {
    let mut name = cursor.clone();
    cursor.skip()?;
    if name.token()? != Token::Str(key.len()) {
        return Ok(false);
    }
    let mut left = key;
    while !left.is_empty() {
        let piece = name.piece(left.len())?;
        if !left.starts_with(piece) {
            return Ok(false);
        }
        left = &left[piece.len()..];
    }
    Ok(true)
}

/// Appends a value as plain text: strings as they are, maps and arrays as JSON. Answers whether it ends within
/// the limit.
pub(crate) fn plain(mut cursor: Cursor<'_>, out: &mut Vec<u8>, limit: usize) -> Result<bool, Corrupt> {
    let mut value = cursor.clone();
    match value.token()? {
        Token::Str(size) | Token::Bin(size) => {
            let fits = size.min(limit.saturating_sub(out.len()));
            out.extend_from_slice(&value.copy(fits)?);
            return Ok(fits == size);
        }
        Token::F64(number) => drop(write!(out, "{number:.6}")),
        Token::F32(number) => drop(write!(out, "{number:.6}")),
        _ => {
            let mut printer = Printer::new(Style::Json { escape_unicode: false });
            let mut block = Block::new(0);
            loop {
                let progress = printer.value(&mut cursor, &mut block)?;
                out.extend_from_slice(block.bytes());
                block.clear();
                if progress == Progress::Done {
                    break;
                }
                if out.len() > limit {
                    return Ok(false);
                }
            }
        }
    }
    Ok(out.len() <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::record_time;
    use crate::testing;

    fn filled(template: &str, record: &str) -> (Filled, String) {
        let batch = testing::batch("app.web.log", &[record]);
        let mut cursor = batch.parts[0].cursor().unwrap();
        record_time(&mut cursor).unwrap();
        let mut out = Vec::new();
        let filled = Template::parse(template).unwrap().fill("app.web.log", &cursor, &mut out, 1000).unwrap();
        (filled, String::from_utf8(out).unwrap())
    }

    #[test]
    fn places_are_filled_with_the_tag_and_with_values_at_any_depth() {
        let record = r#"{"a":"x","n":7,"f":1.5,"b":true,"k":{"it's":["p",{"q":"deep"}]},"a":"last"}"#;
        for (template, expected) in [
            ("plain", "plain"),
            ("/$a.log", "/last.log"),
            ("$TAG:$TAG[1].$TAG[2]", "app.web.log:web.log"),
            ("$n $f $b", "7 1.500000 true"),
            ("$k['it''s'][1]['q']!", "deep!"),
            ("$k", r#"{"it's":["p",{"q":"deep"}]}"#),
        ] {
            assert_eq!(filled(template, record), (Filled::Whole, expected.to_owned()), "{template}");
        }
        assert_eq!(filled("a$x:$TAG[9]b", record), (Filled::Missing, "a:b".to_owned()));
        assert_eq!(filled("$a", &format!(r#"{{"a":"{}"}}"#, "x".repeat(2000))).0, Filled::TooLong);
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["$", "a $ b", "$a[", "$a['b", "$a[x]", "$a['b'"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
        assert!(Path::parse("$a b").is_err() && Path::parse("$TAG").is_err());
        assert!(Path::parse("a b").is_ok(), "without $ it is a key");
    }
}
