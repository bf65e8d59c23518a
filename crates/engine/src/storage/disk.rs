//! The open chunks of all inputs with `storage.type filesystem`, each a file that grows with every append.
//!
//! All of it happens on one thread, in groups: what came meanwhile is written together, and with `storage.sync full`
//! one sync of the journal serves the whole group. A chunk has its records in memory too, so that it need not be
//! read again, unless memory is short.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use budget::Buf;
use event::{Chunk, Events, Tag};

use super::files::Files;
use super::format::{self, Sum};
use super::journal::Journal;
use super::{Busy, Full, Layout};
use crate::emit::{Receipts, Refused};
use crate::limits::{CHUNK_BYTES, OPEN_STORED};
use crate::metrics::Reason;
use crate::receipt::Slip;
use crate::store::{ChunkIds, Sealed};

/// A chunk's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Folder and name, below `storage.path`.
    pub(crate) file: Arc<str>,
    /// Where the records start.
    pub(crate) at: u64,
    /// Bytes of records.
    pub(crate) bytes: u64,
}

/// Records of one tag on their way to the disk.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The input, or emitter of a filter, that they came in by.
    pub(crate) input: usize,
    pub(crate) tag: Tag,
    pub(crate) events: Events,
}

/// A file that grows.
struct Open {
    id: u64,
    input: usize,
    tag: Tag,
    file: Arc<str>,
    path: PathBuf,
    /// Where the records start.
    at: u64,
    /// Bytes of the file that count.
    size: u64,
    records: usize,
    sum: Option<Sum>,
    /// The records, unless memory was short.
    events: Option<Buf>,
    slip: Option<Slip>,
    created: Instant,
}

type Key = (usize, Tag);

/// See the module.
pub(crate) struct Disk {
    files: Arc<dyn Files>,
    layout: Layout,
    open: HashMap<Key, Open>,
    /// Full, on their way to the core.
    sealed: Vec<Sealed>,
    journal: Option<Journal>,
    ids: ChunkIds,
    busy: Busy,
    full: Full,
    /// The time in the last name, in nanoseconds: names are in the order of their creation.
    last_name: u128,
}

impl Disk {
    pub(crate) fn new(files: Arc<dyn Files>, layout: Layout, ids: ChunkIds, busy: Busy, full: Full) -> Disk {
        let journal = layout.full_sync.then(|| Journal::new(Arc::clone(&files), &layout.root));
        Disk {
            files,
            layout,
            open: HashMap::new(),
            sealed: Vec::new(),
            journal,
            ids,
            busy,
            full,
            last_name: 0,
        }
    }

    /// Stores the records of one append, all or none. They are as safe as promised only after [`Disk::sync`].
    pub(crate) fn append(&mut self, entries: Vec<Entry>, receipts: &mut Receipts) -> Result<(), Refused> {
        let mut written: Vec<(Key, u64, Option<Sum>)> = Vec::with_capacity(entries.len());
        for entry in &entries {
            let key = (entry.input, entry.tag.clone());
            let before = self.open.get(&key).map(|open| (open.size, open.sum));
            if let Err(error) = self.write(&key, &entry.events.buf) {
                // A new file that could not even be begun has nothing to take back.
                let begun = before.or_else(|| self.open.get(&key).map(|open| (open.at, open.sum)));
                written.extend(begun.map(|(size, sum)| (key, size, sum)));
                self.take_back(written);
                return Err(Refused::NotStored(self.layout.explain(&error)));
            }
            let start = before.unwrap_or_else(|| self.fresh_start(&key));
            written.push((key, start.0, start.1));
        }
        for Entry { input, tag, events } in entries {
            self.keep((input, tag), events, receipts);
        }
        Ok(())
    }

    fn fresh_start(&self, key: &Key) -> (u64, Option<Sum>) {
        let sum = self.layout.checksum.then(|| format::start_sum(&format::start(&key.1)));
        (self.open.get(key).map_or(0, |open| open.at), sum)
    }

    /// Writes records behind those that are in the file, which is made if there is none.
    fn write(&mut self, key: &Key, buf: &Buf) -> io::Result<()> {
        if !self.open.contains_key(key) {
            if self.open.len() >= OPEN_STORED
                && let Some(oldest) = self.open.values().min_by_key(|open| open.id)
            {
                let oldest = (oldest.input, oldest.tag.clone());
                self.seal(&oldest);
            }
            let open = self.begin(key)?;
            self.open.insert(key.clone(), open);
        }
        let pieces: Vec<&[u8]> = buf.pages().collect();
        let Some(open) = self.open.get_mut(key) else { return Err(io::ErrorKind::NotFound.into()) };
        match self.files.write(&open.path, false, open.size, &pieces) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.revive(key)?;
                let Some(open) = self.open.get_mut(key) else { return Err(error) };
                self.files.write(&open.path, false, open.size, &pieces)?;
            }
            written => written?,
        }
        let Some(open) = self.open.get_mut(key) else { return Err(io::ErrorKind::NotFound.into()) };
        if let Some(journal) = &mut self.journal {
            journal.note(&open.file, open.size, &pieces)?;
        }
        open.size += buf.len() as u64;
        if let Some(sum) = &mut open.sum {
            pieces.iter().for_each(|piece| sum.add(piece));
        }
        Ok(())
    }

    fn begin(&mut self, key: &Key) -> io::Result<Open> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        self.last_name = now.max(self.last_name + 1);
        let (seconds, rest) = (self.last_name / 1_000_000_000, self.last_name % 1_000_000_000);
        let folder = self.layout.folders.of(key.0);
        let file: Arc<str> = format!("{folder}/{}-{seconds}.{rest:09}.flb", std::process::id()).into();
        let path = self.layout.root.join(&*file);
        let start = format::start(&key.1);
        self.busy.add(&file);
        let begun = match self.files.write(&path, true, 0, &[&start]) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = path.parent().map_or(Ok(()), |folder| self.files.make_folder(folder));
                made.and_then(|()| self.files.write(&path, true, 0, &[&start]))
            }
            begun => begun,
        };
        let noted = begun.and_then(|()| match &mut self.journal {
            Some(journal) => journal.note(&file, 0, &[&start]),
            None => Ok(()),
        });
        if let Err(error) = noted {
            self.busy.remove(&file);
            drop(self.files.remove(&path));
            return Err(error);
        }
        let sum = self.layout.checksum.then(|| format::start_sum(&start));
        let at = start.len() as u64;
        let (id, created) = (self.ids.next(), Instant::now());
        let tag = key.1.clone();
        Ok(Open {
            id,
            input: key.0,
            tag,
            file,
            path,
            at,
            size: at,
            records: 0,
            sum,
            events: None,
            slip: None,
            created,
        })
    }

    /// A file that somebody deleted is written again from memory.
    fn revive(&mut self, key: &Key) -> io::Result<()> {
        let Some(open) = self.open.get(key) else { return Ok(()) };
        if open.records > 0 && open.events.is_none() {
            tracing::error!(
                "[storage] {} was deleted while it was written: {} records are lost",
                open.path.display(),
                open.records
            );
            self.layout.lost.add(Reason::Unreadable, open.records);
            self.busy.remove(&open.file);
            self.open.remove(key);
            let fresh = self.begin(key)?;
            self.open.insert(key.clone(), fresh);
            return Ok(());
        }
        tracing::warn!("[storage] {} was deleted: it is written again", open.path.display());
        if let Some(folder) = open.path.parent() {
            self.files.make_folder(folder)?;
        }
        let start = format::start(&key.1);
        let pages = open.events.iter().flat_map(Buf::pages);
        let pieces: Vec<&[u8]> = std::iter::once(start.as_slice()).chain(pages).collect();
        self.files.write(&open.path, true, 0, &pieces)
    }

    /// Takes records into the memory of their chunk, which has them on the disk already.
    fn keep(&mut self, key: Key, events: Events, receipts: &mut Receipts) {
        let full = self.full.now();
        let Some(open) = self.open.get_mut(&key) else { return };
        let before = open.records;
        open.records += events.records;
        if let Some(receipts) = receipts {
            receipts.push(open.slip.get_or_insert_default().part(before..open.records));
        }
        open.events = match open.events.take() {
            _ if full => None,
            None if before > 0 => None,
            None => Some(events.buf),
            Some(mut buf) if events.buf.len() <= buf.room() => {
                // The room was looked at, so this needs no page and cannot fail.
                events.buf.pages().all(|page| buf.write(page).is_ok()).then_some(buf)
            }
            Some(mut buf) => buf.append(events.buf).is_ok().then_some(buf),
        };
        if (open.size - open.at) as usize >= CHUNK_BYTES {
            self.seal(&key);
        }
    }

    /// Undoes the writes of an append that failed.
    fn take_back(&mut self, written: Vec<(Key, u64, Option<Sum>)>) {
        for (key, size, sum) in written.into_iter().rev() {
            let Some(open) = self.open.get_mut(&key) else { continue };
            (open.size, open.sum) = (size, sum);
            if open.records == 0 {
                self.busy.remove(&open.file);
                drop(self.files.remove(&open.path));
                self.open.remove(&key);
            } else if self.files.truncate(&open.path, size).is_err() {
                // What is behind its records is no part of it; nothing more is written there.
                self.seal(&key);
            }
        }
    }

    /// Makes what was appended as safe as `storage.sync` says.
    pub(crate) fn sync(&mut self) -> Result<(), Refused> {
        match self.journal.as_mut().map_or(Ok(()), Journal::sync) {
            Ok(()) => {
                self.open.values().filter_map(|open| open.slip.as_ref()).for_each(Slip::stored);
                self.sealed.iter().filter_map(|sealed| sealed.slip.as_ref()).for_each(Slip::stored);
                Ok(())
            }
            Err(error) => Err(Refused::NotStored(self.layout.explain(&error))),
        }
    }

    /// Seals everything.
    pub(crate) fn flush(&mut self) {
        let mut keys: Vec<(u64, Key)> =
            self.open.values().map(|open| (open.id, (open.input, open.tag.clone()))).collect();
        keys.sort_unstable_by_key(|(id, _)| *id);
        keys.iter().for_each(|(_, key)| self.seal(key));
    }

    fn seal(&mut self, key: &Key) {
        let Some(open) = self.open.remove(key) else { return };
        let Open { id, input, tag, file, path, at, size, records, sum, events, slip, created } = open;
        if let Err(error) = self.files.write(&path, false, 0, &[&format::finish(sum, size - at)]) {
            // Whoever reads it goes by its size.
            tracing::warn!("[storage] {}: {error}: the file is left without its length", path.display());
        }
        let stored = Stored { file, at, bytes: size - at };
        let here = events.is_some();
        let events = events.unwrap_or_else(|| Buf::new(&self.layout.account));
        let chunk = Chunk { id, tag, input, events: Events { buf: events, records }, created };
        self.sealed.push(Sealed { chunk, slip, stored: Some(stored), here });
    }

    /// What was sealed since the last call.
    pub(crate) fn take_sealed(&mut self) -> Vec<Sealed> {
        std::mem::take(&mut self.sealed)
    }

    /// Deletes the file of a settled chunk.
    pub(crate) fn gone(&mut self, file: &str) {
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.gone(file)
        {
            tracing::warn!("[storage] {file}: {error}: after a crash it may be delivered again");
        }
        self.delete(&self.layout.root.join(file));
        self.busy.remove(file);
    }

    fn delete(&self, path: &Path) {
        match self.files.remove(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::error!(
                    "[storage] {} was delivered and cannot be deleted ({error}): it is delivered again after a restart",
                    path.display()
                );
            }
        }
    }

    /// Keeps records that were dropped, as a file of their own.
    pub(crate) fn reject(&mut self, name: &str, tag: &Tag, pieces: &[&[u8]]) -> io::Result<()> {
        let folder = self.layout.root.join(&*self.layout.rejected);
        let path = folder.join(name);
        let start = format::start(tag);
        let mut sum = format::start_sum(&start);
        pieces.iter().for_each(|piece| sum.add(piece));
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut whole = vec![start.as_slice()];
        whole.extend(pieces);
        self.files.make_folder(&folder)?;
        self.files.write(&path, true, 0, &whole)?;
        let sum = self.layout.checksum.then_some(sum);
        self.files.write(&path, false, 0, &[&format::finish(sum, bytes as u64)])?;
        if self.layout.full_sync { self.files.sync_all(&folder) } else { Ok(()) }
    }

    /// A clean stop: files are whole, and the journal is there no more.
    pub(crate) fn close(mut self) {
        self.flush();
        if let Some(journal) = self.journal.take()
            && let Err(error) = journal.close()
        {
            tracing::error!("[storage] the journal stays for the next start: {error}");
        }
    }
}
