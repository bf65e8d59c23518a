//! `leaklab bench`: the command line of the measurement.

use std::path::PathBuf;

use lexopt::prelude::*;

use super::agent::{Agent, Kind};
use super::rounds;
use super::scenario::{self, SCENARIOS, Scenario};
use super::{history, page};

/// What is asked for.
pub struct Options {
    pub scenarios: Vec<&'static Scenario>,
    /// Name, kind and binary.
    pub peers: Vec<(String, Kind, PathBuf)>,
    pub rounds: u32,
    pub seconds: f64,
    /// Leave out what today's history already has.
    pub resume: bool,
    /// Only make the page, from the history.
    pub page: bool,
}

fn help() -> String {
    let mut text = "\
Usage: cargo x bench [SCENARIO ...] [--peer NAME=/path/to/binary ...] [--rounds 5] [--seconds 2] [--resume]
       cargo x bench --page

Starts weir and each peer in turn on one core, loads it from another, and compares. Peers are fluent-bit, vector
and weir itself (another build, or the same for the noise of the machine); a name may go on: weir2, fluent-bit-5.0. Prints tables, appends the figures to
bench/history and makes docs/benchmarks.md from the newest figures of each scenario there.

  --rounds N    agents take turns within a round (default 5)
  --seconds S   of load for each agent in each round (default 2)
  --resume      leave out the scenarios that were measured today with the same agents, rounds and seconds
  --page        only make the page

Scenarios (all, unless some are named):
"
    .to_owned();
    for Scenario { name, about, .. } in SCENARIOS {
        text.push_str(&format!("  {name:17} {about}\n"));
    }
    text
}

/// Reads what stands behind `leaklab bench` and does it. The folder it runs in is the repository's.
///
/// # Errors
/// A sentence on what is wrong.
pub fn command(parser: &mut lexopt::Parser) -> Result<(), String> {
    match read(parser).map_err(|error| error.to_string())? {
        None => {
            print!("{}", help());
            Ok(())
        }
        Some(Options { page: true, .. }) => page::write(&history::entries()?),
        Some(options) => rounds::run(&options),
    }
}

/// None: help is asked for.
fn read(parser: &mut lexopt::Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut options = Options {
        scenarios: Vec::new(),
        peers: Vec::new(),
        rounds: 5,
        seconds: 2.0,
        resume: false,
        page: false,
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Value(name) => options.scenarios.push(scenario::named(&name.string()?)?),
            Long("peer") => options.peers.push(peer(&parser.value()?.string()?)?),
            Long("rounds") => options.rounds = parser.value()?.parse()?,
            Long("seconds") => options.seconds = parser.value()?.parse()?,
            Long("resume") => options.resume = true,
            Long("page") => options.page = true,
            Short('h') | Long("help") => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    if options.scenarios.is_empty() {
        options.scenarios = SCENARIOS.iter().collect();
    }
    if !(1..=100).contains(&options.rounds) {
        return Err("--rounds is from 1 to 100".into());
    }
    if !(0.1..=600.0).contains(&options.seconds) {
        return Err("--seconds is from 0.1 to 600".into());
    }
    Ok(Some(options))
}

fn peer(text: &str) -> Result<(String, Kind, PathBuf), String> {
    let (name, path) =
        text.split_once('=').ok_or_else(|| format!("--peer {text}: it is NAME=/path/to/binary"))?;
    Ok((name.to_owned(), Kind::named(name)?, path.into()))
}

impl Options {
    /// The command that repeats this. Paths of binaries differ from machine to machine.
    pub fn repeat(&self, agents: &[Agent]) -> String {
        let mut words = vec!["cargo x bench".to_owned()];
        if self.scenarios.len() < SCENARIOS.len() {
            words.extend(self.scenarios.iter().map(|scenario| scenario.name.to_owned()));
        }
        words.extend(agents.iter().skip(1).map(|agent| {
            let kind = agent.kind.name();
            let name = agent.name.split(' ').next().unwrap_or(kind);
            format!("--peer {name}=/path/to/{kind}")
        }));
        words.push(format!("--rounds {} --seconds {}", self.rounds, self.seconds));
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        let mut parser = lexopt::Parser::from_args(line.split_whitespace());
        read(&mut parser).map(Option::unwrap).map_err(|error| error.to_string())
    }

    #[test]
    fn scenarios_peers_and_times_are_read() {
        let options =
            parse("small trigger --peer weir2=/a --peer fluent-bit=/b --rounds 7 --seconds 3 --resume")
                .unwrap();
        let names: Vec<_> = options.scenarios.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names, ["small", "trigger"]);
        let peers = [("weir2", Kind::Weir, "/a"), ("fluent-bit", Kind::FluentBit, "/b")];
        assert_eq!(options.peers, peers.map(|(name, kind, path)| (name.to_owned(), kind, path.into())));
        assert_eq!((options.rounds, options.seconds, options.resume), (7, 3.0, true));
        assert_eq!(parse("").unwrap().scenarios.len(), SCENARIOS.len());
    }

    #[test]
    fn what_is_not_known_is_refused_and_what_is_known_listed() {
        let error = parse("smal").err().unwrap();
        assert!(error.contains("\"smal\"") && error.contains("small, records-100"), "{error}");
        let error = parse("--peer logstash=/a").err().unwrap();
        assert!(error.contains("logstash") && error.contains("fluent-bit"), "{error}");
        assert!(parse("--peer vector").err().unwrap().contains("NAME="));
        assert!(parse("--rounds 0").is_err() && parse("--seconds NaN").is_err());
    }
}
