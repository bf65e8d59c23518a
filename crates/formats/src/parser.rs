//! Parsers: a line of text to the entries of a record and its time.
//!
//! ```text
//! [PARSER]
//!     name         access
//!     format       regex
//!     regex        ^(?<host>[^ ]*) \[(?<time>[^\]]*)\] (?<code>[^ ]*)
//!     time_key     time
//!     time_format  %d/%b/%Y:%H:%M:%S %z
//!     types        code:integer
//! ```
//!
//! | Format | A line is |
//! |---|---|
//! | `json` | an object; text behind it is passed over unless it is another value |
//! | `regex` | what matches: each named group is an entry |
//! | `ltsv` | `label:value`, separated by tabs |
//! | `logfmt` | `key=value key="value" key`, separated by blanks |
//!
//! Where the entry `time_key` is text that [`time_format`](time) matches, the record takes its time from it, and
//! the entry is removed unless `time_keep` is on. Where it does not match, the entry stays; a line of `ltsv` or
//! `logfmt` is not parsed then.
//!
//! `types` turns values into `integer`, `float`, `hex` and `bool`; not for `json`, which has types.
//! `decode_field` and `decode_field_as` decode what stands within a value; see [`decode`].

mod decode;
mod fields;
mod json;
mod leased;
mod logfmt;
mod ltsv;
mod regex;
pub mod time;
mod types;
mod unescape;

use budget::Full;
use event::{EventTime, Raw};
use options::{Choice, Invalid, Kind, Options, Reader, Rules, Value};

pub use decode::DecodeRule;
pub use fields::{Entries, Fields};
pub(crate) use fields::{as_str, put_str};
pub use leased::Leased;
pub use types::Types;

use crate::ruby::RubyRegex;
use decode::Decoders;
use time::{Place, TimeFormat, Zone};

/// The options of a parser, as its section has them.
#[derive(Debug, Options)]
#[options(check = ParserOptions::check)]
pub struct ParserOptions {
    /// The name that plugins ask for.
    #[option(required)]
    pub name: String,
    /// What a line is.
    #[option(required)]
    format: Format,
    /// What a line of format regex matches; named groups become keys.
    regex: Option<RubyRegex>,
    /// Leave out groups that matched nothing.
    #[option(default = "on")]
    skip_empty_values: bool,
    /// The key of the time.
    #[option(default = "time")]
    time_key: String,
    /// How the time is written, for example %Y-%m-%dT%H:%M:%S.%L%z.
    time_format: Option<String>,
    /// Keep the entry that the time was read from.
    #[option(default = "off")]
    time_keep: bool,
    /// Take no time from text that matches only in part.
    #[option(default = "on")]
    time_strict: bool,
    /// Times without a zone are on the clock of the system.
    #[option(default = "off")]
    time_system_timezone: bool,
    /// The distance from UTC of times without a zone, for example +0200.
    time_offset: Option<Offset>,
    /// The zone of times without one, for example Europe/Berlin.
    time_zone: Option<Zone>,
    /// A line with a key that has no value is not parsed.
    #[option(default = "off")]
    logfmt_no_bare_keys: bool,
    /// Keys and the type of their values: integer, float, hex, bool, string.
    types: Option<Types>,
    #[option(rules)]
    decoders: Vec<Decode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Format {
    Json,
    Regex,
    Ltsv,
    Logfmt,
}

#[derive(Debug, Clone, Rules)]
enum Decode {
    /// Decode a value and append what is within: decoder, key, and try_next or do_next.
    DecodeField(DecodeRule),
    /// Decode a value in its place: decoder, key, and try_next or do_next.
    DecodeFieldAs(DecodeRule),
}

/// Seconds east of UTC.
#[derive(Debug, Clone, Copy)]
struct Offset(i32);

impl Value for Offset {
    const KIND: Kind = Kind::Other("offset");

    fn parse(text: &str) -> Result<Offset, Invalid> {
        let offset = time::offset(text).map(Offset);
        offset.ok_or_else(|| Invalid::not(text, "a distance from UTC").hint("write +hhmm or -hhmm"))
    }
}

impl Value for Zone {
    const KIND: Kind = Kind::Other("time zone");

    fn parse(text: &str) -> Result<Zone, Invalid> {
        Zone::named(text).map_err(|why| {
            Invalid::new(why).hint("write a name such as Europe/Berlin; the package tzdata must be installed")
        })
    }
}

impl ParserOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.format == Format::Regex && self.regex.is_none() {
            reader.refuse("format", "format regex without regex", Some("add the option regex".to_owned()));
        }
        if self.time_zone.is_none() {
            return;
        }
        if self.time_format.is_none() {
            reader.refuse("time_zone", "time_zone without time_format", None);
        }
        if self.time_system_timezone {
            reader.refuse("time_zone", "time_zone and time_system_timezone exclude each other", None);
        }
        if self.time_offset.is_some() {
            reader.refuse("time_zone", "time_zone and time_offset exclude each other", None);
        }
    }
}

/// A parser. It has no state: lanes share it.
#[derive(Debug)]
pub struct Parser {
    name: String,
    line: Line,
    time: Option<Stamp>,
    decoders: Decoders,
}

/// What a line is, ready to be read.
#[derive(Debug)]
enum Line {
    Json,
    Regex(regex::Groups),
    Ltsv(Types),
    Logfmt(logfmt::Logfmt),
}

/// Where the time of a record stands.
#[derive(Debug)]
struct Stamp {
    key: String,
    /// The key as msgpack.
    raw: Raw<'static>,
    format: TimeFormat,
    keep: bool,
}

/// The time that a line gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// It has none.
    Absent,
    /// It has one that does not match the format.
    Invalid,
    /// This one.
    At(EventTime),
}

impl Time {
    /// The time, or `other` where there is none.
    pub fn or(self, other: EventTime) -> EventTime {
        match self {
            Time::At(time) => time,
            Time::Absent | Time::Invalid => other,
        }
    }
}

/// Why a line has no entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unparsed {
    /// It is not what the parser takes.
    NoMatch,
    /// There was no room for the entries: see [`Fields::wanted`].
    Full,
}

impl From<Full> for Unparsed {
    fn from(_: Full) -> Unparsed {
        Unparsed::Full
    }
}

impl Parser {
    /// A parser with these options. Also answers what is allowed but probably not meant.
    ///
    /// # Errors
    /// The zone of the system cannot be read.
    pub fn new(options: ParserOptions) -> Result<(Parser, Vec<String>), String> {
        let mut notes = Vec::new();
        let name = options.name.clone();
        let time = match &options.time_format {
            Some(format) => Some(Stamp::new(format, &options, &mut notes)?),
            None => None,
        };
        let types = options.types.unwrap_or_default();
        notes.extend(types.unknown().map(|what| format!("types: {what} is no type: the value stays text")));
        let line = match (options.format, options.regex) {
            (Format::Json, _) => Line::Json,
            (Format::Ltsv, _) => Line::Ltsv(types),
            (Format::Logfmt, _) => {
                Line::Logfmt(logfmt::Logfmt { types, no_bare_keys: options.logfmt_no_bare_keys })
            }
            (Format::Regex, Some(regex)) => {
                let time_key = time.as_ref().map(|stamp| stamp.key.as_str());
                let groups = regex::Groups::new(regex, &types, options.skip_empty_values, time_key);
                if groups.is_empty() {
                    notes
                        .push("regex: it has no named group such as (?<key>...): no line matches".to_owned());
                }
                Line::Regex(groups)
            }
            (Format::Regex, None) => return Err("format regex without regex".to_owned()),
        };
        let rules = options.decoders.into_iter().map(|rule| match rule {
            Decode::DecodeField(rule) => (rule, false),
            Decode::DecodeFieldAs(rule) => (rule, true),
        });
        let decoders = Decoders::new(rules);
        Ok((Parser { name, line, time, decoders }, notes))
    }

    /// The name that plugins ask for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads a line. Afterwards `fields` holds its entries, or something without meaning after an error. `now`
    /// gives the year that a time may lack.
    ///
    /// # Errors
    /// See [`Unparsed`].
    pub fn parse(&self, line: &[u8], now: EventTime, fields: &mut Fields) -> Result<Time, Unparsed> {
        let stamp = self.time.as_ref();
        let time = match &self.line {
            Line::Json => return json::read(line, now, stamp, &self.decoders, fields),
            Line::Regex(groups) => groups.read(line, now, stamp, fields)?,
            Line::Ltsv(types) => ltsv::read(line, now, stamp, types, fields)?,
            Line::Logfmt(logfmt) => logfmt.read(line, now, stamp, fields)?,
        };
        self.decoders.apply(fields)?;
        Ok(time)
    }
}

impl Stamp {
    fn new(format: &str, options: &ParserOptions, notes: &mut Vec<String>) -> Result<Stamp, String> {
        let place = match (&options.time_zone, options.time_offset) {
            (Some(zone), _) => Place::Zone(zone.clone()),
            (None, _) if options.time_system_timezone => Place::Zone(Zone::system()?),
            (None, offset) => Place::Offset(offset.map_or(0, |offset| offset.0)),
        };
        let (format, unknown) = TimeFormat::new(format, options.time_strict, place);
        notes.extend(unknown.map(|what| format!("time_format: {what} is unknown: no time matches")));
        let key = options.time_key.clone();
        Ok(Stamp { raw: Raw::text(&key), key, format, keep: options.time_keep })
    }

    /// The time in `text`.
    fn read(&self, text: &[u8], now: EventTime) -> Time {
        match self.format.read(text, now) {
            // The first second of 1970 stands for no time, as in Fluent Bit.
            Some(EventTime { seconds: 0, nanoseconds: 0 }) => Time::Absent,
            Some(time) => Time::At(time),
            None => Time::Invalid,
        }
    }
}
