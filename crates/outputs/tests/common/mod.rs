//! What unit and integration tests build outputs and batches with. Each of them uses a part of it.
#![allow(dead_code, clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use budget::{Budget, Lease, Share};
use engine::{Batch, Output, OutputDef, Part, Setup};
use event::{Chunk, EventTime, Tag, Writer};
use options::{Entry, Pos, Reader, Section, Text};

/// Hexadecimal digits that do not compress to less than half.
pub fn random_hex(digits: usize) -> String {
    let mut state = 1u64;
    let mut text = String::with_capacity(digits + 16);
    while text.len() < digits {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:08x}", state >> 32));
    }
    text.truncate(digits);
    text
}

/// A setup with a budget of its own.
pub fn setup() -> Setup {
    let budget = Budget::new(64 << 20, 65_536).unwrap();
    Setup::alone("test.0", budget)
}

/// Takes all of the budget that is not set aside.
pub fn fill(budget: &Budget) -> Lease {
    let stat = budget.stat();
    let account = budget.account("in.0", "chunks", Share::COMMON).unwrap();
    let lease = account.try_lease(stat.limit - stat.guaranteed).unwrap();
    account.try_lease(1).unwrap_err();
    lease
}

/// Records that hardly compress: one of four megabytes, and 2.2 megabytes of many.
pub fn unwieldy() -> [Vec<String>; 2] {
    let record = |digits: &str| format!(r#"{{"text":"{digits}"}}"#);
    let many = random_hex(2_000_000);
    let many = many.as_bytes().chunks(200).map(|digits| record(std::str::from_utf8(digits).unwrap()));
    [vec![record(&random_hex(5_000_000))], many.collect()]
}

/// The same as a batch.
pub fn batch_of(id: u128, records: &[String]) -> Batch {
    batch_with_id(id, "app.log", &records.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A batch of one chunk. The records are objects of JSON; their times count up from 1700000000.123456789.
pub fn batch(tag: &str, records: &[&str]) -> Batch {
    batch_with_id(1, tag, records)
}

/// The same with an id.
pub fn batch_with_id(id: u128, tag: &str, records: &[&str]) -> Batch {
    let account = Budget::new(64 << 20, 65_536).unwrap().account("in.0", "chunks", Share::COMMON).unwrap();
    let mut writer = Writer::new(&account);
    for (seconds, record) in (1_700_000_000..).zip(records) {
        writer.begin_record(EventTime { seconds, nanoseconds: 123_456_789 }).unwrap();
        let mut body = Vec::new();
        rmpv::encode::write_value(&mut body, &value(&serde_json::from_str(record).unwrap())).unwrap();
        // A small body stays in one page.
        match body.len() {
            ..4096 => writer.raw(&body).unwrap(),
            _ => writer.piece(&mut body.as_slice()).unwrap(),
        }
        writer.end_record();
    }
    let events = writer.finish();
    let chunk = Chunk { id: 1, tag: Tag::new(tag), input: 0, events, created: Instant::now() };
    Batch::new(id, vec![Part::whole(Arc::new(chunk))])
}

fn value(json: &serde_json::Value) -> rmpv::Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => rmpv::Value::Nil,
        Json::Bool(value) => (*value).into(),
        Json::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(value), _) => value.into(),
            (None, Some(value)) => value.into(),
            _ => number.as_f64().unwrap().into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => rmpv::Value::Array(items.iter().map(value).collect()),
        Json::Object(members) => rmpv::Value::Map(
            members.iter().map(|(key, member)| (key.as_str().into(), value(member))).collect(),
        ),
    }
}

/// Uncompresses one member that must end with the bytes.
pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::bufread::GzDecoder::new(bytes);
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).unwrap();
    assert!(decoder.into_inner().is_empty(), "one member and nothing behind it");
    plain
}

/// Opens an output as the engine does; the error is everything wrong with the section.
pub fn open(def: &OutputDef, setup: &Setup, pairs: &[(&str, &str)]) -> Result<Arc<dyn Output>, String> {
    let pos = Pos::new("test.conf", 1, 1);
    let mut section = Section::new("output", pos.clone());
    for (key, value) in pairs {
        let (key, value) = (Text::new(*key, pos.clone()), Text::new(*value, pos.clone()));
        section.entries.push(Entry { key, value });
    }
    let mut reader = Reader::new(&section);
    let output = (def.open)(&mut reader, setup);
    let problems = reader.finish(&[]).problems;
    match output {
        Some(output) if problems.is_empty() => Ok(output),
        _ => Err(problems.to_string()),
    }
}
