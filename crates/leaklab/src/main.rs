//! `leaklab`: see the library.

use std::io::Write;
use std::process::ExitCode;

use lexopt::prelude::*;

const HELP: &str = "\
Usage: leaklab payload [--lines N | --records N] [--seed N]

Writes a body to standard output: an alert of about N lines (default 4900), or an array of N records of a web
service. The same arguments give the same bytes.
";

fn main() -> ExitCode {
    match run() {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("leaklab: {error} (leaklab --help lists the commands)");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<String, lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    let (mut command, mut lines, mut records, mut seed) = (None, 4_900, None, 1);
    while let Some(argument) = parser.next()? {
        match argument {
            Value(name) if command.is_none() => command = Some(name.string()?),
            Long("lines") => lines = parser.value()?.parse()?,
            Long("records") => records = Some(parser.value()?.parse()?),
            Long("seed") => seed = parser.value()?.parse()?,
            Short('h') | Long("help") => return Ok(HELP.to_owned()),
            other => return Err(other.unexpected()),
        }
    }
    match (command.as_deref(), records) {
        (Some("payload"), Some(count)) => Ok(leaklab::payload::records(count, seed)),
        (Some("payload"), None) => Ok(leaklab::payload::alert(lines, seed)),
        (Some(other), _) => Err(format!("unknown command \"{other}\"").into()),
        (None, _) => Ok(HELP.to_owned()),
    }
}
