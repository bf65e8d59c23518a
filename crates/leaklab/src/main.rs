//! `leaklab`: see the library.

use std::io::Write;
use std::process::ExitCode;

use lexopt::prelude::*;

const HELP: &str = "\
Usage: leaklab payload [--lines N | --records N] [--seed N]
       leaklab load URL [OPTION ...]
       leaklab bench [SCENARIO ...] [OPTION ...]
       leaklab soak [SCENARIO ...] [OPTION ...]
       leaklab run|watch|compare|quick|trace|judge [OPTION ...]

payload  writes a body to standard output: an alert of about N lines (default 4900), or an array of N records of
         a web service. The same arguments give the same bytes.

load     posts a body again and again and prints answers, latency, rates and records accepted: HTTP/1.1 and
         HTTP/2, TLS, gzip, pipelined, chunked, slow, held (leaklab load --help).

run      finds out what a server's memory grows with (leaklab run --help), as do the other commands of that line.

bench    measures weir and its peers side by side: what `cargo x bench` runs (leaklab bench --help).

soak     holds weir to its memory limit, whatever is done to it: what `cargo x soak` runs (leaklab soak --help).
";

fn main() -> ExitCode {
    if let Some(code) = leaklab::lab::command::command() {
        return code;
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("leaklab: {error} (leaklab --help lists the commands)");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), lexopt::Error> {
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        Some(Value(name)) if name == "payload" => payload(&mut parser),
        Some(Value(name)) if name == "load" => leaklab::load::command(&mut parser),
        Some(Value(name)) if name == "soak" => leaklab::soak::command(&mut parser),
        Some(Value(name)) if name == "bench" => Ok(leaklab::bench::command(&mut parser)?),
        Some(Value(other)) => Err(format!("unknown command \"{}\"", other.string()?).into()),
        None | Some(Short('h') | Long("help")) => print(HELP),
        Some(other) => Err(other.unexpected()),
    }
}

fn payload(parser: &mut lexopt::Parser) -> Result<(), lexopt::Error> {
    let (mut lines, mut records, mut seed) = (4_900, None, 1);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("lines") => lines = parser.value()?.parse()?,
            Long("records") => records = Some(parser.value()?.parse()?),
            Long("seed") => seed = parser.value()?.parse()?,
            Short('h') | Long("help") => return print(HELP),
            other => return Err(other.unexpected()),
        }
    }
    match records {
        Some(count) => print(&leaklab::payload::records(count, seed)),
        None => print(&leaklab::payload::alert(lines, seed)),
    }
}

fn print(text: &str) -> Result<(), lexopt::Error> {
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string().into())
}
