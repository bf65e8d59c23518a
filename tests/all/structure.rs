//! What the architecture promises about itself.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    String::from_utf8(std::fs::read(path).unwrap()).unwrap()
}

/// The layer of each crate; a crate may depend on lower layers only. Plugins are on one layer, so they never
/// depend on each other.
const LAYERS: &[(&str, u32)] = &[
    ("budget", 0),
    ("options-derive", 0),
    ("event", 1),
    ("options", 1),
    ("config", 2),
    ("formats", 2),
    ("net", 2),
    ("engine", 3),
    ("inputs", 4),
    ("filters", 4),
    ("outputs", 4),
    ("agent", 5),
    ("hotpath", 5),
    ("leaklab", 0),
    ("kusto-local", 0),
    ("zoo", 0),
    ("testkit", 6),
    ("xtask", 6),
    ("tests", 7),
];

/// Dependencies that a lower layer is allowed but this crate must not have.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("engine", &["net", "config"]),
    ("filters", &["net"]),
    ("inputs", &["config"]),
    ("filters", &["config"]),
    ("outputs", &["config"]),
];

/// The names in `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    assert!(
        !manifest.contains("dependencies.") && !manifest.contains("[target."),
        "one table of dependencies"
    );
    let section = manifest.split("[dependencies]").nth(1).unwrap_or("");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[test]
fn dependencies_point_to_lower_layers_only() {
    let layers: HashMap<&str, u32> = LAYERS.iter().copied().collect();
    for folder in std::fs::read_dir(root().join("crates")).unwrap() {
        let folder = folder.unwrap().path();
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let layer = layers.get(name.as_str()).unwrap_or_else(|| panic!("crate {name} has no layer"));
        for dependency in dependencies(&read(&folder.join("Cargo.toml"))) {
            if let Some(below) = layers.get(dependency.as_str()) {
                assert!(below < layer, "{name} must not depend on {dependency}");
            }
            let forbidden =
                FORBIDDEN.iter().any(|(of, names)| *of == name && names.contains(&dependency.as_str()));
            assert!(!forbidden, "{name} must not depend on {dependency}");
        }
    }
}

#[test]
fn only_net_and_what_is_above_the_engine_know_the_runtime() {
    for name in ["budget", "event", "options", "config", "formats"] {
        let manifest = read(&root().join("crates").join(name).join("Cargo.toml"));
        assert!(!dependencies(&manifest).contains(&"tokio".to_owned()), "{name} must not know tokio");
    }
}

#[test]
fn every_place_on_the_path_of_a_record_exists() {
    let text = read(&root().join("ARCHITECTURE.md"));
    let path = text.split("## The path of a record").nth(1).unwrap().split("```").nth(1).unwrap();
    let mut places = 0;
    for line in path.lines().filter(|line| line.starts_with("crates/")) {
        let mut words = line.split_whitespace();
        let (file, place) = (words.next().unwrap(), words.next().unwrap());
        let source = read(&root().join(file));
        let function = place.rsplit("::").next().unwrap();
        let defined = ["(", "<"].iter().any(|end| source.contains(&format!("fn {function}{end}")));
        assert!(defined, "{file} has no {place}");
        places += 1;
    }
    assert_eq!(places, 8);
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["crates", "tests", "xtask"] {
        sources(&root().join(folder), &mut found);
    }
    found
}

#[test]
fn functions_fit_a_screen_and_files_a_sitting() {
    for path in all_sources() {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() <= 700, "{} has {} lines", path.display(), lines.len());
        let mut start = None;
        for (number, line) in lines.iter().enumerate() {
            let code = line.trim_start();
            let indent = line.len() - code.len();
            let is_function =
                ["fn ", "pub fn ", "pub(crate) fn ", "async fn ", "pub async fn ", "pub(super) fn "]
                    .iter()
                    .any(|word| code.starts_with(word));
            if is_function && !line.trim_end().ends_with(';') {
                start = Some((number, indent));
            }
            if let Some((first, depth)) = start
                && indent == depth
                && code.starts_with('}')
            {
                let length = number - first + 1;
                assert!(length <= 70, "{}:{} is a function of {length} lines", path.display(), first + 1);
                start = None;
            }
        }
    }
}
