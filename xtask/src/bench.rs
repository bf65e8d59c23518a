//! Weir and its peers, measured side by side. The measuring itself is leaklab's.

use std::process::Command;

use crate::run;

/// Builds what is measured and what measures, and runs it.
pub fn bench(arguments: &[&str]) -> Result<(), String> {
    eprintln!("building (the first time takes some minutes) ...");
    run::cargo(&["build", "--release", "--quiet", "-p", "agent", "-p", "kusto-local", "-p", "leaklab"])?;
    let mut leaklab = Command::new(run::target().join("release/leaklab"));
    // History and page are written from the root of the repository.
    leaklab.arg("bench").args(arguments).current_dir(run::root());
    run::finish(&mut leaklab, "leaklab bench")
}
