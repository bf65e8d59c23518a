//! The lab's command lines: `leaklab run`, `watch`, `compare`, `quick`, `trace`, `judge`, `zoo`.

mod compare;
mod judge;
mod options;
mod quick;
mod run;
mod synthetic;
mod trace;
mod watch;
mod zoo;

pub use run::{measure, write};

use std::ffi::OsString;
use std::process::ExitCode;

use lexopt::prelude::*;

const HELP: &str = "\
Usage: leaklab run --cmd 'COMMAND' --url http://127.0.0.1:PORT/path [OPTION ...]
       leaklab watch --pid P | --cmd 'COMMAND' [OPTION ...]
       leaklab compare --cmd 'COMMAND' --url URL --cmd 'COMMAND' [--url URL] [OPTION ...]
       leaklab quick --cmd 'COMMAND' | --pid P  --url URL [--payload FILE]
       leaklab trace --with valgrind|heaptrack --cmd 'COMMAND' --url URL [OPTION ...]
       leaklab judge CAPTURE [--json] [--report FILE]
       leaklab synthetic [--count N]
       leaklab zoo [NAME ...] [OPTION ...]

run      starts the command, waits until it listens, loads it, and decides what its memory grows with.
  --payload FILE    what is posted (default: a JSON array with one record); best is an array of records
  --plan FILE       a plan in JSON: docs/leaklab.md lists what it may say
  --budget 120s     how long it may take in all
  --out DIR         writes capture.jsonl, report.html, result.json and target.log there
  --no-ask          does not ask allocator and collector to give back what nobody needs before memory is read
  --json            one JSON document on standard output

watch    shows memory, threads, descriptors and sockets of a process and its children over time.
  --interval 1s  --for 10m  --out FILE    how often, how long, and where the capture goes
  --inner URL  [--name NAME]              a number that the process tells of itself: weir's ledger
                                          (/api/v1/memory), jemalloc statistics, a Go heap profile (?debug=1)

compare  the same plan on two commands (--payload, --plan, --budget, --out, --json as above; the budget is for both).
quick    memory after 1 request and after 11.
trace    the ten stacks that grow most, by Debian's tools (--payload FILE, --requests N, --http2).
judge    decides again on a capture of run.
synthetic  how often the judge is right on captures whose truth is known.
zoo      the lab on servers with known defects (--times 5, --budget 60s, --at-a-time 1, --programs DIR, --source DIR,
         --out DIR; NAMEs choose: system jemalloc python, a defect, defect or twin; --again DIR decides again on what
         --out has kept).

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
        "watch" => watch::watch(&mut parser),
        "compare" => compare::compare(&mut parser),
        "quick" => quick::quick(&mut parser),
        "trace" => trace::trace(&mut parser),
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
