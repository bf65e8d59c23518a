//! Times as JSON values, in the forms of Fluent Bit's `json_date_format`.

use std::io::Write;

use event::EventTime;

/// A form of `json_date_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateFormat {
    /// Seconds with their fraction, rounded to microseconds: `1700000000.123456`.
    Double,
    /// `"2026-11-23T20:35:46.123456Z"`, cut to microseconds.
    Iso8601,
    /// Seconds: `1700000000`.
    Epoch,
    /// Milliseconds: `1700000000123`.
    EpochMs,
    /// `"2026-11-23 20:35:46.123456"`, cut to microseconds.
    JavaSqlTimestamp,
}

impl DateFormat {
    /// Appends the time as a JSON value, quotes included: at most 29 bytes.
    pub fn write(self, time: EventTime, out: &mut Vec<u8>) {
        let (year, month, day, hour, minute, second) = time.civil();
        let EventTime { seconds, nanoseconds } = time;
        let micros = nanoseconds / 1_000;
        // Writing to a vector cannot fail.
        let _ = match self {
            DateFormat::Double => return double(time, out),
            DateFormat::Epoch => write!(out, "{seconds}"),
            DateFormat::EpochMs => write!(out, "{}", u64::from(seconds) * 1_000 + u64::from(micros / 1_000)),
            DateFormat::Iso8601 => {
                write!(out, "\"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z\"")
            }
            DateFormat::JavaSqlTimestamp => {
                write!(out, "\"{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}\"")
            }
        };
    }
}

/// The digits that a double has for times of this century: ten before the point and six behind it, without
/// needless zeros but for one.
fn double(time: EventTime, out: &mut Vec<u8>) {
    let micros = u64::from(time.seconds) * 1_000_000 + (u64::from(time.nanoseconds) + 500) / 1_000;
    let (seconds, mut fraction) = (micros / 1_000_000, micros % 1_000_000);
    let mut digits = 6;
    while digits > 1 && fraction % 10 == 0 {
        fraction /= 10;
        digits -= 1;
    }
    // Writing to a vector cannot fail.
    let _ = write!(out, "{seconds}.{fraction:0digits$}");
}

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`, cut to milliseconds.
pub fn iso_millis(time: EventTime) -> [u8; 24] {
    let (year, month, day, hour, minute, second) = time.civil();
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let mut put = |range: std::ops::Range<usize>, mut value: u32| {
        for digit in text[range].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0..4, year as u32);
    put(5..7, month);
    put(8..10, day);
    put(11..13, hour);
    put(14..16, minute);
    put(17..19, second);
    put(20..23, time.nanoseconds / 1_000_000);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_format_is_that_of_fluent_bit() {
        let time = EventTime { seconds: 1_795_466_146, nanoseconds: 123_456_789 };
        for (format, expected) in [
            (DateFormat::Double, "1795466146.123457"),
            (DateFormat::Iso8601, "\"2026-11-23T20:35:46.123456Z\""),
            (DateFormat::Epoch, "1795466146"),
            (DateFormat::EpochMs, "1795466146123"),
            (DateFormat::JavaSqlTimestamp, "\"2026-11-23 20:35:46.123456\""),
        ] {
            let mut out = Vec::new();
            format.write(time, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
        assert_eq!(&iso_millis(time), b"2026-11-23T20:35:46.123Z");
        assert_eq!(&iso_millis(EventTime::default()), b"1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_double_has_no_needless_zeros_and_rounds_into_the_next_second() {
        for (nanoseconds, expected) in
            [(0, "17.0"), (500_000_000, "17.5"), (1_000, "17.000001"), (999_999_600, "18.0")]
        {
            let mut out = Vec::new();
            DateFormat::Double.write(EventTime { seconds: 17, nanoseconds }, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
