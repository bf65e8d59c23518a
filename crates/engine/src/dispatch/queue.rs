//! What one output has to deliver, and in which batches.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Target;
use crate::batch::{Batch, Part};
use crate::held::{Held, Lifted, Piece, pieces_of};
use crate::limits::LOAD_BYTES;
use crate::muffled::Muffled;

pub(super) struct Queue {
    pub(super) target: Target,
    /// Never tried, or made room for.
    pub(super) due: VecDeque<Piece>,
    /// Batches that stay as they are until they are settled.
    pub(super) waiting: Vec<Waiting>,
    pub(super) running: usize,
    pub(super) next_lane: usize,
    /// A reload has put another output in its place, or none: it takes no new records.
    pub(super) retired: bool,
    /// Bytes on the disk that it has to deliver.
    pub(super) stored: u64,
    pub(super) evicted: Muffled,
}

/// A batch that is tried again.
pub(super) struct Waiting {
    pub(super) at: Instant,
    pub(super) id: u128,
    pub(super) pieces: Vec<Piece>,
}

impl Queue {
    pub(super) fn new(target: Target) -> Queue {
        Queue {
            target,
            due: VecDeque::new(),
            waiting: Vec::new(),
            running: 0,
            next_lane: 0,
            retired: false,
            stored: 0,
            evicted: Muffled::default(),
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.due.len() + self.waiting.len() + self.running
    }

    /// A retired output with nothing left to do lets go of its lanes, which ends them.
    pub(super) fn end_if_done(&mut self) {
        if self.retired && self.pending() == 0 {
            self.target.lanes.clear();
        }
    }

    /// Bytes of records in memory that are with no lane.
    pub(super) fn waiting_bytes(&self) -> usize {
        let again = self.waiting.iter().flat_map(|waiting| &waiting.pieces);
        self.due.iter().chain(again).filter(|piece| !piece.stored).map(|piece| piece.bytes).sum()
    }

    /// Takes away what came first of that: batches that were tried before those that were not.
    pub(super) fn oldest(&mut self) -> Option<Vec<Piece>> {
        let in_memory = |waiting: &Waiting| waiting.pieces.iter().all(|piece| !piece.stored);
        let waiting = self.waiting.iter().enumerate().filter(|(_, waiting)| in_memory(waiting));
        if let Some((index, _)) = waiting.min_by_key(|(_, waiting)| waiting.id) {
            return Some(self.waiting.remove(index).pieces);
        }
        let first = self.due.iter().position(|piece| !piece.stored)?;
        self.due.remove(first).map(|piece| vec![piece])
    }

    /// Whether it takes the next chunk at once.
    pub(super) fn is_idle(&self) -> bool {
        self.due.is_empty() && self.running < self.target.drive.concurrency.max(1)
    }

    /// A batch that waited long enough, or a new one of the chunks in their order. What is on the disk is asked for,
    /// and comes another time.
    pub(super) fn next_batch(&mut self, now: Instant, next_id: &mut u128, held: &mut Held) -> Option<Batch> {
        let mut ready: Vec<usize> =
            (0..self.waiting.len()).filter(|at| self.waiting[*at].at <= now).collect();
        ready.sort_unstable_by_key(|at| (self.waiting[*at].at, self.waiting[*at].id));
        for at in ready {
            if let Lifted::Up(parts) = held.lift(&self.waiting[at].pieces) {
                let Waiting { id, pieces, .. } = self.waiting.swap_remove(at);
                return Some(batch(id, parts, &pieces));
            }
        }
        let pieces = self.next_pieces(held);
        if pieces.is_empty() {
            return None;
        }
        match held.lift(&pieces) {
            Lifted::Up(parts) => {
                self.due.drain(..pieces.len());
                *next_id += 1;
                Some(batch(*next_id, parts, &pieces))
            }
            Lifted::Later => None,
        }
    }

    /// The first pieces that make a batch: all in memory, or all that are read together.
    pub(super) fn next_pieces(&self, held: &Held) -> Vec<Piece> {
        let drive = self.target.drive;
        let up = self.due.front().is_some_and(|piece| held.is_up(piece));
        let most = if up { drive.batch_bytes } else { drive.batch_bytes.min(LOAD_BYTES / 2) };
        let mut bytes = 0;
        let fits = |piece: &&Piece| {
            let first = bytes == 0;
            bytes += piece.bytes;
            first || bytes <= most && (!up || held.is_up(piece))
        };
        self.due.iter().take(drive.batch_chunks.max(1)).take_while(fits).cloned().collect()
    }

    /// Gives a batch to the next lane. When all of them have ended, at a bug that the log tells of, the batch
    /// waits: it is counted as pending and its memory stays charged.
    pub(super) fn hand_over(&mut self, batch: Batch) -> bool {
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
        let (id, at) = (batch.id, Instant::now() + Duration::from_secs(1));
        let pieces = pieces_of(&batch, |_| false);
        self.waiting.push(Waiting { at, id, pieces });
        false
    }
}

/// Pieces as a batch.
fn batch(id: u128, parts: Vec<Part>, pieces: &[Piece]) -> Batch {
    let most = |of: fn(&Piece) -> u32| pieces.iter().map(of).max().unwrap_or(0);
    Batch { attempt: most(|piece| piece.attempt), held: most(|piece| piece.held), ..Batch::new(id, parts) }
}
