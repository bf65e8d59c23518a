//! `leaklab load`: the command line of the load.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use lexopt::prelude::*;

use super::{CONNECTIONS, Plan, Progress, Target, run};
use crate::payload;

/// The largest body that is read from a file.
const BODY: u64 = 256 << 20;

/// What the options say, before the URL is known.
#[derive(Default)]
struct Given {
    url: Option<String>,
    body: Option<Vec<u8>>,
    connections: Option<usize>,
    requests: Option<u64>,
    duration: Option<f64>,
    delay: u64,
    new_connections: bool,
    chunked: bool,
    hold: bool,
    json: bool,
}

/// Reads what stands behind `leaklab load` and does it; the result is printed.
///
/// # Errors
/// A sentence on what is wrong.
pub fn command(parser: &mut lexopt::Parser) -> Result<(), lexopt::Error> {
    let given = read(parser)?;
    let (hold, json) = (given.hold, given.json);
    let plan = plan(given)?;
    crate::process::allow_descriptors().map_err(|error| format!("descriptors: {error}"))?;
    let terminal = std::io::stderr().is_terminal();
    let (outcome, held) = run(&plan, &mut |progress| show(progress, terminal))
        .map_err(|error| format!("{}: {error}", plan.target.address))?;
    if terminal {
        eprint!("\r\x1b[K");
    }
    let text = if json {
        let line = serde_json::to_string(&outcome).map_err(|error| error.to_string())?;
        format!("{line}\n")
    } else {
        outcome.to_string()
    };
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| error.to_string())?;
    if hold {
        eprintln!("holding {} connections until the end of standard input", held.count());
        // Bytes are thrown away as they come.
        let mut stdin = std::io::stdin().lock();
        let mut byte = [0; 256];
        while stdin.read(&mut byte).is_ok_and(|count| count > 0) {}
    }
    Ok(())
}

fn read(parser: &mut lexopt::Parser) -> Result<Given, lexopt::Error> {
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Value(url) if given.url.is_none() => given.url = Some(url.string()?),
            Long("requests") => given.requests = Some(parser.value()?.parse()?),
            Long("duration") => given.duration = Some(parser.value()?.parse()?),
            Long("delay") => given.delay = parser.value()?.parse()?,
            Long("connections") => given.connections = Some(parser.value()?.parse()?),
            Long("body") => given.body = Some(file(&parser.value()?.string()?)?),
            Long("payload") => given.body = Some(body(&parser.value()?.string()?)?.into_bytes()),
            Long("new-connections") => given.new_connections = true,
            Long("chunked") => given.chunked = true,
            Long("hold") => given.hold = true,
            Long("json") => given.json = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(given)
}

fn plan(given: Given) -> Result<Plan, String> {
    let url = given.url.ok_or("load needs the URL to send to")?;
    let body = given.body.map_or_else(|| body("alert").map(String::into_bytes), Ok)?;
    let connections = given.connections.unwrap_or(1);
    if !(1..=CONNECTIONS).contains(&connections) {
        return Err(format!("--connections is from 1 to {CONNECTIONS}, not {connections}"));
    }
    if given.hold && given.new_connections {
        return Err("--hold keeps connections open and --new-connections closes them".to_owned());
    }
    let duration = match given.duration.map(Duration::try_from_secs_f64) {
        None => None,
        Some(Ok(duration)) => Some(duration),
        Some(Err(error)) => return Err(format!("--duration: {error}")),
    };
    // One request over each connection where nothing says how many.
    let requests = given.requests.or_else(|| duration.is_none().then_some(connections as u64));
    let records = payload::count(&body);
    Ok(Plan {
        connections,
        requests,
        duration,
        delay: Duration::from_millis(given.delay),
        new_connections: given.new_connections,
        chunked: given.chunked,
        ..Plan::new(Target::parse(&url)?, body, records)
    })
}

/// A body by name: `alert`, `record` or `records:COUNT`.
fn body(name: &str) -> Result<String, String> {
    let count = name.strip_prefix("records:").map(str::parse::<usize>);
    match (name, count) {
        ("alert", _) => Ok(payload::alert(4_900, 1)),
        ("record", _) => Ok(payload::record(1)),
        (_, Some(Ok(count))) if count <= 500_000 => Ok(payload::records(count, 1)),
        (_, Some(Ok(_))) => Err(format!("--payload {name}: at most 500000 records")),
        _ => Err(format!("--payload {name}: there are alert, record and records:COUNT")),
    }
}

fn file(path: &str) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| format!("{path}: {error}");
    let mut body = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(BODY + 1).read_to_end(&mut body).map_err(fail)?;
    if body.len() as u64 > BODY { Err(format!("{path} is larger than {BODY} bytes")) } else { Ok(body) }
}

fn show(progress: Progress, terminal: bool) {
    if !terminal {
        return;
    }
    let seconds = progress.elapsed.as_secs_f64();
    match progress.of {
        Some(of) => {
            let tenths = (progress.ended * 30 / of.max(1)) as usize;
            eprint!("\r\x1b[K[{:-<30}] {} of {of} in {seconds:.0} s", "#".repeat(tenths), progress.ended);
        }
        None => eprint!("\r\x1b[K{} requests in {seconds:.0} s", progress.ended),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Plan, String> {
        let mut parser = lexopt::Parser::from_args(line.split_whitespace());
        read(&mut parser).map_err(|error| error.to_string()).and_then(plan)
    }

    #[test]
    fn options_make_a_plan() {
        let plan =
            parse("127.0.0.1:1/a --requests 5 --delay 100 --connections 2 --payload records:3").unwrap();
        assert_eq!((plan.requests, plan.connections, plan.records), (Some(5), 2, 3));
        assert_eq!(plan.delay, Duration::from_millis(100));
        let plan = parse("127.0.0.1:1 --duration 1.5 --chunked --new-connections").unwrap();
        assert_eq!((plan.requests, plan.duration), (None, Some(Duration::from_millis(1500))));
        assert!(plan.chunked && plan.new_connections);
        assert_eq!(parse("127.0.0.1:1 --connections 7").unwrap().requests, Some(7));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_reason() {
        for (line, reason) in [
            ("", "needs the URL"),
            ("127.0.0.1:1 --connections 0", "--connections is from 1"),
            ("127.0.0.1:1 --hold --new-connections", "--hold keeps"),
            ("127.0.0.1:1 --duration -1", "--duration"),
            ("127.0.0.1:1 --payload logs", "there are alert"),
            ("127.0.0.1:1 --body /nowhere/at/all", "/nowhere/at/all"),
            ("127.0.0.1:1 --bogus", "--bogus"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
