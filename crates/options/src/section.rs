//! One section of a configuration: what a plugin is told, before anything is typed.
//!
//! Both file formats end here, so nothing after this point knows which one the user wrote.

use std::fmt;

use crate::{Pos, Text};

/// A section such as `[INPUT]`, or one map of `pipeline.inputs`.
///
/// Entries and groups keep the order of the file, because some plugins act on their options in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What the section is: `service`, `input`, `filter`, `output`, `parser`, or the name of a group.
    pub kind: String,
    /// Where the section starts.
    pub pos: Pos,
    /// Options in the order of the file.
    pub entries: Vec<Entry>,
    /// Nested sections, such as `processors`, in the order of the file. A list of maps is a repeated group.
    pub groups: Vec<Section>,
}

impl Section {
    /// An empty section.
    pub fn new(kind: impl Into<String>, pos: Pos) -> Self {
        Self { kind: kind.into(), pos, entries: Vec::new(), groups: Vec::new() }
    }

    /// The value of `key`, the first one when it is repeated.
    pub fn get(&self, key: &str) -> Option<&Text> {
        self.entries.iter().find(|entry| entry.key.value.eq_ignore_ascii_case(key)).map(|entry| &entry.value)
    }

    /// The plugin or parser the section is about: the value of `name`.
    pub fn name(&self) -> Option<&Text> {
        self.get("name")
    }

    /// How messages call this section: `output http`, or `service` where there is no name.
    pub fn label(&self) -> String {
        match self.name() {
            Some(name) => format!("{} {}", self.kind, name.value),
            None => self.kind.clone(),
        }
    }
}

/// One option as written. A repeated option is several entries, and so is a YAML list of scalars.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, in lower snake case whatever the file used.
    pub key: Text,
    /// The value, as text.
    pub value: Text,
}

/// Shows the key and hides the value: until an options struct has read it, any value may be a secret.
impl fmt::Debug for Entry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Entry({} at {})", self.key.value, self.key.pos)
    }
}

/// A name as Fluent Bit's YAML reader sees it: `memBufLimit` is `mem_buf_limit`, anything else is lower-cased.
///
/// Only a name that starts in lower case and has no underscore is taken for camel case; `K8S-Logging.Parser`
/// and `Mem_Buf_Limit` are the older spelling.
pub fn snake_case(name: &str) -> String {
    let camel = name.starts_with(|first: char| first.is_ascii_lowercase()) && !name.contains('_');
    if !camel {
        return name.to_ascii_lowercase();
    }
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_either_format_end_in_snake_case() {
        for (given, wanted) in [
            ("memBufLimit", "mem_buf_limit"),
            ("Mem_Buf_Limit", "mem_buf_limit"),
            ("K8S-Logging.Parser", "k8s-logging.parser"),
            ("storage.totalLimitSize", "storage.total_limit_size"),
            ("buffer_Max_Size", "buffer_max_size"),
            ("", ""),
        ] {
            assert_eq!(snake_case(given), wanted);
        }
    }

    #[test]
    fn a_value_is_not_shown_by_debug() {
        let pos = Pos::new("a.conf", 1, 1);
        let entry = Entry { key: Text::new("password", pos.clone()), value: Text::new("hunter2", pos) };
        assert_eq!(format!("{entry:?}"), "Entry(password at a.conf:1:1)");
    }
}
