//! The classic format: `[SECTION]` headers and indented `Key  value` lines.
//!
//! ```text
//! # a comment, alone on its line
//! @SET port=9880
//! @INCLUDE inputs/*.conf
//!
//! [INPUT]
//!     Name  http
//!     Port  ${port}
//! ```
//!
//! The first option of a file sets the indentation and the others repeat it. `[GROUP]`, indented like an option,
//! opens a group whose options are indented twice.

use std::path::Path;
use std::sync::Arc;

use options::{Entry, Pos, Problem, Section, Text, did_you_mean};

use crate::env::Definition;
use crate::files::{name_of, small};
use crate::{Format, Load, PARSERS};

/// The section names of the format, as the user writes them.
const SECTIONS: &[&str] = &[
    "SERVICE",
    "INPUT",
    "FILTER",
    "OUTPUT",
    "CUSTOM",
    "PARSER",
    "MULTILINE_PARSER",
    "STREAM_TASK",
    "PLUGINS",
    "UPSTREAM",
    "NODE",
];

/// Commands that take the rest of their line.
const COMMANDS: &[&str] = &["@INCLUDE", "@SET"];

/// Reads the text of one file into `load`.
pub fn read(load: &mut Load, path: &Path, text: &str) {
    let mut reader = Reader { load, path, file: name_of(path), indent: None, place: Place::Nowhere };
    for (number, line) in (1..).zip(text.split('\n')) {
        reader.line(number, line.strip_suffix('\r').unwrap_or(line));
    }
}

/// Where options go.
#[derive(Clone, Copy)]
enum Place {
    /// No section has been opened.
    Nowhere,
    /// The section is unknown, which has been said; its options are not.
    Ignored,
    /// The section at this index, or its last group.
    Section { index: usize, in_group: bool },
}

struct Reader<'a> {
    load: &'a mut Load,
    path: &'a Path,
    file: Arc<str>,
    indent: Option<String>,
    place: Place,
}

impl Reader<'_> {
    fn line(&mut self, number: u32, line: &str) {
        let text = line.trim_start_matches([' ', '\t']);
        let indent = &line[..line.len() - text.len()];
        let pos = Pos { file: Arc::clone(&self.file), line: number, column: small(indent.len()) + 1 };
        let text = text.trim_end();
        if text.is_empty() || text.starts_with('#') || !self.load.count(&pos) {
            return;
        }
        if indent.is_empty() && text.starts_with('@') {
            return self.command(text, &pos);
        }
        if indent.is_empty() && text.starts_with('[') {
            return self.section(text, pos);
        }
        let deep = self.indentation(indent, &pos);
        if text.starts_with('[') {
            return self.group(text, pos);
        }
        self.option(text, pos, deep);
    }

    fn command(&mut self, text: &str, pos: &Pos) {
        let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let value = rest.trim_start();
        let value_pos = pos.at(pos.line, column_of(text, value));
        if value.is_empty() {
            return self.problem(pos, format!("{word} needs a value"));
        }
        if word.eq_ignore_ascii_case("@include") {
            return self.load.include(self.path, value, &value_pos, Format::Classic);
        }
        if !word.eq_ignore_ascii_case("@set") {
            return self.unknown_command(word, pos);
        }
        match value.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                let name = Text::new(name.trim(), value_pos.clone());
                let pos = pos.at(pos.line, column_of(text, value.trim_start()));
                self.load.assembly.definitions.push(Definition { name, value: Text::new(value.trim(), pos) });
            }
            _ => self.problem(&value_pos, "@SET needs name=value"),
        }
    }

    /// Fluent Bit ignores all other commands; but a slip in `@INCLUDE` would lose a file.
    fn unknown_command(&mut self, word: &str, pos: &Pos) {
        let problem = Problem::new(pos.clone(), format!("unknown command {word}"));
        match did_you_mean(word, COMMANDS.iter().copied()) {
            Some(hint) => self.load.assembly.problems.push(problem.hint(hint)),
            None => self.load.assembly.warnings.push(problem.hint("it has no effect")),
        }
    }

    fn section(&mut self, text: &str, pos: Pos) {
        self.place = Place::Ignored;
        let Some(name) = header(text) else {
            return self.problem(&pos, format!("bad section header {}", options::quoted(text)));
        };
        if !SECTIONS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return self.unknown_section(name, pos);
        }
        let kind = name.to_ascii_lowercase();
        if self.load.part.is_none() && PARSERS.contains(&kind.as_str()) {
            let problem = Problem::new(pos, format!("[{name}] does not belong into the main file"))
                .hint("move it to a file of its own and name that in [SERVICE]: parsers_file FILE");
            return self.load.assembly.problems.push(problem);
        }
        let sections = &mut self.load.assembly.sections;
        if kind != "node" {
            sections.push(Section::new(kind, pos));
            self.place = Place::Section { index: sections.len() - 1, in_group: false };
            return;
        }
        let index = sections.len().saturating_sub(1);
        match sections.last_mut().filter(|section| section.kind == "upstream") {
            Some(upstream) => {
                upstream.groups.push(Section::new(kind, pos));
                self.place = Place::Section { index, in_group: true };
            }
            None => self.problem(&pos, "[NODE] without an [UPSTREAM] before it"),
        }
    }

    /// Fluent Bit ignores sections of other names; but a slip in one would lose what stands in it.
    fn unknown_section(&mut self, name: &str, pos: Pos) {
        let problem = Problem::new(pos, format!("unknown section [{name}]"));
        match did_you_mean(name, SECTIONS.iter().copied()) {
            Some(hint) => self.load.assembly.problems.push(problem.hint(hint)),
            None => {
                let hint = format!("it has no effect; known are {}", SECTIONS.join(", "));
                self.load.assembly.warnings.push(problem.hint(hint));
            }
        }
    }

    fn group(&mut self, text: &str, pos: Pos) {
        let Some(name) = header(text) else {
            return self.problem(&pos, format!("bad group header {}", options::quoted(text)));
        };
        match &mut self.place {
            Place::Nowhere => self.problem(&pos, format!("group [{name}] stands outside a section")),
            Place::Ignored => {}
            Place::Section { index, in_group } => {
                *in_group = true;
                self.load.assembly.sections[*index].groups.push(Section::new(name.to_ascii_lowercase(), pos));
            }
        }
    }

    fn option(&mut self, text: &str, pos: Pos, deep: bool) {
        let (key, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let value = rest.trim_start();
        let Place::Section { index, in_group } = self.place else {
            if matches!(self.place, Place::Nowhere) {
                self.problem(&pos, format!("option {} stands outside a section", options::quoted(key)));
            }
            return;
        };
        if value.is_empty() {
            let who = self.load.assembly.sections[index].label();
            let problem = Problem::new(pos, format!("option {} has no value", options::quoted(key))).of(who);
            return self.load.assembly.problems.push(problem);
        }
        let value_pos = pos.at(pos.line, pos.column + column_of(text, value) - 1);
        let entry =
            Entry { key: Text::new(key.to_ascii_lowercase(), pos), value: Text::new(value, value_pos) };
        let section = &mut self.load.assembly.sections[index];
        // The options of a node are not indented twice: [NODE] is a section of its own in this format.
        let node = section.kind == "upstream" && in_group;
        match section.groups.last_mut().filter(|_| in_group && (deep || node)) {
            Some(group) => group.entries.push(entry),
            None => {
                section.entries.push(entry);
                self.place = Place::Section { index, in_group: false };
            }
        }
    }

    /// Holds a line to the indentation of the file; true when it is indented twice, as the options of a group are.
    fn indentation(&mut self, indent: &str, pos: &Pos) -> bool {
        let fixed = match &self.indent {
            Some(fixed) => fixed.as_str(),
            None if indent.is_empty() => "",
            None => {
                self.indent = Some(indent.to_owned());
                return false;
            }
        };
        let in_group = matches!(self.place, Place::Section { in_group: true, .. });
        let wrong = match indent.strip_prefix(fixed) {
            _ if indent.is_empty() => {
                "indentation level is too low: options stand under their section, indented"
            }
            Some("") => return false,
            Some(extra) if extra.len() == fixed.len() && in_group => return true,
            Some(_) => "extra indentation level found",
            None if fixed.starts_with(indent) => "indentation level is too low",
            None => "inconsistent use of tab and space",
        };
        self.problem(pos, wrong);
        false
    }

    fn problem(&mut self, pos: &Pos, what: impl Into<String>) {
        self.load.problem(pos, what);
    }
}

/// The name in `[NAME]`.
fn header(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('[')?.split_once(']')?;
    Some(name.trim()).filter(|name| !name.is_empty())
}

/// The column of `part`, which is the end of `line`.
fn column_of(line: &str, part: &str) -> u32 {
    let before = line.len() - part.len();
    small(line.get(..before).map_or(before, |before| before.chars().count())) + 1
}
