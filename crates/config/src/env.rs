//! Variables: `${NAME}` and `${NAME:-default}` in values.
//!
//! A variable is what `@SET` or the `env` section defines, or else what the caller's environment holds. The default
//! applies when it is not set or empty. A variable without value and default becomes nothing, with a warning; an
//! option of which nothing is left counts as not given, as in Fluent Bit.
//!
//! Definitions hold for all files wherever they stand, so they are applied when everything has been read. A
//! definition may use those before it. One that starts with `file://` takes its value from that file, less one
//! newline at the end.

use std::collections::BTreeMap;
use std::path::Path;

use options::{Pos, Problem, Problems, Section, Text};

use crate::files::{ReadError, read_limited};
use crate::limits::MAX_VARIABLE_BYTES;

/// Where variables come from that no file defines; any `Fn(&str) -> Option<String>` will do.
pub trait Env {
    /// The value of a variable.
    fn get(&self, name: &str) -> Option<String>;
}

impl<F: Fn(&str) -> Option<String>> Env for F {
    fn get(&self, name: &str) -> Option<String> {
        self(name)
    }
}

/// The environment of this process. `HOSTNAME` is the name of the host even where no shell exports it.
pub fn process_env(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if name == "HOSTNAME" && value.is_none() {
        let host = read_limited(Path::new("/proc/sys/kernel/hostname"), 4096);
        return host.ok().map(|host| host.trim_end().to_owned());
    }
    value
}

/// One definition: `@SET name=value` or an item of the `env` section.
#[derive(Clone, PartialEq, Eq)]
pub struct Definition {
    /// The name.
    pub name: Text,
    /// The value as written.
    pub value: Text,
}

/// The variables of one load.
pub struct Variables<'a> {
    env: &'a dyn Env,
    defined: BTreeMap<String, String>,
}

impl<'a> Variables<'a> {
    /// Only those of the environment.
    pub fn new(env: &'a dyn Env) -> Self {
        Self { env, defined: BTreeMap::new() }
    }

    /// Those that files define.
    pub fn into_defined(self) -> BTreeMap<String, String> {
        self.defined
    }

    /// Adds a definition; the last one of a name holds.
    pub fn define(&mut self, definition: &Definition, problems: &mut Problems, warnings: &mut Problems) {
        let Definition { name, value } = definition;
        let text = self.replace(value, "", warnings);
        let text = match text.strip_prefix("file://") {
            None => text,
            Some(path) => match read_limited(Path::new(path), MAX_VARIABLE_BYTES) {
                Ok(text) => text.strip_suffix('\n').map(str::to_owned).unwrap_or(text),
                Err(error) => return problems.push(unreadable(name, value, path, &error)),
            },
        };
        self.defined.insert(name.value.clone(), text);
    }

    /// Replaces the variables in every value of a section.
    pub fn apply(&self, section: &mut Section, warnings: &mut Problems) {
        let label = section.label();
        section.entries.retain_mut(|entry| {
            if !entry.value.value.contains("${") {
                return true;
            }
            let text = self.replace(&entry.value, &label, warnings);
            if text.trim().is_empty() {
                let what =
                    format!("nothing is left of option \"{}\": it counts as not given", entry.key.value);
                warnings.push(Problem::new(entry.value.pos.clone(), what).of(&label));
                return false;
            }
            entry.value.value = text;
            true
        });
        for group in &mut section.groups {
            self.apply(group, warnings);
        }
    }

    /// The text with its variables replaced. What a variable holds is not looked at again, so it cannot recurse.
    fn replace(&self, text: &Text, who: &str, warnings: &mut Problems) -> String {
        let mut out = String::with_capacity(text.value.len());
        let mut rest = text.value.as_str();
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            let Some((inside, after)) = after.split_once('}') else {
                // Not a variable after all: a pattern or a template may hold these characters.
                out.push_str("${");
                rest = after;
                continue;
            };
            out.push_str(&self.variable(inside, &text.pos, who, warnings));
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn variable(&self, inside: &str, pos: &Pos, who: &str, warnings: &mut Problems) -> String {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let found = self.defined.get(name).cloned().or_else(|| self.env.get(name));
        if let Some(value) = found.as_ref().filter(|value| !value.is_empty()) {
            return value.clone();
        }
        if let Some(default) = default {
            return default.to_owned();
        }
        if found.is_none() {
            let what = format!("variable ${{{name}}} is used but not set");
            let hint = format!("set it, or write ${{{name}:-default}}");
            warnings.push(Problem::new(pos.clone(), what).of(who).hint(hint));
        }
        String::new()
    }
}

fn unreadable(name: &Text, value: &Text, path: &str, error: &ReadError) -> Problem {
    let what = format!("variable \"{}\": cannot read {path}: {error}", name.value);
    Problem::new(value.pos.clone(), what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use options::Entry;

    fn text(value: &str) -> Text {
        Text::new(value, Pos::new("a.conf", 3, 10))
    }

    fn env(name: &str) -> Option<String> {
        match name {
            "HOME" => Some("/root".into()),
            "EMPTY" => Some(String::new()),
            "TRICK" => Some("${HOME}".into()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_once_and_defaults_cover_the_empty() {
        for (given, wanted, warned) in [
            ("${HOME}/log", "/root/log", 0),
            ("${EMPTY:-x}${NONE:-y}", "xy", 0),
            ("[${EMPTY}]", "[]", 0),
            ("[${NONE}]", "[]", 1),
            ("${TRICK}", "${HOME}", 0),
            ("$HOME $ {HOME} ${HOME", "$HOME $ {HOME} ${HOME", 0),
            ("${NONE:-}", "", 0),
        ] {
            let mut warnings = Problems::new();
            assert_eq!(Variables::new(&env).replace(&text(given), "", &mut warnings), wanted, "{given}");
            assert_eq!(warnings.len(), warned, "{given}");
        }
    }

    #[test]
    fn a_definition_wins_over_the_environment_and_may_use_it() {
        let (mut problems, mut warnings) = (Problems::new(), Problems::new());
        let mut variables = Variables::new(&env);
        for (name, value) in [("HOME", "${HOME}/weir"), ("LOG", "${HOME}/log")] {
            let definition = Definition { name: text(name), value: text(value) };
            variables.define(&definition, &mut problems, &mut warnings);
        }
        assert_eq!(variables.replace(&text("${LOG}"), "", &mut warnings), "/root/weir/log");
        assert!(problems.is_empty() && warnings.is_empty());
    }

    #[test]
    fn a_definition_may_stand_in_a_file() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("key"), "two\nlines\n\n").unwrap();
        let (mut problems, mut warnings) = (Problems::new(), Problems::new());
        let mut variables = Variables::new(&env);
        for name in ["key", "none"] {
            let value = format!("file://{}", dir.path().join(name).display());
            let definition = Definition { name: text(name), value: text(&value) };
            variables.define(&definition, &mut problems, &mut warnings);
        }
        assert_eq!(variables.replace(&text("${key}"), "", &mut warnings), "two\nlines\n");
        assert_eq!(problems.len(), 1);
        assert!(problems.to_string().ends_with("none: it does not exist"), "{problems}");
    }

    #[test]
    fn an_option_of_which_nothing_is_left_is_not_given() {
        let mut section = Section::new("output", Pos::new("a.conf", 1, 1));
        for (key, value) in [("name", "http"), ("host", "${NONE}"), ("port", "${NONE:-80}")] {
            section.entries.push(Entry { key: text(key), value: text(value) });
        }
        let mut warnings = Problems::new();
        Variables::new(&env).apply(&mut section, &mut warnings);
        assert_eq!(section.entries.len(), 2);
        assert_eq!(
            warnings.to_string(),
            "a.conf:3:10: output http: variable ${NONE} is used but not set; set it, or write ${NONE:-default}\n\
             a.conf:3:10: output http: nothing is left of option \"host\": it counts as not given"
        );
    }
}
