//! Messages about something that happens again and again.

use std::time::Instant;

use crate::limits::SAY_EVERY;

/// A message that comes at most once per [`SAY_EVERY`], with the sum of what it would have said meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Muffled {
    last: Option<Instant>,
    since: usize,
}

impl Muffled {
    /// Counts, and says how many there were since it was said last; `None` when that is not long ago.
    pub(crate) fn say(&mut self, records: usize) -> Option<usize> {
        self.since += records;
        if self.last.is_some_and(|last| last.elapsed() < SAY_EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        Some(std::mem::take(&mut self.since))
    }
}
