//! `checklist`: marks records with a value that stands in a list.
//!
//! ```text
//! [FILTER]
//!     name        checklist
//!     match       app.*
//!     file        /etc/weir/bad-addresses.txt
//!     lookup_key  $remote['address']
//!     record      suspicious true
//! ```
//!
//! The file has one text a line; empty lines and those that begin with `#` do not count. In mode `exact` the value
//! must be one of them, in mode `partial` begin with one, in which `%` stands for any run of characters and `_`
//! for any one. When the value is found each `record` is set, in place of entries with its key; `true`, `false`
//! and `null` are themselves and anything else is text. The list is read once and held in memory, up to 64 MB.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::time::Instant;

use budget::{Lease, Share};
use engine::{Filter, FilterDef, Setup};
use event::{Entry, Raw, Record, Tag, Window};
use options::{Choice, Options, Reader};

use crate::words::{Pair, Place};

/// The registry's entry.
pub static FILTER: FilterDef = FilterDef {
    name: "checklist",
    about: "marks records with a value that stands in a list",
    specs: ChecklistOptions::specs,
    open,
};

/// The longest line of the list, as in Fluent Bit.
const LINE_BYTES: usize = 2048;
/// What a line holds beside its text.
const LINE_OVERHEAD: usize = 48;
/// The largest list.
const LIST_BYTES: u64 = 64_000_000;

#[derive(Debug, Clone, Options)]
struct ChecklistOptions {
    /// The file with the list.
    #[option(required)]
    file: String,
    /// Whether the value is in the list, or begins with a text of it.
    #[option(default = "exact")]
    mode: Mode,
    /// Log how long each successful search took.
    #[option(default = "off")]
    print_query_time: bool,
    /// Compare without regard to case.
    #[option(default = "off")]
    ignore_case: bool,
    /// The value that is looked up: a key or record accessor.
    #[option(default = "log")]
    lookup_key: Place,
    /// Set KEY to VALUE when the value is found.
    record: Vec<Pair>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Mode {
    Exact,
    Partial,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Box<dyn Filter>> {
    let options = ChecklistOptions::read(reader)?;
    let size = match std::fs::metadata(&options.file) {
        Ok(file) if file.len() <= LIST_BYTES => file.len() as usize,
        Ok(file) => {
            let what = format!("the list has {} bytes, more than {LIST_BYTES}", file.len());
            reader.refuse("file", what, None);
            return None;
        }
        Err(error) => {
            reader.refuse("file", format!("{}: {error}", options.file), None);
            return None;
        }
    };
    // A line has a byte at least: the overhead cannot be more than this.
    let share = size * if options.mode == Mode::Exact { 3 } else { 2 } + LINE_OVERHEAD;
    let account = setup.account("list", Share::at_most(usize::MAX), reader)?;
    let lines = match lines(&options) {
        Ok(lines) => lines,
        Err(what) => {
            reader.refuse("file", format!("{}: {what}", options.file), None);
            return None;
        }
    };
    let bytes = share.max(lines.iter().map(|line| line.len() + LINE_OVERHEAD).sum());
    let Ok(lease) = account.try_lease(bytes) else {
        let hint = Some("raise memory_limit in the service section, or shorten the list".to_owned());
        reader.refuse("file", format!("there is no room for the list: it takes {bytes} bytes"), hint);
        return None;
    };
    let list = match options.mode {
        Mode::Exact => List::Exact(lines.into_iter().collect()),
        Mode::Partial => List::Partial(lines),
    };
    let mut records = Vec::new();
    for Pair(key, value) in &options.record {
        let value = match value.text.to_ascii_lowercase().as_str() {
            "true" => Raw::Page(&[0xc3]),
            "false" => Raw::Page(&[0xc2]),
            "null" => Raw::Page(&[0xc0]),
            _ => value.value.clone(),
        };
        records.push(Entry { key: key.value.clone(), value });
    }
    let name = setup.name.clone();
    Some(Box::new(Checklist(Arc::new(Shared { list, options, records, name, _lease: lease }))))
}

/// The lines of the list.
fn lines(options: &ChecklistOptions) -> Result<Vec<Box<[u8]>>, String> {
    let file = std::fs::File::open(&options.file).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(BufReader::new(file).split(b'\n')) {
        let mut line = line.map_err(|error| error.to_string())?;
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        if line.len() > LINE_BYTES {
            return Err(format!("line {number} has more than {LINE_BYTES} bytes"));
        }
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if options.ignore_case {
            line.make_ascii_lowercase();
        }
        lines.push(line.into_boxed_slice());
    }
    Ok(lines)
}

enum List {
    Exact(HashSet<Box<[u8]>>),
    Partial(Vec<Box<[u8]>>),
}

impl List {
    fn has(&self, text: &[u8]) -> bool {
        match self {
            List::Exact(lines) => lines.contains(text),
            List::Partial(lines) => lines.iter().any(|line| begins(text, line)),
        }
    }
}

/// Whether a text begins with a pattern of SQL's LIKE. After a mismatch only the last `%` takes one more
/// character.
fn begins(text: &[u8], pattern: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while p < pattern.len() {
        if pattern[p] == b'%' {
            star = Some((p, t));
            p += 1;
        } else if t < text.len() && (pattern[p] == b'_' || pattern[p] == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((at, taken)) = star.filter(|(_, taken)| *taken < text.len()) {
            star = Some((at, taken + 1));
            (p, t) = (at + 1, taken + 1);
        } else {
            return false;
        }
    }
    true
}

struct Shared {
    list: List,
    options: ChecklistOptions,
    records: Vec<Entry<'static>>,
    name: String,
    _lease: Lease,
}

struct Checklist(Arc<Shared>);

impl Filter for Checklist {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        for record in &mut window.records {
            if self.0.finds(record) {
                self.0.mark(record);
            }
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(Checklist(Arc::clone(&self.0)))
    }
}

impl Shared {
    fn finds(&self, record: &Record<'_>) -> bool {
        let Some(value) = self.options.lookup_key.0.find(record) else { return false };
        let Some(text) = value.as_str() else { return false };
        let started = self.options.print_query_time.then(Instant::now);
        let found = match self.options.ignore_case {
            true => self.list.has(&text.to_ascii_lowercase()),
            false => self.list.has(text),
        };
        if let Some(started) = started.filter(|_| found) {
            let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
            tracing::info!("[filter:{}] query time {:?}: '{text}'", self.name, started.elapsed());
        }
        found
    }

    fn mark(&self, record: &mut Record<'_>) {
        let body = record.body_mut();
        // Entries whose key is no string go, too: Fluent Bit's rule.
        body.retain(|entry| match entry.key.as_str() {
            Some(key) => !self.records.iter().any(|record| record.key.as_str() == Some(key)),
            None => false,
        });
        body.extend(self.records.iter().cloned());
    }
}
