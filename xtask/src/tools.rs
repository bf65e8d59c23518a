//! The programs that tests drive: real clients, from the system's packages.

use std::process::{Command, Stdio};

/// Program, and Debian's package that has it.
const TOOLS: &[(&str, &str)] =
    &[("curl", "curl"), ("h2load", "nghttp2-client"), ("python3", "python3"), ("valgrind", "valgrind")];

/// Installs what is missing, and says so. Without the rights to install, the tests that need a missing tool
/// are skipped by name; with CI set they fail.
pub fn install() -> Result<(), String> {
    let missing: Vec<_> = TOOLS.iter().filter(|(program, _)| !is_there(program)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    // SAFETY: the call has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    if !root || !is_there("apt-get") {
        eprintln!(
            "cargo x: not installed and not installable here: {}; tests that need them are skipped",
            packages.join(", ")
        );
        return Ok(());
    }
    eprintln!("cargo x: installing {}", packages.join(", "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        crate::run::finish(&mut command, &format!("apt-get {}", arguments.join(" ")))
    };
    apt(&["update", "-q"])?;
    apt(&[&["install", "-y", "-q", "--no-install-recommends"], packages.as_slice()].concat())
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}
