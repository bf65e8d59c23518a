//! `cargo x`: what developers and CI run.

mod bench;
mod fuzz;
mod quickstart;
mod ratchet;
mod run;
mod soak;
mod tail;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo x COMMAND

  quickstart   starts a local Kusto and weir, sends large payloads, and shows rows and memory
  test         every test; installs the tools that the tests drive, and says so
  tools        installs those tools only
  bench        weir and its peers side by side: speed, memory, latency (cargo x bench --help)
  soak         the memory limit against hostile clients and dead destinations (cargo x soak --help)
  fuzz         damaged bodies against the parsers (cargo x fuzz --help)
  ratchet      instructions of the hot path against bench/ratchet.txt; --write keeps those of now
  tail         files that are rotated while weir is stopped and killed (cargo x tail --help)
  zoo          the leak lab on servers with known defects (cargo x zoo --times 2 --budget 60s; --synthetic)
  check        formatting and lints
  gate         check, then test
  fmt          formats the code
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["quickstart"] => quickstart::quickstart(),
        ["test", rest @ ..] => test(rest),
        ["tools"] => tools::install(),
        ["bench", rest @ ..] => bench::bench(rest),
        ["soak", rest @ ..] => soak::soak(rest),
        ["fuzz", rest @ ..] => fuzz::fuzz(rest),
        ["ratchet", rest @ ..] => ratchet::ratchet(rest),
        ["tail", rest @ ..] => tail::tail(rest),
        ["zoo", "--synthetic", rest @ ..] => bench::leaklab(&[&["synthetic"], rest].concat(), &[]),
        ["zoo", rest @ ..] => bench::leaklab(&[&["zoo"], rest].concat(), &["zoo"]),
        ["check"] => check(),
        ["gate"] => check().and_then(|()| test(&[])),
        ["fmt"] => run::cargo(&["fmt", "--all"]),
        [] | ["help" | "-h" | "--help"] => {
            print!("{HELP}");
            Ok(())
        }
        [other, ..] => Err(format!("unknown command \"{other}\"\n\n{HELP}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo x: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check() -> Result<(), String> {
    run::cargo(&["fmt", "--all", "--check"])?;
    run::cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// Every test, and the instructions of the hot path. Binaries are built first: the integration tests start them.
fn test(rest: &[&str]) -> Result<(), String> {
    tools::install()?;
    run::cargo(&["build", "--workspace", "--bins"])?;
    run::cargo(&[&["test", "--workspace"], rest].concat())?;
    // Of all tests, or of none: a part of them is asked for by name.
    if rest.is_empty() { ratchet::ratchet(&[]) } else { Ok(()) }
}
