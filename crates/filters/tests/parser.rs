//! The filter `parser`. What is expected was seen at Fluent Bit 5.1.1.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use event::{EventTime, Record, Tag, Window};
use support::{body, check, example, open};

#[test]
fn the_first_parser_that_takes_the_text_makes_the_record() {
    for (options, record, expected) in [
        ("key_name log\nparser json", r#"{"log":"{\"a\":1}","b":2}"#, r#"{"a":1}"#),
        ("key_name log\nparser json\nparser pair", r#"{"log":"x=y","b":2}"#, r#"{"k":"x","v":"y"}"#),
        ("key_name log\nparser json", r#"{"log":"text","b":2}"#, r#"{"log":"text","b":2}"#),
        ("key_name log\nparser json", r#"{"log":5}"#, r#"{"log":5}"#),
        ("key_name log\nparser json", r#"{"other":"{}"}"#, r#"{"other":"{}"}"#),
        ("key_name log\nparser json", r#"{"log":"{}","b":2}"#, "{}"),
        (
            "key_name log\nparser json\nreserve_data on",
            r#"{"a":1,"log":"{\"b\":1}","b":2}"#,
            r#"{"b":1,"a":1,"b":2}"#,
        ),
        (
            "key_name log\nparser json\npreserve_key on",
            r#"{"a":1,"log":"{\"b\":1}","b":2}"#,
            r#"{"b":1,"log":"{\"b\":1}"}"#,
        ),
        (
            "key_name log\nparser json\npreserve_key on\nreserve_data on",
            r#"{"a":1,"log":"{\"b\":1}"}"#,
            r#"{"b":1,"a":1,"log":"{\"b\":1}"}"#,
        ),
        ("key_name $m['x']\nparser pair", r#"{"m":{"x":"a=b"}}"#, r#"{"k":"a","v":"b"}"#),
        (
            "key_name $m['x']\nparser pair\nreserve_data on",
            r#"{"m":{"x":"a=b"},"n":1}"#,
            r#"{"k":"a","v":"b","m":{"x":"a=b"},"n":1}"#,
        ),
        ("key_name $m['x']\nparser pair\npreserve_key on", r#"{"m":{"x":"a=b"}}"#, r#"{"k":"a","v":"b"}"#),
    ] {
        check("parser", options, record, expected);
    }
}

#[test]
fn the_record_takes_the_time_that_the_parser_found() {
    let mut filter = open("parser", "key_name log\nparser dated").unwrap();
    let mut bytes = vec![0x92, 0x92, 0xd7, 0x00, 0, 0, 0, 1, 0, 0, 0, 2, 0x80];
    rmpv::encode::write_value(&mut bytes, &body(r#"{"log":"{\"t\":\"1600000000\",\"a\":1}"}"#)).unwrap();
    let mut window = Window::new(0, vec![Record::decode(&bytes).unwrap()]);
    filter.logs(&Tag::new("app"), &mut window);
    assert_eq!(window.records[0].time(), EventTime { seconds: 1_600_000_000, nanoseconds: 0 });
    assert_eq!(window.records[0].body().len(), 1);
}

#[test]
fn a_parser_that_is_not_there_is_named_with_a_suggestion() {
    let problem = |options| open("parser", options).err().unwrap();
    assert_eq!(
        problem("key_name log\nparser jsn"),
        "test:2:1: filter: option \"parser\": there is no parser \"jsn\"; did you mean \"json\"?"
    );
    assert_eq!(
        problem("key_name log"),
        "test:1:1: filter: required option \"parser\" is missing; there are: json, pair, dated"
    );
}

#[test]
fn the_example_of_the_manual_page_is_valid() {
    let options = example(include_str!("../src/parser.rs")).replace("access", "pair");
    assert!(open("parser", &options).is_ok());
}
