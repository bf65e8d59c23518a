//! The lab's command lines: `leaklab run`, `watch`, `compare`, `quick`, `trace`, `judge`, `zoo`.

mod judge;
mod options;
mod run;
mod synthetic;
mod zoo;

pub use run::{measure, write};

use std::ffi::OsString;
use std::process::ExitCode;

use lexopt::prelude::*;

const HELP: &str = "\
Usage: leaklab run --cmd 'COMMAND' --url http://127.0.0.1:PORT/path [OPTION ...]
       leaklab judge CAPTURE [--json] [--report FILE]

run      starts the command, waits until it listens, loads it, and decides what its memory grows with.
  --payload FILE    what is posted (default: a JSON array with one record); best is an array of records
  --plan FILE       a plan in JSON: docs/leaklab.md lists what it may say
  --budget 120s     how long it may take in all
  --out DIR         writes capture.jsonl, report.html, result.json and target.log there
  --no-ask          does not ask allocator and collector to give back what nobody needs before memory is read
  --json            one JSON document on standard output
judge    decides again on a capture.

Exit status: 0 clean, 1 memory grows, 2 it could not be measured.
";

/// Runs the command if it is one of the lab's. None: it is not.
pub fn command() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next()?;
    let rest: Vec<OsString> = arguments.collect();
    let mut parser = lexopt::Parser::from_args(rest);
    let result = match name.to_str()? {
        "run" => run::run(&mut parser),
        "judge" => judge::judge(&mut parser),
        "zoo" => zoo::zoo(&mut parser),
        "synthetic" => synthetic::synthetic(&mut parser),
        _ => return None,
    };
    Some(match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("leaklab {}: {error}", name.to_string_lossy());
            ExitCode::from(2)
        }
    })
}

/// Prints what people read, or the document.
fn show(text: &str) -> Result<(), lexopt::Error> {
    use std::io::Write;
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string().into())
}

fn help(other: lexopt::Arg) -> Result<u8, lexopt::Error> {
    match other {
        Short('h') | Long("help") => show(HELP).map(|()| 0),
        other => Err(other.unexpected()),
    }
}
