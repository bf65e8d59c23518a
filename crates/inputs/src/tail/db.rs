//! The database of offsets: SQLite, with the table that Fluent Bit makes, so that either takes over the other's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use options::Choice;
use rusqlite::{Connection, OptionalExtension, params};

/// How careful the database writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(super) enum Sync {
    /// As `full`, and the directory as well.
    Extra,
    /// Every change is on the disk when it is made.
    Full,
    /// Changes may be lost with the power, not with the process.
    Normal,
    /// The system decides.
    Off,
}

/// Where SQLite keeps what makes a change whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(super) enum Journal {
    /// In a file that is removed after each change.
    Delete,
    /// In a file that is cut after each change.
    Truncate,
    /// In a file that stays.
    Persist,
    /// In memory.
    Memory,
    /// In a log beside the database.
    Wal,
    /// Nowhere.
    Off,
}

/// The database.
pub(super) struct Db {
    connection: Connection,
    compare_filename: bool,
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) inode: u64,
    pub(super) offset: u64,
    /// What stood before the offset, if that is known.
    pub(super) marker: Option<Marker>,
}

/// The last bytes before an offset, as a hash: whether a file is still what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) hash: u64,
    pub(super) size: usize,
}

impl Marker {
    /// Bytes that are looked at.
    pub(super) const BYTES: usize = 32;

    /// Of the bytes before the offset; none if there are none.
    pub(super) fn of(before: &[u8]) -> Option<Marker> {
        let hash = || xxhash_rust::xxh3::xxh3_64(before);
        (!before.is_empty()).then(|| Marker { hash: hash(), size: before.len() })
    }
}

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS in_tail_files (id INTEGER PRIMARY KEY, name TEXT NOT NULL, \
    offset INTEGER, inode INTEGER, created INTEGER, rotated INTEGER DEFAULT 0, \
    offset_marker INTEGER DEFAULT 0, offset_marker_size INTEGER DEFAULT 0)";

/// Columns that databases of older versions do not have.
const ADDED: &[&str] = &["offset_marker", "offset_marker_size"];

const COLUMNS: &str = "id, name, inode, offset, offset_marker, offset_marker_size";

/// Rows that are looked through at the start for files that are gone.
const STALE_ROWS: usize = 10_000;

/// How long another process may hold the database.
const BUSY: Duration = Duration::from_secs(2);

impl Db {
    /// Opens or makes the database.
    pub(super) fn open(
        path: &str,
        sync: Sync,
        journal: Journal,
        locking: bool,
        compare_filename: bool,
    ) -> rusqlite::Result<Db> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        // In KiB: offsets of thousands of files fit, and memory is not this table's to take.
        connection.pragma_update(None, "cache_size", -128)?;
        connection.pragma_update(
            None,
            "synchronous",
            match sync {
                Sync::Off => 0,
                Sync::Normal => 1,
                Sync::Full => 2,
                Sync::Extra => 3,
            },
        )?;
        if locking {
            connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        }
        connection.pragma_update(
            None,
            "journal_mode",
            match journal {
                Journal::Delete => "DELETE",
                Journal::Truncate => "TRUNCATE",
                Journal::Persist => "PERSIST",
                Journal::Memory => "MEMORY",
                Journal::Wal => "WAL",
                Journal::Off => "OFF",
            },
        )?;
        connection.execute(SCHEMA, [])?;
        for column in ADDED {
            let has = "SELECT count(*) FROM pragma_table_info('in_tail_files') WHERE name = ?";
            if connection.query_row(has, [column], |row| row.get::<_, i64>(0))? == 0 {
                let add = format!("ALTER TABLE in_tail_files ADD COLUMN {column} INTEGER DEFAULT 0");
                connection.execute(&add, [])?;
            }
        }
        Ok(Db { connection, compare_filename })
    }

    /// The newest row of an inode.
    pub(super) fn find(&self, inode: u64, name: &str) -> rusqlite::Result<Option<Row>> {
        let query = format!("SELECT {COLUMNS} FROM in_tail_files WHERE inode = ? ORDER BY id DESC");
        let mut statement = self.connection.prepare(&query)?;
        let found = statement.query_row([inode as i64], row).optional()?;
        Ok(found.filter(|found| !self.compare_filename || found.name == name))
    }

    /// Rows, the newest first.
    pub(super) fn rows(&self) -> rusqlite::Result<Vec<Row>> {
        let query = format!("SELECT {COLUMNS} FROM in_tail_files ORDER BY id DESC LIMIT {STALE_ROWS}");
        let mut statement = self.connection.prepare(&query)?;
        statement.query_map([], row)?.collect()
    }

    /// A row for a file that has none. Answers its id.
    pub(super) fn insert(
        &self,
        name: &str,
        inode: u64,
        offset: u64,
        marker: Option<Marker>,
    ) -> rusqlite::Result<i64> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (hash, size) = marker.map_or((0, 0), |marker| (marker.hash as i64, marker.size as i64));
        let insert = "INSERT INTO in_tail_files \
            (name, offset, inode, created, offset_marker, offset_marker_size) VALUES (?, ?, ?, ?, ?, ?)";
        let mut statement = self.connection.prepare(insert)?;
        statement.insert(params![name, offset as i64, inode as i64, created as i64, hash, size])
    }

    /// Moves offsets, all or none.
    pub(super) fn update(&self, moved: &[(i64, u64, Option<Marker>)]) -> rusqlite::Result<()> {
        let update =
            "UPDATE in_tail_files SET offset = ?, offset_marker = ?, offset_marker_size = ? WHERE id = ?";
        let transaction = self.connection.unchecked_transaction()?;
        let mut statement = transaction.prepare(update)?;
        for (id, offset, marker) in moved {
            let (hash, size) = marker.map_or((0, 0), |marker| (marker.hash as i64, marker.size as i64));
            statement.execute(params![*offset as i64, hash, size, id])?;
        }
        drop(statement);
        transaction.commit()
    }

    /// The file has another name now.
    pub(super) fn rotated(&self, id: i64, name: &str) -> rusqlite::Result<()> {
        let update = "UPDATE in_tail_files SET name = ?, rotated = 1 WHERE id = ?";
        self.connection.execute(update, params![name, id]).map(drop)
    }

    /// The file is gone.
    pub(super) fn delete(&self, id: i64) -> rusqlite::Result<()> {
        self.connection.execute("DELETE FROM in_tail_files WHERE id = ?", [id]).map(drop)
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let number = |column| row.get::<_, Option<i64>>(column).map(|value| value.unwrap_or(0) as u64);
    let size = number(5)? as usize;
    let hash = number(4)?;
    Ok(Row {
        id: row.get(0)?,
        name: row.get(1)?,
        inode: number(2)?,
        offset: number(3)?,
        marker: (size > 0 && size <= Marker::BYTES).then_some(Marker { hash, size }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_without_markers_is_taken_over_and_a_row_follows_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tail.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(
            "CREATE TABLE in_tail_files (id INTEGER PRIMARY KEY, name TEXT NOT NULL, offset INTEGER, \
             inode INTEGER, created INTEGER, rotated INTEGER DEFAULT 0);
             INSERT INTO in_tail_files (name, offset, inode, created) VALUES ('/var/log/a', 700, 42, 1);",
        )
        .unwrap();
        drop(old);
        let open = || Db::open(path.to_str().unwrap(), Sync::Normal, Journal::Wal, false, false).unwrap();
        let db = open();
        let row = db.find(42, "/var/log/a").unwrap().unwrap();
        assert_eq!((row.offset, row.marker), (700, None));
        let marker = Marker::of(b"the last line\n");
        db.update(&[(row.id, 900, marker)]).unwrap();
        db.rotated(row.id, "/var/log/a.1").unwrap();
        let id = db.insert("/var/log/a", 43, 0, None).unwrap();
        drop(db);
        let db = open();
        let row = db.find(42, "").unwrap().unwrap();
        assert_eq!((row.name.as_str(), row.offset, row.marker), ("/var/log/a.1", 900, marker));
        assert_eq!(db.rows().unwrap().len(), 2);
        db.delete(id).unwrap();
        assert_eq!(db.find(43, "").unwrap(), None);
    }
}
