//! The options of every plugin against those of Fluent Bit 5.1.1: `weir -J` and `tests/parity/options.txt`.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;
use testkit::weir;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    String::from_utf8(std::fs::read(path).unwrap()).unwrap()
}

/// The type in the table's letters.
fn letter(kind: &str) -> String {
    match kind {
        "boolean" => "b".to_owned(),
        "integer" => "i".to_owned(),
        "time" => "t".to_owned(),
        "size" => "z".to_owned(),
        "double" => "d".to_owned(),
        "multiple comma delimited strings" => "c".to_owned(),
        words if words.starts_with("space delimited") => "w".to_owned(),
        _ => "s".to_owned(),
    }
}

/// Whether a value of Fluent Bit's type is one of ours: a text there may be anything here, as long as what it
/// says is the same, and words are words however many are wanted.
fn agrees(theirs: &str, ours: &str) -> bool {
    theirs == ours || ["s", "v", "p", "x"].contains(&theirs) || (theirs.starts_with('w') && ours == "w")
}

/// Whether a line of what is accepted names the option, `*` being any.
fn is_accepted(accepted: &str, kind: &str, plugin: &str, option: &str) -> bool {
    let is = |word: &str, what: &str| word == "*" || word == what;
    accepted.lines().any(|line| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let (wanted, found) = (kind.split(':'), words[0].split(':'));
        let same_kind = wanted.clone().count() == found.clone().count()
            && wanted.zip(found).all(|(kind, word)| is(word, kind));
        same_kind && matches!(words[1..], [p, o, _] if is(p, plugin) && is(o, option))
    })
}

/// A default in one way of writing: `60` and `60s`, `1M` and `1000000` are the same.
fn plain(kind: &str, default: &str) -> String {
    let default = match (kind, default) {
        ("b", "on") => "true".to_owned(),
        ("b", "off") => "false".to_owned(),
        (_, default) => default.to_lowercase(),
    };
    let units: &[(&str, u64)] = match kind {
        "t" => &[("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)],
        "z" => &[("b", 1), ("k", 1_000), ("m", 1_000_000), ("g", 1_000_000_000)],
        _ => &[],
    };
    let number =
        |text: &str, factor: u64| text.parse::<u64>().ok().map(|number| (number * factor).to_string());
    let unit = units.iter().find_map(|(unit, factor)| number(default.strip_suffix(unit)?, *factor));
    unit.unwrap_or(default)
}

/// An option of Weir's schema: its type's letter, and its default.
struct Shown {
    letter: String,
    default: String,
}

fn ours(plugin: &Value) -> HashMap<String, Shown> {
    let groups = plugin["properties"].as_object().unwrap().values();
    groups
        .flat_map(|group| group.as_array().unwrap())
        .map(|option| {
            let letter = letter(option["type"].as_str().unwrap());
            let default = plain(&letter, option["default"].as_str().unwrap_or_default());
            (option["name"].as_str().unwrap().to_lowercase(), Shown { letter, default })
        })
        .collect()
}

#[test]
fn options_have_fluent_bits_names_types_and_defaults() {
    let schema: Value = serde_json::from_slice(&weir(&["-J"]).stdout).unwrap();
    let (table, accepted) = (read("parity/options.txt"), read("parity/options-accepted.txt"));
    let known = read("../crates/agent/src/reference.txt");
    let (mut plugins, mut same, mut without_effect, mut wrong) = (0, 0, 0, Vec::new());
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let (kind, name) = (words.next().unwrap(), words.next().unwrap());
        let all = schema[format!("{kind}s")].as_array().unwrap();
        let Some(plugin) = all.iter().find(|plugin| plugin["name"] == name) else { continue };
        plugins += 1;
        let ours = ours(plugin);
        for (option, theirs) in words.filter_map(|word| word.split_once('=')) {
            let (theirs, default) = theirs.split_once(':').unwrap_or((theirs, ""));
            let default = plain(theirs, &default.replace("\\s", " "));
            let is_accepted = |kind: &str| is_accepted(&accepted, kind, name, option);
            // Accepted, and named at the start as having no effect.
            let is_known = known.contains(option) || option.starts_with("tls.") || option.starts_with("net.");
            match ours.get(option) {
                None if is_known || is_accepted(kind) => without_effect += 1,
                None => wrong.push(format!("{kind} {name} {option}: refused here")),
                Some(ours) if !agrees(theirs, &ours.letter) && !is_accepted(kind) => {
                    wrong.push(format!("{kind} {name} {option}: type {}, not {theirs}", ours.letter));
                }
                Some(ours) if ours.default != default && !is_accepted(&format!("default:{kind}")) => {
                    let ours = &ours.default;
                    wrong.push(format!("{kind} {name} {option}: default \"{ours}\", not \"{default}\""));
                }
                Some(_) => same += 1,
            }
        }
    }
    eprintln!("{plugins} plugins, {same} options alike, {without_effect} without effect");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_reference_pages_are_what_the_binary_prints() {
    for kind in ["service", "inputs", "filters", "processors", "outputs"] {
        let printed = String::from_utf8(weir(&["--reference", kind]).stdout).unwrap();
        let page = read(&format!("../docs/reference/{kind}.md"));
        assert!(page == printed, "docs/reference/{kind}.md is not of this build: run cargo x docs");
    }
}
