//! The YAML format.
//!
//! ```yaml
//! env:
//!   port: 9880
//! includes:
//!   - inputs/*.yaml
//! service:
//!   flush: 1
//! pipeline:
//!   inputs:
//!     - name: http
//!       port: ${port}
//!   outputs:
//!     - name: stdout
//!       match: '*'
//! ```
//!
//! A scalar is its own text: `5.0` stays `5.0` and `on` stays `on`, because only the plugin knows the type of an
//! option. Text in quotes is decoded. A list of scalars is an option given several times; a map, or a list of maps,
//! is a group.

mod tree;

use std::path::Path;

use options::{Entry, Pos, Problem, Section, Text, did_you_mean, snake_case};

use crate::env::Definition;
use crate::files::name_of;
use crate::{Format, Load};
use tree::{Map, Node};

const TOP: &[&str] = &[
    "env",
    "includes",
    "service",
    "pipeline",
    "parsers",
    "multiline_parsers",
    "stream_processor",
    "plugins",
    "upstream_servers",
    "customs",
    "extensions",
];

const PIPELINE: &[&str] = &["inputs", "filters", "outputs", "customs"];

/// Reads the text of one file into `load`.
pub fn read(load: &mut Load, path: &Path, text: &str) {
    let root = match tree::parse(name_of(path), text, &mut load.assembly.problems) {
        Some(root) => root,
        // The problem is on record.
        None => return,
    };
    let mut reader = Reader { load, path };
    match root {
        Node::Map(map) => map.entries.into_iter().for_each(|(key, node)| reader.top(&key, node)),
        // A file of comments.
        Node::Scalar(text) if text.value.is_empty() => {}
        other => reader.problem(&other.pos(), format!("the file must be a map, not {}", other.shape())),
    }
}

struct Reader<'a> {
    load: &'a mut Load,
    path: &'a Path,
}

impl Reader<'_> {
    fn top(&mut self, key: &Text, node: Node) {
        match key.value.as_str() {
            "env" => self.env(node),
            "includes" => self.includes(node),
            "service" => self.service(node),
            "pipeline" => self.pipeline(node),
            "parsers" => self.sections("parser", key, node),
            "multiline_parsers" => self.sections("multiline_parser", key, node),
            "stream_processor" => self.sections("stream_task", key, node),
            "upstream_servers" => self.sections("upstream", key, node),
            "customs" => self.sections("custom", key, node),
            "plugins" => self.plugins(key, node),
            "extensions" => {
                let problem = Problem::new(key.pos.clone(), "\"extensions\" has no effect");
                self.load.assembly.warnings.push(problem);
            }
            name if PIPELINE.contains(&name) => {
                let problem = Problem::new(key.pos.clone(), format!("unknown section \"{name}\""));
                self.load.assembly.problems.push(problem.hint("it belongs under \"pipeline\""));
            }
            _ => self.unknown("section", key, TOP),
        }
    }

    fn pipeline(&mut self, node: Node) {
        let Some(map) = self.map("pipeline", node) else { return };
        for (key, node) in map.entries {
            match key.value.as_str() {
                "inputs" => self.sections("input", &key, node),
                "filters" => self.sections("filter", &key, node),
                "outputs" => self.sections("output", &key, node),
                "customs" => self.sections("custom", &key, node),
                _ => self.unknown("pipeline section", &key, PIPELINE),
            }
        }
    }

    fn service(&mut self, node: Node) {
        if let Some(map) = self.map("service", node) {
            let section = self.section("service", map);
            self.load.assembly.sections.push(section);
        }
    }

    /// A list of maps, each of them a section.
    fn sections(&mut self, kind: &str, key: &Text, node: Node) {
        for item in self.list(&key.value, node) {
            match item {
                Node::Map(map) => {
                    let section = self.section(kind, map);
                    self.load.assembly.sections.push(section);
                }
                other => {
                    let what = format!("an item of \"{}\" must be a map, not {}", key.value, other.shape());
                    let hint = match &other {
                        Node::Scalar(text) => Some(format!("write `- name: {}`", text.value)),
                        _ => None,
                    };
                    let problem = Problem::new(other.pos(), what).maybe_hint(hint);
                    self.load.assembly.problems.push(problem);
                }
            }
        }
    }

    fn section(&mut self, kind: &str, map: Map) -> Section {
        let mut section = Section::new(kind, map.pos);
        for (key, node) in map.entries {
            let key = Text::new(snake_case(&key.value), key.pos);
            match node {
                Node::Scalar(value) => section.entries.push(Entry { key, value }),
                Node::Map(map) => section.groups.push(self.section(group_name(&key.value), map)),
                Node::List(items) => {
                    for item in items.items {
                        self.item(&mut section, &key, item);
                    }
                }
            }
        }
        section
    }

    /// One item of a list that is the value of an option.
    fn item(&mut self, section: &mut Section, key: &Text, item: Node) {
        match item {
            Node::Scalar(value) => section.entries.push(Entry { key: key.clone(), value }),
            Node::Map(map) => section.groups.push(self.section(group_name(&key.value), map)),
            Node::List(list) => {
                let what = format!("an item of \"{}\" must be text or a map, not a list", key.value);
                self.load.problem(&list.pos, what);
            }
        }
    }

    /// `env` is a map of names to values, or a list of maps with `name` and `value` or `uri`.
    fn env(&mut self, node: Node) {
        let items = match node {
            Node::Map(map) => {
                for (name, node) in map.entries {
                    match node {
                        Node::Scalar(value) => self.define(name, value),
                        other => self.wrong_shape(&name.value, "text", &other),
                    }
                }
                return;
            }
            other => self.list("env", other),
        };
        for item in items {
            let Some(map) = self.map("an item of env", item) else { continue };
            let section = self.section("env", map);
            self.env_item(&section);
        }
    }

    fn env_item(&mut self, section: &Section) {
        const KEYS: &[&str] = &["name", "value", "uri", "refresh_interval"];
        let problems = &mut self.load.assembly.problems;
        for entry in section.entries.iter().filter(|entry| !KEYS.contains(&entry.key.value.as_str())) {
            let what = format!("unknown key \"{}\"", entry.key.value);
            let hint = did_you_mean(&entry.key.value, KEYS.iter().copied());
            problems.push(Problem::new(entry.key.pos.clone(), what).of("env").maybe_hint(hint));
        }
        if let Some(interval) = section.get("refresh_interval") {
            let what = "\"refresh_interval\" has no effect: the value is read once";
            self.load.assembly.warnings.push(Problem::new(interval.pos.clone(), what).of("env"));
        }
        let value = section.get("value").or(section.get("uri"));
        match (section.name(), value) {
            (Some(name), Some(value)) => self.define(name.clone(), value.clone()),
            (None, _) => problems.push(Problem::new(section.pos.clone(), "\"name\" is missing").of("env")),
            (_, None) => {
                let what = "\"value\" or \"uri\" is missing";
                problems.push(Problem::new(section.pos.clone(), what).of("env"));
            }
        }
    }

    fn define(&mut self, name: Text, value: Text) {
        self.load.assembly.definitions.push(Definition { name, value });
    }

    fn includes(&mut self, node: Node) {
        for item in self.list("includes", node) {
            match item {
                Node::Scalar(text) if !text.value.is_empty() => {
                    self.load.include(self.path, &text.value, &text.pos, Format::Yaml);
                }
                other => self.wrong_shape("an item of includes", "a path", &other),
            }
        }
    }

    /// A list of paths, which the classic format writes as `[PLUGINS]` with several `Path`.
    fn plugins(&mut self, key: &Text, node: Node) {
        let mut section = Section::new("plugins", key.pos.clone());
        for item in self.list("plugins", node) {
            match item {
                Node::Scalar(value) => {
                    section.entries.push(Entry { key: Text::new("path", key.pos.clone()), value });
                }
                other => self.wrong_shape("an item of plugins", "a path", &other),
            }
        }
        self.load.assembly.sections.push(section);
    }

    fn map(&mut self, what: &str, node: Node) -> Option<Map> {
        match node {
            Node::Map(map) => Some(map),
            Node::Scalar(text) if text.value.is_empty() => None,
            other => {
                self.wrong_shape(what, "a map", &other);
                None
            }
        }
    }

    fn list(&mut self, what: &str, node: Node) -> Vec<Node> {
        match node {
            Node::List(list) => list.items,
            Node::Scalar(text) if text.value.is_empty() => Vec::new(),
            other => {
                self.wrong_shape(what, "a list", &other);
                Vec::new()
            }
        }
    }

    fn wrong_shape(&mut self, what: &str, wanted: &str, found: &Node) {
        self.problem(&found.pos(), format!("{what} must be {wanted}, not {}", found.shape()));
    }

    fn unknown(&mut self, what: &str, key: &Text, known: &[&str]) {
        let hint = did_you_mean(&key.value, known.iter().copied())
            .unwrap_or_else(|| format!("known are {}", known.join(", ")));
        let problem = Problem::new(key.pos.clone(), format!("unknown {what} \"{}\"", key.value)).hint(hint);
        self.load.assembly.problems.push(problem);
    }

    fn problem(&mut self, pos: &Pos, what: impl Into<String>) {
        self.load.problem(pos, what);
    }
}

/// The classic format names one `[NODE]` what YAML lists under `nodes`.
fn group_name(key: &str) -> &str {
    if key == "nodes" { "node" } else { key }
}
