//! `cargo x fuzz`: damaged bodies against everything that reads bodies, for as long as one likes.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::run;

const HELP: &str = "\
Usage: cargo x fuzz [--seconds N] [--seed S]

Damages JSON, forms and compressed bodies at random, cuts them at random, and reads them in short memory: the
result must be that of reading them at once, and that of independent readers. A failure shows the body and the
seed that leads to it.

  --seconds N   how long each kind is tried; all are tried at once (60)
  --seed S      where to start; without it, the time
";

/// Runs the fuzzer of `crates/formats/tests/fuzz`.
pub fn fuzz(arguments: &[&str]) -> Result<(), String> {
    let (mut seconds, mut seed) = (60, None);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let mut number = || -> Result<u64, String> {
            let text = rest.next().ok_or_else(|| format!("{name} wants a number"))?;
            text.parse().map_err(|_| format!("{name}: \"{text}\" is not a number"))
        };
        match *name {
            "--seconds" => seconds = number()?,
            "--seed" => seed = Some(number()?),
            _ => {
                print!("{HELP}");
                let asked = matches!(*name, "help" | "-h" | "--help");
                return if asked { Ok(()) } else { Err(format!("unknown argument \"{name}\"")) };
            }
        }
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() << 20);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([
            "test",
            "--release",
            "-p",
            "formats",
            "--test",
            "fuzz",
            "--",
            "--nocapture",
            "--test-threads=3",
        ])
        .current_dir(run::root())
        .env("FUZZ_SECONDS", seconds.to_string())
        .env("FUZZ_SEED", seed.unwrap_or_else(now).to_string());
    run::finish(&mut command, "cargo x fuzz")
}
