//! The kernel's word that a file has changed.

use std::collections::HashMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::offsets::Key;

const FILE: u32 = libc::IN_MODIFY | libc::IN_ATTRIB | libc::IN_MOVE_SELF;
const DIRECTORY: u32 = libc::IN_CREATE | libc::IN_MOVED_TO | libc::IN_ONLYDIR;
/// Room for some hundred events at a time.
const BUFFER: usize = 8_192;

/// What is watched.
pub(super) struct Watch {
    inotify: AsyncFd<OwnedFd>,
    files: HashMap<i32, Key>,
}

/// What has happened.
#[derive(Debug, Default)]
pub(super) struct Happened {
    /// These files have changed.
    pub(super) files: Vec<Key>,
    /// These may have another name, or none.
    pub(super) moved: Vec<Key>,
    /// There may be new files.
    pub(super) created: bool,
    /// The kernel has dropped events: everything must be looked at.
    pub(super) all: bool,
}

impl Watch {
    pub(super) fn new() -> io::Result<Watch> {
        // SAFETY: makes a descriptor, or fails.
        let descriptor = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else's.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        // SAFETY: the descriptor stays open as long as its owner within.
        let inotify = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }
            .map_err(|error| error.into_parts().1)?;
        Ok(Watch { inotify, files: HashMap::new() })
    }

    /// Watches a file by its descriptor, whatever its name is by now.
    pub(super) fn file(&mut self, key: Key, file: &impl AsRawFd) -> io::Result<i32> {
        let wd = self.add(format!("/proc/self/fd/{}", file.as_raw_fd()).as_ref(), FILE)?;
        self.files.insert(wd, key);
        Ok(wd)
    }

    /// Watches a directory for new files.
    pub(super) fn directory(&mut self, path: &Path) -> io::Result<()> {
        self.add(path, DIRECTORY).map(drop)
    }

    fn add(&self, path: &Path, events: u32) -> io::Result<i32> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: a descriptor that is open and a path that ends with NUL.
        let wd = unsafe { libc::inotify_add_watch(self.inotify.as_raw_fd(), path.as_ptr(), events) };
        if wd < 0 { Err(io::Error::last_os_error()) } else { Ok(wd) }
    }

    /// Watches it no longer.
    pub(super) fn remove(&mut self, wd: i32) {
        self.files.remove(&wd);
        // SAFETY: a descriptor that is open; a watch that is gone is an error without effect.
        unsafe { libc::inotify_rm_watch(self.inotify.as_raw_fd(), wd) };
    }

    /// Waits until something has happened.
    pub(super) async fn wait(&mut self) -> Happened {
        let mut happened = Happened::default();
        let Ok(mut ready) = self.inotify.readable().await else {
            happened.all = true;
            return happened;
        };
        let mut buffer = [0; BUFFER];
        let descriptor = self.inotify.as_raw_fd();
        // Once: what is left wakes the next wait.
        // SAFETY: the buffer is as long as said.
        let read = unsafe { libc::read(descriptor, buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(read) {
            Ok(read) => happened.read(&buffer[..read], &self.files),
            Err(_) => ready.clear_ready(),
        }
        happened
    }
}

impl Happened {
    /// Events as inotify(7) writes them: watch, mask, cookie, length of the name, name.
    fn read(&mut self, mut events: &[u8], files: &HashMap<i32, Key>) {
        while let Some((head, rest)) = events.split_first_chunk::<16>() {
            let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (wd, mask, name) = (word(0) as i32, word(4), word(12) as usize);
            events = rest.get(name..).unwrap_or_default();
            if mask & libc::IN_Q_OVERFLOW != 0 {
                self.all = true;
            } else if let Some(key) = files.get(&wd) {
                let list = if mask & libc::IN_MODIFY != 0 { &mut self.files } else { &mut self.moved };
                if list.last() != Some(key) {
                    list.push(*key);
                }
            } else if mask & (libc::IN_CREATE | libc::IN_MOVED_TO) != 0 {
                self.created = true;
            }
        }
    }
}
