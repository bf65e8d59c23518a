//! `leaklab load`: the command line of the load.

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

use lexopt::prelude::*;

use super::plan::Body;
use super::{CONNECTIONS, Plan, Progress, Target, run, tls_config};
use crate::payload;

/// What `leaklab load --help` says.
pub const HELP: &str = "\
Usage: leaklab load URL [OPTION ...]

Posts a body again and again and prints answers, latency, rates and records accepted.

How much
  --requests N        how many in all; without it and without --duration, one per connection
  --duration SECONDS  begin no request after that
  --connections N     at a time (default 1)
  --delay TIME        pause of a connection behind each answer: 100ms, 2s, or a number of milliseconds

What
  --payload NAME      alert (default), record, records:COUNT, or staircase: alerts of 100 lines, then 200, 400
                      and so on up to 12800, each for the same part of the load
  --body FILE         this file instead
  --gzip              compressed, once
  --chunked           bodies in pieces, without a length

How
  --pipeline N        requests on their way on a connection, HTTP/1.1
  --http2             HTTP/2: at once over http, by ALPN over https
  --streams N         requests on their way on a connection, HTTP/2
  --ca FILE           trust these certificates, for https
  --insecure          trust everybody
  --rate BYTES        a slow sender: so many bytes a second on each connection, HTTP/1.1
  --new-connections   a connection for each request
  --tags N            to N paths in turn, with .0, .1 and so on behind the URL's, HTTP/1.1
  --hold              keep the connections open until standard input ends
  --json              the result as one line of JSON
";

/// The largest file that is read.
const FILE: u64 = 256 << 20;
/// The most paths: there is a request for each.
const TAGS: usize = 10_000;
/// Lines of the lowest and the highest step of a staircase; each is twice as high as the one before.
const STAIRS: (usize, usize) = (100, 12_800);

/// What the options say, before the URL is known.
#[derive(Default)]
struct Given {
    url: Option<String>,
    bodies: Option<Vec<Body>>,
    connections: Option<usize>,
    requests: Option<u64>,
    duration: Option<f64>,
    delay: Duration,
    pipeline: Option<usize>,
    streams: Option<usize>,
    tags: Option<usize>,
    rate: Option<u64>,
    ca: Option<Vec<u8>>,
    insecure: bool,
    gzip: bool,
    http2: bool,
    new_connections: bool,
    chunked: bool,
    hold: bool,
    json: bool,
    help: bool,
}

/// Reads what stands behind `leaklab load` and does it; the result is printed.
///
/// # Errors
/// A sentence on what is wrong.
pub fn command(parser: &mut lexopt::Parser) -> Result<(), lexopt::Error> {
    let given = read(parser)?;
    if given.help {
        print!("{HELP}");
        return Ok(());
    }
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
            Long("delay") => given.delay = pause(&parser.value()?.string()?)?,
            Long("connections") => given.connections = Some(parser.value()?.parse()?),
            Long("pipeline") => given.pipeline = Some(parser.value()?.parse()?),
            Long("streams") => given.streams = Some(parser.value()?.parse()?),
            Long("tags") => given.tags = Some(parser.value()?.parse()?),
            Long("rate") => given.rate = Some(parser.value()?.parse()?),
            Long("body") => given.bodies = Some(vec![Body::new(file(&parser.value()?.string()?)?)]),
            Long("payload") => given.bodies = Some(bodies(&parser.value()?.string()?)?),
            Long("ca") => given.ca = Some(file(&parser.value()?.string()?)?),
            Long("insecure") => given.insecure = true,
            Long("gzip") => given.gzip = true,
            Long("http2") => given.http2 = true,
            Long("new-connections") => given.new_connections = true,
            Long("chunked") => given.chunked = true,
            Long("hold") => given.hold = true,
            Long("json") => given.json = true,
            Short('h') | Long("help") => given.help = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(given)
}

fn plan(given: Given) -> Result<Plan, String> {
    check(&given)?;
    let target = Target::parse(given.url.as_deref().unwrap_or(""))?;
    let tls = match (target.tls, &given.ca, given.insecure) {
        (false, None, false) => None,
        (false, ..) => return Err("--ca and --insecure are for https".to_owned()),
        (true, None, false) => return Err("https needs --ca FILE or --insecure".to_owned()),
        (true, ca, _) => Some(tls_config(ca.as_deref(), given.http2)?),
    };
    let mut bodies = given.bodies.map_or_else(|| self::bodies("alert"), Ok)?;
    if given.gzip {
        bodies = bodies.iter().map(Body::gzip).collect();
    }
    let connections = given.connections.unwrap_or(1);
    let depth = given.pipeline.or(given.streams).unwrap_or(1);
    let duration = match given.duration.map(Duration::try_from_secs_f64) {
        None => None,
        Some(Ok(duration)) => Some(duration),
        Some(Err(error)) => return Err(format!("--duration: {error}")),
    };
    // One request over each connection where nothing says how many; a staircase has each step once.
    let at_least = connections.max(bodies.len()) as u64;
    let body = bodies.first().cloned().ok_or("there is no body")?;
    Ok(Plan {
        bodies,
        connections,
        depth,
        http2: given.http2,
        tls,
        requests: given.requests.or_else(|| duration.is_none().then_some(at_least)),
        duration,
        delay: given.delay,
        rate: given.rate,
        tags: given.tags.unwrap_or(1),
        new_connections: given.new_connections,
        chunked: given.chunked,
        ..Plan::new(target, body)
    })
}

/// Refuses what makes no sense together.
fn check(given: &Given) -> Result<(), String> {
    let connections = given.connections.unwrap_or(1);
    let depth = given.pipeline.or(given.streams).unwrap_or(1);
    let only_http1 = [given.pipeline.is_some(), given.chunked, given.rate.is_some(), given.tags.is_some()];
    let together = given.http2 && only_http1.contains(&true);
    let problem = match given {
        Given { url: None, .. } => "load needs the URL to send to".to_owned(),
        _ if !(1..=CONNECTIONS).contains(&connections) => {
            format!("--connections is from 1 to {CONNECTIONS}, not {connections}")
        }
        _ if !(1..=CONNECTIONS).contains(&depth.saturating_mul(connections)) => {
            format!("--pipeline and --streams are from 1, and with all connections up to {CONNECTIONS}")
        }
        _ if together => "--pipeline, --chunked, --rate and --tags are for HTTP/1.1".to_owned(),
        Given { http2: false, streams: Some(_), .. } => "--streams is for --http2".to_owned(),
        Given { rate: Some(0), .. } => "--rate is from 1".to_owned(),
        Given { tags: Some(tags), .. } if !(1..=TAGS).contains(tags) => format!("--tags is from 1 to {TAGS}"),
        Given { hold: true, new_connections: true, .. } => {
            "--hold keeps connections open and --new-connections closes them".to_owned()
        }
        Given { new_connections: true, .. } if depth > 1 => {
            "--new-connections leaves nothing to --pipeline and --streams".to_owned()
        }
        _ => return Ok(()),
    };
    Err(problem)
}

/// Bodies by name: `alert`, `record`, `records:COUNT` or `staircase`.
fn bodies(name: &str) -> Result<Vec<Body>, String> {
    let one = |text: String| Ok(vec![Body::new(text.into_bytes())]);
    let count = name.strip_prefix("records:").map(str::parse::<usize>);
    match (name, count) {
        ("alert", _) => one(payload::alert(4_900, 1)),
        ("record", _) => one(payload::record(1)),
        ("staircase", _) => {
            let stairs = std::iter::successors(Some(STAIRS.0), |lines| Some(lines * 2));
            let alerts = stairs.take_while(|lines| *lines <= STAIRS.1).map(|lines| payload::alert(lines, 1));
            Ok(alerts.map(|text| Body::new(text.into_bytes())).collect())
        }
        (_, Some(Ok(count))) if count <= 500_000 => one(payload::records(count, 1)),
        (_, Some(Ok(_))) => Err(format!("--payload {name}: at most 500000 records")),
        _ => Err(format!("--payload {name}: there are alert, record, records:COUNT and staircase")),
    }
}

/// A time with a unit, or a number of milliseconds.
fn pause(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let unit = match unit {
        "" | "ms" => 1e-3,
        "s" => 1.0,
        _ => return Err(format!("--delay {text}: the units are ms and s")),
    };
    let number = number.parse::<f64>().map_err(|error| format!("--delay {text}: {error}"))?;
    Duration::try_from_secs_f64(number * unit).map_err(|error| format!("--delay {text}: {error}"))
}

fn file(path: &str) -> Result<Vec<u8>, String> {
    let fail = |error: std::io::Error| format!("{path}: {error}");
    let mut content = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(FILE + 1).read_to_end(&mut content).map_err(fail)?;
    if content.len() as u64 > FILE { Err(format!("{path} is larger than {FILE} bytes")) } else { Ok(content) }
}

fn show(progress: Progress, terminal: bool) {
    if terminal {
        eprint!("\r\x1b[K{}", bar(progress));
    }
}

fn bar(progress: Progress) -> String {
    let seconds = progress.elapsed.as_secs_f64();
    let count = progress.of.map_or_else(String::new, |of| format!(" of {of}"));
    let text = format!("{}{count} requests in {seconds:.0} s", progress.ended);
    match progress.share() {
        Some(share) => format!("[{:-<30}] {text}", "#".repeat((share * 30.0) as usize)),
        None => text,
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
            parse("127.0.0.1:1/a --requests 5 --delay 100ms --connections 2 --payload records:3").unwrap();
        assert_eq!((plan.requests, plan.connections, plan.bodies[0].records), (Some(5), 2, 3));
        assert_eq!(plan.delay, Duration::from_millis(100));
        let plan = parse("127.0.0.1:1 --duration 1.5 --chunked --new-connections").unwrap();
        assert_eq!((plan.requests, plan.duration), (None, Some(Duration::from_millis(1500))));
        assert!(plan.chunked && plan.new_connections);
        assert_eq!(parse("127.0.0.1:1 --connections 7").unwrap().requests, Some(7));
        let plan = parse("https://127.0.0.1:1 --insecure --http2 --streams 4 --gzip").unwrap();
        assert!(plan.http2 && plan.tls.is_some() && plan.bodies[0].gzip && plan.depth == 4);
        let plan = parse("127.0.0.1:1 --pipeline 8 --rate 500").unwrap();
        assert_eq!((plan.depth, plan.rate), (8, Some(500)));
    }

    #[test]
    fn a_staircase_doubles_with_each_step() {
        let plan = parse("127.0.0.1:1 --payload staircase").unwrap();
        assert_eq!((plan.bodies.len(), plan.requests), (8, Some(8)));
        for pair in plan.bodies.windows(2) {
            let growth = pair[1].plain as f64 / pair[0].plain as f64;
            assert!((1.7..2.3).contains(&growth), "{growth}");
        }
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
            ("127.0.0.1:1 --http2 --pipeline 3", "for HTTP/1.1"),
            ("127.0.0.1:1 --streams 3", "for --http2"),
            ("127.0.0.1:1 --pipeline 0", "from 1"),
            ("127.0.0.1:1 --rate 0", "from 1"),
            ("127.0.0.1:1 --tags 0", "from 1"),
            ("127.0.0.1:1 --delay 1h", "units are ms and s"),
            ("127.0.0.1:1 --insecure", "for https"),
            ("https://127.0.0.1:1", "needs --ca"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }

    #[test]
    fn the_bar_grows_with_requests_or_time() {
        let progress = Progress { ended: 5, of: Some(10), elapsed: Duration::from_secs(1), duration: None };
        assert_eq!(bar(progress), format!("[{:-<30}] 5 of 10 requests in 1 s", "#".repeat(15)));
        let progress = Progress { of: None, duration: Some(Duration::from_secs(4)), ..progress };
        assert!(bar(progress).starts_with("[#######---"), "{}", bar(progress));
        assert_eq!(bar(Progress { duration: None, ..progress }), "5 requests in 1 s");
    }
}
