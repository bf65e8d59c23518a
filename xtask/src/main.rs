//! `cargo x`: what developers and CI run.

mod bench;
mod fuzz;
mod kill;
mod kusto;
mod quickstart;
mod ratchet;
mod run;
mod soak;
mod tail;
mod tail_speed;
mod tools;

use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo x COMMAND

  quickstart   starts a local Kusto and weir, sends large payloads, and shows rows and memory
  test         every test; installs the tools that the tests drive, and says so
  tools        installs those tools only
  bench        weir and its peers side by side: speed, memory, latency (cargo x bench --help)
  soak         the memory limit against hostile clients and dead destinations (cargo x soak --help)
  parity       the cases of tests/parity by weir and by a Fluent Bit, compared
               (cargo x parity --peer fluent-bit=PATH [--only NAME] [--write]; without a peer against what is kept)
  reload       100 reloads under load, the destination down for a third of them (cargo x reload [ROUNDS])
  docs         the reference pages in docs/reference, from the options
  fuzz         damaged bodies against the parsers (cargo x fuzz --help)
  kill         kill -9 under load, a backlog larger than memory, faults (cargo x kill --help)
  kusto        a million records through each way into Kusto, also with faults and kills (cargo x kusto --help)
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
        ["parity", rest @ ..] => parity(rest),
        ["reload"] => reload("100"),
        ["reload", rounds] => reload(rounds),
        ["docs"] => docs(),
        ["fuzz", rest @ ..] => fuzz::fuzz(rest),
        ["kill", rest @ ..] => kill::kill(rest),
        ["kusto", rest @ ..] => kusto::kusto(rest),
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

/// The cases of `tests/parity`, by weir and by the peer if one is given.
fn parity(rest: &[&str]) -> Result<(), String> {
    let mut command = cargo_test("parity::");
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--write" => command.env("PARITY_WRITE", "1"),
            "--only" => command.env("PARITY_ONLY", rest.next().ok_or("--only needs a part of a name")?),
            "--peer" => {
                let peer = rest.next().and_then(|peer| peer.strip_prefix("fluent-bit="));
                command.env("PARITY_PEER", peer.ok_or("write --peer fluent-bit=PATH")?)
            }
            other => return Err(format!("unknown option {other}")),
        };
    }
    run::finish(&mut command, "the comparison")
}

fn reload(rounds: &str) -> Result<(), String> {
    run::finish(cargo_test("reload::reloads_under_load").env("RELOADS", rounds), "the reloads")
}

fn cargo_test(name: &str) -> std::process::Command {
    let mut command = std::process::Command::new("cargo");
    command.args(["test", "-p", "tests", "--test", "all", name, "--", "--nocapture"]);
    command
}

/// Writes what the binary says of its options, as Markdown.
fn docs() -> Result<(), String> {
    run::cargo(&["build", "--quiet", "-p", "agent"])?;
    let folder = std::path::Path::new("docs/reference");
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for kind in ["service", "inputs", "filters", "processors", "outputs"] {
        let mut command = std::process::Command::new("cargo");
        command.args(["run", "--quiet", "-p", "agent", "--", "--reference", kind]);
        let output = command.output().map_err(|error| format!("cargo run: {error}"))?;
        if !output.status.success() {
            return Err(format!("--reference {kind}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        let page = folder.join(format!("{kind}.md"));
        std::fs::write(&page, output.stdout).map_err(|error| format!("{}: {error}", page.display()))?;
    }
    Ok(())
}

/// Every test, and the instructions of the hot path. Binaries are built first: the integration tests start them.
fn test(rest: &[&str]) -> Result<(), String> {
    tools::install()?;
    run::cargo(&["build", "--workspace", "--bins"])?;
    run::cargo(&[&["test", "--workspace", "--no-fail-fast"], rest].concat())?;
    // Of all tests, or of none: a part of them is asked for by name.
    if rest.is_empty() { ratchet::ratchet(&[]) } else { Ok(()) }
}
