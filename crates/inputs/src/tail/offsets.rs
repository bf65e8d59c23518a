//! How far each file has got: offsets move when the records before them are safe over a restart or settled, in
//! the order of the file.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use engine::{Fate, Receipt};

use super::db::{Db, Marker};

/// A file, for as long as it is known.
pub(super) type Key = u64;

/// The offsets of all files, and the database that remembers them.
pub(super) struct Offsets {
    db: Option<Db>,
    files: HashMap<Key, Offset>,
    /// Receipts that are not settled, over all files.
    pending: usize,
    /// The last failure of the database was said.
    failing: bool,
}

struct Offset {
    file: Arc<File>,
    /// The row in the database.
    id: i64,
    /// Everything before is safe.
    safe: u64,
    /// What the database says.
    written: u64,
    pending: VecDeque<Pending>,
    /// The file is not read any more: its row goes when everything is safe.
    closed: bool,
}

struct Pending {
    end: u64,
    fate: Pin<Box<dyn Future<Output = Fate> + Send>>,
}

/// Where reading starts.
pub(super) enum Known {
    /// The file is new.
    No,
    /// From here.
    At(u64),
    /// It was known, and is not what it was: from its start.
    Replaced,
}

impl Offsets {
    pub(super) fn new(db: Option<Db>) -> Offsets {
        Offsets { db, files: HashMap::new(), pending: 0, failing: false }
    }

    /// What the database knows of a file.
    pub(super) fn known(&mut self, file: &File, inode: u64, name: &str, size: u64) -> Known {
        let found = self.with_db(|db| db.find(inode, name)).flatten();
        let Some(row) = found else { return Known::No };
        let same = row.marker.is_none_or(|marker| before(file, row.offset, marker.size) == Some(marker));
        if row.offset > size || !same { Known::Replaced } else { Known::At(row.offset) }
    }

    /// Follows a file from `offset` on.
    pub(super) fn open(&mut self, key: Key, file: &Arc<File>, inode: u64, name: &str, offset: u64) {
        let marker = before(file, offset, Marker::BYTES);
        let id = self.with_db(|db| match db.find(inode, name)? {
            Some(row) if row.offset == offset => Ok(row.id),
            Some(row) => db.update(&[(row.id, offset, marker)]).map(|()| row.id),
            None => db.insert(name, inode, offset, marker),
        });
        let offset = Offset {
            file: Arc::clone(file),
            id: id.unwrap_or(0),
            safe: offset,
            written: offset,
            pending: VecDeque::new(),
            closed: false,
        };
        self.files.insert(key, offset);
    }

    /// Records up to `end` were handed over.
    pub(super) fn taken(&mut self, key: Key, end: u64, receipt: Receipt) {
        if let Some(offset) = self.files.get_mut(&key) {
            offset.pending.push_back(Pending { end, fate: Box::pin(receipt.safe()) });
            self.pending += 1;
        }
    }

    /// Bytes up to `end` have no records.
    pub(super) fn passed(&mut self, key: Key, end: u64) {
        if let Some(offset) = self.files.get_mut(&key) {
            match offset.pending.back_mut() {
                Some(last) => last.end = last.end.max(end),
                None => offset.safe = end,
            }
        }
    }

    /// The file starts anew: what was read of it before does not count any more.
    pub(super) fn restart(&mut self, key: Key) {
        if let Some(offset) = self.files.get_mut(&key) {
            self.pending -= offset.pending.len();
            offset.pending.clear();
            (offset.safe, offset.written) = (0, u64::MAX);
        }
    }

    /// Records that are not settled, over all files.
    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    /// Up to where the file is safe.
    pub(super) fn safe(&self, key: Key) -> Option<u64> {
        self.files.get(&key).map(|offset| offset.safe)
    }

    /// The file has another name.
    pub(super) fn rotated(&mut self, key: Key, name: &str) {
        if let Some(id) = self.files.get(&key).map(|offset| offset.id) {
            self.with_db(|db| db.rotated(id, name));
        }
    }

    /// The file is not read any more, and gone.
    pub(super) fn close(&mut self, key: Key) {
        if let Some(offset) = self.files.get_mut(&key) {
            offset.closed = true;
        }
    }

    /// The file is not read any more for now; its row stays.
    pub(super) fn forget(&mut self, key: Key) {
        if let Some(offset) = self.files.get(&key)
            && offset.pending.is_empty()
        {
            self.files.remove(&key);
        }
    }

    /// Rows of files that nothing follows.
    pub(super) fn unfollowed(&mut self) -> Vec<super::db::Row> {
        let rows = self.with_db(Db::rows).unwrap_or_default();
        let followed = |id: i64| self.files.values().any(|offset| offset.id == id);
        rows.into_iter().filter(|row| !followed(row.id)).collect()
    }

    /// Removes the row of a file that is gone.
    pub(super) fn remove_row(&mut self, id: i64) {
        self.with_db(|db| db.delete(id));
    }

    /// Moves offsets as far as records are safe, and writes down those that moved.
    pub(super) fn settle(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let (mut moved, mut keys, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for (key, offset) in &mut self.files {
            while let Some(first) = offset.pending.front_mut() {
                let Poll::Ready(fate) = first.fate.as_mut().poll(&mut context) else { break };
                if fate == Fate::Unsettled {
                    // The agent has stopped over them: they are read again after the next start.
                    break;
                }
                offset.safe = offset.safe.max(first.end);
                offset.pending.pop_front();
                self.pending -= 1;
            }
            if offset.closed && offset.pending.is_empty() {
                gone.push((*key, offset.id));
            } else if offset.safe != offset.written {
                moved.push((offset.id, offset.safe, before(&offset.file, offset.safe, Marker::BYTES)));
                keys.push(*key);
            }
        }
        if !moved.is_empty() && self.with_db(|db| db.update(&moved)).is_some() {
            for (key, (_, safe, _)) in keys.iter().zip(&moved) {
                if let Some(offset) = self.files.get_mut(key) {
                    offset.written = *safe;
                }
            }
        }
        for (key, id) in gone {
            self.files.remove(&key);
            self.with_db(|db| db.delete(id));
        }
    }

    /// Asks the database, if there is one. A failure is said once, until it works again.
    fn with_db<T>(&mut self, ask: impl FnOnce(&Db) -> rusqlite::Result<T>) -> Option<T> {
        match ask(self.db.as_ref()?) {
            Ok(answer) => {
                self.failing = false;
                Some(answer)
            }
            Err(error) => {
                if !self.failing {
                    tracing::error!(
                        "[input:tail] the database of offsets fails: {error}; offsets are kept in memory until it works again"
                    );
                }
                self.failing = true;
                None
            }
        }
    }
}

/// The marker of the bytes before an offset: up to `most` of them.
pub(super) fn before(file: &File, offset: u64, most: usize) -> Option<Marker> {
    let size = offset.min(most as u64) as usize;
    let mut bytes = [0; Marker::BYTES];
    file.read_exact_at(&mut bytes[..size], offset - size as u64).ok()?;
    Marker::of(&bytes[..size])
}
