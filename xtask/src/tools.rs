//! The programs that tests drive: real clients, from the system's packages.

use std::path::Path;
use std::process::{Command, Stdio};

/// Program, and Debian's package that has it.
const TOOLS: &[(&str, &str)] = &[
    ("chromium", "chromium"),
    ("curl", "curl"),
    ("h2load", "nghttp2-client"),
    ("logger", "bsdutils"),
    ("prometheus", "prometheus"),
    ("python3", "python3-venv"),
    ("rsyslogd", "rsyslog"),
    ("valgrind", "valgrind"),
];

/// Microsoft's SDKs and storage emulator, which kusto-local is tested with, and where they are put.
const SDK_FOLDER: &str = "target/tools/kusto-sdk";
const PYTHON_SDK: &[&str] = &["azure-kusto-data==6.0.4", "azure-kusto-ingest==6.0.4", "pandas>=2,<4"];
/// Fluentd's own client for Python, in the same environment.
const FLUENT_LOGGER: &str = "fluent-logger==0.11.1";
const NODE_SDK: &[&str] = &["azure-kusto-data@7.0.4", "azure-kusto-ingest@7.0.1", "azurite@3.37.0"];

/// Installs what is missing, and says so. Without the rights to install, the tests that need a missing tool
/// are skipped by name; with CI set they fail.
pub fn install() -> Result<(), String> {
    programs()?;
    sdks()
}

/// The SDKs, once per checkout.
fn sdks() -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(SDK_FOLDER);
    let run = |program: &Path, arguments: &[&str], what: &str| {
        let mut command = Command::new(program);
        crate::run::finish(command.args(arguments).stdout(Stdio::null()), what)
    };
    let place = folder.to_string_lossy();
    if !folder.join("python.done").exists() {
        eprintln!("cargo x: installing {} into {SDK_FOLDER}", PYTHON_SDK.join(", "));
        run(Path::new("python3"), &["-m", "venv", &place], "python3 -m venv")?;
        let pip = [&["-m", "pip", "install", "-q", "--disable-pip-version-check"], PYTHON_SDK].concat();
        run(&folder.join("bin/python"), &pip, "pip install")?;
        done(&folder.join("python.done"))?;
    }
    if !folder.join("fluent.done").exists() {
        let pip = ["-m", "pip", "install", "-q", "--disable-pip-version-check", FLUENT_LOGGER];
        run(&folder.join("bin/python"), &pip, "pip install")?;
        done(&folder.join("fluent.done"))?;
    }
    if !folder.join("node.done").exists() && is_there("npm") {
        eprintln!("cargo x: installing {} into {SDK_FOLDER}", NODE_SDK.join(", "));
        let npm =
            [&["install", "--no-audit", "--no-fund", "--silent", "--prefix", &place], NODE_SDK].concat();
        run(Path::new("npm"), &npm, "npm install")?;
        done(&folder.join("node.done"))?;
    }
    Ok(())
}

fn done(file: &Path) -> Result<(), String> {
    std::fs::write(file, "").map_err(|error| format!("{}: {error}", file.display()))
}

fn programs() -> Result<(), String> {
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
