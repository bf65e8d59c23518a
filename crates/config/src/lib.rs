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

use std::path::Path;

use options::{Pos, Problem, Problems};

pub use document::Document;
pub use env::{Env, process_env};
pub use files::{ReadError, read_limited};

use assemble::Assembly;
use files::Files;

/// What came of reading a configuration.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration; incomplete when there are problems.
    pub document: Document,
    /// What must be mended before it can be used.
    pub problems: Problems,
    /// What works but is probably not meant.
    pub warnings: Problems,
}

/// Loads the file at `path` and all it includes; `env` looks up the variables it does not define.
pub fn load(path: &Path, env: &dyn Env) -> Loaded {
    let mut load = Load::default();
    load.file(path, None, Format::of(path));
    load.assembly.finish(files::name_of(path), env)
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

    /// Reads the files that an include in the file `path` names.
    fn include(&mut self, path: &Path, pattern: &str, pos: &Pos, format: Format) {
        let pattern = path.parent().unwrap_or(Path::new("")).join(pattern);
        if !glob::is_pattern(&pattern) {
            return self.file(&pattern, Some(pos), format);
        }
        let found = match glob::expand(&pattern) {
            Ok(found) => found,
            Err(why) => return self.problem(pos, format!("cannot list {}: {why}", pattern.display())),
        };
        if found.is_empty() {
            return self.problem(pos, format!("no file matches {}", pattern.display()));
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
