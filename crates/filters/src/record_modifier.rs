//! `record_modifier`: appends entries to records, and removes some or all others.
//!
//! ```text
//! [FILTER]
//!     name        record_modifier
//!     match       app.*
//!     record      host ${HOSTNAME}
//!     record      site "north west"
//!     remove_key  password
//!     uuid_key    id
//! ```
//!
//! Keys of `remove_key` and `allowlist_key` are compared without regard to case, and a `*` at their end stands for
//! any more characters. The one removes what it names, the other everything else; both at once are refused.
//! What `record` names is appended in any case, also beside an entry with the same key. A record of which nothing
//! is left is dropped.

use engine::{Filter, FilterDef, Setup};
use event::{Entry, Raw, Record, Tag, Window};
use options::{Options, Reader};
use ring::rand::{SecureRandom, SystemRandom};

use crate::words::{Pair, Start, Word};

/// The registry's entry.
pub static FILTER: FilterDef = FilterDef {
    name: "record_modifier",
    about: "appends entries to records and removes some",
    specs: RecordModifierOptions::specs,
    open,
};

#[derive(Debug, Clone, Options)]
#[options(check = RecordModifierOptions::check)]
struct RecordModifierOptions {
    /// Append KEY with the text VALUE.
    record: Vec<Pair>,
    /// Remove this key; a `*` at its end stands for any more characters.
    remove_key: Vec<Start>,
    /// Remove every key but this and others named like it.
    #[option(alias = "whitelist_key")]
    allowlist_key: Vec<Start>,
    /// Append this key with a random UUID.
    uuid_key: Option<Word>,
}

impl RecordModifierOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if !self.remove_key.is_empty() && !self.allowlist_key.is_empty() {
            let hint = Some("what is not in allowlist_key is removed anyway".to_owned());
            reader.refuse("allowlist_key", "remove_key and allowlist_key exclude each other", hint);
        }
    }
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Box<dyn Filter>> {
    Some(Box::new(RecordModifier {
        options: RecordModifierOptions::read(reader)?,
        random: SystemRandom::new(),
    }))
}

struct RecordModifier {
    options: RecordModifierOptions,
    random: SystemRandom,
}

impl Filter for RecordModifier {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        for record in &mut window.records {
            self.options.remove(record);
            for pair in &self.options.record {
                record.body_mut().push(pair.entry());
            }
        }
        if let Some(key) = &self.options.uuid_key {
            self.identify(key, &mut window.records);
        }
        window.records.retain(|record| !record.body().is_empty());
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(RecordModifier { options: self.options.clone(), random: SystemRandom::new() })
    }
}

impl RecordModifierOptions {
    fn remove(&self, record: &mut Record<'_>) {
        let (names, keep) = match self.remove_key.is_empty() {
            true if self.allowlist_key.is_empty() => return,
            true => (&self.allowlist_key, true),
            false => (&self.remove_key, false),
        };
        let stays = |entry: &Entry<'_>| {
            let key = entry.key.as_text();
            let named = |name: &Start| key.is_some_and(|key| name.matches(key, <[u8]>::eq_ignore_ascii_case));
            names.iter().any(named) == keep
        };
        // A record that keeps everything is not written anew.
        if !record.body().iter().all(stays) {
            record.body_mut().retain(stays);
        }
    }
}

impl RecordModifier {
    fn identify(&self, key: &Word, records: &mut [Record<'_>]) {
        // For all records at once: each call asks the system.
        let mut bytes = vec![0; 16 * records.len()];
        if self.random.fill(&mut bytes).is_err() {
            tracing::error!(
                "record_modifier: the system has no random bytes: records stay without {}",
                key.text
            );
            return;
        }
        for (record, bytes) in records.iter_mut().zip(bytes.chunks_exact(16)) {
            let value = Raw::text(&uuid(bytes));
            record.body_mut().push(Entry { key: key.value.clone(), value });
        }
    }
}

/// A UUID of version 4 from random bytes.
fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        let byte = match at {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
