//! Broken configurations: each is refused with exit code 1 and, all at once, the place, the reason and what to do.
//!
//! A case is a file in `tests/broken` with what must be said in `.expect` beside it. `UPDATE_EXPECT=1` writes
//! what is said; then read it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use testkit::binary;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("broken")
}

#[test]
fn every_broken_configuration_is_refused_with_place_reason_and_suggestion() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "conf" || extension == "yaml") {
            continue;
        }
        count += 1;
        let name = path.file_name().unwrap();
        let mut command = Command::new(binary("weir"));
        command.arg("-c").arg(name).arg("--dry-run").current_dir(folder()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let kept = folder().join(format!("{}.expect", name.to_string_lossy()));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&kept, &said).unwrap();
        }
        // The plugins there are make the longest part of a hint, and change.
        let expected = String::from_utf8(std::fs::read(&kept).unwrap_or_default()).unwrap();
        let shown = |text: &str| {
            let lines = text.lines().map(|line| line.split("; available: ").next().unwrap_or_default());
            lines.collect::<Vec<_>>().join("\n")
        };
        if output.status.code() != Some(1) || shown(&said) != shown(&expected) || expected.is_empty() {
            wrong.push(format!("## {}: {:?}\n{said}", name.to_string_lossy(), output.status.code()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 40, "{count} cases");
}
