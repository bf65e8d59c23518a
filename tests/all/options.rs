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

fn is_accepted(accepted: &str, kind: &str, plugin: &str, option: &str) -> bool {
    accepted.lines().any(|line| {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        matches!(words[..], [k, p, o, _] if k == kind && (p == "*" || p == plugin) && o == option)
    })
}

#[test]
fn options_have_fluent_bits_names_and_types() {
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
        let groups = plugin["properties"].as_object().unwrap().values();
        let ours: HashMap<String, String> = groups
            .flat_map(|group| group.as_array().unwrap())
            .map(|option| {
                (option["name"].as_str().unwrap().to_lowercase(), letter(option["type"].as_str().unwrap()))
            })
            .collect();
        for (option, theirs) in words.filter_map(|word| word.split_once('=')) {
            match ours.get(option) {
                // Accepted, and named at the start as having no effect.
                None if known.contains(option)
                    || option.starts_with("tls.")
                    || option.starts_with("net.") =>
                {
                    without_effect += 1;
                }
                None if is_accepted(&accepted, kind, name, option) => without_effect += 1,
                None => wrong.push(format!("{kind} {name} {option}: refused here")),
                Some(ours) if agrees(theirs, ours) => same += 1,
                Some(_) if is_accepted(&accepted, kind, name, option) => same += 1,
                Some(ours) => wrong.push(format!("{kind} {name} {option}: type {ours}, not {theirs}")),
            }
        }
    }
    eprintln!("{plugins} plugins, {same} options alike, {without_effect} without effect");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
