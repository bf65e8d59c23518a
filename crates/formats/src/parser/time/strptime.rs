//! The conversions of a time format, one by one.

/// One step of a format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    /// Blanks, or none.
    Blanks,
    /// This byte.
    Byte(u8),
    /// What stands for this letter.
    Field(u8),
    /// Nothing matches: the letter is unknown.
    Never,
}

/// A date and time as far as it was read. Months count from 0.
#[derive(Debug, Clone, Default)]
pub(super) struct Tm {
    year: i32,
    month: i32,
    day: i32,
    hour: i32,
    minute: i32,
    second: i32,
    /// Seconds east of UTC.
    pub(super) offset: i32,
    century: Option<i32>,
    year_of_century: Option<i32>,
    day_of_year: Option<i32>,
    has_month: bool,
    has_day: bool,
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Takes a format apart. `unknown` gets the first conversion there is none of.
pub(super) fn items(format: &str, unknown: &mut Option<String>) -> Vec<Item> {
    let mut items = Vec::new();
    let mut bytes = format.bytes();
    while let Some(byte) = bytes.next() {
        if blank(byte) {
            items.push(Item::Blanks);
            continue;
        }
        if byte != b'%' {
            items.push(Item::Byte(byte));
            continue;
        }
        // `%E` and `%O` ask for another calendar or other digits, which no log has.
        let letter = bytes.by_ref().find(|letter| !matches!(letter, b'E' | b'O'));
        let parts = match letter {
            Some(b'%') => {
                items.push(Item::Byte(b'%'));
                continue;
            }
            Some(b'F') => "%Y-%m-%d",
            Some(b'T' | b'X') => "%H:%M:%S",
            Some(b'R') => "%H:%M",
            Some(b'D' | b'x') => "%m/%d/%y",
            Some(b'r') => "%I:%M:%S %p",
            Some(b'c') => "%a %b %e %H:%M:%S %Y",
            Some(letter) if b"aAbBhCdegGHIjklmMnpSstuUVwWyYzZ".contains(&letter) => {
                items.push(Item::Field(letter));
                continue;
            }
            letter => {
                let letter = letter.map(char::from).map(String::from).unwrap_or_default();
                unknown.get_or_insert_with(|| format!("%{letter}"));
                items.push(Item::Never);
                continue;
            }
        };
        items.extend(self::items(parts, unknown));
    }
    items
}

fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn skip_blanks(text: &mut &[u8]) {
    *text = text.trim_ascii_start();
    // A vertical tab is blank here, too.
    while let Some((0x0b, rest)) = text.split_first() {
        *text = rest.trim_ascii_start();
    }
}

/// Reads the text by the items. `None` where one does not match; `tm` keeps what was read.
pub(super) fn read(items: &[Item], text: &mut &[u8], tm: &mut Tm) -> Option<()> {
    for item in items {
        match item {
            Item::Blanks => skip_blanks(text),
            Item::Byte(byte) => *text = text.strip_prefix(&[*byte])?,
            Item::Field(_) if text.is_empty() => return None,
            Item::Field(letter) => tm.field(*letter, text)?,
            Item::Never => return None,
        }
    }
    tm.complete();
    Some(())
}

/// Up to nine digits of a fraction.
pub(super) fn fraction(text: &mut &[u8]) -> Option<f64> {
    let digits = text.iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
    let (read, rest) = text.split_at(digits);
    *text = rest;
    let value = read.iter().fold(0_u32, |value, digit| value * 10 + u32::from(digit - b'0'));
    (digits > 0).then(|| f64::from(value) / f64::from(10_u32.pow(digits as u32)))
}

/// A number that is at most `most`: as many digits as it can have.
fn number(text: &mut &[u8], least: i32, most: i32) -> Option<i32> {
    let mut value = 0;
    let mut left = most;
    let mut rest = *text;
    while let Some((digit @ b'0'..=b'9', behind)) = rest.split_first()
        && left > 0
        && value * 10 <= most
    {
        value = value * 10 + i32::from(digit - b'0');
        left /= 10;
        rest = behind;
    }
    let some = rest.len() < text.len() && (least..=most).contains(&value);
    *text = rest;
    some.then_some(value)
}

/// One of the names, whole or its first three letters; which.
fn name(text: &mut &[u8], names: &[&str]) -> Option<i32> {
    let starts =
        |name: &str| text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()));
    let (index, len) = names.iter().enumerate().find_map(|(index, name)| {
        let found = [*name, &name[..3]].into_iter().find(|form| starts(form))?;
        Some((index as i32, found.len()))
    })?;
    *text = &text[len..];
    Some(index)
}

impl Tm {
    /// Sets the date that counts where the text says nothing else.
    pub(super) fn set_date(&mut self, year: i32, month: i32, day: i32) {
        (self.year, self.month, self.day) = (year, month, day);
    }

    fn field(&mut self, letter: u8, text: &mut &[u8]) -> Option<()> {
        match letter {
            b'Y' => (self.year, self.year_of_century) = (number(text, 0, 9999)?, None),
            b'y' => self.year_of_century = Some(number(text, 0, 99)?),
            b'C' => self.century = Some(number(text, 0, 99)?),
            b'm' => self.set_month(number(text, 1, 12)? - 1),
            b'b' | b'B' | b'h' => self.set_month(name(text, &MONTHS)?),
            b'd' | b'e' => {
                if letter == b'e' && blank(*text.first()?) {
                    *text = &text[1..];
                }
                (self.day, self.has_day) = (number(text, 1, 31)?, true);
            }
            b'j' => self.day_of_year = Some(number(text, 1, 366)? - 1),
            b'H' | b'k' => self.hour = number(text, 0, 23)?,
            b'I' | b'l' => self.hour = number(text, 1, 12)?,
            b'p' => self.half_of_day(text)?,
            b'M' => self.minute = number(text, 0, 59)?,
            b'S' => self.second = number(text, 0, 60)?,
            b's' => self.epoch(text)?,
            b'z' => self.offset = zone_offset(text)?,
            b'Z' => self.offset = abbreviation(text)?,
            _ => return without_effect(letter, text),
        }
        Some(())
    }

    fn set_month(&mut self, month: i32) {
        (self.month, self.has_month) = (month, true);
    }

    fn half_of_day(&mut self, text: &mut &[u8]) -> Option<()> {
        let half = text.get(..2)?;
        let after_noon = half.eq_ignore_ascii_case(b"PM");
        if self.hour > 12 || !(after_noon || half.eq_ignore_ascii_case(b"AM")) {
            return None;
        }
        self.hour = self.hour % 12 + if after_noon { 12 } else { 0 };
        *text = &text[2..];
        Some(())
    }

    fn epoch(&mut self, text: &mut &[u8]) -> Option<()> {
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let seconds: u32 = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
        let time = event::EventTime { seconds, nanoseconds: 0 };
        let (year, month, day, hour, minute, second) = time.civil();
        self.set_date(year as i32, month as i32 - 1, day as i32);
        (self.hour, self.minute, self.second) = (hour as i32, minute as i32, second as i32);
        (self.has_month, self.has_day, self.offset) = (true, true, 0);
        *text = &text[digits..];
        Some(())
    }

    /// Works out the year from its parts and the date from the day of the year.
    fn complete(&mut self) {
        if let Some(year) = self.year_of_century {
            self.year = match self.century {
                Some(century) => century * 100 + year,
                None if year <= 68 => 2000 + year,
                None => 1900 + year,
            };
        }
        // January has as many days as the year: the sum below does not mind.
        if let Some(day) = self.day_of_year
            && !self.has_month
            && !self.has_day
        {
            (self.month, self.day) = (0, day + 1);
        }
    }

    /// Seconds since 1970, as if the place were on UTC. Days may be outside their month.
    pub(super) fn local_seconds(&self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month < 2);
        let month = i64::from((self.month + 10) % 12);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        let time = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        days * 86_400 + time
    }
}

/// What is read and decides nothing: weeks, days of the week, blanks.
fn without_effect(letter: u8, text: &mut &[u8]) -> Option<()> {
    match letter {
        b'a' | b'A' => name(text, &DAYS).map(drop),
        b'U' | b'W' | b'V' => number(text, 0, 53).map(drop),
        b'w' => number(text, 0, 6).map(drop),
        b'u' => number(text, 1, 7).map(drop),
        b'g' => number(text, 0, 99).map(drop),
        b'G' => number(text, 0, 9999).map(drop),
        _ => {
            skip_blanks(text);
            Some(())
        }
    }
}

/// `Z`, `UTC`, `UT`, `GMT`, `+hh`, `+hhmm`, `+hh:mm`, or one of the North American zones.
fn zone_offset(text: &mut &[u8]) -> Option<i32> {
    skip_blanks(text);
    for (form, hours) in [
        ("GMT", 0),
        ("UTC", 0),
        ("UT", 0),
        ("Z", 0),
        ("EST", -5),
        ("CST", -6),
        ("MST", -7),
        ("PST", -8),
        ("EDT", -4),
        ("CDT", -5),
        ("MDT", -6),
        ("PDT", -7),
    ] {
        // Those of America in any case, the others as they are.
        let start = text.get(..form.len());
        if start.is_some_and(|start| {
            start == form.as_bytes() || hours != 0 && start.eq_ignore_ascii_case(form.as_bytes())
        }) {
            *text = &text[form.len()..];
            return Some(hours * 3600);
        }
    }
    let (sign, rest) = match text.split_first()? {
        (b'+', rest) => (1, rest),
        (b'-', rest) => (-1, rest),
        _ => return None,
    };
    let (hours, rest) = two_digits(rest)?;
    let rest = rest.strip_prefix(b":").unwrap_or(rest);
    let (minutes, rest) =
        if rest.first().is_some_and(u8::is_ascii_digit) { two_digits(rest)? } else { (0, rest) };
    *text = rest;
    Some(sign * (hours * 3600 + minutes * 60))
}

fn two_digits(text: &[u8]) -> Option<(i32, &[u8])> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
            Some((i32::from(tens - b'0') * 10 + i32::from(ones - b'0'), rest))
        }
        _ => None,
    }
}

/// Abbreviations of zones and their minutes east of UTC. Where two places share one, that of Fluent Bit.
const ABBREVIATIONS: &[(&str, i32)] = &[
    ("GMT", 0),
    ("UTC", 0),
    ("UT", 0),
    ("Z", 0),
    ("EST", -300),
    ("EDT", -240),
    ("CST", -360),
    ("CDT", -300),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("AKST", -540),
    ("AKDT", -480),
    ("HST", -600),
    ("HADT", -540),
    ("AST", -240),
    ("ADT", -180),
    ("NST", -210),
    ("NDT", -150),
    ("WET", 0),
    ("WEST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("MSK", 180),
    ("ART", -180),
    ("BRT", -180),
    ("BRST", -120),
    ("CLT", -240),
    ("CLST", -180),
    ("AEST", 600),
    ("AEDT", 660),
    ("ACST", 570),
    ("ACDT", 630),
    ("AWST", 480),
    ("NZST", 720),
    ("NZDT", 780),
    ("JST", 540),
    ("KST", 540),
    ("SGT", 480),
    ("IST", 330),
    ("GST", 240),
    ("ICT", 420),
    ("WIB", 420),
    ("WITA", 480),
    ("WIT", 540),
    ("MYT", 480),
    ("BDT", 360),
    ("NPT", 345),
    ("WAT", 60),
    ("CAT", 120),
    ("EAT", 180),
    ("SAST", 120),
];

/// An abbreviation, or one of the letters of the nautical zones.
fn abbreviation(text: &mut &[u8]) -> Option<i32> {
    let len = text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let (word, rest) = text.split_at(len);
    let known = ABBREVIATIONS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name.as_bytes()));
    let minutes = match (known, word) {
        (Some((_, minutes)), _) => *minutes,
        (None, [letter]) => nautical(letter.to_ascii_uppercase())? * 60,
        // `GMT+2` and the like: what follows is another matter.
        _ if word.starts_with(b"GMT") || word.starts_with(b"UTC") => {
            *text = &text[3..];
            return Some(0);
        }
        _ => return None,
    };
    *text = rest;
    Some(minutes * 60)
}

/// Hours east of UTC: A to M without J go east, N to Y west.
fn nautical(letter: u8) -> Option<i32> {
    match letter {
        b'A'..=b'I' => Some(i32::from(letter - b'A') + 1),
        b'K'..=b'M' => Some(i32::from(letter - b'A')),
        b'N'..=b'Y' => Some(-(i32::from(letter - b'N') + 1)),
        _ => None,
    }
}
