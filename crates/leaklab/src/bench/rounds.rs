//! All rounds of all scenarios: agents take turns within a round, and in the next the other way around.

use std::fs;
use std::path::{Path, PathBuf};

use super::agent::{Agent, Kind};
use super::history::{self, History};
use super::machine::{self, Machine};
use super::measure::{self, Place, Trouble};
use super::network::Network;
use super::options::Options;
use super::sample::{Entry, Failure, Line, Run, Sample, Skipped};
use super::scenario::Scenario;
use super::{config, page, running, summary, table};
use crate::process;

/// The first rounds in which agents rest at the end. In all rounds it would add a quarter of an hour to a bench.
const RESTING: u32 = 1;

/// Measures what is asked for, prints and keeps it.
pub fn run(options: &Options) -> Result<(), String> {
    let binaries = binaries()?;
    let folder = binaries.parent().unwrap_or(&binaries).join("bench");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    process::allow_descriptors().map_err(|error| format!("descriptors: {error}"))?;
    let machine = Machine::here();
    let (agent_core, load_core) = (0, usize::from(machine.cores > 1));
    if machine.cores < 2 {
        eprintln!(
            "there is one core: agents and load share it, and only figures per CPU-second mean anything"
        );
    }
    running::pin(load_core).map_err(|error| format!("core {load_core}: {error}"))?;
    let (agents, missing) = agents(options, &binaries, &folder)?;
    let kusto_local = copy(&binaries.join("kusto-local"), &folder)?;
    let (certificate, key, pem) = certificate(&folder)?;
    let (network, seconds) = (network(options, &agents)?, options.seconds);
    let place = Place { folder, kusto_local, certificate, key, pem, network, agent_core, load_core, seconds };
    let run = circumstances(options, machine, &agents);
    let scenarios = left(options, &run)?;
    let entries = measure_all(&scenarios, &run, &agents, &missing, &place)?;
    println!("{}", table::figures(&entries).text());
    for more in [table::connections(&entries), table::left_out(&entries)].into_iter().flatten() {
        println!("{}", more.text());
    }
    println!("{}", table::ratios(&summary::compare(&entries)).text());
    page::write(&history::entries()?)
}

/// The scenarios that are to be measured: with `--resume` not those that today's history already has with the
/// same agents, rounds and seconds.
fn left(options: &Options, run: &Run) -> Result<Vec<&'static Scenario>, String> {
    let day = |run: &Run| run.run.split('T').next().map(str::to_owned);
    let same = |entry: &Entry| {
        let Run { agents, rounds, seconds, .. } = &entry.run;
        day(&entry.run) == day(run) && (agents, rounds, seconds) == (&run.agents, &run.rounds, &run.seconds)
    };
    let done: Vec<Entry> = if options.resume { history::entries()? } else { Vec::new() };
    let is_done =
        |scenario: &Scenario| done.iter().any(|entry| entry.scenario == scenario.name && same(entry));
    Ok(options.scenarios.iter().copied().filter(|scenario| !is_done(scenario)).collect())
}

/// A network of the bench's own, if an agent needs one for a scenario and there can be one.
fn network(options: &Options, agents: &[Agent]) -> Result<Option<Network>, String> {
    let needs =
        |scenario: &Scenario| agents.iter().any(|agent| config::needs_metadata_service(agent.kind, scenario));
    if !options.scenarios.iter().any(|scenario| needs(scenario)) {
        return Ok(None);
    }
    match Network::enter() {
        Ok(network) => Ok(Some(network)),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(None),
        Err(error) => Err(format!("a network of the bench's own: {error}")),
    }
}

/// A certificate for 127.0.0.1 that agents show, and its key.
fn certificate(folder: &Path) -> Result<(PathBuf, PathBuf, String), String> {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])
        .map_err(|error| format!("a certificate: {error}"))?;
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let pem = issued.cert.pem();
    for (path, text) in [(&certificate, &pem), (&key, &issued.signing_key.serialize_pem())] {
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok((certificate, key, pem))
}

/// The folder of this binary, where weir and kusto-local are built too.
fn binaries() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("this binary: {error}"))?;
    own.parent().map(Path::to_owned).ok_or_else(|| "this binary is in no folder".to_owned())
}

/// A binary is copied before it is measured: a build meanwhile must not change it between rounds.
fn copy(binary: &Path, folder: &Path) -> Result<PathBuf, String> {
    let name = binary.file_name().ok_or("a binary without a name")?;
    let copy = folder.join(name);
    fs::copy(binary, &copy).map_err(|error| format!("{}: {error}", binary.display()))?;
    Ok(copy)
}

/// The agents that are there, weir first, and those that are not.
fn agents(options: &Options, binaries: &Path, folder: &Path) -> Result<(Vec<Agent>, Vec<Skipped>), String> {
    let mut weir = Agent::new("weir".to_owned(), Kind::Weir, copy(&binaries.join("weir"), folder)?)?;
    if let Some(revision) = machine::revision() {
        weir.version = format!("{} ({revision})", weir.version);
    }
    let (mut agents, mut missing) = (vec![weir], Vec::new());
    for (name, kind, path) in &options.peers {
        let before = agents.iter().filter(|agent: &&Agent| agent.kind == *kind).count();
        let taken = agents.iter().any(|agent| agent.name == *name);
        let name = if taken { format!("{name} ({})", before + 1) } else { name.clone() };
        if path.exists() {
            agents.push(Agent::new(name, *kind, path.clone())?);
        } else {
            eprintln!("{} is not there", path.display());
            missing
                .push(Skipped { agent: name, reason: "there is no such binary on this machine".to_owned() });
        }
    }
    let named = |kind: Kind| options.peers.iter().any(|(_, named, _)| *named == kind);
    for kind in [Kind::FluentBit, Kind::Vector].into_iter().filter(|kind| !named(*kind)) {
        let reason = format!("no binary was named (--peer {}=PATH)", kind.name());
        missing.push(Skipped { agent: kind.name().to_owned(), reason });
    }
    Ok((agents, missing))
}

fn circumstances(options: &Options, machine: Machine, agents: &[Agent]) -> Run {
    let (date, time) = machine::now();
    Run {
        run: format!("{date}T{time}"),
        machine,
        agents: agents.iter().map(|agent| (agent.name.clone(), agent.version.clone())).collect(),
        command: options.repeat(agents),
        rounds: options.rounds,
        seconds: options.seconds,
    }
}

fn measure_all(
    scenarios: &[&Scenario],
    run: &Run,
    agents: &[Agent],
    missing: &[Skipped],
    place: &Place,
) -> Result<Vec<Entry>, String> {
    let mut history = History::open(run.run.split('T').next().unwrap_or(""))?;
    history.append(&Line::Run(run.clone()))?;
    let mut entries = Vec::new();
    for scenario in scenarios {
        let mut entry = Entry {
            run: run.clone(),
            scenario: scenario.name.to_owned(),
            samples: Vec::new(),
            failures: Vec::new(),
            skipped: missing.to_vec(),
        };
        for agent in agents {
            let reason = config::obstacle(agent.kind, scenario, place.network).map(str::to_owned);
            entry.skipped.extend(reason.map(|reason| Skipped { agent: agent.name.clone(), reason }));
        }
        for round in 1..=run.rounds {
            for agent in order(agents, round) {
                one(&mut entry, &mut history, place, scenario, agent, round)?;
            }
        }
        for Skipped { agent, reason } in &entry.skipped {
            eprintln!("{}: {agent} is left out: {reason}", scenario.name);
        }
        let (scenario, skipped) = (entry.scenario.clone(), entry.skipped.clone());
        history.append(&Line::Ended { scenario, skipped })?;
        entries.push(entry);
    }
    Ok(entries)
}

/// One agent in one round. What goes wrong is kept: one agent that fails must not cost the figures of others.
fn one(
    entry: &mut Entry,
    history: &mut History,
    place: &Place,
    scenario: &Scenario,
    agent: &Agent,
    round: u32,
) -> Result<(), String> {
    if entry.skipped.iter().any(|skipped| skipped.agent == agent.name) {
        return Ok(());
    }
    eprint!("{}, round {round} of {}: {} ... ", scenario.name, entry.run.rounds, agent.name);
    match measure::sample(place, agent, scenario, round <= RESTING) {
        Ok(sample) => {
            let sample = named(sample, &entry.run, scenario, agent, round);
            let busy = if sample.is_load_bound() { "; load and destination were at their limit" } else { "" };
            eprintln!("{:.1} MB per CPU-second{busy}", sample.mb_per_cpu());
            history.append(&Line::Sample(sample.clone()))?;
            entry.samples.push(sample);
        }
        Err(Trouble::Refused(reason)) => {
            eprintln!("{reason}");
            entry.skipped.push(Skipped { agent: agent.name.clone(), reason: public(reason, place) });
        }
        Err(Trouble::Failed(reason)) => {
            eprintln!("failed: {reason}");
            let (scenario, agent) = (scenario.name.to_owned(), agent.name.clone());
            let failure = Failure { scenario, agent, round, reason: public(reason, place) };
            history.append(&Line::Failure(failure.clone()))?;
            entry.failures.push(failure);
        }
    }
    Ok(())
}

/// What is kept and published names no folder of this machine.
fn public(reason: String, place: &Place) -> String {
    reason.replace(&place.folder.display().to_string(), "target/bench")
}

/// The agents in this order in odd rounds and the other way around in even ones.
fn order(agents: &[Agent], round: u32) -> impl Iterator<Item = &Agent> {
    let count = agents.len();
    (0..count).map(move |index| &agents[if round % 2 == 1 { index } else { count - 1 - index }])
}

fn named(sample: Sample, run: &Run, scenario: &Scenario, agent: &Agent, round: u32) -> Sample {
    Sample {
        run: run.run.clone(),
        scenario: scenario.name.to_owned(),
        agent: agent.name.clone(),
        round,
        ..sample
    }
}
