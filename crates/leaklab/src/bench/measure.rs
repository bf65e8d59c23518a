//! One round of one agent: start, load, let it deliver, rest, and look at it all the way.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::agent::Agent;
use super::config::{self, Setting};
use super::metrics::{self, Counted};
use super::running::{Running, free_port, local};
use super::sample::Sample;
use super::scenario::{Load, Route, Scenario};
use super::sink::Sink;
use crate::client::Connection;
use crate::load::{self, Body, Held, Outcome, Plan, Target};
use crate::process;

/// How long an agent rests before its memory is looked at again.
pub const REST: Duration = Duration::from_secs(5);
/// How long an agent has to come to itself before the load.
const SETTLE: Duration = Duration::from_secs(1);
/// Delivery has ended when nothing more was delivered for so long.
const STALLED: Duration = Duration::from_secs(5);
/// The longest wait for delivery.
const DRAIN: Duration = Duration::from_secs(60);
/// Requests over one connection before connections are held: code and tables are in memory by then.
const WARM_UP: usize = 20;
/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where measuring happens.
pub struct Place {
    /// Configurations, logs and state.
    pub folder: PathBuf,
    pub kusto_local: PathBuf,
    pub agent_core: usize,
    pub load_core: usize,
    pub seconds: f64,
}

/// What agents deliver to.
struct Destination {
    sink: Option<Sink>,
    kusto: Option<Running>,
    settings: HashMap<String, String>,
}

impl Destination {
    fn start(route: Route, place: &Place) -> Result<Destination, String> {
        let mut destination = Destination { sink: None, kusto: None, settings: HashMap::new() };
        if route == Route::Http {
            destination.sink = Some(Sink::start().map_err(|error| error.to_string())?);
        }
        if route == Route::Kusto {
            let folder = place.folder.join("kusto");
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
            }
            let mut command = Command::new(&place.kusto_local);
            command.arg("--dir").arg(&folder).args(["--database", "bench", "--table", "Logs"]);
            let mut kusto = Running::start(command.stdout(Stdio::piped()), place.load_core)?;
            destination.settings = kusto.settings().map_err(|error| format!("kusto-local: {error}"))?;
            destination.settings.insert("table".to_owned(), "Logs".to_owned());
            destination.kusto = Some(kusto);
        }
        Ok(destination)
    }

    /// The processor time of a destination that is a process of its own.
    fn cpu(&self) -> f64 {
        self.kusto.as_ref().and_then(|kusto| process::cpu(kusto.pid()).ok()).unwrap_or(0.0)
    }

    /// Whether it was used, which an agent's own count does not prove.
    fn was_reached(&self) -> bool {
        self.sink.as_ref().is_none_or(|sink| sink.requests() > 0)
    }
}

/// An agent that runs.
struct Subject<'a> {
    agent: &'a Agent,
    running: Running,
    input: u16,
    admin: u16,
}

impl<'a> Subject<'a> {
    fn start(
        agent: &'a Agent,
        scenario: &Scenario,
        body: usize,
        destination: &Destination,
        place: &Place,
    ) -> Result<Subject<'a>, String> {
        let (input, admin) = (free_port()?, free_port()?);
        let sink = destination.sink.as_ref().map_or(0, Sink::port);
        let (route, kusto) = (scenario.route, &destination.settings);
        let text = config::text(agent.kind, &Setting { input, admin, body, route, sink, kusto });
        let stem = format!("{}-{}", scenario.name, agent.name.replace([' ', '(', ')'], ""));
        let file = place.folder.join(format!("{stem}.{}", agent.kind.extension()));
        let log = place.folder.join(format!("{stem}.log"));
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        let output = open_log(&log)?;
        let errors = output.try_clone().map_err(|error| error.to_string())?;
        let mut command = Command::new(&agent.binary);
        command.arg("-c").arg(&file).stdout(output).stderr(errors);
        let mut running = Running::start(&mut command, place.agent_core)?;
        running.wait_for(input, &log)?;
        running.wait_for(admin, &log)?;
        std::thread::sleep(SETTLE);
        Ok(Subject { agent, running, input, admin })
    }

    fn memory(&self) -> Result<process::Memory, String> {
        process::memory(self.running.pid()).map_err(|error| format!("it is gone: {error}"))
    }

    fn cpu(&self) -> Result<f64, String> {
        process::cpu(self.running.pid()).map_err(|error| format!("it is gone: {error}"))
    }

    fn counted(&self) -> Result<Counted, String> {
        metrics::ask(self.agent.kind, self.admin).map_err(|error| format!("its metrics: {error}"))
    }

    /// Waits until so many records are delivered, or no more are; how long that took, and the counts. The
    /// time in which nothing came is not a part of it.
    fn drain(&self, records: u64) -> Result<(Duration, Counted), String> {
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

    fn warm_up(&self, body: &[u8]) -> Result<(), String> {
        let fail = |error: std::io::Error| format!("warming up: {error}");
        let mut connection = Connection::open(local(self.input), PATIENCE).map_err(fail)?;
        for _ in 0..WARM_UP {
            connection.post("/bench", body).map_err(fail)?;
        }
        drop(connection);
        std::thread::sleep(REST);
        Ok(())
    }
}

fn open_log(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Measures. What names run, scenario, agent and round is left to the caller.
pub fn sample(place: &Place, agent: &Agent, scenario: &Scenario) -> Result<Sample, String> {
    let (body, _) = scenario.body.bytes();
    let destination = Destination::start(scenario.route, place)?;
    let subject = Subject::start(agent, scenario, body.len(), &destination, place)?;
    let mut before = Counted::default();
    if let Load::Held(_) = scenario.load {
        subject.warm_up(&body)?;
        before = subject.counted()?;
    }
    let plan = plan(scenario, subject.input, body, place.seconds)?;
    let (rss_start, cpu, load_cpu) = (subject.memory()?.resident, subject.cpu()?, destination.cpu());
    let (outcome, held) = send(&plan)?;
    let rss_final = subject.memory()?.resident;
    let load_cpu = (destination.cpu() - load_cpu) / outcome.seconds.max(1e-6) + outcome.generator_cpu;
    let (drain, counted) = subject.drain(before.delivered + outcome.records)?;
    let agent_cpu = subject.cpu()? - cpu;
    std::thread::sleep(REST);
    let rested = subject.memory()?;
    if counted.delivered > 0 && !destination.was_reached() {
        return Err("it says that it delivered, but nothing arrived".to_owned());
    }
    let answers = outcome.answers.iter().map(|(status, count)| (status.to_string(), *count)).collect();
    Ok(Sample {
        seconds: outcome.seconds,
        answers,
        failures: outcome.failures,
        records: outcome.records,
        bytes: outcome.bytes,
        latency_ms: outcome.latency,
        agent_cpu,
        drain_seconds: drain.as_secs_f64(),
        load_cpu,
        rss_start,
        // The kernel brings the peak up to date only now and then.
        rss_peak: rested.peak.max(rss_final),
        rss_final,
        rss_rested: rested.resident,
        taken: counted.taken - before.taken,
        delivered: counted.delivered - before.delivered,
        held: if matches!(scenario.load, Load::Held(_)) { held.count() as u64 } else { 0 },
        ..Sample::default()
    })
}

fn plan(scenario: &Scenario, port: u16, body: Vec<u8>, seconds: f64) -> Result<Plan, String> {
    let target = Target::parse(&format!("http://127.0.0.1:{port}/bench"))?;
    let plan = Plan { patience: PATIENCE, ..Plan::new(target, Body::new(body)) };
    Ok(match scenario.load {
        Load::Flat(connections) => {
            Plan { connections, duration: Some(Duration::from_secs_f64(seconds)), ..plan }
        }
        Load::Held(connections) => {
            Plan { connections, requests: Some(connections as u64), in_turn: true, ..plan }
        }
    })
}

fn send(plan: &Plan) -> Result<(Outcome, Held), String> {
    load::run(plan, &mut |_| {}).map_err(|error| format!("sending: {error}"))
}
