//! `storage.sync full`: what was acknowledged survives a power cut at the price of one sync per group of requests.
//!
//! Everything that is written to chunk files is written to the journal too, and only the journal is synced. After
//! a crash it is written once more to the chunk files, except to those that were settled. When the journal is long
//! enough the file system is synced and the journal starts anew; most chunks are delivered and deleted by then, and
//! cost nothing.
//!
//! An entry is: CRC-32 of the rest, length of the path, length of the bytes, offset, path, bytes. An entry without
//! bytes at the offset [`GONE`] says that the file was settled.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::Files;
use super::format::Sum;

/// The file's name. Fluent Bit reads folders only, so it does not see it.
pub(crate) const NAME: &str = "weir.journal";
/// The journal starts anew beyond this.
const LONGEST: u64 = 64 << 20;
const GONE: u64 = u64::MAX;
const ENTRY: usize = 20;
/// Read at a time when it is replayed.
const PIECE: usize = 64 << 10;

/// The journal.
pub(crate) struct Journal {
    files: Arc<dyn Files>,
    root: PathBuf,
    path: PathBuf,
    /// Bytes that are in the file.
    size: u64,
    /// It is on the disk that the file exists.
    anchored: bool,
}

impl Journal {
    pub(crate) fn new(files: Arc<dyn Files>, root: &Path) -> Journal {
        Journal { files, path: root.join(NAME), root: root.to_owned(), size: 0, anchored: false }
    }

    /// Notes a write to a file.
    pub(crate) fn note(&mut self, file: &str, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let bytes: usize = pieces.iter().map(|piece| piece.len()).sum();
        let mut head = entry(file, offset, bytes);
        let mut sum = Sum::default();
        sum.add(&head[4..]);
        pieces.iter().for_each(|piece| sum.add(piece));
        head[..4].copy_from_slice(&sum.value().to_be_bytes());
        let whole: Vec<&[u8]> = std::iter::once(head.as_slice()).chain(pieces.iter().copied()).collect();
        let written = self.files.write(&self.path, true, self.size, &whole);
        match written {
            Ok(()) => self.size += (head.len() + bytes) as u64,
            // What follows must not stand behind half an entry, where it would not be read.
            Err(_) => drop(self.files.truncate(&self.path, self.size)),
        }
        written
    }

    /// Notes that a file was settled. A crash that loses this makes duplicates, so it needs no sync.
    pub(crate) fn gone(&mut self, file: &str) -> io::Result<()> {
        if self.size == 0 { Ok(()) } else { self.note(file, GONE, &[]) }
    }

    /// Waits until everything noted is on the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if !self.anchored {
            self.files.sync_all(&self.root)?;
            self.anchored = true;
        }
        self.files.sync(&self.path)?;
        if self.size > LONGEST { self.start_anew() } else { Ok(()) }
    }

    /// Lets go of the journal: everything is in the chunk files, and on the disk.
    pub(crate) fn start_anew(&mut self) -> io::Result<()> {
        if self.size > 0 {
            self.files.sync_all(&self.root)?;
            self.files.truncate(&self.path, 0)?;
            self.size = 0;
        }
        Ok(())
    }

    /// The end of a clean stop: the journal is there no more.
    pub(crate) fn close(mut self) -> io::Result<()> {
        self.start_anew()?;
        match self.files.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn entry(file: &str, offset: u64, bytes: usize) -> Vec<u8> {
    let mut head = vec![0; ENTRY + file.len()];
    head[4..8].copy_from_slice(&(file.len() as u32).to_be_bytes());
    head[8..12].copy_from_slice(&(bytes as u32).to_be_bytes());
    head[12..20].copy_from_slice(&offset.to_be_bytes());
    head[ENTRY..].copy_from_slice(file.as_bytes());
    head
}

/// Writes what the journal of the last run holds to the chunk files, and removes it. Returns how many entries
/// that were.
pub(crate) fn replay(files: &dyn Files, root: &Path) -> io::Result<usize> {
    let path = root.join(NAME);
    if files.size(&path).is_err() {
        return Ok(0);
    }
    let mut gone = std::collections::HashSet::new();
    each(files, &path, &mut |file, offset, _| {
        if offset == GONE {
            gone.insert(file.to_owned());
        }
        Ok(())
    })?;
    let entries = each(files, &path, &mut |file, offset, bytes| {
        if offset == GONE || gone.contains(file) {
            return Ok(());
        }
        let target = root.join(file);
        if let Some(folder) = target.parent() {
            files.make_folder(folder)?;
        }
        files.write(&target, true, offset, &[bytes])
    })?;
    files.sync_all(root)?;
    files.remove(&path)?;
    Ok(entries)
}

/// What is done with an entry: path, offset, bytes.
type Take<'a> = &'a mut dyn FnMut(&str, u64, &[u8]) -> io::Result<()>;

/// Reads whole entries, up to the first that is not whole: nobody was told that it is safe.
fn each(files: &dyn Files, path: &Path, take: Take<'_>) -> io::Result<usize> {
    let mut from = BufReader::with_capacity(PIECE, files.read(path, 0)?);
    let mut left = files.size(path)?;
    let mut entries = 0;
    loop {
        let mut head = [0; ENTRY];
        if from.read_exact(&mut head).is_err() {
            return Ok(entries);
        }
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (name, bytes) = (number(4) as usize, number(8) as usize);
        let size = (ENTRY + name + bytes) as u64;
        if name > 4096 || size > left {
            return Ok(entries);
        }
        left -= size;
        let mut rest = vec![0; name + bytes];
        if from.read_exact(&mut rest).is_err() {
            return Ok(entries);
        }
        let mut sum = Sum::default();
        sum.add(&head[4..]);
        sum.add(&rest);
        let (name, bytes) = rest.split_at(name);
        let Ok(name) = std::str::from_utf8(name) else { return Ok(entries) };
        let inside = !name.split('/').any(|part| part == "..") && !name.starts_with('/');
        if sum.value() != number(0) || !inside {
            return Ok(entries);
        }
        let mut offset = [0; 8];
        offset.copy_from_slice(&head[12..]);
        take(name, u64::from_be_bytes(offset), bytes)?;
        entries += 1;
    }
}
