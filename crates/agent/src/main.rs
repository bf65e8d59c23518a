//! `weir`: the agent.
//!
//! Reads a Fluent Bit configuration, opens its instances, and runs them until a signal. The parts:
//! [`cli`] (command line), [`help`] (what it prints), [`load`] (configuration to pipeline), [`memory`] (from the
//! limit to the budget), [`heap`], [`ledger`] (to look at), [`run`] (signals, start and stop), [`admin`] (monitoring API), [`log`],
//! [`reference`] (what Fluent Bit has and this agent does not act on).

mod absent;
mod admin;
mod cli;
mod heap;
mod help;
mod ledger;
mod load;
mod log;
mod memory;
mod prometheus;
mod reference;
mod run;

use std::process::ExitCode;

use cli::Command;
use load::Read;
use options::Problems;

fn main() -> ExitCode {
    let mut options = match cli::parse() {
        Ok(Command::Run(options)) => options,
        Ok(Command::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return failed(&error),
    };
    if let Some(folder) = &options.workdir
        && let Err(error) = std::env::set_current_dir(folder)
    {
        return failed(&format!("cannot change to {}: {error}", folder.display()));
    }
    let loaded = match Read::all(&options).open(None) {
        Ok(loaded) => loaded,
        Err(problems) => return refused(&problems),
    };
    if options.dry_run {
        loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        eprint!("{}", loaded.memory.table(&loaded.budget));
        eprintln!("configuration test is successful");
        return ExitCode::SUCCESS;
    }
    if loaded.service.daemon
        && let Err(error) = run::detach(&mut options)
    {
        return failed(&error);
    }
    match run::run(loaded, &options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => failed(&error),
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("weir: {why}");
    ExitCode::FAILURE
}

fn refused(problems: &Problems) -> ExitCode {
    for problem in problems.sorted() {
        eprintln!("{problem}");
    }
    let plural = if problems.len() == 1 { "problem" } else { "problems" };
    failed(&format!("{} {plural} in the configuration: not started", problems.len()))
}
