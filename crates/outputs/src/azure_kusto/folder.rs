//! The folder of buffer files: one process has it at a time, and in it one output.
//!
//! A reload opens an output while its predecessor still runs. Then both write files, each its own, but only one of them
//! uploads: its turn is over when it has ended, and the other's begins.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

/// The folders that this process has. Those that nobody claims any more go when the next one comes.
static FOLDERS: Mutex<Vec<Weak<Folder>>> = Mutex::new(Vec::new());

/// A folder that this process has locked.
struct Folder {
    path: PathBuf,
    state: Mutex<State>,
    turn: Arc<Turn<()>>,
    /// Keeps other processes off.
    _lock: File,
}

#[derive(Default)]
struct State {
    /// The generations of the outputs that have it, or want to.
    claims: Vec<u64>,
    /// The files that are being written, by their ids.
    written: Vec<u128>,
}

/// An output's claim to a folder.
pub(super) struct Claim {
    folder: Arc<Folder>,
    generation: u64,
    turn: Mutex<Option<OwnedMutexGuard<()>>>,
}

/// A file that is being written: nobody else touches it.
pub(super) struct Writing {
    folder: Arc<Folder>,
    id: u128,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Claim {
    /// Makes the folder if need be and claims it. Of one generation, that is of one configuration, only one output may.
    pub(super) fn new(path: &Path, generation: u64) -> Result<Claim, String> {
        let shown = path.display();
        let failed = |error: io::Error| format!("buffer_dir: {shown}: {error}");
        let taken = || format!("{shown} is used by another output: give each its own azure_kusto_buffer_key");
        fs::create_dir_all(path).map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        let mut folders = lock(&FOLDERS);
        folders.retain(|folder| folder.strong_count() > 0);
        let known = folders.iter().filter_map(Weak::upgrade).find(|folder| folder.path == path);
        let folder = match known {
            Some(folder) => folder,
            None => {
                let file = File::create(path.join("lock")).map_err(failed)?;
                match file.try_lock() {
                    Ok(()) => {}
                    Err(TryLockError::WouldBlock) => return Err(taken()),
                    Err(TryLockError::Error(error)) => return Err(failed(error)),
                }
                let folder =
                    Arc::new(Folder { path, state: Mutex::default(), turn: Arc::default(), _lock: file });
                folders.push(Arc::downgrade(&folder));
                folder
            }
        };
        let mut state = lock(&folder.state);
        if state.claims.contains(&generation) {
            return Err(taken());
        }
        state.claims.push(generation);
        drop(state);
        Ok(Claim { folder, generation, turn: Mutex::default() })
    }

    /// Takes its turn if nobody else has it.
    pub(super) fn try_turn(&self) -> bool {
        let mut turn = lock(&self.turn);
        if turn.is_none() {
            *turn = Arc::clone(&self.folder.turn).try_lock_owned().ok();
        }
        turn.is_some()
    }

    /// Waits for its turn.
    pub(super) async fn turn(&self) {
        if !self.try_turn() {
            let guard = Arc::clone(&self.folder.turn).lock_owned().await;
            *lock(&self.turn) = Some(guard);
        }
    }

    /// Whether the next output waits for its turn.
    pub(super) fn has_successor(&self) -> bool {
        lock(&self.folder.state).claims.iter().any(|claim| *claim > self.generation)
    }

    /// A file is being written from now on.
    pub(super) fn write(&self, id: u128) -> Writing {
        lock(&self.folder.state).written.push(id);
        Writing { folder: Arc::clone(&self.folder), id }
    }

    /// Whether somebody writes a file.
    pub(super) fn is_written(&self, id: u128) -> bool {
        lock(&self.folder.state).written.contains(&id)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        lock(&self.folder.state).claims.retain(|claim| *claim != self.generation);
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        lock(&self.folder.state).written.retain(|id| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_from_one_generation_to_the_next_and_to_nobody_of_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let first = Claim::new(folder.path(), 1).unwrap();
        assert!(first.try_turn() && !first.has_successor());
        assert!(Claim::new(folder.path(), 1).err().unwrap().contains("azure_kusto_buffer_key"));
        let second = Claim::new(folder.path(), 2).unwrap();
        assert!(first.has_successor() && !second.try_turn(), "one at a time");
        let writing = first.write(7);
        assert!(second.is_written(7), "files that the other writes are known");
        drop((writing, first));
        assert!(second.try_turn() && !second.is_written(7));
        // What was opened for a reload that failed is as if it had never been.
        drop(Claim::new(folder.path(), 3).unwrap());
        assert!(!second.has_successor());
        drop(second);
        let lock = File::create(folder.path().join("lock")).unwrap();
        lock.try_lock().expect("the folder is free");
        assert!(Claim::new(folder.path(), 4).err().unwrap().contains("used by another output"));
    }
}
