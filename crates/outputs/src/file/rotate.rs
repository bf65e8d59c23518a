//! Files that have become too large are moved aside: `app.log` to `app.log.20261124_153000_1a2b3c4d`, compressed to
//! `.gz` unless told otherwise, and the oldest of them are removed.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use budget::{Account, Buf, Full};
use event::EventTime;
use formats::gzip;

use super::place::strftime_here;

/// Bytes that are read at a time.
const READ: usize = 16 << 10;

/// Effort of the compression: gzip's own default.
const LEVEL: u32 = 6;

pub(super) struct Rotation {
    /// Bytes at which a file is moved aside.
    pub(super) size: u64,
    /// Files that are kept.
    pub(super) keep: usize,
    pub(super) gzip: bool,
}

impl Rotation {
    /// Bytes that a rotation holds.
    pub(super) fn held(&self, page_size: usize) -> usize {
        if self.gzip { gzip::Encoder::HELD + page_size + READ } else { 0 }
    }

    /// Moves a file aside if it is too large. What fails is told of: records are worth more than order.
    pub(super) fn look_at(&self, path: &Path, account: &Account) {
        if fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() >= self.size)
            && let Err(error) = self.rotate(path, account)
        {
            tracing::warn!("[output:file] {} is not rotated as configured: {error}", path.display());
        }
    }

    fn rotate(&self, path: &Path, account: &Account) -> io::Result<()> {
        let stamp = strftime_here("%Y%m%d_%H%M%S", EventTime::now());
        let unique = RandomState::new().build_hasher().finish() as u32;
        let aside = PathBuf::from(format!("{}.{stamp}_{unique:08x}", path.display()));
        fs::rename(path, &aside)?;
        tracing::info!("[output:file] {} has become {}", path.display(), aside.display());
        let packed = if self.gzip { pack(&aside, account) } else { Ok(()) };
        self.trim(path)?;
        packed
    }

    /// Removes the oldest files that were moved aside: their names are in the order of their times.
    fn trim(&self, path: &Path) -> io::Result<()> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".";
        let mut kept: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            if !file.strip_prefix(&name).is_some_and(is_stamp) {
                continue;
            }
            let at = kept.partition_point(|other| other.file_name() < Some(entry.file_name().as_os_str()));
            kept.insert(at, entry.path());
            if kept.len() > self.keep {
                fs::remove_file(kept.remove(0))?;
            }
        }
        Ok(())
    }
}

/// `20261124_153000_1a2b3c4d`, and perhaps `.gz`.
fn is_stamp(text: &str) -> bool {
    let text = text.strip_suffix(".gz").unwrap_or(text);
    let digits = |part: &str, count: usize| part.len() == count && part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = text.split('_').collect();
    let [day, time, unique] = parts.as_slice() else { return false };
    digits(day, 8) && digits(time, 6) && unique.len() == 8 && unique.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Compresses a file to `.gz` and removes it.
fn pack(path: &Path, account: &Account) -> io::Result<()> {
    let full = |_| io::Error::other("no memory is left to compress it");
    let _state = account.try_lease(gzip::Encoder::HELD + READ).map_err(full)?;
    let target = PathBuf::from(format!("{}.gz", path.display()));
    let packed = pack_into(path, &target, account);
    fs::remove_file(if packed.is_ok() { path } else { &target })?;
    packed
}

fn pack_into(path: &Path, target: &Path, account: &Account) -> io::Result<()> {
    let (mut from, mut to) = (File::open(path)?, File::create(target)?);
    let (mut encoder, mut out) = (gzip::Encoder::new(LEVEL), Buf::new(account));
    let mut read = vec![0; READ];
    loop {
        let size = from.read(&mut read)?;
        let mut input = &read[..size];
        let mut run =
            |out: &mut Buf| if size == 0 { encoder.finish(out) } else { encoder.write(&mut input, out) };
        while run(&mut out) == Err(Full) {
            drain(&mut out, &mut to)?;
        }
        if size == 0 {
            drain(&mut out, &mut to)?;
            return to.sync_all();
        }
    }
}

/// Writes out what is there, and gives its pages back.
fn drain(out: &mut Buf, to: &mut File) -> io::Result<()> {
    if out.is_empty() {
        return Err(io::Error::other("no memory is left to compress it"));
    }
    for page in out.pages() {
        to.write_all(page)?;
    }
    out.consume(out.len());
    Ok(())
}
