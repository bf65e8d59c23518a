//! An agent that runs, and how its figures are asked for.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::config::{self, Setting};
use super::destination::Destination;
use super::measure::{Place, Trouble};
use super::metrics::{self, Counted};
use super::running::{NotReady, Running, free_port, local};
use super::scenario::Scenario;
use crate::client::Connection;
use crate::process;

/// How long an agent has to come to itself before the load.
const SETTLE: Duration = Duration::from_millis(500);
/// Delivery has ended when nothing more was delivered for so long.
const STALLED: Duration = Duration::from_secs(5);
/// The longest wait for delivery.
const DRAIN: Duration = Duration::from_secs(60);
/// Requests over one connection before connections are held: code and tables are in memory by then.
const WARM_UP: usize = 20;
/// The longest wait for an answer.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How much of a log is looked at.
const LOG: u64 = 64 << 10;

/// An agent that runs.
pub struct Subject<'a> {
    agent: &'a Agent,
    running: Running,
    /// Port of its input.
    pub input: u16,
    admin: u16,
}

impl<'a> Subject<'a> {
    /// Starts it on its core, with the configuration of a scenario.
    pub fn start(
        agent: &'a Agent,
        scenario: &Scenario,
        body: usize,
        destination: &Destination,
        place: &Place,
    ) -> Result<Subject<'a>, Trouble> {
        let (input, admin) = (free_port()?, free_port()?);
        let stem = format!("{}-{}", scenario.name, agent.name.replace([' ', '(', ')'], ""));
        let state = place.folder.join(format!("{stem}-state"));
        let fail = |error: std::io::Error| format!("{}: {error}", state.display());
        if state.exists() {
            fs::remove_dir_all(&state).map_err(fail)?;
        }
        fs::create_dir_all(&state).map_err(fail)?;
        let setting = Setting {
            input,
            admin,
            body,
            scenario,
            sink: destination.port(),
            kusto: &destination.settings,
            folder: &state,
            certificate: (&place.certificate, &place.key),
        };
        let file = place.folder.join(format!("{stem}.{}", agent.kind.extension()));
        let log = place.folder.join(format!("{stem}.log"));
        let text = config::text(agent.kind, &setting);
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new(&agent.binary);
        command.arg("-c").arg(&file).stdout(output).stderr(errors);
        let mut running = Running::start(&mut command, place.agent_core)?;
        let ready = running.wait_for(input).and_then(|()| running.wait_for(admin));
        ready.map_err(|not_ready| match not_ready {
            NotReady::Ended => Trouble::Refused(complaint(&log)),
            NotReady::Silent => Trouble::Failed(format!("it did not start; its log is {}", log.display())),
        })?;
        std::thread::sleep(SETTLE);
        Ok(Subject { agent, running, input, admin })
    }

    /// Its memory.
    pub fn memory(&self) -> Result<process::Memory, String> {
        process::memory(self.running.pid()).map_err(|error| format!("it is gone: {error}"))
    }

    /// Its processor time.
    pub fn cpu(&self) -> Result<f64, String> {
        process::cpu(self.running.pid()).map_err(|error| format!("it is gone: {error}"))
    }

    /// Its own counts.
    pub fn counted(&self) -> Result<Counted, String> {
        metrics::ask(self.agent.kind, self.admin).map_err(|error| format!("its metrics: {error}"))
    }

    /// Waits until so many records are delivered, or no more are; how long that took, and the counts. The
    /// time in which nothing came is not a part of it.
    pub fn drain(&self, records: u64) -> Result<(Duration, Counted), String> {
        let started = Instant::now();
        let (mut counted, mut moved) = (self.counted()?, Duration::ZERO);
        while counted.delivered < records && started.elapsed() < DRAIN && started.elapsed() < moved + STALLED
        {
            std::thread::sleep(Duration::from_millis(100));
            let now = self.counted()?;
            if now.delivered > counted.delivered {
                moved = started.elapsed();
            }
            counted = now;
        }
        Ok((moved, counted))
    }

    /// Some requests, so that what is paid once is paid before memory is compared.
    pub fn warm_up(&self, body: &[u8]) -> Result<(), String> {
        let fail = |error: std::io::Error| format!("warming up: {error}");
        let mut connection = Connection::open(local(self.input), PATIENCE).map_err(fail)?;
        for _ in 0..WARM_UP {
            connection.post("/bench", body).map_err(fail)?;
        }
        Ok(())
    }
}

/// What a log says of a configuration that was refused.
fn complaint(log: &Path) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|file| file.take(LOG).read_to_end(&mut bytes));
    read.map_or_else(|error| error.to_string(), |_| first_complaint(&String::from_utf8_lossy(&bytes)))
}

/// The first line that speaks of an error or an option, without time and place; else the last line.
fn first_complaint(text: &str) -> String {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let line =
        lines().find(|line| line.contains("error") || line.contains("option \"")).or(lines().next_back());
    let line = line.unwrap_or("it ended without a word");
    let from = line.find("option \"").or_else(|| line.find("[error] ").map(|at| at + "[error] ".len()));
    let sentence = &line[from.unwrap_or(0)..];
    let sentence = sentence.split_once(". ").map_or(sentence, |(first, _)| first);
    format!("refuses the configuration: {}", sentence.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_by_the_agents_own_words() {
        for (log, expected) in [
            (
                "/a/b.conf:7:5: input http: option \"tls\" is not available yet\nweir: 1 problem\n",
                "option \"tls\" is not available yet",
            ),
            (
                "Banner v5\n[2026/11/24 00:07:47.081] [error] [config] http: unknown property 'x'. Allowed: a.\n",
                "[config] http: unknown property 'x'",
            ),
            ("what else\n\n", "what else"),
            ("", "it ended without a word"),
        ] {
            assert_eq!(first_complaint(log), format!("refuses the configuration: {expected}"));
        }
    }
}
