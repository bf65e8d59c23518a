//! Values as text that can be compared: those of records, and those of the recordings.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use formats::parser::Fields;
use serde_json::Value;

/// The entries as JSON text, in their order and with duplicates.
pub fn entries(fields: &Fields) -> String {
    let value = |bytes: &[u8]| show(&rmpv::decode::read_value(&mut &bytes[..]).unwrap());
    let entries: Vec<_> =
        fields.iter().map(|(key, found)| format!("{}: {}", value(key), value(found))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// A value in the same way.
pub fn show(value: &rmpv::Value) -> String {
    match value {
        rmpv::Value::Map(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|(key, value)| format!("{}: {}", show(key), show(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        rmpv::Value::Array(values) => {
            format!("[{}]", values.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        rmpv::Value::Nil => "null".to_owned(),
        rmpv::Value::F64(value) if value.is_nan() => "NaN".to_owned(),
        rmpv::Value::F64(value) => format!("{value:?}"),
        rmpv::Value::String(text) => {
            format!("{:?}", String::from_utf8_lossy(text.as_bytes()))
        }
        value => value.to_string(),
    }
}

/// The same for a value of the recording.
pub fn expected(value: &Value) -> String {
    match value {
        Value::Object(_) => unreachable!("objects are pairs, so that their order and duplicates are kept"),
        Value::Array(values) => match values.split_first() {
            Some((Value::String(kind), rest)) if kind == "map" => {
                let pairs: Vec<_> = rest
                    .iter()
                    .map(|pair| format!("{:?}: {}", pair[0].as_str().unwrap(), expected(&pair[1])))
                    .collect();
                format!("{{{}}}", pairs.join(", "))
            }
            Some((_, rest)) => format!("[{}]", rest.iter().map(expected).collect::<Vec<_>>().join(", ")),
            None => unreachable!("an array starts with what it is"),
        },
        Value::Number(number) if number.is_f64() => format!("{:?}", number.as_f64().unwrap()),
        Value::String(text) => match text.strip_prefix("float ") {
            Some("nan") => "NaN".to_owned(),
            Some(number) => format!("{:?}", number.parse::<f64>().unwrap()),
            None => format!("{:?}", text.strip_prefix("text ").unwrap()),
        },
        value => value.to_string(),
    }
}
