//! Captures whose truth is known: processes made of numbers, to count how often the judge is right.
//!
//! A process has a base, a warm-up that dries up, noise of its kind, now and then an outlier, and at most one
//! defect. It is taken through the same blocks as a real one. Rates, sizes and noise are drawn anew for each.

use super::capture::{Capture, Floor, Header, Kind, Line, Program};
use super::drive::Counts;
use super::judge::{EXCLUDED, Factor, Verdict, judge};
use super::plan::Margins;
use super::statistics::Numbers;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing wrong.
    Clean,
    /// Keeps 200 B to 64 KB of each request.
    Requests,
    /// Keeps 1 % to 100 % of each byte.
    Payload,
    /// Keeps 1 KB to 256 KB of each connection that was opened.
    Opened,
    /// Grows by 16 KB to 1 MB per second.
    Time,
    /// Keeps 100 B to 8 KB of each new key.
    Keys,
    /// Keeps 200 B to 16 KB of each request over HTTP/2.
    Streams,
    /// Holds 256 KB to 2 MB for each open connection.
    Held,
    /// Holds 1 to 4 times the largest request of each open connection.
    HeldSize,
    /// Keeps 1 to 4 times the largest body.
    Peak,
    /// Its allocator keeps 24 MB to 256 MB.
    Retention,
}

/// Every class.
pub const CLASSES: [Class; 11] = [
    Class::Clean,
    Class::Requests,
    Class::Payload,
    Class::Opened,
    Class::Time,
    Class::Keys,
    Class::Streams,
    Class::Held,
    Class::HeldSize,
    Class::Peak,
    Class::Retention,
];

impl Class {
    /// Whether it grows as long as the load goes on.
    fn goes_on(self) -> bool {
        use Class::{Keys, Opened, Payload, Requests, Streams, Time};
        matches!(self, Requests | Payload | Opened | Time | Keys | Streams)
    }

    /// What is right.
    pub fn truth(self) -> (Verdict, Factor) {
        match self {
            Class::Clean => (Verdict::Clean, Factor::None),
            Class::Requests | Class::Streams => (Verdict::Leak, Factor::Requests),
            Class::Payload => (Verdict::Leak, Factor::PayloadBytes),
            Class::Opened => (Verdict::Leak, Factor::ConnectionsOpened),
            Class::Time => (Verdict::Leak, Factor::Time),
            Class::Keys => (Verdict::Cardinality, Factor::DistinctKeys),
            Class::Held | Class::HeldSize => (Verdict::PerConnection, Factor::ConnectionsHeld),
            Class::Peak => (Verdict::HighWater, Factor::PayloadBytes),
            Class::Retention => (Verdict::Retention, Factor::None),
        }
    }
}

/// Seconds of load in a block, and bytes of a large body.
const SECONDS: f64 = 0.5;
const LARGE: f64 = 186e3;

/// A process made of numbers.
struct Process {
    numbers: Numbers,
    class: Class,
    slope: f64,
    base: f64,
    warm: f64,
    /// How fast the warm-up dries up: the share that is left after each floor.
    cooling: f64,
    noise: f64,
    /// Noise that stays: what moves does not come back.
    drift: f64,
    /// Requests per second of small and of large ones, and connections.
    rates: [f64; 3],
    large: f64,
    counts: Counts,
    t: f64,
    wandered: f64,
    held: f64,
    held_body: f64,
    peak: f64,
    floors: Vec<Floor>,
}

/// Between two values, evenly on a logarithmic scale.
fn between(numbers: &mut Numbers, low: f64, high: f64) -> f64 {
    (low.ln() + (high.ln() - low.ln()) * numbers.uniform()).exp()
}

/// The noise of a floor in which growth of [`EXCLUDED`] times the margins can be excluded. Where there is more,
/// nothing can be called clean.
fn still(rates: [f64; 3]) -> f64 {
    let margins = Margins::default();
    let [small, large, opened] = rates;
    let requests = margins.request.min(margins.key) * small / 1.5;
    let least = requests.min(margins.payload_byte * large * LARGE).min(margins.connection_opened * opened);
    EXCLUDED * SECONDS * least / 8.0
}

impl Process {
    fn new(class: Class, seed: u64) -> Process {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37).wrapping_add(class as u64));
        let (low, high) = match class {
            Class::Clean => (1.0, 1.0001),
            Class::Requests => (200.0, 65_536.0),
            Class::Payload => (0.01, 1.0),
            Class::Opened => (1024.0, 262_144.0),
            Class::Time => (16_384.0, 1e6),
            Class::Keys => (100.0, 8192.0),
            Class::Streams => (200.0, 16_384.0),
            Class::Held => (262_144.0, 2e6),
            Class::HeldSize | Class::Peak => (1.0, 4.0),
            Class::Retention => (24e6, 256e6),
        };
        // Native programs, an interpreter, and a runtime whose collector is asked.
        let (base, warm, noise, drift) = match numbers.below(3) {
            0 => (2e6, 1e6, 12e3, 2e3),
            1 => (12e6, 8e6, 80e3, 20e3),
            _ => (40e6, 20e6, 300e3, 40e3),
        };
        let small = between(&mut numbers, 1000.0, 20_000.0);
        let noise = noise * between(&mut numbers, 0.5, 2.0);
        let rates = [small, small * 0.1, small * 0.3];
        // A block of the defect's own raises memory by twice the noise of a floor at least: what is smaller needs
        // more time than a minute, and the verdict says which growth is excluded.
        let amount = SECONDS
            * match class {
                Class::Payload => rates[1] * LARGE,
                Class::Opened => rates[2],
                Class::Time => 1.9,
                // Three times: every request with a new key is a request too, and the two must be told apart.
                Class::Keys => rates[0] / 1.5,
                _ => rates[0],
            };
        let visible = if class.goes_on() { 2.0 * noise / amount } else { 0.0 };
        let (noise, drift) = match class {
            Class::Clean => (noise.min(still(rates)), f64::min(drift, still(rates) / 6.0)),
            _ => (noise, drift),
        };
        Process {
            class,
            slope: between(&mut numbers, low, high).max(visible),
            base: base * between(&mut numbers, 0.5, 2.0),
            warm: warm * between(&mut numbers, 0.5, 2.0),
            cooling: between(&mut numbers, 0.2, 0.6),
            noise,
            drift: drift * between(&mut numbers, 0.5, 2.0),
            rates,
            large: LARGE,
            counts: Counts::default(),
            t: 1.0,
            wandered: 0.0,
            held: 0.0,
            held_body: 0.0,
            peak: 0.0,
            floors: Vec::new(),
            numbers,
        }
    }

    fn memory(&mut self) -> f64 {
        self.warm *= self.cooling;
        self.wandered += self.drift * self.numbers.normal();
        let outlier = if self.numbers.uniform() < 0.03 { self.noise * 12.0 } else { 0.0 };
        let noise = self.noise * self.numbers.normal() + outlier;
        let counts = &self.counts;
        let defect = match self.class {
            Class::Clean | Class::Retention => 0.0,
            Class::Requests => self.slope * counts.requests as f64,
            Class::Payload => self.slope * counts.payload_bytes as f64,
            Class::Opened => self.slope * counts.connections_opened as f64,
            Class::Time => self.slope * self.t,
            Class::Keys => self.slope * counts.distinct_keys as f64,
            Class::Streams => self.slope * counts.streams as f64,
            Class::Held => self.slope * self.held,
            Class::HeldSize => self.slope * self.held * self.held_body,
            Class::Peak => self.slope * self.peak,
        };
        // Threads and small buffers of any server.
        let ordinary = self.held * 20e3;
        self.base - self.warm + self.wandered + noise + defect + ordinary
    }

    fn floor(&mut self, cycle: u32, kind: Kind, body: f64) {
        // Settling: a few large requests behind each block.
        self.send(12.0, self.large);
        self.t += 0.4;
        let memory = self.memory().max(1e5) as u64;
        let kept = if self.class == Class::Retention { self.slope } else { self.noise.abs() };
        self.floors.push(Floor {
            t: self.t,
            cycle,
            kind,
            anonymous: memory,
            unasked: memory + kept as u64,
            rss: memory,
            counts: self.counts,
            held: self.held as u64,
            body: body as u64,
        });
    }

    fn send(&mut self, requests: f64, size: f64) {
        self.counts.requests += requests as u64;
        self.counts.payload_bytes += (requests.floor() * size) as u64;
        self.peak = self.peak.max(size);
        self.t += 0.05;
    }

    fn block(&mut self, cycle: u32, kind: Kind) {
        let [small, large, opened] = self.rates.map(|rate| rate * SECONDS * (0.5 + self.numbers.uniform()));
        match kind {
            // A block ends early when memory grows much.
            Kind::Requests => self.send(small.min(192e6 / self.per_request(600.0)), 600.0),
            Kind::Payload => self.send(large.min(192e6 / self.per_request(self.large)), self.large),
            Kind::Connections => {
                let opened =
                    if self.class == Class::Opened { opened.min(192e6 / self.slope) } else { opened };
                self.send(opened.min(192e6 / self.per_request(600.0)), 600.0);
                self.counts.connections_opened += opened as u64;
            }
            Kind::Keys => {
                let count = small.min(192e6 / self.per_request(600.0));
                self.send(count, 600.0);
                self.counts.distinct_keys += count as u64;
            }
            Kind::Streams => {
                let count = small.min(192e6 / self.per_request(600.0));
                self.send(count, 600.0);
                self.counts.streams += count as u64;
            }
            _ => {}
        }
        self.t += SECONDS;
        self.floor(cycle, kind, 600.0);
    }

    /// What a request of a size leaves.
    fn per_request(&self, size: f64) -> f64 {
        match self.class {
            Class::Requests | Class::Keys | Class::Streams => self.slope,
            Class::Payload => self.slope * size,
            _ => 1.0,
        }
    }

    fn run(mut self) -> Capture {
        let header = Header {
            version: 1,
            command: String::new(),
            url: String::new(),
            budget: 60.0,
            started: 0,
            program: Program {
                allocator: "glibc".to_owned(),
                runtime: "native".to_owned(),
                asked: "malloc_trim of glibc".to_owned(),
                collected: false,
            },
        };
        self.floor(0, Kind::Start, 0.0);
        let mut kinds =
            [Kind::Requests, Kind::Payload, Kind::Connections, Kind::Keys, Kind::Streams, Kind::Rest];
        let cycles = 4 + self.numbers.below(3) as u32;
        for cycle in 0..=cycles {
            for index in (1..kinds.len()).rev() {
                kinds.swap(index, self.numbers.below(index + 1));
            }
            for kind in kinds {
                self.block(cycle, kind);
            }
        }
        for visit in 1..=5 {
            (self.held, self.held_body) = (f64::from(visit) * 20.0, 600.0);
            self.counts.connections_opened += self.held as u64;
            self.floor(cycles + visit, Kind::Held, 600.0);
            self.held_body = self.large;
            self.send(self.held, self.large);
            self.floor(cycles + visit, Kind::HeldLarge, self.large);
            self.held = 0.0;
            self.floor(cycles + visit, Kind::Closed, 0.0);
        }
        for size in [1e6, 4e6, 8e6, 16e6, 32e6] {
            self.send(3.0, size);
            self.floor(cycles + 6, Kind::Size, size);
        }
        self.block(cycles + 6, Kind::Payload);
        let mut lines = vec![Line::Header(header)];
        lines.extend(self.floors.into_iter().map(Line::Floor));
        Capture { lines }
    }
}

/// A capture of a class; the same seed gives the same.
pub fn capture(class: Class, seed: u64) -> Capture {
    Process::new(class, seed).run()
}

/// How a class was judged: verdict and factor, and how often.
pub type Count = ((Verdict, Factor), u32);

/// Judges `count` captures of a class.
pub fn tally(class: Class, count: u64) -> Vec<Count> {
    let mut found = std::collections::BTreeMap::new();
    for seed in 0..count {
        let judgement = judge(&capture(class, seed), &Margins::default());
        *found.entry((judgement.verdict, judgement.factor)).or_insert(0) += 1;
    }
    found.into_iter().collect()
}

/// The confusion table, in Markdown: `count` captures per class.
pub fn table(count: u64) -> String {
    let mut text = String::from("| truth | judged right | judged otherwise |\n|---|---|---|\n");
    for class in CLASSES {
        let truth = class.truth();
        let tally = tally(class, count);
        let right: u32 = tally.iter().filter(|(found, _)| *found == truth).map(|(_, times)| times).sum();
        let others: Vec<String> = tally
            .iter()
            .filter(|(found, _)| *found != truth)
            .map(|((verdict, factor), times)| format!("{} {}: {times}", verdict.name(), factor.name()))
            .collect();
        let over = if class == Class::Streams { " (HTTP/2)" } else { "" };
        let of = if class == Class::HeldSize { " (as its largest request)" } else { "" };
        text.push_str(&format!(
            "| {} {}{over}{of} | {right} of {count} ({:.1} %) | {} |\n",
            truth.0.name(),
            truth.1.name(),
            f64::from(right) * 100.0 / count as f64,
            if others.is_empty() { "-".to_owned() } else { others.join(", ") }
        ));
    }
    text
}
