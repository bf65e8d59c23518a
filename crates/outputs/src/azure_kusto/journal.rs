//! A buffer file on disk: its data, and the journal that says how much of it counts.
//!
//! ```text
//! 001a1e3c2a3b4-00112233445566778899aabbccddeeff.json.gz    the blob, as it will be uploaded
//! 001a1e3c2a3b4-00112233445566778899aabbccddeeff.log        its journal
//! ```
//!
//! The first part of the name is the time of the file's making in milliseconds, so that names sort by age; the
//! second is the id from which blob and message get theirs. A journal is lines of text, each written and synced when
//! what it says has become true:
//!
//! ```text
//! durable BYTES RAW CRC RECORDS   so many bytes of the data hold RAW bytes of so many records, with that checksum
//! closed BYTES RAW RECORDS        the data is complete
//! stored CONTAINER                the blob is in this container
//! ```
//!
//! After a crash the data is cut back to what is durable and gets the ending that its compression wants.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use formats::gzip;

/// The longest journal that is read: a line for each batch.
const JOURNAL_BYTES: u64 = 64 << 20;

/// How much of a file counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Bytes of the data.
    pub(super) bytes: u64,
    /// Bytes before compression.
    pub(super) raw: u64,
    /// Their checksum.
    pub(super) sum: u32,
    pub(super) records: u64,
}

/// What a journal says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) durable: Mark,
    pub(super) closed: Option<Mark>,
    pub(super) stored: Option<String>,
}

/// The names of one file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// Folder and name without an ending.
    stem: PathBuf,
    pub(super) id: u128,
    pub(super) suffix: String,
}

impl Name {
    /// A name for a file that is made now.
    pub(super) fn new(folder: &Path, id: u128, suffix: &str) -> Name {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Name { stem: folder.join(format!("{now:013x}-{id:032x}")), id, suffix: suffix.to_owned() }
    }

    /// Reads the name of a data file.
    fn parse(path: &Path) -> Option<Name> {
        let (stem, suffix) = path.file_name()?.to_str()?.split_once('.')?;
        let known = ["json", "json.gz", "multijson", "multijson.gz"].contains(&suffix);
        let (_, id) = stem.split_once('-')?;
        let id = u128::from_str_radix(id, 16).ok().filter(|_| id.len() == 32 && known)?;
        Some(Name { stem: path.with_file_name(stem), id, suffix: suffix.to_owned() })
    }

    fn with(&self, ending: &str) -> PathBuf {
        let mut name = self.stem.as_os_str().to_owned();
        name.push(".");
        name.push(ending);
        PathBuf::from(name)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.with(&self.suffix)
    }

    pub(super) fn journal(&self) -> PathBuf {
        self.with("log")
    }

    /// Bytes of the data; none when it is gone.
    pub(super) fn bytes(&self) -> u64 {
        fs::metadata(self.data()).map_or(0, |data| data.len())
    }

    /// Adds a line to the journal, in place of one that a crash has cut.
    pub(super) fn say(&self, line: &str) -> io::Result<()> {
        let mut journal = OpenOptions::new().read(true).append(true).create(true).open(self.journal())?;
        let mut text = Vec::new();
        (&mut journal).take(JOURNAL_BYTES).read_to_end(&mut text)?;
        if text.last().is_some_and(|last| *last != b'\n') {
            let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            journal.set_len(whole as u64)?;
        }
        say(&mut journal, line)
    }

    /// Reads the journal. A line that a crash has cut does not count.
    pub(super) fn said(&self) -> io::Result<Said> {
        let mut text = String::new();
        File::open(self.journal())?.take(JOURNAL_BYTES).read_to_string(&mut text)?;
        Ok(read(&text))
    }

    /// Deletes the file; the journal goes last, because without it the data counts for nothing.
    pub(super) fn delete(&self) -> io::Result<()> {
        for path in [self.data(), self.journal()] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes a line and waits until it is on disk.
pub(super) fn say(journal: &mut File, line: &str) -> io::Result<()> {
    journal.write_all(format!("{line}\n").as_bytes())?;
    journal.sync_data()
}

impl Mark {
    /// The line that makes it count.
    pub(super) fn durable(&self) -> String {
        format!("durable {} {} {} {}", self.bytes, self.raw, self.sum, self.records)
    }

    /// The line that ends the data.
    pub(super) fn closed(&self) -> String {
        format!("closed {} {} {}", self.bytes, self.raw, self.records)
    }
}

fn read(text: &str) -> Said {
    let mut said = Said::default();
    for line in text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
        match (words[0], number(1), number(2), number(3), number(4)) {
            ("durable", Some(bytes), Some(raw), Some(sum), Some(records)) => {
                said.durable = Mark { bytes, raw, sum: sum as u32, records };
            }
            ("closed", Some(bytes), Some(raw), Some(records), _) => {
                said.closed = Some(Mark { bytes, raw, sum: 0, records });
            }
            ("stored", ..) if words.len() == 2 => said.stored = Some(words[1].to_owned()),
            _ => {}
        }
    }
    said
}

/// The files of a folder that a crash or a stop has left, the oldest first. What is unfinished is finished, or deleted
/// where nothing of it is durable.
pub(super) fn recover(folder: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for name in list(folder)? {
        let said = match name.said() {
            Ok(said) => said,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Said::default(),
            Err(error) => return Err(error),
        };
        if said.closed.is_none() && said.durable.raw == 0 {
            name.delete()?;
            continue;
        }
        if said.closed.is_none() {
            finish(&name, said.durable)?;
        }
        names.push(name);
    }
    Ok(names)
}

/// Cuts the data back to what is durable and ends it there.
pub(super) fn finish(name: &Name, durable: Mark) -> io::Result<()> {
    let mut data = OpenOptions::new().write(true).open(name.data())?;
    data.set_len(durable.bytes)?;
    let mut bytes = durable.bytes;
    if name.suffix.ends_with(".gz") {
        let ending = gzip::completion(durable.sum, durable.raw);
        io::Seek::seek(&mut data, io::SeekFrom::End(0))?;
        data.write_all(&ending)?;
        bytes += ending.len() as u64;
    }
    data.sync_all()?;
    name.say(&Mark { bytes, ..durable }.closed())
}

/// The names of all data files, the oldest first.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Name>> {
    let mut names: Vec<Name> = Vec::new();
    for entry in folder.read_dir()? {
        names.extend(Name::parse(&entry?.path()));
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_counts_line_by_line_and_a_cut_line_counts_nothing() {
        let text = "durable 10 100 7 2\ndurable 20 200 8 4\nclosed 30 200 4\nstored https://a/c\n";
        let said = read(text);
        assert_eq!(said.durable, Mark { bytes: 20, raw: 200, sum: 8, records: 4 });
        assert_eq!(said.closed, Some(Mark { bytes: 30, raw: 200, sum: 0, records: 4 }));
        assert_eq!(said.stored.as_deref(), Some("https://a/c"));
        for end in 0..text.len() {
            let part = read(&text[..end]);
            let lines = text[..end].matches('\n').count();
            let expected = [0, 10, 20, 20, 20][lines];
            assert_eq!((part.durable.bytes, part.closed.is_some()), (expected, lines > 2), "{end}");
        }
    }

    #[test]
    fn names_tell_their_parts_and_sort_by_age_and_others_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let name = Name::new(folder.path(), 0xab, "json.gz");
        fs::write(name.data(), "x").unwrap();
        fs::write(folder.path().join("0000000000001-0000000000000000000000000000000c.json"), "x").unwrap();
        for other in ["lock", "a.json", "1-2.json.gz", "0000000000001-00000000000000000000000000000001.txt"] {
            fs::write(folder.path().join(other), "x").unwrap();
        }
        let found = list(folder.path()).unwrap();
        assert_eq!(found.iter().map(|name| name.id).collect::<Vec<_>>(), [0xc, 0xab]);
        assert_eq!(found[1], name);
    }

    #[test]
    fn what_is_not_durable_is_cut_off_and_what_has_nothing_durable_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let [kept, gone, plain] = [(1, "json.gz"), (2, "json.gz"), (3, "json")]
            .map(|(id, suffix)| Name::new(folder.path(), id, suffix));
        fs::write(kept.data(), "0123456789torn").unwrap();
        kept.say("durable 10 55 9 1").unwrap();
        fs::write(gone.data(), "torn").unwrap();
        fs::write(plain.data(), "{}\n{").unwrap();
        plain.say("durable 3 3 9 1").unwrap();
        let names = recover(folder.path()).unwrap();
        assert_eq!(names.iter().map(|name| name.id).collect::<Vec<_>>(), [1, 3]);
        let data = fs::read(kept.data()).unwrap();
        assert_eq!((&data[..10], data.len()), (&b"0123456789"[..], 20));
        assert_eq!(kept.said().unwrap().closed.unwrap().bytes, 20);
        assert_eq!(fs::read(plain.data()).unwrap(), b"{}\n");
        assert!(!gone.data().exists());
        assert_eq!(recover(folder.path()).unwrap(), names, "once is enough");
    }
}
