//! The command line, as Fluent Bit has it.

use std::process::{Command, Stdio};

use testkit::{binary, eventually, weir};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn plugins_can_be_named_on_the_command_line_in_order() {
    let out = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(binary("weir"))
        .args([
            "-f",
            "0.1",
            "-i",
            "dummy",
            "-p",
            "dummy={\"a\":1}",
            "-p",
            "samples=3",
            "-p",
            "rate=100",
            "-t",
            "app",
        ])
        .args(["-F", "modify", "-m", "*", "-p", "set=b c", "-o", "stdout", "-p", "format=json_lines"])
        .args(["-p", "json_date_key=false", "-m", "app*"])
        .stdin(Stdio::null())
        .stdout(out.reopen().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let written = || text(&std::fs::read(out.path()).unwrap());
    eventually("the records", || (written().lines().count() >= 3).then_some(()));
    // SAFETY: a signal to a child that was not waited for yet.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    assert!(child.wait().unwrap().success());
    assert_eq!(written(), "{\"a\":1,\"b\":\"c\"}\n".repeat(3));
}

#[test]
fn help_shows_flags_and_the_options_of_a_plugin_and_ends_well() {
    let help = weir(&["--help"]);
    assert!(help.status.success() && text(&help.stdout).contains("weir -i dummy -o stdout"));
    let help = weir(&["-i", "http", "-h"]);
    let shown = text(&help.stdout);
    assert!(
        help.status.success()
            && shown.contains("buffer_max_size")
            && shown.contains("> default: 4M, type: size")
    );
    let version = weir(&["-V"]);
    assert!(version.status.success() && text(&version.stdout).contains("5.1.1"));
}

#[test]
fn the_schema_has_fluent_bits_shape() {
    let schema: serde_json::Value = serde_json::from_slice(&weir(&["-J"]).stdout).unwrap();
    for kind in ["inputs", "filters", "processors", "outputs"] {
        assert!(!schema[kind].as_array().unwrap().is_empty(), "{kind}");
    }
    let one: serde_json::Value = serde_json::from_slice(&weir(&["-i", "dummy", "-J"]).stdout).unwrap();
    assert_eq!((one["type"].as_str(), one["name"].as_str()), (Some("input"), Some("dummy")));
    assert!(
        one["properties"]["options"].as_array().unwrap().iter().any(|option| option["name"] == "samples")
    );
}

#[test]
fn what_is_wrong_on_the_command_line_ends_with_1_and_the_way_out() {
    for arguments in
        [&["--frob"][..], &["-i", "dummy", "-p", "novalue"], &["-e", "x.so"], &[], &["-c", "/no/file"]]
    {
        let output = weir(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}
