//! Event time: seconds and nanoseconds since 1970, as Fluent Bit's EventTime carries them.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds and nanoseconds since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct EventTime {
    /// Seconds. On the wire they are unsigned 32 bits, so dates run until 2106.
    pub seconds: u32,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
}

impl EventTime {
    /// The time of the system's clock.
    pub fn now() -> EventTime {
        // A clock before 1970 is a broken clock; records still need a time.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        EventTime { seconds: since.as_secs() as u32, nanoseconds: since.subsec_nanos() }
    }

    /// The msgpack form: ext type 0 of 8 bytes, both numbers big endian.
    pub fn to_msgpack(self) -> [u8; 10] {
        let mut bytes = [0xd7, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes[2..6].copy_from_slice(&self.seconds.to_be_bytes());
        bytes[6..10].copy_from_slice(&self.nanoseconds.to_be_bytes());
        bytes
    }

    /// Reads the eight bytes of the ext value.
    pub fn from_ext(bytes: [u8; 8]) -> EventTime {
        let [a, b, c, d, e, f, g, h] = bytes;
        EventTime { seconds: u32::from_be_bytes([a, b, c, d]), nanoseconds: u32::from_be_bytes([e, f, g, h]) }
    }

    /// Year, month, day, hour, minute, second in UTC.
    pub fn civil(self) -> (i64, u32, u32, u32, u32, u32) {
        let days = i64::from(self.seconds / 86_400);
        let second = self.seconds % 86_400;
        // Days to date in the proleptic Gregorian calendar, counted in eras of 400 years from 0000-03-01.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        (year, month, day, second / 3_600, second / 60 % 60, second % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn civil_dates_are_right_at_the_edges() {
        let at = |seconds| EventTime { seconds, nanoseconds: 0 }.civil();
        assert_eq!(at(0), (1970, 1, 1, 0, 0, 0));
        assert_eq!(at(951_782_399), (2000, 2, 28, 23, 59, 59));
        assert_eq!(at(951_782_400), (2000, 2, 29, 0, 0, 0));
        assert_eq!(at(1_795_000_000), (2026, 11, 18, 11, 6, 40));
        assert_eq!(at(u32::MAX), (2106, 2, 7, 6, 28, 15));
    }
}
