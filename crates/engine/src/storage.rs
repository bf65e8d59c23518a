//! Records on the filesystem, in Fluent Bit's chunk files: `STORAGE.PATH/INPUT/PID-SECONDS.NANOSECONDS.flb`.
//!
//! ```text
//! lane      append ─────┐                        ┌──── sealed chunks ────▶ core
//! lane      append ─────┤ bounded queue          │
//! core      gone, keep ─┴─▶ storage:write ───────┘   files, journal, groups   [`disk`], [`journal`]
//! core      look, load ───▶ storage:read  ───────────────── found, loaded ──▶ core   [`reader`]
//! ```
//!
//! An append is answered when its records are as safe as `storage.sync` says: `normal` survives the end of the
//! process however it comes, `full` a power cut. A chunk's file is deleted when all its records are settled. What a
//! start finds is read a few files at a time, so the backlog may be larger than memory.
//!
//! No failure ends the process: what cannot be written is refused to the sender, what cannot be read is kept, and
//! both are said.

mod disk;
mod files;
mod format;
mod journal;
mod reader;
pub(crate) mod setup;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use budget::{Account, Budget, Pressure};
use event::{Events, Tag};
use tokio::sync::{mpsc, oneshot};

use crate::emit::{Receipts, Refused};
use crate::lane;
use crate::limits::{APPEND_GROUP, APPEND_QUEUE, DISK_QUEUE, KNOWN_FOLDERS};
use crate::metrics::Dropped;
use crate::receipt;
use crate::store::{ChunkIds, Sealed};

use disk::Disk;
pub(crate) use disk::{Entry, Stored};
use files::{Files, System};
use reader::Reader;
pub(crate) use reader::{Found, Look, Unloaded};

/// Where and how records are stored.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// `storage.path`.
    pub(crate) root: PathBuf,
    /// The folder of rejected records below it.
    pub(crate) rejected: Arc<str>,
    pub(crate) checksum: bool,
    pub(crate) full_sync: bool,
    pub(crate) delete_damaged: bool,
    pub(crate) folders: Folders,
    /// Pays for chunks that are read.
    pub(crate) account: Account,
    /// Records that were lost on the disk.
    pub(crate) lost: Arc<Dropped>,
}

impl Layout {
    fn explain(&self, error: &io::Error) -> Arc<str> {
        format!("{}: {error}", self.root.display()).into()
    }
}

/// The folders of inputs and emitters, by their number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folders(Arc<Mutex<BTreeMap<usize, Arc<str>>>>);

impl Folders {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<usize, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds those of a configuration, and forgets the oldest ones: their inputs have ended many reloads ago.
    pub(crate) fn add(&self, folders: Vec<(usize, String)>) {
        let mut known = self.lock();
        known.extend(folders.into_iter().map(|(number, name)| (number, name.replace('/', "_").into())));
        while known.len() > KNOWN_FOLDERS {
            known.pop_first();
        }
    }

    fn of(&self, input: usize) -> Arc<str> {
        self.lock().get(&input).cloned().unwrap_or_else(|| "unknown".into())
    }

    /// The newest input with this folder.
    pub(crate) fn number_of(&self, folder: &str) -> Option<usize> {
        self.lock().iter().rev().find(|(_, name)| &***name == folder).map(|(number, _)| *number)
    }
}

/// Files that somebody has in hand: open, or known to the core.
#[derive(Debug, Clone, Default)]
pub(crate) struct Busy(Arc<Mutex<HashSet<String>>>);

impl Busy {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, file: &str) {
        self.lock().insert(file.to_owned());
    }

    pub(crate) fn remove(&self, file: &str) {
        self.lock().remove(file);
    }

    pub(crate) fn has(&self, file: &str) -> bool {
        self.lock().contains(file)
    }
}

/// Tells whether memory is so short that what is on the disk should be there only.
#[derive(Clone)]
pub(crate) struct Full(pub(crate) Budget);

impl Full {
    pub(crate) fn now(&self) -> bool {
        self.0.pressure() >= Pressure::Flush
    }
}

/// An append on its way to the writing thread.
pub(crate) struct Append {
    entries: Vec<Entry>,
    track: bool,
    answer: oneshot::Sender<Answer>,
}

type Answer = Result<Vec<receipt::Part>, Refused>;

impl Append {
    /// An append, and where its answer comes. With `track` the answer has receipts.
    pub(crate) fn new(entries: Vec<Entry>, track: bool) -> (Append, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        (Append { entries, track, answer }, answered)
    }
}

/// What the core wants done by the writing thread.
pub(crate) enum Task {
    /// A chunk is settled.
    Gone(Arc<str>),
    /// Keep these records, which were dropped: name, and a part of a chunk.
    Keep(String, crate::batch::Part),
}

/// What the core wants done by the reading thread.
pub(crate) enum Ask {
    /// Find the next files: at most so many, and about so many bytes.
    Look(usize, u64),
    /// Read a chunk.
    Load { id: u64, stored: Stored, records: usize },
}

/// What the reading thread tells the core.
pub(crate) enum Told {
    Look(Look),
    Loaded { id: u64, events: Result<Events, Unloaded> },
}

/// The lanes' end.
#[derive(Clone)]
pub(crate) struct Writer(mpsc::Sender<Append>);

impl Writer {
    /// Waits for room to hand an append over.
    ///
    /// # Errors
    /// [`Refused`] when the writing thread has ended.
    pub(crate) async fn reserve(&self) -> Result<mpsc::Permit<'_, Append>, Refused> {
        self.0.reserve().await.map_err(|_| Refused::Stopping)
    }
}

/// The core's end.
pub(crate) struct Storage {
    tasks: mpsc::Sender<Task>,
    asks: mpsc::Sender<Ask>,
    closed: oneshot::Receiver<()>,
    pub(crate) busy: Busy,
    pub(crate) full: Full,
    pub(crate) folders: Folders,
}

/// Opens the storage: what the journal of a crashed run holds goes to its files.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub(crate) fn prepare(layout: &Layout) -> Result<(), String> {
    let root = layout.root.display();
    let explain = |error: io::Error| format!("storage.path {root}: {error}; make it writable or change it");
    System.make_folder(&layout.root).map_err(explain)?;
    match journal::replay(&System, &layout.root) {
        Ok(0) => Ok(()),
        Ok(entries) => {
            tracing::warn!("[storage] the last run did not stop: {entries} writes were done again");
            Ok(())
        }
        // What can be read of it was done; the rest was promised to nobody, or stays for the next start.
        Err(error) => {
            tracing::error!("[storage] {root}: the journal of the last run cannot be replayed: {error}");
            Ok(())
        }
    }
}

/// Starts the threads. Sealed chunks go to `sealed`.
///
/// # Errors
/// The system's, when a thread cannot be made.
pub(crate) fn start(
    layout: Layout,
    flush: Duration,
    sealed: mpsc::Sender<Sealed>,
    ids: ChunkIds,
    budget: &Budget,
) -> io::Result<(Writer, Storage, mpsc::Receiver<Told>)> {
    let (appends, appended) = mpsc::channel(APPEND_QUEUE);
    let (tasks, asked) = mpsc::channel(DISK_QUEUE);
    let (asks, questions) = mpsc::channel(DISK_QUEUE);
    let (tell, told) = mpsc::channel(DISK_QUEUE);
    let (close, closed) = oneshot::channel();
    let (busy, full) = (Busy::default(), Full(budget.clone()));
    let folders = layout.folders.clone();
    let files: Arc<dyn Files> = Arc::new(System);
    let mut disk = Disk::new(Arc::clone(&files), layout.clone(), ids, busy.clone(), full.clone());
    lane::spawn("storage:write".to_owned(), move || async move {
        write(&mut disk, appended, asked, sealed, flush).await;
        disk.close();
        let _nobody_waits = close.send(());
    })?;
    let reader = Reader::new(files, layout, busy.clone());
    lane::spawn("storage:read".to_owned(), move || read(reader, questions, tell))?;
    Ok((Writer(appends), Storage { tasks, asks, closed, busy, full, folders }, told))
}

/// The writing thread: until the lanes have ended, and the core.
async fn write(
    disk: &mut Disk,
    mut appended: mpsc::Receiver<Append>,
    mut asked: mpsc::Receiver<Task>,
    sealed: mpsc::Sender<Sealed>,
    flush: Duration,
) {
    let mut sealed = Some(sealed);
    let mut timer = tokio::time::interval(flush);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut accepting = true;
    loop {
        tokio::select! {
            append = appended.recv(), if accepting => match append {
                Some(first) => {
                    let group = std::iter::from_fn(|| appended.try_recv().ok()).take(APPEND_GROUP);
                    let group = std::iter::once(first).chain(group).collect();
                    store(disk, group);
                }
                None => {
                    accepting = false;
                    disk.flush();
                }
            },
            task = asked.recv() => match task {
                Some(task) => act(disk, task),
                None => return,
            },
            _ = timer.tick(), if accepting => disk.flush(),
        }
        for chunk in disk.take_sealed() {
            // The core ends before this thread only when the grace is over; the file is there.
            if let Some(sealed) = &sealed {
                let _ended = sealed.send(chunk).await;
            }
        }
        if !accepting {
            sealed = None;
        }
    }
}

/// Writes a group and answers it.
fn store(disk: &mut Disk, group: Vec<Append>) {
    let mut answers = Vec::with_capacity(group.len());
    for Append { entries, track, answer } in group {
        let mut receipts: Receipts = track.then(Vec::new);
        let stored = disk.append(entries, &mut receipts);
        answers.push((answer, stored.map(|()| receipts.unwrap_or_default())));
    }
    let synced = disk.sync();
    for (answer, stored) in answers {
        let stored = stored.and_then(|receipts| synced.clone().map(|()| receipts));
        let _gone_away = answer.send(stored);
    }
}

fn act(disk: &mut Disk, task: Task) {
    match task {
        Task::Gone(file) => disk.gone(&file),
        Task::Keep(name, part) => {
            let kept = part.cursor().map_err(io::Error::other).and_then(|mut cursor| {
                let mut pieces = Vec::new();
                let start = cursor.clone();
                for _ in 0..part.records() {
                    cursor.skip().map_err(io::Error::other)?;
                }
                let (mut from, mut left) = (start.clone(), cursor.offset() - start.offset());
                while left > 0 {
                    let piece = from.piece(left).map_err(io::Error::other)?;
                    left -= piece.len();
                    pieces.push(piece);
                }
                disk.reject(&name, part.tag(), &pieces)
            });
            match kept {
                Ok(()) => tracing::info!("[storage] {} rejected records are kept in {name}", part.records()),
                Err(error) => tracing::error!("[storage] {name}: rejected records cannot be kept: {error}"),
            }
        }
    }
}

/// The reading thread.
async fn read(mut reader: Reader, mut asks: mpsc::Receiver<Ask>, tell: mpsc::Sender<Told>) {
    while let Some(ask) = asks.recv().await {
        let told = match ask {
            Ask::Look(most, bytes) => Told::Look(reader.look(most, bytes)),
            Ask::Load { id, stored, records } => Told::Loaded { id, events: reader.load(&stored, records) },
        };
        if tell.send(told).await.is_err() {
            return;
        }
    }
}

impl Storage {
    /// Asks the reading thread; false when it has too much to do.
    pub(crate) fn ask(&self, ask: Ask) -> bool {
        self.asks.try_send(ask).is_ok()
    }

    /// Asks the writing thread; gives the task back when it has too much to do.
    pub(crate) fn task(&self, task: Task) -> Result<(), Task> {
        self.tasks.try_send(task).map_err(|error| match error {
            mpsc::error::TrySendError::Full(task) | mpsc::error::TrySendError::Closed(task) => task,
        })
    }

    /// Waits until all is written, at most so long.
    pub(crate) async fn close(self, left: Vec<Task>, patience: Duration) {
        let Storage { tasks, asks, closed, .. } = self;
        drop(asks);
        for task in left {
            let _ended = tasks.send(task).await;
        }
        drop(tasks);
        if tokio::time::timeout(patience, closed).await.is_err() {
            tracing::error!("[storage] the disk does not answer: the next start repairs what is unfinished");
        }
    }
}

/// The file that rejected records of a chunk are kept in: as Fluent Bit names them.
pub(crate) fn rejected_name(tag: &Tag, status: u16, output: &str, number: u64) -> String {
    let clean = |text: &str| -> String {
        let keep = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        text.chars().map(keep).take(64).collect()
    };
    format!("{}_{status}_{}_{:x}-{number:x}.flb", clean(tag.as_str()), clean(output), std::process::id())
}
