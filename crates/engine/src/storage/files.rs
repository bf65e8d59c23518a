//! The file system as storage needs it: few operations, each by path, so that a test can stand in for it, stop at
//! any of them and show what is left.
//!
//! Nothing is mapped and no descriptor is kept: a folder that is deleted while the agent runs is noticed by the next
//! write, and a thousand tags need no thousand descriptors.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What storage does with files.
pub(crate) trait Files: Send + Sync + 'static {
    /// Writes pieces one after the other from `offset` on. With `create` the file may be new.
    fn write(&self, path: &Path, create: bool, offset: u64, pieces: &[&[u8]]) -> io::Result<()>;
    /// Cuts a file.
    fn truncate(&self, path: &Path, size: u64) -> io::Result<()>;
    /// Deletes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Moves a file.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes a folder and those above it.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// Names what is in a folder, and whether it is a folder itself.
    fn list(&self, path: &Path, each: &mut dyn FnMut(&str, bool)) -> io::Result<()>;
    /// The size of a file.
    fn size(&self, path: &Path) -> io::Result<u64>;
    /// Reads from a place in a file on.
    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read>>;
    /// Waits until a file is on the disk.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Waits until everything in the file system of a folder is on the disk, names included.
    fn sync_all(&self, folder: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct System;

impl Files for System {
    fn write(&self, path: &Path, create: bool, mut offset: u64, pieces: &[&[u8]]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(create).truncate(false).open(path)?;
        for piece in pieces {
            file.write_all_at(piece, offset)?;
            offset += piece.len() as u64;
        }
        Ok(())
    }

    fn truncate(&self, path: &Path, size: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(size)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn list(&self, path: &Path, each: &mut dyn FnMut(&str, bool)) -> io::Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if let (Some(name), Ok(kind)) = (entry.file_name().to_str(), entry.file_type()) {
                each(name, kind.is_dir());
            }
        }
        Ok(())
    }

    fn size(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn read(&self, path: &Path, offset: u64) -> io::Result<Box<dyn Read>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.sync_data()
    }

    fn sync_all(&self, folder: &Path) -> io::Result<()> {
        let folder = File::open(folder)?;
        // SAFETY: the descriptor is open for the length of the call.
        if unsafe { libc::syncfs(folder.as_raw_fd()) } == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
