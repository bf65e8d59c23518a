//! `type_converter`: appends a value as another type.
//!
//! ```text
//! [FILTER]
//!     name       type_converter
//!     match      app.*
//!     str_key    status status_code int
//!     float_key  $timing['total'] total_ms string
//! ```
//!
//! A rule names the key or record accessor of a value, the key of the result and its type. The rule's own name is
//! the type that the value must have; a value of another type, and one that cannot be converted, is left alone.
//! The result is appended, also beside an entry with the same key.
//!
//! | from | to |
//! |---|---|
//! | `int_key`, `uint_key` | `string`, `float`, `uint` or `int` |
//! | `float_key` | `string`, `int`, `uint` |
//! | `str_key` | `int`, `uint`, `hex`, `float`, `bool` |
//!
//! Numbers are read from the start of a string; what follows does not count.

use engine::{Filter, FilterDef, Setup};
use event::{Accessor, Entry, Raw, Tag, Token, Window, msgpack};
use options::{Choice, Invalid, Kind, Options, Reader, Value};

use crate::number::{self, float_text};
use crate::words::{Word, accessor, exactly, words};

/// The registry's entry.
pub static FILTER: FilterDef = FilterDef {
    name: "type_converter",
    about: "appends a value as another type",
    specs: TypeConverterOptions::specs,
    open,
};

#[derive(Debug, Clone, Options)]
#[options(check = TypeConverterOptions::check)]
struct TypeConverterOptions {
    /// Convert a string: its key or record accessor, the new key, the new type.
    str_key: Vec<Rule>,
    /// Convert an integer: its key or record accessor, the new key, the new type.
    int_key: Vec<Rule>,
    /// Convert an unsigned integer: its key or record accessor, the new key, the new type.
    uint_key: Vec<Rule>,
    /// Convert a float: its key or record accessor, the new key, the new type.
    float_key: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    from: Accessor,
    to: Word,
    kind: To,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum To {
    Int,
    Uint,
    Float,
    Hex,
    String,
    Bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Str,
    Int,
    Uint,
    Float,
}

impl Value for Rule {
    const KIND: Kind = Kind::Words(3);

    fn parse(text: &str) -> Result<Rule, Invalid> {
        let [from, to, kind] = exactly("it", words(text)?)?;
        Ok(Rule { from: accessor(&from)?, to: Word::new(to), kind: To::parse(&kind)? })
    }
}

impl TypeConverterOptions {
    fn rules(&self) -> impl Iterator<Item = (From, &Rule)> {
        let of = |from| move |rule| (from, rule);
        let strings = self.str_key.iter().map(of(From::Str));
        let ints = self.int_key.iter().map(of(From::Int)).chain(self.uint_key.iter().map(of(From::Uint)));
        strings.chain(ints).chain(self.float_key.iter().map(of(From::Float)))
    }

    fn check(&self, reader: &mut Reader<'_>) {
        if self.rules().next().is_none() {
            let hint = Some("add str_key, int_key, uint_key or float_key".to_owned());
            reader.refuse("name", "there is no rule: nothing would be converted", hint);
        }
        for (from, rule) in self.rules() {
            let possible = match from {
                From::Str => rule.kind != To::String,
                From::Int => !matches!(rule.kind, To::Int | To::Hex | To::Bool),
                From::Uint => !matches!(rule.kind, To::Uint | To::Hex | To::Bool),
                From::Float => !matches!(rule.kind, To::Float | To::Hex | To::Bool),
            };
            if !possible {
                let name = match from {
                    From::Str => "str_key",
                    From::Int => "int_key",
                    From::Uint => "uint_key",
                    From::Float => "float_key",
                };
                let what =
                    format!("option \"{name}\": there is no conversion to {:?}", rule.kind).to_lowercase();
                reader.refuse(name, what, None);
            }
        }
    }
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Box<dyn Filter>> {
    Some(Box::new(TypeConverter { options: TypeConverterOptions::read(reader)? }))
}

#[derive(Clone)]
struct TypeConverter {
    options: TypeConverterOptions,
}

impl Filter for TypeConverter {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        for record in &mut window.records {
            // Every rule sees the record as it came.
            let converted = |(from, rule): (From, &Rule)| {
                let value = convert(from, rule.kind, &rule.from.find(record)?)?;
                Some(Entry { key: rule.to.value.clone(), value })
            };
            let converted: Vec<Entry<'_>> = self.options.rules().filter_map(converted).collect();
            if !converted.is_empty() {
                record.body_mut().extend(converted);
            }
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }
}

fn convert(from: From, to: To, value: &Raw<'_>) -> Option<Raw<'static>> {
    match (from, value.token()?) {
        (From::Str, Token::Str(_)) => of_text(value.as_str()?, to),
        (From::Int | From::Uint, Token::U64(number)) => of_integer(number as i64, number, to),
        (From::Int | From::Uint, Token::I64(number)) => of_integer(number, number as u64, to),
        (From::Float, Token::F32(number)) => of_float(f64::from(number), to),
        (From::Float, Token::F64(number)) => of_float(number, to),
        _ => None,
    }
}

fn of_text(text: &[u8], to: To) -> Option<Raw<'static>> {
    let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    match to {
        To::Int => number::int(text).map(|number| Raw::made(|out| msgpack::put_i64(out, number))),
        To::Uint => number::uint(text, 10).map(|number| Raw::made(|out| msgpack::put_u64(out, number))),
        To::Hex => number::uint(text, 16).map(|number| Raw::made(|out| msgpack::put_u64(out, number))),
        To::Float => {
            let number = number::float(text).unwrap_or(0.0);
            Some(Raw::made(|out| msgpack::put_f64(out, number)))
        }
        To::Bool if starts(b"true") => Some(Raw::Page(&[0xc3])),
        To::Bool if starts(b"false") => Some(Raw::Page(&[0xc2])),
        To::Bool | To::String => None,
    }
}

/// Both readings of the same bits, as Fluent Bit takes them.
fn of_integer(signed: i64, unsigned: u64, to: To) -> Option<Raw<'static>> {
    match to {
        To::String if signed < 0 || unsigned <= i64::MAX as u64 => Some(Raw::text(&signed.to_string())),
        To::String => Some(Raw::text(&unsigned.to_string())),
        To::Float => Some(Raw::made(|out| msgpack::put_f64(out, signed as f64))),
        To::Uint => Some(Raw::made(|out| msgpack::put_u64(out, unsigned))),
        To::Int => Some(Raw::made(|out| msgpack::put_i64(out, signed))),
        To::Hex | To::Bool => None,
    }
}

fn of_float(number: f64, to: To) -> Option<Raw<'static>> {
    match to {
        To::String => Some(Raw::text(&float_text(number, 16))),
        To::Int => Some(Raw::made(|out| msgpack::put_i64(out, number as i64))),
        To::Uint => Some(Raw::made(|out| msgpack::put_u64(out, number as u64))),
        To::Float | To::Hex | To::Bool => None,
    }
}
