//! Lines that are a JSON object.

use event::EventTime;

use super::decode::Decoders;
use super::fields::{Filling, as_str};
use super::{Fields, Stamp, Time, Unparsed};
use crate::json;

pub(super) fn read(
    line: &[u8],
    now: EventTime,
    stamp: Option<&Stamp>,
    decoders: &Decoders,
    fields: &mut Fields,
) -> Result<Time, Unparsed> {
    let mut found = None;
    let key = stamp.map(|stamp| stamp.raw.bytes());
    let rest = json::line(line, Filling::new(fields, key, &mut found))?.ok_or(Unparsed::NoMatch)?;
    if begins_value(rest) {
        return Err(Unparsed::NoMatch);
    }
    let decoded = decoders.apply(fields)?;
    let Some(stamp) = stamp else { return Ok(Time::Absent) };
    if decoded {
        found = fields.find(stamp.raw.bytes());
    }
    let Some(entry) = found else { return Ok(Time::Absent) };
    let value = &fields.bytes()[entry.start + stamp.raw.bytes().len()..entry.end];
    let Some(text) = as_str(value) else { return Ok(Time::Absent) };
    let time = stamp.read(text, now);
    if !stamp.keep && time != Time::Invalid {
        fields.remove(entry);
    }
    Ok(time)
}

/// Whether text behind an object is another value, so that the line is not one record.
pub(super) fn begins_value(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let word =
        |word: &[u8]| text.starts_with(word) && !text.get(word.len()).is_some_and(u8::is_ascii_alphanumeric);
    match text.first() {
        Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9') => true,
        Some(b't') => word(b"true"),
        Some(b'f') => word(b"false"),
        Some(b'n') => word(b"null"),
        _ => false,
    }
}
