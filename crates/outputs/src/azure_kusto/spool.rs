//! Buffering: batches are compressed into a file, and a file that is large or old enough becomes a blob.
//!
//! A batch is settled when its bytes, and the journal's word that they count, are on disk. All batches of a file go
//! through one compressor, so that the blob is one gzip member and compresses as well as a large one does. Behind
//! each batch the stream is brought to a whole byte, where a crash may cut it (see `journal`).
//!
//! What is held: the compressor, the block that text passes through, and one page. While a file is uploaded, one
//! block of the blob (`ship`).

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex as Lock, MutexGuard, PoisonError};
use std::time::Duration;

use budget::{Account, Buf, Full, Lease, Share};
use engine::lane::Stopper;
use engine::{Batch, Outcome, Setup};
use formats::gzip::Encoder;
use options::Reader;
use tokio::sync::{Mutex, Notify};
use tokio::time::Instant;

use super::counts::Counts;
use super::folder::{Claim, Writing};
use super::journal::{self, Mark, Name};
use super::lines::Lines;
use super::options::BufferOptions;
use crate::payload::{PATIENCE, unwritten};
use crate::rows::{self, Failed, Rows};

/// Bytes of text after which others on the thread get their turn.
const TURN: usize = 128 << 10;

/// How long a batch that is being written may take to end with the agent.
const LAST_WRITE: Duration = Duration::from_millis(200);

/// Bytes that a line has beside the record's own, roughly: by that a batch's size is foreseen.
const LINE: usize = 64;

/// The files of an instance.
pub(super) struct Spool {
    folder: PathBuf,
    pub(super) options: BufferOptions,
    suffix: &'static str,
    gzip: Option<u32>,
    account: Account,
    counts: Arc<Counts>,
    /// Held while a batch is written.
    active: Mutex<Option<Active>>,
    /// A file was closed.
    pub(super) closed: Notify,
    generation: u64,
    /// From the start to the end.
    claim: Lock<Option<Arc<Claim>>>,
    /// No more batches come.
    pub(super) ending: Stopper,
}

/// The file that is written.
struct Active {
    name: Name,
    data: File,
    journal: File,
    gzip: Option<Encoder>,
    _held: Lease,
    _writing: Writing,
    /// Everything written, durable or not.
    written: Mark,
    durable: Mark,
    since: Instant,
}

/// Why a batch was not written.
enum Unwritten {
    Disk(io::Error),
    Batch(Failed),
}

impl From<io::Error> for Unwritten {
    fn from(error: io::Error) -> Unwritten {
        Unwritten::Disk(error)
    }
}

impl From<Failed> for Unwritten {
    fn from(failed: Failed) -> Unwritten {
        Unwritten::Batch(failed)
    }
}

impl From<Full> for Unwritten {
    fn from(full: Full) -> Unwritten {
        Unwritten::Batch(full.into())
    }
}

impl Spool {
    /// Sets the memory aside. The folder is opened by [`Spool::start`].
    pub(super) fn open(
        options: &BufferOptions,
        lines: &Lines,
        counts: Arc<Counts>,
        setup: &Setup,
        reader: &mut Reader<'_>,
    ) -> Option<Spool> {
        let state = if lines.gzip().is_some() { Encoder::HELD } else { 0 };
        let share = Share::fixed(rows::BLOCK + state + setup.budget.page_size());
        Some(Spool {
            folder: Path::new(&options.buffer_dir).join(&options.azure_kusto_buffer_key),
            options: options.clone(),
            suffix: lines.suffix(),
            gzip: lines.gzip(),
            account: setup.account("buffer", share, reader)?,
            counts,
            active: Mutex::default(),
            closed: Notify::new(),
            generation: setup.budget.generation(),
            claim: Lock::default(),
            ending: Stopper::default(),
        })
    }

    /// Claims the folder, and finishes what is in it.
    pub(super) fn start(&self) -> Result<(), String> {
        let claim = Claim::new(&self.folder, self.generation)?;
        let first = claim.try_turn();
        *self.lock() = Some(Arc::new(claim));
        if !first {
            // What is there is its predecessor's until that has ended.
            return Ok(());
        }
        let folder = self.folder.display();
        let found =
            journal::recover(&self.folder).map_err(|error| format!("buffer_dir: {folder}: {error}"))?;
        self.count(&found);
        if !found.is_empty() {
            tracing::info!("{folder}: {} buffer files of an earlier run are uploaded", found.len());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Claim>>> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn claim(&self) -> io::Result<Arc<Claim>> {
        self.lock().clone().ok_or_else(|| io::Error::other("the folder is not ours any more"))
    }

    fn count(&self, files: &[Name]) -> u64 {
        let bytes = files.iter().map(Name::bytes).sum();
        self.counts.buffered.store(bytes, Ordering::Relaxed);
        bytes
    }

    /// Waits until the files may be uploaded: until an output before a reload has ended.
    pub(super) async fn turn(&self) -> io::Result<()> {
        self.claim()?.turn().await;
        self.count(&journal::list(&self.folder)?);
        Ok(())
    }

    /// Whether another output is going to upload what is here.
    pub(super) fn has_successor(&self) -> bool {
        self.lock().as_ref().is_some_and(|claim| claim.has_successor())
    }

    /// No more batches come: the file that is written is closed.
    pub(super) async fn finish(&self) {
        // Somebody may be writing still when the time of a stop is over.
        if let Ok(mut active) = tokio::time::timeout(LAST_WRITE, self.active.lock()).await {
            self.close(&mut active);
        }
        self.ending.say();
    }

    /// Lets go of the folder, and says what stays there.
    pub(super) fn leave(&self, name: &str) {
        let Some(claim) = self.lock().take() else { return };
        if claim.has_successor() {
            return;
        }
        let files = journal::list(&self.folder).unwrap_or_default();
        if let Some(first) = files.first() {
            let (bytes, file) = (self.count(&files), first.data());
            let (file, more) = (file.display(), files.len() - 1);
            tracing::warn!(
                "[output:{name}] the next start uploads {file} and {more} more buffer files, {bytes} bytes in all"
            );
        }
    }

    /// Writes a batch. It is done when it is on disk.
    pub(super) async fn append(&self, lines: &Lines, batch: &Batch) -> Outcome {
        let used = self.counts.buffered.load(Ordering::Relaxed);
        if used >= self.options.store_dir_limit_size.0 {
            let why = format!("the buffer files hold {used} bytes (store_dir_limit_size)");
            self.closed.notify_one();
            return Outcome::Retry { after: None, why };
        }
        let mut active = self.active.lock().await;
        let foreseen = (batch.bytes() + batch.records() * LINE) as u64;
        if active
            .as_ref()
            .is_some_and(|active| active.written.raw + foreseen > self.options.upload_file_size.0)
        {
            self.close(&mut active);
        }
        let written = match self.write(&mut active, lines, batch).await {
            Ok(()) => Outcome::Done,
            Err(failed) => {
                // What the compressor has taken in cannot be taken back, so the file ends where it is durable.
                self.close(&mut active);
                match failed {
                    Unwritten::Batch(failed) => unwritten(failed, batch),
                    Unwritten::Disk(error) => {
                        let why = format!("the buffer file {}: {error}", self.folder.display());
                        Outcome::Retry { after: None, why }
                    }
                }
            }
        };
        if active.as_ref().is_some_and(|active| active.written.raw >= self.options.upload_file_size.0) {
            self.close(&mut active);
        }
        written
    }

    async fn write(&self, slot: &mut Option<Active>, lines: &Lines, batch: &Batch) -> Result<(), Unwritten> {
        let active = match slot {
            Some(active) => active,
            None => {
                let opened = self.begin(batch.id).await?;
                // The upload waits for its age.
                self.closed.notify_one();
                slot.insert(opened)
            }
        };
        let mut rows = Rows::new(lines, &batch.parts, lines.escapes());
        let mut out = Buf::new(&self.account);
        let mut turn = 0;
        while let Some(text) = rows.text().map_err(Failed::from)? {
            let taken = text.len();
            active.take(text, &mut out)?;
            rows.take(taken);
            turn += taken;
            if turn >= TURN {
                turn = 0;
                tokio::task::yield_now().await;
            }
        }
        active.written.records += batch.records() as u64;
        let added = active.commit(&mut out)?;
        self.counts.buffered.fetch_add(added, Ordering::Relaxed);
        Ok(())
    }

    async fn begin(&self, id: u128) -> Result<Active, Unwritten> {
        let state = if self.gzip.is_some() { Encoder::HELD } else { 0 };
        // Right after a reload it may still be held by the file before.
        let held = tokio::time::timeout(PATIENCE, self.account.lease(rows::BLOCK + state));
        let held = held.await.map_err(|_elapsed| Full)??;
        let writing = self.claim()?.write(id);
        let name = Name::new(&self.folder, id, self.suffix);
        Ok(Active {
            data: File::options().write(true).create_new(true).open(name.data())?,
            journal: File::options().append(true).create(true).open(name.journal())?,
            gzip: self.gzip.map(Encoder::new),
            _held: held,
            _writing: writing,
            written: Mark::default(),
            durable: Mark::default(),
            since: Instant::now(),
            name,
        })
    }

    /// Ends the file that is written, where it is durable.
    fn close(&self, slot: &mut Option<Active>) {
        let Some(active) = slot.take() else { return };
        let Active { name, durable, .. } = active;
        let ended = if durable.raw == 0 { name.delete() } else { journal::finish(&name, durable) };
        if let Err(error) = ended {
            // It is tried again before the file is uploaded.
            tracing::warn!("{}: {error}", name.data().display());
        }
        self.closed.notify_one();
    }

    /// Closes the file that is written when its time has come; says how long it has left otherwise.
    pub(super) async fn close_when_old(&self) -> Option<Duration> {
        let mut active = self.active.lock().await;
        let age = active.as_ref()?.since.elapsed();
        match self.options.upload_timeout.0.checked_sub(age) {
            Some(left) if !left.is_zero() => Some(left),
            _ => {
                self.close(&mut active);
                None
            }
        }
    }

    /// The oldest file that is not written any more, and for which `skipped` does not hold.
    pub(super) fn oldest(&self, skipped: impl Fn(u128) -> bool) -> io::Result<Option<Name>> {
        let (claim, names) = (self.claim()?, journal::list(&self.folder)?);
        Ok(names.into_iter().find(|name| !claim.is_written(name.id) && !skipped(name.id)))
    }

    /// Deletes a file that is done with.
    pub(super) fn remove(&self, name: &Name) -> io::Result<()> {
        let bytes = name.bytes();
        name.delete()?;
        self.forget(bytes);
        Ok(())
    }

    /// Empties a file whose journal is still needed.
    pub(super) fn empty(&self, name: &Name) -> io::Result<()> {
        let data = File::options().write(true).open(name.data())?;
        let bytes = data.metadata()?.len();
        data.set_len(0)?;
        self.forget(bytes);
        Ok(())
    }

    fn forget(&self, bytes: u64) {
        let subtract = |used: u64| Some(used.saturating_sub(bytes));
        // It is never refused.
        let _old = self.counts.buffered.fetch_update(Ordering::Relaxed, Ordering::Relaxed, subtract);
    }
}

impl Active {
    /// Compresses text into the page, and the page into the file whenever it is full.
    fn take(&mut self, mut text: &[u8], out: &mut Buf) -> Result<(), Unwritten> {
        self.written.raw += text.len() as u64;
        while !text.is_empty() {
            let taken = match &mut self.gzip {
                Some(encoder) => encoder.write(&mut text, out),
                None => copy(&mut text, out),
            };
            if taken.is_err() {
                self.drain(out)?;
            }
        }
        Ok(())
    }

    /// Writes the page to the file.
    fn drain(&mut self, out: &mut Buf) -> Result<(), Unwritten> {
        if out.is_empty() {
            // There was no page to begin with.
            return Err(Full.into());
        }
        for page in out.pages() {
            self.data.write_all(page)?;
            self.written.bytes += page.len() as u64;
        }
        *out = Buf::new(&out.account().clone());
        Ok(())
    }

    /// Makes everything written durable. Returns by how many bytes the file has grown.
    fn commit(&mut self, out: &mut Buf) -> Result<u64, Unwritten> {
        if let Some(mut encoder) = self.gzip.take() {
            while encoder.flush(out).is_err() {
                self.drain(out)?;
            }
            self.gzip = Some(encoder);
        }
        if !out.is_empty() {
            self.drain(out)?;
        }
        self.written.sum = self.gzip.as_ref().map_or(0, Encoder::sum);
        self.data.sync_data()?;
        journal::say(&mut self.journal, &self.written.durable())?;
        let added = self.written.bytes - self.durable.bytes;
        self.durable = self.written;
        Ok(added)
    }
}

/// Copies what fits into the page.
fn copy(text: &mut &[u8], out: &mut Buf) -> Result<(), Full> {
    if out.room() == 0 {
        out.grow()?;
    }
    let (now, later) = text.split_at(out.room().min(text.len()));
    out.write(now)?;
    *text = later;
    Ok(())
}

#[cfg(test)]
mod tests;
