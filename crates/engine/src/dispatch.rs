//! From sealed chunks to flushes: per output a queue, batches, and the ones that wait for another try.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use event::Signal;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::batch::{Batch, Part};
use crate::common::WhenFull;
use crate::limits::FLUSH_LONGEST;
use crate::metrics::{Metrics, OutputMetrics, Reason};
use crate::plugin::{Drive, Outcome, Output, OutputLane};
use crate::processors::Processing;
use crate::receipt::{Drops, Slip};
use crate::retry::{Draw, Next, Schedule, settle};
use crate::route::Routes;
use crate::store::Sealed;

/// An output as dispatch sees it.
pub struct Target {
    /// Its counters.
    pub metrics: Arc<OutputMetrics>,
    /// When its batches are tried again.
    pub plan: Schedule,
    /// How it wants to be driven.
    pub drive: Drive,
    /// What happens to what waits for it when memory is full.
    pub when_full: WhenFull,
    /// What it takes.
    pub signals: &'static [Signal],
    /// Where its lanes take batches from; each holds as many as the output flushes at a time.
    pub lanes: Vec<mpsc::Sender<Arc<Batch>>>,
}

/// The answer of a lane.
#[derive(Debug)]
pub struct Answer {
    /// Which output.
    pub output: usize,
    /// The batch that was flushed.
    pub batch: Arc<Batch>,
    /// What became of it.
    pub outcome: Outcome,
}

/// All outputs with what they have to deliver. Pure but for the clock that callers pass in.
pub struct Dispatch {
    routes: Routes,
    outputs: Vec<Queue>,
    /// What is not settled yet, by the number of the chunk.
    held: HashMap<u64, Held>,
    metrics: Arc<Metrics>,
    draw: Draw,
    next_id: u128,
    stopping: bool,
}

/// A chunk until all its records are settled with all outputs that take it.
struct Held {
    /// Records that are due, over all its outputs.
    unsettled: usize,
    slip: Option<Slip>,
    drops: Drops,
}

struct Queue {
    target: Target,
    /// Never tried, or halves of what was.
    due: VecDeque<Part>,
    /// Batches that stay as they are until they are settled. All they hold is leased pages.
    waiting: Vec<(Instant, Batch)>,
    running: usize,
    next_lane: usize,
    /// A reload has put another output in its place, or none: it takes no new records.
    retired: bool,
}

impl Dispatch {
    /// Outputs with their routes. `seed` makes batch ids unique over restarts and spreads retries.
    pub fn new(routes: Routes, targets: Vec<Target>, metrics: Arc<Metrics>, seed: u64) -> Dispatch {
        Dispatch {
            routes,
            outputs: targets.into_iter().map(Queue::new).collect(),
            held: HashMap::new(),
            metrics,
            draw: Draw::new(seed),
            next_id: u128::from(seed) << 64,
            stopping: false,
        }
    }

    /// Queues a sealed chunk for every output that takes its tag.
    pub fn route(&mut self, sealed: Sealed) {
        let Sealed { chunk, slip } = sealed;
        let signal = chunk.events.signal();
        let takes = |output: &usize| self.outputs[*output].target.signals.contains(&signal);
        let outputs: Vec<usize> =
            self.routes.from(chunk.input, &chunk.tag).iter().copied().filter(takes).collect();
        let records = chunk.events.records;
        if outputs.is_empty() {
            if self.metrics.unrouted_records.get() == 0 {
                tracing::warn!(
                    "no output takes the tag \"{}\": its records are dropped and counted",
                    chunk.tag
                );
            }
            self.metrics.unrouted_records.add(records);
            if let Some(slip) = slip {
                slip.settled(vec![(0..records, Reason::Unrouted, "no output takes their tag".into())]);
            }
            return;
        }
        let held = Held { unsettled: records * outputs.len(), slip, drops: Vec::new() };
        self.held.insert(chunk.id, held);
        let chunk = Arc::new(chunk);
        for output in &outputs {
            let queue = &mut self.outputs[*output];
            queue.target.metrics.routed.add(records);
            queue.target.metrics.held.add(records);
            queue.due.push_back(Part::whole(Arc::clone(&chunk)));
        }
    }

    /// Hands over what is due, as far as outputs take it.
    pub fn due(&mut self, now: Instant) {
        for queue in &mut self.outputs {
            while queue.running < queue.target.drive.concurrency.max(1) {
                let Some(batch) = queue.next_batch(now, &mut self.next_id) else { break };
                if !queue.hand_over(batch) {
                    break;
                }
            }
        }
    }

    /// When the next waiting batch is due.
    pub fn next_due(&self) -> Option<Instant> {
        let free = self.outputs.iter().filter(|queue| queue.running < queue.target.drive.concurrency.max(1));
        free.flat_map(|queue| queue.waiting.iter().map(|(at, _)| *at)).min()
    }

    /// Acts on the answer of a lane.
    pub fn settle(&mut self, answer: Answer, now: Instant) {
        let Answer { output, batch, outcome } = answer;
        let queue = &mut self.outputs[output];
        queue.running -= 1;
        let batch = Arc::unwrap_or_clone(batch);
        let draw = self.draw.number();
        match settle(batch, outcome, &queue.target.metrics, queue.target.plan, draw, self.stopping) {
            Next::Delivered(batch) => self.settled(output, &batch, None),
            Next::Dropped(batch, reason, why) => self.settled(output, &batch, Some((reason, why))),
            Next::Again(batch, wait) => self.wait(output, now + wait, batch),
            Next::Halves(left, right) => {
                for parts in [left, right] {
                    self.next_id += 1;
                    let half = Batch::new(self.next_id, parts);
                    self.wait(output, now, half);
                }
            }
        }
        self.outputs[output].end_if_done();
    }

    /// Puts a batch where it is tried again: with the output that has taken the place of a retired one.
    fn wait(&mut self, output: usize, at: Instant, batch: Batch) {
        let home = self.successor(output).unwrap_or(output);
        self.outputs[home].waiting.push((at, batch));
    }

    /// The output that has the name of a retired one now.
    fn successor(&self, output: usize) -> Option<usize> {
        let queue = &self.outputs[output];
        let name = &queue.target.metrics.name;
        let is_successor = |other: &Queue| !other.retired && other.target.metrics.name == *name;
        if queue.retired { self.outputs.iter().position(is_successor) } else { None }
    }

    /// Where the outputs of a new configuration go: places that nothing is left of first.
    pub fn places(&self, count: usize) -> Vec<usize> {
        let free = self.outputs.iter().enumerate().filter(|(_, queue)| queue.retired && queue.pending() == 0);
        free.map(|(index, _)| index).chain(self.outputs.len()..).take(count).collect()
    }

    /// Goes on with other outputs. What the old ones have not delivered goes to the one of the same name; an
    /// output that is gone delivers what it has. `targets` come with the places that [`places`](Self::places)
    /// gave, and so do the routes.
    pub fn replace(&mut self, routes: Routes, targets: Vec<(usize, Target)>, metrics: Arc<Metrics>) {
        metrics.go_on(&self.metrics);
        self.metrics = metrics;
        let before = std::mem::replace(&mut self.routes, routes);
        self.outputs.iter_mut().for_each(|queue| queue.retired = true);
        for (place, target) in targets {
            let queue = Queue::new(target);
            if place < self.outputs.len() {
                self.outputs[place] = queue;
            } else {
                self.outputs.push(queue);
            }
        }
        for old in 0..self.outputs.len() {
            if let Some(new) = self.successor(old) {
                let (due, waiting) = (
                    std::mem::take(&mut self.outputs[old].due),
                    std::mem::take(&mut self.outputs[old].waiting),
                );
                // What is still with its lanes is settled in the name of the new one.
                let metrics = Arc::clone(&self.outputs[new].target.metrics);
                self.outputs[old].target.metrics = metrics;
                self.outputs[new].due.extend(due);
                self.outputs[new].waiting.extend(waiting);
            }
            self.outputs[old].end_if_done();
        }
        let mut routes = std::mem::replace(&mut self.routes, Routes::new(Vec::new()));
        routes.inherit(&before, |old| self.successor(old));
        self.routes = routes;
    }

    /// Takes settled records off what is held; a chunk of which nothing is due any more is gone.
    fn settled(&mut self, output: usize, batch: &Batch, dropped: Option<(Reason, Arc<str>)>) {
        self.outputs[output].target.metrics.held.sub(batch.records());
        for part in &batch.parts {
            let (chunk, records) = part.place();
            let Some(held) = self.held.get_mut(&chunk) else { continue };
            held.unsettled -= records.len();
            if let Some((reason, why)) = &dropped
                && held.slip.is_some()
            {
                held.drops.push((records, *reason, Arc::clone(why)));
            }
            if held.unsettled == 0
                && let Some(Held { slip: Some(slip), drops, .. }) = self.held.remove(&chunk)
            {
                slip.settled(drops);
            }
        }
    }

    /// Memory is full: outputs that would rather drop than wait drop their oldest records, until what waits for
    /// each of them is half of its part of `room`.
    pub fn shed(&mut self, room: usize) {
        let most = room / self.outputs.len().max(1) / 2;
        for output in 0..self.outputs.len() {
            let queue = &mut self.outputs[output];
            if queue.target.when_full == WhenFull::Block {
                continue;
            }
            let (mut gone, mut held) = (Vec::new(), queue.waiting_bytes());
            while held > most
                && let Some(batch) = queue.oldest()
            {
                held -= batch.bytes().min(held);
                gone.push(batch);
            }
            let records: usize = gone.iter().map(Batch::records).sum();
            if records == 0 {
                continue;
            }
            let metrics = &queue.target.metrics;
            metrics.dropped_records.add(records);
            metrics.dropped.add(Reason::Evicted, records);
            tracing::warn!(
                "[output:{}] memory is full: its {records} oldest records are dropped (when_full)",
                metrics.name
            );
            for batch in &gone {
                self.settled(output, batch, Some((Reason::Evicted, "memory was full".into())));
            }
        }
    }

    /// From now on the agent stops: waits become short.
    pub fn hasten(&mut self, now: Instant) {
        self.stopping = true;
        for (at, _) in self.outputs.iter_mut().flat_map(|queue| &mut queue.waiting) {
            *at = (*at).min(now + Duration::from_secs(1));
        }
    }

    /// Records that are not settled, over all outputs: those in flight included.
    pub fn pending(&self) -> usize {
        self.outputs.iter().map(Queue::pending).sum()
    }
}

impl Queue {
    fn new(target: Target) -> Queue {
        let (due, waiting) = (VecDeque::new(), Vec::new());
        Queue { target, due, waiting, running: 0, next_lane: 0, retired: false }
    }

    fn pending(&self) -> usize {
        self.due.len() + self.waiting.len() + self.running
    }

    /// A retired output with nothing left to do lets go of its lanes, which ends them.
    fn end_if_done(&mut self) {
        if self.retired && self.pending() == 0 {
            self.target.lanes.clear();
        }
    }

    /// Bytes of records that are with no lane.
    fn waiting_bytes(&self) -> usize {
        let again = self.waiting.iter().map(|(_, batch)| batch.bytes());
        self.due.iter().map(Part::bytes).chain(again).sum()
    }

    /// Takes away what came first of what is with no lane: batches that were tried before those that were not.
    fn oldest(&mut self) -> Option<Batch> {
        let first = self.waiting.iter().enumerate().min_by_key(|(_, (_, batch))| batch.id);
        match first {
            Some((index, _)) => Some(self.waiting.remove(index).1),
            None => self.due.pop_front().map(|part| Batch::new(0, vec![part])),
        }
    }

    /// A batch that waited long enough, or a new one of the chunks in their order.
    fn next_batch(&mut self, now: Instant, next_id: &mut u128) -> Option<Batch> {
        let ready = self.waiting.iter().enumerate().filter(|(_, (at, _))| *at <= now);
        if let Some((index, _)) = ready.min_by_key(|(_, (at, batch))| (*at, batch.id)) {
            return Some(self.waiting.remove(index).1);
        }
        let drive = self.target.drive;
        let mut parts: Vec<Part> = Vec::new();
        let mut bytes = 0;
        while let Some(part) = self.due.front() {
            let fits = bytes + part.bytes() <= drive.batch_bytes && parts.len() < drive.batch_chunks;
            if !parts.is_empty() && !fits {
                break;
            }
            bytes += part.bytes();
            parts.extend(self.due.pop_front());
        }
        if parts.is_empty() {
            return None;
        }
        *next_id += 1;
        Some(Batch::new(*next_id, parts))
    }

    /// Gives a batch to the next lane. When all of them have ended, at a bug that the log tells of, the batch
    /// waits: it is counted as pending and its memory stays charged.
    fn hand_over(&mut self, batch: Batch) -> bool {
        let lanes = self.target.lanes.len();
        let mut batch = Arc::new(batch);
        for offset in 0..lanes {
            let lane = (self.next_lane + offset) % lanes;
            match self.target.lanes[lane].try_send(batch) {
                Ok(()) => {
                    self.next_lane = lane + 1;
                    self.running += 1;
                    return true;
                }
                Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back)) => {
                    batch = back
                }
            }
        }
        let wait = Instant::now() + Duration::from_secs(1);
        self.waiting.push((wait, Arc::unwrap_or_clone(batch)));
        false
    }
}

/// Flushes the batches of one output lane until the engine closes `jobs`.
pub(crate) async fn serve(
    output: Arc<dyn Output>,
    processing: Option<Processing>,
    index: usize,
    mut jobs: mpsc::Receiver<Arc<Batch>>,
    answers: mpsc::Sender<Answer>,
) {
    let lane: Rc<dyn OutputLane> = output.lane().into();
    let processing = processing.map(Rc::new);
    while let Some(batch) = jobs.recv().await {
        let (lane, processing, answers) = (Rc::clone(&lane), processing.clone(), answers.clone());
        tokio::task::spawn_local(async move {
            let outcome = flush(lane, processing, Arc::clone(&batch)).await;
            // The engine listens until every batch is settled, or has stopped for good.
            let _gone = answers.send(Answer { output: index, batch, outcome }).await;
        });
    }
}

/// One flush, on a task of its own so that a bug in an output costs one try and not the lane.
async fn flush(lane: Rc<dyn OutputLane>, processing: Option<Rc<Processing>>, batch: Arc<Batch>) -> Outcome {
    let mut task = tokio::task::spawn_local(async move {
        match processing {
            None => lane.flush(&batch).await,
            // Processors are for records.
            Some(_) if batch.parts.iter().any(|part| part.signal() != Signal::Logs) => {
                lane.flush(&batch).await
            }
            Some(processing) => match processing.apply(&batch).await {
                Ok(Some(batch)) => lane.flush(&batch).await,
                Ok(None) => Outcome::Done,
                Err(_) => Outcome::Split { why: "its processors have no memory for so much".to_owned() },
            },
        }
    });
    let again = |why: &str| Outcome::Retry { after: None, why: why.to_owned() };
    match tokio::time::timeout(FLUSH_LONGEST, &mut task).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => again("the output stopped at a bug (see the message above)"),
        Err(_) => {
            task.abort();
            again("the flush took longer than 15 minutes")
        }
    }
}
