//! What the tests of both directions share.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]

pub mod compressed;

use budget::{Account, Budget, Share};
use event::{EventTime, Events};
use formats::json::{Error, Step, Transcoder};
use proptest::prelude::*;
use serde_json::{Map, Value};

pub const PAGE: usize = 4096;
pub const TIME: EventTime = EventTime { seconds: 1_795_466_146, nanoseconds: 5 };

pub fn account(pages: usize) -> Account {
    Budget::new(pages * PAGE, PAGE).unwrap().account("http.0", "chunks", Share::COMMON).unwrap()
}

/// Feeds the slices one after the other.
pub fn transcode<'a>(slices: impl IntoIterator<Item = &'a [u8]>) -> Result<Events, Error> {
    let mut transcoder = Transcoder::new(&account(16 << 10), TIME);
    for mut slice in slices {
        let len = slice.len() as u64;
        let before = transcoder.offset();
        assert_eq!(transcoder.feed(&mut slice)?, Step::NeedInput);
        assert!(slice.is_empty() && transcoder.offset() == before + len, "all of it is consumed");
    }
    transcoder.finish()
}

/// The records as rmpv reads them. Checks time and metadata on the way.
pub fn records(events: &Events) -> Vec<rmpv::Value> {
    let bytes = events.buf.to_vec();
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    while !rest.is_empty() {
        let value = rmpv::decode::read_value(&mut rest).unwrap();
        let time = rmpv::Value::Ext(0, TIME.to_msgpack()[2..].to_vec());
        assert_eq!(value[0], rmpv::Value::Array(vec![time, rmpv::Value::Map(vec![])]));
        records.push(value[1].clone());
    }
    assert_eq!(records.len(), events.records);
    records
}

/// A value as serde_json would have read it.
pub fn to_json(value: &rmpv::Value) -> Value {
    match value {
        rmpv::Value::Nil => Value::Null,
        rmpv::Value::Boolean(value) => (*value).into(),
        rmpv::Value::Integer(value) => match value.as_u64() {
            Some(value) => value.into(),
            None => value.as_i64().unwrap().into(),
        },
        rmpv::Value::F64(value) => (*value).into(),
        rmpv::Value::String(text) => text.as_str().expect("valid UTF-8").into(),
        rmpv::Value::Array(items) => items.iter().map(to_json).collect(),
        rmpv::Value::Map(entries) => Value::Object(
            entries.iter().map(|(key, value)| (key.as_str().unwrap().into(), to_json(value))).collect(),
        ),
        other => panic!("JSON has no {other}"),
    }
}

/// Objects of every kind of value, some of them with long strings.
pub fn object() -> impl Strategy<Value = Map<String, Value>> {
    let text = || {
        prop_oneof![
            8 => "[ -~]{0,40}",
            4 => "\\PC{0,12}",
            2 => ".{0,8}",
            1 => "[a-z\"\\\\é😀\n]{0,3000}",
        ]
    };
    let number = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-300i64..300).prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        (0u32..1_000_000, 0u32..8).prop_map(|(n, d)| Value::from(f64::from(n) / 10f64.powi(d as i32))),
    ];
    let scalar = prop_oneof![
        3 => text().prop_map(Value::from),
        2 => number,
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    let value = scalar.prop_recursive(5, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..8)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[a-zé\"\n]{0,6}", value, 0..10)
        .prop_map(|entries| entries.into_iter().collect())
}
