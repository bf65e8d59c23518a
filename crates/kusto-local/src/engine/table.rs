//! A table's files: `tables/NAME.schema.json` and `tables/NAME.rows.jsonl`, one JSON array per row.
//!
//! A blob is ingested whole or not at all. Its rows are written behind the committed length of the rows file;
//! the commit is the replacement of the schema file, which holds that length. Whatever lies behind it is left
//! over from a failed or killed ingestion: readers stop before it, and the next append cuts it off.
//!
//! The commit also holds the number of the queue message, so that a message seen again after a kill between
//! commit and deletion does not add its rows twice.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::mapping::Mapping;
use super::schema::Column;
use crate::{files, limits, secrets, stamp};

const SCHEMA: &str = ".schema.json";
const SCHEMA_BYTES: u64 = 1 << 20;

/// What is committed, as the schema file holds it.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Committed {
    name: String,
    columns: Vec<Column>,
    /// Rows of the table.
    pub(crate) rows: u64,
    /// Length of the rows file which counts.
    pub(crate) bytes: u64,
    /// The last queue messages whose rows are in the table, in the order of their commits.
    #[serde(default)]
    messages: VecDeque<u64>,
    /// What was ingested of late, the last one last.
    #[serde(default)]
    pub(crate) extents: VecDeque<Extent>,
    #[serde(default)]
    pub(crate) mappings: Vec<Mapping>,
    /// Whether the policy allows streaming ingestion.
    #[serde(default)]
    pub(crate) streaming: bool,
    #[serde(default)]
    pub(crate) batching: Option<Batching>,
}

impl Committed {
    /// The number of the latest queue message.
    pub(crate) fn last_message(&self) -> u64 {
        self.messages.iter().copied().max().unwrap_or(0)
    }

    /// Whether the rows of a queue message are in the table.
    pub(crate) fn has_message(&self, sequence: u64) -> bool {
        self.messages.contains(&sequence)
    }

    /// The mapping of this kind and name.
    pub(crate) fn mapping(&self, json: bool, name: &str) -> Option<&Mapping> {
        self.mappings.iter().find(|mapping| mapping.json == json && mapping.name == name)
    }

    /// Whether an extent carries the tag.
    pub(crate) fn has_tag(&self, tag: &str) -> bool {
        self.extents.iter().any(|extent| extent.tags.iter().any(|own| own == tag))
    }
}

/// When the messages of a batch are ingested: whatever comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Batching {
    pub(crate) time_ms: u64,
    pub(crate) items: u64,
    pub(crate) raw_mb: u64,
}

/// The rows of one ingestion.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Extent {
    pub(crate) id: String,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) tags: Vec<String>,
    pub(crate) created: String,
}

/// What comes with the rows of a commit.
#[derive(Default)]
pub(crate) struct Origin {
    /// The queue message, if there is one.
    pub(crate) message: Option<u64>,
    pub(crate) tags: Vec<String>,
}

/// A table.
pub(crate) struct Table {
    stem: PathBuf,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// Held from the start of an append to its end: streams and the worker take turns.
    appending: Mutex<()>,
    committed: Mutex<State>,
}

struct State {
    value: Committed,
    /// A dropped table must not come back by the commit of an ingestion under way.
    dropped: bool,
}

/// An append under way; without [`Append::commit`] nothing of it is seen.
pub(crate) struct Append<'a> {
    table: &'a Table,
    _turn: MutexGuard<'a, ()>,
    pub(crate) out: BufWriter<File>,
}

impl Table {
    fn new(dir: &Path, value: Committed) -> Self {
        Self {
            stem: dir.join(&value.name),
            name: value.name.clone(),
            columns: value.columns.clone(),
            appending: Mutex::new(()),
            committed: Mutex::new(State { value, dropped: false }),
        }
    }

    fn rows_file(&self) -> PathBuf {
        files::with_suffix(&self.stem, ".rows.jsonl")
    }

    fn schema_file(&self) -> PathBuf {
        files::with_suffix(&self.stem, SCHEMA)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is committed now.
    pub(crate) fn committed(&self) -> Committed {
        self.state().value.clone()
    }

    /// Starts behind the committed rows.
    pub(crate) fn append(&self) -> io::Result<Append<'_>> {
        let path = self.rows_file();
        let turn = self.appending.lock().unwrap_or_else(PoisonError::into_inner);
        let start = self.committed().bytes;
        let open = || {
            let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            if file.metadata()?.len() < start {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "committed rows are missing"));
            }
            file.set_len(start)?;
            file.seek(SeekFrom::Start(start))?;
            Ok(file)
        };
        let out = BufWriter::with_capacity(64 << 10, files::at(&path, open())?);
        Ok(Append { table: self, _turn: turn, out })
    }

    /// Changes policies or mappings. False when the table was dropped meanwhile.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Committed)) -> io::Result<bool> {
        let mut state = self.state();
        if state.dropped {
            return Ok(false);
        }
        let mut next = state.value.clone();
        change(&mut next);
        files::replace(&self.schema_file(), &serde_json::to_vec(&next)?)?;
        state.value = next;
        Ok(true)
    }

    /// Gives each committed row, as stored, to `see`, until that wants no more.
    pub(crate) fn each(&self, mut see: impl FnMut(&str) -> io::Result<bool>) -> io::Result<()> {
        let committed = self.committed();
        if committed.rows == 0 {
            return Ok(());
        }
        let path = self.rows_file();
        let mut input =
            BufReader::with_capacity(64 << 10, files::at(&path, File::open(&path))?.take(committed.bytes));
        let mut line = String::new();
        loop {
            line.clear();
            if files::at(&path, input.read_line(&mut line))? == 0 || !see(line.trim_end_matches('\n'))? {
                return Ok(());
            }
        }
    }
}

impl Append<'_> {
    /// Makes the rows written so far part of the table. False when the table was dropped meanwhile.
    pub(crate) fn commit(mut self, rows: u64, origin: Origin) -> io::Result<bool> {
        self.out.flush()?;
        let file = self.out.get_mut();
        file.sync_all()?;
        let bytes = file.stream_position()?;
        let mut state = self.table.state();
        if state.dropped {
            return Ok(false);
        }
        let mut next = state.value.clone();
        if let Some(message) = origin.message {
            next.messages.push_back(message);
        }
        while next.messages.len() > limits::REMEMBERED_MESSAGES {
            next.messages.pop_front();
        }
        next.extents.push_back(Extent {
            id: secrets::request_id(),
            rows,
            bytes: bytes - next.bytes,
            tags: origin.tags,
            created: stamp::ticks(stamp::now()),
        });
        while next.extents.len() > limits::EXTENTS {
            next.extents.pop_front();
        }
        next.rows += rows;
        next.bytes = bytes;
        files::replace(&self.table.schema_file(), &serde_json::to_vec(&next)?)?;
        state.value = next;
        Ok(true)
    }
}

/// The tables of the one database.
pub(crate) struct Tables {
    dir: PathBuf,
    by_name: Mutex<BTreeMap<String, Arc<Table>>>,
}

impl Tables {
    /// Opens the tables kept in `dir`.
    pub(crate) fn open(dir: PathBuf) -> io::Result<Self> {
        files::make_dir(&dir)?;
        let mut by_name = BTreeMap::new();
        for entry in files::at(&dir, dir.read_dir())? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(SCHEMA) {
                let value: Committed = serde_json::from_slice(&files::read(&path, SCHEMA_BYTES)?)
                    .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
                by_name.insert(value.name.clone(), Arc::new(Table::new(&dir, value)));
            }
        }
        Ok(Self { dir, by_name: Mutex::new(by_name) })
    }

    fn by_name(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Table>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The table of this name; names are case-sensitive.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Table>> {
        self.by_name().get(name).cloned()
    }

    /// All tables, by name.
    pub(crate) fn list(&self) -> Vec<Arc<Table>> {
        self.by_name().values().cloned().collect()
    }

    /// Makes a table. One that is there stays as it is, as with Kusto's `.create table`.
    pub(crate) fn create(&self, name: &str, columns: Vec<Column>) -> io::Result<Arc<Table>> {
        let mut by_name = self.by_name();
        if let Some(table) = by_name.get(name) {
            return Ok(Arc::clone(table));
        }
        if by_name.len() >= limits::TABLES {
            return Err(io::Error::other(format!("the database has {} tables already", limits::TABLES)));
        }
        let value = Committed {
            name: name.to_owned(),
            columns,
            rows: 0,
            bytes: 0,
            messages: VecDeque::new(),
            extents: VecDeque::new(),
            mappings: Vec::new(),
            streaming: false,
            batching: None,
        };
        let table = Arc::new(Table::new(&self.dir, value));
        files::remove(&table.rows_file())?;
        files::replace(&table.schema_file(), &serde_json::to_vec(&table.committed())?)?;
        by_name.insert(name.to_owned(), Arc::clone(&table));
        Ok(table)
    }

    /// Drops a table; false when there is none.
    pub(crate) fn drop(&self, name: &str) -> io::Result<bool> {
        let mut by_name = self.by_name();
        let Some(table) = by_name.remove(name) else { return Ok(false) };
        let mut state = table.state();
        state.dropped = true;
        files::remove(&table.schema_file())?;
        files::remove(&table.rows_file())?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::schema::log_columns;

    fn append(table: &Table, text: &str, message: u64) {
        let mut append = table.append().unwrap();
        append.out.write_all(text.as_bytes()).unwrap();
        let origin = Origin { message: Some(message), tags: vec!["ingest-by:x".to_owned()] };
        assert!(append.commit(text.lines().count() as u64, origin).unwrap());
    }

    fn rows(table: &Table) -> Vec<String> {
        let mut rows = Vec::new();
        table
            .each(|row| {
                rows.push(row.to_owned());
                Ok(true)
            })
            .unwrap();
        rows
    }

    #[test]
    fn rows_are_seen_after_their_commit_only_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let tables = Tables::open(dir.path().to_owned()).unwrap();
        let table = tables.create("T", log_columns()).unwrap();
        append(&table, "[1]\n[2]\n", 7);
        // Killed before the commit: bytes are in the file, but not in the table.
        let mut left = table.append().unwrap();
        left.out.write_all(b"[3]\n[4").unwrap();
        left.out.flush().unwrap();
        drop(left);
        assert_eq!(rows(&table), ["[1]", "[2]"]);

        let tables = Tables::open(dir.path().to_owned()).unwrap();
        let table = tables.get("T").unwrap();
        assert_eq!((table.committed().rows, table.committed().last_message()), (2, 7));
        append(&table, "[5]\n", 8);
        assert_eq!(rows(&table), ["[1]", "[2]", "[5]"]);
        let committed = table.committed();
        assert!(committed.has_message(7) && committed.has_message(8) && !committed.has_message(6));
        assert!(committed.has_tag("ingest-by:x") && !committed.has_tag("ingest-by:y"));
    }

    #[test]
    fn a_dropped_table_does_not_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let tables = Tables::open(dir.path().to_owned()).unwrap();
        let table = tables.create("T", log_columns()).unwrap();
        let append = table.append().unwrap();
        assert!(tables.drop("T").unwrap());
        assert!(!append.commit(1, Origin::default()).unwrap());
        assert!(!tables.drop("T").unwrap());
        assert!(Tables::open(dir.path().to_owned()).unwrap().list().is_empty());
    }
}
