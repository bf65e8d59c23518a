//! Weir and its peers, measured side by side. The measuring itself is leaklab's.

use std::process::Command;

use crate::run;

/// Builds what is measured and what measures, and runs it.
pub fn bench(arguments: &[&str]) -> Result<(), String> {
    leaklab(&[&["bench"], arguments].concat(), &["agent", "kusto-local"])
}

/// Builds `leaklab` and other packages, and runs it.
pub fn leaklab(arguments: &[&str], packages: &[&str]) -> Result<(), String> {
    eprintln!("building (the first time takes some minutes) ...");
    let packages = packages.iter().flat_map(|package| ["-p", package]);
    let build: Vec<&str> =
        ["build", "--release", "--quiet", "-p", "leaklab"].into_iter().chain(packages).collect();
    run::cargo(&build)?;
    let mut leaklab = Command::new(run::target().join("release/leaklab"));
    // History and page are written from the root of the repository.
    leaklab.args(arguments).current_dir(run::root());
    run::finish(&mut leaklab, &format!("leaklab {}", arguments.first().unwrap_or(&"")))
}
