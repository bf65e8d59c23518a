//! What became of each queue message: kept in memory for `GET /local/ingestions`, and in
//! `DIR/ingestions.jsonl` (one earlier generation in `ingestions.jsonl.1`) over a restart.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{files, limits};

const LINE_BYTES: u64 = 1 << 20;

/// Outcome of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Status {
    Succeeded,
    Failed,
    /// The table has its tag already.
    Skipped,
}

/// One ingestion.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Number of the message in this server's queues.
    pub(crate) sequence: u64,
    /// When it ended.
    pub(crate) at: String,
    pub(crate) status: Status,
    /// Kusto's error code, such as `Download_SourceNotFound`.
    pub(crate) error_code: Option<String>,
    pub(crate) details: Option<String>,
    /// `Id` of the message: the client's source id.
    pub(crate) id: Option<String>,
    /// Account and queue the message came by.
    pub(crate) queue: String,
    /// Account, container and name, without the signature.
    pub(crate) blob: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) table: Option<String>,
    pub(crate) format: Option<String>,
    /// As the client sent it; null when it did not.
    pub(crate) raw_data_size: Option<u64>,
    pub(crate) uncompressed_bytes: u64,
    pub(crate) blob_bytes: u64,
    /// 0 when the name says the blob is not compressed.
    pub(crate) gzip_members: u64,
    pub(crate) rows: u64,
    /// A NUL byte stood behind the message's JSON.
    pub(crate) trailing_nul: bool,
    /// The message itself, without signature and identity token.
    #[serde(default)]
    pub(crate) message: Option<serde_json::Value>,
    /// What a client should not have sent, in words.
    pub(crate) complaints: Vec<String>,
    /// Complaints beyond the kept ones.
    pub(crate) more_complaints: u64,
}

/// Totals since the start of the process.
#[derive(Default, Clone, Copy, Serialize)]
pub(crate) struct Totals {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
    /// Ingestions with at least one complaint.
    pub(crate) with_complaints: u64,
}

struct Inner {
    ring: VecDeque<Record>,
    file: File,
    size: u64,
    totals: Totals,
}

/// All records.
pub(crate) struct Records {
    path: PathBuf,
    inner: Mutex<Inner>,
}

impl Records {
    /// Opens the file and reads back the latest records.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let path = dir.join("ingestions.jsonl");
        let (ring, whole) = load(&path)?;
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let mut file = files::at(&path, file)?;
        // A line cut by a kill goes, so that the next one starts at a line's beginning.
        file.set_len(whole)?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        Ok(Self { path, inner: Mutex::new(Inner { ring, file, size: whole, totals: Totals::default() }) })
    }

    /// Keeps a record, in memory even when the disk refuses it.
    pub(crate) fn add(&self, record: Record) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match record.status {
            Status::Succeeded => inner.totals.succeeded += 1,
            Status::Skipped => inner.totals.skipped += 1,
            Status::Failed => inner.totals.failed += 1,
        }
        inner.totals.with_complaints += u64::from(!record.complaints.is_empty());
        let mut line = serde_json::to_vec(&record)?;
        line.push(b'\n');
        if inner.ring.len() == limits::RECORDS {
            inner.ring.pop_front();
        }
        inner.ring.push_back(record);
        if inner.size > limits::RECORD_FILE {
            files::at(&self.path, fs::rename(&self.path, files::with_suffix(&self.path, ".1")))?;
            inner.file = files::at(&self.path, File::create(&self.path))?;
            inner.size = 0;
        }
        inner.size += line.len() as u64;
        files::at(&self.path, inner.file.write_all(&line))
    }

    /// The records in memory, as a JSON array.
    pub(crate) fn to_json(&self) -> String {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::to_string(&inner.ring).unwrap_or_default()
    }

    /// The records of failures in memory, the last one last.
    pub(crate) fn failures(&self) -> Vec<Record> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.ring.iter().filter(|record| record.status == Status::Failed).cloned().collect()
    }

    /// The last records, newest first.
    pub(crate) fn latest(&self, count: usize) -> Vec<Record> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.ring.iter().rev().take(count).cloned().collect()
    }

    /// Totals since the start of the process.
    pub(crate) fn totals(&self) -> Totals {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).totals
    }

    /// The number of the last recorded message, 0 when there is none.
    pub(crate) fn last_sequence(&self) -> u64 {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.ring.iter().map(|record| record.sequence).max().unwrap_or(0)
    }
}

/// The latest records of a file, and the length of its whole lines.
fn load(path: &Path) -> io::Result<(VecDeque<Record>, u64)> {
    let mut ring = VecDeque::new();
    let mut whole = 0;
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((ring, 0)),
        Err(error) => return files::at(path, Err(error)),
    };
    let mut input = BufReader::new(file);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut input).take(LINE_BYTES).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok((ring, whole));
        }
        whole += read as u64;
        if let Ok(record) = serde_json::from_slice(&line) {
            if ring.len() == limits::RECORDS {
                ring.pop_front();
            }
            ring.push_back(record);
        }
    }
}
