//! `weir`: the agent.
//!
//! Reads a Fluent Bit configuration, opens its instances, and runs them until a signal. The parts:
//! [`cli`] (command line), [`load`] (configuration to pipeline), [`memory`] (from the limit to the budget),
//! [`heap`], [`admin`] (monitoring API), [`log`], [`reference`] (what Fluent Bit has and this agent does not act on).

mod admin;
mod cli;
mod heap;
mod load;
mod log;
mod memory;
mod prometheus;
mod reference;

use std::process::ExitCode;

use cli::Command;
use engine::lane::{Stopper, runtime};
use load::Loaded;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

fn main() -> ExitCode {
    let options = match cli::parse() {
        Ok(Command::Run(options)) => options,
        Ok(Command::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("weir: {error}");
            return ExitCode::FAILURE;
        }
    };
    let loaded = match load::load(&options.config) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in problems.sorted() {
                eprintln!("{problem}");
            }
            let plural = if problems.len() == 1 { "problem" } else { "problems" };
            eprintln!("weir: {} {plural} in the configuration: not started", problems.len());
            return ExitCode::FAILURE;
        }
    };
    if options.dry_run {
        loaded.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
        eprint!("{}", loaded.memory.table(&loaded.budget));
        eprintln!("configuration test is successful");
        return ExitCode::SUCCESS;
    }
    match run(loaded, &options) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs to the end. Returns the exit code, which an input may have asked for.
fn run(loaded: Loaded, options: &cli::Options) -> Result<u8, String> {
    log::start(&loaded.service, options)?;
    let Loaded { service, pipeline, budget, warnings, memory } = loaded;
    tracing::info!("[weir] version={}, pid={}, {memory}", env!("CARGO_PKG_VERSION"), std::process::id());
    warnings.iter().for_each(|warning| tracing::warn!("[config] {warning}"));
    let runtime = runtime().map_err(|error| format!("cannot start: {error}"))?;
    tracing::info!("[memory] {}", heap::verify()?);
    LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(heap::settle());
        pipeline.start().map_err(|failed| failed.join("\n"))?;
        let stopper = Stopper::default();
        if service.http_server {
            admin::start(&service, pipeline.metrics(), &budget, stopper.stop())?;
        }
        tokio::task::spawn_local(await_signal(stopper.clone()));
        tokio::task::spawn_local(await_exit(stopper.clone()));
        let left = pipeline.run(stopper.stop()).await.map_err(|error| format!("cannot run: {error}"))?;
        if left > 0 {
            tracing::error!(
                "[engine] service has stopped ({left} batches were not delivered within the grace)"
            );
        } else {
            tracing::info!("[engine] service has stopped (0 pending tasks)");
        }
        Ok(stopper.exit_code())
    })
}

/// An input whose source has ended may stop the agent as a signal does.
async fn await_exit(stopper: Stopper) {
    stopper.exit_asked().await;
    stopper.say();
}

/// SIGTERM, SIGINT and SIGQUIT stop the agent gracefully; a second one ends it at once.
async fn await_signal(stopper: Stopper) {
    let mut signals = Vec::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()] {
        match signal(kind) {
            Ok(signal) => signals.push(signal),
            Err(error) => tracing::error!("a signal cannot be listened for: {error}"),
        }
    }
    let [terminate, interrupt, quit] = signals.as_mut_slice() else { return };
    for first in [true, false] {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = quit.recv() => "SIGQUIT",
        };
        if first {
            tracing::warn!("[engine] caught signal ({name})");
            stopper.say();
        } else {
            tracing::error!("[engine] caught signal ({name}) again: what is not delivered is given up");
            std::process::exit(1);
        }
    }
}
