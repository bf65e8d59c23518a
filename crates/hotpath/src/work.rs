//! The works.

use std::cell::RefCell;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

use budget::{Account, Budget, Buf, Share};
use engine::emit::PATIENCE;
use engine::pass::{Emits, Origin, Pass, Stage};
use engine::{Filter, Setup};
use event::{EventTime, Events, Pattern, Tag, Token, Writer};
use formats::Block;
use formats::gzip::Encoder;
use formats::json::{Printer, Progress, Step, Style, Transcoder};
use options::{Entry, Pos, Reader, Section, Text};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::PAGE;

// The generator's own bodies, without the generator and all that it needs.
#[path = "../../leaklab/src/payload.rs"]
#[allow(dead_code, reason = "the generator uses the rest")]
mod payload;

/// Records of a body.
const RECORDS: usize = 100;
/// Bytes of a block that JSON is printed into.
const BLOCK: usize = 16 << 10;

/// Something that can be done again and again.
pub struct Work {
    /// Bytes that are gone through each time.
    pub bytes: u64,
    /// Does it once.
    pub run: Box<dyn FnMut()>,
}

impl Work {
    fn new(bytes: usize, run: impl FnMut() + 'static) -> Work {
        Work { bytes: bytes as u64, run: Box::new(run) }
    }
}

/// Makes a work.
pub type Make = fn() -> Work;

/// All of them by name, in the order of the path of a record.
pub const ALL: &[(&str, Make)] = &[
    ("pages", pages),
    ("write-events", write_events),
    ("json-decode-records", || decode(payload::records(RECORDS, 1))),
    ("json-decode-alert", || decode(payload::alert(4_900, 1))),
    ("json-decode-deep", || decode(deep(RECORDS))),
    ("read-events", read_events),
    ("filter-1", || filter(&[GREP])),
    ("filter-3", || filter(&[GREP, ADD, RENAME])),
    ("json-print", print),
    ("gzip", gzip),
];

const GREP: (&str, &str, &str) = ("grep", "exclude", "path ^/healthz");
const ADD: (&str, &str, &str) = ("modify", "add", "cluster bench");
const RENAME: (&str, &str, &str) = ("modify", "rename", "duration_ms duration");

fn account() -> Account {
    let budget = Budget::new(64 << 20, PAGE).expect("address space");
    budget.account("hotpath", "chunks", Share::COMMON).expect("room")
}

/// Pages that are taken, filled and given back.
fn pages() -> Work {
    let account = account();
    let piece = [b'x'; 480];
    Work::new(PAGE * 16, move || {
        let mut buf = Buf::new(&account);
        while buf.len() < PAGE * 16 {
            buf.write(black_box(&piece)).expect("room");
        }
        while !buf.is_empty() {
            let front = buf.front().len();
            buf.consume(front);
        }
    })
}

/// Events that are written as a decoder does: maps, strings in pieces, numbers.
fn write_events() -> Work {
    let account = account();
    let text = [b'y'; 120];
    let write = move || {
        let mut writer = Writer::new(&account);
        for seconds in 0..RECORDS as u32 {
            let time = EventTime { seconds, nanoseconds: 0 };
            record(&mut writer, time, black_box(&text)).expect("room");
        }
        writer.finish()
    };
    Work::new(write().buf.len(), move || drop(black_box(write())))
}

fn record(writer: &mut Writer, time: EventTime, text: &[u8]) -> Result<(), budget::Full> {
    writer.begin_record(time)?;
    writer.begin_map()?;
    for key in ["timestamp", "level", "service", "host", "message"] {
        writer.entry()?;
        writer.str(key.as_bytes())?;
        writer.begin_str()?;
        for mut piece in text.chunks(50) {
            writer.piece(&mut piece)?;
        }
        writer.end_str();
    }
    writer.end();
    writer.end_record();
    Ok(())
}

/// Records that are nothing but arrays in arrays, as deep as may be: the legal text that costs most for its size.
fn deep(records: usize) -> String {
    let record = format!("{{\"a\":{}1{}}}", "[".repeat(125), "]".repeat(125));
    format!("[{}]", vec![record; records].join(","))
}

fn decode(body: String) -> Work {
    let account = account();
    Work::new(body.len(), move || drop(black_box(decoded(&account, black_box(body.as_bytes())))))
}

/// As bodies arrive: in pages.
fn decoded(account: &Account, body: &[u8]) -> Events {
    let mut transcoder = Transcoder::new(account, EventTime::default());
    for page in body.chunks(PAGE) {
        let mut input = page;
        assert_eq!(transcoder.feed(&mut input), Ok(Step::NeedInput));
    }
    transcoder.finish().expect("valid")
}

fn records() -> Events {
    decoded(&account(), payload::records(RECORDS, 1).as_bytes())
}

fn read_events() -> Work {
    let events = records();
    Work::new(events.buf.len(), move || {
        let mut cursor = black_box(&events).cursor();
        let mut tokens = 0_usize;
        while !cursor.at_end() {
            // What is said to be so long must be passed over.
            if let Token::Str(size) | Token::Bin(size) | Token::Ext(_, size) = cursor.token().expect("valid")
            {
                cursor.pass(size).expect("whole");
            }
            tokens += 1;
        }
        black_box(tokens);
    })
}

/// The whole pass of a lane: decode once, filters, encode once.
fn filter(filters: &[(&str, &str, &str)]) -> Work {
    let budget = Budget::new(64 << 20, PAGE).expect("address space");
    let account = budget.account("hotpath", "chunks", Share::COMMON).expect("room");
    let stage = |(name, key, value): &(&str, &str, &str)| {
        Rc::new(Stage {
            pattern: Pattern::new("*").into(),
            filter: RefCell::new(open(&budget, name, key, value)),
            metrics: Arc::default(),
            emits: Emits::Nothing,
        })
    };
    let stages = filters.iter().map(stage).collect();
    let origin = Origin { input: 0, account: account.clone(), metrics: Arc::default() };
    let pass = Pass::new(stages, 0, budget.account("hotpath", "decode", Share::COMMON).expect("room"));
    let body = payload::records(RECORDS, 1);
    let tag = Tag::new("bench");
    let runtime = runtime();
    // A pass takes its events: each time has its own copy of the same bytes.
    let source = decoded(&account, body.as_bytes());
    let bytes = source.buf.len();
    Work::new(bytes, move || {
        let mut buf = Buf::new(&account);
        for page in source.buf.pages() {
            buf.write(page).expect("room");
        }
        let events = Events { buf, records: source.records };
        let passed = runtime.block_on(async {
            let mut work = pass.start(&origin, &tag, events, Some(Instant::now() + PATIENCE));
            pass.next(&mut work).await.expect("room").expect("records")
        });
        assert_eq!(passed.events.records, RECORDS);
    })
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

fn open(budget: &Budget, name: &str, key: &str, value: &str) -> Box<dyn Filter> {
    let def = filters::FILTERS.iter().find(|def| def.name == name).expect("a filter of the registry");
    let pos = Pos::new("hotpath", 1, 1);
    let mut section = Section::new("filter", pos.clone());
    section.entries.push(Entry { key: Text::new(key, pos.clone()), value: Text::new(value, pos) });
    let setup = Setup::alone(name, budget.clone());
    (def.open)(&mut Reader::new(&section), &setup).expect("valid options")
}

/// The bodies of all records as JSON, block by block.
fn print() -> Work {
    let events = records();
    let mut block = Block::new(BLOCK);
    Work::new(events.buf.len(), move || {
        let mut printer = Printer::new(Style::Json { escape_unicode: true });
        let mut cursor = black_box(&events).cursor();
        block.clear();
        while !cursor.at_end() {
            cursor.record_head().expect("a record");
            cursor.skip().expect("metadata");
            while printer.value(&mut cursor, &mut block).expect("valid") == Progress::BlockFull {
                black_box(block.bytes());
                block.clear();
            }
        }
    })
}

/// At the level that outputs compress with.
fn gzip() -> Work {
    let account = account();
    let body = payload::records(RECORDS, 1);
    Work::new(body.len(), move || {
        let (mut out, mut encoder) = (Buf::new(&account), Encoder::new(1));
        for mut block in body.as_bytes().chunks(BLOCK) {
            encoder.write(&mut block, &mut out).expect("room");
        }
        encoder.finish(&mut out).expect("room");
        black_box(out.len());
    })
}
