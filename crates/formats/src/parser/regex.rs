//! Lines that match a regular expression.

use event::{EventTime, Raw};

use super::types::Type;
use super::{Fields, Stamp, Time, Types, Unparsed};
use crate::ruby::{Captures, RubyRegex};

/// A pattern and what becomes of its named groups.
#[derive(Debug)]
pub(super) struct Groups {
    regex: RubyRegex,
    /// In the order of the names.
    groups: Vec<Group>,
    skip_empty: bool,
}

#[derive(Debug)]
struct Group {
    index: usize,
    /// The key as msgpack.
    key: Raw<'static>,
    kind: Type,
    is_time: bool,
}

impl Groups {
    pub(super) fn new(regex: RubyRegex, types: &Types, skip_empty: bool, time_key: Option<&str>) -> Groups {
        let group = |(name, index): &(String, usize)| Group {
            index: *index,
            key: Raw::text(name),
            kind: types.of(name.as_bytes()),
            is_time: time_key == Some(name.as_str()),
        };
        let groups = regex.names().iter().map(group).collect();
        Groups { regex, groups, skip_empty }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    pub(super) fn read(
        &self,
        line: &[u8],
        now: EventTime,
        stamp: Option<&Stamp>,
        fields: &mut Fields,
    ) -> Result<Time, Unparsed> {
        fields.clear();
        let captures = self.regex.captures(line).ok_or(Unparsed::NoMatch)?;
        if !self.groups.iter().any(|group| captures.get(group.index).is_some()) {
            return Err(Unparsed::NoMatch);
        }
        let mut time = Time::Absent;
        for group in &self.groups {
            self.group(group, &captures, stamp.map(|stamp| (stamp, now)), &mut time, fields)?;
        }
        Ok(time)
    }

    fn group(
        &self,
        group: &Group,
        captures: &Captures<'_>,
        stamp: Option<(&Stamp, EventTime)>,
        time: &mut Time,
        fields: &mut Fields,
    ) -> Result<(), Unparsed> {
        let text = captures.get(group.index).unwrap_or_default();
        if text.is_empty() && self.skip_empty {
            return Ok(());
        }
        if let Some((stamp, now)) = stamp.filter(|_| group.is_time) {
            let read = stamp.read(text, now);
            // What could be read before stays, and what could not be read is not thrown away.
            if read != Time::Invalid || *time == Time::Absent {
                *time = read;
            }
            if read != Time::Invalid && !stamp.keep {
                return Ok(());
            }
        }
        group.kind.append(group.key.bytes(), text, fields)?;
        Ok(())
    }
}
