//! Time zones from the system's database, in its own format
//! ([RFC 9636](https://www.rfc-editor.org/rfc/rfc9636)).

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest file that is read. Those of the database have a few KB.
const FILE_BYTES: u64 = 1 << 20;

/// A zone with the history of its offsets. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Zone(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    /// From when on which type holds.
    transitions: Vec<(i64, usize)>,
    /// Seconds east of UTC.
    types: Vec<i32>,
    /// What holds before the first transition.
    first: usize,
    /// What holds after the last one.
    rule: Option<Rule>,
}

/// Standard and summer time by the calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    standard: i32,
    summer: Option<Summer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Summer {
    offset: i32,
    begin: (Day, i32),
    end: (Day, i32),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    /// Month, week (5 is the last one) and day of the week.
    Week(i64, i64, i64),
    /// Day of the year from 1, without February 29.
    Julian(i64),
    /// Day of the year from 0.
    Count(i64),
}

impl Zone {
    /// The zone of this name, for example `Europe/Berlin`.
    ///
    /// # Errors
    /// What is wrong: the name, or the file it stands for.
    pub fn named(name: &str) -> Result<Zone, String> {
        let part = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !name.split('/').all(part) {
            return Err(format!("\"{name}\" is not the name of a time zone"));
        }
        let folder = std::env::var_os("TZDIR").filter(|folder| !folder.is_empty());
        let folder = folder.map_or_else(|| PathBuf::from("/usr/share/zoneinfo"), PathBuf::from);
        Zone::file(&folder.join(name))
    }

    /// The zone of the system: `TZ`, or else `/etc/localtime`, or else UTC.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn system() -> Result<Zone, String> {
        let Ok(setting) = std::env::var("TZ") else {
            let path = Path::new("/etc/localtime");
            return if path.exists() { Zone::file(path) } else { Ok(Zone::utc()) };
        };
        let setting = setting.strip_prefix(':').unwrap_or(&setting);
        if setting.is_empty() {
            return Ok(Zone::utc());
        }
        if setting.starts_with('/') {
            return Zone::file(Path::new(setting));
        }
        Zone::named(setting).or_else(|why| match rule(setting) {
            Some(rule) => {
                Ok(Zone(Arc::new(Table { types: rule.offsets(), rule: Some(rule), ..Table::default() })))
            }
            None => Err(why),
        })
    }

    fn utc() -> Zone {
        Zone(Arc::new(Table { types: vec![0], ..Table::default() }))
    }

    fn file(path: &Path) -> Result<Zone, String> {
        let wrong = |why: &str| format!("{}: {why}", path.display());
        let size = std::fs::metadata(path).map_err(|error| wrong(&error.to_string()))?.len();
        if size > FILE_BYTES {
            return Err(wrong("too large for a time zone"));
        }
        let bytes = std::fs::read(path).map_err(|error| wrong(&error.to_string()))?;
        table(&bytes).map(|table| Zone(Arc::new(table))).ok_or_else(|| wrong("not a time zone file"))
    }

    /// Seconds east of UTC at this time.
    pub fn offset_at(&self, utc: i64) -> i32 {
        let table = &*self.0;
        let after = table.transitions.partition_point(|(from, _)| *from <= utc);
        if after == table.transitions.len()
            && let Some(rule) = &table.rule
        {
            return rule.offset_at(utc);
        }
        let index = after.checked_sub(1).map_or(table.first, |at| table.transitions[at].1);
        table.types.get(index).copied().unwrap_or(0)
    }

    /// Seconds since 1970 of a time on the clocks of this zone. What clocks show twice is taken as the offset
    /// that the database lists first; what they skip as if they had not been put forward.
    pub fn to_utc(&self, local: i64) -> i64 {
        let offsets = self.0.types.iter().map(|offset| i64::from(*offset));
        let mut candidates = offsets.map(|offset| (local - offset, offset));
        let found = candidates.find(|(utc, offset)| i64::from(self.offset_at(*utc)) == *offset);
        found.map_or_else(|| local - i64::from(self.offset_at(local)), |(utc, _)| utc)
    }
}

/// Reads big-endian numbers.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    fn u32(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        Some(u32::from_be_bytes(bytes) as usize)
    }
}

/// The counts of a header, in the order of the file.
struct Header {
    version: u8,
    ut: usize,
    standard: usize,
    leaps: usize,
    transitions: usize,
    types: usize,
    letters: usize,
}

impl Header {
    fn read(reader: &mut Reader<'_>) -> Option<Header> {
        let head = reader.take(20)?;
        let version = *head.strip_prefix(b"TZif")?.first()?;
        let mut next = || reader.u32().filter(|count| *count < 1 << 16);
        let (ut, standard, leaps) = (next()?, next()?, next()?);
        let (transitions, types, letters) = (next()?, next()?, next()?);
        Some(Header { version, ut, standard, leaps, transitions, types, letters })
    }

    /// Bytes of the data behind the transitions and types, whose times have `width` bytes.
    fn rest(&self, width: usize) -> usize {
        self.letters + self.leaps * (width + 4) + self.standard + self.ut
    }
}

fn table(bytes: &[u8]) -> Option<Table> {
    let mut reader = Reader(bytes);
    let mut header = Header::read(&mut reader)?;
    let mut width = 4;
    if header.version >= b'2' {
        // The same once more with wider times follows.
        reader.take(header.transitions * 5 + header.types * 6 + header.rest(4))?;
        header = Header::read(&mut reader)?;
        width = 8;
    }
    let times = reader.take(header.transitions * width)?.chunks_exact(width).map(|time| match *time {
        [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        _ => 0,
    });
    let indices = reader.take(header.transitions)?;
    let transitions: Vec<_> = times.zip(indices.iter().map(|index| usize::from(*index))).collect();
    let types = reader.take(header.types * 6)?.chunks_exact(6);
    let types: Vec<(i32, bool)> = types
        .map(|entry| (i32::from_be_bytes([entry[0], entry[1], entry[2], entry[3]]), entry[4] != 0))
        .collect();
    if types.is_empty() || transitions.iter().any(|(_, index)| *index >= types.len()) {
        return None;
    }
    reader.take(header.rest(width))?;
    let footer = std::str::from_utf8(reader.0).ok().and_then(|text| text.strip_prefix('\n'));
    let rule = footer.and_then(|text| rule(text.lines().next()?));
    let first = types.iter().position(|(_, summer)| !summer).unwrap_or(0);
    Some(Table { transitions, types: types.into_iter().map(|(offset, _)| offset).collect(), first, rule })
}

/// Reads a rule as POSIX writes it: `CET-1CEST,M3.5.0,M10.5.0/3`.
fn rule(text: &str) -> Option<Rule> {
    let text = after_name(text)?;
    let (standard, text) = clock(text)?;
    let standard = -standard;
    if text.is_empty() {
        return Some(Rule { standard, summer: None });
    }
    let text = after_name(text)?;
    let (offset, text) = match clock(text) {
        Some((offset, text)) => (-offset, text),
        None => (standard + 3600, text),
    };
    let (begin, text) = change(text.strip_prefix(',')?)?;
    let (end, text) = change(text.strip_prefix(',')?)?;
    text.is_empty().then_some(Rule { standard, summer: Some(Summer { offset, begin, end }) })
}

/// Passes over an abbreviation: letters, or anything within `<>`.
fn after_name(text: &str) -> Option<&str> {
    if let Some(quoted) = text.strip_prefix('<') {
        return quoted.split_once('>').map(|(_, rest)| rest);
    }
    let rest = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    (text.len() - rest.len() >= 3).then_some(rest)
}

fn digits(text: &str) -> Option<(i64, &str)> {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let value = text[..text.len() - rest.len()].parse().ok()?;
    Some((value, rest))
}

/// `[+-]hh[:mm[:ss]]` as seconds.
fn clock(text: &str) -> Option<(i32, &str)> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, mut rest) = digits(text)?;
    let mut seconds = hours * 3600;
    for unit in [60, 1] {
        let Some(behind) = rest.strip_prefix(':') else { break };
        let (value, behind) = digits(behind)?;
        seconds += value * unit;
        rest = behind;
    }
    Some((sign * i32::try_from(seconds).ok()?, rest))
}

/// A day and the seconds into it, two o'clock if it does not say.
fn change(text: &str) -> Option<((Day, i32), &str)> {
    let (day, rest) = if let Some(text) = text.strip_prefix('M') {
        let (month, rest) = digits(text)?;
        let (week, rest) = digits(rest.strip_prefix('.')?)?;
        let (day, rest) = digits(rest.strip_prefix('.')?)?;
        let valid = (1..=12).contains(&month) && (1..=5).contains(&week) && (0..=6).contains(&day);
        (valid.then_some(Day::Week(month, week, day))?, rest)
    } else if let Some(text) = text.strip_prefix('J') {
        let (day, rest) = digits(text)?;
        (Day::Julian(day), rest)
    } else {
        let (day, rest) = digits(text)?;
        (Day::Count(day), rest)
    };
    match rest.strip_prefix('/') {
        Some(rest) => clock(rest).map(|(seconds, rest)| ((day, seconds), rest)),
        None => Some(((day, 7200), rest)),
    }
}

impl Rule {
    fn offsets(&self) -> Vec<i32> {
        std::iter::once(self.standard).chain(self.summer.as_ref().map(|summer| summer.offset)).collect()
    }

    fn offset_at(&self, utc: i64) -> i32 {
        let Some(summer) = &self.summer else { return self.standard };
        let year = year_of(utc + i64::from(self.standard));
        let start = summer.begin.0.seconds(year) + i64::from(summer.begin.1) - i64::from(self.standard);
        let end = summer.end.0.seconds(year) + i64::from(summer.end.1) - i64::from(summer.offset);
        // South of the equator summer goes over the turn of the year.
        let within = if start < end { (start..end).contains(&utc) } else { !(end..start).contains(&utc) };
        if within { summer.offset } else { self.standard }
    }
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970 to the first of January.
fn days_to(year: i64) -> i64 {
    let before = year - 1;
    365 * (year - 1970) + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400) - 477
}

fn year_of(seconds: i64) -> i64 {
    let days = seconds.div_euclid(86_400);
    let mut year = 1970 + days.div_euclid(366);
    while days_to(year + 1) <= days {
        year += 1;
    }
    year
}

impl Day {
    /// Seconds from 1970 to the start of the day in this year, on its own clocks.
    fn seconds(self, year: i64) -> i64 {
        let start = days_to(year);
        let days = match self {
            Day::Count(day) => start + day,
            Day::Julian(day) => start + day - 1 + i64::from(leap(year) && day > 59),
            Day::Week(month, week, day) => {
                let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
                let month = month as usize - 1;
                let first = start + lengths[..month].iter().sum::<i64>();
                // 1970 began on a Thursday.
                let weekday = (first + 4).rem_euclid(7);
                let offset = (day - weekday).rem_euclid(7) + 7 * (week - 1);
                first + if offset >= lengths[month] { offset - 7 } else { offset }
            }
        };
        days * 86_400
    }
}
