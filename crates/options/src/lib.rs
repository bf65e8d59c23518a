//! What a setting is: one typed struct per plugin, and everything that follows from it.
//!
//! A plugin declares its options once, as a struct:
//!
//! ```
//! use options::{Choice, Options, Period, Reader, Rules, Secret, Size, Words};
//!
//! #[derive(Debug, Options)]
//! #[options(check = HttpOptions::check)]
//! struct HttpOptions {
//!     /// Address to connect to.
//!     #[option(default = "127.0.0.1")]
//!     host: String,
//!     /// Port to connect to.
//!     #[option(default = "80", min = "1")]
//!     port: u16,
//!     /// Where the table lives.
//!     #[option(required)]
//!     database: String,
//!     /// Largest body that is accepted.
//!     #[option(name = "http_server.buffer_max_size", alias = "buffer_max_size", default = "4M", max = "1G")]
//!     buffer_max_size: Size,
//!     /// How long a silent connection is kept.
//!     #[option(default = "10s")]
//!     idle_timeout: Period,
//!     /// User of the basic authentication.
//!     http_user: Option<String>,
//!     /// Password of the basic authentication.
//!     http_passwd: Option<Secret>,
//!     /// A header to add: its name, then its value.
//!     header: Vec<Words<2>>,
//!     /// How the body is compressed.
//!     #[option(default = "none")]
//!     compress: Compress,
//!     #[option(flatten)]
//!     tls: TlsOptions,
//!     #[option(rules)]
//!     edits: Vec<Edit>,
//! }
//!
//! #[derive(Choice, Debug)]
//! enum Compress {
//!     None,
//!     Gzip,
//!     #[choice(name = "zstd", alias = "zst")]
//!     Zstandard,
//! }
//!
//! #[derive(Debug, Options)]
//! struct TlsOptions {
//!     /// Speak TLS.
//!     #[option(name = "tls", default = "off")]
//!     enabled: bool,
//! }
//!
//! /// Options that act in the order of the file.
//! #[derive(Rules, Debug, PartialEq)]
//! enum Edit {
//!     /// Set a key to a value.
//!     Set(Words<2>),
//!     /// Remove a key.
//!     Remove(String),
//! }
//!
//! impl HttpOptions {
//!     fn check(&self, reader: &mut Reader<'_>) {
//!         if self.http_passwd.is_some() && self.http_user.is_none() {
//!             reader.refuse("http_passwd", "http_passwd without http_user", None);
//!         }
//!     }
//! }
//!
//! let options = HttpOptions::from_pairs(&[
//!     ("database", "logs"),
//!     ("remove", "pid"),
//!     ("set", "site north west"),
//! ]).unwrap();
//! assert_eq!(options.port, 80);
//! assert_eq!(options.edits[0], Edit::Remove("pid".into()));
//! assert_eq!(HttpOptions::from_pairs(&[("database", "logs"), ("hots", "db")]).unwrap_err().to_string(),
//!     "pairs:2:1: options: unknown option \"hots\"; did you mean \"host\"?");
//! ```
//!
//! From that one declaration come the parsing, the defaults, the errors and the [`Spec`] table from which help,
//! reference pages and schemas are written. A default is text read by the parser of its type; the derive adds a
//! test that reads it, so a bad one cannot be released.
//!
//! A field that could be left without a value does not compile:
//!
//! ```compile_fail
//! # use options::Options;
//! #[derive(Options)]
//! struct Incomplete {
//!     /// Port to connect to.
//!     port: u16,
//! }
//! ```
//!
//! A section is read by a [`Reader`], from which several structs may take what is theirs:
//!
//! ```
//! # use options::{Options, Pos, Reader, Section};
//! # #[derive(Options)] struct Common { /** Tag. */ tag: Option<String> }
//! # #[derive(Options)] struct Own { /** Rate. */ #[option(default = "1")] rate: u32 }
//! # let section = Section::new("input", Pos::new("weir.conf", 1, 1));
//! let mut reader = Reader::new(&section);
//! let common = Common::read(&mut reader);
//! let own = Own::read(&mut reader);
//! let finished = reader.finish(&["threaded", "rdkafka."]); // known, without effect
//! if finished.problems.is_empty() {
//!     let (Some(_common), Some(_own)) = (common, own) else { unreachable!("no problem, no None") };
//! }
//! ```
//!
//! Invariants: a struct that exists is valid, so nothing checks an option twice. An option named in a file is
//! taken, known or reported. A value that a [`Secret`] or an unread [`Entry`] holds is never shown.

extern crate self as options;

mod field;
mod list;
mod nearest;
mod place;
mod problem;
mod reader;
mod secret;
mod section;
mod spec;
mod units;
mod value;

pub use field::Field;
pub use list::{CommaList, SpaceList, Words};
pub use nearest::{did_you_mean, nearest};
pub use options_derive::{Choice, Options, Rules};
pub use place::{Pos, Text};
pub use problem::{MAX_KEPT, Problem, Problems};
pub use reader::{Finished, Reader};
pub use secret::Secret;
pub use section::{Entry, Section, snake_case};
pub use spec::{Spec, assert_sound, plain, ranged};
pub use units::{Period, Size};
pub use value::{Invalid, Kind, Value, not_a_choice, quoted};

/// A struct of options; derive it.
pub trait Options: Sized {
    /// Appends the table of the options, flattened ones included.
    fn specs(out: &mut Vec<Spec>);

    /// Takes the options out of `reader`.
    ///
    /// `None` means that something is wrong and on record in the reader: every field is read all the same, so
    /// that all problems come in one run. A struct that comes back can still be refused by its own `check`; the
    /// problems of [`Reader::finish`] decide.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;

    /// Reads options written in code, as tests and built-in configurations do.
    ///
    /// # Errors
    ///
    /// Everything wrong with them; line N of the file `pairs` is the Nth pair.
    fn from_pairs(pairs: &[(&str, &str)]) -> Result<Self, Problems> {
        let pos = Pos::new("pairs", 1, 1);
        let mut section = Section::new("options", pos.clone());
        for (line, (key, value)) in (1..).zip(pairs) {
            let pos = pos.at(line, 1);
            section
                .entries
                .push(Entry { key: Text::new(snake_case(key), pos.clone()), value: Text::new(*value, pos) });
        }
        let mut reader = Reader::new(&section);
        let read = Self::read(&mut reader);
        let problems = reader.finish(&[]).problems;
        match read {
            Some(read) if problems.is_empty() => Ok(read),
            _ => Err(problems),
        }
    }

    /// The options of a section that sets none.
    ///
    /// # Errors
    ///
    /// When one of them is required.
    fn defaults() -> Result<Self, Problems> {
        Self::from_pairs(&[])
    }
}

/// An enum of repeatable options that act in the order of the file; derive it.
///
/// Each variant is an option and holds its value. A field `#[option(rules)] edits: Vec<Edit>` collects them.
pub trait Rules: Sized {
    /// Appends one entry per variant, in the order of the variants.
    fn specs(out: &mut Vec<Spec>);

    /// Reads the value of the option at `index` of [`specs`](Self::specs).
    ///
    /// # Errors
    ///
    /// As the type of the variant says.
    fn parse(index: usize, text: &str) -> Result<Self, Invalid>;
}
