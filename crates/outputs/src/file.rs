//! Appends records to files.
//!
//! ```text
//! [OUTPUT]
//!     name   file
//!     match  *
//!     path   /var/log/collected
//!     mkdir  on
//!     rotate on
//! ```
//!
//! Without `file` each tag has a file of its own: what is no letter, digit, dot, dash or underscore in the tag becomes
//! an underscore, and a slash a directory. `path` and `file` may have places for values of the record
//! (`$kubernetes['pod']`, `$TAG`) and, with `enable_strftime`, of its time (`%Y-%m-%d`, UTC).
//!
//! | format | a line |
//! |---|---|
//! | `out_file` | `app.log: [1700000000.123456789, {"level":"info"}]` |
//! | `plain` | `{"level":"info"}` |
//! | `csv` | `1700000000.123456789,"info"` |
//! | `ltsv` | `"time":1700000000.123457` and, behind a tab, `"level":"info"` |
//! | `template` | what `template` says |
//! | `msgpack` | the records as they lie |
//!
//! A batch is written whole or not at all: when a write fails, the files are cut back to what they were and the batch
//! is tried again.

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use budget::{Account, Share};
use engine::{Batch, Drive, Figure, Local, Outcome, Output, OutputDef, OutputLane, Part, Setup};
use event::{Corrupt, Cursor, EventTime, Signal};
use formats::metrics;
use options::{Choice, Options, Reader, Size};

use crate::payload::unwritten;
use crate::rows::{BLOCK, record_time};
use crate::sink::{Sink, Unwritten};
use crate::template::Template;
use files::Files;
use format::Writing;
use place::{Place, Placed};
use rotate::Rotation;

mod files;
mod format;
mod place;
mod rotate;

/// The `file` output.
pub static DEF: OutputDef =
    OutputDef { name: "file", about: "Appends records to files", specs: FileOptions::specs, open };

#[derive(Debug, Options)]
#[options(check = FileOptions::check)]
struct FileOptions {
    /// Directory of the files. It may have places for values of the record behind its beginning.
    path: Option<Template>,
    /// Name of the file; without it, the tag. It may have places for values of the record.
    file: Option<Template>,
    /// Fill in the time of the record, in UTC, where path and file have letters of strftime: `%Y-%m-%d`.
    #[option(default = "off")]
    enable_strftime: bool,
    /// The most files that places in path and file may make; 0 for no limit.
    #[option(default = "1024")]
    max_dynamic_files: usize,
    /// What becomes of a record that lacks a value for path or file, or has one that no file may be named by.
    #[option(default = "error")]
    on_missing_field: Action,
    /// What becomes of a record for which there would be too many files.
    #[option(default = "error")]
    on_limit_reached: Action,
    /// Directory of `fallback_file`.
    fallback_path: Option<String>,
    /// File for records that have no other: see `on_missing_field`.
    fallback_file: Option<String>,
    /// How records are written.
    #[option(default = "out_file")]
    format: Format,
    /// What stands between two values: a comma in csv, a tab in ltsv unless this says otherwise.
    delimiter: Option<Delimiter>,
    /// What stands between a key and its value in ltsv: a colon unless this says otherwise.
    label_delimiter: Option<Delimiter>,
    /// The line of the format template: {key} is replaced by the value of the key, {time} by the time.
    #[option(default = "{time} {message}")]
    template: String,
    /// Begin a file in csv with the names of the keys.
    #[option(default = "off")]
    csv_column_names: bool,
    /// Make directories that are missing.
    #[option(default = "off")]
    mkdir: bool,
    /// Move a file that has become too large aside.
    #[option(default = "off")]
    rotate: bool,
    /// The size at which a file is moved aside.
    #[option(default = "100M", min = "1")]
    rotate_max_size: Size,
    /// How many files that were moved aside are kept.
    #[option(default = "7")]
    rotate_max_files: usize,
    /// Compress files that were moved aside.
    #[option(default = "on")]
    rotate_gzip: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Action {
    /// The record is refused: dropped and counted.
    Error,
    /// It is left out and counted.
    Drop,
    /// It goes to the fallback file.
    Fallback,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Format {
    #[choice(name = "out_file")]
    OutFile,
    Plain,
    Csv,
    Ltsv,
    Template,
    Msgpack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Delimiter {
    #[choice(alias = "\\t")]
    Tab,
    Space,
    Comma,
}

impl Delimiter {
    fn text(self) -> &'static str {
        match self {
            Delimiter::Tab => "\t",
            Delimiter::Space => " ",
            Delimiter::Comma => ",",
        }
    }
}

impl FileOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        let path = self.path.as_ref().map_or("", Template::as_str);
        if path.starts_with('$') {
            let what = "path begins with a value of the record, which could be any place on the machine";
            reader.refuse("path", what, Some("begin it with a directory".to_owned()));
        }
        let fallback = [self.on_missing_field, self.on_limit_reached].contains(&Action::Fallback);
        if self.fallback_file.is_none() && (fallback || self.varies()) {
            let what = "path or file has places for values, and fallback_file is missing";
            let hint = "set fallback_file to the file for records without these values";
            reader.refuse("fallback_file", what, Some(hint.to_owned()));
        }
    }

    fn varies(&self) -> bool {
        let mut templates = [&self.path, &self.file].into_iter().flatten();
        templates.any(|text| text.varies() || (self.enable_strftime && text.as_str().contains('%')))
    }
}

struct File {
    place: Place,
    /// Whether each record may have a file of its own.
    by_record: bool,
    on_missing: Action,
    on_limit: Action,
    most_files: usize,
    /// The files that places have made.
    made: Mutex<HashSet<PathBuf>>,
    writing: Writing,
    mkdir: bool,
    rotation: Option<Rotation>,
    escape_unicode: bool,
    skipped: engine::metrics::Counter,
    account: Account,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let options = FileOptions::read(reader)?;
    let rotation = options.rotate.then_some(Rotation {
        size: options.rotate_max_size.0,
        keep: options.rotate_max_files,
        gzip: options.rotate_gzip,
    });
    let held = BLOCK + rotation.as_ref().map_or(0, |rotation| rotation.held(setup.budget.page_size()));
    let share = Share { guaranteed: held, max: held + metrics::HELD };
    let account = setup.account("text", share, reader)?;
    Some(Arc::new(File {
        by_record: options.varies(),
        on_missing: options.on_missing_field,
        on_limit: options.on_limit_reached,
        most_files: options.max_dynamic_files,
        made: Mutex::default(),
        writing: Writing::new(&options),
        mkdir: options.mkdir,
        rotation,
        escape_unicode: setup.escape_unicode,
        skipped: Default::default(),
        place: Place::new(options),
        account,
    }))
}

impl Output for File {
    fn drive(&self) -> Drive {
        // A thread of its own, because disks block. One chunk at a time, which is undone whole.
        Drive { lanes: 1, concurrency: 1, batch_bytes: usize::MAX, batch_chunks: 1 }
    }

    fn figures(&self) -> Vec<Figure> {
        let help = "Records that path or file have no value for, and that are left out as configured.";
        vec![Figure::counter("weir_output_file_skipped_records_total", help, self.skipped.get())]
    }

    fn signals(&self) -> &'static [Signal] {
        &[Signal::Logs, Signal::Metrics]
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        Box::new(Lane(self))
    }
}

struct Lane(Arc<File>);

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        let outcome = match self.0.account.try_lease(BLOCK) {
            Ok(_lease) => self.0.write(batch),
            Err(full) => unwritten(full.into(), batch),
        };
        Box::pin(std::future::ready(outcome))
    }
}

/// Why a batch is not in the files.
enum Failed {
    Unwritten(Unwritten),
    /// No file takes the record.
    Refused(&'static str),
}

impl<T: Into<Unwritten>> From<T> for Failed {
    fn from(error: T) -> Failed {
        Failed::Unwritten(error.into())
    }
}

impl File {
    fn write(&self, batch: &Batch) -> Outcome {
        let mut files = Files::new(self.mkdir);
        let mut skipped = 0;
        let mut written = Ok(());
        for part in &batch.parts {
            written = written.and_then(|()| match self.by_record {
                _ if part.signal() == Signal::Metrics => self.write_metrics(part, &mut files),
                true => self.write_by_record(part, &mut files, &mut skipped),
                false => self.write_part(part, &mut files),
            });
        }
        match written {
            Ok(()) => {
                self.skipped.add(skipped);
                return Outcome::Done;
            }
            Err(_) => files.undo(),
        }
        match written {
            Err(Failed::Unwritten(Unwritten::Io(error))) => {
                Outcome::Retry { after: None, why: error.to_string() }
            }
            Err(Failed::Refused(why)) if batch.records() > 1 => Outcome::Split { why: why.to_owned() },
            Err(Failed::Refused(why)) => Outcome::Reject { why: why.to_owned() },
            _ => unwritten(Corrupt.into(), batch),
        }
    }

    /// A file for the whole chunk.
    fn write_part(&self, part: &Part, files: &mut Files) -> Result<(), Failed> {
        let tag = part.tag().as_str();
        self.rotate(&self.place.of_tag(tag))?;
        let (file, new) = files.open(&self.place.of_tag(tag))?;
        let mut sink = Sink::new(file, self.escape_unicode);
        let mut cursor = part.cursor()?;
        let mut first = new;
        for _ in 0..part.records() {
            self.writing.record(tag, &mut cursor, first, &mut sink)?;
            first = false;
        }
        Ok(sink.finish()?)
    }

    /// A line for each sample. They have no values that a path could be made of.
    fn write_metrics(&self, part: &Part, files: &mut Files) -> Result<(), Failed> {
        let path = match self.by_record {
            true => self.place.fallback(),
            false => Some(self.place.of_tag(part.tag().as_str())),
        };
        let path = path.ok_or(Failed::Refused("metrics have no values that path and file can be made of"))?;
        let _held = self
            .account
            .try_lease(metrics::HELD)
            .map_err(|_| std::io::Error::other("no memory is left for metrics"))?;
        self.rotate(&path)?;
        let (mut file, _) = files.open(&path)?;
        let mut cursor = part.cursor()?;
        for _ in 0..part.records() {
            let mut written = Ok(());
            metrics::decode(&mut cursor, |family| {
                let mut text = String::new();
                metrics::text(&[family], &mut text);
                if written.is_ok() {
                    written = file.write_all(text.as_bytes());
                }
            })?;
            written?;
        }
        Ok(())
    }

    /// A file for each record, which stays open while the same one is meant.
    fn write_by_record(&self, part: &Part, files: &mut Files, skipped: &mut usize) -> Result<(), Failed> {
        let tag = part.tag().as_str();
        let mut cursor = part.cursor()?;
        let mut current: Option<(PathBuf, Sink<std::fs::File>)> = None;
        for _ in 0..part.records() {
            let Some(path) = self.path_of(tag, &cursor)? else {
                cursor.skip()?;
                *skipped += 1;
                continue;
            };
            let mut new = false;
            if current.as_ref().is_none_or(|(open, _)| *open != path) {
                if let Some((_, mut sink)) = current.take() {
                    sink.finish()?;
                }
                self.rotate(&path)?;
                let (file, is_new) = files.open(&path)?;
                new = is_new;
                current = Some((path, Sink::new(file, self.escape_unicode)));
            }
            if let Some((_, sink)) = &mut current {
                self.writing.record(tag, &mut cursor, new, sink)?;
            }
        }
        if let Some((_, mut sink)) = current {
            sink.finish()?;
        }
        Ok(())
    }

    /// The file of the record at the cursor; `None` when the record is left out.
    fn path_of(&self, tag: &str, cursor: &Cursor<'_>) -> Result<Option<PathBuf>, Failed> {
        let mut body = cursor.clone();
        let time: EventTime = record_time(&mut body)?;
        let missing = "the record has no value that path and file can be made of";
        let path = match self.place.of_record(tag, time, &body)? {
            Placed::Missing => return self.apply(self.on_missing, missing),
            Placed::At(path) => path,
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if self.most_files > 0 && !made.contains(&path) {
            if made.len() >= self.most_files {
                return self.apply(self.on_limit, "there are max_dynamic_files files already");
            }
            made.insert(path.clone());
        }
        Ok(Some(path))
    }

    fn apply(&self, action: Action, why: &'static str) -> Result<Option<PathBuf>, Failed> {
        match (action, self.place.fallback()) {
            (Action::Drop, _) => Ok(None),
            (Action::Fallback, Some(path)) => Ok(Some(path)),
            _ => Err(Failed::Refused(why)),
        }
    }

    fn rotate(&self, path: &std::path::Path) -> Result<(), Failed> {
        let Some(rotation) = &self.rotation else { return Ok(()) };
        rotation.look_at(path, &self.account);
        Ok(())
    }
}
