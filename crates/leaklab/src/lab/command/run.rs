//! `leaklab run`: an experiment and its verdict.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lexopt::prelude::*;

use super::{help, options, show};
use crate::lab::capture::Capture;
use crate::lab::document::Document;
use crate::lab::experiment::Experiment;
use crate::lab::judge::{could_not, judge};
use crate::lab::{report, target};

/// The time without `--budget`.
const BUDGET: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Given {
    cmd: Option<String>,
    url: Option<String>,
    payload: Option<PathBuf>,
    plan: Option<PathBuf>,
    budget: Option<Duration>,
    out: Option<PathBuf>,
    no_ask: bool,
    json: bool,
}

/// Runs it; returns the exit status.
pub fn run(parser: &mut lexopt::Parser) -> Result<u8, lexopt::Error> {
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("cmd") => given.cmd = Some(parser.value()?.string()?),
            Long("url") => given.url = Some(parser.value()?.string()?),
            Long("payload") => given.payload = Some(parser.value()?.into()),
            Long("plan") => given.plan = Some(parser.value()?.into()),
            Long("budget") => given.budget = Some(options::duration(&parser.value()?.string()?)?),
            Long("out") => given.out = Some(parser.value()?.into()),
            Long("no-ask") => given.no_ask = true,
            Long("json") => given.json = true,
            other => return help(other),
        }
    }
    let json = given.json;
    let (document, capture) = experiment(given)?;
    if json {
        let text = serde_json::to_string(&document).map_err(|error| error.to_string())?;
        show(&format!("{text}\n"))?;
    } else {
        show(&report::text(&document, &capture))?;
    }
    Ok(document.code())
}

fn experiment(given: Given) -> Result<(Document, Capture), String> {
    let mut plan = options::plan(given.plan.as_deref())?;
    plan.trim &= !given.no_ask;
    let command = given.cmd.or_else(|| plan.cmd.clone()).ok_or("--cmd says what to start")?;
    let url = given.url.or_else(|| plan.url.clone()).ok_or("--url says where it listens")?;
    let payload = options::payload(given.payload.as_deref(), &plan)?;
    crate::process::allow_descriptors().map_err(|error| format!("descriptors: {error}"))?;
    let log = match &given.out {
        Some(out) => {
            std::fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
            out.join("target.log")
        }
        None => std::env::temp_dir().join(format!("leaklab-{}.log", std::process::id())),
    };
    let budget = given.budget.unwrap_or(BUDGET);
    let (document, capture) = measure(command, url, payload, plan, budget, &log);
    match &given.out {
        Some(out) => write(out, &document, &capture)?,
        None => {
            // The log was for error messages; they have what they need of it.
            let _gone = std::fs::remove_file(&log);
        }
    }
    Ok((document, capture))
}

/// Runs an experiment and decides; what cannot be measured is a document too.
pub fn measure(
    command: String,
    url: String,
    payload: crate::lab::body::Payload,
    plan: crate::lab::plan::Plan,
    budget: Duration,
    log: &Path,
) -> (Document, Capture) {
    let started = Instant::now();
    let margins = plan.margins;
    let terminal = std::io::stderr().is_terminal();
    target::end_politely();
    let progress = move |name: &str| {
        if terminal {
            let seconds = started.elapsed().as_secs_f64();
            eprint!("\r\x1b[K{seconds:4.0} s of {:.0} s  {name}", budget.as_secs_f64());
            let _shown = std::io::stderr().flush();
        }
    };
    let experiment =
        Experiment { command, url, payload, plan, budget, log: log.to_owned(), progress: Box::new(progress) };
    let result = experiment.run();
    if terminal {
        eprint!("\r\x1b[K");
    }
    let (judgement, capture) = match result {
        Ok(capture) => (judge(&capture, &margins), capture),
        Err((error, capture)) => (could_not(&error), capture),
    };
    let document = Document::new(&capture, judgement, started.elapsed().as_secs_f64());
    (document, capture)
}

/// Writes capture, report and document.
pub fn write(out: &Path, document: &Document, capture: &Capture) -> Result<(), String> {
    let save = |name: &str, text: String| {
        let path = out.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
    };
    capture.write(&out.join("capture.jsonl"))?;
    save("report.html", report::page(document, capture))?;
    save("result.json", serde_json::to_string_pretty(document).map_err(|error| error.to_string())? + "\n")
}
