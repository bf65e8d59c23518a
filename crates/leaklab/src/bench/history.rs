//! The history: a line of JSON for each run and each sample.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::sample::{Entry, Failure, Line, Sample};
use super::scenario::SCENARIOS;

const FOLDER: &str = "bench/history";
/// The longest file that is read.
const BYTES: u64 = 64 << 20;

/// A file that lines are appended to.
pub struct History {
    file: File,
    path: PathBuf,
}

impl History {
    /// Opens the file of a date.
    pub fn open(date: &str) -> Result<History, String> {
        History::open_in(Path::new(FOLDER), date)
    }

    fn open_in(folder: &Path, date: &str) -> Result<History, String> {
        let path = folder.join(format!("{date}.jsonl"));
        let fail = |error| format!("{}: {error}", path.display());
        fs::create_dir_all(folder).map_err(fail)?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(fail)?;
        Ok(History { file, path })
    }

    /// Appends a line.
    pub fn append(&mut self, line: &Line) -> Result<(), String> {
        let mut text = serde_json::to_string(line).map_err(|error| error.to_string())?;
        text.push('\n');
        self.file.write_all(text.as_bytes()).map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

/// The newest whole entry of each scenario that there is, in the order of the scenarios; and the newest with
/// nobody but weir, which shows the noise.
pub fn entries() -> Result<Vec<Entry>, String> {
    entries_in(Path::new(FOLDER))
}

fn entries_in(folder: &Path) -> Result<Vec<Entry>, String> {
    let files = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = files
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    files.sort();
    let mut newest = HashMap::new();
    for path in &files {
        for entry in entries_of(path)? {
            newest.insert((entry.scenario.clone(), entry.run.is_only_weir()), entry);
        }
    }
    let keys = SCENARIOS.iter().flat_map(|scenario| [(scenario.name, false), (scenario.name, true)]);
    Ok(keys.filter_map(|(name, alone)| newest.remove(&(name.to_owned(), alone))).collect())
}

/// The scenarios of a file that had all their rounds, the oldest first.
fn entries_of(path: &Path) -> Result<Vec<Entry>, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(BYTES).read_to_string(&mut text))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let (mut run, mut samples, mut failures, mut found) = (None, Vec::new(), Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = serde_json::from_str(line)
            .map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))?;
        match line {
            Line::Run(begun) => {
                run = Some(begun);
                (samples, failures) = (Vec::new(), Vec::new());
            }
            Line::Sample(sample) => samples.push(sample),
            Line::Failure(failure) => failures.push(failure),
            Line::Ended { scenario, skipped } => {
                let samples: Vec<Sample> = std::mem::take(&mut samples);
                let failures: Vec<Failure> = std::mem::take(&mut failures);
                let run = run.clone();
                found.extend(run.map(|run| Entry { run, scenario, samples, failures, skipped }));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine::Machine;
    use crate::bench::sample::{Run, Skipped, tests::sample};

    fn run(name: &str) -> Run {
        Run {
            run: name.to_owned(),
            machine: Machine::default(),
            agents: vec![("weir".to_owned(), "1".to_owned()), ("fluent-bit".to_owned(), "5".to_owned())],
            command: "cargo x bench".to_owned(),
            rounds: 1,
            seconds: 5.0,
        }
    }

    #[test]
    fn the_newest_whole_entry_of_each_scenario_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let skipped = vec![Skipped { agent: "vector".to_owned(), reason: "no".to_owned() }];
        let failure = Failure {
            scenario: "small".to_owned(),
            agent: "weir".to_owned(),
            round: 2,
            reason: "it is gone".to_owned(),
        };
        let entry = |name: &str, scenario: &str| Entry {
            run: run(name),
            scenario: scenario.to_owned(),
            samples: vec![sample(scenario, "weir", 1, 3.0), sample(scenario, "fluent-bit", 1, 1.5)],
            failures: vec![failure.clone()],
            skipped: skipped.clone(),
        };
        let write = |date: &str, entry: &Entry, whole: bool| {
            let mut history = History::open_in(folder.path(), date).unwrap();
            history.append(&Line::Run(entry.run.clone())).unwrap();
            for sample in &entry.samples {
                history.append(&Line::Sample(sample.clone())).unwrap();
            }
            history.append(&Line::Failure(failure.clone())).unwrap();
            if whole {
                let (scenario, skipped) = (entry.scenario.clone(), skipped.clone());
                history.append(&Line::Ended { scenario, skipped }).unwrap();
            }
        };
        write("2026-11-22", &entry("old", "small"), true);
        write("2026-11-22", &entry("old", "trigger"), true);
        write("2026-11-23", &entry("new", "small"), true);
        write("2026-11-23", &entry("interrupted", "small"), false);
        let mut alone = entry("alone", "small");
        alone.run.agents.pop();
        write("2026-11-24", &alone, true);
        let found = entries_in(folder.path()).unwrap();
        assert_eq!(found, [entry("new", "small"), alone, entry("old", "trigger")]);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(entries_in(folder.path()), Ok(Vec::new()));
        fs::write(folder.path().join("2026-11-23.jsonl"), "{}\n").unwrap();
        assert!(entries_in(folder.path()).unwrap_err().contains("2026-11-23.jsonl:1: "));
    }
}
