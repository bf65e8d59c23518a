//! Decoders: what stands encoded within a value.
//!
//! ```text
//! decode_field_as  escaped_utf8  log  do_next
//! decode_field_as  json          log
//! ```
//!
//! | Decoder | The value is |
//! |---|---|
//! | `json` | a JSON object |
//! | `escaped` | text with `\n`, `\t` and the like |
//! | `escaped_utf8` | text with those and `\u0000`, `\x00`, `\000` |
//! | `mysql_quoted` | text in quotes as MySQL writes it |
//!
//! `decode_field_as` puts the result in the place of the value; `decode_field` appends the entries of an object
//! to the record. The decoders of a key are tried in their order. One that succeeds is the last, unless
//! `do_next` follows it: then the next one decodes what it left. After one that fails the next one is tried if
//! `try_next` or `do_next` follows it.

use budget::{Account, Full};
use event::msgpack::map_header;
use options::{Choice, Invalid, Kind, Value};

use super::fields::{Filling, as_str};
use super::leased::Leased;
use super::{Fields, unescape};
use crate::json;

/// One `decode_field` or `decode_field_as`.
#[derive(Debug, Clone)]
pub struct DecodeRule {
    decoder: Decoder,
    key: String,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Decoder {
    Json,
    Escaped,
    EscapedUtf8,
    MysqlQuoted,
}

/// When the next rule of the key has its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Stop,
    /// After a failure.
    TryNext,
    /// Always.
    DoNext,
}

impl Value for DecodeRule {
    const KIND: Kind = Kind::Other("decoder key [action]");

    fn parse(text: &str) -> Result<DecodeRule, Invalid> {
        let mut words = text.split_whitespace();
        let (Some(decoder), Some(key)) = (words.next(), words.next()) else {
            return Err(Invalid::not(text, "a decoder and a key").hint("write for example: json log"));
        };
        let then = match words.next() {
            Some(action) if action.eq_ignore_ascii_case("try_next") => Then::TryNext,
            Some(action) if action.eq_ignore_ascii_case("do_next") => Then::DoNext,
            _ => Then::Stop,
        };
        Ok(DecodeRule { decoder: Decoder::parse(decoder)?, key: key.to_owned(), then })
    }
}

/// All rules of a parser.
#[derive(Debug)]
pub(super) struct Decoders {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    rule: DecodeRule,
    in_place: bool,
}

/// What decoding needs beside the record. Kept for the next one.
#[derive(Debug)]
pub(super) struct Work {
    result: Fields,
    /// Entries to append.
    extra: Fields,
    object: Fields,
    /// What the next rule decodes.
    text: Leased,
    next: Leased,
}

impl Work {
    fn new(account: &Account) -> Work {
        Work {
            result: Fields::new(account),
            extra: Fields::new(account),
            object: Fields::new(account),
            text: Leased::new(account),
            next: Leased::new(account),
        }
    }

    /// Everything that pays.
    pub(super) fn parts(&mut self) -> [&mut Leased; 5] {
        let Work { result, extra, object, text, next } = self;
        [&mut result.out, &mut extra.out, &mut object.out, text, next]
    }
}

/// What a value became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Became {
    /// It stays.
    Itself,
    /// What [`Work::text`] holds.
    Text,
    /// What [`Work::object`] holds.
    Object,
}

impl Decoders {
    pub(super) fn new(rules: impl Iterator<Item = (DecodeRule, bool)>) -> Decoders {
        Decoders { rules: rules.map(|(rule, in_place)| Rule { rule, in_place }).collect() }
    }

    fn has(&self, key: &[u8]) -> bool {
        self.rules.iter().any(|rule| rule.rule.key.as_bytes() == key)
    }

    /// Decodes the values of a record. Answers whether any key had rules.
    pub(super) fn apply(&self, fields: &mut Fields) -> Result<bool, Full> {
        if self.rules.is_empty()
            || !fields.iter().any(|(key, _)| as_str(key).is_some_and(|key| self.has(key)))
        {
            return Ok(false);
        }
        let account = fields.out.account().clone();
        let mut work = fields.work.take().unwrap_or_else(|| Box::new(Work::new(&account)));
        let outcome = self.record(fields, &mut work);
        if outcome.is_ok() {
            fields.swap(&mut work.result);
        }
        fields.work = Some(work);
        outcome.map(|()| true)
    }

    fn record(&self, fields: &Fields, work: &mut Work) -> Result<(), Full> {
        work.result.clear();
        work.extra.clear();
        for (key, value) in fields.iter() {
            let rules = as_str(key).filter(|key| self.has(key)).zip(as_str(value));
            let Some((name, text)) = rules else {
                work.result.entry(key, value)?;
                continue;
            };
            match self.value(name, text, work)? {
                Became::Itself => work.result.entry(key, value)?,
                Became::Text => work.result.value(key, work.text.bytes())?,
                Became::Object => {
                    let (header, size) = map_header(work.object.len());
                    work.result.out.ensure(key.len() + size + work.object.bytes().len())?;
                    work.result.entry(key, &header[..size])?;
                    work.result.out.extend(work.object.bytes())?;
                }
            }
        }
        work.result.append(&work.extra)
    }

    /// Applies the rules of a key to its value.
    fn value(&self, key: &[u8], text: &[u8], work: &mut Work) -> Result<Became, Full> {
        work.text.clear();
        work.text.extend(text)?;
        let mut became = Became::Itself;
        let mut appended = false;
        for Rule { rule, in_place } in self.rules.iter().filter(|rule| rule.rule.key.as_bytes() == key) {
            let again = !in_place && rule.then == Then::DoNext && appended;
            if again || became == Became::Object {
                continue;
            }
            let done = rule.decoder.run(work, *in_place)?;
            if !done {
                if rule.then == Then::Stop {
                    break;
                }
                continue;
            }
            if *in_place {
                became = if rule.decoder == Decoder::Json { Became::Object } else { Became::Text };
            } else {
                appended = true;
            }
            if rule.then != Then::DoNext {
                break;
            }
        }
        Ok(became)
    }
}

impl Decoder {
    /// Decodes the text. In place, the result takes the place of the text or is the object; else the entries
    /// of the object are appended. Answers whether it could.
    fn run(self, work: &mut Work, in_place: bool) -> Result<bool, Full> {
        let Work { text, next, object, extra, .. } = work;
        let unescape: fn(&[u8], &mut Vec<u8>) = match self {
            Decoder::Json => {
                let text = text.bytes().trim_ascii_start();
                let Some(rest) = json::line(text, Filling::new(object, None, &mut None))? else {
                    return Ok(false);
                };
                if super::json::begins_value(rest) {
                    return Ok(false);
                }
                if !in_place {
                    extra.append(object)?;
                }
                return Ok(true);
            }
            // There are no entries in a text.
            _ if !in_place => return Ok(true),
            Decoder::Escaped => unescape::escaped,
            Decoder::EscapedUtf8 => unescape::escaped_utf8,
            Decoder::MysqlQuoted => unescape::mysql_quoted,
        };
        next.clear();
        next.made(text.len(), |out| unescape(text.bytes(), out))?;
        std::mem::swap(text, next);
        Ok(true)
    }
}
