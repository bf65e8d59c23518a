//! Configuration files: classic and YAML text in, one [`Document`] with positions out.
//!
//! ```
//! use config::{Env, load_text};
//!
//! let loaded = load_text(
//!     "weir.conf",
//!     "[INPUT]\n    Name  http\n    Port  ${PORT:-9880}\n\n[OUTPUT]\n    Name  stdout\n    Match *\n",
//!     &|_name: &str| None,
//! );
//! assert!(loaded.problems.is_empty(), "{}", loaded.problems);
//! let port = loaded.document.inputs[0].get("port").unwrap();
//! assert_eq!((port.value.as_str(), port.pos.to_string().as_str()), ("9880", "weir.conf:3:11"));
//! ```
//!
//! A name that ends in `.yaml` or `.yml` is YAML, any other is classic; an included file is read as the file that
//! includes it. The same pipeline gives the same document in either format, so nothing after this crate knows
//! which one was used.
//!
//! Reading goes on after a problem, and [`Loaded::problems`] holds those of all files. What still works but is
//! probably not meant, such as a variable that is not set, is in [`Loaded::warnings`].
//!
//! The crate knows no plugin: whether an option exists and what its value means is the business of the `options`
//! crate, which reads the sections of a document.
//!
//! Invariants: every file is read through [`read_limited`], and [`limits`] bounds what all of them together may
//! take. A position points into the text as the user wrote it, before variables are replaced.

mod assemble;
mod classic;
mod document;
mod env;
mod files;
mod glob;
pub mod limits;
mod yaml;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use options::{Pos, Problem, Problems};

pub use document::Document;
pub use env::{Env, process_env};
pub use files::{ReadError, read_limited};

use assemble::Assembly;
use files::Files;

/// What came of reading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// What the files define with `@SET` or `env`.
    pub variables: BTreeMap<String, String>,
    /// The configuration; incomplete when there are problems.
    pub document: Document,
    /// What must be mended before it can be used.
    pub problems: Problems,
    /// What works but is probably not meant.
    pub warnings: Problems,
}

/// Loads the file at `path` and all it includes; `env` looks up the variables it does not define.
pub fn load(path: &Path, env: &dyn Env) -> Loaded {
    let mut load = Load { root: folder_of(path), ..Load::default() };
    load.file(path, None, Format::of(path));
    load.assembly.finish(files::name_of(path), env)
}

/// The sections of a file that `parsers_file` names.
pub const PARSERS: &[&str] = &["parser", "multiline_parser"];

/// The sections of a file that an output's `upstream` names.
pub const UPSTREAMS: &[&str] = &["upstream"];

/// Loads a file that another one names at `from`, for its sections of some `kinds`.
pub fn load_part(path: &Path, from: &Pos, kinds: &'static [&'static str], env: &dyn Env) -> Loaded {
    let mut load = Load { part: Some(kinds), root: folder_of(path), ..Load::default() };
    load.file(path, Some(from), Format::of(path));
    let mut assembly = load.assembly;
    let (sections, others): (Vec<_>, Vec<_>) =
        assembly.sections.into_iter().partition(|section| kinds.contains(&section.kind.as_str()));
    assembly.sections = sections;
    for other in others {
        let what = format!("section \"{}\" has no effect in this file", other.kind);
        assembly.warnings.push(Problem::new(other.pos, what));
    }
    assembly.finish(files::name_of(path), env)
}

/// Where a relative `path` of the configuration file `main` leads: from the working directory if there is such a
/// file, else from the folder of `main`.
pub fn resolve(main: &Path, path: &str) -> PathBuf {
    let here = PathBuf::from(path);
    if here.is_absolute() || here.exists() { here } else { folder_of(main).join(path) }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

/// Loads `text` as if it stood in a file called `name`, which decides the format and where includes are looked for.
pub fn load_text(name: &str, text: &str, env: &dyn Env) -> Loaded {
    let mut load = Load::default();
    let path = Path::new(name);
    load.text(path, text, Format::of(path));
    load.assembly.finish(files::name_of(path), env)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Classic,
    Yaml,
}

impl Format {
    fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml")) { Self::Yaml } else { Self::Classic }
    }
}

/// The state of one load: what has been understood so far, and which files it came from.
#[derive(Default)]
struct Load {
    assembly: Assembly,
    files: Files,
    lines: usize,
    /// The sections that are looked for; `None` in a main file, which may have all but parsers.
    part: Option<&'static [&'static str]>,
    /// The folder of the main file.
    root: PathBuf,
}

impl Load {
    /// Reads one file and what it includes. `from` is the place that asked for it.
    fn file(&mut self, path: &Path, from: Option<&Pos>, format: Format) {
        match self.files.open(path, from, format) {
            Ok(text) => {
                self.text(path, &text, format);
                self.files.close();
            }
            Err(problem) => self.assembly.problems.push(problem),
        }
    }

    fn text(&mut self, path: &Path, text: &str, format: Format) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match format {
            Format::Classic => classic::read(self, path, text),
            Format::Yaml => yaml::read(self, path, text),
        }
    }

    /// Reads the files that an include in the file `path` names. Fluent Bit looks for a relative name of a classic
    /// file in the working directory, then beside the main file; here also beside the file that has it.
    fn include(&mut self, path: &Path, pattern: &str, pos: &Pos, format: Format) {
        let own = folder_of(path).join(pattern);
        let candidates = match format {
            Format::Classic => [PathBuf::from(pattern), self.root.join(pattern), own],
            Format::Yaml => [own.clone(), self.root.join(pattern), own],
        };
        let [first, second, last] = &candidates;
        if !glob::is_pattern(last) {
            let found = [first, second].into_iter().find(|path| path.exists()).unwrap_or(last);
            return self.file(found, Some(pos), format);
        }
        let mut found = Vec::new();
        for pattern in &candidates {
            match glob::expand(pattern) {
                Ok(files) => found = files,
                Err(why) => return self.problem(pos, format!("cannot list {}: {why}", pattern.display())),
            }
            if !found.is_empty() {
                break;
            }
        }
        if found.is_empty() {
            return self.problem(pos, format!("no file matches {}", last.display()));
        }
        for path in found {
            self.file(&path, Some(pos), format);
        }
    }

    /// Counts the lines of classic files that say something; false, once with a problem, when there are too many.
    fn count(&mut self, pos: &Pos) -> bool {
        self.lines += 1;
        if self.lines == limits::MAX_NODES + 1 {
            self.problem(pos, format!("more than {} lines in all files", limits::MAX_NODES));
        }
        self.lines <= limits::MAX_NODES
    }

    fn problem(&mut self, pos: &Pos, what: impl Into<String>) {
        self.assembly.problems.push(Problem::new(pos.clone(), what));
    }
}
