//! The history: a line of JSON for each run and each sample.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::sample::{Line, Run, Sample};

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

/// The last run, with its samples.
pub fn last_run() -> Result<(Run, Vec<Sample>), String> {
    last_run_in(Path::new(FOLDER))
}

fn last_run_in(folder: &Path) -> Result<(Run, Vec<Sample>), String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let newest = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .max();
    let path = newest.ok_or_else(|| format!("{} has no run; cargo x bench makes one", folder.display()))?;
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(BYTES).read_to_string(&mut text))
        .map_err(|error| format!("{}: {error}", path.display()))?;
    let (mut run, mut samples) = (None, Vec::new());
    for (number, line) in text.lines().enumerate() {
        let line = serde_json::from_str(line)
            .map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))?;
        match line {
            Line::Run(found) => {
                run = Some(found);
                samples.clear();
            }
            Line::Sample(sample) => samples.push(sample),
            Line::Failure(failure) => run.iter_mut().for_each(|run| run.failed(&failure)),
        }
    }
    run.map(|run| (run, samples)).ok_or_else(|| format!("{} has no run", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine::Machine;
    use crate::bench::sample::{Failure, tests::sample};

    fn run(name: &str) -> Run {
        Run {
            run: name.to_owned(),
            machine: Machine::default(),
            agents: vec![("weir".to_owned(), "1".to_owned())],
            command: "cargo x bench".to_owned(),
            rounds: 1,
            seconds: 5.0,
            scenarios: vec!["small".to_owned()],
            skipped: Vec::new(),
        }
    }

    #[test]
    fn the_last_run_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let samples = [sample("small", "weir", 1, 3.0), sample("small", "fluent-bit", 1, 1.5)];
        let mut history = History::open_in(folder.path(), "2026-11-22").unwrap();
        history.append(&Line::Run(run("old"))).unwrap();
        let mut history = History::open_in(folder.path(), "2026-11-23").unwrap();
        for name in ["first", "second"] {
            history.append(&Line::Run(run(name))).unwrap();
            for sample in &samples {
                history.append(&Line::Sample(sample.clone())).unwrap();
            }
        }
        let failure = Failure {
            scenario: "small".to_owned(),
            agent: "weir".to_owned(),
            round: 2,
            reason: "it is gone".to_owned(),
        };
        history.append(&Line::Failure(failure)).unwrap();
        let (found, read) = last_run_in(folder.path()).unwrap();
        let skipped = vec!["small, round 2: weir: it is gone".to_owned()];
        assert_eq!(found, Run { skipped, ..run("second") });
        assert_eq!(read, samples);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(last_run_in(folder.path()).unwrap_err().contains("has no run"));
        fs::write(folder.path().join("2026-11-23.jsonl"), "{}\n").unwrap();
        assert!(last_run_in(folder.path()).unwrap_err().contains("2026-11-23.jsonl:1: "));
    }
}
