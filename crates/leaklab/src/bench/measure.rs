//! One round of one agent: start, load, let it deliver, rest, and look at it all the way.

use std::path::PathBuf;
use std::time::Duration;

use super::agent::Agent;
use super::destination::Destination;
use super::metrics::Counted;
use super::network::Network;
use super::sample::Sample;
use super::scenario::{Load, Scenario, Wire};
use super::subject::{PATIENCE, Subject};
use crate::load::{self, Body, Held, Outcome, Plan, Target};

/// How long an agent rests before its memory is looked at again.
pub const REST: Duration = Duration::from_secs(5);
/// The same before connections are counted, and between more and more of them.
const SHORT_REST: Duration = Duration::from_millis(1_500);

/// Where measuring happens.
pub struct Place {
    /// Configurations, logs and state.
    pub folder: PathBuf,
    pub kusto_local: PathBuf,
    /// A certificate for 127.0.0.1 and its key, as files, and the certificate as PEM.
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub pem: String,
    /// Where a machine's metadata service can be played.
    pub network: Option<Network>,
    pub agent_core: usize,
    pub load_core: usize,
    pub seconds: f64,
}

/// Why there are no figures.
#[derive(Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The agent cannot do what the scenario is about; it will not in another round either.
    Refused(String),
    /// It went wrong this time.
    Failed(String),
}

impl From<String> for Trouble {
    fn from(reason: String) -> Trouble {
        Trouble::Failed(reason)
    }
}

/// Measures. What names run, scenario, agent and round is left to the caller. With `rests` the agent's memory is
/// looked at once more after a rest; scenarios about memory do that anyway.
pub fn sample(place: &Place, agent: &Agent, scenario: &Scenario, rests: bool) -> Result<Sample, Trouble> {
    let bytes = scenario.body.bytes();
    let destination = Destination::start(scenario.route, place)?;
    let subject = Subject::start(agent, scenario, bytes.len(), &destination, place)?;
    let mut before = Counted::default();
    if !matches!(scenario.load, Load::Flat(_)) {
        subject.warm_up(&bytes)?;
        std::thread::sleep(SHORT_REST);
        before = subject.counted()?;
    }
    let plan = plan(scenario, subject.input, bytes, place)?;
    let (rss_start, cpu, load_cpu) = (subject.memory()?.resident, subject.cpu()?, destination.cpu());
    let Sent { outcome, growth, held } = send(&plan, scenario.load, &subject)?;
    let rss_final = subject.memory()?.resident;
    let load_cpu = (destination.cpu() - load_cpu) / outcome.seconds.max(1e-6) + outcome.generator_cpu;
    if outcome.accepted() == 0 {
        return Err(Trouble::Refused(format!("accepted nothing ({})", answers(&outcome).join(", "))));
    }
    let (drain, counted) = subject.drain(before.delivered + outcome.records)?;
    let agent_cpu = subject.cpu()? - cpu;
    let is_held = matches!(scenario.load, Load::Held(_));
    let mut rested = subject.memory()?;
    let rests = (rests && growth.is_empty()) || is_held;
    if rests {
        std::thread::sleep(REST);
        rested = subject.memory()?;
    }
    if counted.delivered > 0 && !destination.was_reached() {
        return Err(Trouble::Failed("it says that it delivered, but nothing arrived".to_owned()));
    }
    let (sent, sent_plain) = destination.sent();
    Ok(Sample {
        seconds: outcome.seconds,
        answers: outcome.answers.iter().map(|(status, count)| (status.to_string(), *count)).collect(),
        failures: outcome.failures,
        records: outcome.records,
        bytes: outcome.bytes,
        sent,
        sent_plain,
        latency_ms: outcome.latency,
        agent_cpu,
        drain_seconds: drain.as_secs_f64(),
        load_cpu,
        rss_start,
        // The kernel brings the peak up to date only now and then.
        rss_peak: rested.peak.max(rss_final),
        rss_final,
        rss_rested: rests.then_some(rested.resident),
        taken: counted.taken - before.taken,
        delivered: counted.delivered - before.delivered,
        held: if is_held { held.iter().map(Held::count).sum::<usize>() as u64 } else { 0 },
        growth,
        ..Sample::default()
    })
}

fn plan(scenario: &Scenario, port: u16, bytes: Vec<u8>, place: &Place) -> Result<Plan, String> {
    let scheme = if scenario.wire == Wire::Tls { "https" } else { "http" };
    let target = Target::parse(&format!("{scheme}://127.0.0.1:{port}/bench"))?;
    let body = Body::new(bytes);
    let body = if scenario.wire == Wire::Gzip { body.gzip() } else { body };
    let http2 = scenario.wire == Wire::Http2;
    let plan = Plan { patience: PATIENCE, http2, tags: scenario.tags, ..Plan::new(target, body) };
    Ok(match scenario.load {
        Load::Flat(connections) => {
            let tls = match scenario.wire {
                Wire::Tls => Some(load::tls_config(Some(place.pem.as_bytes()), false)?),
                _ => None,
            };
            Plan { connections, tls, duration: Some(Duration::from_secs_f64(place.seconds)), ..plan }
        }
        Load::Held(connections) => {
            Plan { connections, requests: Some(connections as u64), in_turn: true, ..plan }
        }
        Load::Growing(_) => Plan { in_turn: true, ..plan },
    })
}

/// A load that was sent.
struct Sent {
    outcome: Outcome,
    /// Connections and resident bytes.
    growth: Vec<(u64, u64)>,
    held: Vec<Held>,
}

fn send(plan: &Plan, load: Load, subject: &Subject<'_>) -> Result<Sent, String> {
    let send = |plan: &Plan| load::run(plan, &mut |_| {}).map_err(|error| format!("sending: {error}"));
    let Load::Growing(counts) = load else {
        let (outcome, held) = send(plan)?;
        return Ok(Sent { outcome, growth: Vec::new(), held: vec![held] });
    };
    let mut sent = Sent { outcome: Outcome::default(), growth: Vec::new(), held: Vec::new() };
    let mut open = 0;
    for count in counts {
        let more = count - open;
        let (outcome, held) = send(&Plan { connections: more, requests: Some(more as u64), ..plan.clone() })?;
        open += held.count();
        sent.held.push(held);
        sent.outcome.add(outcome);
        std::thread::sleep(SHORT_REST);
        sent.growth.push((open as u64, subject.memory()?.resident));
    }
    Ok(sent)
}

/// Answers and failures, and how many of each.
fn answers(outcome: &Outcome) -> Vec<String> {
    let answers = outcome.answers.iter().map(|(status, count)| format!("{status}: {count}"));
    answers.chain(outcome.failures.iter().map(|(reason, count)| format!("{reason}: {count}"))).collect()
}
