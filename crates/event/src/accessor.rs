//! Record accessors: where in a record a value stands, `$kubernetes['labels']['app']` or `$list[0]`.

use std::fmt;

use crate::cursor::{Corrupt, Cursor, Token};
use crate::window::{Raw, Record};

/// Where in the body of a record a value stands. Looking it up takes no memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accessor {
    key: Box<[u8]>,
    path: Box<[Step]>,
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Key(Box<[u8]>),
    Index(usize),
}

/// Why a text is not a record accessor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, for a sentence that begins with the text.
    pub what: String,
    /// What to write instead, where it is known.
    pub hint: Option<String>,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Malformed {}

impl Malformed {
    /// Says what is wrong.
    pub fn new(what: impl Into<String>) -> Malformed {
        Malformed { what: what.into(), hint: None }
    }
}

impl Accessor {
    /// The value of a key of the body, whatever characters the key has.
    pub fn key(name: &str) -> Accessor {
        Accessor { key: name.as_bytes().into(), path: Box::default() }
    }

    /// Reads `$key`, `$key['inner']` or `$key[0]`, to any depth. Within the quotes `''` stands for one.
    ///
    /// # Errors
    /// [`Malformed`] when the text is anything else, literals and the tag included: they are no place in a
    /// record.
    pub fn parse(text: &str) -> Result<Accessor, Malformed> {
        let Some(name) = text.strip_prefix('$') else {
            return Err(Malformed::new("has no \"$\" in front"));
        };
        let end = name.find(|c| !in_name(c)).unwrap_or(name.len());
        let (key, mut rest) = name.split_at(end);
        if !key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(Malformed::new("has no name of a key behind the \"$\""));
        }
        if key == "TAG" {
            return Err(Malformed::new("stands for the tag, which is not in the record"));
        }
        let mut path = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = Step::parse(key, rest)?;
            path.push(step);
            rest = behind;
        }
        Ok(Accessor { key: key.as_bytes().into(), path: path.into() })
    }

    /// The value in a record. Of entries with the same key the last counts.
    ///
    /// When the key holds neither a map nor an array there is nothing to step into, and its own value is the
    /// result: Fluent Bit's rule.
    pub fn find<'r>(&self, record: &'r Record<'_>) -> Option<Raw<'r>> {
        let value = match record.untouched_map() {
            Some(map) => Step::in_map(&self.key, &mut Cursor::of(map)).ok()??.whole().ok()??,
            None => {
                let entry = record.body().iter().rfind(|entry| entry.key.as_str() == Some(&self.key))?;
                entry.value.bytes()
            }
        };
        if self.path.is_empty() {
            return Some(Raw::Page(value));
        }
        self.inner(value).ok()?.map(Raw::Page)
    }

    /// The value in a map.
    pub fn find_in<'m>(&self, map: &'m [u8]) -> Option<&'m [u8]> {
        let value = Step::in_map(&self.key, &mut Cursor::of(map)).ok()??.whole().ok()??;
        if self.path.is_empty() { Some(value) } else { self.inner(value).ok()? }
    }

    fn inner<'v>(&self, value: &'v [u8]) -> Result<Option<&'v [u8]>, Corrupt> {
        let mut cursor = Cursor::of(value);
        if !matches!(cursor.clone().token()?, Token::Map(_) | Token::Array(_)) {
            return Ok(Some(value));
        }
        for step in &self.path {
            match step.enter(cursor)? {
                Some(there) => cursor = there,
                None => return Ok(None),
            }
        }
        cursor.whole()
    }
}

impl Step {
    /// The first step of `text`, and what follows it.
    fn parse<'t>(key: &str, text: &'t str) -> Result<(Step, &'t str), Malformed> {
        if let Some(inner) = text.strip_prefix('.') {
            let inner = &inner[..inner.find(|c| !in_name(c)).unwrap_or(inner.len())];
            let hint = format!("for a key within a map write ${key}['{inner}']");
            return Err(Malformed { hint: Some(hint), ..Malformed::new("has a dot, which ends the key") });
        }
        let Some(step) = text.strip_prefix('[') else {
            return Err(Malformed::new(format!("has {text:?} behind its end")));
        };
        let (step, behind) = match step.strip_prefix('\'') {
            Some(quoted) => Step::quoted(quoted)?,
            None => {
                let (digits, behind) =
                    step.split_at(step.find(|c: char| !c.is_ascii_digit()).unwrap_or(step.len()));
                let index = digits.parse().map_err(|_| {
                    let hint = Some("write ['key'] or [0]".to_owned());
                    Malformed { hint, ..Malformed::new("has no key in quotes and no index behind \"[\"") }
                })?;
                (Step::Index(index), behind)
            }
        };
        let behind = behind.strip_prefix(']').ok_or_else(|| Malformed::new("has a \"[\" without \"]\""))?;
        Ok((step, behind))
    }

    /// A key up to its closing quote, and what follows.
    fn quoted(mut text: &str) -> Result<(Step, &str), Malformed> {
        let mut key = String::new();
        loop {
            let Some((piece, behind)) = text.split_once('\'') else {
                return Err(Malformed::new("has a quote that is not closed"));
            };
            key.push_str(piece);
            let Some(more) = behind.strip_prefix('\'') else {
                return Ok((Step::Key(key.into_bytes().into()), behind));
            };
            key.push('\'');
            text = more;
        }
    }

    /// The place this step leads to from a value.
    fn enter<'v>(&self, mut cursor: Cursor<'v>) -> Result<Option<Cursor<'v>>, Corrupt> {
        match (self, cursor.token()?) {
            (Step::Index(index), Token::Array(count)) if *index < count => {
                for _ in 0..*index {
                    cursor.skip()?;
                }
                Ok(Some(cursor))
            }
            (Step::Key(key), Token::Map(count)) => Step::among(key, count, &mut cursor),
            _ => Ok(None),
        }
    }

    /// The value of a key in the map that the cursor stands at.
    fn in_map<'v>(key: &[u8], cursor: &mut Cursor<'v>) -> Result<Option<Cursor<'v>>, Corrupt> {
        match cursor.token()? {
            Token::Map(count) => Step::among(key, count, cursor),
            _ => Ok(None),
        }
    }

    /// The value of the last of `count` entries with this key.
    fn among<'v>(key: &[u8], count: usize, cursor: &mut Cursor<'v>) -> Result<Option<Cursor<'v>>, Corrupt> {
        let mut found = None;
        for _ in 0..count {
            let mut name = Cursor::of(cursor.whole()?.ok_or(Corrupt)?);
            if matches!(name.token()?, Token::Str(_)) && name.here() == key {
                found = Some(cursor.clone());
            }
            cursor.skip()?;
        }
        Ok(found)
    }
}

fn in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EventTime;
    use crate::window::Entry;
    use proptest::prelude::*;
    use rmpv::Value;

    fn bytes(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, value).unwrap();
        bytes
    }

    fn find(text: &str, body: &[(Vec<u8>, Vec<u8>)]) -> Option<Value> {
        let body =
            body.iter().map(|(key, value)| Entry { key: Raw::Page(key), value: Raw::Page(value) }).collect();
        let record = Record::new(EventTime::default(), Raw::Page(&[0x80]), body);
        let found = Accessor::parse(text).unwrap().find(&record)?;
        Some(rmpv::decode::read_value(&mut found.bytes()).unwrap())
    }

    fn map(pairs: &[(&str, Value)]) -> Value {
        Value::Map(pairs.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
    }

    #[test]
    fn a_value_is_found_at_any_depth_and_of_equal_keys_the_last_counts() {
        let inner = map(&[
            ("pod", "first".into()),
            ("it's", Value::Array(vec![1.into(), map(&[("x", 2.into())])])),
            ("pod", "last".into()),
            ("", Value::Nil),
        ]);
        let body: Vec<_> = [("a", Value::from(1)), ("k", inner), ("a", "text".into())]
            .map(|(key, value)| (bytes(&key.into()), bytes(&value)))
            .into();
        for (text, expected) in [
            ("$a", Some("text".into())),
            ("$missing", None),
            ("$k['pod']", Some("last".into())),
            ("$k['it''s'][0]", Some(1.into())),
            ("$k['it''s'][1]['x']", Some(2.into())),
            ("$k['it''s'][2]", None),
            ("$k['it''s']['x']", None),
            ("$k[0]", None),
            ("$k['']", Some(Value::Nil)),
            ("$k['pod']['deeper']", None),
            ("$a['x'][7]", Some("text".into())),
        ] {
            assert_eq!(find(text, &body), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_accessor_is_refused_with_the_reason() {
        for (text, what) in [
            ("a", "has no \"$\" in front"),
            ("$", "has no name of a key behind the \"$\""),
            ("$0", "has no name of a key behind the \"$\""),
            ("$TAG", "stands for the tag, which is not in the record"),
            ("$TAG[1]", "stands for the tag, which is not in the record"),
            ("$a.b", "has a dot, which ends the key"),
            ("$a b", "has \" b\" behind its end"),
            ("$a[", "has no key in quotes and no index behind \"[\""),
            ("$a[-1]", "has no key in quotes and no index behind \"[\""),
            ("$a['b", "has a quote that is not closed"),
            ("$a['b'", "has a \"[\" without \"]\""),
            ("$a[99999999999999999999]", "has no key in quotes and no index behind \"[\""),
        ] {
            assert_eq!(Accessor::parse(text).unwrap_err().what, what, "{text}");
        }
        let hint = Accessor::parse("$kubernetes.pod_name").unwrap_err().hint;
        assert_eq!(hint.unwrap(), "for a key within a map write $kubernetes['pod_name']");
    }

    proptest! {
        #[test]
        fn no_text_and_no_bytes_make_it_panic(text in "\\$a[\\[\\]'0-9a-z.]{0,12}", value in prop::collection::vec(any::<u8>(), 1..60)) {
            if let Ok(accessor) = Accessor::parse(&text) {
                let body = vec![Entry { key: Raw::text("a"), value: Raw::Page(&value) }];
                let record = Record::new(EventTime::default(), Raw::Page(&[0x80]), body);
                let _ = accessor.find(&record);
            }
        }
    }
}
