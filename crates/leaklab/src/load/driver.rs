//! The loop: which connection sends next, and when it ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::connection::{Answer, Connection, Step};
use super::outcome::{Latency, Outcome, Progress};
use super::plan::Plan;
use super::poll::Poll;
use crate::histogram::Histogram;
use crate::process;

/// How often progress is told and waiting requests are looked at.
const TICK: Duration = Duration::from_millis(200);
/// How long a connection rests after a failure.
const BACKOFF: Duration = Duration::from_millis(100);
/// Bytes received at a time.
const BUFFER: usize = 64 << 10;

/// Connections that stay open until this is dropped.
#[derive(Default)]
pub struct Held(Vec<TcpStream>);

impl Held {
    /// How many they are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Sends a load and waits for its last answer. The connections are handed back open.
///
/// # Errors
/// The server cannot be reached at all, or the system refuses what a load needs.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(Progress)) -> io::Result<(Outcome, Held)> {
    // A server that is not there is one error, not as many as there are requests.
    drop(TcpStream::connect_timeout(&plan.target.address, plan.patience)?);
    let mut driver = Driver::new(plan)?;
    let cpu = process::own_cpu();
    driver.begin();
    while !driver.is_done() {
        driver.turn(progress)?;
    }
    driver.outcome.seconds = (driver.last_answer - driver.begun).as_secs_f64();
    let elapsed = driver.begun.elapsed().as_secs_f64();
    driver.outcome.generator_cpu = (process::own_cpu() - cpu) / elapsed.max(1e-6);
    driver.outcome.latency = Latency::of(&driver.latency);
    let open = driver.slots.into_iter().flatten().map(Connection::into_stream).collect();
    Ok((driver.outcome, Held(open)))
}

struct Driver<'a> {
    plan: &'a Plan,
    request: Vec<u8>,
    poll: Poll,
    slots: Vec<Option<Connection>>,
    /// When connections that pause go on.
    pauses: BinaryHeap<Reverse<(Instant, usize)>>,
    /// Requests on their way.
    waiting: usize,
    ended: u64,
    begun: Instant,
    last_answer: Instant,
    next_tick: Instant,
    latency: Histogram,
    outcome: Outcome,
    buffer: Box<[u8]>,
    tokens: Vec<usize>,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan) -> io::Result<Driver<'a>> {
        let now = Instant::now();
        Ok(Driver {
            plan,
            request: plan.request(),
            poll: Poll::new()?,
            slots: (0..plan.connections).map(|_| None).collect(),
            pauses: BinaryHeap::with_capacity(plan.connections),
            waiting: 0,
            ended: 0,
            begun: now,
            last_answer: now,
            next_tick: now + TICK,
            latency: Histogram::default(),
            outcome: Outcome::default(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            tokens: Vec::new(),
        })
    }

    fn begin(&mut self) {
        (self.begun, self.last_answer) = (Instant::now(), Instant::now());
        let at_once = if self.plan.in_turn { 1 } else { self.slots.len() };
        for slot in 0..at_once {
            self.send_next(slot);
        }
    }

    /// Whether another request may begin.
    fn has_more(&self, now: Instant) -> bool {
        let left = self.plan.requests.is_none_or(|requests| self.outcome.requests < requests);
        left && self.plan.duration.is_none_or(|duration| now < self.begun + duration)
    }

    fn is_done(&self) -> bool {
        self.waiting == 0 && !self.has_more(Instant::now())
    }

    fn turn(&mut self, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let now = Instant::now();
        let until = self.pauses.peek().map_or(self.next_tick, |Reverse((at, _))| self.next_tick.min(*at));
        let mut tokens = std::mem::take(&mut self.tokens);
        self.poll.wait(until.saturating_duration_since(now), &mut tokens)?;
        for slot in &tokens {
            self.step(*slot);
        }
        self.tokens = tokens;
        let now = Instant::now();
        while let Some(Reverse((at, slot))) = self.pauses.peek().copied()
            && at <= now
        {
            self.pauses.pop();
            self.send_next(slot);
        }
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.give_up(now);
            progress(Progress { ended: self.ended, of: self.plan.requests, elapsed: now - self.begun });
        }
        Ok(())
    }

    /// Begins the next request of a connection, and connects first where it must.
    fn send_next(&mut self, slot: usize) {
        let now = Instant::now();
        if !self.has_more(now) {
            return;
        }
        self.outcome.requests += 1;
        self.waiting += 1;
        if self.slots[slot].is_none() {
            match Connection::open(self.plan.target.address, &self.poll, slot) {
                Ok(connection) => {
                    self.outcome.connections += 1;
                    self.slots[slot] = Some(connection);
                }
                Err(error) => return self.fail(slot, error.kind()),
            }
        }
        let Some(connection) = &mut self.slots[slot] else { return };
        let step = connection.begin(now, &self.request);
        self.settle(slot, step);
    }

    fn step(&mut self, slot: usize) {
        // A token may be older than the connection that has its slot now; stepping it does no harm.
        let Some(connection) = &mut self.slots[slot] else { return };
        let step = connection.step(&self.request, &mut self.buffer);
        self.settle(slot, step);
    }

    fn settle(&mut self, slot: usize, step: Step) {
        match step {
            Step::Blocked => {}
            Step::Answered(answer) => self.answered(slot, &answer),
            Step::Closed => self.slots[slot] = None,
            Step::Failed(reason) => self.fail(slot, reason),
        }
    }

    fn answered(&mut self, slot: usize, answer: &Answer) {
        let now = Instant::now();
        self.latency.record(now - answer.begun);
        self.last_answer = now;
        *self.outcome.answers.entry(answer.message.status).or_default() += 1;
        if (200..300).contains(&answer.message.status) {
            self.outcome.records += self.plan.records;
            self.outcome.bytes += self.plan.body.len() as u64;
        }
        self.waiting -= 1;
        self.ended += 1;
        if answer.last || self.plan.new_connections {
            self.slots[slot] = None;
        }
        // By way of the loop even without a pause: every connection that has an answer is served first.
        self.pauses.push(Reverse((now + self.plan.delay, self.after(slot))));
    }

    fn fail(&mut self, slot: usize, reason: ErrorKind) {
        *self.outcome.failures.entry(reason.to_string()).or_default() += 1;
        self.slots[slot] = None;
        self.waiting -= 1;
        self.ended += 1;
        self.pauses.push(Reverse((Instant::now() + BACKOFF, self.after(slot))));
    }

    /// The connection that sends when this one has its answer.
    fn after(&self, slot: usize) -> usize {
        if self.plan.in_turn { (slot + 1) % self.slots.len() } else { slot }
    }

    /// Ends requests that have waited too long.
    fn give_up(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let since = self.slots[slot].as_ref().and_then(Connection::waits_since);
            if since.is_some_and(|begun| now - begun > self.plan.patience) {
                self.fail(slot, ErrorKind::TimedOut);
            }
        }
    }
}
