//! `tail`: follows files; each line is a record.
//!
//! ```text
//! [INPUT]
//!     name    tail
//!     path    /var/log/app/*.log
//!     parser  json
//!     tag     app.*
//!     db      /var/lib/weir/tail.db
//! ```
//!
//! A file is known by its inode, so it is followed when it is renamed, to its end and `rotate_wait` longer; a
//! file that is truncated, or holds something else than it did, is read from its start. New files are noticed
//! when they are made (with `inotify_watcher`) or every `refresh_interval` seconds.
//!
//! With `db` the place in each file survives a restart. It moves when the records before it are safe: delivered,
//! or stored with filesystem storage. So nothing is skipped whatever happens to the agent, and after a clean stop
//! nothing is repeated; after a crash what was on its way is read again. A file that was renamed while the agent
//! was down is found by its inode in the directory it was in. The database is Fluent Bit's: either takes over the
//! other's.
//!
//! Without a parser a record is `{"log": line}` (`key`). A line that the parser does not take is such a record as
//! well. In a `tag` with `*` this stands for the path, with dots for slashes; with `tag_regex` its groups fill
//! `<name>` in the tag. Files that end with `.gz` are decompressed.

mod db;
mod docker;
mod file;
mod firstline;
mod gzip;
mod join;
mod lines;
mod offsets;
mod scan;
mod tag;
mod watch;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use budget::{Account, Share};
use engine::{Emitter, Input, InputDef, Local, Setup, Stop};
use event::Tag;
use formats::ruby::RubyRegex;
use options::{CommaList, Invalid, Kind, Options, Period, Reader, Size, Value};

use crate::parsing::LineParser;
use db::{Db, Journal, Sync};
use file::{Buffer, TailFile, Turn};
use join::How;
use lines::{Long, Rules};
use offsets::{Key, Known, Offsets};
use watch::{Happened, Watch};

/// The registry's entry.
pub static INPUT: InputDef =
    InputDef { name: "tail", about: "follows files", specs: TailOptions::specs, open };

/// What a followed file costs beside its path, name and tag: entry, descriptor, offset. Measured with 2,000 files.
const FILE_BYTES: usize = 1_024;
/// The files that are followed may take this part of the budget.
const FILES_PART: usize = 16;
/// Files whose age was looked at and that are remembered.
const AGED_FILES: usize = 8_192;
/// Records that are not settled, over all files, before reading waits.
const UNSETTLED: usize = 8_192;
/// How often offsets are moved while there is something to move.
const SETTLE: Duration = Duration::from_millis(250);
/// How long an instance that ends waits for what it has handed over. What takes longer is looked at when the agent
/// has stopped.
const REST: Duration = Duration::from_secs(2);
/// How long new files may wait to be looked for, so that many at once are found by one look.
const GATHER: Duration = Duration::from_millis(50);

#[derive(Debug, Options)]
#[options(check = TailOptions::check)]
struct TailOptions {
    /// The files, as patterns with commas between them.
    #[option(required)]
    path: CommaList,
    /// Patterns of files not to follow.
    exclude_path: Option<CommaList>,
    /// The key of a line that no parser has taken apart.
    #[option(default = "log")]
    key: String,
    /// Read files that are there at the start from their start, not from their end.
    #[option(default = "off")]
    read_from_head: bool,
    /// Read files that appear later from their start.
    #[option(default = "on")]
    read_newly_discovered_files_from_head: bool,
    /// How often new files are looked for, in seconds; a fraction may follow.
    #[option(default = "60")]
    refresh_interval: Seconds,
    /// How often all files are looked at, with `inotify_watcher` off.
    #[option(default = "2s", min = "1")]
    watcher_interval: Period,
    /// How often files that grow unnoticed are looked at, in seconds.
    #[option(default = "2s")]
    progress_check_interval: Period,
    /// Nanoseconds to add to `progress_check_interval`.
    #[option(default = "0", max = "999999999")]
    progress_check_interval_nsec: u32,
    /// How long a file that was renamed or removed is followed.
    #[option(default = "5")]
    rotate_wait: Period,
    /// The key to add the file's path under.
    path_key: Option<String>,
    /// The key to add the place of the line in the file under.
    offset_key: Option<String>,
    /// Leave files alone that have not changed for this long; 0 for none.
    #[option(default = "0")]
    ignore_older: Period,
    /// Leave them alone as well when they are being followed.
    #[option(default = "off")]
    ignore_active_older_files: bool,
    /// What a file is read by at first, in bytes.
    #[option(default = "32768", min = "1024", max = "256M")]
    buffer_chunk_size: Size,
    /// The longest line, in bytes.
    #[option(default = "32768", min = "1024", max = "256M")]
    buffer_max_size: Size,
    /// Bytes of a file that are read before another one has its turn.
    #[option(default = "50M", min = "1")]
    static_batch_size: Size,
    /// The same, for files that have been read to their end before.
    #[option(default = "50M", min = "1")]
    event_batch_size: Size,
    /// Pass over lines that are too long; otherwise the file is left alone from there on.
    #[option(default = "off")]
    skip_long_lines: bool,
    /// Cut lines that are too long.
    #[option(default = "off")]
    truncate_long_lines: bool,
    /// Pass over empty lines.
    #[option(default = "off")]
    skip_empty_lines: bool,
    /// Stop the agent when every file is read to its end.
    #[option(default = "off")]
    exit_on_eof: bool,
    /// Tell the kernel that what was read need not stay in its cache.
    #[option(default = "on")]
    file_cache_advise: bool,
    /// Let the kernel tell of changes; otherwise files are looked at from time to time.
    #[option(default = "on")]
    inotify_watcher: bool,
    /// The parser that takes a line apart.
    parser: Option<String>,
    /// Multiline parsers that join lines, the first that takes a line; see `[MULTILINE_PARSER]`.
    #[option(name = "multiline.parser")]
    multiline_parsers: Vec<CommaList>,
    /// Join lines by `parser_firstline`: the way before `multiline.parser`. What `parser_1`, `parser_2` and so on
    /// take of the lines that follow is added to the record, any other line to the text that stands last in it.
    #[option(default = "off")]
    multiline: bool,
    /// With `multiline`: how long a record waits for more lines.
    #[option(default = "4")]
    multiline_flush: Period,
    /// With `multiline`: the parser that takes the first line of a record.
    parser_firstline: Option<String>,
    /// Join what Docker has split: the way before `multiline.parser docker`.
    #[option(default = "off")]
    docker_mode: bool,
    /// With `docker_mode`: how many seconds a line waits for the rest of it.
    #[option(default = "4")]
    docker_mode_flush: u32,
    /// With `docker_mode`: the parser that takes the first line of a record; whole lines are joined until the next.
    docker_mode_parser: Option<String>,
    /// A regular expression for paths, whose named groups fill `<name>` in the tag.
    tag_regex: Option<RubyRegex>,
    /// The file of the database that remembers how far files were read.
    db: Option<String>,
    /// How careful the database is written.
    #[option(name = "db.sync", default = "normal")]
    db_sync: Sync,
    /// Keep other processes from the database.
    #[option(name = "db.locking", default = "off")]
    db_locking: bool,
    /// Where the database keeps what makes a change whole.
    #[option(name = "db.journal_mode", default = "wal")]
    db_journal_mode: Journal,
    /// Take a file for known only under its name.
    #[option(name = "db.compare_filename", default = "off")]
    db_compare_filename: bool,
}

/// Seconds with a fraction.
#[derive(Debug, Clone, Copy)]
struct Seconds(Duration);

impl Value for Seconds {
    const KIND: Kind = Kind::Period;

    fn parse(text: &str) -> Result<Seconds, Invalid> {
        match text.parse::<f64>() {
            Ok(seconds) if (0.001..1e9).contains(&seconds) => Ok(Seconds(Duration::from_secs_f64(seconds))),
            _ => Period::parse(text).map(|period| Seconds(period.duration())),
        }
    }
}

impl TailOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.buffer_chunk_size > self.buffer_max_size {
            let hint = format!("set buffer_max_size to {} or more", self.buffer_chunk_size.0);
            let what = "buffer_max_size is smaller than buffer_chunk_size";
            reader.refuse("buffer_max_size", what, Some(hint));
        }
        let ways = [self.multiline, self.docker_mode, !self.multiline_parsers.is_empty()];
        if ways.iter().filter(|way| **way).count() > 1 {
            let what = "multiline, docker_mode and multiline.parser exclude each other";
            reader.refuse("multiline", what, Some("keep one of them".to_owned()));
        } else if self.multiline && self.parser_firstline.is_none() && self.parser.is_none() {
            let hint = "name the parser of the first line of a record, or use multiline.parser".to_owned();
            reader.refuse("multiline", "multiline without parser_firstline", Some(hint));
        }
        if self.refresh_interval.0.is_zero() {
            reader.refuse("refresh_interval", "option \"refresh_interval\" is 0", None);
        }
    }

    fn rules(&self) -> Rules {
        let long = match (self.truncate_long_lines, self.skip_long_lines) {
            (true, _) => Long::Cut,
            (false, true) => Long::Skip,
            (false, false) => Long::Stop,
        };
        let longest = self.buffer_max_size.0 as usize - 1;
        Rules { longest, long, skip_empty: self.skip_empty_lines }
    }
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Input>> {
    let options = TailOptions::read(reader)?;
    let parser = LineParser::open(options.parser.as_deref(), reader, setup)?;
    let how = How::open(&options, reader, setup)?;
    let files = setup.account("files", Share::at_most(setup.budget.stat().limit / FILES_PART), reader)?;
    let read = Buffer::share(&options.buffer_chunk_size, &options.buffer_max_size);
    let read = setup.account("read", read, reader)?;
    Some(Arc::new(Tail {
        name: setup.name.clone(),
        rules: options.rules(),
        options,
        parser,
        how,
        files,
        read,
        offsets: Mutex::new(Offsets::new(None)),
    }))
}

struct Tail {
    name: String,
    options: TailOptions,
    rules: Rules,
    parser: LineParser,
    /// Joins lines, if that is wanted.
    how: Option<How>,
    /// For what is known of files.
    files: Account,
    /// For what files are read into.
    read: Account,
    /// Looked at once more when everything is settled, after the lane has ended.
    offsets: Mutex<Offsets>,
}

impl Input for Tail {
    fn lanes(&self) -> usize {
        1
    }

    fn start(&self) -> Result<(), String> {
        let TailOptions { db, db_sync, db_locking, db_journal_mode, db_compare_filename, .. } = &self.options;
        if let Some(path) = db {
            let db = Db::open(path, *db_sync, *db_journal_mode, *db_locking, *db_compare_filename);
            let db = db.map_err(|error| format!("the database {path} cannot be opened: {error}"))?;
            *self.offsets() = Offsets::new(Some(db));
        }
        Ok(())
    }

    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let Some(mut files) = Files::new(&self, &out) else {
                return Err("there is no memory to read into".to_owned());
            };
            files.follow(&stop).await;
            self.rest().await;
            Ok(())
        })
    }

    fn stopped(&self) {
        self.offsets().settle();
    }
}

impl Tail {
    /// The tag of a file.
    fn tag_of(&self, path: &str, out: &Emitter) -> Tag {
        let own = out.tag();
        let Some(regex) = &self.options.tag_regex else {
            return if own.as_str().contains('*') { tag::expand(own.as_str(), path) } else { own.clone() };
        };
        let captures = regex.captures(path.as_bytes());
        tag::fill(own.as_str(), |name| {
            let numbers = regex.names().iter().filter(|(group, _)| group == name);
            let found = numbers.filter_map(|(_, number)| captures.as_ref()?.get(*number)).next()?;
            std::str::from_utf8(found).ok()
        })
    }

    /// Gives what was handed over some time to settle: after a reload another instance goes on from there.
    async fn rest(&self) {
        let since = Instant::now();
        self.offsets().settle();
        while self.offsets().pending() > 0 && since.elapsed() < REST {
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.offsets().settle();
        }
    }

    fn offsets(&self) -> MutexGuard<'_, Offsets> {
        self.offsets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files that are followed.
struct Files<'a> {
    tail: &'a Tail,
    out: &'a Emitter,
    open: HashMap<Key, TailFile>,
    by_inode: HashMap<(u64, u64), Key>,
    /// How far files had been read, or how long they were, that are left alone because of their age.
    aged: HashMap<(u64, u64), u64>,
    watch: Option<Watch>,
    buffer: Buffer,
    next: Key,
    /// The cap on files was said.
    full: bool,
}

/// When what is due.
struct Due {
    scan: Instant,
    check: Instant,
    settle: Instant,
}

impl<'a> Files<'a> {
    fn new(tail: &'a Tail, out: &'a Emitter) -> Option<Files<'a>> {
        let watch = tail.options.inotify_watcher.then(Watch::new).and_then(|watch| {
            watch
                .map_err(|error| {
                    tracing::warn!(
                        "[input:{}] inotify does not work ({error}): files are looked at from time to time",
                        tail.name
                    )
                })
                .ok()
        });
        Some(Files {
            tail,
            out,
            open: HashMap::new(),
            by_inode: HashMap::new(),
            aged: HashMap::new(),
            watch,
            buffer: Buffer::new(&tail.read, tail.options.buffer_chunk_size, tail.options.buffer_max_size)?,
            next: 1,
            full: false,
        })
    }

    async fn follow(&mut self, stop: &Stop) {
        self.watch_directories();
        self.scan(true);
        self.find_renamed();
        let now = Instant::now();
        let mut due = Due { scan: now + self.tail.options.refresh_interval.0, check: now, settle: now };
        while !stop.is_requested() {
            let more = self.read_all(stop).await;
            self.look(&mut due);
            if more {
                continue;
            }
            if self.tail.options.exit_on_eof {
                tracing::info!("[input:{}] every file is read to its end: the agent stops", self.tail.name);
                stop.ask_exit(0);
                return;
            }
            self.wait(&mut due, stop).await;
        }
    }

    /// Reads files that have something, each for its turn. Whether some of them have more.
    async fn read_all(&mut self, stop: &Stop) -> bool {
        let ready: Vec<Key> = self
            .open
            .values()
            .filter(|file| file.dirty || file.flush_is_due())
            .map(|file| file.key)
            .collect();
        let mut more = false;
        for key in ready {
            let Some(file) = self.open.get_mut(&key) else { continue };
            if !file.is_due() {
                continue;
            }
            let turn = tokio::select! {
                turn = file.read(self.tail, self.out, &mut self.buffer) => turn,
                // Records of a turn that was not handed over are read again.
                () = stop.requested() => return false,
            };
            more |= turn == Turn::More;
            while self.tail.offsets().pending() >= UNSETTLED && !stop.is_requested() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.tail.offsets().settle();
            }
        }
        more
    }

    /// Does what is due.
    fn look(&mut self, due: &mut Due) {
        let now = Instant::now();
        let options = &self.tail.options;
        if now >= due.settle {
            self.tail.offsets().settle();
            due.settle = now + SETTLE;
        }
        if now >= due.check {
            self.check_all();
            let progress = options.progress_check_interval.duration()
                + Duration::from_nanos(u64::from(options.progress_check_interval_nsec));
            let every = if self.watch.is_some() { progress } else { options.watcher_interval.duration() };
            due.check = now + every.max(Duration::from_millis(10));
        }
        if now >= due.scan {
            self.scan(false);
            due.scan = now + options.refresh_interval.0;
        }
    }

    /// Waits until a file has changed or something is due.
    async fn wait(&mut self, due: &mut Due, stop: &Stop) {
        let pending = self.tail.offsets().pending() > 0;
        let retry = self.open.values().filter(|file| file.dirty).filter_map(|file| file.not_before).min();
        let mut until = due.scan.min(due.check);
        if pending {
            until = until.min(due.settle);
        }
        let flush = self.open.values().filter_map(|file| file.flush_at).min();
        until = retry.into_iter().chain(flush).fold(until, Instant::min);
        let happened = tokio::select! {
            happened = next_event(&mut self.watch) => happened,
            () = tokio::time::sleep_until(until.into()) => Happened::default(),
            () = stop.requested() => return,
        };
        if happened.all {
            (due.check, due.scan) = (Instant::now(), Instant::now());
        }
        if happened.created {
            due.scan = due.scan.min(Instant::now() + GATHER);
        }
        for key in happened.files {
            if let Some(file) = self.open.get_mut(&key) {
                file.dirty = true;
            }
        }
        for key in happened.moved {
            self.check(key);
        }
    }

    fn watch_directories(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        for directory in self.tail.options.path.iter().filter_map(|pattern| scan::directory(pattern)) {
            // One that is not there yet is found by the next look for new files.
            if let Err(error) = watch.directory(directory) {
                tracing::debug!("[input:{}] {} is not watched: {error}", self.tail.name, directory.display());
            }
        }
    }

    /// Looks for files that are not followed yet.
    fn scan(&mut self, first: bool) {
        if !first {
            self.watch_directories();
        }
        for pattern in self.tail.options.path.iter() {
            match scan::matches(pattern) {
                Ok(paths) => paths.iter().for_each(|path| self.found(path, first)),
                Err(why) => tracing::error!("[input:{}] {why}", self.tail.name),
            }
        }
    }

    fn is_excluded(&self, path: &str) -> bool {
        let excluded = self.tail.options.exclude_path.as_ref();
        excluded.is_some_and(|patterns| patterns.iter().any(|pattern| scan::fits(pattern, path)))
    }

    /// Whether a path is one of those to follow.
    fn is_wanted(&self, path: &str) -> bool {
        self.tail.options.path.iter().any(|pattern| scan::fits(pattern, path)) && !self.is_excluded(path)
    }

    /// Follows a file that matches, unless it is followed already or too old.
    fn found(&mut self, path: &str, first: bool) {
        let Ok(found) = std::fs::metadata(path) else { return };
        let inode = (found.dev(), found.ino());
        if !found.is_file() || self.by_inode.contains_key(&inode) || self.is_excluded(path) {
            return;
        }
        if self.is_too_old(&found) {
            if self.aged.len() < AGED_FILES {
                self.aged.entry(inode).or_insert(found.len());
            }
            return;
        }
        let start = match self.aged.remove(&inode) {
            Some(offset) if offset <= found.len() => Some(offset),
            Some(_) => Some(0),
            None => None,
        };
        self.open(path, path, first, start);
    }

    fn is_too_old(&self, found: &std::fs::Metadata) -> bool {
        let limit = self.tail.options.ignore_older;
        let age = found.modified().ok().and_then(|time| time.elapsed().ok());
        !limit.is_zero() && age.is_some_and(|age| age > limit.duration())
    }

    /// Follows the file at `path`, which is known by the name `found_as`.
    fn open(&mut self, path: &str, found_as: &str, first: bool, start: Option<u64>) {
        let bytes = FILE_BYTES + 4 * path.len();
        let Ok(lease) = self.tail.files.try_lease(bytes) else {
            if !std::mem::replace(&mut self.full, true) {
                tracing::error!(
                    "[input:{}] {path} is not followed: {} files are as many as the memory limit allows",
                    self.tail.name,
                    self.open.len()
                );
            }
            return;
        };
        let mut file = match TailFile::open(self.next, path, found_as, self.tail, self.out, lease) {
            Ok(file) => file,
            Err(error) => return tracing::error!("[input:{}] cannot open {path}: {error}", self.tail.name),
        };
        // Another one may have the name by now.
        if self.by_inode.contains_key(&file.inode) {
            return;
        }
        let options = &self.tail.options;
        let from_head =
            if first { options.read_from_head } else { options.read_newly_discovered_files_from_head };
        let mut offsets = self.tail.offsets();
        file.offset = match offsets.known(&file.file, file.inode.1, path, file.size) {
            Known::At(offset) => offset,
            Known::Replaced => 0,
            Known::No => start.unwrap_or(if from_head || file.is_compressed() { 0 } else { file.size }),
        };
        offsets.open(file.key, &file.file, file.inode.1, path, file.offset);
        drop(offsets);
        tracing::debug!("[input:{}] inode={} from {} on: {path}", self.tail.name, file.inode.1, file.offset);
        if let Some(watch) = &mut self.watch {
            match watch.file(file.key, &*file.file) {
                Ok(wd) => file.watch = Some(wd),
                Err(error) => tracing::warn!(
                    "[input:{}] {path} is not watched ({error}): it is looked at from time to time",
                    self.tail.name
                ),
            }
        }
        file.begin();
        self.by_inode.insert(file.inode, file.key);
        self.open.insert(file.key, file);
        self.next += 1;
    }

    /// Files that were renamed while the agent was down are read to their end; rows of others that are gone
    /// are removed.
    fn find_renamed(&mut self) {
        let rows = self.tail.offsets().unfollowed();
        for row in rows {
            match scan::renamed(&row.name, row.inode) {
                Some(path) => {
                    self.open(&path, &row.name, true, None);
                    let key = self.next - 1;
                    if !self.is_wanted(&path)
                        && let Some(file) = self.open.get_mut(&key)
                    {
                        file.rotated = Some(Instant::now());
                    }
                }
                None => {
                    tracing::info!(
                        "[input:{}] the database forgets {}: it is gone",
                        self.tail.name,
                        row.name
                    );
                    self.tail.offsets().remove_row(row.id);
                }
            }
        }
    }

    fn check_all(&mut self) {
        let keys: Vec<Key> = self.open.keys().copied().collect();
        keys.into_iter().for_each(|key| self.check(key));
    }

    /// Looks at a file: whether it has more, has been renamed or removed, or is too old.
    fn check(&mut self, key: Key) {
        let Some(file) = self.open.get_mut(&key) else { return };
        let Ok(state) = file.file.metadata() else { return };
        file.dirty |= state.len() != file.offset;
        if file.rotated.is_none() && !file.has_its_name() {
            self.moved(key, state.nlink() == 0);
        }
        self.end(key, &state);
    }

    /// A file has another name, or none. One that is still wanted is followed as before.
    fn moved(&mut self, key: Key, removed: bool) {
        let Some(name) = self.open.get(&key).map(TailFile::name_now) else { return };
        let rotated = removed || !self.is_wanted(&name);
        let Some(file) = self.open.get_mut(&key) else { return };
        tracing::info!("[input:{}] inode={} {} is now {name}", self.tail.name, file.inode.1, file.name);
        file.name = name;
        file.rotated = rotated.then(Instant::now);
        self.tail.offsets().rotated(key, &file.name);
        // The next file of that name may be there already.
        self.scan(false);
    }

    /// Ends a file that is rotated and read, or too old.
    fn end(&mut self, key: Key, state: &std::fs::Metadata) {
        let Some(file) = self.open.get_mut(&key) else { return };
        let over =
            file.rotated.is_some_and(|since| since.elapsed() >= self.tail.options.rotate_wait.duration());
        if over && !file.dirty && !file.finish() {
            // Its last line has no end: it is taken now.
            return;
        }
        let aged = self.tail.options.ignore_active_older_files && self.is_too_old(state);
        let Some(file) = self.open.get(&key) else { return };
        if (!over && !aged) || file.dirty {
            return;
        }
        let (inode, offset, watch) = (file.inode, file.offset, file.watch);
        if over {
            self.tail.offsets().close(key);
        } else if self.tail.offsets().safe(key) == Some(offset) && self.aged.len() < AGED_FILES {
            self.tail.offsets().forget(key);
            self.aged.insert(inode, offset);
        } else {
            return;
        }
        if let (Some(wd), Some(watcher)) = (watch, &mut self.watch) {
            watcher.remove(wd);
        }
        self.by_inode.remove(&inode);
        self.open.remove(&key);
        self.full = false;
    }
}

async fn next_event(watch: &mut Option<Watch>) -> Happened {
    match watch {
        Some(watch) => watch.wait().await,
        None => std::future::pending().await,
    }
}
