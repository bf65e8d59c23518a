//! One file that is followed.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

use budget::{Account, Lease, Share};
use engine::Emitter;
use event::{EventTime, Tag};
use formats::multiline::Multiline;
use options::Size;

use super::Tail;
use super::db::Marker;
use super::gzip::Gzip;
use super::join::{Done, Join};
use super::lines::{Lines, Step};
use super::offsets::{Key, before};
use crate::records::{Records, Value};

/// Files are read by this much, where lines are not longer.
const READ_BYTES: usize = 128 << 10;
/// How long a file waits whose records were refused.
const RETRY: Duration = Duration::from_secs(1);

/// What files are read into: one for all of them, as what is left of a line stays in its file.
pub(super) struct Buffer {
    bytes: Vec<u8>,
    lease: Lease,
    account: Account,
    most: usize,
}

impl Buffer {
    /// What is set aside for it, and the most it may take.
    pub(super) fn share(chunk: &Size, max: &Size) -> Share {
        let guaranteed = READ_BYTES.max(chunk.0 as usize);
        Share { guaranteed, max: guaranteed.max(max.0 as usize + 1) }
    }

    pub(super) fn new(account: &Account, chunk: Size, max: Size) -> Option<Buffer> {
        let size = READ_BYTES.max(chunk.0 as usize);
        let lease = account.try_lease(size).ok()?;
        let most = size.max(max.0 as usize + 1);
        Some(Buffer { bytes: vec![0; size], lease, account: account.clone(), most })
    }

    /// Doubles it, for a line that is longer. False when it is as large as it may be.
    async fn grow(&mut self) -> bool {
        let size = (2 * self.bytes.len()).min(self.most);
        if size <= self.bytes.len() {
            return false;
        }
        // The old one goes first, so that never both are there: what it held is read again.
        let smallest = self.bytes.len();
        self.bytes = Vec::new();
        self.lease.shrink_to(0);
        let (size, lease) = match self.account.lease(size).await {
            Ok(lease) => (size, lease),
            Err(_) => match self.account.lease(smallest).await {
                Ok(lease) => (smallest, lease),
                Err(_) => return false,
            },
        };
        (self.bytes, self.lease) = (vec![0; size], lease);
        size > smallest
    }

    /// What is read into.
    pub(super) fn bytes(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Goes back to its usual size.
    fn rest(&mut self) {
        let usual = self.account.share().guaranteed;
        if self.bytes.len() > usual {
            self.bytes.truncate(usual);
            self.bytes.shrink_to_fit();
            self.lease.shrink_to(usual);
        }
    }
}

/// What came of a turn of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// There is more.
    More,
    /// It is read to its end, or must wait.
    End,
}

/// A file.
pub(super) struct TailFile {
    pub(super) key: Key,
    pub(super) file: Arc<File>,
    /// Device and inode.
    pub(super) inode: (u64, u64),
    /// The name it has now.
    pub(super) name: String,
    /// The name it was found under.
    found_as: String,
    tag: Tag,
    /// Everything before was taken.
    pub(super) offset: u64,
    pub(super) size: u64,
    /// What stood before the offset.
    marker: Option<Marker>,
    /// It may have something to read.
    pub(super) dirty: bool,
    /// Not to be read before.
    pub(super) not_before: Option<Instant>,
    /// When it lost its name.
    pub(super) rotated: Option<Instant>,
    pub(super) watch: Option<i32>,
    /// The rest of a line that was too long comes next.
    skipping: bool,
    /// Its end is final: what has no line end is a line.
    pub(super) final_end: bool,
    /// It has been read to its end before.
    caught_up: bool,
    /// A line was too long: it is left alone.
    stopped: bool,
    /// Lines that were too long were said.
    said: bool,
    gzip: Option<Gzip>,
    /// Joins lines, if that is wanted.
    join: Option<Box<Join>>,
    /// Where the first line stands that waits for others.
    held_from: Option<u64>,
    /// When what waits goes out as far as it came.
    pub(super) flush_at: Option<Instant>,
    _lease: Lease,
}

impl TailFile {
    pub(super) fn open(
        key: Key,
        path: &str,
        found_as: &str,
        tail: &Tail,
        out: &Emitter,
        lease: Lease,
    ) -> io::Result<TailFile> {
        let file = File::open(path)?;
        let state = file.metadata()?;
        let gzip = path.to_ascii_lowercase().ends_with(".gz").then(|| Gzip::new(out));
        Ok(TailFile {
            key,
            file: Arc::new(file),
            inode: (state.dev(), state.ino()),
            name: path.to_owned(),
            found_as: found_as.to_owned(),
            tag: tail.tag_of(found_as, out),
            offset: 0,
            size: state.len(),
            marker: None,
            dirty: true,
            not_before: None,
            rotated: None,
            watch: None,
            skipping: false,
            final_end: false,
            caught_up: false,
            stopped: false,
            said: false,
            gzip,
            join: tail.how.as_ref().map(|how| Box::new(how.begin(found_as, out.account()))),
            held_from: None,
            flush_at: None,
            _lease: lease,
        })
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.gzip.is_some()
    }

    /// Its offset was set.
    pub(super) fn begin(&mut self) {
        self.marker = before(&self.file, self.offset, Marker::BYTES);
    }

    /// Whether the file is still the one of its name.
    pub(super) fn has_its_name(&self) -> bool {
        std::fs::metadata(&self.name).is_ok_and(|found| (found.dev(), found.ino()) == self.inode)
    }

    /// The name the system has for it.
    pub(super) fn name_now(&self) -> String {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd()));
        link.map_or_else(|_| self.name.clone(), |path| path.to_string_lossy().into_owned())
    }

    pub(super) fn is_due(&self) -> bool {
        self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// Nothing will be added any more. False when a line without an end is left to be taken.
    pub(super) fn finish(&mut self) -> bool {
        let left =
            self.held_from.is_some() || self.file.metadata().is_ok_and(|state| state.len() > self.offset);
        if left && !self.final_end && !self.stopped {
            (self.final_end, self.dirty) = (true, true);
            return false;
        }
        true
    }

    /// Reads for one turn.
    pub(super) async fn read(&mut self, tail: &Tail, out: &Emitter, buffer: &mut Buffer) -> Turn {
        self.not_before = None;
        self.look_for_truncation(tail, out).await;
        if let Some(mut gzip) = self.gzip.take() {
            let turn = self.read_compressed(&mut gzip, tail, buffer).await;
            self.gzip = Some(gzip);
            return turn;
        }
        let options = &tail.options;
        let batch = if self.caught_up { options.event_batch_size } else { options.static_batch_size };
        let limit = self.offset.saturating_add(batch.0);
        let mut records = Records::new(out);
        while !self.stopped {
            if self.offset >= limit {
                return Turn::More;
            }
            let read = match self.file.read_at(&mut buffer.bytes, self.offset) {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!("[input:{}] {} cannot be read: {error}", tail.name, self.name);
                    self.not_before = Some(Instant::now() + RETRY);
                    return Turn::End;
                }
            };
            let text = &buffer.bytes[..read];
            let taken = self.lines(text, self.offset, tail, &mut records).await;
            if taken == 0 {
                if read == buffer.bytes.len() && buffer.grow().await {
                    continue;
                }
                break;
            }
            let end = self.offset + taken as u64;
            if !self.hand_over(end, &mut records, tail).await {
                return Turn::End;
            }
            let last = &text[taken.saturating_sub(Marker::BYTES)..taken];
            self.marker = if taken >= Marker::BYTES {
                Marker::of(last)
            } else {
                before(&self.file, end, Marker::BYTES)
            };
            self.offset = end;
            if read < buffer.bytes.len() && !self.final_end {
                break;
            }
        }
        buffer.rest();
        if self.flush_is_due() || self.final_end {
            self.flush(&mut records, tail).await;
            if !self.hand_over(self.offset, &mut records, tail).await {
                return Turn::End;
            }
        }
        if tail.options.file_cache_advise {
            // SAFETY: the descriptor is open; this only advises.
            unsafe { libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        }
        self.at_end()
    }

    /// There is nothing more to read for now.
    pub(super) fn at_end(&mut self) -> Turn {
        (self.dirty, self.caught_up) = (false, true);
        Turn::End
    }

    /// It is not read any more.
    pub(super) fn leave_alone(&mut self) -> Turn {
        self.stopped = true;
        self.at_end()
    }

    /// Adds the records of the lines in `text`. `text` stands at `from`. Answers how many bytes are done with.
    pub(super) async fn lines(
        &mut self,
        text: &[u8],
        from: u64,
        tail: &Tail,
        records: &mut Records,
    ) -> usize {
        let now = EventTime::now();
        let mut lines = Lines::new(text, self.skipping, tail.rules);
        loop {
            match lines.step() {
                Step::Line { text, at } => {
                    let at = from + at as u64;
                    match self.join {
                        Some(_) => self.join(text, at, now, tail, records).await,
                        None => self.line(text, at, now, tail, records).await,
                    }
                }
                Step::Skipped => self.say_long(tail, "skipped"),
                Step::TooLong => {
                    self.say_long(tail, "too long: the file is left alone from there on; set skip_long_lines, truncate_long_lines or a larger buffer_max_size");
                    self.stopped = true;
                    break;
                }
                Step::Rest => break,
            }
        }
        self.skipping = lines.skipping;
        let rest = &text[lines.at..];
        if self.final_end && !rest.is_empty() && !self.stopped {
            let at = from + lines.at as u64;
            match self.join {
                Some(_) => self.join(rest, at, now, tail, records).await,
                None => self.line(rest, at, now, tail, records).await,
            }
            return text.len();
        }
        lines.at
    }

    pub(super) fn flush_is_due(&self) -> bool {
        self.flush_at.is_some_and(|at| Instant::now() >= at)
    }

    /// Joins a line with those around it. What waits then stays in the file as far as the offset is concerned.
    async fn join(&mut self, text: &[u8], at: u64, now: EventTime, tail: &Tail, records: &mut Records) {
        let Some(mut join) = self.join.take() else { return };
        let mut joined = Vec::new();
        let mut waited = false;
        while join.line(now, text, &mut joined).is_err() {
            self.write(&mut joined, at, tail, records).await;
            if waited {
                // It does not fit memory with what waits: that goes first, and the line alone.
                join.flush(&mut joined);
                self.write(&mut joined, at, tail, records).await;
            }
            let room = records.out().account().lease(Multiline::needs(text.len())).await;
            if room.is_err() || waited {
                self.line(text, at, now, tail, records).await;
                break;
            }
            waited = true;
        }
        let complete = !joined.is_empty();
        self.write(&mut joined, at, tail, records).await;
        if !join.is_waiting() {
            (self.held_from, self.flush_at) = (None, None);
        } else {
            if complete || self.held_from.is_none() {
                self.held_from = Some(at);
            }
            self.flush_at = tail.how.as_ref().map(|how| Instant::now() + how.flush_timeout(&tail.options));
        }
        self.join = Some(join);
    }

    /// What waits goes out as far as it came.
    async fn flush(&mut self, records: &mut Records, tail: &Tail) {
        let mut joined = Vec::new();
        if let Some(join) = &mut self.join {
            join.flush(&mut joined);
        }
        self.write(&mut joined, self.offset, tail, records).await;
        (self.held_from, self.flush_at) = (None, None);
    }

    /// Adds what is complete. A line that is alone stands where the first one that waited does, or `at`.
    async fn write(&self, done: &mut Vec<Done>, at: u64, tail: &Tail, records: &mut Records) {
        let options = &tail.options;
        let path = options.path_key.as_deref().map(|key| (key, Value::Str(self.found_as.as_bytes())));
        let offset = options.offset_key.as_deref();
        let offset = offset.zip(self.held_from).map(|(key, at)| (key, Value::U64(at)));
        let more: Vec<(&str, Value<'_>)> = path.into_iter().chain(offset).collect();
        for done in done.drain(..) {
            let (joined, more) = match done {
                Done::Joined(joined) => (joined, more.as_slice()),
                Done::Record(joined) => (joined, &[][..]),
                Done::Line(text) => {
                    let at = self.held_from.unwrap_or(at);
                    self.line(text.bytes(), at, EventTime::now(), tail, records).await;
                    continue;
                }
            };
            if joined.truncated {
                tracing::warn!(
                    "[input:{}] a record of {} is cut: it is as long as it may be",
                    tail.name,
                    self.name
                );
            }
            records.add_joined(joined, more).await;
        }
    }

    /// Adds the record of a line. Keys of the plugin stand before a whole line and behind what a parser made, as
    /// Fluent Bit writes them.
    async fn line(&self, text: &[u8], at: u64, now: EventTime, tail: &Tail, records: &mut Records) {
        let options = &tail.options;
        let path = options.path_key.as_deref().map(|key| (key, Value::Str(self.found_as.as_bytes())));
        let offset = options.offset_key.as_deref().map(|key| (key, Value::U64(at)));
        let line = (options.key.as_str(), Value::Str(text));
        let all = match (path, offset) {
            (None, None) => &[line][..],
            (Some(one), None) | (None, Some(one)) => &[one, line],
            (Some(path), Some(offset)) => &[path, offset, line],
        };
        let (_, more) = all.split_last().unwrap_or((&line, &[]));
        if !tail.parser.add_parsed(records, now, text, more).await {
            records.add(now, all).await;
        }
    }

    fn say_long(&mut self, tail: &Tail, what: &str) {
        if !std::mem::replace(&mut self.said, true) {
            let most = tail.rules.longest;
            tracing::warn!(
                "[input:{}] a line of {} with more than {most} bytes is {what}",
                tail.name,
                self.name
            );
        }
    }

    /// Hands the records over that end at `end`. False when there was no room: they are read again later.
    pub(super) async fn hand_over(&mut self, end: u64, records: &mut Records, tail: &Tail) -> bool {
        // Lines that wait for others are read again after a restart.
        let end = self.held_from.map_or(end, |held| held.min(end));
        let events = records.take();
        if events.records == 0 {
            tail.offsets().passed(self.key, end);
            return true;
        }
        match records.out().append_tracked(&self.tag, events).await {
            Ok(receipt) => {
                tail.offsets().taken(self.key, end, receipt);
                true
            }
            Err(refused) => {
                tracing::debug!("[input:{}] {}: {refused}; tried again", tail.name, self.name);
                self.not_before = Some(Instant::now() + RETRY);
                false
            }
        }
    }

    /// A file that is shorter than what was read of it, or holds something else there, is read from its start.
    async fn look_for_truncation(&mut self, tail: &Tail, out: &Emitter) {
        let Ok(state) = self.file.metadata() else { return };
        self.size = state.len();
        let same =
            self.marker.is_none_or(|marker| before(&self.file, self.offset, marker.size) == Some(marker));
        if self.size >= self.offset && same {
            return;
        }
        tracing::info!(
            "[input:{}] inode={} {} was truncated: it is read from its start",
            tail.name,
            self.inode.1,
            self.name
        );
        let mut records = Records::new(out);
        self.flush(&mut records, tail).await;
        self.hand_over(self.offset, &mut records, tail).await;
        (self.offset, self.marker) = (0, None);
        (self.skipping, self.stopped, self.final_end) = (false, false, false);
        if let Some(gzip) = &mut self.gzip {
            gzip.restart();
        }
        tail.offsets().restart(self.key);
    }
}
