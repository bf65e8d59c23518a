//! What a plugin is: the contracts between the engine and inputs, filters and outputs.
//!
//! A plugin crate lists its plugins as [`InputDef`], [`FilterDef`] and [`OutputDef`]; the engine knows them
//! only through these tables. `open` reads the options, reports every problem and builds the instance; nothing
//! of a plugin runs before the whole configuration is valid.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use budget::{Account, Budget, Share};
use event::{Signal, Window};
use formats::multiline::Joins;
use formats::parser::Parser;
use options::{Reader, Spec};

use crate::batch::Batch;
use crate::emit::Emitter;
use crate::lane::{Ending, Stop};
use crate::metrics::{Counters, Figure};
use crate::parsers::Parsers;
use crate::pipeline::Upstream;

/// A future that stays on the thread that polls it.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// An input as the registry lists it.
pub struct InputDef {
    /// The name in the configuration.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// The options that `open` reads beside the common ones.
    pub specs: fn(&mut Vec<Spec>),
    /// Builds an instance.
    pub open: fn(&mut Reader<'_>, &Setup) -> Option<Arc<dyn Input>>,
}

/// A filter as the registry lists it.
pub struct FilterDef {
    /// The name in the configuration.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// The options that `open` reads beside the common ones.
    pub specs: fn(&mut Vec<Spec>),
    /// Builds an instance.
    pub open: fn(&mut Reader<'_>, &Setup) -> Option<Box<dyn Filter>>,
}

/// An output as the registry lists it.
pub struct OutputDef {
    /// The name in the configuration.
    pub name: &'static str,
    /// One line for the help.
    pub about: &'static str,
    /// The options that `open` reads beside the common ones.
    pub specs: fn(&mut Vec<Spec>),
    /// Builds an instance.
    pub open: fn(&mut Reader<'_>, &Setup) -> Option<Arc<dyn Output>>,
}

/// What `open` gets to build an instance with.
pub struct Setup {
    /// The instance as the user names it in logs and metrics: its alias, or for example `http.0`.
    pub name: String,
    /// The ledger.
    pub budget: Budget,
    /// `json.escape_unicode` of the service section.
    pub escape_unicode: bool,
    /// The parsers of the configuration.
    pub parsers: Arc<Parsers>,
    /// Groups of servers that outputs may name.
    pub upstreams: Arc<[Upstream]>,
    /// What the engine counts, for an input that tells of it.
    pub counters: Counters,
}

impl Setup {
    /// A setup with nothing but a name and a ledger, as tests and measurements have it.
    pub fn alone(name: &str, budget: Budget) -> Setup {
        Setup {
            name: name.to_owned(),
            budget,
            escape_unicode: true,
            parsers: Arc::default(),
            upstreams: Arc::default(),
            counters: Counters::default(),
        }
    }

    /// The parser that option `key` names, or a problem of the section.
    pub fn parser(&self, key: &str, name: &str, reader: &mut Reader<'_>) -> Option<Arc<Parser>> {
        let parser = self.parsers.find(name);
        if parser.is_none() {
            let what = format!("option \"{key}\": there is no parser \"{name}\"");
            reader.refuse(key, what, Some(self.parsers.hint(name)));
        }
        parser
    }

    /// The multiline parsers that option `key` names, or a problem of the section. `key_content` takes the
    /// place of the key that they join the values of.
    pub fn multiline(
        &self,
        key: &str,
        names: &[String],
        key_content: Option<&str>,
        reader: &mut Reader<'_>,
    ) -> Option<Joins> {
        let mut parsers = Vec::new();
        for name in names {
            match self.parsers.find_multiline(name) {
                Some(parser) => parsers.push(parser),
                None => {
                    let what = format!("option \"{key}\": there is no multiline parser \"{name}\"");
                    reader.refuse(key, what, Some(self.parsers.multiline_hint(name)));
                }
            }
        }
        let all = parsers.len() == names.len();
        all.then(|| Joins::new(parsers, key_content, self.parsers.multiline_limit()))
    }

    /// Opens an account of the instance, or reports what does not fit as a problem of its section.
    pub fn account(&self, purpose: &'static str, share: Share, reader: &mut Reader<'_>) -> Option<Account> {
        let account = self.budget.account(&self.name, purpose, share);
        if account.is_err() {
            let stat = self.budget.stat();
            let free = stat.limit.saturating_sub(stat.guaranteed);
            reader.refuse(
                "name",
                format!(
                    "{} bytes set aside for {purpose} do not fit: {free} bytes of the budget are left",
                    share.guaranteed
                ),
                Some("raise memory_limit in the service section, or remove an instance".to_owned()),
            );
        }
        account.ok()
    }
}

/// What an input may need beside what it sets aside.
#[derive(Debug, Clone, Copy, Default)]
pub struct InputNeeds {
    /// Bytes of the largest piece that is taken whole or not at all, and the option that says so.
    pub largest: Option<(usize, &'static str)>,
    /// Connections at a time.
    pub connections: usize,
    /// What the kernel may hold for each connection's socket.
    pub socket_bytes: usize,
}

/// A source of records. It owns its loop; waiting in [`Emitter::append`] is its backpressure.
pub trait Input: Send + Sync + 'static {
    /// How many lanes of its own the input wants; 0 runs it on the core thread.
    fn lanes(&self) -> usize {
        0
    }

    /// Whether it may run while the instance that it replaces at a reload is still ending, as servers do that
    /// share a socket with it. Others begin when that one has ended.
    fn overlaps(&self) -> bool {
        false
    }

    /// Binds sockets and the like, before any lane runs: the last moment to refuse to start.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    fn start(&self) -> Result<(), String> {
        Ok(())
    }

    /// What it may take in one piece, and how many connections it may have.
    fn needs(&self) -> InputNeeds {
        InputNeeds::default()
    }

    /// Runs until the input is exhausted or `stop` says so, once per lane. After `stop` no new work is taken;
    /// what was begun may end.
    ///
    /// # Errors
    /// One line that says why the input cannot go on. The engine logs it and starts the input again.
    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>>;

    /// Nothing runs any more, and what could be settled is settled: the last moment to write down how far the
    /// input has got. Called on the core thread, also when the input was cut off.
    fn stopped(&self) {}
}

/// A transformation of records: a filter, or a processor of an input or output. Runs in the lane of the input, or
/// of the output. What all lanes have in common it shares between the filters that [`Filter::for_lane`] makes.
pub trait Filter: Send {
    /// Changes, removes or adds records of one tag, or sends some under another ([`Window::emit`]). Records that
    /// begin or end a group are not shown.
    fn logs(&mut self, tag: &event::Tag, window: &mut Window<'_>);

    /// The same filter for another lane.
    fn for_lane(&self) -> Box<dyn Filter>;

    /// How many times the bytes of a record the filter may make of it as values of its own: a map of its entries, a
    /// text parsed. The engine leases as much before it shows the record.
    fn copies(&self) -> usize {
        0
    }

    /// The emitter that records come from when the filter sends them under another tag; a filter without one
    /// sends none. Records that the emitter has no room for make the input wait, and then refuse.
    fn emitter(&self) -> Option<Emitting> {
        None
    }

    /// How often [`Filter::tick`] is called; a filter that holds records back needs it.
    fn interval(&self) -> Option<Duration> {
        None
    }

    /// Sends what was held back long enough, or, when it is the `last` call because the inputs of the lane have
    /// ended, everything. The window has no records.
    fn tick(&mut self, _window: &mut Window<'_>, _last: bool) {}
}

/// What a filter says about its emitter.
#[derive(Debug, Clone, Default)]
pub struct Emitting {
    /// Its name in logs and metrics; `emitter_for_` and the filter's name if there is none.
    pub name: Option<String>,
    /// The most memory that its records may hold; 0 for no limit but the process's.
    pub mem_buf_limit: usize,
    /// Whether its records are to survive a restart, where there is storage.
    pub filesystem: bool,
}

/// How an output wants to be driven.
#[derive(Debug, Clone, Copy)]
pub struct Drive {
    /// Threads of its own; 0 runs it on the core thread.
    pub lanes: usize,
    /// Flushes at a time, over all lanes.
    pub concurrency: usize,
    /// The most bytes of records in one batch. A single chunk may be larger.
    pub batch_bytes: usize,
    /// The most chunks in one batch.
    pub batch_chunks: usize,
}

/// A destination: the part that its lanes share (tokens, resources, pools).
pub trait Output: Send + Sync + 'static {
    /// How the output wants to be driven.
    fn drive(&self) -> Drive;

    /// What the output takes. It is given nothing else.
    fn signals(&self) -> &'static [Signal] {
        &[Signal::Logs]
    }

    /// Binds and checks before inputs open: the last moment to refuse to start. A destination that does not
    /// answer is no reason.
    ///
    /// # Errors
    /// One line that says what is wrong and what to do.
    fn start(&self) -> Result<(), String> {
        Ok(())
    }

    /// What the output counts beside what the engine counts. Called whenever somebody asks, on any thread.
    fn figures(&self) -> Vec<Figure> {
        Vec::new()
    }

    /// The part for one lane. Called on the lane's thread, within its runtime.
    fn lane(self: Arc<Self>) -> Box<dyn OutputLane>;
}

/// The part of an output that belongs to one lane and never leaves its thread.
pub trait OutputLane {
    /// Delivers a batch. Retry, backoff, metrics and the decision to give up are the engine's.
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome>;

    /// No more batches come: the agent stops, or a reload has replaced the output. What the lane has left to do is
    /// done here; when `ending` is over, the process ends.
    fn finish<'a>(&'a self, _ending: &'a Ending) -> Local<'a, ()> {
        Box::pin(async {})
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has accepted every record.
    Done,
    /// Not now. `after` overrides the schedule, for example a `Retry-After`.
    Retry {
        /// How long to wait, if the destination said so.
        after: Option<Duration>,
        /// One line for the log.
        why: String,
    },
    /// Not before somebody changes something (a missing table, a permission). Not counted against
    /// `retry_limit`.
    Hold {
        /// One line for the log.
        why: String,
    },
    /// Never. The records are dropped and counted, or put into the dead letter.
    Reject {
        /// One line for the log.
        why: String,
    },
    /// Too large, or something in it is refused: send the halves.
    Split {
        /// One line for the log.
        why: String,
    },
}
