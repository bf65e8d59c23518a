//! One JSON value into one column, by the column's type.
//!
//! After "Scalar data types", "Data mappings" and "JSON mapping": a value which does not fit becomes null and
//! the record stays; the caller writes down why. `string` has no null in Kusto: a missing one is "".
//! `dynamic` keeps the client's text, so no digit of a number is lost.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::schema::ColumnType;
use crate::{limits, secrets, stamp};

/// What a column without a value holds.
pub(crate) fn missing(kind: ColumnType) -> &'static str {
    if kind == ColumnType::String { "\"\"" } else { "null" }
}

/// JSON text to store for `raw` in a column of type `kind`. An error says why null is stored instead.
pub(crate) fn store(kind: ColumnType, raw: &RawValue) -> Result<Cow<'_, str>, String> {
    let text = raw.get();
    if text == "null" {
        return Ok(Cow::Borrowed(missing(kind)));
    }
    match kind {
        ColumnType::Dynamic => dynamic(text),
        ColumnType::String => string(text),
        ColumnType::Datetime => {
            let value = unquote(text)?;
            let at = stamp::parse_datetime(&value).ok_or_else(|| not_a(kind, text))?;
            Ok(Cow::Owned(format!("\"{}\"", stamp::ticks(at))))
        }
        ColumnType::Guid => {
            let value = unquote(text)?;
            let fits = secrets::is_guid(&value);
            fits.then(|| Cow::Owned(format!("\"{}\"", value.to_ascii_lowercase())))
                .ok_or_else(|| not_a(kind, text))
        }
        ColumnType::Bool => match &*unquote_or_same(text)? {
            "true" | "True" | "1" => Ok(Cow::Borrowed("true")),
            "false" | "False" | "0" => Ok(Cow::Borrowed("false")),
            _ => Err(not_a(kind, text)),
        },
        ColumnType::Int => number::<i32>(kind, text),
        ColumnType::Long => number::<i64>(kind, text),
        ColumnType::Real => match &*unquote_or_same(text)? {
            "NaN" => Ok(Cow::Borrowed("\"NaN\"")),
            _ => real(text),
        },
    }
}

fn dynamic(text: &str) -> Result<Cow<'_, str>, String> {
    if text.len() > limits::DYNAMIC_BYTES {
        return Err(format!("a dynamic value of {} bytes is over 1 MiB", text.len()));
    }
    // Line breaks stand only between tokens (inside strings JSON forbids them); a stored row is one line.
    if text.contains(['\n', '\r']) {
        Ok(Cow::Owned(text.replace(['\n', '\r'], " ")))
    } else {
        Ok(text.into())
    }
}

fn string(text: &str) -> Result<Cow<'_, str>, String> {
    if text.len() > limits::STRING_BYTES {
        let value = unquote_or_same(text)?;
        let mut end = value.len().min(limits::STRING_BYTES);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        return quote(&value[..end]);
    }
    if text.starts_with('"') { Ok(text.into()) } else { quote(text) }
}

fn number<T: std::str::FromStr + std::fmt::Display>(
    kind: ColumnType,
    text: &str,
) -> Result<Cow<'_, str>, String> {
    let value = unquote_or_same(text)?;
    value.parse::<T>().map(|number| Cow::Owned(number.to_string())).map_err(|_| not_a(kind, text))
}

/// A real stays the client's text when JSON allows it as a number.
fn real(text: &str) -> Result<Cow<'_, str>, String> {
    let value = unquote_or_same(text)?;
    let number: serde_json::Number =
        serde_json::from_str(&value).map_err(|_| not_a(ColumnType::Real, text))?;
    Ok(Cow::Owned(number.to_string()))
}

fn quote(value: &str) -> Result<Cow<'static, str>, String> {
    serde_json::to_string(value).map(Cow::Owned).map_err(|error| error.to_string())
}

fn unquote(text: &str) -> Result<Cow<'_, str>, String> {
    serde_json::from_str(text).map(Cow::Owned).map_err(|_| format!("{} is no string", shown(text)))
}

fn unquote_or_same(text: &str) -> Result<Cow<'_, str>, String> {
    if text.starts_with('"') { unquote(text) } else { Ok(text.into()) }
}

fn not_a(kind: ColumnType, text: &str) -> String {
    format!("{} is no {}", shown(text), kind.name())
}

/// The beginning of a value, for a complaint.
fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(40).collect();
    if start.len() < text.len() {
        start.push_str("...");
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(kind: ColumnType, json: &str) -> Option<String> {
        let raw: Box<RawValue> = serde_json::from_str(json).unwrap();
        store(kind, &raw).ok().map(Cow::into_owned)
    }

    #[test]
    fn values_are_stored_by_the_type_of_their_column() {
        let cases = [
            (ColumnType::String, r#""a\"b""#, Some(r#""a\"b""#)),
            (ColumnType::String, "12", Some(r#""12""#)),
            (ColumnType::String, "null", Some(r#""""#)),
            (ColumnType::Long, "9223372036854775807", Some("9223372036854775807")),
            (ColumnType::Long, "9223372036854775808", None),
            (ColumnType::Long, r#""12""#, Some("12")),
            (ColumnType::Int, "2147483648", None),
            (ColumnType::Real, "1.5", Some("1.5")),
            (ColumnType::Real, r#""NaN""#, Some(r#""NaN""#)),
            (ColumnType::Real, r#""x""#, None),
            (ColumnType::Bool, "1", Some("true")),
            (ColumnType::Bool, "2", None),
            (ColumnType::Datetime, r#""2026-11-23T20:41:07.5Z""#, Some(r#""2026-11-23T20:41:07.5000000Z""#)),
            (ColumnType::Datetime, "1700000000", None),
            (
                ColumnType::Guid,
                r#""A0000000-0000-0000-0000-00000000000F""#,
                Some(r#""a0000000-0000-0000-0000-00000000000f""#),
            ),
            (ColumnType::Dynamic, "null", Some("null")),
        ];
        for (kind, json, expected) in cases {
            assert_eq!(stored(kind, json).as_deref(), expected, "{kind:?} {json}");
        }
    }

    #[test]
    fn dynamic_keeps_every_digit_and_becomes_one_line() {
        let json = "{\"n\": 18446744073709551617.10,\n\"a\": [1]}";
        assert_eq!(
            stored(ColumnType::Dynamic, json).unwrap(),
            "{\"n\": 18446744073709551617.10, \"a\": [1]}"
        );
    }

    #[test]
    fn a_dynamic_value_over_one_mebibyte_is_refused() {
        let json = format!("\"{}\"", "x".repeat(limits::DYNAMIC_BYTES));
        assert_eq!(stored(ColumnType::Dynamic, &json), None);
    }
}
