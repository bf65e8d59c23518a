//! The core thread: sealed chunks, answers of outputs, the disk, reloads, and the clock.

use std::sync::Arc;
use std::time::Duration;

use budget::{Budget, Pressure};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::lanes::Lanes;
use super::{Pipeline, Switch, open_lanes};
use crate::dispatch::{Answer, Dispatch, Settings};
use crate::lane::{Ending, Stop, Stopper};
use crate::limits::{LAST_WORDS, LEDGER_TICK, SAID_AGAIN};
use crate::metrics::Metrics;
use crate::plugin::Input;
use crate::route::Routes;
use crate::storage::setup::{self, Plan};
use crate::storage::{self, Told};
use crate::store::{ChunkIds, Disk, Sealed};

/// The core thread's loop.
pub(super) struct Core {
    pub(super) dispatch: Dispatch,
    /// For the lanes of inputs; `None` when no more are opened.
    pub(super) sealer: Option<mpsc::Sender<Sealed>>,
    /// `None` when all lanes have ended.
    pub(super) sealed: Option<mpsc::Receiver<Sealed>>,
    /// For the lanes of outputs.
    pub(super) answers: mpsc::Sender<Answer>,
    pub(super) answered: mpsc::Receiver<Answer>,
    /// Tells these lanes when a stop is over.
    pub(super) ends: watch::Sender<Option<Instant>>,
    pub(super) ending: Ending,
    /// The disk, once it was opened, for the lanes of inputs; and what it says.
    pub(super) disk: Option<Disk>,
    pub(super) told: Option<mpsc::Receiver<Told>>,
    pub(super) ids: ChunkIds,
    pub(super) budget: Budget,
    /// How full the budget is, for the lanes.
    pub(super) pressure: watch::Sender<Pressure>,
    /// When it was said last that it is full.
    pub(super) said: Option<Instant>,
    pub(super) grace: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    /// Stops the inputs that run.
    pub(super) inputs: Stopper,
    /// By the name of the input: ends with it.
    pub(super) alive: Vec<(String, watch::Receiver<()>)>,
    /// Those that hear of the end. One that was replaced had its say before it ended.
    pub(super) running: Vec<Arc<dyn Input>>,
}

impl Core {
    pub(super) async fn run(mut self, stop: Stop, mut switches: mpsc::Receiver<Switch>) -> usize {
        let mut tick = tokio::time::interval(LEDGER_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopping = false;
        loop {
            let due = self.dispatch.next_due();
            tokio::select! {
                chunk = next_of(&mut self.sealed) => match chunk {
                    Some(chunk) => self.dispatch.route(chunk),
                    None => self.sealed = None,
                },
                Some(answer) = self.answered.recv() => self.dispatch.settle(answer, Instant::now()),
                () = until(due) => {}
                told = next_of(&mut self.told) => match told {
                    Some(told) => self.dispatch.told(told, &self.ids),
                    None => self.told = None,
                },
                _ = tick.tick() => {
                    self.look_at_memory();
                    self.dispatch.tick();
                }
                Some(Switch { pipeline, done }) = switches.recv(), if !stopping => {
                    // Who asked may have given up waiting.
                    let _gone = done.send(self.switch(pipeline));
                }
                () = stop.requested(), if !stopping => {
                    stopping = true;
                    self.begin_stop();
                }
                () = until(self.deadline) => break,
            }
            self.dispatch.due(Instant::now());
            if stopping && self.sealed.is_none() && self.dispatch.pending() == 0 {
                break;
            }
        }
        // What the lanes sealed and nobody routed any more is undelivered too.
        let unrouted = std::iter::from_fn(|| self.sealed.as_mut()?.try_recv().ok()).count();
        self.running.iter().for_each(|input| input.stopped());
        self.end_lanes().await;
        let (lost, stored) = self.dispatch.close().await;
        if stored > 0 {
            tracing::info!("[engine] {stored} chunks stay on the disk: the next start delivers them");
        }
        lost + unrouted
    }

    /// Waits until the lanes of outputs have done what they had left to do, as long as the grace allows.
    async fn end_lanes(&mut self) {
        self.dispatch.end_lanes();
        // The lanes have the last senders now.
        self.answers = mpsc::channel(1).0;
        let until = self.deadline.map(|deadline| deadline + LAST_WORDS);
        loop {
            tokio::select! {
                answer = self.answered.recv() => match answer {
                    Some(answer) => self.dispatch.settle(answer, Instant::now()),
                    None => return,
                },
                () = self::until(until) => return,
            }
        }
    }

    /// Lets a pipeline take the place of the running one. Its inputs begin, those before end; what is not
    /// delivered goes to the outputs of the same names.
    pub(super) fn switch(&mut self, pipeline: Pipeline) -> std::io::Result<()> {
        let Pipeline { mut inputs, filters, outputs, direct, metrics, flush, grace, storage, rings, .. } =
            pipeline;
        let mut settings = self.open_disk(storage, flush, &metrics)?;
        settings.0.rings = rings;
        let places = self.dispatch.places(outputs.len());
        let mut patterns = vec![None; places.iter().max().map_or(0, |last| last + 1)];
        let mut targets = Vec::new();
        let direct = direct
            .into_iter()
            .map(|(number, outputs)| (number, outputs.iter().map(|at| places[*at]).collect()));
        let direct = direct.collect();
        for (place, output) in places.into_iter().zip(outputs) {
            patterns[place] = output.pattern.clone();
            targets.push((place, open_lanes(output, place, &self.answers, &self.ending)?));
        }
        let unroutable = inputs.iter().filter(|input| !input.instance.routable);
        let unroutable = unroutable.map(|input| input.instance.origin.input).collect();
        let Some(sealer) = self.sealer.clone() else { return Err(std::io::Error::other("the agent stops")) };
        let next = self.inputs.apart();
        let mut alive = Vec::new();
        for input in &mut inputs {
            let name = &input.instance.name;
            let before = self.alive.iter().find(|(known, _)| known == name);
            input.predecessor = before.map(|(_, receiver)| receiver.clone());
            alive.push((name.clone(), input.instance.alive.subscribe()));
        }
        let running = inputs.iter().map(|input| Arc::clone(&input.instance.input)).collect();
        let (ids, disk, pressure) = (self.ids.clone(), self.disk.clone(), self.pressure.subscribe());
        let lanes = Lanes { filters, sealer, ids, flush, pressure, grace, stop: next.stop(), disk };
        if let Err(error) = lanes.open(inputs) {
            next.say();
            return Err(error);
        }
        self.dispatch.replace(Routes::new(patterns).without(unroutable).with(direct), targets, metrics);
        self.dispatch.set(settings.0, settings.1);
        self.inputs.say();
        (self.inputs, self.alive, self.grace) = (next, alive, grace);
        self.running = running;
        Ok(())
    }

    /// Starts the threads of the storage, or goes on with them. Returns the settings for those records.
    fn open_disk(
        &mut self,
        plan: Option<Plan>,
        flush: Duration,
        metrics: &Metrics,
    ) -> std::io::Result<(Settings, usize)> {
        let Some(Plan { layout, max_up, mut settings, folders, .. }) = plan else {
            return Ok((Settings::default(), usize::MAX));
        };
        settings.rejected = setup::rejected_bytes(&layout);
        if self.disk.is_none() {
            let Some(sealer) = self.sealer.clone() else {
                return Err(std::io::Error::other("the agent stops"));
            };
            let account = layout.account.clone();
            let (writer, storage, told) =
                storage::start(layout, flush, sealer, self.ids.clone(), &self.budget)?;
            // Set once, as the disk is opened once.
            let _set = metrics.storage.account.set(account);
            self.dispatch.adopt(storage);
            self.told = Some(told);
            self.disk = Some(Disk { writer, metrics: Arc::clone(&metrics.storage) });
        }
        self.dispatch.add_folders(folders);
        Ok((settings, max_up))
    }

    fn look_at_memory(&mut self) {
        self.budget.tick();
        let (before, now) = (*self.pressure.borrow(), self.budget.pressure());
        if now >= Pressure::Close {
            let stat = self.budget.stat();
            self.dispatch.shed(stat.limit.saturating_sub(stat.guaranteed + stat.reserve));
        }
        if before == now {
            return;
        }
        let quiet = self.said.is_none_or(|said| said.elapsed() >= SAID_AGAIN);
        if now >= Pressure::Close && before < Pressure::Close && quiet {
            self.said = Some(Instant::now());
            let stat = self.budget.stat();
            tracing::warn!(
                "[memory] {} of {} bytes are held: new connections are turned away, records wait for room or are \
                 refused until the outputs have caught up",
                stat.held,
                stat.limit
            );
        }
        self.pressure.send_replace(now);
    }

    fn begin_stop(&mut self) {
        let now = Instant::now();
        match self.grace {
            Some(grace) => {
                tracing::warn!("[engine] service will shutdown in max {} seconds", grace.as_secs())
            }
            None => tracing::warn!("[engine] service will shutdown when everything is delivered"),
        }
        self.deadline = self.grace.map(|grace| now + grace);
        self.ends.send_replace(self.deadline);
        self.inputs.say();
        (self.sealer, self.disk) = (None, None);
        self.dispatch.hasten(now);
    }
}

async fn next_of<T>(of: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match of {
        Some(of) => of.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
