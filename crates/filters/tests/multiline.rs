//! The filter `multiline`. What multiline parsers join is tested where they are; here it is what the filter does
//! with it. What is expected of split messages was seen at Fluent Bit 5.1.1.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use engine::Filter;
use event::{Progress, Record, Tag, Window, Writer};
use support::{body, example, open};

/// What a filter makes of records: those that stay in the window, and those that it sends, by tag.
struct Made {
    stay: Vec<String>,
    sent: Vec<(String, String)>,
}

fn text(record: &Record<'_>) -> String {
    let budget = budget::Budget::new(4 << 20, 4096).unwrap();
    let mut writer = Writer::new(&budget.account("test", "x", budget::Share::COMMON).unwrap());
    record.encode(&mut writer, &mut Progress::default()).unwrap();
    let bytes = writer.finish().buf.to_vec();
    match rmpv::decode::read_value(&mut bytes.as_slice()).unwrap() {
        rmpv::Value::Array(mut record) => record.pop().unwrap().to_string(),
        other => panic!("{other} is no record"),
    }
}

fn made(window: &mut Window<'_>) -> Made {
    let sent = window.take_emitted().iter().map(|(tag, record)| (tag.to_string(), text(record))).collect();
    Made { stay: window.records.iter().map(text).collect(), sent }
}

fn run(filter: &mut dyn Filter, tag: &str, input: usize, records: &[&str]) -> Made {
    let encoded = |record: &&str| {
        let mut bytes = vec![0x92, 0x92, 0xd7, 0x00, 0, 0, 0, 1, 0, 0, 0, 2, 0x80];
        rmpv::encode::write_value(&mut bytes, &body(record)).unwrap();
        bytes
    };
    let bytes: Vec<_> = records.iter().map(encoded).collect();
    let records = bytes.iter().map(|bytes| Record::decode(bytes).unwrap()).collect();
    let mut window = Window::new(input, records);
    filter.logs(&Tag::new(tag), &mut window);
    made(&mut window)
}

fn end(filter: &mut dyn Filter) -> Made {
    let mut window = Window::new(0, Vec::new());
    filter.tick(&mut window, true);
    made(&mut window)
}

const JAVA: &str = "multiline.key_content log\nmultiline.parser go, java";

#[test]
fn with_a_buffer_records_are_joined_over_windows_and_sent_under_their_tag() {
    let mut filter = open("multiline", JAVA).unwrap();
    let first = run(&mut *filter, "a", 0, &[r#"{"log":"plain"}"#, r#"{"log":"x.Error: y","n":1}"#]);
    assert_eq!((first.stay.len(), first.sent), (0, vec![("a".to_owned(), r#"{"log": "plain"}"#.to_owned())]));
    // Another tag, and another input with the same tag, are other streams.
    for (tag, input) in [("b", 0), ("a", 1)] {
        assert_eq!(run(&mut *filter, tag, input, &[r#"{"log":" at other"}"#]).sent.len(), 1);
    }
    assert!(run(&mut *filter, "a", 0, &[r#"{"log":"  at x"}"#]).sent.is_empty());
    let done = run(&mut *filter, "a", 0, &[r#"{"log":"plain"}"#]);
    let joined = ("a".to_owned(), r#"{"log": "x.Error: y\n  at x", "n": 1}"#.to_owned());
    assert_eq!(done.sent[0], joined);
    assert_eq!(done.sent.len(), 2);
    assert!(filter.emitter().is_some());
}

#[test]
fn without_a_buffer_what_came_in_together_is_joined() {
    let mut filter = open("multiline", &format!("{JAVA}\nbuffer off")).unwrap();
    let records = [r#"{"log":"plain"}"#, r#"{"log":"x.Error: y"}"#, r#"{"log":"  at x"}"#];
    let made = run(&mut *filter, "a", 0, &records);
    assert_eq!((made.stay.len(), made.sent.len()), (2, 0));
    assert_eq!(made.stay[1].matches("at x").count(), 1);
    assert!(filter.emitter().is_none() && filter.interval().is_none());
}

#[test]
fn what_waits_is_sent_when_the_inputs_have_ended() {
    let mut filter = open("multiline", JAVA).unwrap();
    run(&mut *filter, "a", 0, &[r#"{"log":"x.Error: y"}"#]);
    assert_eq!(end(&mut *filter).sent, [("a".to_owned(), r#"{"log": "x.Error: y"}"#.to_owned())]);
    assert!(end(&mut *filter).sent.is_empty());
}

#[test]
fn what_waits_is_sent_after_flush_ms() {
    let mut filter = open("multiline", &format!("{JAVA}\nflush_ms 1")).unwrap();
    run(&mut *filter, "a", 0, &[r#"{"log":"x.Error: y"}"#]);
    std::thread::sleep(std::time::Duration::from_millis(5));
    let mut window = Window::new(0, Vec::new());
    filter.tick(&mut window, false);
    assert_eq!(made(&mut window).sent.len(), 1);
}

#[test]
fn split_messages_are_put_together() {
    let options = "multiline.key_content log\nmode partial_message";
    let mut filter = open("multiline", options).unwrap();
    let part = |id: &str, log: &str, last: bool| {
        format!(
            r#"{{"a":1,"log":"{log}","partial_message":"true","partial_id":"{id}","partial_ordinal":"1","partial_last":"{last}","b":2}}"#
        )
    };
    let parts = [part("x", "one ", false), part("y", "1 ", false), part("x", "two", true)];
    let records: Vec<&str> = parts.iter().map(String::as_str).chain([r#"{"log":"whole"}"#]).collect();
    let made = run(&mut *filter, "a", 0, &records);
    assert_eq!(made.stay, [r#"{"a": 1, "b": 2, "log": "one two"}"#, r#"{"log": "whole"}"#]);
    assert!(made.sent.is_empty());
    assert_eq!(end(&mut *filter).sent, [("a".to_owned(), r#"{"a": 1, "b": 2, "log": "1 "}"#.to_owned())]);
}

#[test]
fn what_is_wrong_with_the_options_is_said() {
    let problem = |options| open("multiline", options).err().unwrap();
    assert_eq!(
        problem("multiline.parser jva"),
        "test:1:1: filter: option \"multiline.parser\": there is no multiline parser \"jva\"; did you mean \
         \"java\"?"
    );
    assert_eq!(
        problem("buffer on"),
        "test:1:1: filter: mode parser needs the option multiline.parser; for example: java, go"
    );
    assert_eq!(
        problem("mode partial_message\nbuffer off"),
        "test:1:1: filter: mode partial_message needs multiline.key_content; name the key that holds the \
         message\ntest:2:1: filter: mode partial_message needs buffer on"
    );
}

#[test]
fn the_example_of_the_manual_page_is_valid() {
    assert!(open("multiline", &example(include_str!("../src/multiline.rs"))).is_ok());
}
