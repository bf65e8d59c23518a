//! The files of a batch, and what they were before it.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Files whose state before the batch is remembered. A batch that is written to more of them and fails leaves what
/// stands in the others, to be written again.
const REMEMBERED: usize = 1_024;

pub(super) struct Files {
    mkdir: bool,
    /// Each file with its length before, and after what was written.
    before: Vec<(PathBuf, u64)>,
}

impl Files {
    pub(super) fn new(mkdir: bool) -> Files {
        Files { mkdir, before: Vec::new() }
    }

    /// Opens a file to append to; also says whether it is empty.
    pub(super) fn open(&mut self, path: &Path) -> io::Result<(File, bool)> {
        let named = |error: io::Error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound if !self.mkdir => " (make the directory, or set mkdir to on)",
                _ => "",
            };
            io::Error::new(error.kind(), format!("cannot write {}: {error}{hint}", path.display()))
        };
        let opened = match open(path) {
            Err(error) if self.mkdir && error.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().unwrap_or(Path::new("."));
                std::fs::create_dir_all(parent).and_then(|()| open(path))
            }
            opened => opened,
        };
        let file = opened.map_err(named)?;
        let length = file.metadata().map_err(named)?.len();
        if self.before.len() < REMEMBERED && !self.before.iter().any(|(other, _)| other == path) {
            self.before.push((path.to_owned(), length));
        }
        Ok((file, length == 0))
    }

    /// Cuts the files back to what they were.
    pub(super) fn undo(&self) {
        for (path, length) in &self.before {
            let cut = OpenOptions::new().write(true).open(path).and_then(|file| {
                // What is no file, a pipe for example, takes nothing back.
                if file.metadata()?.is_file() { file.set_len(*length) } else { Ok(()) }
            });
            if let Err(error) = cut {
                tracing::warn!(
                    "[output:file] {} cannot be cut back, and will have records twice: {error}",
                    path.display()
                );
            }
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}
