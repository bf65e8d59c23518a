//! The loop of HTTP/1.1: which connection sends next, and when it ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, ErrorKind};
use std::time::Instant;

use super::connection::{Answer, Connection, PACE, Request, Step, reason};
use super::outcome::{Outcome, Progress};
use super::plan::Plan;
use super::poll::Poll;
use super::tally::Tally;
use super::{BACKOFF, Held, TICK};

/// Bytes received at a time.
const BUFFER: usize = 64 << 10;

/// Sends a load and waits for its last answer. The connections are handed back open.
pub fn run(plan: &Plan, progress: &mut dyn FnMut(Progress)) -> io::Result<(Outcome, Held)> {
    let mut driver = Driver::new(plan)?;
    driver.begin();
    while !driver.is_done() {
        driver.turn(progress)?;
    }
    let open: Vec<Connection> = driver.slots.into_iter().filter_map(|slot| slot.connection).collect();
    Ok((driver.tally.finish(), Held::new(open.len(), open)))
}

/// A place for a connection.
#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    /// Requests that it may begin.
    credit: usize,
}

/// What a connection does behind a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    /// Goes on with the request that it sends slowly.
    Send,
    /// Begins another request.
    Begin,
}

struct Driver<'a> {
    plan: &'a Plan,
    /// The bytes of the plan's requests.
    requests: Vec<Vec<u8>>,
    poll: Poll,
    slots: Vec<Slot>,
    /// When connections that pause go on.
    pauses: BinaryHeap<Reverse<(Instant, usize, Wake)>>,
    /// Connections that may begin a request now.
    ready: Vec<usize>,
    /// Requests on their way.
    waiting: usize,
    next_tick: Instant,
    tally: Tally,
    buffer: Box<[u8]>,
    tokens: Vec<usize>,
    answers: Vec<Answer>,
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan) -> io::Result<Driver<'a>> {
        Ok(Driver {
            plan,
            requests: plan.requests(),
            poll: Poll::new()?,
            slots: (0..plan.connections).map(|_| Slot::default()).collect(),
            pauses: BinaryHeap::with_capacity(plan.connections),
            ready: Vec::with_capacity(plan.connections),
            waiting: 0,
            next_tick: Instant::now() + TICK,
            tally: Tally::new(plan),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            tokens: Vec::new(),
            answers: Vec::new(),
        })
    }

    fn begin(&mut self) {
        let at_once = if self.plan.in_turn { 1 } else { self.slots.len() };
        for slot in 0..at_once {
            self.slots[slot].credit = self.plan.depth;
            self.begin_requests(slot);
        }
    }

    fn is_done(&self) -> bool {
        self.waiting == 0 && !self.tally.has_more(self.plan, Instant::now())
    }

    fn turn(&mut self, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let now = Instant::now();
        let until = self.pauses.peek().map_or(self.next_tick, |Reverse((at, ..))| self.next_tick.min(*at));
        let mut tokens = std::mem::take(&mut self.tokens);
        self.poll.wait(until.saturating_duration_since(now), &mut tokens)?;
        for slot in &tokens {
            self.step(*slot);
        }
        self.tokens = tokens;
        let now = Instant::now();
        while let Some(Reverse((at, slot, wake))) = self.pauses.peek().copied()
            && at <= now
        {
            self.pauses.pop();
            match wake {
                Wake::Send => self.step(slot),
                Wake::Begin => self.credit(slot),
            }
        }
        // Every connection that has an answer is served before another request begins.
        let mut ready = std::mem::take(&mut self.ready);
        ready.drain(..).for_each(|slot| self.begin_requests(slot));
        self.ready = ready;
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.give_up(now);
            progress(self.tally.progress(self.plan));
        }
        Ok(())
    }

    fn credit(&mut self, slot: usize) {
        self.slots[slot].credit += 1;
        if self.slots[slot].credit == 1 {
            self.ready.push(slot);
        }
    }

    /// Begins the requests that a connection may begin, and connects first where it must.
    fn begin_requests(&mut self, slot: usize) {
        let now = Instant::now();
        while self.slots[slot].credit > 0 {
            self.slots[slot].credit -= 1;
            let Some(body) = self.tally.begin(self.plan, now) else {
                self.slots[slot].credit = 0;
                break;
            };
            self.waiting += 1;
            if self.slots[slot].connection.is_none() {
                match Connection::open(self.plan, &self.poll, slot) {
                    Ok(connection) => {
                        self.tally.connected();
                        self.slots[slot].connection = Some(connection);
                    }
                    Err(error) => {
                        self.failed(slot, &reason(&error));
                        continue;
                    }
                }
            }
            if let Some(connection) = &mut self.slots[slot].connection {
                let bytes = self.plan.bytes(body, self.tally.begun());
                connection.begin(Request { begun: now, body, bytes });
            }
        }
        let Some(connection) = &mut self.slots[slot].connection else { return };
        let step = connection.send(&self.requests);
        self.settle(slot, step);
    }

    fn step(&mut self, slot: usize) {
        // A token may be older than the connection that has its slot now; stepping it does no harm.
        let Some(connection) = &mut self.slots[slot].connection else { return };
        let mut answers = std::mem::take(&mut self.answers);
        let step = connection.step(&self.requests, &mut self.buffer, &mut answers);
        let now = Instant::now();
        for Answer { message, request } in answers.drain(..) {
            self.tally.answered(self.plan, message.status, request.body, request.begun, now);
            self.waiting -= 1;
            let next = self.after(slot);
            if self.plan.delay.is_zero() {
                self.credit(next);
            } else {
                self.pauses.push(Reverse((now + self.plan.delay, next, Wake::Begin)));
            }
            if self.plan.new_connections {
                self.slots[slot].connection = None;
            }
        }
        self.answers = answers;
        self.settle(slot, step);
    }

    fn settle(&mut self, slot: usize, step: Step) {
        match step {
            Step::Blocked => {}
            Step::Paced => self.pauses.push(Reverse((Instant::now() + PACE, slot, Wake::Send))),
            Step::Ended(reason) => self.close(slot, &reason),
        }
    }

    /// Closes a connection; the requests on it have failed.
    fn close(&mut self, slot: usize, reason: &str) {
        let Some(connection) = self.slots[slot].connection.take() else { return };
        for _ in 0..connection.waiting() {
            self.failed(slot, reason);
        }
    }

    fn failed(&mut self, slot: usize, reason: &str) {
        self.tally.failed(reason.to_owned());
        self.waiting -= 1;
        self.pauses.push(Reverse((Instant::now() + BACKOFF, self.after(slot), Wake::Begin)));
    }

    /// The connection that sends when this one has its answer.
    fn after(&self, slot: usize) -> usize {
        if self.plan.in_turn { (slot + 1) % self.slots.len() } else { slot }
    }

    /// Ends requests that have waited too long.
    fn give_up(&mut self, now: Instant) {
        for slot in 0..self.slots.len() {
            let since = self.slots[slot].connection.as_ref().and_then(Connection::waits_since);
            if since.is_some_and(|begun| now - begun > self.plan.patience) {
                self.close(slot, &ErrorKind::TimedOut.to_string());
            }
        }
    }
}
