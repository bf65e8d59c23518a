//! The scenarios, and how one is run.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::agent::{Agent, PATIENCE, Setting, no_group};
use super::clients::{self, Poster, Tally};
use super::growth;
use super::hostile;
use super::report::Row;
use crate::load::{Body, Plan, Target};
use crate::payload;
use crate::sink::{Mood, Pace, Sink};

/// How far memory at rest may be above what it was before, and when it is looked at.
const REST: (u64, Duration) = (2_000_000, Duration::from_secs(10));
/// Records of a flood's body: 97 KB.
const RECORDS: usize = 200;
/// What the destination of `goodput` takes in a second.
const SLOW: u64 = 10_000_000;
/// What it may catch up with when it was woken late: others use the machine, too.
const CATCH_UP: Duration = Duration::from_millis(500);
/// What the healthy one of two pipelines is offered in a second.
const OFFERED: u64 = 2_000_000;

/// What is done to an agent.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// The smallest limit that it is for, in megabytes.
    pub least_limit: u64,
    /// How long it is played, in seconds.
    seconds: u64,
    /// What the destination does meanwhile.
    mood: Mood,
    /// Bytes in a second that the destination takes; 0 for all.
    rate: u64,
    /// Options of the input.
    options: &'static str,
    /// In a control group.
    grouped: bool,
    /// What is sent, made beforehand.
    body: fn() -> Vec<u8>,
    drive: fn(&Stage<'_>),
}

/// Where a scenario plays.
pub struct Stage<'a> {
    input: SocketAddr,
    /// Of the second pipeline, where there is one.
    other: SocketAddr,
    time: Duration,
    body: &'a [u8],
    tally: &'a Tally,
}

const PLAIN: Scenario = Scenario {
    name: "",
    least_limit: 0,
    seconds: 20,
    mood: Mood::Healthy,
    rate: 0,
    options: "",
    grouped: false,
    body: Vec::new,
    drive: |_| (),
};

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario { name: "hangs", seconds: 60, mood: Mood::Hangs, drive: flood, ..PLAIN },
    Scenario { name: "refuses", seconds: 60, mood: Mood::Refuses, drive: flood, ..PLAIN },
    Scenario { name: "crawls", seconds: 60, mood: Mood::Crawls, drive: flood, ..PLAIN },
    Scenario { name: "group", mood: Mood::Hangs, grouped: true, drive: flood, ..PLAIN },
    Scenario { name: "drip", drive: |stage| hostile::drip(stage.input, 1_000, stage.tally), ..PLAIN },
    Scenario { name: "crowd", drive: crowd, ..PLAIN },
    Scenario { name: "bomb", body: hostile::bomb, drive: |stage| hammer(stage, "gzip"), ..PLAIN },
    Scenario { name: "window", body: hostile::wide_window, drive: |stage| hammer(stage, "zstd"), ..PLAIN },
    Scenario { name: "empties", body: hostile::empties, drive: |stage| hammer(stage, "identity"), ..PLAIN },
    Scenario {
        name: "giant",
        least_limit: 256,
        options: ", buffer_max_size: 128M",
        drive: |stage| hostile::giant(stage.input, stage.tally),
        ..PLAIN
    },
    Scenario { name: "tags", drive: tags, ..PLAIN },
    Scenario { name: "headers", drive: headers, ..PLAIN },
    Scenario { name: "streams", drive: |stage| hostile::streams(stage.input, 300, stage.tally), ..PLAIN },
    Scenario { name: "deaf", drive: |stage| hostile::deaf(stage.input, 300, stage.tally), ..PLAIN },
    Scenario { name: "random", seconds: 300, drive: random, ..PLAIN },
    Scenario { name: "goodput", seconds: 60, rate: SLOW, drive: flood, ..PLAIN },
    Scenario { name: "neighbours", seconds: 60, drive: neighbours, ..PLAIN },
];

/// Their names, and that of the one behind them.
pub fn names() -> Vec<&'static str> {
    ALL.iter().map(|scenario| scenario.name).chain([growth::NAME]).collect()
}

fn together(count: u64, work: impl Fn(u64) + Sync) {
    std::thread::scope(|scope| {
        for number in 0..count {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}

fn flood(stage: &Stage<'_>) {
    let body = payload::records(RECORDS, 1);
    together(16, |_| {
        clients::flood(stage.input, "/flood", body.as_bytes(), RECORDS as u64, 0, stage.tally);
    });
}

fn neighbours(stage: &Stage<'_>) {
    let body = payload::records(RECORDS, 1);
    together(9, |number| match number {
        0 => clients::flood(stage.other, "/well", body.as_bytes(), RECORDS as u64, OFFERED, stage.tally),
        _ => clients::flood(stage.input, "/dead", body.as_bytes(), 0, 0, stage.tally),
    });
}

fn hammer(stage: &Stage<'_>, encoding: &str) {
    let header = format!("Content-Encoding: {encoding}\r\n");
    together(4, |_| hostile::hammer(stage.input, &header, stage.body, stage.tally));
}

fn headers(stage: &Stage<'_>) {
    let header = format!("X-Long: {}\r\n", "h".repeat(64 << 10));
    together(16, |_| hostile::hammer(stage.input, &header, b"{\"a\":1}", stage.tally));
}

fn random(stage: &Stage<'_>) {
    together(8, |number| clients::random(stage.input, number, stage.tally));
}

/// 100,000 of them, however long it takes, up to thrice the time.
fn tags(stage: &Stage<'_>) {
    together(4, |number| clients::tags(stage.input, number, 4, 100_000, stage.tally));
}

/// 2,000 connections with a megabyte each, again and again.
fn crowd(stage: &Stage<'_>) {
    let body = Body::new(payload::records(2_050, 1).into_bytes());
    let target = Target::parse(&format!("http://{}/crowd", stage.input));
    let Ok(target) = target else { return };
    let plan = Plan { connections: 2_000, requests: Some(2_000), ..Plan::new(target, body) };
    while !stage.tally.is_over() {
        let Ok((outcome, held)) = crate::load::run(&plan, &mut |_| ()) else { return };
        drop(held);
        for (status, count) in &outcome.answers {
            let taken = u64::from((200..300).contains(status));
            (0..*count).for_each(|_| stage.tally.answered(*status, taken * 2_050, taken * 1_000_000));
        }
        (0..outcome.failures.values().sum()).for_each(|_| stage.tally.answered(0, 0, 0));
    }
}

/// One pipeline, or two: the path of a request is its tag.
fn pipeline(scenario: &Scenario, ports: [u16; 2]) -> String {
    let options = scenario.options;
    let input = |number: usize| {
        format!(
            "    - {{name: http, listen: 127.0.0.1, port: PORT{number}, http_server.workers: 2{options}}}\n"
        )
    };
    let output = |tag: &str, port: u16| {
        format!(
            "    - {{name: http, match: '{tag}', host: 127.0.0.1, port: {port}, format: json_lines, \
             http.response_timeout: 10s}}\n"
        )
    };
    let (inputs, outputs) = if scenario.name == "neighbours" {
        ([input(0), input(1)].concat(), [output("dead", ports[0]), output("well", ports[1])].concat())
    } else {
        (input(0), output("*", ports[0]))
    };
    format!("pipeline:\n  inputs:\n{inputs}  outputs:\n{outputs}")
}

/// Runs one.
///
/// # Errors
/// The agent, or what it delivers to, does not start.
pub fn run(scenario: &Scenario, setting: &Setting) -> Result<Row, String> {
    let time = setting.time.unwrap_or(Duration::from_secs(scenario.seconds));
    let mut row =
        Row { scenario: scenario.name, limit: setting.limit, seconds: time.as_secs(), ..Row::default() };
    if scenario.grouped
        && let Some(why) = no_group()
    {
        row.note = format!("skipped: {why}");
        return Ok(row);
    }
    let pace = (scenario.rate > 0).then_some(Pace { rate: scenario.rate, catch_up: CATCH_UP });
    let destinations = [sink(pace)?, sink(None)?];
    let pipeline = pipeline(scenario, [0, 1].map(|at| destinations[at].port()));
    let agent = Agent::start(setting, &pipeline, scenario.grouped)?;
    let before = warm_up(&agent, &destinations)?;
    row.floor.0 = agent.memory()?.resident;
    let tally = Tally::default();
    let dead = scenario.mood != Mood::Healthy;
    let neighbours = scenario.name == "neighbours";
    destinations[0].turn(if neighbours { Mood::Hangs } else { scenario.mood });
    let received = perform(scenario, time, &agent, &tally, &destinations);
    destinations[0].turn(Mood::Healthy);
    judge_clients(&mut row, &tally, agent.seen().budget, dead);
    if let Some((bytes, of)) = received {
        row.goodput = Some(bytes as f64 / of as f64 * 100.0);
        let enough = bytes as f64 >= 0.95 * of as f64;
        row.failures.extend((!enough).then(|| format!("{bytes} of {of} bytes went through")));
    }
    judge_delivery(&mut row, &agent, &tally, || destinations.iter().map(Sink::lines).sum::<u64>() - before);
    judge_memory(&mut row, &agent)?;
    row.failures.extend(agent.stop());
    Ok(row)
}

/// Where records go.
fn sink(pace: Option<Pace>) -> Result<Sink, String> {
    Sink::start(pace).map_err(|error| error.to_string())
}

/// Touches the code that every request touches. Returns the records that arrived.
fn warm_up(agent: &Agent, destinations: &[Sink; 2]) -> Result<u64, String> {
    let mut poster = Poster::new(agent.input(0));
    let body = payload::records(RECORDS, 7);
    for _ in 0..20 {
        let status = poster.post("/dead", body.as_bytes());
        if !(200..300).contains(&status) {
            return Err(format!("the first records were answered {status}:\n{}", agent.log()));
        }
    }
    let started = Instant::now();
    while destinations[0].lines() < 20 * RECORDS as u64 && started.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(2));
    Ok(destinations[0].lines())
}

/// Plays it for its time. Returns what went through and what could have, where that is the question.
fn perform(
    scenario: &Scenario,
    time: Duration,
    agent: &Agent,
    tally: &Tally,
    destinations: &[Sink; 2],
) -> Option<(u64, u64)> {
    let neighbours = scenario.name == "neighbours";
    let time = if scenario.name == "tags" { time * 3 } else { time };
    let body = (scenario.body)();
    let stage = Stage { input: agent.input(0), other: agent.input(1), time, body: &body, tally };
    std::thread::scope(|scope| {
        let stage = &stage;
        let polite = scope.spawn(move || {
            let input = if neighbours { stage.other } else { stage.input };
            clients::polite(input, if neighbours { "/well" } else { "/polite" }, stage.tally);
        });
        let driving = scope.spawn(move || (scenario.drive)(stage));
        let started = Instant::now();
        // Until the chain is filled, there is less to see.
        let ramp = stage.time.min(Duration::from_secs(3));
        std::thread::sleep(ramp);
        let watched = &destinations[usize::from(neighbours)];
        let (from, since) = (watched.received(), Instant::now());
        while started.elapsed() < stage.time && !driving.is_finished() {
            std::thread::sleep(Duration::from_millis(100));
        }
        let (bytes, elapsed) = (watched.received() - from, since.elapsed());
        stage.tally.stop();
        let _ended = (driving.join(), polite.join());
        let could = if neighbours { OFFERED } else { scenario.rate };
        (could > 0).then_some((bytes, (could as f64 * elapsed.as_secs_f64()) as u64))
    })
}

fn judge_clients(row: &mut Row, tally: &Tally, budget: u64, dead: bool) {
    let answers: Vec<String> =
        tally.answers().iter().map(|(status, count)| format!("{count} x {status}")).collect();
    row.answers = answers.join(", ");
    let polite = tally.polite.load(Ordering::Relaxed).max(1);
    let pleased = tally.pleased.load(Ordering::Relaxed) as f64 / polite as f64 * 100.0;
    row.pleased = Some(pleased);
    if !dead && pleased < 95.0 {
        row.failures.push(format!("the polite client was pleased {pleased:.0} % of the time"));
    }
    row.before_refusal = tally.before_refusal().map(|bytes| (bytes, budget));
    if dead
        && let Some((bytes, budget)) = row.before_refusal
        && bytes < budget / 2
    {
        row.failures.push(format!("refused after {bytes} bytes of a budget of {budget}"));
    }
}

/// Waits until everything has arrived and nothing is held.
fn judge_delivery(row: &mut Row, agent: &Agent, tally: &Tally, arrived: impl Fn() -> u64) {
    let taken = tally.records.load(Ordering::Relaxed);
    let started = Instant::now();
    while (arrived() < taken || !agent.held().is_empty()) && started.elapsed() < 2 * PATIENCE {
        std::thread::sleep(Duration::from_millis(100));
    }
    row.records = (taken, arrived());
    if row.records.1 < taken {
        row.failures.push(format!("{} records were lost", taken - row.records.1));
    }
    let held = agent.held();
    if !held.is_empty() {
        row.failures.push(format!("still held: {}", held.join(", ")));
    }
}

fn judge_memory(row: &mut Row, agent: &Agent) -> Result<(), String> {
    let started = Instant::now();
    let rested = loop {
        let resident = agent.memory()?.resident;
        if resident <= row.floor.0 + REST.0 || started.elapsed() > REST.1 {
            break resident;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    row.floor.1 = rested;
    if rested > row.floor.0 + REST.0 {
        row.failures.push(format!("at rest {} bytes above the floor", rested - row.floor.0));
    }
    let seen = agent.seen();
    (row.difference, row.sockets) = (seen.difference, seen.sockets);
    (row.beyond, row.heap) = (seen.beyond, seen.heap);
    row.peak = agent.memory()?.peak;
    if row.peak > row.limit {
        row.failures.push(format!("{} bytes above the limit", row.peak - row.limit));
    }
    if let Some((kills, most)) = agent.group() {
        row.note = format!("control group of {} bytes: {most} at most, {kills} kills", row.limit / 4 * 5);
        row.failures.extend((kills > 0).then(|| format!("{kills} kills")));
    }
    Ok(())
}
