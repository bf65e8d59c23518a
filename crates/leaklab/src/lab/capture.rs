//! Captures: what was seen and done, one JSON document per line.
//!
//! The first line is a `header`. `sample` lines have what the kernel shows at a time; `phase` lines say what
//! begins; `floor` lines are what the judge works with: memory at rest, and everything done until then; `note`
//! lines are sentences, and `missing` lines say what there was no time for. Times are seconds since the start.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::drive::{Counts, Server};
use super::look::Look;

/// The largest capture that is read.
const LARGEST: u64 = 1 << 30;

/// What a block does; the floors behind it have its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Before any load.
    Start,
    /// Many small requests.
    Requests,
    /// Large requests.
    Payload,
    /// Connections opened and closed.
    Connections,
    /// Small requests that each have a new key.
    Keys,
    /// Small requests over HTTP/2, where the server speaks both.
    Streams,
    /// Nothing.
    Rest,
    /// Hardly anything for some seconds; the allocator may give back what it keeps.
    Patience,
    /// Connections held that sent a small request.
    Held,
    /// The same connections, which then sent a large one.
    HeldLarge,
    /// The same connections closed.
    Closed,
    /// A few requests of a size that was not sent before.
    Size,
}

/// Memory at rest, behind a block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// Seconds since the start.
    pub t: f64,
    /// 0 is the warm-up.
    pub cycle: u32,
    /// The block before it.
    pub kind: Kind,
    /// Bytes that are judged.
    pub anonymous: u64,
    /// The same before allocator and collector were asked to give back what nobody needs.
    pub unasked: u64,
    /// Resident bytes.
    pub rss: u64,
    /// What was done until now.
    pub counts: Counts,
    /// Connections held and verified open.
    pub held: u64,
    /// The size of the block's bodies.
    pub body: u64,
}

/// The first line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Header {
    /// Of this format.
    pub version: u32,
    /// The command line of the target, empty for a process that ran already.
    pub command: String,
    /// Where the load goes, empty without load.
    pub url: String,
    /// Seconds that the run may take.
    pub budget: f64,
    /// When it began, in seconds of Unix time.
    pub started: u64,
    /// What is known of the program: its allocator and runtime.
    pub program: Program,
}

/// A program as far as its files tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// `glibc`, `jemalloc`, `musl`, ... or `unknown`.
    pub allocator: String,
    /// `node`, `go`, `java`, `python`, `native`.
    pub runtime: String,
    /// What is asked for what nobody needs before memory is read; empty: nothing could be.
    #[serde(default)]
    pub asked: String,
    /// The collector is among it, or there is none.
    #[serde(default)]
    pub collected: bool,
}

/// A line of a capture.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum Line {
    /// The first.
    Header(Header),
    /// What the server is and can.
    Server(Server),
    /// What the kernel shows.
    Sample {
        /// Seconds since the start.
        t: f64,
        /// The figures.
        #[serde(flatten)]
        look: Look,
        /// What the process tells of itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inside: Option<u64>,
    },
    /// What begins.
    Phase {
        /// Seconds since the start.
        t: f64,
        /// Its cycle.
        cycle: u32,
        /// Its name.
        name: String,
    },
    /// Memory at rest.
    Floor(Floor),
    /// What there was no time for, without which nothing can be called clean.
    Missing {
        /// Seconds since the start.
        t: f64,
        /// It, in a sentence.
        text: String,
    },
    /// A sentence.
    Note {
        /// Seconds since the start.
        t: f64,
        /// It.
        text: String,
    },
}

/// A capture in memory.
#[derive(Debug, Clone, Default)]
pub struct Capture {
    /// Its lines, in order.
    pub lines: Vec<Line>,
}

impl Capture {
    /// Reads a file.
    ///
    /// # Errors
    /// The system's, or a line that is none, with its number.
    pub fn read(path: &Path) -> Result<Capture, String> {
        let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(|error| fail(&error))?;
        let mut lines = Vec::new();
        for (number, line) in BufReader::new(file.take(LARGEST)).lines().enumerate() {
            let line = line.map_err(|error| fail(&error))?;
            let line = serde_json::from_str(&line);
            lines.push(line.map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))?);
        }
        Ok(Capture { lines })
    }

    /// Writes it whole.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(File::create(path)?);
            for line in &self.lines {
                serde_json::to_writer(&mut file, line)?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        write().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Its floors, in order.
    pub fn floors(&self) -> Vec<Floor> {
        self.lines
            .iter()
            .filter_map(|line| if let Line::Floor(floor) = line { Some(*floor) } else { None })
            .collect()
    }

    /// The first line.
    pub fn header(&self) -> Option<&Header> {
        self.lines.iter().find_map(|line| if let Line::Header(header) = line { Some(header) } else { None })
    }

    /// What the server is and can.
    pub fn server(&self) -> Option<&Server> {
        self.lines.iter().find_map(|line| if let Line::Server(server) = line { Some(server) } else { None })
    }

    /// Its sentences.
    pub fn notes(&self) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter_map(|line| if let Line::Note { text, .. } = line { Some(text.as_str()) } else { None })
    }
}
