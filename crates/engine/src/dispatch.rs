//! From sealed chunks to flushes: per output a queue, batches, and the ones that wait for another try.

mod queue;
mod serve;

use std::sync::Arc;
use std::time::Duration;

use event::{Chunk, Signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use queue::{Queue, Waiting};
pub(crate) use serve::serve;

use crate::batch::Batch;
use crate::common::WhenFull;
use crate::held::{Held, Piece, pieces_of};
use crate::limits::{DISK_PATIENCE, LOAD_BYTES, LOOK_BYTES, LOOK_FILES};
use crate::metrics::{Metrics, OutputMetrics, Reason};
use crate::muffled::Muffled;
use crate::pass::Origin;
use crate::plugin::{Drive, Outcome};
use crate::receipt::Slip;
use crate::retry::{Draw, Next, Schedule, settle};
use crate::route::Routes;
use crate::storage::{self, Ask, Found, Storage, Stored, Told, Unloaded};
use crate::store::{ChunkIds, Sealed};

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
    /// The most bytes on the disk that it may have to deliver.
    pub limit: Option<u64>,
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
    held: Held,
    settings: Settings,
    metrics: Arc<Metrics>,
    draw: Draw,
    next_id: u128,
    stopping: bool,
    /// The output that is served first: it changes, so that none waits for the same others each time.
    first: usize,
    /// There may be more on the disk than is known.
    more_on_disk: bool,
    looking: bool,
    unrouted: Muffled,
}

/// What dispatch does with records that cannot be delivered, and with those on the disk.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Keep dropped records as files.
    pub(crate) keep_rejected: bool,
    /// At most so many bytes of them; what is there already counts.
    pub(crate) rejected_limit: Option<u64>,
    pub(crate) rejected: u64,
    /// Deliver what is on the disk only even while the agent stops.
    pub(crate) flush_on_shutdown: bool,
    /// Inputs whose oldest records make room for new ones, and the bytes that they may hold.
    pub(crate) rings: Vec<(Origin, usize)>,
}

impl Dispatch {
    /// Without outputs yet. `seed` makes batch ids unique over restarts and spreads retries.
    pub(crate) fn new(metrics: Arc<Metrics>, seed: u64) -> Dispatch {
        let held = Held::new(Arc::clone(&metrics.storage));
        Dispatch {
            routes: Routes::new(Vec::new()),
            outputs: Vec::new(),
            held,
            settings: Settings::default(),
            metrics,
            draw: Draw::new(seed),
            next_id: u128::from(seed) << 64,
            stopping: false,
            first: 0,
            more_on_disk: false,
            looking: false,
            unrouted: Muffled::default(),
        }
    }

    /// The storage is open: what is there is delivered from now on.
    pub(crate) fn adopt(&mut self, storage: Storage) {
        self.held.adopt(storage);
        self.more_on_disk = true;
    }

    /// Whose chunks are found on the disk.
    pub(crate) fn add_folders(&self, folders: Vec<(usize, String)>) {
        if let Some(storage) = self.held.storage() {
            storage.folders.add(folders);
        }
    }

    /// Goes on with these settings; what was kept so far still counts.
    pub(crate) fn set(&mut self, settings: Settings, max_up: usize) {
        let rejected = self.settings.rejected.max(settings.rejected);
        self.settings = Settings { rejected, ..settings };
        self.held.max_up = max_up;
    }

    /// Queues a sealed chunk for every output that takes its tag.
    pub fn route(&mut self, sealed: Sealed) {
        let Sealed { chunk, slip, stored, here } = sealed;
        let signal = chunk.events.signal();
        let takes = |output: &usize| self.outputs[*output].target.signals.contains(&signal);
        let outputs: Vec<usize> =
            self.routes.from(chunk.input, &chunk.tag).iter().copied().filter(takes).collect();
        let (id, input, records) = (chunk.id, chunk.input, chunk.events.records);
        if outputs.is_empty() {
            return self.unrouted(chunk, slip, stored);
        }
        let unwatched = slip.as_ref().is_none_or(Slip::is_unwatched);
        if let Some(stored) = &stored
            && unwatched
            && self.held.is_crowded()
        {
            // It is found again when its turn comes.
            self.held.storage().iter().for_each(|storage| storage.busy.remove(&stored.file));
            self.more_on_disk = true;
            return;
        }
        let is_stored = stored.is_some();
        self.held.take(chunk, here, stored, slip, outputs.len());
        let busy = outputs.iter().any(|output| !self.outputs[*output].is_idle());
        if is_stored && busy && self.held.is_full() {
            self.held.put_down(id);
        }
        self.queue(&outputs, id, records);
        self.make_room(input);
    }

    fn queue(&mut self, outputs: &[usize], id: u64, records: usize) {
        let Some(piece) = self.held.whole(id) else { return };
        for output in outputs {
            let queue = &mut self.outputs[*output];
            queue.target.metrics.routed.add(records);
            queue.target.metrics.held.add(records);
            if piece.stored {
                queue.stored += piece.bytes as u64;
            }
            queue.due.push_back(piece.clone());
            self.evict(*output);
        }
    }

    fn unrouted(&mut self, chunk: Chunk, slip: Option<Slip>, stored: Option<Stored>) {
        let records = chunk.events.records;
        self.metrics.unrouted_records.add(records);
        if let Some(count) = self.unrouted.say(records) {
            tracing::warn!(
                "[router] no output takes the tag \"{}\": {count} records are dropped and counted",
                chunk.tag
            );
        }
        if let Some(slip) = slip {
            slip.settled(vec![(0..records, Reason::Unrouted, "no output takes their tag".into())]);
        }
        if let Some(Stored { file, .. }) = stored {
            self.held.delete(file);
        }
    }

    /// Drops the oldest records that an output has on the disk, for as long as they are too many.
    fn evict(&mut self, output: usize) {
        while let queue = &mut self.outputs[output]
            && queue.target.limit.is_some_and(|limit| queue.stored > limit)
            && let Some(at) = queue.due.iter().position(|piece| piece.stored)
            && let Some(piece) = queue.due.remove(at)
        {
            let name = &queue.target.metrics.name;
            if let Some(count) = queue.evicted.say(piece.records.len()) {
                tracing::error!(
                    "[output:{name}] storage.total_limit_size is reached: {count} of the oldest records are dropped"
                );
            }
            self.drop_pieces(output, vec![piece], Reason::Evicted, "they made room for newer records");
        }
    }

    /// Drops the oldest chunks of a ring input that holds more than it may.
    fn make_room(&mut self, input: usize) {
        let Some((origin, limit)) = self.settings.rings.iter().find(|(ring, _)| ring.input == input) else {
            return;
        };
        let (Origin { account, metrics, .. }, limit) = (origin.clone(), *limit);
        while account.held() > limit
            && let Some(oldest) = self.held.oldest_of(input)
        {
            metrics.ring_dropped_chunks.add(1);
            let before = account.held();
            self.drop_chunk(oldest, Reason::Evicted, "they made room for newer records");
            if account.held() == before {
                break; // it is being delivered
            }
        }
    }

    /// Drops what is not being delivered of a chunk, with every output.
    fn drop_chunk(&mut self, id: u64, reason: Reason, why: &str) {
        for output in 0..self.outputs.len() {
            let queue = &mut self.outputs[output];
            let mut gone: Vec<Piece> = queue.due.iter().filter(|piece| piece.chunk == id).cloned().collect();
            queue.due.retain(|piece| piece.chunk != id);
            for waiting in &mut queue.waiting {
                gone.extend(waiting.pieces.iter().filter(|piece| piece.chunk == id).cloned());
                waiting.pieces.retain(|piece| piece.chunk != id);
            }
            queue.waiting.retain(|waiting| !waiting.pieces.is_empty());
            self.drop_pieces(output, gone, reason, why);
        }
    }

    fn drop_pieces(&mut self, output: usize, pieces: Vec<Piece>, reason: Reason, why: &str) {
        let records: usize = pieces.iter().map(|piece| piece.records.len()).sum();
        let metrics = &self.outputs[output].target.metrics;
        metrics.dropped_records.add(records);
        metrics.dropped.add(reason, records);
        self.settled(output, &pieces, Some(&(reason, why.into())));
    }

    /// Hands over what is due, as far as outputs take it.
    pub fn due(&mut self, now: Instant) {
        let outputs = self.outputs.len();
        for turn in 0..outputs {
            let queue = &mut self.outputs[(self.first + turn) % outputs];
            while queue.running < queue.target.drive.concurrency.max(1) {
                let Some(batch) = queue.next_batch(now, &mut self.next_id, &mut self.held) else { break };
                if !queue.hand_over(batch) {
                    break;
                }
            }
        }
        self.first = (self.first + 1) % outputs.max(1);
        self.look();
    }

    /// Looks for more on the disk, when there is some and not too much is known.
    fn look(&mut self) {
        let wanted = self.more_on_disk && !self.looking && self.held.has_room();
        if !wanted || self.stopping && !self.settings.flush_on_shutdown {
            return;
        }
        if let Some(storage) = self.held.storage() {
            self.looking = storage.ask(Ask::Look(LOOK_FILES, LOOK_BYTES));
        }
    }

    /// What the reading thread says.
    pub(crate) fn told(&mut self, told: Told, ids: &ChunkIds) {
        match told {
            Told::Look(look) => {
                self.looking = false;
                self.more_on_disk = look.more;
                for found in look.found {
                    self.found(found, ids);
                }
            }
            Told::Loaded { id, events: Ok(events) } => self.held.loaded(id, events),
            Told::Loaded { events: Err(Unloaded::NoRoom), .. } => self.held.not_loaded(false),
            Told::Loaded { id, events: Err(Unloaded::Io(error)) } => {
                tracing::error!("[storage] a chunk cannot be read ({error}): its records are dropped");
                self.held.not_loaded(true);
                self.drop_chunk(id, Reason::Unreadable, "they cannot be read from the disk any more");
            }
        }
    }

    /// Records of an earlier run, or that there was no room to know of.
    fn found(&mut self, found: Found, ids: &ChunkIds) {
        let Found { tag, records, stored } = found;
        let folder = stored.file.split('/').next().unwrap_or_default();
        let known = self.held.storage().and_then(|storage| storage.folders.number_of(folder));
        let input = known.unwrap_or(usize::MAX);
        let takes = |output: &usize| self.outputs[*output].target.signals.contains(&Signal::Logs);
        let outputs: Vec<usize> = self.routes.from(input, &tag).iter().copied().filter(takes).collect();
        if outputs.is_empty() {
            if let Some(count) = self.unrouted.say(records) {
                tracing::warn!(
                    "[storage] no output takes the tag \"{tag}\": {count} records stay on the disk"
                );
            }
            return;
        }
        let id = ids.next();
        self.metrics.storage.found_records.add(records);
        self.held.take_found(id, tag, input, records, stored, outputs.len());
        self.queue(&outputs, id, records);
    }

    /// Ten times a second: what had no room then may have now.
    pub(crate) fn tick(&mut self) {
        self.held.pump();
        self.held.load_next();
    }

    /// When the next waiting batch is due.
    pub fn next_due(&self) -> Option<Instant> {
        let free = self.outputs.iter().filter(|queue| queue.running < queue.target.drive.concurrency.max(1));
        let now = Instant::now();
        // What is due and not handed over waits for the disk, which tells.
        free.flat_map(|queue| queue.waiting.iter().map(|waiting| waiting.at)).filter(|at| *at > now).min()
    }

    /// Acts on the answer of a lane.
    pub fn settle(&mut self, answer: Answer, now: Instant) {
        let Answer { output, batch, outcome } = answer;
        let queue = &mut self.outputs[output];
        queue.running -= 1;
        let batch = Arc::unwrap_or_clone(batch);
        let draw = self.draw.number();
        let held = &self.held;
        let pieces = |batch: &Batch| pieces_of(batch, |chunk| held.is_stored(chunk));
        match settle(batch, outcome, &queue.target.metrics, queue.target.plan, draw, self.stopping) {
            Next::Delivered(batch) => {
                let pieces = pieces(&batch);
                self.settled(output, &pieces, None);
            }
            Next::Dropped(batch, reason, why) => {
                let pieces = pieces(&batch);
                self.keep(output, &batch, reason);
                self.settled(output, &pieces, Some(&(reason, why)));
            }
            Next::Again(batch, wait) => {
                let (id, pieces) = (batch.id, pieces(&batch));
                drop(batch);
                self.again(output, id, pieces, now + wait);
            }
            Next::Halves(left, right) => {
                let halves = [left, right].map(|parts| pieces(&Batch::new(0, parts)));
                for pieces in halves {
                    self.next_id += 1;
                    let id = self.next_id;
                    self.again(output, id, pieces, now);
                }
            }
        }
        self.outputs[output].end_if_done();
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
                let stored = std::mem::take(&mut self.outputs[old].stored);
                let queue = &mut self.outputs[new];
                queue.due.extend(due);
                queue.waiting.extend(waiting);
                queue.stored += stored;
            }
            self.outputs[old].end_if_done();
        }
        let mut routes = std::mem::replace(&mut self.routes, Routes::new(Vec::new()));
        routes.inherit(&before, |old| self.successor(old));
        self.routes = routes;
    }

    /// Puts a batch aside until its time: with the output that has taken the place of a retired one. When memory is
    /// short it goes to the disk, in parts that fit what is set aside for reading.
    fn again(&mut self, output: usize, id: u128, pieces: Vec<Piece>, at: Instant) {
        let home = self.successor(output).unwrap_or(output);
        if home != output {
            let bytes: u64 = pieces.iter().filter(|piece| piece.stored).map(|piece| piece.bytes as u64).sum();
            self.outputs[output].stored = self.outputs[output].stored.saturating_sub(bytes);
            self.outputs[home].stored += bytes;
        }
        let queue = &mut self.outputs[home];
        if !self.held.is_full() || !pieces.iter().all(|piece| piece.stored) {
            queue.waiting.push(Waiting { at, id, pieces });
            return;
        }
        pieces.iter().for_each(|piece| self.held.put_down(piece.chunk));
        let mut part = Vec::new();
        let mut bytes = 0;
        let mut id = id;
        for piece in pieces {
            if bytes + piece.bytes > LOAD_BYTES / 2 && !part.is_empty() {
                queue.waiting.push(Waiting { at, id, pieces: std::mem::take(&mut part) });
                self.next_id += 1;
                (id, bytes) = (self.next_id, 0);
            }
            bytes += piece.bytes;
            part.push(piece);
        }
        queue.waiting.push(Waiting { at, id, pieces: part });
    }

    /// Keeps dropped records as files, as far as they may take room.
    fn keep(&mut self, output: usize, batch: &Batch, reason: Reason) {
        let Settings { keep_rejected, rejected_limit, rejected, .. } = &mut self.settings;
        if !*keep_rejected {
            return;
        }
        let name = &self.outputs[output].target.metrics.name;
        for part in &batch.parts {
            let after = *rejected + part.bytes() as u64;
            if rejected_limit.is_some_and(|limit| after > limit) {
                let records = part.records();
                tracing::error!(
                    "[output:{name}] storage.rejected.limit is reached: {records} rejected records are not kept"
                );
                continue;
            }
            *rejected = after;
            self.next_id += 1;
            let status = if reason == Reason::RetryLimit { 503 } else { 400 };
            let file = storage::rejected_name(part.tag(), status, name, self.next_id as u64);
            self.metrics.storage.kept_records.add(part.records());
            self.held.keep(file, part.clone());
        }
    }

    /// Takes settled records off what is held.
    fn settled(&mut self, output: usize, pieces: &[Piece], dropped: Option<&(Reason, Arc<str>)>) {
        let queue = &mut self.outputs[output];
        for piece in pieces {
            queue.target.metrics.held.sub(piece.records.len());
            if piece.stored {
                queue.stored = queue.stored.saturating_sub(piece.bytes as u64);
            }
            self.held.settled(piece, dropped);
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
                && let Some(pieces) = queue.oldest()
            {
                held = held.saturating_sub(pieces.iter().map(|piece| piece.bytes).sum());
                gone.extend(pieces);
            }
            let records: usize = gone.iter().map(|piece| piece.records.len()).sum();
            if records == 0 {
                continue;
            }
            tracing::warn!(
                "[output:{}] memory is full: its {records} oldest records are dropped (when_full)",
                queue.target.metrics.name
            );
            self.drop_pieces(output, gone, Reason::Evicted, "memory was full");
        }
    }

    /// From now on the agent stops: waits become short.
    pub fn hasten(&mut self, now: Instant) {
        self.stopping = true;
        for waiting in self.outputs.iter_mut().flat_map(|queue| &mut queue.waiting) {
            waiting.at = waiting.at.min(now + Duration::from_secs(1));
        }
    }

    /// Batches and chunks that a stop waits for: all but those that are on the disk only.
    pub fn pending(&self) -> usize {
        let wanted = |piece: &Piece| self.settings.flush_on_shutdown || self.held.is_up(piece);
        let of = |queue: &Queue| {
            let due = queue.due.iter().filter(|piece| wanted(piece)).count();
            let waiting = queue.waiting.iter().filter(|waiting| waiting.pieces.iter().any(wanted)).count();
            due + waiting + queue.running
        };
        self.outputs.iter().map(of).sum()
    }

    /// No more batches: the lanes end when they have done what they have left to do.
    pub(crate) fn end_lanes(&mut self) {
        self.outputs.iter_mut().for_each(|queue| queue.target.lanes.clear());
    }

    /// The end: waits for the disk. Returns the chunks that are lost, and those that the next start delivers.
    pub(crate) async fn close(self) -> (usize, usize) {
        let left = self.held.left();
        self.held.close(DISK_PATIENCE).await;
        left
    }
}
