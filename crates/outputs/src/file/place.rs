//! Where a record goes.

use std::ffi::CString;
use std::path::PathBuf;

use event::{Corrupt, Cursor, EventTime};

use super::FileOptions;
use crate::template::{Filled, Template};

/// Bytes of a path.
const PATH_BYTES: usize = 4_096;

pub(super) struct Place {
    path: Option<Text>,
    file: Option<Text>,
    fallback: Option<PathBuf>,
}

/// A text with places for values, and for the time.
struct Text {
    template: Template,
    timed: bool,
}

/// What a record's values made of the options.
pub(super) enum Placed {
    At(PathBuf),
    Missing,
}

impl Place {
    pub(super) fn new(options: FileOptions) -> Place {
        let timed = |template: &Template| options.enable_strftime && template.as_str().contains('%');
        let text = |template: Template| Text { timed: timed(&template), template };
        let fallback = options.fallback_file.map(|file| join(options.fallback_path, file));
        Place { path: options.path.map(text), file: options.file.map(text), fallback }
    }

    pub(super) fn fallback(&self) -> Option<PathBuf> {
        self.fallback.clone()
    }

    /// The file of a tag, where nothing depends on the record.
    pub(super) fn of_tag(&self, tag: &str) -> PathBuf {
        let plain = |text: &Text| text.template.as_str().to_owned();
        let file = self.file.as_ref().map_or_else(|| cleaned(tag), plain);
        join(self.path.as_ref().map(plain), file)
    }

    /// The file of the record whose body the cursor stands at.
    pub(super) fn of_record(&self, tag: &str, time: EventTime, body: &Cursor<'_>) -> Result<Placed, Corrupt> {
        let path = match &self.path {
            None => None,
            Some(text) => match text.fill(tag, time, body)? {
                Some(path) if !text.varies() || is_path(&path) => Some(path),
                _ => return Ok(Placed::Missing),
            },
        };
        let file = match &self.file {
            None => cleaned(tag),
            Some(text) => match text.fill(tag, time, body)? {
                Some(file) if !text.varies() || is_name(&file) => file,
                _ => return Ok(Placed::Missing),
            },
        };
        Ok(Placed::At(join(path, file)))
    }
}

fn join(path: Option<String>, file: String) -> PathBuf {
    match path {
        Some(path) => PathBuf::from(format!("{path}/{file}")),
        None => PathBuf::from(file),
    }
}

impl Text {
    fn varies(&self) -> bool {
        self.timed || self.template.varies()
    }

    fn fill(&self, tag: &str, time: EventTime, body: &Cursor<'_>) -> Result<Option<String>, Corrupt> {
        let mut out = Vec::new();
        let filled = if self.timed {
            // The time first: what stands in a record is no format.
            match Template::parse_or_text(&strftime(self.template.as_str(), time)) {
                Some(template) => template.fill(tag, body, &mut out, PATH_BYTES)?,
                None => return Ok(None),
            }
        } else {
            self.template.fill(tag, body, &mut out, PATH_BYTES)?
        };
        Ok((filled == Filled::Whole).then(|| String::from_utf8(out).ok()).flatten())
    }
}

/// Whether a path made of values stays where it begins.
fn is_path(path: &str) -> bool {
    let inside = path.split(['/', '\\']).all(|part| part != "." && part != "..");
    !path.is_empty() && inside && !path.chars().any(char::is_control)
}

/// Whether a name made of values is one of a file.
fn is_name(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || "/\\:*?\"<>|".contains(c);
    !matches!(name, "" | "." | "..") && !name.chars().any(forbidden)
}

/// A tag as a path that cannot leave the directory.
pub(super) fn cleaned(tag: &str) -> String {
    let clean = |part: &str| -> String {
        if matches!(part, "." | "..") {
            return "_".to_owned();
        }
        part.bytes()
            .map(|byte| match byte {
                b'-' | b'_' | b'.' => byte as char,
                _ if byte.is_ascii_alphanumeric() => byte as char,
                _ => '_',
            })
            .collect()
    };
    let parts: Vec<String> = tag.split(['/', '\\']).filter(|part| !part.is_empty()).map(clean).collect();
    if parts.is_empty() { "_".to_owned() } else { parts.join("/") }
}

/// A time by the letters of strftime(3), in UTC.
fn strftime(format: &str, time: EventTime) -> String {
    written(format, time.seconds, |seconds, civil| {
        // SAFETY: both point to values of their types.
        unsafe { libc::gmtime_r(seconds, civil) };
    })
}

/// The same in the time of the machine.
pub(super) fn strftime_here(format: &str, time: EventTime) -> String {
    written(format, time.seconds, |seconds, civil| {
        // SAFETY: both point to values of their types.
        unsafe { libc::localtime_r(seconds, civil) };
    })
}

fn written(format: &str, seconds: u32, split: impl Fn(*const libc::time_t, *mut libc::tm)) -> String {
    let Ok(format) = CString::new(format) else { return String::new() };
    let seconds = libc::time_t::from(seconds);
    let mut out = vec![0u8; 2 * PATH_BYTES];
    // SAFETY: all zeros are a valid tm.
    let mut civil: libc::tm = unsafe { std::mem::zeroed() };
    split(&raw const seconds, &raw mut civil);
    // SAFETY: the buffer is as long as said, the format ends with a zero, and the tm was filled.
    let size =
        unsafe { libc::strftime(out.as_mut_ptr().cast(), out.len(), format.as_ptr(), &raw const civil) };
    out.truncate(size);
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_becomes_a_path_that_stays_within_its_directory() {
        for (tag, path) in [
            ("app.log", "app.log"),
            ("app/../x y.log", "app/_/x_y.log"),
            ("//a\\b", "a/b"),
            ("", "_"),
            ("..", "_"),
            ("k8s:ä", "k8s___"),
        ] {
            assert_eq!(cleaned(tag), path, "{tag}");
        }
    }

    #[test]
    fn values_that_would_lead_elsewhere_make_no_path() {
        assert!(is_path("/var/log/a") && !is_path("/var/../etc") && !is_path("a\nb") && !is_path(""));
        assert!(is_name("a.log") && !is_name("a/b") && !is_name("..") && !is_name("a:b"));
    }

    #[test]
    fn times_are_written_in_utc() {
        let time = EventTime { seconds: 1_700_000_000, nanoseconds: 0 };
        assert_eq!(strftime("%Y/%m/%d-%H%M%S.log", time), "2023/11/14-221320.log");
    }
}
