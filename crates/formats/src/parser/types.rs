//! Values that are more than text.

use budget::Full;
use options::{Invalid, Kind, Value};

use super::Fields;
use super::fields::put_str;

/// Keys and the type of their values.
#[derive(Debug, Default, Clone)]
pub struct Types(Vec<(String, Type, String)>);

/// What a text is turned into.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    #[default]
    Text,
    Integer,
    Float,
    Hex,
    Bool,
}

impl Value for Types {
    const KIND: Kind = Kind::Other("key:type ...");

    fn parse(text: &str) -> Result<Types, Invalid> {
        let pair = |word: &str| {
            let (key, name) = word.split_once(':')?;
            let kind = match name.to_ascii_lowercase().as_str() {
                "integer" => Type::Integer,
                "float" => Type::Float,
                "hex" => Type::Hex,
                "bool" => Type::Bool,
                _ => Type::Text,
            };
            Some((key.to_owned(), kind, name.to_owned()))
        };
        let pairs = text.split_whitespace().map(|word| {
            pair(word).ok_or_else(|| Invalid::not(word, "a key and a type").hint("write key:integer"))
        });
        pairs.collect::<Result<_, _>>().map(Types)
    }
}

impl Types {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names that are no type.
    pub(super) fn unknown(&self) -> impl Iterator<Item = String> {
        let plain = |name: &str| name.eq_ignore_ascii_case("string");
        let unknown = self.0.iter().filter(move |(_, kind, name)| *kind == Type::Text && !plain(name));
        unknown.map(|(key, _, name)| format!("\"{name}\" of \"{key}\""))
    }

    pub(super) fn of(&self, key: &[u8]) -> Type {
        self.0.iter().find(|(name, ..)| name.as_bytes() == key).map_or(Type::Text, |(_, kind, _)| *kind)
    }

    /// Appends an entry with the type of its key.
    pub(super) fn append(&self, key: &[u8], text: &[u8], fields: &mut Fields) -> Result<(), Full> {
        match self.of(key) {
            Type::Text => fields.text(key, text),
            kind => kind.typed(key, text, fields),
        }
    }
}

impl Type {
    /// Appends an entry; `key` is msgpack.
    #[inline]
    pub(super) fn append(self, key: &[u8], text: &[u8], fields: &mut Fields) -> Result<(), Full> {
        let mut bytes = [0; 9];
        match self.value(text, &mut bytes) {
            Some(size) => fields.entry(key, &bytes[..size]),
            None => fields.value(key, text),
        }
    }

    fn typed(self, key: &[u8], text: &[u8], fields: &mut Fields) -> Result<(), Full> {
        let mut bytes = [0; 9];
        match self.value(text, &mut bytes) {
            Some(size) => fields.key(key, &bytes[..size]),
            None => fields.text(key, text),
        }
    }

    /// The value as msgpack and how many bytes it has; `None` if it stays text.
    fn value(self, text: &[u8], bytes: &mut [u8; 9]) -> Option<usize> {
        let mut number = |code: u8, value: [u8; 8]| {
            bytes[0] = code;
            bytes[1..].copy_from_slice(&value);
            9
        };
        match self {
            Type::Text => None,
            Type::Float => Some(number(0xcb, float(text).to_be_bytes())),
            Type::Integer => {
                let (packed, size) = crate::json::signed(integer(text));
                *bytes = packed;
                Some(size)
            }
            Type::Hex => {
                let (packed, size) = crate::json::unsigned(hex(text));
                *bytes = packed;
                Some(size)
            }
            Type::Bool => {
                let begins = |word: &[u8]| {
                    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
                };
                let truth = if begins(b"true") { Some(0xc3) } else { begins(b"false").then_some(0xc2) };
                bytes[0] = truth?;
                Some(1)
            }
        }
    }
}

/// Without blanks in front and the sign: whether it is negative, and the rest.
fn signed(text: &[u8]) -> (bool, &[u8]) {
    let text = text.trim_ascii_start();
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

/// The whole number that a text begins with; the nearest there is if it is too large, 0 if there is none.
fn integer(text: &[u8]) -> i64 {
    let (negative, digits) = signed(text);
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0_i64, |value, digit| {
        let digit = i64::from(digit - b'0');
        value.saturating_mul(10).saturating_add(if negative { -digit } else { digit })
    })
}

/// As [`integer`], in hexadecimal digits and with `0x` in front or not.
fn hex(text: &[u8]) -> u64 {
    let (negative, digits) = signed(text);
    let bare = digits.strip_prefix(b"0x").or_else(|| digits.strip_prefix(b"0X"));
    let digits = bare.filter(|rest| rest.first().is_some_and(u8::is_ascii_hexdigit)).unwrap_or(digits);
    let mut value = 0_u64;
    for digit in digits.iter().map_while(|byte| char::from(*byte).to_digit(16)) {
        let Some(next) = value.checked_mul(16) else { return u64::MAX };
        value = next + u64::from(digit);
    }
    if negative { value.wrapping_neg() } else { value }
}

/// The number that a text begins with, 0 if there is none.
fn float(text: &[u8]) -> f64 {
    let (negative, rest) = signed(text);
    let value = magnitude(rest);
    if negative { -value } else { value }
}

fn magnitude(text: &[u8]) -> f64 {
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if begins(b"inf") {
        return f64::INFINITY;
    }
    if begins(b"nan") {
        return f64::NAN;
    }
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut end = whole;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        end += if whole + fraction > 0 { 1 + fraction } else { 0 };
    }
    if let Some(b'e' | b'E') = text.get(end)
        && end > 0
    {
        let from = end + 1 + usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = if from <= text.len() { digits(from) } else { 0 };
        end = if exponent > 0 { from + exponent } else { end };
    }
    std::str::from_utf8(&text[..end]).ok().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

impl Fields {
    /// Appends an entry whose key is text and whose value is msgpack.
    pub(super) fn key(&mut self, key: &[u8], value: &[u8]) -> Result<(), Full> {
        self.out.ensure(key.len() + value.len() + 5)?;
        put_str(&mut self.out, key)?;
        self.out.extend(value)?;
        self.count();
        Ok(())
    }
}
