//! `parser`: takes the text of one key apart with parsers of the configuration.
//!
//! ```text
//! [FILTER]
//!     name          parser
//!     match         app.*
//!     key_name      log
//!     parser        access
//!     parser        json
//!     reserve_data  on
//! ```
//!
//! The parsers are tried in their order; the first that takes the text makes the record: its entries, and its
//! time if it has one. `reserve_data` appends the other entries of the record behind them, and `preserve_key` the
//! one that was parsed. A record whose text no parser takes stays as it is, and so does one without the key.
//!
//! With a record accessor such as `$a['b']` as `key_name`, `reserve_data` keeps all entries, also the one that
//! the text stands in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use budget::{Account, Full, Share};
use engine::{Filter, FilterDef, Setup};
use event::msgpack::map_header;
use event::{Accessor, Cursor, EventTime, Raw, Record, Tag, Token, Window};
use formats::parser::{Fields, Parser, Time, Unparsed};
use options::{Invalid, Kind, Options, Reader, Value};

/// The registry's entry.
pub static FILTER: FilterDef =
    FilterDef { name: "parser", about: "takes text apart with parsers", specs: ParserOptions::specs, open };

/// What a filter pays for at a time, for the records it makes.
const STEP: usize = 64 << 10;

/// How often the log says that memory is short.
const COMPLAIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Options)]
struct ParserOptions {
    /// The key, or record accessor, whose text is parsed.
    #[option(required)]
    key_name: Key,
    /// A parser; several are tried in their order.
    parser: Vec<String>,
    /// Keep the entry that was parsed.
    #[option(default = "off")]
    preserve_key: bool,
    /// Keep the other entries of the record.
    #[option(default = "off")]
    reserve_data: bool,
}

/// Where the text stands.
#[derive(Debug, Clone)]
enum Key {
    Top(String),
    Path(Accessor),
}

impl Value for Key {
    const KIND: Kind = Kind::Other("key or record accessor");

    fn parse(text: &str) -> Result<Key, Invalid> {
        if !text.starts_with('$') {
            return Ok(Key::Top(text.to_owned()));
        }
        Accessor::parse(text).map(Key::Path).map_err(|malformed| {
            let invalid = Invalid::not(text, format_args!("a record accessor: it {}", malformed.what));
            Invalid { hint: malformed.hint, ..invalid }
        })
    }
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Box<dyn Filter>> {
    let options = ParserOptions::read(reader)?;
    if options.parser.is_empty() {
        reader.refuse("name", "required option \"parser\" is missing", Some(setup.parsers.hint("")));
    }
    let parsers: Vec<_> =
        options.parser.iter().map(|name| setup.parser("parser", name, reader)).collect::<Option<_>>()?;
    let account = setup.account("parse", Share::COMMON, reader)?;
    let shared = Shared { options, parsers, account };
    Some(Box::new(ParserFilter::new(Arc::new(shared))))
}

#[derive(Debug)]
struct Shared {
    options: ParserOptions,
    parsers: Vec<Arc<Parser>>,
    account: Account,
}

struct ParserFilter {
    shared: Arc<Shared>,
    fields: Fields,
    /// The map of a record while it is put together.
    map: Vec<u8>,
    complained: Option<Instant>,
}

impl ParserFilter {
    fn new(shared: Arc<Shared>) -> ParserFilter {
        let fields = Fields::new(&shared.account);
        ParserFilter { shared, fields, map: Vec::new(), complained: None }
    }
}

impl Filter for ParserFilter {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        let mut paid = 0;
        let now = EventTime::now();
        let shared = Arc::clone(&self.shared);
        let mut records = std::mem::take(&mut window.records);
        for record in &mut records {
            if self.record(&shared, now, record, window, &mut paid).is_err() {
                self.complain();
            }
        }
        window.records = records;
        if self.fields.bytes().len() > STEP {
            self.fields.release();
            self.map = Vec::new();
        }
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(ParserFilter::new(Arc::clone(&self.shared)))
    }
}

impl ParserFilter {
    /// Parses the text of a record. `paid` is what was leased for the window and is not used yet.
    fn record(
        &mut self,
        shared: &Shared,
        now: EventTime,
        record: &mut Record<'_>,
        window: &mut Window<'_>,
        paid: &mut usize,
    ) -> Result<(), Full> {
        let options = &shared.options;
        let (text, parsed_at) = match &options.key_name {
            Key::Top(key) => {
                let is_text = |entry: &&event::Entry<'_>| text_of(&entry.value).is_some();
                let named = |entry: &event::Entry<'_>| entry.key.as_str() == Some(key.as_bytes());
                let found =
                    record.body().iter().enumerate().find(|(_, entry)| named(entry) && is_text(entry));
                let Some((at, entry)) = found else { return Ok(()) };
                (entry.value.clone(), Some(at))
            }
            Key::Path(path) => match path.find(record) {
                Some(value) => (value, None),
                None => return Ok(()),
            },
        };
        let Some(line) = text_of(&text) else { return Ok(()) };
        let Some(time) = self.parse(&shared.parsers, line, now)? else { return Ok(()) };
        for (at, entry) in record.body().iter().enumerate() {
            let parsed = parsed_at == Some(at);
            if if parsed { options.preserve_key } else { options.reserve_data } {
                self.fields.entry(entry.key.bytes(), entry.value.bytes())?;
            }
        }
        let (header, size) = map_header(self.fields.len());
        let bytes = size + self.fields.bytes().len();
        if *paid < bytes {
            let lease = shared.account.try_lease(bytes.max(STEP))?;
            *paid = lease.bytes();
            window.hold(lease);
        }
        *paid -= bytes;
        self.map.clear();
        self.map.extend(&header[..size]);
        self.map.extend(self.fields.bytes());
        let map = Arc::from(self.map.as_slice());
        drop(text);
        record.set_map(map);
        record.set_time(time.or(record.time()));
        Ok(())
    }

    /// Tries the parsers in their order.
    fn parse(&mut self, parsers: &[Arc<Parser>], line: &[u8], now: EventTime) -> Result<Option<Time>, Full> {
        for parser in parsers {
            match parser.parse(line, now, &mut self.fields) {
                Ok(time) => return Ok(Some(time)),
                Err(Unparsed::NoMatch) => {}
                Err(Unparsed::Full) => return Err(Full),
            }
        }
        Ok(None)
    }

    fn complain(&mut self) {
        let now = Instant::now();
        if self.complained.is_none_or(|last| now - last >= COMPLAIN) {
            self.complained = Some(now);
            tracing::warn!("[filter:parser] there is no memory to parse records: they pass as they are");
        }
    }
}

/// The bytes of a string or binary.
fn text_of<'r>(value: &'r Raw<'_>) -> Option<&'r [u8]> {
    let mut cursor = Cursor::of(value.bytes());
    match cursor.token() {
        Ok(Token::Str(size) | Token::Bin(size)) => cursor.here().get(..size),
        _ => None,
    }
}
