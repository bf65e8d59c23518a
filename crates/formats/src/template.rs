//! Texts made of records: `app.$TAG[1].$kubernetes['pod']-$1`.
//!
//! | part | stands for |
//! |---|---|
//! | `$key`, `$key['inner'][0]` | the value in the record; it ends at a blank, `.`, `,` or `"` outside of quotes |
//! | `$TAG`, `$TAG[1]` | the tag, or one of its parts between dots, counted from 0 |
//! | `$0` to `$9` | what a group of the pattern matched |
//! | anything else | itself |

use event::{Accessor, Cursor, Malformed, Raw, Record, Tag, Token};

use crate::Block;
use crate::json::{Printer, Progress, Style};

/// A text with places that each record fills in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Box<[Part]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Tag,
    OfTag(usize),
    Group(usize),
    Value(Accessor),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`Malformed`] when a place in it is no record accessor.
    pub fn parse(text: &str) -> Result<Template, Malformed> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            if at > 0 {
                parts.push(Part::Text(rest[..at].into()));
            }
            let (part, behind) = Part::parse(&rest[at..])?;
            parts.push(part);
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Template(parts.into()))
    }

    /// Whether the text is the same for every record.
    pub fn is_constant(&self) -> bool {
        self.0.iter().all(|part| matches!(part, Part::Text(_)))
    }

    /// Appends the text for a record, at most up to `limit` bytes of `out`. What is not there is left out; the
    /// answer says whether everything was there.
    pub fn render<'t>(
        &self,
        tag: &Tag,
        record: &Record<'_>,
        group: impl Fn(usize) -> Option<&'t [u8]>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> bool {
        let mut complete = true;
        for part in &self.0 {
            match part {
                Part::Text(text) => out.extend(text.as_bytes()),
                Part::Tag => out.extend(tag.as_str().as_bytes()),
                Part::OfTag(at) => match tag.as_str().split('.').nth(*at) {
                    Some(part) => out.extend(part.as_bytes()),
                    None => complete = false,
                },
                Part::Group(number) => match group(*number) {
                    Some(text) => out.extend(text),
                    None => complete = false,
                },
                Part::Value(accessor) => match accessor.find(record) {
                    Some(value) => append(&value, limit, out),
                    None => complete = false,
                },
            }
            out.truncate(limit);
        }
        complete
    }
}

impl Part {
    /// The part that a text starts with, which is a `$`, and what follows.
    fn parse(text: &str) -> Result<(Part, &str), Malformed> {
        let behind = &text[1..];
        if let Some(digit) = behind.bytes().next().filter(u8::is_ascii_digit) {
            return Ok((Part::Group(usize::from(digit - b'0')), &behind[1..]));
        }
        if let Some(behind) = behind.strip_prefix("TAG") {
            let index = behind.strip_prefix('[').and_then(|rest| rest.split_once(']'));
            return match index.map(|(index, behind)| (index.parse(), behind)) {
                Some((Ok(index), behind)) => Ok((Part::OfTag(index), behind)),
                Some((Err(_), _)) => Err(Malformed::new("has no number in $TAG[]")),
                None => Ok((Part::Tag, behind)),
            };
        }
        let mut quoted = false;
        let end = behind.find(|c| {
            quoted ^= c == '\'';
            !quoted && matches!(c, '.' | ' ' | ',' | '"')
        });
        let (key, behind) = behind.split_at(end.unwrap_or(behind.len()));
        Ok((Part::Value(Accessor::parse(&format!("${key}"))?), behind))
    }
}

/// Appends a value as text: a string as it is, a map or array as JSON, a binary in hexadecimal digits.
pub fn append(value: &Raw<'_>, limit: usize, out: &mut Vec<u8>) {
    let text = match value.token() {
        Some(Token::Str(_)) => return out.extend(value.as_text().unwrap_or_default()),
        Some(Token::Bin(_)) => {
            let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0') as u8;
            let bytes = value.as_text().unwrap_or_default();
            return out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        }
        Some(Token::Map(_) | Token::Array(_) | Token::Ext(..)) => return append_json(value, limit, out),
        Some(Token::Bool(value)) => value.to_string(),
        Some(Token::U64(value)) => value.to_string(),
        Some(Token::I64(value)) => value.to_string(),
        Some(Token::F32(value)) => format!("{value:.6}"),
        Some(Token::F64(value)) => format!("{value:.6}"),
        Some(Token::Nil) => "null".to_owned(),
        None => return,
    };
    out.extend(text.as_bytes());
}

/// As far as `limit` lets it.
fn append_json(value: &Raw<'_>, limit: usize, out: &mut Vec<u8>) {
    let mut printer = Printer::new(Style::Json { escape_unicode: true });
    let mut block = Block::new(4 * Printer::STEP);
    let mut cursor = Cursor::of(value.bytes());
    loop {
        let progress = printer.value(&mut cursor, &mut block);
        out.extend(block.bytes());
        block.clear();
        if progress != Ok(Progress::BlockFull) || out.len() >= limit {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use event::{Entry, EventTime};

    fn render(text: &str) -> (String, bool) {
        let value = |value: &rmpv::Value| Raw::made(|out| rmpv::encode::write_value(out, value).unwrap());
        let map = rmpv::Value::Map(vec![
            ("x.y".into(), "deep".into()),
            ("list".into(), rmpv::Value::Array(vec![1.into()])),
        ]);
        let body = [
            ("log", "line".into()),
            ("n", (-5).into()),
            ("f", 1.5.into()),
            ("yes", true.into()),
            ("none", rmpv::Value::Nil),
            ("bin", rmpv::Value::Binary(vec![0xab, 1])),
            ("map", map),
        ];
        let body = body.iter().map(|(key, v)| Entry { key: Raw::text(key), value: value(v) }).collect();
        let record = Record::new(EventTime::default(), Raw::Page(&[0x80]), body);
        let groups: [&[u8]; 2] = [b"whole", b"first"];
        let mut out = Vec::new();
        let template = Template::parse(text).unwrap();
        let complete =
            template.render(&Tag::new("app.web.log"), &record, |at| groups.get(at).copied(), 40, &mut out);
        (String::from_utf8(out).unwrap(), complete)
    }

    #[test]
    fn each_place_is_filled_in_from_the_record_the_tag_or_the_match() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$log", "line"),
            ("a.$log.b", "a.line.b"),
            ("$TAG.$0", "app.web.log.whole"),
            ("$TAG[1]-$1$1", "web-firstfirst"),
            ("new.$map['x.y'].end", "new.deep.end"),
            ("$map['list'][0]", "1"),
            ("$n $f,$yes\"$none", "-5 1.500000,true\"null"),
            ("$bin", "ab01"),
            ("$map", r#"{"x.y":"deep","list":[1]}"#),
            ("$log,$log,$log,$log,$log,$log,$log,$log,$log", "line,line,line,line,line,line,line,line,"),
        ] {
            assert_eq!(render(text), (expected.to_owned(), true), "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_left_out_and_said() {
        for (text, expected) in [
            ("a.$missing.b", "a..b"),
            ("$map['z']", ""),
            ("$TAG[7]x", "x"),
            ("$9", ""),
            ("$log['x']", "line"),
        ] {
            assert_eq!(render(text), (expected.to_owned(), text.contains("log")), "{text}");
        }
    }

    #[test]
    fn what_is_no_accessor_is_refused() {
        assert!(Template::parse("a.$").is_err());
        assert!(Template::parse("$TAG[x]").is_err());
        assert!(Template::parse("$a['b").is_err());
    }
}
