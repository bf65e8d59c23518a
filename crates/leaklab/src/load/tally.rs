//! What is counted while a load runs, whatever it is spoken in.

use std::time::Instant;

use super::outcome::{Latency, Outcome, Progress, Step};
use super::plan::Plan;
use crate::histogram::Histogram;
use crate::process;

/// The counts of a load.
pub struct Tally {
    outcome: Outcome,
    latency: Histogram,
    /// Of each step, where there are several.
    steps: Vec<Histogram>,
    ended: u64,
    begun: Instant,
    last_answer: Instant,
    cpu: f64,
}

impl Tally {
    /// A load that begins now.
    pub fn new(plan: &Plan) -> Tally {
        let steps = if plan.bodies.len() > 1 { plan.bodies.as_slice() } else { &[] };
        let outcome = Outcome {
            steps: steps.iter().map(|body| Step { bytes: body.plain, ..Step::default() }).collect(),
            ..Outcome::default()
        };
        let now = Instant::now();
        Tally {
            outcome,
            latency: Histogram::default(),
            steps: steps.iter().map(|_| Histogram::default()).collect(),
            ended: 0,
            begun: now,
            last_answer: now,
            cpu: process::own_cpu(),
        }
    }

    /// Whether another request may begin.
    pub fn has_more(&self, plan: &Plan, now: Instant) -> bool {
        let left = plan.requests.is_none_or(|requests| self.outcome.requests < requests);
        left && plan.duration.is_none_or(|duration| now < self.begun + duration)
    }

    /// Begins a request, if there is one to begin: which body it carries.
    pub fn begin(&mut self, plan: &Plan, now: Instant) -> Option<usize> {
        if !self.has_more(plan, now) {
            return None;
        }
        self.outcome.requests += 1;
        Some(plan.step(self.outcome.requests - 1, now - self.begun))
    }

    /// Requests that have begun.
    pub fn begun(&self) -> u64 {
        self.outcome.requests
    }

    /// A connection was opened.
    pub fn connected(&mut self) {
        self.outcome.connections += 1;
    }

    /// A request was answered.
    pub fn answered(&mut self, plan: &Plan, status: u16, body: usize, begun: Instant, now: Instant) {
        self.latency.record(now - begun);
        self.last_answer = now;
        self.ended += 1;
        *self.outcome.answers.entry(status).or_default() += 1;
        if (200..300).contains(&status) {
            let body = &plan.bodies[body];
            self.outcome.records += body.records;
            self.outcome.bytes += body.plain;
            self.outcome.wire_bytes += body.bytes.len() as u64;
        }
        if let (Some(step), Some(latency)) = (self.outcome.steps.get_mut(body), self.steps.get_mut(body)) {
            *step.answers.entry(status).or_default() += 1;
            latency.record(now - begun);
        }
    }

    /// A request got no answer.
    pub fn failed(&mut self, reason: String) {
        *self.outcome.failures.entry(reason).or_default() += 1;
        self.ended += 1;
    }

    /// How far it has come.
    pub fn progress(&self, plan: &Plan) -> Progress {
        Progress {
            ended: self.ended,
            of: plan.requests,
            elapsed: self.begun.elapsed(),
            duration: plan.duration,
        }
    }

    /// The result.
    pub fn finish(mut self) -> Outcome {
        self.outcome.seconds = (self.last_answer - self.begun).as_secs_f64();
        let elapsed = self.begun.elapsed().as_secs_f64();
        self.outcome.generator_cpu = (process::own_cpu() - self.cpu) / elapsed.max(1e-6);
        self.outcome.latency = Latency::of(&self.latency);
        for (step, latency) in self.outcome.steps.iter_mut().zip(&self.steps) {
            step.latency = Latency::of(latency);
        }
        self.outcome
    }
}
