//! The experiment: warm-up, then cycles of blocks with one factor each and a rest behind each, then the
//! allocator is asked what it keeps, then larger and larger bodies.
//!
//! Each block moves one factor far and the others as little as it can. Behind each, the same few large requests
//! bring the collector of a runtime and the cache of an allocator into the same state; what is left after a rest
//! is a floor. The judge works with floors only.

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::body::Payload;
use super::capture::{Capture, Floor, Header, Kind, Line, Program};
use super::drive::{Drive, Limit, Work};
use super::inside::Asker;
use super::judge::CYCLES;
use super::look::{self, Look};
use super::observe::{GLANCE, Observer, Shared};
use super::plan::Plan;
use super::probe::{Found, probe};
use super::target::{self, Target};
use super::wire::Wire;
use super::{figure, program, v8};

/// What is left of the budget for the end: stopping the target, judging, writing.
const END: Duration = Duration::from_millis(1500);
/// Looks in a rest; the least counts.
const LOOKS: u32 = 3;
/// How often connections are held, more of them each time.
const VISITS: u64 = 5;
/// Seconds that settling may take in a block.
const SETTLE: f64 = 0.08;
/// What an allocator may keep without being watched for it, and for how long it is watched then.
const KEPT: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(11);
/// Growth that ends a block.
const BLOCK_GROWTH: u64 = 192 << 20;

/// An experiment.
pub struct Experiment {
    /// The command line of the target.
    pub command: String,
    /// Where it listens.
    pub url: String,
    /// What is sent.
    pub payload: Payload,
    /// How.
    pub plan: Plan,
    /// How long it may take in all.
    pub budget: Duration,
    /// Where the target's output goes.
    pub log: PathBuf,
    /// Tells what begins.
    pub progress: Box<dyn Fn(&str)>,
}

impl Experiment {
    /// Runs it.
    ///
    /// # Errors
    /// It could not be measured: why, in a sentence, and what was captured until then.
    pub fn run(&self) -> Result<Capture, (String, Capture)> {
        let started = Instant::now();
        let header = Header {
            version: 1,
            command: self.command.clone(),
            url: self.url.clone(),
            budget: self.budget.as_secs_f64(),
            started: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs()),
            program: Program::default(),
        };
        let empty = |error: String| (error, Capture { lines: vec![Line::Header(header.clone())] });
        let (host, path) = target::split(&self.url).map_err(empty)?;
        let all = target::free_addresses(host).map_err(empty)?;
        let inspector = v8::free_port();
        let mut target = Target::start(&self.command, &self.log, inspector).map_err(empty)?;
        let address = target.wait_for(&all, (self.budget / 3).min(Duration::from_secs(30))).map_err(empty)?;
        std::thread::sleep(Duration::from_millis(200));
        let root = program::listener(target.pid(), address.port());
        let (asker, program) = self.asker(root, inspector);
        let header = Header { program, ..header };
        let observer = Observer::start(target.pid(), started, Capture { lines: vec![Line::Header(header)] });
        let shared = observer.shared();
        let patience = (self.budget / 10).clamp(Duration::from_secs(2), Duration::from_secs(15));
        let found = probe(address, host, path, &self.payload, self.plan.large, patience);
        let result = found.and_then(|found| {
            let end = started + self.budget.saturating_sub(END);
            Course::new(self, found, &shared, &mut target, end, asker).run()
        });
        let ended = target.ended();
        if let Err(text) = &result {
            // Whoever judges the capture again must know that it is a part.
            shared.write(Line::Missing { t: shared.now(), text: text.clone() });
        }
        let capture = observer.finish();
        match (result, ended) {
            (_, Some(status)) => Err((
                format!("the target ended while it was measured ({status}): {}", target.tail()),
                capture,
            )),
            (Err(error), None) => Err((error, capture)),
            (Ok(()), None) => Ok(capture),
        }
    }
}

impl Experiment {
    /// Whom to ask before memory is read, and what is known of the program.
    fn asker(&self, root: u32, inspector: Option<u16>) -> (Option<Asker>, Program) {
        let program = program::of(root);
        if !self.plan.trim {
            return (None, program);
        }
        let asker = Asker::new(root, &program.runtime, inspector);
        let (asked, collected) = (asker.names(), asker.collects());
        (Some(asker), Program { asked, collected, ..program })
    }
}

/// One experiment on its way.
struct Course<'a> {
    plan: &'a Plan,
    payload: &'a Payload,
    progress: &'a dyn Fn(&str),
    found: Found,
    drive: Drive,
    shared: &'a Shared,
    target: &'a mut Target,
    end: Instant,
    asker: Option<Asker>,
    cycle: u32,
    /// Seconds of load in a block.
    block: f64,
    /// Large requests of a settling.
    settling: u64,
    slowest: Duration,
    /// The most that the allocator gave back when it was asked.
    kept: u64,
}

impl<'a> Course<'a> {
    fn new(
        of: &'a Experiment,
        found: Found,
        shared: &'a Shared,
        target: &'a mut Target,
        end: Instant,
        asker: Option<Asker>,
    ) -> Course<'a> {
        let drive = Drive::new(found.server.clone());
        shared.write(Line::Server(found.server.clone()));
        if !(200..300).contains(&found.status) {
            let text = format!(
                "the server answers {} to the payload: what was measured is its refusing",
                found.status
            );
            shared.write(Line::Missing { t: shared.now(), text });
        }
        let each = found.large_time.as_secs_f64().max(1e-4);
        let settling = if found.large.is_some() { (SETTLE / each).clamp(2.0, 24.0) as u64 } else { 24 };
        let (plan, payload) = (&of.plan, &of.payload);
        Course {
            plan,
            payload,
            progress: &*of.progress,
            found,
            drive,
            shared,
            target,
            end,
            asker,
            cycle: 0,
            block: plan.block,
            settling,
            slowest: Duration::ZERO,
            kept: 0,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        self.floor(Kind::Start, 0)?;
        let begun = Instant::now();
        let left = self.end.saturating_duration_since(begun);
        // The end: connections held, the staircase of sizes.
        let cycles_end = self.end - left.mul_f64(0.32);
        let held_end = self.end - left.mul_f64(0.14);
        self.cycle()?;
        let mut last = begun.elapsed();
        self.pace(last, cycles_end.saturating_duration_since(Instant::now()));
        let cycles_end = if self.kept < KEPT { cycles_end } else { cycles_end - PATIENCE.min(left / 5) };
        self.kept = 0;
        while self.cycle < self.plan.cycles {
            let begun = Instant::now();
            // What comes behind the cycles is worth less than the cycles that a verdict needs.
            let until = if self.cycle < CYCLES { held_end } else { cycles_end };
            if begun + last.mul_f64(0.8) > until {
                break;
            }
            self.cycle += 1;
            self.cycle()?;
            last = begun.elapsed();
        }
        self.patience(cycles_end)?;
        self.visits(held_end)?;
        self.drive.close();
        self.sizes()
    }

    /// Where the allocator seems to keep what was freed: whether it gives it back by itself, given some seconds in
    /// which a request now and then lets it. Memory is read without asking.
    fn patience(&mut self, end: Instant) -> Result<(), String> {
        if self.kept < KEPT {
            return Ok(());
        }
        self.begin(Kind::Patience);
        let (small, stop) = (self.found.small.clone(), &self.shared.stop);
        let until = (Instant::now() + PATIENCE).min(end + PATIENCE);
        while Instant::now() < until && !target::interrupted() {
            let limit = Limit { count: 1, until };
            self.drive.requests(Work::Same(&small), limit, stop);
            std::thread::sleep(Duration::from_millis(250));
        }
        self.floor(Kind::Patience, 0)
    }

    /// Connections held: more of them each time, because what was freed may not be given back.
    fn visits(&mut self, end: Instant) -> Result<(), String> {
        let server = &self.found.server;
        if !(server.keeps_alive && server.concurrent && self.plan.blocks.contains(&Kind::Held)) {
            return Ok(());
        }
        let mut longest = Duration::ZERO;
        let short = end.saturating_duration_since(Instant::now()) < Duration::from_secs(4);
        for visit in 1..=VISITS {
            let begun = Instant::now();
            // Two of them are what a verdict needs.
            if visit > 2 && begun + longest.mul_f64(0.9) > end {
                break;
            }
            self.cycle += 1;
            self.begin(Kind::Held);
            // The first two span the most where the time is short.
            let share = if short { [2, 5][visit as usize % 2] } else { visit };
            self.held((self.plan.held * share).div_ceil(VISITS))?;
            longest = longest.max(begun.elapsed());
        }
        Ok(())
    }

    /// Longer blocks where the budget has room for more than it takes: five to eight cycles are better than three
    /// long ones, and longer blocks are better than many cycles.
    fn pace(&mut self, cycle: Duration, left: Duration) {
        let blocks = self.plan.blocks.len() as f64;
        let fixed = (cycle.as_secs_f64() - blocks * self.block).max(blocks * self.plan.rest);
        let per_cycle = left.as_secs_f64() / 6.0;
        self.block = ((per_cycle - fixed) / blocks).clamp(self.plan.block.min(0.3), 20.0);
    }

    /// One block of each kind; the order differs from cycle to cycle.
    fn cycle(&mut self) -> Result<(), String> {
        let kinds = self.plan.blocks.clone();
        let count = kinds.len();
        for index in 0..count {
            // A step that has no divisor in common with the count visits every kind once.
            let step =
                if count.is_multiple_of(2) { count - 1 } else { [1, 2][self.cycle as usize % 2].min(count) };
            let kind = kinds[(index * step + self.cycle as usize) % count];
            self.run_block(kind)?;
        }
        Ok(())
    }

    fn run_block(&mut self, kind: Kind) -> Result<(), String> {
        if Instant::now() >= self.end {
            return Ok(());
        }
        let server = &self.found.server;
        let possible = match kind {
            Kind::Payload => self.found.large.is_some(),
            Kind::Held => false,
            Kind::Streams => server.streams,
            Kind::Keys => self.found.template.places() > 0 || self.found.pattern != server.path,
            _ => true,
        };
        if !possible {
            return Ok(());
        }
        self.begin(kind);
        let limit = Limit { count: self.plan.requests, until: self.until() };
        let small = self.found.small.clone();
        let stop = &self.shared.stop;
        let mut body = small.len();
        match kind {
            Kind::Requests => self.drive.requests(Work::Same(&small), limit, stop),
            Kind::Payload => {
                let large = self.found.large.clone().unwrap_or_default();
                body = large.len();
                self.drive.requests(Work::Same(&large), limit, stop);
            }
            Kind::Keys => {
                let work = Work::Distinct(&self.found.template, &self.found.pattern);
                self.drive.requests(work, limit, stop);
            }
            // Where every answer ends its connection, connections without a request tell the two apart.
            Kind::Connections => {
                let body = self.found.server.keeps_alive.then_some(small.as_slice());
                self.drive.connections(body, limit, stop);
            }
            Kind::Streams => self.drive.streams(&small, limit, stop),
            _ => rest(limit.until),
        }
        self.floor(kind, body as u64)
    }

    /// Floors with so many connections, with a large request over each, and without them.
    fn held(&mut self, count: u64) -> Result<(), String> {
        let small = self.found.small.clone();
        let mut held = self.drive.hold(&small, Limit { count, until: self.until_held() });
        held = self.verified_floor(Kind::Held, held, small.len())?;
        if let Some(large) = self.found.large.clone() {
            held = self.drive.ask_all(held, &large, self.until_held());
            held = self.verified_floor(Kind::HeldLarge, held, large.len())?;
        }
        drop(held);
        self.floor(Kind::Closed, 0)
    }

    /// Opening connections has more time than other blocks: the number of them should be reached.
    fn until_held(&self) -> Instant {
        (Instant::now() + Duration::from_secs_f64(self.block.max(1.0))).min(self.end)
    }

    /// A floor for which only those connections count that are open before and after it.
    fn verified_floor(&mut self, kind: Kind, mut held: Vec<Wire>, body: usize) -> Result<Vec<Wire>, String> {
        held.retain(Wire::is_open);
        let (mut floor, before) = (self.measure(kind, body as u64)?, held.len());
        held.retain(Wire::is_open);
        // Some were closed while memory was read: how many it was read with cannot be said.
        if held.len() == before {
            floor.held = held.len() as u64;
        } else {
            self.shared.note(format!(
                "{} of {before} held connections were closed by the server",
                before - held.len()
            ));
            floor.held = 0;
        }
        self.shared.write(Line::Floor(floor));
        Ok(held)
    }

    fn begin(&self, kind: Kind) {
        let look = self.shared.look().unwrap_or_default();
        let growth = BLOCK_GROWTH.min(look::available() / 8);
        self.shared.set_ceiling(look.rss + growth);
        let name = name(kind);
        (self.progress)(name);
        self.shared.write(Line::Phase { t: self.shared.now(), cycle: self.cycle, name: name.to_owned() });
    }

    fn until(&self) -> Instant {
        // The warm-up is shorter: it has to reach every path, not to measure it.
        (Instant::now() + Duration::from_secs_f64(self.block)).min(self.end)
    }

    fn floor(&mut self, kind: Kind, body: u64) -> Result<(), String> {
        let floor = self.measure(kind, body)?;
        self.shared.write(Line::Floor(floor));
        Ok(())
    }

    /// Settles, rests, and reads memory: as it is, and after allocator and collector were asked.
    fn measure(&mut self, kind: Kind, body: u64) -> Result<Floor, String> {
        if target::interrupted() {
            return Err(target::INTERRUPTION.to_owned());
        }
        if !matches!(kind, Kind::Start | Kind::Patience) {
            self.drive.keep_stream(&self.found.small, &self.shared.stop);
            let body = self.found.large.as_ref().unwrap_or(&self.found.small).clone();
            let until = (Instant::now() + Duration::from_secs_f64(SETTLE * 4.0)).min(self.end);
            let limit = Limit { count: self.settling, until };
            self.drive.requests(Work::Same(&body), limit, &self.shared.stop);
        }
        let rest = Duration::from_secs_f64(self.plan.rest);
        std::thread::sleep(rest / 2);
        let unasked = self.least(rest / 4)?;
        let mut look = unasked;
        if let Some(asker) = self.asker.as_mut().filter(|asker| asker.failed.is_none()) {
            if asker.ask() {
                look = self.least(rest / 4)?;
                self.kept = self.kept.max(unasked.anonymous.saturating_sub(look.anonymous));
            } else if let Some(why) = &asker.failed {
                self.shared.note(format!("allocator and collector are not asked any more: {why}"));
            }
        }
        Ok(Floor {
            t: self.shared.now(),
            cycle: self.cycle,
            kind,
            anonymous: look.anonymous,
            unasked: unasked.anonymous,
            rss: look.rss,
            counts: self.drive.counts,
            held: 0,
            body,
        })
    }

    /// The least of some looks.
    fn least(&self, time: Duration) -> Result<Look, String> {
        let mut least: Option<Look> = None;
        for _ in 0..LOOKS {
            std::thread::sleep(time / LOOKS);
            let look = self.shared.look().ok_or_else(|| self.gone())?;
            if least.is_none_or(|least| look.anonymous < least.anonymous) {
                least = Some(look);
            }
        }
        Ok(least.unwrap_or_default())
    }

    fn gone(&self) -> String {
        format!("the target is gone: {}", self.target.tail())
    }

    /// Larger and larger bodies, a few of each; at the end many of the usual ones, which gives a collector reason to
    /// run.
    fn sizes(&mut self) -> Result<(), String> {
        let Some(large) = self.found.large.clone() else { return Ok(()) };
        self.cycle += 1;
        if let Some(asker) = &mut self.asker {
            asker.map_large_blocks();
        }
        let mut accepted = false;
        for size in self.plan.sizes.clone() {
            let body = self.payload.padded(size).unwrap_or_else(|| self.payload.sized(size));
            let begun = Instant::now();
            // The next is larger: it may take several times as long as this one did.
            if begun + self.slowest * 3 + Duration::from_millis(700) > self.end {
                self.cut_short(size);
                break;
            }
            if !self.size(&body)? {
                break;
            }
            self.slowest = begun.elapsed();
            accepted = true;
        }
        if accepted {
            self.begin(Kind::Payload);
            let limit = Limit { count: self.plan.requests, until: self.until() };
            self.drive.requests(Work::Same(&large), limit, &self.shared.stop);
            self.floor(Kind::Payload, large.len() as u64)?;
        }
        Ok(())
    }

    /// There is no time for a body of a size. What a process keeps of smaller ones cannot be told from nothing.
    fn cut_short(&self, size: usize) {
        if (size as f64) < self.plan.margins.kept * 2.0 {
            let size = figure::bytes(size as f64);
            let text = format!("there was no time for a body of {size}: give it a larger --budget");
            self.shared.write(Line::Missing { t: self.shared.now(), text });
        }
    }

    fn size(&mut self, body: &[u8]) -> Result<bool, String> {
        self.begin(Kind::Size);
        let refused = self.drive.counts.refused + self.drive.counts.failed;
        let limit = Limit { count: 3, until: self.end };
        self.drive.one_by_one(body, limit, &self.shared.stop);
        let taken = self.drive.counts.refused + self.drive.counts.failed == refused;
        self.floor(Kind::Size, body.len() as u64)?;
        Ok(taken)
    }
}

/// Waits, but not for somebody who has ended this program.
fn rest(until: Instant) {
    while Instant::now() < until && !target::interrupted() {
        std::thread::sleep(GLANCE.min(until.saturating_duration_since(Instant::now())));
    }
}

/// What a block is called where people read it.
pub fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Start => "start",
        Kind::Requests => "small requests",
        Kind::Payload => "large requests",
        Kind::Connections => "connections opened and closed",
        Kind::Keys => "distinct keys",
        Kind::Streams => "HTTP/2 streams",
        Kind::Rest => "rest",
        Kind::Held => "connections held",
        Kind::HeldLarge => "connections held, large request",
        Kind::Patience => "long rest",
        Kind::Closed => "connections closed",
        Kind::Size => "larger bodies",
    }
}
