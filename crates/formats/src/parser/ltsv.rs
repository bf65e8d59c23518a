//! Lines of [labeled tab-separated values](http://ltsv.org).

use event::EventTime;

use super::{Fields, Stamp, Time, Types, Unparsed};

pub(super) fn read(
    line: &[u8],
    now: EventTime,
    stamp: Option<&Stamp>,
    types: &Types,
    fields: &mut Fields,
) -> Result<Time, Unparsed> {
    fields.clear();
    let mut time = Time::Absent;
    let mut rest = line;
    while let Some((label, value, behind)) = field(rest) {
        rest = behind.strip_prefix(b"\t").unwrap_or(behind);
        if !label.is_empty() {
            match stamp.filter(|stamp| label == stamp.key.as_bytes() && !value.is_empty()) {
                Some(stamp) => {
                    time = stamp.read(value, now);
                    if time == Time::Invalid {
                        return Err(Unparsed::NoMatch);
                    }
                    if stamp.keep {
                        types.append(label, value, fields)?;
                    }
                }
                None => types.append(label, value, fields)?,
            }
        }
        // One line is one record: what stands behind its end is not looked at.
        if matches!(rest.first(), None | Some(b'\r' | b'\n')) {
            break;
        }
    }
    if fields.is_empty() { Err(Unparsed::NoMatch) } else { Ok(time) }
}

/// The label and value at the front of the line, and what follows. `None` where there is no label.
fn field(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let in_label = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let len = line.iter().take_while(|byte| in_label(byte)).count();
    let (label, rest) = line.split_at(len);
    let rest = rest.strip_prefix(b":")?;
    let in_value = |byte: &u8| !matches!(byte, 0 | b'\t' | b'\n' | b'\r');
    let len = rest.iter().position(|byte| !in_value(byte)).unwrap_or(rest.len());
    let (value, rest) = rest.split_at(len);
    Some((label, value, rest))
}
