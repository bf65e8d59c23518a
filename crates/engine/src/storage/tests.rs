//! What is left after a crash at any operation, and after a power cut.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use budget::{Budget, Share};
use event::{EventTime, Tag, Writer};

use super::*;

type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// A file system in memory that stops at an operation, as a process that is killed does.
struct Simulated {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tree: Tree,
    /// What a power cut leaves for sure.
    durable: Tree,
    /// Operations until everything fails.
    left: usize,
    /// What happens then: this error instead of the end, for so many operations.
    fault: Option<(io::ErrorKind, usize)>,
}

impl Simulated {
    fn new(tree: Tree, left: usize) -> Arc<Simulated> {
        let durable = tree.clone();
        Arc::new(Simulated { state: Mutex::new(State { tree, durable, left, fault: None }) })
    }

    fn step<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock().unwrap();
        if state.left > 0 {
            state.left -= 1;
            return work(&mut state);
        }
        match &mut state.fault {
            Some((kind, times)) => {
                let kind = *kind;
                *times -= 1;
                if *times == 0 {
                    (state.fault, state.left) = (None, usize::MAX);
                }
                Err(kind.into())
            }
            None => Err(io::ErrorKind::Other.into()),
        }
    }
}

fn put(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset as usize + bytes.len();
    file.resize(file.len().max(end), 0);
    file[offset as usize..end].copy_from_slice(bytes);
}

impl Files for Simulated {
    fn write(&self, path: &Path, create: bool, offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let bytes = pieces.concat();
        let last = self.state.lock().unwrap().left == 1;
        self.step(|state| {
            if !create && !state.tree.contains_key(path) {
                return Err(io::ErrorKind::NotFound.into());
            }
            // The last write before the end is cut in the middle.
            let whole = if last { bytes.len() / 2 } else { bytes.len() };
            put(state.tree.entry(path.to_owned()).or_default(), offset, &bytes[..whole]);
            if last { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
        })
    }

    fn truncate(&self, path: &Path, size: u64) -> io::Result<()> {
        self.step(|state| {
            state.tree.get_mut(path).ok_or(io::ErrorKind::NotFound)?.resize(size as usize, 0);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|state| state.tree.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into()))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|state| {
            let file = state.tree.remove(from).ok_or(io::ErrorKind::NotFound)?;
            state.tree.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn make_folder(&self, _path: &Path) -> io::Result<()> {
        self.step(|_| Ok(()))
    }

    fn list(&self, path: &Path, each: &mut dyn FnMut(&str, bool)) -> io::Result<()> {
        self.step(|state| {
            let mut seen = HashSet::new();
            for file in state.tree.keys().filter_map(|file| file.strip_prefix(path).ok()) {
                let mut parts = file.iter().filter_map(|part| part.to_str());
                let Some(first) = parts.next() else { continue };
                if seen.insert(first) {
                    each(first, parts.next().is_some());
                }
            }
            Ok(())
        })
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        self.step(|state| Ok(state.tree.get(path).ok_or(io::ErrorKind::NotFound)?.len() as u64))
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read>> {
        self.step(|state| {
            let file = state.tree.get(path).ok_or(io::ErrorKind::NotFound)?;
            let rest = file.get(offset as usize..).unwrap_or_default().to_vec();
            Ok(Box::new(io::Cursor::new(rest)) as Box<dyn Read>)
        })
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.step(|state| {
            // The bytes of a file whose name was not synced may be found or not: not.
            if state.durable.contains_key(path)
                && let Some(file) = state.tree.get(path)
            {
                state.durable.insert(path.to_owned(), file.clone());
            }
            Ok(())
        })
    }

    fn sync_all(&self, _folder: &Path) -> io::Result<()> {
        self.step(|state| {
            state.durable = state.tree.clone();
            Ok(())
        })
    }
}

const ROOT: &str = "/store";

struct Bench {
    budget: Budget,
    layout: Layout,
}

impl Bench {
    fn new(full_sync: bool) -> Bench {
        let budget = Budget::new(64 << 20, 4096).unwrap();
        let account = budget.account("storage", "chunks", Share::COMMON).unwrap();
        let folders = Folders::default();
        folders.add(vec![(0, "http.0".to_owned())]);
        let layout = Layout {
            root: ROOT.into(),
            rejected: "rejected".into(),
            checksum: true,
            full_sync,
            delete_damaged: false,
            folders,
            account,
            lost: Arc::default(),
        };
        Bench { budget, layout }
    }

    fn disk(&self, files: &Arc<Simulated>) -> Disk {
        let full = Full(self.budget.clone());
        Disk::new(files.clone(), self.layout.clone(), ChunkIds::default(), Busy::default(), full)
    }

    fn entry(&self, tag: &str, id: u32) -> Entry {
        let mut writer = Writer::new(&self.layout.account);
        writer.begin_record(EventTime { seconds: id, nanoseconds: 0 }).unwrap();
        writer.begin_map().unwrap();
        writer.end();
        writer.end_record();
        Entry { input: 0, tag: Tag::new(tag), events: writer.finish() }
    }

    /// The numbers of all records that a start finds and reads.
    fn recovered(&self, tree: Tree) -> Vec<u32> {
        let files = Simulated::new(tree, usize::MAX);
        journal::replay(&*files, Path::new(ROOT)).unwrap();
        let mut reader = Reader::new(files.clone(), self.layout.clone(), Busy::default());
        let mut ids = Vec::new();
        loop {
            let look = reader.look(3, u64::MAX);
            for found in look.found {
                let events = reader.load(&found.stored, found.records).unwrap();
                let mut cursor = events.cursor();
                for _ in 0..found.records {
                    ids.push(cursor.clone().record_head().unwrap().0.seconds);
                    cursor.skip().unwrap();
                }
            }
            if !look.more {
                return ids;
            }
        }
    }

    /// Appends, syncs, seals and settles until the files fail; returns what was acknowledged, and what was settled.
    fn work(&self, files: &Arc<Simulated>) -> (Vec<u32>, Vec<u32>) {
        let mut disk = self.disk(files);
        let (mut acknowledged, mut settled, mut id) = (Vec::new(), Vec::new(), 0);
        let mut chunks: Vec<Sealed> = Vec::new();
        for round in 0..8 {
            let mut group = Vec::new();
            for request in 0..3 {
                let ids = [id, id + 1];
                id += 2;
                let entries = vec![self.entry("a", ids[0]), self.entry(["b", "c"][request % 2], ids[1])];
                if disk.append(entries, &mut None).is_ok() {
                    group.extend(ids);
                }
            }
            if disk.sync().is_ok() {
                acknowledged.extend(group);
            }
            if round % 2 == 1 {
                disk.flush();
                chunks.extend(disk.take_sealed());
            }
            if round == 5 {
                for chunk in chunks.drain(..) {
                    if files.state.lock().unwrap().left == 0 {
                        break;
                    }
                    let mut cursor = chunk.chunk.events.cursor();
                    while let Ok((time, _)) = cursor.clone().record_head() {
                        settled.push(time.seconds);
                        cursor.skip().unwrap();
                    }
                    disk.gone(&chunk.stored.unwrap().file);
                }
            }
        }
        (acknowledged, settled)
    }
}

fn missing(acknowledged: &[u32], settled: &[u32], found: &[u32]) -> Vec<u32> {
    let here: HashSet<&u32> = settled.iter().chain(found).collect();
    acknowledged.iter().filter(|id| !here.contains(id)).copied().collect()
}

#[test]
fn a_kill_at_any_operation_loses_nothing_that_was_acknowledged() {
    for full_sync in [false, true] {
        let bench = Bench::new(full_sync);
        for operations in 0.. {
            let files = Simulated::new(Tree::new(), operations);
            let (acknowledged, settled) = bench.work(&files);
            let ended = files.state.lock().unwrap().left > 0;
            let tree = std::mem::take(&mut files.state.lock().unwrap().tree);
            let found = bench.recovered(tree);
            let missing = missing(&acknowledged, &settled, &found);
            assert!(missing.is_empty(), "killed at operation {operations}, full {full_sync}: {missing:?}");
            let twice: Vec<&u32> = found.iter().filter(|id| settled.contains(id)).collect();
            // The one chunk whose file was being deleted.
            assert!(twice.len() <= 12, "killed at operation {operations}: {twice:?} come again");
            if ended {
                assert_eq!(acknowledged.len(), 48);
                assert!(twice.is_empty(), "without a kill nothing comes again");
                break;
            }
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_acknowledged_with_sync_full() {
    let bench = Bench::new(true);
    for operations in 0.. {
        let files = Simulated::new(Tree::new(), operations);
        let (acknowledged, settled) = bench.work(&files);
        let ended = files.state.lock().unwrap().left > 0;
        let State { tree, durable, .. } = std::mem::take(&mut *files.state.lock().unwrap());
        // What was not synced is gone, or is there in part: every other file that was written since.
        let mut torn = durable.clone();
        for (path, bytes) in tree.iter().step_by(2) {
            if !path.ends_with(journal::NAME) {
                torn.insert(path.clone(), bytes[..bytes.len() * 2 / 3].to_vec());
            }
        }
        for left in [durable, torn] {
            let missing = missing(&acknowledged, &settled, &bench.recovered(left));
            assert!(missing.is_empty(), "cut at operation {operations}: {missing:?}");
        }
        if ended {
            break;
        }
    }
}

#[test]
fn a_disk_that_fails_for_a_while_refuses_and_then_takes_again() {
    for kind in [io::ErrorKind::StorageFull, io::ErrorKind::Other, io::ErrorKind::ReadOnlyFilesystem] {
        for full_sync in [false, true] {
            let bench = Bench::new(full_sync);
            for operations in 0..40 {
                let files = Simulated::new(Tree::new(), operations);
                files.state.lock().unwrap().fault = Some((kind, 5));
                let (acknowledged, settled) = bench.work(&files);
                assert!(acknowledged.len() >= 30, "{} at {operations}", acknowledged.len());
                let tree = std::mem::take(&mut files.state.lock().unwrap().tree);
                let missing = missing(&acknowledged, &settled, &bench.recovered(tree));
                assert!(missing.is_empty(), "{kind:?} at operation {operations}: {missing:?}");
            }
        }
    }
}

#[test]
fn files_that_are_deleted_while_they_are_written_are_written_again() {
    let bench = Bench::new(false);
    let files = Simulated::new(Tree::new(), usize::MAX);
    let mut disk = bench.disk(&files);
    disk.append(vec![bench.entry("a", 1)], &mut None).unwrap();
    files.state.lock().unwrap().tree.clear();
    disk.append(vec![bench.entry("a", 2)], &mut None).unwrap();
    disk.flush();
    let tree = std::mem::take(&mut files.state.lock().unwrap().tree);
    assert_eq!(bench.recovered(tree), [1, 2]);
}

#[test]
fn a_damaged_file_gives_its_whole_records_and_the_rest_is_kept_aside() {
    let bench = Bench::new(false);
    let files = Simulated::new(Tree::new(), usize::MAX);
    let mut disk = bench.disk(&files);
    for id in 0..10 {
        disk.append(vec![bench.entry("a", id)], &mut None).unwrap();
    }
    disk.flush();
    let tree = std::mem::take(&mut files.state.lock().unwrap().tree);
    let (path, whole) = tree.first_key_value().unwrap();
    let start = format::start(&Tag::new("a")).len();
    for cut in 0..=whole.len() {
        let found = bench.recovered(Tree::from([(path.clone(), whole[..cut].to_vec())]));
        let expected = cut.saturating_sub(start) / ((whole.len() - start) / 10);
        assert_eq!(found, (0..expected as u32).collect::<Vec<_>>(), "cut at {cut}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        let files = Simulated::new(Tree::from([(path.clone(), bytes)]), usize::MAX);
        let mut reader = Reader::new(files.clone(), bench.layout.clone(), Busy::default());
        let found: usize = reader.look(10, u64::MAX).found.iter().map(|found| found.records).sum();
        let state = files.state.lock().unwrap();
        let left: usize = state.tree.values().map(Vec::len).sum();
        assert!(found <= 10 && left + start >= whole.len(), "bytes are thrown away by a change at {at}");
    }
}
