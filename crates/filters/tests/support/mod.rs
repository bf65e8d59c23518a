//! Runs a filter of the registry over records written as JSON.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::fmt;
use std::sync::Arc;

use budget::Budget;
use engine::parsers::Parsers;
use engine::{Filter, Setup};
use event::{EventTime, Record, Tag, Window, Writer};
use formats::parser::{Parser, ParserOptions};
use options::{Options, Pos, Reader, Section, Text};
use rmpv::Value;
use serde::de::{Deserializer, MapAccess, Visitor};

/// Opens a filter with options written one a line, or says what is wrong with them.
pub fn open(name: &str, options: &str) -> Result<Box<dyn Filter>, String> {
    open_of(filters::FILTERS, name, options)
}

/// The same for a processor, which may be a filter.
pub fn open_processor(name: &str, options: &str) -> Result<Box<dyn Filter>, String> {
    let own = filters::PROCESSORS.iter().any(|def| def.name == name);
    open_of(if own { filters::PROCESSORS } else { filters::FILTERS }, name, options)
}

fn open_of(defs: &[&engine::FilterDef], name: &str, options: &str) -> Result<Box<dyn Filter>, String> {
    let def = defs.iter().find(|def| def.name == name).expect("a plugin of the registry");
    let pos = Pos::new("test", 1, 1);
    let mut section = Section::new("filter", pos.clone());
    for (line, option) in (1..).zip(options.lines()) {
        let (key, value) = option.split_once(' ').unwrap_or((option, ""));
        let pos = pos.at(line, 1);
        let (key, value) = (Text::new(key, pos.clone()), Text::new(value, pos));
        section.entries.push(options::Entry { key, value });
    }
    let budget = Budget::new(4 << 20, 4096).unwrap();
    let mut reader = Reader::new(&section);
    let setup = Setup { parsers: parsers(), ..Setup::alone(name, budget) };
    let filter = (def.open)(&mut reader, &setup);
    let problems = reader.finish(&[]).problems;
    match filter {
        Some(filter) if problems.is_empty() => Ok(filter),
        _ => Err(problems.to_string()),
    }
}

/// Parsers that tests ask for: `json`, `pair` and `dated`.
fn parsers() -> Arc<Parsers> {
    let parser = |options: &[(&str, &str)]| {
        let options = ParserOptions::from_pairs(options).unwrap_or_else(|problems| panic!("{problems}"));
        Parser::new(options).unwrap().0
    };
    Arc::new(Parsers::of(vec![
        parser(&[("name", "json"), ("format", "json")]),
        parser(&[("name", "pair"), ("format", "regex"), ("regex", "^(?<k>[a-z]+)=(?<v>[a-z]+)$")]),
        parser(&[("name", "dated"), ("format", "json"), ("time_key", "t"), ("time_format", "%s")]),
    ]))
}

/// The options of the example in the manual page of a plugin, one a line.
pub fn example(source: &str) -> String {
    let (_, example) = source.split_once("//! [FILTER]\n").expect("an example");
    let (example, _) = example.split_once("//! ```").expect("its end");
    let lines = example.lines().map(|line| line.trim_start_matches("//!").trim_start());
    let options =
        lines.filter_map(|line| line.split_once(' ')).filter(|(key, _)| !["name", "match"].contains(key));
    options.map(|(key, value)| format!("{key} {}\n", value.trim())).collect()
}

/// What a filter makes of a body. Both are maps as msgpack; `None` stands for a record that was dropped.
pub fn run(filter: &mut dyn Filter, body: &Value) -> Option<Value> {
    let mut bytes = vec![0x92, 0x92, 0xd7, 0x00, 0, 0, 0, 1, 0, 0, 0, 2, 0x80];
    rmpv::encode::write_value(&mut bytes, body).unwrap();
    let mut window = Window::new(0, vec![Record::decode(&bytes).unwrap()]);
    filter.logs(&Tag::new("app"), &mut window);
    let record = window.records.pop()?;
    assert_eq!(record.time(), EventTime { seconds: 1, nanoseconds: 2 });
    let budget = Budget::new(4 << 20, 4096).unwrap();
    let mut writer = Writer::new(&budget.account("test", "x", budget::Share::COMMON).unwrap());
    record.encode(&mut writer, &mut event::Progress::default()).unwrap();
    let events = writer.finish();
    let (start, mut end) = (events.cursor(), events.cursor());
    end.skip().unwrap();
    let bytes = start.clone().copy(end.offset()).unwrap();
    match rmpv::decode::read_value(&mut bytes.as_slice()).unwrap() {
        Value::Array(mut record) => record.pop(),
        other => panic!("{other} is no record"),
    }
}

/// Runs a filter over a record and compares. What is expected is a record, or "" if it is dropped.
pub fn check(name: &str, options: &str, record: &str, expected: &str) {
    let mut filter = open(name, options).unwrap_or_else(|problems| panic!("{options}\n{problems}"));
    let expected = (!expected.is_empty()).then(|| body(expected));
    let mut other = filter.for_lane();
    for filter in [&mut filter, &mut other] {
        assert_eq!(run(filter.as_mut(), &body(record)), expected, "{options}\non {record}");
    }
}

/// A JSON object as a map that keeps the order of the keys and keys that are repeated.
pub fn body(json: &str) -> Value {
    struct Pairs;
    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(Value, Value)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some((key, value)) = map.next_entry::<String, serde_json::Value>()? {
                pairs.push((key.into(), msgpack(value)));
            }
            Ok(pairs)
        }
    }
    let pairs = serde_json::Deserializer::from_str(json).deserialize_map(Pairs);
    Value::Map(pairs.unwrap_or_else(|error| panic!("{json}: {error}")))
}

fn msgpack(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => value.into(),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap().into(),
        },
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(values) => Value::Array(values.into_iter().map(msgpack).collect()),
        serde_json::Value::Object(map) => {
            Value::Map(map.into_iter().map(|(key, value)| (key.into(), msgpack(value))).collect())
        }
    }
}

/// Records of every shape: the keys and texts that the rules of a test name are likely among them.
pub fn any_body() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let text = || prop::sample::select(vec!["", "a", "b", "ab", "abc", "x y", "ä"]);
    let leaf = prop_oneof![
        4 => text().prop_map(Value::from),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Nil),
        1 => prop::collection::vec(any::<u8>(), 0..4).prop_map(Value::Binary),
        1 => Just(Value::Ext(5, vec![1, 2])),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    });
    prop::collection::vec((value.clone(), value), 0..30).prop_map(Value::Map)
}
