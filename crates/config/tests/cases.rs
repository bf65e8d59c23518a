//! Runs every file of `cases/`: a configuration, and beside it in `.expect` all that must be said about it.
//!
//! A case lists its problems and warnings; one without problems is followed by the document it gives. Two small
//! plugins stand in for the catalogue of the agent, so that a case covers the way from the text to the message.
//! To add a case, write the configuration and run the test with `UPDATE_EXPECT=1`, then read what it wrote.

#![allow(dead_code)] // options that are read and never used: the cases are about what is said

use std::fmt::Write;
use std::path::{Path, PathBuf};

use config::{Document, Loaded, PARSERS, load, load_part, load_text, read_limited};
use options::{Options, Period, Pos, Problem, Problems, Reader, Section, Size, did_you_mean};

const PLUGINS: &[&str] = &["http", "stdout"];

#[derive(Debug, Options)]
struct Common {
    /// Plugin.
    #[option(required)]
    name: String,
    /// Tag of what an input reads.
    tag: Option<String>,
    /// Tags that are wanted.
    #[option(name = "match")]
    pattern: Option<String>,
}

#[derive(Debug, Options)]
struct Http {
    /// Address.
    #[option(default = "127.0.0.1")]
    host: String,
    /// Port.
    #[option(default = "80")]
    port: u16,
    /// Speak TLS.
    #[option(default = "off")]
    tls: bool,
    /// Largest body.
    #[option(default = "4M", max = "1G")]
    buffer_max_size: Size,
    /// How long to wait.
    #[option(default = "10s")]
    timeout: Period,
    /// Headers to add.
    header: Vec<String>,
    /// Table to write to.
    #[option(required)]
    table: String,
}

#[derive(Debug, Options)]
struct Stdout {
    /// Format.
    format: Option<String>,
}

/// What the agent does with a document.
fn check(document: &Document) -> Problems {
    let mut problems = Problems::new();
    for section in document.inputs.iter().chain(&document.filters).chain(&document.outputs) {
        let Some(name) = section.name() else { continue };
        if !PLUGINS.contains(&name.value.as_str()) {
            let hint = did_you_mean(&name.value, PLUGINS.iter().copied());
            let what = format!("there is no {} called \"{}\"", section.kind, name.value);
            problems.push(Problem::new(name.pos.clone(), what).maybe_hint(hint));
            continue;
        }
        let mut reader = Reader::new(section);
        let common = Common::read(&mut reader).is_some();
        let own = match name.value.as_str() {
            "http" => Http::read(&mut reader).is_some(),
            _ => Stdout::read(&mut reader).is_some(),
        };
        let finished = reader.finish(&["processors"]);
        assert!(common && own || !finished.problems.is_empty(), "a refusal without a reason");
        problems.append(finished.problems);
    }
    problems
}

fn report(loaded: Loaded) -> String {
    let Loaded { document, mut problems, warnings, variables: _ } = loaded;
    problems.append(check(&document));
    let mut out = String::new();
    if !problems.is_empty() {
        let _ = writeln!(out, "{problems}");
    }
    for warning in warnings.sorted() {
        let _ = writeln!(out, "warning: {warning}");
    }
    if problems.is_empty() {
        out.push_str(&render(&document, true));
    }
    out.replace("tests/cases/", "")
}

fn render(document: &Document, positions: bool) -> String {
    let Document { service, inputs, filters, outputs, parsers, multiline_parsers, others } = document;
    let lists = [inputs, filters, outputs, parsers, multiline_parsers, others];
    let mut out = String::new();
    for section in std::iter::once(service).chain(lists.into_iter().flatten()) {
        render_section(section, positions, 0, &mut out);
    }
    out
}

fn render_section(section: &Section, positions: bool, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let at = |pos: &options::Pos| if positions { format!("  @{pos}") } else { String::new() };
    let _ = writeln!(out, "{indent}[{}]{}", section.kind, at(&section.pos));
    for entry in &section.entries {
        let _ =
            writeln!(out, "{indent}  {} = {:?}{}", entry.key.value, entry.value.value, at(&entry.value.pos));
    }
    for group in &section.groups {
        render_section(group, positions, depth + 1, out);
    }
}

fn env(name: &str) -> Option<String> {
    match name {
        "HOSTNAME" => Some("node-1".into()),
        "PORT" => Some("9000".into()),
        _ => None,
    }
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("tests/cases").expect("the cases stand beside this file");
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf" || extension == "yaml"));
    paths.sort();
    paths
}

fn read(path: &Path) -> String {
    read_limited(path, 1 << 20).unwrap_or_default()
}

#[test]
fn every_case_says_what_stands_beside_it() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = String::new();
    for path in cases() {
        let expect = PathBuf::from(format!("{}.expect", path.display()));
        let parsers = path.file_stem().is_some_and(|name| name.to_string_lossy().starts_with("parsers"));
        let from = Pos::new("main.conf", 2, 5);
        let loaded = if parsers { load_part(&path, &from, PARSERS, &env) } else { load(&path, &env) };
        let found = report(loaded);
        if update {
            std::fs::write(&expect, &found).unwrap();
        }
        let wanted = read(&expect);
        if found != wanted {
            let _ = writeln!(wrong, "--- {}\nwanted:\n{wanted}found:\n{found}", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_pipeline_is_the_same_document_in_either_format() {
    let classic = load(Path::new("tests/cases/same.conf"), &env);
    let yaml = load(Path::new("tests/cases/same.yaml"), &env);
    assert!(classic.problems.is_empty() && yaml.problems.is_empty());
    assert_eq!(render(&classic.document, false), render(&yaml.document, false));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = load(Path::new("tests/cases/none.conf"), &env).problems.to_string();
    assert_eq!(missing, "tests/cases/none.conf: cannot read the file: it does not exist");
    let directory = load(Path::new("tests/cases"), &env).problems.to_string();
    assert_eq!(directory, "tests/cases: cannot read the file: it is not a regular file");
}

#[test]
fn no_file_cut_short_stops_the_reading() {
    for name in
        ["same.conf", "same.yaml", "scalars.yaml", "indentation.conf", "groups.conf", "wrong_type.yaml"]
    {
        let text = read(&Path::new("tests/cases").join(name));
        for end in (0..text.len()).filter(|&end| text.is_char_boundary(end)) {
            let loaded = load_text(name, &text[..end], &env);
            check(&loaded.document);
        }
    }
}

#[test]
fn a_file_of_too_many_lines_is_refused_once() {
    let text = "[INPUT]\n".repeat(config::limits::MAX_NODES + 10);
    let loaded = load_text("many.conf", &text, &env);
    assert_eq!(loaded.document.inputs.len(), config::limits::MAX_NODES);
    let last = format!("more than {} lines in all files", config::limits::MAX_NODES);
    assert_eq!(loaded.problems.iter().filter(|problem| problem.what == last).count(), 1);
}
