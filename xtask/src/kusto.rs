//! `cargo x kusto`: as many records as one likes through each way into Kusto, and the same while everything fails now
//! and then and the agent is killed.

use std::process::Command;

use crate::run;

const HELP: &str = "\
Usage: cargo x kusto [--records N] [--profile NAME]

Sends numbered records to kusto-local over TLS: queued, buffered and streamed; the same with a schedule of faults (503,
429, resets, hangs, lost answers, signatures and tokens that run out, a dead storage account); buffered with kill -9.
Counts what is missing and what is there twice, and prints seconds, blobs, streams and peak memory of each run.

  --records N     records of each run (1000000)
  --profile NAME  what everything is built with (release)
";

/// Runs the tests of `tests/all/kusto_ways.rs` with this number.
pub fn kusto(arguments: &[&str]) -> Result<(), String> {
    let (mut records, mut profile) = (1_000_000_u64, "release");
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let mut value = || rest.next().copied().ok_or_else(|| format!("{name} wants a value"));
        match *name {
            "--records" => {
                let text = value()?;
                records = text.parse().map_err(|_| format!("{name}: \"{text}\" is not a number"))?;
            }
            "--profile" => profile = value()?,
            _ => {
                print!("{HELP}");
                let asked = matches!(*name, "help" | "-h" | "--help");
                return if asked { Ok(()) } else { Err(format!("unknown argument \"{name}\"")) };
            }
        }
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["test", "--profile", profile, "-p", "tests", "--test", "all", "kusto_ways::"])
        .args(["--", "--nocapture", "--test-threads=1"])
        .current_dir(run::root())
        .env("WEIR_KUSTO_RECORDS", records.to_string());
    run::finish(&mut command, "cargo x kusto")
}
