//! When a server wants to be asked again.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::RETRY_AFTER;

/// The longest wait a server may ask for. Whatever it says, data must not lie here for days.
const LONGEST: Duration = Duration::from_secs(3600);

/// The `Retry-After` of a response: seconds, or a date (RFC 9110, section 10.2.3).
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    parse(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// Reads the value of the header. What is neither number nor date counts as absent; a date that is past is
/// now.
pub(crate) fn parse(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(LONGEST, |seconds| Duration::from_secs(seconds).min(LONGEST)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(now).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_bounded_and_anything_else_is_ignored() {
        let now = httpdate::parse_http_date("Mon, 23 Nov 2026 20:00:00 GMT").unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, expected) in [
            ("7", seconds(7)),
            (" 0 ", seconds(0)),
            ("99999999999999999999999", Some(LONGEST)),
            ("Mon, 23 Nov 2026 20:01:30 GMT", seconds(90)),
            ("Mon, 23 Nov 2026 19:00:00 GMT", seconds(0)),
            ("Mon, 23 Nov 2099 20:00:00 GMT", Some(LONGEST)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(parse(text, now), expected, "{text:?}");
        }
    }
}
