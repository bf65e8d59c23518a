//! Times as the three services write them.
//!
//! Kusto counts 100 ns ticks and writes seven digits of a second; storage dates its answers as HTTP does and
//! its signatures to the second.

use time::format_description::BorrowedFormatItem;
use time::macros::{format_description, offset};
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

type Format = &'static [BorrowedFormatItem<'static>];

const TICKS: Format =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");
const SECONDS: Format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const AAD: Format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
const HTTP: Format =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// Current time in UTC.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Kusto's `datetime`: UTC with seven digits of a second.
pub(crate) fn ticks(at: OffsetDateTime) -> String {
    write(at, TICKS)
}

/// The `st` and `se` of a shared access signature.
pub(crate) fn seconds(at: OffsetDateTime) -> String {
    write(at, SECONDS)
}

/// The `timestamp` of a token endpoint's error.
pub(crate) fn aad(at: OffsetDateTime) -> String {
    write(at, AAD)
}

/// RFC 1123, for `Date`, `Last-Modified` and the queue's answers.
pub(crate) fn http(at: OffsetDateTime) -> String {
    write(at, HTTP)
}

fn write(at: OffsetDateTime, format: Format) -> String {
    // These formats name only parts each date has; formatting them into a String cannot fail.
    at.to_offset(UtcOffset::UTC).format(format).unwrap_or_default()
}

/// Reads the `st` or `se` of a shared access signature.
pub(crate) fn parse_seconds(text: &str) -> Option<OffsetDateTime> {
    PrimitiveDateTime::parse(text, SECONDS).ok().map(PrimitiveDateTime::assume_utc)
}

/// Reads a `datetime` out of a record: ISO 8601 with `T` or a blank, an optional fraction and an optional
/// offset (UTC when there is none). Digits beyond a tick are dropped, as the service does.
pub(crate) fn parse_datetime(text: &str) -> Option<OffsetDateTime> {
    const DATE: Format = format_description!("[year]-[month]-[day]");
    const TIME: Format = format_description!("[hour]:[minute]:[second]");
    let text = text.trim();
    let date = time::Date::parse(text.get(..10)?, DATE).ok()?;
    let Some(rest) = text.get(10..).filter(|rest| !rest.is_empty()) else {
        return Some(date.midnight().assume_utc());
    };
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let clock = time::Time::parse(rest.get(..8)?, TIME).ok()?;
    let (nanos, rest) = fraction(rest.get(8..)?)?;
    let at = PrimitiveDateTime::new(date, clock.replace_nanosecond(nanos).ok()?);
    let offset = parse_offset(rest)?;
    at.assume_offset(offset).checked_to_offset(UtcOffset::UTC)
}

fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(text) = text.strip_prefix('.') else { return Some((0, text)) };
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.is_empty() {
        return None;
    }
    let kept = &digits[..digits.len().min(7)];
    let ticks: u32 = format!("{kept:0<7}").parse().ok()?;
    Some((ticks * 100, rest))
}

fn parse_offset(text: &str) -> Option<UtcOffset> {
    const OFFSET: Format = format_description!("[offset_hour sign:mandatory]:[offset_minute]");
    match text {
        "" | "Z" | "z" => Some(offset!(UTC)),
        _ => UtcOffset::parse(text, OFFSET).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(text: &str) -> Option<String> {
        parse_datetime(text).map(ticks)
    }

    #[test]
    fn datetimes_become_utc_with_seven_digits() {
        let cases = [
            ("2026-11-23T20:41:07Z", "2026-11-23T20:41:07.0000000Z"),
            ("2026-11-23T20:41:07.5Z", "2026-11-23T20:41:07.5000000Z"),
            ("2026-11-23T20:41:07.123456789Z", "2026-11-23T20:41:07.1234567Z"),
            ("2026-11-23 20:41:07", "2026-11-23T20:41:07.0000000Z"),
            ("2026-11-23T20:41:07+02:00", "2026-11-23T18:41:07.0000000Z"),
            ("2026-11-23", "2026-11-23T00:00:00.0000000Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(normal(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_datetime_is_refused() {
        for text in
            ["", "x", "2026-13-01", "2026-11-23T", "2026-11-23T25:00:00Z", "2026-11-23T20:41:07.Z", "é"]
        {
            assert_eq!(normal(text), None, "{text}");
        }
    }

    #[test]
    fn signature_times_survive_a_round_trip() {
        let text = "2026-11-23T20:41:07Z";
        assert_eq!(parse_seconds(text).map(seconds).as_deref(), Some(text));
        assert_eq!(http(parse_seconds(text).unwrap()), "Mon, 23 Nov 2026 20:41:07 GMT");
    }
}
