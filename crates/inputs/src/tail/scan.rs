//! Which files there are.

use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The paths that a pattern matches, in the order of their names; the pattern may start with `~`.
pub(super) fn matches(pattern: &str) -> Result<Vec<String>, String> {
    let text = CString::new(pattern).map_err(|_| format!("the path {pattern} holds a NUL"))?;
    let mut found = MaybeUninit::<libc::glob_t>::zeroed();
    // SAFETY: a pattern that ends with NUL and a result that `glob` fills in.
    let outcome = unsafe { libc::glob(text.as_ptr(), libc::GLOB_TILDE, None, found.as_mut_ptr()) };
    // SAFETY: zeroed before, so it is initialised whatever `glob` did.
    let mut found = unsafe { found.assume_init() };
    let paths = match outcome {
        0 => {
            // SAFETY: `glob` says how many paths there are; each ends with NUL.
            let paths = (0..found.gl_pathc).map(|at| unsafe { CStr::from_ptr(*found.gl_pathv.add(at)) });
            Ok(paths.map(|path| path.to_string_lossy().into_owned()).collect())
        }
        libc::GLOB_NOMATCH => Ok(Vec::new()),
        libc::GLOB_ABORTED => {
            Err(format!("{pattern} cannot be read: check the permissions of its directories"))
        }
        _ => Err(format!("there is no memory to look for {pattern}")),
    };
    // SAFETY: filled in by `glob`, or zeroed.
    unsafe { libc::globfree(&raw mut found) };
    paths
}

/// Whether a path matches a pattern as a whole; `*` matches `/` as well.
pub(super) fn fits(pattern: &str, path: &str) -> bool {
    let (Ok(pattern), Ok(path)) = (CString::new(pattern), CString::new(path)) else { return false };
    // SAFETY: two texts that end with NUL.
    unsafe { libc::fnmatch(pattern.as_ptr(), path.as_ptr(), 0) == 0 }
}

/// The directories of a pattern whose new files must be noticed: only one that holds no wildcard itself.
pub(super) fn directory(pattern: &str) -> Option<&Path> {
    let parent = Path::new(pattern).parent()?;
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let plain = !parent.as_os_str().as_bytes().iter().any(|byte| b"*?[~".contains(byte));
    plain.then_some(parent)
}

/// The name that an inode has in the directory of `name`, where it had that name before.
pub(super) fn renamed(name: &str, inode: u64) -> Option<String> {
    let entries = std::fs::read_dir(Path::new(name).parent()?).ok()?;
    let found = entries.flatten().find(|entry| {
        use std::os::unix::fs::DirEntryExt;
        entry.ino() == inode && entry.metadata().is_ok_and(|found| found.is_file() && found.ino() == inode)
    });
    Some(found?.path().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_files_and_exclusions_match_whole_paths() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.log", "a.log", "a.log.1", "c.txt"] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let pattern = format!("{}/*.log", folder.path().display());
        let found = matches(&pattern).unwrap();
        assert_eq!(
            found.iter().map(|path| path.rsplit('/').next().unwrap()).collect::<Vec<_>>(),
            ["a.log", "b.log"]
        );
        assert_eq!(matches("/nowhere/*.log"), Ok(Vec::new()));
        assert!(fits("*.gz", "/var/log/a.gz") && !fits("*.gz", "/var/log/a.gz.1"));
        assert_eq!(directory("/var/log/*.log"), Some(Path::new("/var/log")));
        assert_eq!(directory("/var/*/x.log"), None);
    }

    #[test]
    fn a_file_is_found_by_its_inode_under_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("a.log"), folder.path().join("a.log.1"));
        std::fs::write(&old, "x").unwrap();
        let inode = std::fs::metadata(&old).unwrap().ino();
        std::fs::rename(&old, &new).unwrap();
        assert_eq!(renamed(old.to_str().unwrap(), inode).as_deref(), new.to_str());
    }
}
