//! The few file operations all parts share: each one names the path in its error, and a replaced file is
//! either the old one or the new one after a crash.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Puts the path in front of an I/O error's text.
pub(crate) fn at<T>(path: &Path, result: io::Result<T>) -> io::Result<T> {
    result.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Makes a folder and its parents.
pub(crate) fn make_dir(path: &Path) -> io::Result<()> {
    at(path, fs::create_dir_all(path))
}

/// Writes a file under another name, syncs it and moves it into place.
pub(crate) fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, ".new");
    let write = || {
        let mut file = File::create(&beside)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    at(path, write())
}

/// Like [`replace`], readable by the owner only.
pub(crate) fn replace_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let beside = with_suffix(path, ".new");
    let write = || {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    at(path, write())
}

/// Reads a file of the server's own which is never larger than `limit`.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let read = || {
        let mut contents = Vec::new();
        File::open(path)?.take(limit + 1).read_to_end(&mut contents)?;
        if contents.len() as u64 > limit {
            return Err(io::Error::other("the file is larger than this server writes it"));
        }
        Ok(contents)
    };
    at(path, read())
}

/// Deletes a file; one that is not there is as good as deleted.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => at(path, result),
    }
}

/// `path` with `suffix` behind its last part.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
