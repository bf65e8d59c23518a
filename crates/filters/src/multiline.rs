//! `multiline`: joins records that belong together.
//!
//! ```text
//! [FILTER]
//!     name                   multiline
//!     match                  app.*
//!     multiline.key_content  log
//!     multiline.parser       java, go
//! ```
//!
//! The multiline parsers are tried in their order; the one that took the last record of a stream is tried first. A
//! stream is what one input sends under one tag. A record that none of them takes goes out as it is, behind what
//! was joined before it.
//!
//! With `buffer on` records may arrive one by one: what is joined waits for more for `flush_ms` and is then sent
//! under its own tag, through the filters from the first one on, this one left out. With `buffer off` what came in
//! together is joined, and nothing waits.
//!
//! With `mode partial_message` messages are put together that Docker has split: records with `partial_message`
//! true and the same `partial_id`, up to the one with `partial_last`. Other records pass. The value of
//! `multiline.key_content` is joined without line ends; the entries whose keys begin with `partial_` are removed.
//!
//! A record that reaches `multiline_buffer_limit` of the service goes out as far as it came, with
//! `multiline_truncated` in its metadata.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use budget::{Account, Full, Share};
use engine::{Emitting, Filter, FilterDef, Setup};
use event::{Raw, Record, Tag, Window};
use formats::multiline::{Joined, Joins, Multiline, Partial, Partials};
use options::{Choice, CommaList, Options, Reader, Size};

/// The registry's entry.
pub static FILTER: FilterDef = FilterDef {
    name: "multiline",
    about: "joins records that belong together",
    specs: MultilineOptions::specs,
    open,
};

/// Streams of a lane. The one that was quiet for longest goes when there is one more.
const STREAMS: usize = 1024;

/// How often the log says that memory is short.
const COMPLAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Options)]
#[options(check = MultilineOptions::check)]
struct MultilineOptions {
    /// A multiline parser, or several separated by commas.
    #[option(name = "multiline.parser")]
    parsers: Vec<CommaList>,
    /// The key whose values are joined.
    #[option(name = "multiline.key_content")]
    key_content: Option<String>,
    /// What is joined: what multiline parsers say, or messages that Docker has split.
    #[option(default = "parser")]
    mode: Mode,
    /// Wait for records that come later.
    #[option(default = "on")]
    buffer: bool,
    /// Milliseconds to wait for them.
    #[option(default = "2000", min = "1")]
    flush_ms: u64,
    /// The name of what sends the joined records, in logs and metrics.
    emitter_name: Option<String>,
    /// The most memory that joined records may hold on their way.
    #[option(default = "10M")]
    emitter_mem_buf_limit: Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum Mode {
    /// What multiline parsers say.
    Parser,
    /// Messages that Docker has split.
    PartialMessage,
}

impl MultilineOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.mode == Mode::Parser && self.parsers.is_empty() {
            let hint = Some("for example: java, go".to_owned());
            reader.refuse("mode", "mode parser needs the option multiline.parser", hint);
        }
        if self.mode == Mode::PartialMessage && self.key_content.is_none() {
            let hint = Some("name the key that holds the message".to_owned());
            reader.refuse("mode", "mode partial_message needs multiline.key_content", hint);
        }
        if self.mode == Mode::PartialMessage && !self.buffer {
            reader.refuse("buffer", "mode partial_message needs buffer on", None);
        }
    }
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Box<dyn Filter>> {
    let options = MultilineOptions::read(reader)?;
    let names: Vec<String> = options.parsers.iter().flat_map(|list| list.0.iter().cloned()).collect();
    let joins = setup.multiline("multiline.parser", &names, options.key_content.as_deref(), reader)?;
    let account = setup.account("multiline", Share::COMMON, reader)?;
    let limit = setup.parsers.multiline_limit();
    Some(Box::new(MultilineFilter::new(Arc::new(Shared { options, joins, limit, account }))))
}

struct Shared {
    options: MultilineOptions,
    joins: Joins,
    limit: usize,
    account: Account,
}

struct MultilineFilter {
    shared: Arc<Shared>,
    streams: HashMap<(usize, Tag), Stream>,
    complained: Option<Instant>,
}

struct Stream {
    joining: Joining,
    last: Instant,
}

enum Joining {
    Records(Multiline),
    Messages(Partials),
}

impl MultilineFilter {
    fn new(shared: Arc<Shared>) -> MultilineFilter {
        MultilineFilter { shared, streams: HashMap::new(), complained: None }
    }

    fn flush_after(&self) -> Duration {
        Duration::from_millis(self.shared.options.flush_ms)
    }
}

impl Filter for MultilineFilter {
    fn logs(&mut self, tag: &Tag, window: &mut Window<'_>) {
        let buffer = self.shared.options.buffer;
        // Without a buffer what came in together is one stream, and ends with its last window.
        let stream = if buffer { (window.input, tag.clone()) } else { (0, Tag::new("")) };
        let now = Instant::now();
        self.make_room(&stream, window);
        let shared = Arc::clone(&self.shared);
        let entry = self.streams.entry(stream.clone());
        let found = entry.or_insert_with(|| Stream { joining: Joining::new(&shared), last: now });
        found.last = now;
        let mut short = false;
        let mut out = Outgoing { tag, window, buffer, done: Vec::new() };
        for record in std::mem::take(&mut out.window.records) {
            if found.joining.record(record, now, &mut out).is_err() {
                short = true;
            }
        }
        if !buffer && !out.window.more {
            found.joining.flush(None, now, &mut out.done);
            out.send();
            self.streams.remove(&stream);
        }
        if short {
            self.complain();
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(MultilineFilter::new(Arc::clone(&self.shared)))
    }

    fn emitter(&self) -> Option<Emitting> {
        let options = &self.shared.options;
        let mem_buf_limit = options.emitter_mem_buf_limit.0 as usize;
        options.buffer.then(|| Emitting {
            name: options.emitter_name.clone(),
            mem_buf_limit,
            filesystem: false,
        })
    }

    fn interval(&self) -> Option<Duration> {
        self.shared.options.buffer.then(|| (self.flush_after() / 2).max(Duration::from_millis(50)))
    }

    fn tick(&mut self, window: &mut Window<'_>, last: bool) {
        let now = Instant::now();
        let after = self.flush_after();
        self.streams.retain(|(_, tag), stream| {
            let quiet = now.saturating_duration_since(stream.last) >= after;
            let older = if last || (quiet && stream.joining.is_of_records()) { None } else { Some(after) };
            let mut out = Outgoing { tag, window, buffer: true, done: Vec::new() };
            if older.is_none() || !stream.joining.is_of_records() {
                stream.joining.flush(older, now, &mut out.done);
            }
            out.send();
            !(quiet || last)
        });
    }
}

impl MultilineFilter {
    /// Lets the stream go that was quiet for longest, if there is no place for this one.
    fn make_room(&mut self, stream: &(usize, Tag), window: &mut Window<'_>) {
        if self.streams.len() < STREAMS || self.streams.contains_key(stream) {
            return;
        }
        let quietest = self.streams.iter().min_by_key(|(_, stream)| stream.last);
        if let Some(key) = quietest.map(|(key, _)| key.clone())
            && let Some(mut stream) = self.streams.remove(&key)
        {
            let mut out = Outgoing { tag: &key.1, window, buffer: true, done: Vec::new() };
            stream.joining.flush(None, Instant::now(), &mut out.done);
            out.send();
        }
    }

    fn complain(&mut self) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now - last >= COMPLAIN) {
            self.complained = Some(now);
            tracing::warn!("[filter:multiline] there is no memory to join records: some go out as they came");
        }
    }
}

impl Joining {
    fn new(shared: &Shared) -> Joining {
        match &shared.options.key_content {
            Some(key) if shared.options.mode == Mode::PartialMessage => {
                Joining::Messages(Partials::new(key, shared.limit, &shared.account))
            }
            _ => Joining::Records(Multiline::new(&shared.joins, &shared.account)),
        }
    }

    fn is_of_records(&self) -> bool {
        matches!(self, Joining::Records(_))
    }

    /// Takes a record. On [`Full`] it goes out as it is.
    fn record<'a>(
        &mut self,
        record: Record<'a>,
        now: Instant,
        out: &mut Outgoing<'_, 'a>,
    ) -> Result<(), Full> {
        let taken = match self {
            Joining::Records(joining) => joining.record(&record, &mut out.done),
            Joining::Messages(joining) => match joining.record(&record, now, &mut out.done) {
                Ok(Partial::No) => {
                    out.send();
                    out.window.records.push(record);
                    return Ok(());
                }
                Ok(Partial::Waits) => Ok(true),
                Ok(Partial::Complete(joined)) => {
                    out.send();
                    let record = made(joined, out.window);
                    out.window.records.push(record);
                    return Ok(());
                }
                Err(full) => Err(full),
            },
        };
        out.send();
        if taken != Ok(true) {
            out.pass(record);
        }
        taken.map(drop)
    }

    /// What waits for so long, or all of it.
    fn flush(&mut self, older: Option<Duration>, now: Instant, out: &mut Vec<Joined>) {
        match self {
            Joining::Records(joining) => joining.flush(out),
            Joining::Messages(joining) => joining.flush(older.unwrap_or_default(), now, out),
        }
    }
}

/// Where records go that are done.
struct Outgoing<'w, 'a> {
    tag: &'w Tag,
    window: &'w mut Window<'a>,
    /// They are sent instead of staying in the window.
    buffer: bool,
    done: Vec<Joined>,
}

impl<'a> Outgoing<'_, 'a> {
    fn send(&mut self) {
        for joined in std::mem::take(&mut self.done) {
            let record = made(joined, self.window);
            self.pass(record);
        }
    }

    fn pass(&mut self, record: Record<'a>) {
        if self.buffer {
            self.window.emit(self.tag.clone(), record);
        } else {
            self.window.records.push(record);
        }
    }
}

/// A joined record; the window keeps what pays for it.
fn made<'a>(joined: Joined, window: &mut Window<'a>) -> Record<'a> {
    let metadata = Raw::Made(joined.metadata.as_slice().into());
    let mut record = Record::new(joined.time, metadata, Vec::new());
    let (map, lease) = joined.into_map();
    record.set_map(map);
    if let Some(lease) = lease {
        window.hold(lease);
    }
    record
}
