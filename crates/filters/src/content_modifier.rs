//! `content_modifier`: a processor that changes one key of the body or of the metadata.
//!
//! ```text
//! processors:
//!   logs:
//!     - name: content_modifier
//!       action: upsert
//!       context: attributes
//!       key: site
//!       value: north
//! ```
//!
//! | action | does |
//! |---|---|
//! | `insert` | appends `key` with the text `value` if there is no such key |
//! | `upsert` | appends `key` with the text `value` in place of any |
//! | `delete` | removes `key` |
//! | `rename` | calls `key` by the name `value` |
//! | `hash` | puts the SHA-256 of the value, as text, in place of it; a map, an array and an empty text stay |
//! | `extract` | matches the text with `pattern` and appends what its named groups matched |
//! | `convert` | appends the value as `converted_type` in place of it; what cannot be converted stays |
//!
//! `context` is `body` (also `message`, `record`), `attributes` (also `metadata`) or `otel_log_attributes`, the
//! map `attributes` of the map `otlp` in the metadata.

use engine::{Filter, FilterDef, Setup};
use event::{Entry, Raw, Record, Tag, Token, Window, msgpack};
use formats::ruby::RubyRegex;
use options::{Choice, Options, Reader};

use crate::number::{self, general};
use crate::words::Word;

/// The registry's entry.
pub static PROCESSOR: FilterDef = FilterDef {
    name: "content_modifier",
    about: "changes one key of the body or of the metadata",
    specs: ContentModifierOptions::specs,
    open,
};

#[derive(Debug, Clone, Options)]
#[options(check = ContentModifierOptions::check)]
struct ContentModifierOptions {
    /// What is changed.
    #[option(default = "body")]
    context: Context,
    /// How it is changed.
    #[option(required)]
    action: Action,
    /// The key.
    #[option(required)]
    key: Word,
    /// The text for insert and upsert, the new name for rename.
    value: Option<Word>,
    /// The pattern with named groups for extract.
    pattern: Option<RubyRegex>,
    /// The type for convert.
    converted_type: Option<Type>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Context {
    #[choice(alias = "message")]
    Body,
    Record,
    #[choice(alias = "metadata")]
    Attributes,
    #[choice(name = "otel_log_attributes")]
    OtelLogAttributes,
    #[choice(name = "otel_resource_attributes")]
    OtelResourceAttributes,
    #[choice(name = "otel_scope_attributes")]
    OtelScopeAttributes,
    #[choice(name = "otel_scope_name")]
    OtelScopeName,
    #[choice(name = "otel_scope_version")]
    OtelScopeVersion,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Action {
    Insert,
    Upsert,
    Delete,
    Rename,
    Hash,
    Extract,
    Convert,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Type {
    String,
    Boolean,
    Int,
    Double,
}

impl ContentModifierOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        let missing = match self.action {
            Action::Insert | Action::Upsert | Action::Rename if self.value.is_none() => Some("value"),
            Action::Extract if self.pattern.is_none() => Some("pattern"),
            Action::Convert if self.converted_type.is_none() => Some("converted_type"),
            _ => None,
        };
        if let Some(name) = missing {
            reader.refuse(name, format!("option \"{name}\" is missing: this action needs it"), None);
        }
        if let Some(pattern) = &self.pattern
            && self.action == Action::Extract
            && pattern.names().is_empty()
        {
            let hint = Some("write (?<name>...) around what is to be extracted".to_owned());
            reader.refuse("pattern", "option \"pattern\" has no named group", hint);
        }
        use Context::{OtelResourceAttributes, OtelScopeAttributes, OtelScopeName, OtelScopeVersion};
        if matches!(
            self.context,
            OtelResourceAttributes | OtelScopeAttributes | OtelScopeName | OtelScopeVersion
        ) {
            reader.refuse("context", "resources and scopes of OpenTelemetry cannot be changed yet", None);
        }
    }
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Box<dyn Filter>> {
    Some(Box::new(ContentModifier { options: ContentModifierOptions::read(reader)? }))
}

#[derive(Clone)]
struct ContentModifier {
    options: ContentModifierOptions,
}

impl Filter for ContentModifier {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        for record in &mut window.records {
            match self.options.context {
                Context::Attributes => self.options.in_metadata(record, &[]),
                Context::OtelLogAttributes => self.options.in_metadata(record, &["otlp", "attributes"]),
                _ if self.options.concerns(record.body()) => self.options.change(record.body_mut()),
                _ => {}
            }
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }

    fn copies(&self) -> usize {
        2
    }
}

impl ContentModifierOptions {
    /// Whether the action may change something.
    fn concerns(&self, entries: &[Entry<'_>]) -> bool {
        let there = entries.iter().any(|entry| self.key.names(entry));
        match self.action {
            Action::Insert => !there,
            Action::Upsert => true,
            _ => there,
        }
    }

    fn in_metadata(&self, record: &mut Record<'_>, path: &[&str]) {
        let metadata = record.metadata().clone();
        if let Some(changed) = self.in_map(&metadata, path) {
            record.set_metadata(changed);
        }
    }

    /// The map with the action done at the end of the path; maps on the way are made if they are missing.
    fn in_map(&self, map: &Raw<'_>, path: &[&str]) -> Option<Raw<'static>> {
        let mut entries = map.entries();
        let Some((key, path)) = path.split_first() else {
            if !self.concerns(&entries) {
                return None;
            }
            self.change(&mut entries);
            return Some(Raw::map(&entries));
        };
        let at = entries.iter().position(|entry| entry.key.as_str() == Some(key.as_bytes()));
        let inner = at.map_or(Raw::Page(&[0x80]), |at| entries[at].value.clone());
        if !matches!(inner.token(), Some(Token::Map(_))) {
            return None;
        }
        let value = self.in_map(&inner, path)?;
        match at {
            Some(at) => entries[at].value = value,
            None => entries.push(Entry { key: Raw::text(key), value }),
        }
        Some(Raw::map(&entries))
    }

    fn change(&self, entries: &mut Vec<Entry<'_>>) {
        let at = entries.iter().position(|entry| self.key.names(entry));
        match (self.action, at) {
            (Action::Insert, None) => self.append(entries),
            (Action::Upsert, at) => {
                at.map(|at| entries.remove(at));
                self.append(entries);
            }
            (Action::Delete, Some(at)) => {
                entries.remove(at);
            }
            (Action::Rename, Some(at)) => {
                if let Some(name) = &self.value {
                    entries[at].key = name.value.clone();
                }
            }
            (Action::Hash, Some(at)) => {
                if let Some(text) = text_of(&entries[at].value).filter(|text| !text.is_empty()) {
                    entries[at].value = Raw::text(&sha256(&text));
                }
            }
            (Action::Extract, Some(at)) => self.extract(at, entries),
            (Action::Convert, Some(at)) => {
                let to = self.converted_type;
                if let Some(value) = to.and_then(|to| convert(&entries[at].value, to)) {
                    entries.remove(at);
                    entries.push(Entry { key: self.key.value.clone(), value });
                }
            }
            (Action::Insert, Some(_)) | (_, None) => {}
        }
    }

    fn append(&self, entries: &mut Vec<Entry<'_>>) {
        if let Some(value) = &self.value {
            entries.push(Entry { key: self.key.value.clone(), value: value.value.clone() });
        }
    }

    fn extract(&self, at: usize, entries: &mut Vec<Entry<'_>>) {
        let Some(pattern) = &self.pattern else { return };
        let value = entries[at].value.clone();
        let Some(groups) = value.as_str().and_then(|text| pattern.captures(text)) else { return };
        for (name, group) in pattern.names() {
            // Whatever the case of its letters: Fluent Bit's rule.
            let same = |key: &[u8]| key.eq_ignore_ascii_case(name.as_bytes());
            entries.retain(|entry| !entry.key.as_str().is_some_and(same));
            let value = Raw::text_of(groups.get(*group).unwrap_or_default());
            entries.push(Entry { key: Raw::text(name), value });
        }
    }
}

fn sha256(text: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, text);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as text; a map, an array and an extension have none.
fn text_of(value: &Raw<'_>) -> Option<Vec<u8>> {
    Some(
        match value.token()? {
            Token::Str(_) | Token::Bin(_) => return value.as_text().map(<[u8]>::to_vec),
            Token::U64(number) => number.to_string(),
            Token::I64(number) => number.to_string(),
            Token::F32(number) => general(f64::from(number), 17),
            Token::F64(number) => general(number, 17),
            Token::Bool(value) => value.to_string(),
            Token::Nil => "null".to_owned(),
            Token::Map(_) | Token::Array(_) | Token::Ext(..) => return None,
        }
        .into_bytes(),
    )
}

fn convert(value: &Raw<'_>, to: Type) -> Option<Raw<'static>> {
    let token = value.token()?;
    match to {
        Type::String => text_of(value).map(|text| Raw::text_of(&text)),
        Type::Boolean => {
            let truth = match token {
                Token::Str(_) | Token::Bin(_) => value.as_text()?.eq_ignore_ascii_case(b"true"),
                _ => number_of(token)? != 0.0,
            };
            Some(Raw::made(|out| msgpack::put_bool(out, truth)))
        }
        Type::Int => {
            let number = match token {
                Token::Str(_) | Token::Bin(_) => whole_int(value.as_text()?)?,
                Token::U64(number) => return Some(Raw::made(|out| msgpack::put_u64(out, number))),
                Token::I64(number) => number,
                _ => number_of(token)?.round() as i64,
            };
            Some(Raw::made(|out| msgpack::put_i64(out, number)))
        }
        Type::Double => {
            let number = match token {
                // Fluent Bit's rule: what is no number is 0.
                Token::Str(_) | Token::Bin(_) => number::float(value.as_text()?).unwrap_or(0.0),
                _ => number_of(token)?,
            };
            Some(Raw::made(|out| msgpack::put_f64(out, number)))
        }
    }
}

/// A text that is an integer to its end, from -2^31 to 2^32 - 1: Fluent Bit's range.
fn whole_int(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.trim_start().parse().ok()?;
    (i64::from(i32::MIN)..=i64::from(u32::MAX)).contains(&number).then_some(number)
}

fn number_of(token: Token) -> Option<f64> {
    match token {
        Token::U64(number) => Some(number as f64),
        Token::I64(number) => Some(number as f64),
        Token::F32(number) => Some(f64::from(number)),
        Token::F64(number) => Some(number),
        Token::Bool(value) => Some(f64::from(u8::from(value))),
        Token::Nil => Some(0.0),
        _ => None,
    }
}
