//! The lanes of inputs: threads that take records, and keep them open until it is their time.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use budget::Pressure;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::LocalSet;

use super::InputInstance;
use crate::emit::{self, Emitter, Promise};
use crate::lane::{self, Stop};
use crate::limits::{FLUSH_EARLY, RESTART_FIRST, RESTART_LONGEST, SHORTEST_TICK};
use crate::pass::{Origin, Pass, Stage};
use crate::processors::Unit;
use crate::store::{ChunkIds, Disk, Sealed, Store};

/// Everything that the lanes of inputs need.
pub(super) struct Lanes {
    pub(super) filters: Vec<Unit>,
    pub(super) sealer: mpsc::Sender<Sealed>,
    pub(super) ids: ChunkIds,
    pub(super) flush: Duration,
    pub(super) pressure: watch::Receiver<Pressure>,
    pub(super) grace: Option<Duration>,
    pub(super) stop: Stop,
    pub(super) disk: Option<Disk>,
}

/// What goes to the thread of a lane.
struct LaneParts {
    filters: Vec<Unit>,
    sealer: mpsc::Sender<Sealed>,
    ids: ChunkIds,
    flush: Duration,
    pressure: watch::Receiver<Pressure>,
    grace: Option<Duration>,
    stop: Stop,
    disk: Option<Disk>,
}

impl Lanes {
    fn parts(&self) -> LaneParts {
        LaneParts {
            filters: self.filters.iter().map(Unit::for_lane).collect(),
            sealer: self.sealer.clone(),
            ids: self.ids.clone(),
            flush: self.flush,
            pressure: self.pressure.clone(),
            grace: self.grace,
            stop: self.stop.clone(),
            disk: self.disk.clone(),
        }
    }

    /// Each input gets its lanes; those that want none share one on the core thread.
    pub(super) fn open(self, inputs: Vec<LaneInput>) -> std::io::Result<()> {
        let mut on_core = Vec::new();
        for input in inputs {
            let lanes = input.instance.input.lanes().max(usize::from(input.instance.threaded));
            if lanes == 0 {
                on_core.push(input);
                continue;
            }
            for number in 0..lanes {
                let (parts, input) = (self.parts(), input.for_lane());
                lane::spawn(format!("in:{}:{number}", input.instance.name), move || parts.run(vec![input]))?;
            }
        }
        if !on_core.is_empty() {
            tokio::task::spawn_local(self.parts().run(on_core));
        }
        Ok(())
    }
}

/// An input as it goes to the thread of a lane.
pub(super) struct LaneInput {
    pub(super) instance: Arc<InputInstance>,
    pub(super) processors: Vec<Unit>,
    /// Ends with the instance that it replaces.
    pub(super) predecessor: Option<watch::Receiver<()>>,
}

impl LaneInput {
    fn for_lane(&self) -> LaneInput {
        let processors = self.processors.iter().map(Unit::for_lane).collect();
        let predecessor = self.predecessor.clone();
        LaneInput { instance: Arc::clone(&self.instance), processors, predecessor }
    }
}

impl LaneParts {
    /// Runs inputs until they are done or `stop` and half of the grace are over, then seals what is open.
    async fn run(self, inputs: Vec<LaneInput>) {
        let store = Rc::new(Store::new(self.sealer, self.ids, self.disk));
        let filters: Vec<Rc<Stage>> = self.filters.into_iter().map(Unit::stage).collect();
        let mut passes = Vec::new();
        let tasks = LocalSet::new();
        for LaneInput { instance, processors, predecessor } in inputs {
            let mut stages: Vec<Rc<Stage>> = processors.into_iter().map(Unit::stage).collect();
            let own = stages.len();
            stages.extend(filters.iter().cloned());
            let pass = Pass::new(stages, own, instance.decode.clone()).with_stop(self.stop.clone());
            let pass = pass.with_routes(instance.routes.clone());
            let pass = Rc::new(pass);
            passes.push((Rc::clone(&pass), instance.origin.clone(), instance.promise));
            let (origin, tag) = (instance.origin.clone(), instance.tag.clone());
            let emitter = Emitter::new(origin, tag, Rc::clone(&store), pass, instance.promise);
            tasks.spawn_local(keep_running(instance, predecessor, emitter, self.stop.clone()));
        }
        let clock = Clock { passes, store: &store };
        let half = self.grace.map(|grace| grace / 2);
        let overdue = async {
            self.stop.requested().await;
            match half {
                Some(half) => tokio::time::sleep(half).await,
                None => std::future::pending().await,
            }
        };
        let ended = Notify::new();
        let running = async {
            tokio::select! {
                () = tasks => {}
                () = overdue => {
                    tracing::warn!("an input did not end within half of the grace: it is cut off");
                }
            }
            ended.notify_one();
        };
        let everything = async {
            // A tick is never broken off: what a filter has let go of would be lost.
            tokio::join!(running, clock.keep_ticking(&ended));
            clock.tick(true).await;
        };
        tokio::select! {
            () = everything => {}
            () = keep_flushing(&store, self.flush, self.pressure) => {}
        }
        // It has said what is lost, if the engine did not wait for it.
        let _stopped = store.flush().await;
    }
}

/// Sends what is open on its way: every `period`, and more often while memory is short.
async fn keep_flushing(store: &Store, period: Duration, mut pressure: watch::Receiver<Pressure>) {
    let mut timer = tokio::time::interval(period);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let short = *pressure.borrow_and_update() >= Pressure::Flush;
        tokio::select! {
            _ = timer.tick() => {}
            () = tokio::time::sleep(FLUSH_EARLY), if short && period > FLUSH_EARLY => timer.reset(),
            changed = pressure.changed() => match changed {
                Ok(()) => continue,
                // The core has ended.
                Err(_) => return,
            },
        }
        if store.flush().await.is_err() {
            return;
        }
    }
}

/// Lets filters that hold records back let go of them.
struct Clock<'a> {
    passes: Vec<(Rc<Pass>, Origin, Promise)>,
    store: &'a Store,
}

impl Clock<'_> {
    /// The stages of the lane, each once: the processors of every input and what all of them share.
    fn stages(&self) -> impl Iterator<Item = (&Pass, &Origin, &Promise, std::ops::Range<usize>)> {
        self.passes.iter().enumerate().flat_map(|(index, (pass, origin, promise))| {
            let (own, shared) = pass.own_and_shared();
            let shared = if index == 0 { shared } else { 0..0 };
            [own, shared].map(|stages| (&**pass, origin, promise, stages))
        })
    }

    async fn keep_ticking(&self, ended: &Notify) {
        let interval = self.stages().filter_map(|(pass, _, _, stages)| pass.interval(stages)).min();
        let Some(interval) = interval else { return };
        let mut timer = tokio::time::interval(interval.max(SHORTEST_TICK));
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = timer.tick() => self.tick(false).await,
                () = ended.notified() => return,
            }
        }
    }

    /// Filters come in their order: what one lets go of may be held back by the next.
    async fn tick(&self, last: bool) {
        for (pass, origin, promise, stages) in self.stages() {
            for at in stages.filter(|at| pass.interval(*at..at + 1).is_some()) {
                let mut ready = Vec::new();
                let passed = async {
                    let mut work = pass.tick(at, origin, last).await?;
                    emit::gather(pass, self.store, &mut work, &mut ready, &mut None, promise).await?;
                    emit::put(self.store, &mut ready, &mut None, promise).await
                };
                if passed.await.is_err() {
                    tracing::error!("records that a filter held back are lost: there is no room for them");
                }
            }
        }
    }
}

/// Runs an input; when it fails, again after a wait that grows.
async fn keep_running(
    instance: Arc<InputInstance>,
    predecessor: Option<watch::Receiver<()>>,
    emitter: Emitter,
    stop: Stop,
) {
    if let Some(mut predecessor) = predecessor.filter(|_| !instance.input.overlaps()) {
        // Nothing is ever sent: it ends when the sender is dropped.
        tokio::select! {
            _ended = predecessor.changed() => {}
            () = stop.requested() => return,
        }
    }
    let mut wait = RESTART_FIRST;
    loop {
        let run = Arc::clone(&instance.input).run(emitter.clone(), stop.clone());
        let why = match tokio::task::spawn_local(run).await {
            Ok(Ok(())) => return,
            Ok(Err(why)) => why,
            Err(_) => "it stopped at a bug (see the message above)".to_owned(),
        };
        tracing::error!("[input:{}] {why}; it is started again in {} s", instance.name, wait.as_secs());
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RESTART_LONGEST),
            () = stop.requested() => return,
        }
    }
}
