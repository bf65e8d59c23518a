//! `nest`: puts entries of a record into a map within it, or lifts the entries of such a map.
//!
//! ```text
//! [FILTER]
//!     name          nest
//!     match         app.*
//!     operation     nest
//!     wildcard      http_*
//!     nest_under    http
//!     remove_prefix http_
//! ```
//!
//! `nest` takes the entries that a `wildcard` names (a `*` at its end stands for any more characters) and appends
//! them as a map called `nest_under`. `lift` takes the map called `nested_under` apart and appends what is in it.
//! `add_prefix` and `remove_prefix` change the keys that move; a key without the prefix stays as it is. A record
//! without anything to move stays as it is.

use engine::{Filter, FilterDef, Setup};
use event::{Entry, Raw, Record, Tag, Token, Window};
use options::{Choice, Options, Reader};

use crate::words::{Start, Word};

/// The registry's entry.
pub static FILTER: FilterDef = FilterDef {
    name: "nest",
    about: "moves entries into a map, or out of it",
    specs: NestOptions::specs,
    open,
};

#[derive(Debug, Clone, Options)]
#[options(check = NestOptions::check)]
struct NestOptions {
    /// Put entries into a map, or lift the entries of one.
    #[option(required)]
    operation: Operation,
    /// Keys to put into the map; a `*` at the end stands for any more characters.
    wildcard: Vec<Start>,
    /// The map that entries are put into.
    nest_under: Option<Word>,
    /// The map whose entries are lifted.
    nested_under: Option<Word>,
    /// Put this before the keys that move.
    #[option(alias = "prefix_with")]
    add_prefix: Option<String>,
    /// Remove this from the start of the keys that move.
    remove_prefix: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Operation {
    Nest,
    Lift,
}

impl NestOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.add_prefix.is_some() && self.remove_prefix.is_some() {
            reader.refuse("remove_prefix", "add_prefix and remove_prefix exclude each other", None);
        }
        if self.map().is_none() {
            let (name, what) = match self.operation {
                Operation::Nest => ("nest_under", "the map that entries are put into"),
                Operation::Lift => ("nested_under", "the map whose entries are lifted"),
            };
            reader.refuse(name, format!("option \"{name}\" is missing: {what}"), None);
        }
    }

    /// Fluent Bit takes either name for either operation.
    fn map(&self) -> Option<&Word> {
        match self.operation {
            Operation::Nest => self.nest_under.as_ref().or(self.nested_under.as_ref()),
            Operation::Lift => self.nested_under.as_ref().or(self.nest_under.as_ref()),
        }
    }
}

fn open(reader: &mut Reader<'_>, _setup: &Setup) -> Option<Box<dyn Filter>> {
    let options = NestOptions::read(reader)?;
    let map = options.map()?.clone();
    Some(Box::new(Nest { options, map }))
}

#[derive(Clone)]
struct Nest {
    options: NestOptions,
    map: Word,
}

impl Filter for Nest {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        for record in &mut window.records {
            match self.options.operation {
                Operation::Nest => self.nest(record),
                Operation::Lift => self.lift(record),
            }
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(self.clone())
    }

    fn copies(&self) -> usize {
        1
    }
}

impl Nest {
    fn nest(&self, record: &mut Record<'_>) {
        let moves = |entry: &Entry<'_>| {
            let key = entry.key.as_text();
            key.is_some_and(|key| self.options.wildcard.iter().any(|name| name.matches(key, |a, b| a == b)))
        };
        if !record.body().iter().any(moves) {
            return;
        }
        let body = record.body_mut();
        let (mut inner, outer): (Vec<_>, Vec<_>) = std::mem::take(body).into_iter().partition(moves);
        inner.iter_mut().for_each(|entry| self.rename(entry));
        *body = outer;
        body.push(Entry { key: self.map.value.clone(), value: Raw::map(&inner) });
    }

    fn lift(&self, record: &mut Record<'_>) {
        let moves =
            |entry: &Entry<'_>| self.map.names(entry) && matches!(entry.value.token(), Some(Token::Map(_)));
        if !record.body().iter().any(moves) {
            return;
        }
        let body = record.body_mut();
        let (inner, outer): (Vec<_>, Vec<_>) = std::mem::take(body).into_iter().partition(moves);
        *body = outer;
        for map in inner {
            let lifted = body.len();
            match map.value {
                // Entries of what is in a page are slices of it; what a filter made is copied.
                Raw::Page(bytes) => body.extend(Raw::entries_of(bytes)),
                made => {
                    for entry in made.entries() {
                        body.push(entry.owned());
                    }
                }
            }
            body[lifted..].iter_mut().for_each(|entry| self.rename(entry));
        }
    }

    fn rename(&self, entry: &mut Entry<'_>) {
        let Some(key) = entry.key.as_text() else { return };
        let renamed = match (&self.options.add_prefix, &self.options.remove_prefix) {
            (Some(prefix), _) => [prefix.as_bytes(), key].concat(),
            (None, Some(prefix)) => match key.strip_prefix(prefix.as_bytes()) {
                Some(rest) => rest.to_vec(),
                None => return,
            },
            (None, None) => return,
        };
        entry.key = Raw::text_of(&renamed);
    }
}
