//! The zoo: servers with one defect each and their twins, and how often the lab is right about them.
//!
//! The servers are in crates/zoo: in Rust with the allocator of the C library and with jemalloc, and in Python.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::body::Payload;
use super::capture::Capture;
use super::command::{measure, write};
use super::document::Document;
use super::judge::{Factor, Verdict, judge};
use super::plan::Plan;
use super::target::interrupted;

/// A server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// `system`, `jemalloc` or `python`.
    pub kind: &'static str,
    /// Its defect.
    pub defect: &'static str,
    /// Without the defect.
    pub twin: bool,
}

const KINDS: [&str; 3] = ["system", "jemalloc", "python"];
const DEFECTS: [(&str, Verdict, Factor); 9] = [
    ("held", Verdict::PerConnection, Factor::ConnectionsHeld),
    ("requests", Verdict::Leak, Factor::Requests),
    ("opened", Verdict::Leak, Factor::ConnectionsOpened),
    ("payload", Verdict::Leak, Factor::PayloadBytes),
    ("peak", Verdict::HighWater, Factor::PayloadBytes),
    ("retention", Verdict::Retention, Factor::None),
    ("time", Verdict::Leak, Factor::Time),
    ("keys", Verdict::Cardinality, Factor::DistinctKeys),
    ("streams", Verdict::Leak, Factor::Requests),
];

/// Every server; Python has no HTTP/2.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        for (defect, ..) in DEFECTS {
            if kind == "python" && defect == "streams" {
                continue;
            }
            cases.extend([false, true].map(|twin| Case { kind, defect, twin }));
        }
    }
    cases
}

impl Case {
    /// What is right.
    pub fn truth(&self) -> (Verdict, Factor) {
        let found = DEFECTS.iter().find(|(defect, ..)| *defect == self.defect);
        match found {
            Some((_, verdict, factor)) if !self.twin => (*verdict, *factor),
            _ => (Verdict::Clean, Factor::None),
        }
    }

    /// The command line. `programs` has the binaries, `source` the scripts.
    fn command(&self, port: u16, programs: &Path, source: &Path) -> String {
        let Case { kind, defect, twin } = self;
        let twin = if *twin { " twin" } else { "" };
        if *kind == "python" {
            return format!("exec python3 '{}/python/zoo.py' {port} {defect}{twin}", source.display());
        }
        // The pages that jemalloc has are given back never, or at once.
        let decay = if self.twin { "0" } else { "-1" };
        let options = match (*kind, *defect) {
            ("jemalloc", "retention") => format!("export _RJEM_MALLOC_CONF=dirty_decay_ms:{decay}; "),
            _ => String::new(),
        };
        format!("{options}exec '{}/zoo-{kind}' {port} {defect}{twin}", programs.display())
    }

    /// What the folder of its capture begins with.
    fn folder(&self) -> String {
        let Case { kind, defect, twin } = self;
        format!("{kind}-{defect}{}", if *twin { "-twin" } else { "" })
    }

    /// Runs the lab on it.
    ///
    /// # Errors
    /// No port is free.
    pub fn run(&self, zoo: &Zoo) -> Result<Document, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        drop(listener);
        let log = std::env::temp_dir().join(format!("leaklab-zoo-{}-{port}.log", std::process::id()));
        let command = self.command(port, &zoo.programs, &zoo.source);
        let url = format!("http://127.0.0.1:{port}/");
        let (document, capture) =
            measure(command, url, Payload::default(), Plan::default(), zoo.budget, &log);
        let _gone = std::fs::remove_file(&log);
        if let Some(out) = &zoo.out {
            let out = out.join(format!("{}-{port}", self.folder()));
            std::fs::create_dir_all(&out).map_err(|error| format!("{}: {error}", out.display()))?;
            write(&out, &document, &capture)?;
        }
        Ok(document)
    }
}

/// Where the servers are, and how long each is looked at.
pub struct Zoo {
    /// The folder with the binaries.
    pub programs: PathBuf,
    /// The folder with the scripts.
    pub source: PathBuf,
    /// For each run.
    pub budget: Duration,
    /// Where captures and reports go.
    pub out: Option<PathBuf>,
}

/// How a run of a case ended.
pub struct Run {
    /// The case.
    pub case: Case,
    /// What was found.
    pub document: Document,
}

impl Run {
    /// Whether verdict and factor are right.
    pub fn is_right(&self) -> bool {
        (self.document.judgement.verdict, self.document.judgement.factor) == self.case.truth()
    }

    /// One line.
    pub fn line(&self) -> String {
        let Case { kind, defect, twin } = self.case;
        let twin = if twin { "twin" } else { "" };
        let mark = if self.is_right() { "right" } else { "WRONG" };
        format!("{mark}  {kind:<9}{defect:<10}{twin:<5} {}", self.document.sentence)
    }
}

/// Runs cases, so many at a time; each is told when it has ended.
///
/// # Errors
/// No port is free.
pub fn run(
    cases: &[Case],
    at_a_time: usize,
    zoo: &Zoo,
    told: &(dyn Fn(&Run) + Sync),
) -> Result<Vec<Run>, String> {
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !interrupted()) {
            let run = case.run(zoo).map(|document| Run { case: *case, document });
            if let Ok(run) = &run {
                told(run);
            }
            if let Ok(mut found) = found.lock() {
                found.push(run);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(work);
        }
    });
    found.into_inner().map_err(|error| error.to_string())?.into_iter().collect()
}

/// Decides again on the captures that runs have left in a folder.
///
/// # Errors
/// A capture cannot be read.
pub fn again(folder: &Path) -> Result<Vec<Run>, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .map_err(fail)?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let of = |name: &String| {
        let (case, _) = name.rsplit_once('-')?;
        cases().into_iter().find(|known| known.folder() == case).map(|case| (case, folder.join(name)))
    };
    let decide = |(case, folder): (Case, PathBuf)| {
        let capture = Capture::read(&folder.join("capture.jsonl"))?;
        let judgement = judge(&capture, &Plan::default().margins);
        Ok(Run { case, document: Document::new(&capture, judgement, 0.0) })
    };
    names.iter().filter_map(of).map(decide).collect()
}

/// The result as a table in Markdown: right of all, for each server and defect.
pub fn table(runs: &[Run]) -> String {
    let mut text = String::from("| server | defect | found | twin clean |\n|---|---|---|---|\n");
    for kind in KINDS {
        for (defect, ..) in DEFECTS {
            let of = |twin: bool| {
                let of: Vec<&Run> =
                    runs.iter().filter(|run| run.case == Case { kind, defect, twin }).collect();
                let right = of.iter().filter(|run| run.is_right()).count();
                if of.is_empty() { "-".to_owned() } else { format!("{right} of {}", of.len()) }
            };
            if of(false) != "-" || of(true) != "-" {
                text.push_str(&format!("| {kind} | {defect} | {} | {} |\n", of(false), of(true)));
            }
        }
    }
    let right = runs.iter().filter(|run| run.is_right()).count();
    let leaks =
        runs.iter().filter(|run| run.case.twin && run.document.judgement.verdict == Verdict::Leak).count();
    text.push_str(&format!(
        "\n{right} of {} right ({:.1} %); {leaks} twins called a leak.\n",
        runs.len(),
        right as f64 * 100.0 / runs.len().max(1) as f64
    ));
    text
}
