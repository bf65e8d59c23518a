//! What is on the disk already: found a few files at a time, checked record by record, and read when it is due.
//!
//! A folder may hold any number of files, so their names are never all in memory: each look takes the oldest ones
//! behind those of the last look. A damaged file gives its valid records; the rest is moved to where rejected
//! records are kept. Nothing that is found keeps the agent from starting.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use budget::{Buf, Full};
use event::{Events, Tag};

use super::disk::Stored;
use super::files::Files;
use super::format::{self, Broken, Head, Walk};
use super::{Busy, Layout};
use crate::limits::CHUNK_BYTES;

/// Read from a file at a time.
const PIECE: usize = 64 << 10;

/// The age of a file, by its name, and the name.
type Age = (u64, u64, String);

/// A run of whole records in a file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) tag: Tag,
    pub(crate) records: usize,
    pub(crate) stored: Stored,
}

/// What a look has found.
#[derive(Debug, Default)]
pub(crate) struct Look {
    pub(crate) found: Vec<Found>,
    /// There may be more.
    pub(crate) more: bool,
}

/// See the module.
pub(crate) struct Reader {
    files: Arc<dyn Files>,
    layout: Layout,
    busy: Busy,
    /// Everything up to here was looked at.
    after: Option<Age>,
}

impl Reader {
    pub(crate) fn new(files: Arc<dyn Files>, layout: Layout, busy: Busy) -> Reader {
        Reader { files, layout, busy, after: None }
    }

    /// The next files, the oldest first, at most so many, and not much more than so many bytes.
    pub(crate) fn look(&mut self, most: usize, bytes: u64) -> Look {
        let ages = self.oldest(most);
        let mut look = Look { found: Vec::new(), more: ages.len() == most };
        let mut damaged = 0;
        let mut size = 0;
        for age in ages {
            if size >= bytes {
                look.more = true;
                break;
            }
            let before = look.found.len();
            self.busy.add(&age.2);
            match self.check(&age.2, &mut look.found) {
                Ok(whole) => damaged += usize::from(!whole),
                Err(error) => {
                    tracing::error!("[storage] {}: {error}: it stays where it is", age.2);
                    look.found.truncate(before);
                }
            }
            let new = &look.found[before..];
            size += new.iter().map(|found| found.stored.bytes).sum::<u64>();
            if new.is_empty() {
                self.busy.remove(&age.2);
            }
            self.after = Some(age);
        }
        if damaged > 0 {
            tracing::warn!(
                "[storage] {damaged} files were damaged: their whole records are delivered, the rest is {}",
                if self.layout.delete_damaged { "deleted" } else { "kept beside the rejected records" }
            );
        }
        if !look.more {
            self.after = None;
        }
        look
    }

    /// The names of the oldest files that nobody has in hand.
    fn oldest(&self, most: usize) -> Vec<Age> {
        let mut oldest: BTreeMap<Age, ()> = BTreeMap::new();
        let mut folders = Vec::new();
        let list = self.files.list(&self.layout.root, &mut |name, folder| {
            if folder && !name.starts_with('.') && name != &*self.layout.rejected {
                folders.push(name.to_owned());
            }
        });
        if let Err(error) = list {
            tracing::error!("[storage] {}: {error}", self.layout.root.display());
        }
        for folder in folders {
            let listed = self.files.list(&self.layout.root.join(&folder), &mut |name, is_folder| {
                if is_folder || !name.ends_with(".flb") {
                    return;
                }
                let file = format!("{folder}/{name}");
                let age = age(name, &file);
                if self.after.as_ref().is_none_or(|after| age > *after) && !self.busy.has(&file) {
                    oldest.insert(age, ());
                    if oldest.len() > most {
                        oldest.pop_last();
                    }
                }
            });
            if let Err(error) = listed {
                tracing::error!("[storage] {folder}: {error}");
            }
        }
        oldest.into_keys().collect()
    }

    /// Finds the runs of whole records in a file; false when it has anything else.
    fn check(&self, file: &str, found: &mut Vec<Found>) -> io::Result<bool> {
        let path = self.layout.root.join(file);
        let size = self.files.size(&path)?;
        let head = format::head(&mut *self.files.read(&path, 0)?)?;
        let Some(Head { tag, kind, records_at, content }) = head else {
            if size == 0 {
                self.files.remove(&path)?;
                return Ok(true);
            }
            self.put_aside(file, &path)?;
            return Ok(false);
        };
        if kind != 0 {
            tracing::warn!("[storage] {file} holds no logs: it stays where it is");
            return Ok(true);
        }
        let first = found.len();
        let end = content.map_or(size, |content| size.min(records_at + content));
        let from = self.files.read(&path, records_at)?.take(end - records_at.min(end));
        let mut walk = Walk::new(BufReader::with_capacity(PIECE, from));
        let (mut run, mut records, mut whole) = (0, 0, 0);
        let file_name: Arc<str> = file.into();
        let mut add = |from: u64, to: u64, records: usize| {
            let stored = Stored { file: Arc::clone(&file_name), at: records_at + from, bytes: to - from };
            found.push(Found { tag: tag.clone(), records, stored });
        };
        let intact = loop {
            if walk.at_end()? {
                break content.is_none_or(|content| records_at + content <= size);
            }
            match walk.record() {
                Ok(()) => (records, whole) = (records + 1, walk.at),
                Err(Broken::Io(error)) => return Err(error),
                Err(Broken::Damaged) => break false,
            }
            if whole - run >= CHUNK_BYTES as u64 {
                add(run, whole, records);
                (run, records) = (whole, 0);
            }
        };
        if records > 0 {
            add(run, whole, records);
        }
        let rest = records_at + whole;
        let padding = !intact && self.is_padding(&path, rest)?;
        match (found.len() > first, intact || padding) {
            (true, true) => {}
            (true, false) => self.cut_off(file, &path, rest, whole)?,
            (false, true) => self.files.remove(&path)?,
            (false, false) => self.put_aside(file, &path)?,
        }
        Ok(intact || padding)
    }

    fn is_padding(&self, path: &Path, at: u64) -> io::Result<bool> {
        Walk::new(BufReader::with_capacity(PIECE, self.files.read(path, at)?)).only_zeros()
    }

    /// Where damaged bytes go, and the name there.
    fn aside(&self, file: &str) -> io::Result<std::path::PathBuf> {
        let folder = self.layout.root.join(&*self.layout.rejected);
        self.files.make_folder(&folder)?;
        Ok(folder.join(format!("{}.damaged", file.replace('/', "_"))))
    }

    fn put_aside(&self, file: &str, path: &Path) -> io::Result<()> {
        if self.layout.delete_damaged {
            return self.files.remove(path);
        }
        self.files.rename(path, &self.aside(file)?)
    }

    /// Moves what is behind the whole records elsewhere.
    fn cut_off(&self, file: &str, path: &Path, at: u64, content: u64) -> io::Result<()> {
        if !self.layout.delete_damaged {
            let to = self.aside(file)?;
            let mut from = self.files.read(path, at)?;
            let (mut piece, mut offset) = (vec![0; PIECE], 0);
            loop {
                let read = from.read(&mut piece)?;
                if read == 0 {
                    break;
                }
                self.files.write(&to, true, offset, &[&piece[..read]])?;
                offset += read as u64;
            }
        }
        self.files.truncate(path, at)?;
        self.files.write(path, false, 0, &[&format::finish(None, content)])
    }

    /// Reads records into memory.
    pub(crate) fn load(&self, stored: &Stored, records: usize) -> Result<Events, Unloaded> {
        let path = self.layout.root.join(&*stored.file);
        let mut from = self.files.read(&path, stored.at).map_err(Unloaded::Io)?;
        let mut buf = Buf::new(&self.layout.account);
        let mut left = stored.bytes as usize;
        while left > 0 {
            if buf.room() == 0 {
                buf.grow().map_err(|Full| Unloaded::NoRoom)?;
            }
            let spare = buf.spare();
            let size = spare.len().min(left);
            let read = from.read(&mut spare[..size]).map_err(Unloaded::Io)?;
            if read == 0 {
                return Err(Unloaded::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            buf.advance(read);
            left -= read;
        }
        Ok(Events { buf, records })
    }
}

/// Why records were not read.
#[derive(Debug)]
pub(crate) enum Unloaded {
    /// There is no memory for them now.
    NoRoom,
    /// The file cannot be read.
    Io(io::Error),
}

/// `PID-SECONDS.NANOSECONDS.flb`; other names come last, in their order.
fn age(name: &str, file: &str) -> Age {
    let stamp = name.rsplit('-').next().and_then(|stamp| stamp.strip_suffix(".flb"));
    let parts = stamp.and_then(|stamp| stamp.split_once('.'));
    let (seconds, rest) = parts
        .and_then(|(seconds, rest)| Some((seconds.parse().ok()?, rest.parse().ok()?)))
        .unwrap_or((u64::MAX, 0));
    (seconds, rest, file.to_owned())
}
