//! All rounds of all scenarios: agents take turns within a round, and in the next the other way around.

use std::fs;
use std::path::{Path, PathBuf};

use super::agent::{Agent, Kind};
use super::history::History;
use super::machine::{self, Machine};
use super::measure::{self, Place};
use super::options::Options;
use super::sample::{Failure, Line, Run, Sample};
use super::scenario::{SCENARIOS, Scenario};
use super::{config, page, running, summary, table};
use crate::process;

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
    let (agents, mut skipped) = agents(options, &binaries, &folder)?;
    let kusto_local = copy(&binaries.join("kusto-local"), &folder)?;
    let place = Place { folder, kusto_local, agent_core, load_core, seconds: options.seconds };
    skipped.extend(impossible(options, &agents));
    for reason in &skipped {
        eprintln!("skipped: {reason}");
    }
    let run = circumstances(options, machine, &agents, skipped);
    let (run, samples) = measure_all(options, run, &agents, &place)?;
    println!("{}", table::figures(&samples, &run).text());
    println!("{}", table::ratios(&summary::compare(&run, &samples)).text());
    if options.scenarios.len() == SCENARIOS.len() {
        page::write(&(run, samples))
    } else {
        println!(
            "docs/benchmarks.md is unchanged: this was not every scenario (--page makes it from this run)"
        );
        Ok(())
    }
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

fn agents(options: &Options, binaries: &Path, folder: &Path) -> Result<(Vec<Agent>, Vec<String>), String> {
    let mut weir = Agent::new("weir".to_owned(), Kind::Weir, copy(&binaries.join("weir"), folder)?)?;
    if let Some(revision) = machine::revision() {
        weir.version = format!("{} ({revision})", weir.version);
    }
    let (mut agents, mut skipped) = (vec![weir], Vec::new());
    for (kind, path) in &options.peers {
        let before = agents.iter().filter(|agent: &&Agent| agent.kind == *kind).count();
        let name = match before {
            0 => kind.name().to_owned(),
            before => format!("{} ({})", kind.name(), before + 1),
        };
        if path.exists() {
            agents.push(Agent::new(name, *kind, path.clone())?);
        } else {
            eprintln!("{} is not there", path.display());
            skipped.push(format!("{name}: there is no such binary on this machine"));
        }
    }
    Ok((agents, skipped))
}

/// Scenarios that an agent cannot take part in.
fn impossible(options: &Options, agents: &[Agent]) -> Vec<String> {
    let mut found = Vec::new();
    for scenario in &options.scenarios {
        for agent in agents.iter().filter(|agent| !config::can(agent.kind, scenario.route)) {
            found.push(format!("{}: {} cannot be pointed at a local Kusto", scenario.name, agent.name));
        }
    }
    found
}

fn circumstances(options: &Options, machine: Machine, agents: &[Agent], skipped: Vec<String>) -> Run {
    let (date, time) = machine::now();
    Run {
        run: format!("{date}T{time}"),
        machine,
        agents: agents.iter().map(|agent| (agent.name.clone(), agent.version.clone())).collect(),
        command: options.repeat(agents),
        rounds: options.rounds,
        seconds: options.seconds,
        scenarios: options.scenarios.iter().map(|scenario| scenario.name.to_owned()).collect(),
        skipped,
    }
}

fn measure_all(
    options: &Options,
    mut run: Run,
    agents: &[Agent],
    place: &Place,
) -> Result<(Run, Vec<Sample>), String> {
    let mut history = History::open(run.run.split('T').next().unwrap_or(""))?;
    history.append(&Line::Run(run.clone()))?;
    let mut samples = Vec::new();
    for scenario in &options.scenarios {
        for round in 1..=options.rounds {
            for agent in order(agents, round).filter(|agent| config::can(agent.kind, scenario.route)) {
                eprint!("{}, round {round} of {}: {} ... ", scenario.name, options.rounds, agent.name);
                match measure::sample(place, agent, scenario) {
                    Ok(sample) => {
                        let sample = named(sample, &run, scenario, agent, round);
                        eprintln!("{:.1} MB per CPU-second", sample.mb_per_cpu());
                        history.append(&Line::Sample(sample.clone()))?;
                        samples.push(sample);
                    }
                    // One agent that fails once must not cost the figures of all others.
                    Err(reason) => {
                        eprintln!("failed: {reason}");
                        let failure = failure(reason, place, scenario, agent, round);
                        run.failed(&failure);
                        history.append(&Line::Failure(failure))?;
                    }
                }
            }
        }
    }
    Ok((run, samples))
}

/// What is kept and published names no folder of this machine.
fn failure(reason: String, place: &Place, scenario: &Scenario, agent: &Agent, round: u32) -> Failure {
    Failure {
        scenario: scenario.name.to_owned(),
        agent: agent.name.clone(),
        round,
        reason: reason.replace(&place.folder.display().to_string(), "target/bench"),
    }
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
