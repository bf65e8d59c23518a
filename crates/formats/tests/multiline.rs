//! Multiline parsers against what Fluent Bit 5.1.1 made of the same lines, recorded in `multiline/cases.json`.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod recorded;

use std::sync::Arc;

use budget::{Account, Budget, Share};
use event::{EventTime, Record};
use formats::multiline::{Joined, Joins, LIMIT, Multiline, MultilineOptions, MultilineParser, built_in};
use options::Options;
use recorded::{entries, expected};
use serde_json::Value;

const NOW: EventTime = EventTime { seconds: 1_795_536_000, nanoseconds: 0 };

fn account(bytes: usize) -> Account {
    Budget::new(bytes, 4096).unwrap().account("test", "multiline", Share::COMMON).unwrap()
}

/// The parser of a `[MULTILINE_PARSER]` section, or a built-in one.
fn parser(name: &str, definition: &str) -> Arc<MultilineParser> {
    if let Some(parser) = built_in(name) {
        return Arc::new(parser);
    }
    let lines = definition.lines().filter_map(|line| line.trim().split_once(' '));
    let pairs: Vec<_> = lines.map(|(key, value)| (key, value.trim())).collect();
    let options = MultilineOptions::from_pairs(&pairs).unwrap_or_else(|problems| panic!("{problems}"));
    Arc::new(MultilineParser::new(options, None).unwrap())
}

fn texts<'a>(case: &'a Value, key: &str) -> Vec<&'a str> {
    case[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn joins(case: &Value, key_content: Option<&str>, limit: usize) -> Joins {
    let definition = case["definitions"].as_str().unwrap();
    let names = texts(case, "parsers");
    let names = names.iter().flat_map(|names| names.split(',')).map(str::trim);
    Joins::new(names.map(|name| parser(name, definition)).collect(), key_content, limit)
}

/// Time where it is not that of the moment, metadata and body.
type Shown = (Option<(u64, u64)>, String, String);

fn shown(joined: &Joined) -> Shown {
    let time = (joined.time != NOW).then(|| (joined.time.seconds.into(), joined.time.nanoseconds.into()));
    let metadata = rmpv::decode::read_value(&mut joined.metadata.as_slice()).unwrap();
    (time, recorded::show(&metadata), entries(&joined.fields))
}

fn recorded(case: &Value, key: &str) -> Vec<Shown> {
    let record = |record: &Value| {
        let time = record[0].as_array().map(|time| (time[0].as_u64().unwrap(), time[1].as_u64().unwrap()));
        (time, expected(&record[1]), expected(&record[2]))
    };
    case[key].as_array().unwrap().iter().map(record).collect()
}

fn cases() -> Vec<Value> {
    let cases: Value = serde_json::from_str(include_str!("multiline/cases.json")).unwrap();
    cases.as_array().unwrap().clone()
}

#[test]
fn lines_are_joined_as_fluent_bit_joins_them() {
    let mut wrong = Vec::new();
    for case in cases() {
        let mut multiline = Multiline::new(&joins(&case, None, LIMIT), &account(16 << 20));
        let mut out = Vec::new();
        for line in texts(&case, "lines") {
            multiline.line(NOW, line.as_bytes(), &mut out).unwrap();
        }
        // What waits at the end of the file is lost there.
        let complete = out.len();
        multiline.flush(&mut out);
        let found: Vec<_> = out.iter().map(shown).collect();
        let expected = recorded(&case, "of_lines");
        let same = if expected.len() < found.len() { complete } else { found.len() };
        compare(&case, "of_lines", expected, found[..same].to_vec(), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn records_are_joined_as_fluent_bit_joins_them() {
    let mut wrong = Vec::new();
    for case in cases() {
        let mut multiline = Multiline::new(&joins(&case, Some("log"), LIMIT), &account(16 << 20));
        let mut found = Vec::new();
        let mut out = Vec::new();
        for (number, line) in texts(&case, "lines").into_iter().enumerate() {
            let body = rmpv::Value::Map(vec![
                ("n".into(), number.into()),
                ("log".into(), line.into()),
                ("z".into(), rmpv::Value::Array(vec![number.into()])),
            ]);
            let mut bytes = vec![0x92, 0x92];
            bytes.extend(NOW.to_msgpack());
            bytes.push(0x80);
            rmpv::encode::write_value(&mut bytes, &body).unwrap();
            let taken = multiline.record(&Record::decode(&bytes).unwrap(), &mut out).unwrap();
            found.extend(out.drain(..).map(|joined| shown(&joined)));
            if !taken {
                found.push((None, "{}".to_owned(), recorded::show(&body)));
            }
        }
        multiline.flush(&mut out);
        found.extend(out.iter().map(shown));
        compare(&case, "of_records", without_repeats(recorded(&case, "of_records")), found, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Fluent Bit sends the last line of a record once more when it ends the record.
fn without_repeats(records: Vec<Shown>) -> Vec<Shown> {
    let log = |record: &Shown| record.2.split_once("\"log\": \"").map(|(_, log)| log.to_owned()).unwrap();
    let text = |record: &Shown| log(record).split_once("\", \"").map(|(text, _)| text.to_owned());
    let mut kept: Vec<Shown> = Vec::new();
    for record in records {
        let repeats = kept.last().and_then(text).zip(text(&record));
        if !repeats.is_some_and(|(last, this)| last.ends_with(&format!("\\n{this}"))) {
            kept.push(record);
        }
    }
    kept
}

fn compare(case: &Value, key: &str, expected: Vec<Shown>, found: Vec<Shown>, wrong: &mut Vec<String>) {
    if found != expected {
        let title = case["title"].as_str().unwrap();
        let list =
            |records: &[Shown]| records.iter().map(|record| format!("\n    {record:?}")).collect::<String>();
        wrong.push(format!("{title}, {key}:\n  Fluent Bit{}\n  Weir{}", list(&expected), list(&found)));
    }
}

#[test]
fn a_record_ends_at_the_limit_and_says_so() {
    let case = serde_json::json!({"definitions": "", "parsers": ["java"]});
    let mut multiline = Multiline::new(&joins(&case, None, 100), &account(16 << 20));
    let mut out = Vec::new();
    multiline.line(NOW, b"x.Exception: a", &mut out).unwrap();
    for _ in 0..20 {
        multiline.line(NOW, b"   at x.y(Z.java:1)", &mut out).unwrap();
    }
    multiline.flush(&mut out);
    assert!(out[0].truncated);
    assert_eq!(shown(&out[0]).1, "{\"multiline_truncated\": true}");
    let log = formats_text(&out[0]);
    assert_eq!((log.len(), log.starts_with("x.Exception: a\n   at x.y")), (101, true), "{log}");
    assert!(out[1..].iter().all(|joined| !joined.truncated));
}

fn formats_text(joined: &Joined) -> String {
    let value = joined.fields.get(b"log").unwrap();
    let mut value = value;
    rmpv::decode::read_value(&mut value).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn without_memory_a_line_is_given_back_and_nothing_is_lost() {
    let case = serde_json::json!({"definitions": "", "parsers": ["java"]});
    let account = account(64 << 10);
    let mut multiline = Multiline::new(&joins(&case, None, LIMIT), &account);
    let mut out = Vec::new();
    let mut text = String::new();
    multiline.line(NOW, b"x.Exception: a", &mut out).unwrap();
    let line = format!("   at {}", "x".repeat(1000));
    for _ in 0..100 {
        while multiline.line(NOW, line.as_bytes(), &mut out).is_err() {
            assert!(!out.is_empty(), "what waits goes out first");
            out.drain(..).for_each(|joined| text += &formats_text(&joined));
        }
    }
    multiline.flush(&mut out);
    out.drain(..).for_each(|joined| text += &formats_text(&joined));
    drop(multiline);
    assert_eq!(text.lines().filter(|found| *found == line).count(), 100);
    assert_eq!(account.held(), 0);
}

#[test]
fn a_record_ends_its_last_line_wherever_the_memory_ends() {
    let case = serde_json::json!({"definitions": "", "parsers": ["java"]});
    for size in 3_900..4_200 {
        let account = account(12 << 10);
        let mut multiline = Multiline::new(&joins(&case, None, LIMIT), &account);
        let mut out = Vec::new();
        let line = format!("x.Exception: {}", "x".repeat(size));
        multiline.line(NOW, line.as_bytes(), &mut out).unwrap();
        let _others = account.try_lease(12 << 10).or_else(|_| account.try_lease(4 << 10));
        multiline.flush(&mut out);
        assert_eq!(out.iter().map(formats_text).collect::<Vec<_>>(), [line + "\n"], "{size}");
    }
}
