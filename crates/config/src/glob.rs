//! Include patterns: `*` stands for any part of a name and `?` for one character of it.
//!
//! As in a shell, neither stands for a slash nor for the dot at the start of a hidden file. A path is a pattern only
//! when it holds a `*`, as in Fluent Bit, so a file may have a `?` in its name.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::limits::MAX_DIRECTORY_ENTRIES;

/// True when `path` stands for several files.
pub fn is_pattern(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().contains(&b'*')
}

/// The files that match `pattern`, sorted, so that a directory gives the same pipeline on every machine.
pub fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let Component::Normal(name) = component else {
            found.iter_mut().for_each(|path| path.push(component));
            continue;
        };
        if !is_pattern(Path::new(name)) {
            found.iter_mut().for_each(|path| path.push(name));
            continue;
        }
        let name = name.to_string_lossy();
        let mut next = Vec::new();
        for directory in &found {
            next.extend(matching(directory, &name)?.into_iter().map(|entry| directory.join(entry)));
        }
        found = next;
    }
    found.retain(|path| path.is_file());
    found.sort();
    Ok(found)
}

fn matching(directory: &Path, pattern: &str) -> io::Result<Vec<OsString>> {
    let shown = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let entries = match fs::read_dir(shown) {
        Ok(entries) => entries,
        // No directory, or a file where the pattern wants one: nothing matches there.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for (count, entry) in entries.enumerate() {
        if count >= MAX_DIRECTORY_ENTRIES {
            return Err(io::Error::other(format!("{} holds too many files", shown.display())));
        }
        let name = entry?.file_name();
        if matches(pattern, &name.to_string_lossy()) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether `name` matches. Remembers only the last star, which is enough and keeps the time a product of lengths.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&letter) if letter == '?' || letter == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                // The last star takes one character more.
                let Some((at, taken)) = star else { return false };
                star = Some((at, taken + 1));
                p = at + 1;
                n = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|&letter| letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, name, wanted) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            (".*", ".conf", true),
            ("*", "", true),
            ("a*b*c", "axxbxbyc", true),
            ("a*b*c", "axxbxby", false),
            ("in-?.conf*", "in-1.conf", true),
            ("in-?.conf*", "in-.conf", false),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_expands_to_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b/2.conf", "a/1.conf", "a/0.conf", "a/skip.txt", "a/.hidden.conf"] {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir(dir.path().join("a/dir.conf")).unwrap();
        let found = expand(&dir.path().join("*/*.conf")).unwrap();
        let wanted = ["a/0.conf", "a/1.conf", "b/2.conf"].map(|name| dir.path().join(name));
        assert_eq!(found, wanted);
        assert!(expand(&dir.path().join("none/*.conf")).unwrap().is_empty());
    }
}
