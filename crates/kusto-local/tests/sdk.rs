//! Microsoft's own SDKs against this server. What is checked is in `sdk/check.py`; `cargo x test` installs what it
//! needs into `target/tools/kusto-sdk`.

use std::path::{Path, PathBuf};
use std::process::Command;

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/kusto-sdk")
}

#[test]
fn microsofts_sdks_ingest_queued_and_streaming_and_read_equal_rows_back() {
    let (tools, here) = (tools(), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk"));
    let python = tools.join("bin/python");
    assert!(python.exists(), "Microsoft's SDKs are not installed: run `cargo x tools` (or `cargo x test`)");
    let modules = tools.join("node_modules");
    let mut check = Command::new(python);
    check.arg(here.join("check.py")).args(["--binary", env!("CARGO_BIN_EXE_kusto-local")]);
    if modules.exists() {
        check.arg("--node-modules").arg(&modules).arg("--azurite").arg(modules.join(".bin/azurite"));
    } else {
        // npm is not everywhere; where everything is to be tested it must be.
        assert!(std::env::var_os("CI").is_none(), "npm is missing, and CI skips nothing");
        eprintln!("skipped: Node's SDK and Azurite, because npm was not there when tools were installed");
    }
    let output = check.output().expect("python starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let least = if modules.exists() { 36 } else { 21 };
    let passed = said.lines().filter(|line| line.starts_with("ok |")).count();
    assert!(passed >= least, "{passed} of {least} checks ran:\n{said}");
}
