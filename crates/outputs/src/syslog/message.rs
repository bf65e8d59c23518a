//! A record as a message. The forms: <https://www.rfc-editor.org/rfc/rfc5424#section-6>,
//! <https://www.rfc-editor.org/rfc/rfc3164#section-4>.

use std::io::Write;

use event::{Corrupt, Cursor, EventTime, Token};

use super::{Rfc, SyslogOptions};

/// Names of the severities, by their numbers.
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

/// Names of the facilities, by their numbers; the empty one has none.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "security", "console", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Characters of a name in structured data.
const NAME: usize = 32;

/// What a record has for the parts of a message.
#[derive(Debug, Default)]
pub(super) struct Message {
    severity: Option<u8>,
    facility: Option<u8>,
    hostname: Option<Vec<u8>>,
    appname: Option<Vec<u8>>,
    procid: Option<Vec<u8>>,
    msgid: Option<Vec<u8>>,
    data: Vec<u8>,
    text: Option<Vec<u8>>,
}

impl Message {
    /// Reads the body that the cursor stands at, which then stands behind it. Of keys that repeat the first counts.
    pub(super) fn of(options: &SyslogOptions, cursor: &mut Cursor<'_>) -> Result<Message, Corrupt> {
        let mut message = Message::default();
        let most = options.most();
        let Token::Map(count) = cursor.token()? else { return Err(Corrupt) };
        for _ in 0..count {
            let key = scalar(cursor, most)?;
            let Some(key) = key else {
                cursor.skip()?;
                continue;
            };
            if let Token::Map(_) = cursor.clone().token()? {
                if options.syslog_sd_key.iter().any(|wanted| wanted.as_bytes() == key) {
                    structured(&mut message.data, &key, cursor, options, most)?;
                } else {
                    cursor.skip()?;
                }
                continue;
            }
            if let Some(value) = scalar(cursor, most)? {
                message.take(options, &key, value);
            }
        }
        Ok(message)
    }

    fn take(&mut self, options: &SyslogOptions, key: &[u8], value: Vec<u8>) {
        let is = |wanted: &Option<String>| wanted.as_ref().is_some_and(|wanted| wanted.as_bytes() == key);
        if is(&options.syslog_severity_key) {
            self.severity = self.severity.or_else(|| number(&value, &SEVERITIES));
        } else if is(&options.syslog_facility_key) {
            self.facility = self.facility.or_else(|| number(&value, &FACILITIES));
        } else {
            let part = match () {
                () if is(&options.syslog_hostname_key) => &mut self.hostname,
                () if is(&options.syslog_appname_key) => &mut self.appname,
                () if is(&options.syslog_procid_key) => &mut self.procid,
                () if is(&options.syslog_msgid_key) => &mut self.msgid,
                () if is(&options.syslog_message_key) => &mut self.text,
                () => return,
            };
            part.get_or_insert(value);
        }
    }

    /// Appends the message, cut where it becomes too long.
    pub(super) fn write(self, options: &SyslogOptions, time: EventTime, out: &mut Vec<u8>) {
        let start = out.len();
        match &self.text {
            Some(whole) if whole.starts_with(b"<") => out.extend_from_slice(whole),
            _ => match options.syslog_format {
                Rfc::New => self.new_form(options, time, out),
                Rfc::Old => self.old_form(options, time, out),
            },
        }
        out.truncate(start + options.most());
    }

    fn priority(&self, options: &SyslogOptions) -> u8 {
        let facility = self.facility.unwrap_or(options.syslog_facility_preset);
        (facility << 3) + self.severity.unwrap_or(options.syslog_severity_preset)
    }

    fn new_form(&self, options: &SyslogOptions, time: EventTime, out: &mut Vec<u8>) {
        let (year, month, day, hour, minute, second) = time.civil();
        let (priority, micros) = (self.priority(options), time.nanoseconds / 1_000);
        // Writing to a vector cannot fail.
        let _ = write!(
            out,
            "<{priority}>1 {year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z"
        );
        for (part, preset, most) in [
            (&self.hostname, &options.syslog_hostname_preset, 255),
            (&self.appname, &options.syslog_appname_preset, 48),
            (&self.procid, &options.syslog_procid_preset, 128),
            (&self.msgid, &options.syslog_msgid_preset, 32),
        ] {
            let part = part.as_deref().or(preset.as_ref().map(String::as_bytes)).unwrap_or(b"-");
            out.push(b' ');
            out.extend_from_slice(&part[..part.len().min(most)]);
        }
        out.push(b' ');
        out.extend_from_slice(if self.data.is_empty() { b"-" } else { &self.data });
        if let Some(text) = &self.text {
            // The mark of UTF-8 that the RFC asks for.
            out.extend_from_slice(b" \xef\xbb\xbf");
            out.extend_from_slice(text);
        }
    }

    fn old_form(&self, options: &SyslogOptions, time: EventTime, out: &mut Vec<u8>) {
        let (_, month, day, hour, minute, second) = time.civil();
        let month = MONTHS.get(month as usize - 1).unwrap_or(&"Jan");
        let priority = self.priority(options);
        // Writing to a vector cannot fail.
        let _ = write!(out, "<{priority}>{month} {day:2} {hour:02}:{minute:02}:{second:02} ");
        let part = |part: &Option<Vec<u8>>, preset: &Option<String>| {
            part.clone().or_else(|| preset.clone().map(String::into_bytes))
        };
        if let Some(hostname) = part(&self.hostname, &options.syslog_hostname_preset) {
            out.extend_from_slice(&hostname);
            out.push(b' ');
        }
        if let Some(appname) = part(&self.appname, &options.syslog_appname_preset) {
            out.extend_from_slice(&appname);
            if let Some(procid) = part(&self.procid, &options.syslog_procid_preset) {
                out.push(b'[');
                out.extend_from_slice(&procid);
                out.push(b']');
            }
            out.extend_from_slice(b": ");
        }
        out.extend_from_slice(self.text.as_deref().unwrap_or_default());
    }
}

/// A value as text, at most so many bytes of it; `None` for what has no text here. Passes over the value.
fn scalar(cursor: &mut Cursor<'_>, most: usize) -> Result<Option<Vec<u8>>, Corrupt> {
    let mut value = cursor.clone();
    let text = match value.token()? {
        Token::Str(size) | Token::Bin(size) => value.copy(size.min(most))?,
        Token::Bool(value) => value.to_string().into_bytes(),
        Token::U64(value) => value.to_string().into_bytes(),
        Token::I64(value) => value.to_string().into_bytes(),
        Token::F32(value) => format!("{value:.6}").into_bytes(),
        Token::F64(value) => format!("{value:.6}").into_bytes(),
        _ => {
            cursor.skip()?;
            return Ok(None);
        }
    };
    cursor.skip()?;
    Ok(Some(text))
}

/// A number, or the number of a name.
fn number(value: &[u8], names: &[&str]) -> Option<u8> {
    let text = std::str::from_utf8(value).ok()?;
    if text.len() <= 2 && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number: &u8| usize::from(*number) < names.len());
    }
    let found = names.iter().position(|name| !name.is_empty() && name.eq_ignore_ascii_case(text));
    found.map(|number| number as u8)
}

/// Appends `[id key="value" ...]` of the map that the cursor stands at.
fn structured(
    out: &mut Vec<u8>,
    id: &[u8],
    cursor: &mut Cursor<'_>,
    options: &SyslogOptions,
    most: usize,
) -> Result<(), Corrupt> {
    let name = |out: &mut Vec<u8>, text: &[u8]| {
        let most = if options.allow_longer_sd_id { text.len() } else { text.len().min(NAME) };
        let allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b']');
        out.extend(text[..most].iter().map(|byte| if allowed(*byte) { *byte } else { b'_' }));
    };
    let Token::Map(count) = cursor.token()? else { return Err(Corrupt) };
    let mut element = b"[".to_vec();
    name(&mut element, id);
    for _ in 0..count {
        let (key, value) = (scalar_key(cursor, most)?, scalar(cursor, most)?);
        let (Some(key), Some(value)) = (key, value) else { continue };
        // More would be cut away with the message.
        if element.len() + key.len() + value.len() > 2 * most {
            continue;
        }
        element.push(b' ');
        name(&mut element, &key);
        element.extend_from_slice(b"=\"");
        for byte in value {
            if matches!(byte, b'"' | b'\\' | b']') {
                element.push(b'\\');
            }
            element.push(byte);
        }
        element.push(b'"');
    }
    element.push(b']');
    if out.len() <= most {
        out.append(&mut element);
    }
    Ok(())
}

/// A key that is a string.
fn scalar_key(cursor: &mut Cursor<'_>, most: usize) -> Result<Option<Vec<u8>>, Corrupt> {
    match cursor.clone().token()? {
        Token::Str(_) | Token::Bin(_) => scalar(cursor, most),
        _ => {
            cursor.skip()?;
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use options::Options;

    use super::*;
    use crate::rows::record_time;
    use crate::testing;

    fn message(pairs: &[(&str, &str)], record: &str) -> String {
        let options = SyslogOptions::from_pairs(pairs).unwrap();
        let batch = testing::batch("t", &[record]);
        let mut cursor = batch.parts[0].cursor().unwrap();
        let time = record_time(&mut cursor).unwrap();
        let mut out = Vec::new();
        Message::of(&options, &mut cursor).unwrap().write(&options, time, &mut out);
        assert!(cursor.at_end());
        String::from_utf8_lossy(&out).into_owned()
    }

    const KEYS: [(&str, &str); 7] = [
        ("syslog_message_key", "log"),
        ("syslog_severity_key", "sev"),
        ("syslog_facility_key", "fac"),
        ("syslog_hostname_key", "host"),
        ("syslog_appname_key", "app"),
        ("syslog_procid_key", "pid"),
        ("syslog_msgid_key", "id"),
    ];

    const RECORD: &str = r#"{"log":"hello","sev":"ERR","fac":"local0","host":"web","app":"nginx","pid":42,"id":"x",
        "d":{"k]":"a\"b]\\","n":1.5,"x":null,"b":true},"other":{"a":1}}"#;

    #[test]
    fn the_parts_of_a_message_come_from_their_keys() {
        let new = [KEYS.as_slice(), &[("syslog_sd_key", "d"), ("syslog_sd_key", "e")]].concat();
        assert_eq!(
            message(&new, RECORD),
            "<131>1 2023-11-14T22:13:20.123456Z web nginx 42 x [d b=\"true\" k_=\"a\\\"b\\]\\\\\" n=\"1.500000\"] \
             \u{feff}hello"
        );
        let old = [KEYS.as_slice(), &[("syslog_format", "rfc3164")]].concat();
        assert_eq!(message(&old, RECORD), "<131>Nov 14 22:13:20 web nginx[42]: hello");
    }

    #[test]
    fn what_a_record_lacks_comes_from_the_presets_or_is_a_dash() {
        assert_eq!(message(&[], "{}"), "<14>1 2023-11-14T22:13:20.123456Z - - - - -");
        let presets = [
            ("syslog_severity_preset", "3"),
            ("syslog_facility_preset", "23"),
            ("syslog_hostname_preset", "h"),
            ("syslog_appname_preset", "a"),
            ("syslog_procid_preset", "p"),
            ("syslog_msgid_preset", "m"),
        ];
        assert_eq!(message(&presets, "{}"), "<187>1 2023-11-14T22:13:20.123456Z h a p m -");
        let odd = [("syslog_severity_key", "s"), ("syslog_facility_key", "f")];
        assert!(message(&odd, r#"{"s":"8","f":"24"}"#).starts_with("<14>"), "what is no number is not taken");
        assert!(message(&odd, r#"{"s":"0","f":"mail"}"#).starts_with("<16>"));
    }

    #[test]
    fn a_message_is_cut_at_its_limit_and_a_whole_one_is_left_alone() {
        let text = "x".repeat(5_000);
        let record = format!(r#"{{"log":"{text}"}}"#);
        let key = ("syslog_message_key", "log");
        assert_eq!(message(&[key], &record).len(), 2_048);
        assert_eq!(message(&[key, ("syslog_format", "rfc3164")], &record).len(), 1_024);
        assert_eq!(message(&[key, ("syslog_maxsize", "100")], &record).len(), 100);
        assert_eq!(message(&[key], r#"{"log":"<13>1 - - - - - - as it is"}"#), "<13>1 - - - - - - as it is");
    }
}
