//! Times in text, by a `time_format` as strptime reads it.
//!
//! | | |
//! |---|---|
//! | `%Y` `%y` `%C` | year; of the century (69 and above are 19xx); century |
//! | `%m` `%b` `%B` `%h` | month as number, as English name or its first three letters |
//! | `%d` `%e` `%j` | day of the month (`%e` may have a blank in front); of the year |
//! | `%a` `%A` `%u` `%w` | day of the week, which decides nothing |
//! | `%H` `%k` `%I` `%l` `%p` | hour, of 24 or of 12 with AM and PM |
//! | `%M` `%S` | minute, second |
//! | `%L` `%N` | fraction of the second, up to nine digits |
//! | `%s` | seconds since 1970 |
//! | `%z` | `Z`, `UTC`, `GMT`, `+hh:mm`, `+hhmm`, `+hh`, `EST` and the like |
//! | `%Z` | an abbreviation such as `CET` |
//! | `%F` `%T` `%R` `%D` `%r` `%c` | `%Y-%m-%d`, `%H:%M:%S`, `%H:%M`, `%m/%d/%y`, `%I:%M:%S %p`, `%a %b %e %H:%M:%S %Y` |
//! | `%n` `%t`, a blank | any blanks, or none |
//! | `%%`, anything else | itself |
//!
//! What follows in the text behind the last of them is not looked at. Without a year the current one is taken,
//! and then today where there is no day.

mod strptime;
mod zone;

use event::EventTime;

pub use zone::Zone;

use strptime::{Item, Tm};

/// How the time of a record is read.
#[derive(Debug)]
pub struct TimeFormat {
    before: Vec<Item>,
    /// What follows a fraction, if there is one.
    after: Option<Vec<Item>>,
    with_year: bool,
    with_zone: bool,
    strict: bool,
    place: Place,
}

/// Where a time is that does not say so itself.
#[derive(Debug, Clone)]
pub enum Place {
    /// Seconds east of UTC.
    Offset(i32),
    /// A zone with its rules.
    Zone(Zone),
}

impl TimeFormat {
    /// Reads a format. Also answers a conversion that is unknown, with which no time ever matches.
    pub fn new(format: &str, strict: bool, place: Place) -> (TimeFormat, Option<String>) {
        let cut = [format.find("%L"), format.find("%N")].into_iter().flatten().min();
        let (before, after) = match cut {
            Some(at) => (&format[..at], Some(&format[at + 2..])),
            None => (format, None),
        };
        let has = |what: &str| format.contains(what);
        let with_year = has("%Y") || has("%y") || has("%s");
        let with_zone = has("%z") || has("%Z") || has("%SZ") || has("%S.%LZ") || has("%S.%NZ");
        let mut unknown = None;
        let mut items = |text: &str| strptime::items(text, &mut unknown);
        let (before, after) = (items(before), after.map(&mut items));
        (TimeFormat { before, after, with_year, with_zone, strict, place }, unknown)
    }

    /// Reads a time. `now` gives the year, and the day, that the text may lack.
    ///
    /// `None` when the text does not match. When the format is not strict, what was read up to there counts.
    pub fn read(&self, text: &[u8], now: EventTime) -> Option<EventTime> {
        let mut tm = Tm::default();
        if !self.with_year {
            self.today(&mut tm, now);
        }
        let fraction = match self.whole(text, &mut tm) {
            Some(fraction) => fraction,
            None if self.strict => return None,
            None => 0.0,
        };
        let seconds = self.seconds(&tm);
        // Seconds are unsigned 32 bits on the wire.
        let seconds = u32::try_from(seconds).ok()?;
        // The same arithmetic as Fluent Bit's, which may be a nanosecond short.
        Some(EventTime { seconds, nanoseconds: (fraction * 1e9) as u32 })
    }

    /// Everything in its order; what was read before something does not match stays read.
    fn whole(&self, text: &[u8], tm: &mut Tm) -> Option<f64> {
        let mut rest = text;
        strptime::read(&self.before, &mut rest, tm)?;
        let Some(after) = &self.after else { return Some(0.0) };
        let fraction = strptime::fraction(&mut rest)?;
        strptime::read(after, &mut rest, tm)?;
        Some(fraction)
    }

    fn today(&self, tm: &mut Tm, now: EventTime) {
        let shift = match &self.place {
            Place::Zone(zone) if !self.with_zone => zone.offset_at(i64::from(now.seconds)),
            _ => 0,
        };
        let seconds = (i64::from(now.seconds) + i64::from(shift)).clamp(0, i64::from(u32::MAX)) as u32;
        let (year, month, day, ..) = EventTime { seconds, nanoseconds: 0 }.civil();
        tm.set_date(year as i32, month as i32 - 1, day as i32);
    }

    fn seconds(&self, tm: &Tm) -> i64 {
        let local = tm.local_seconds();
        match &self.place {
            _ if self.with_zone => local - i64::from(tm.offset),
            Place::Offset(offset) => local - i64::from(*offset),
            Place::Zone(zone) => zone.to_utc(local),
        }
    }
}

/// Reads a `time_offset` such as `+0200` or `-05:30`, or `Z`.
pub fn offset(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let (sign, digits) = match bytes.split_first()? {
        (b'Z', _) => return Some(0),
        (b'+', digits) => (1, digits),
        (b'-', digits) => (-1, digits),
        _ => return None,
    };
    let number = |pair: &[u8]| match pair {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9'] => {
            Some(i32::from(tens - b'0') * 10 + i32::from(ones - b'0'))
        }
        _ => None,
    };
    let (hours, minutes) = match digits {
        [hours @ .., b':', a, b] => (hours, [*a, *b]),
        [hours @ .., a, b] => (hours, [*a, *b]),
        _ => return None,
    };
    let (hours, minutes) = (number(hours)?, number(&minutes)?);
    (hours < 60 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}
