//! `cargo x kill`: the agent is killed at random moments under load, as often as one likes.

use std::process::Command;

use crate::run;

const HELP: &str = "\
Usage: cargo x kill [--times N] [--backlog MB] [--requests N]

Kills the agent with signal 9 at random moments under load, with storage.sync normal and full: every record that
was acknowledged must arrive. Then a backlog larger than memory, and requests with acknowledge delivered at a
destination that fails one time in ten.

  --times N     kills with each storage.sync (200)
  --backlog MB  megabytes on the disk at the start (2000)
  --requests N  requests with acknowledge delivered (10000)
";

/// Runs the delivery tests of `tests/all` with these numbers.
pub fn kill(arguments: &[&str]) -> Result<(), String> {
    let (mut times, mut backlog, mut requests) = (200, 2_000, 10_000);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let mut number = || -> Result<u64, String> {
            let text = rest.next().ok_or_else(|| format!("{name} wants a number"))?;
            text.parse().map_err(|_| format!("{name}: \"{text}\" is not a number"))
        };
        match *name {
            "--times" => times = number()?,
            "--backlog" => backlog = number()?,
            "--requests" => requests = number()?,
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
        .args(["test", "-p", "tests", "--test", "all", "delivery::", "--", "--nocapture", "--test-threads=1"])
        .current_dir(run::root())
        .env("KILL_TIMES", times.to_string())
        .env("BACKLOG_MB", backlog.to_string())
        .env("DELIVERED_REQUESTS", requests.to_string());
    run::finish(&mut command, "cargo x kill")
}
