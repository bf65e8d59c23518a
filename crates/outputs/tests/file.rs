//! `file`: what stands in the files, where they are, and what is left of them when something fails.
#![allow(clippy::disallowed_methods, reason = "files that the test has made")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use std::fs;
use std::path::Path;

use common::batch;
use engine::{Batch, Outcome};

fn flush(pairs: &[(&str, &str)], batch: &Batch) -> Outcome {
    let setup = common::setup();
    let lane = common::open(&outputs::file::DEF, &setup, pairs).unwrap().lane();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(lane.flush(batch))
}

fn path(directory: &tempfile::TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

/// The names of the files below, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A record of every kind of value; what Fluent Bit 5.1.1 makes of it was recorded.
const EVERYTHING: &str = r#"{"a":1,"b":true,"f":1.5,"g":3.0,"m":{"k":[1,"two",-3]},"n":null,"s":"hé \"q\""}"#;

#[test]
fn each_format_has_the_bytes_that_fluent_bit_writes() {
    let text = r#"true,1.500000,3.000000,{"k"=>[1, "two", -3]},nil,"hé "q"""#;
    let json = r#"{"a":1,"b":true,"f":1.5,"g":3.0,"m":{"k":[1,"two",-3]},"n":null,"s":"h\u00e9 \"q\""}"#;
    let ltsv = "\"time\":1700000000.123457\t\"a\":1\t\"b\":true\t\"f\":1.500000\t\"g\":3.000000\t\
                \"m\":{\"k\"=>[1, \"two\", -3]}\t\"n\":nil\t\"s\":\"hé \"q\"\"\n";
    let template = "at {time} {message} {a} {m} {x} {un{closed} {s} {k";
    for (options, expected) in [
        (vec![], format!("app.log: [1700000000.123456789, {json}]\n")),
        (vec![("format", "plain")], format!("{json}\n")),
        (vec![("format", "csv")], format!("1700000000.123456789,1,{text}\n")),
        (
            vec![("format", "csv"), ("csv_column_names", "on"), ("delimiter", "tab")],
            format!(
                "timestamp\t\"a\"\t\"b\"\t\"f\"\t\"g\"\t\"m\"\t\"n\"\t\"s\"\n1700000000.123456789\t1\t{}\n",
                text.replace(',', "\t").replace("1\t \"two\"\t", "1, \"two\",")
            ),
        ),
        (vec![("format", "ltsv")], ltsv.to_owned()),
        (
            vec![("format", "template"), ("template", template)],
            "at 1700000000.123457 {message} 1 {\"k\"=>[1, \"two\", -3]} {x} {un{closed} hé \"q\" {k\n"
                .to_owned(),
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let pairs = [options.as_slice(), &[("path", directory.path().to_str().unwrap())]].concat();
        assert_eq!(flush(&pairs, &batch("app.log", &[EVERYTHING])), Outcome::Done);
        assert_eq!(fs::read_to_string(path(&directory, "app.log")).unwrap(), expected, "{options:?}");
    }
}

#[test]
fn msgpack_is_copied_and_column_names_are_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = path(&directory, "out");
    let records = batch("t", &[r#"{"a":1}"#, r#"{"a":2}"#]);
    for _ in 0..2 {
        assert_eq!(flush(&[("file", &file), ("format", "msgpack")], &records), Outcome::Done);
    }
    let bytes = fs::read(&file).unwrap();
    assert_eq!(bytes.len(), 4 * 17);
    assert_eq!(bytes[..6], [0x92, 0x92, 0xd7, 0x00, 0x65, 0x53]);
    fs::remove_file(&file).unwrap();
    let csv = [("file", file.as_str()), ("format", "csv"), ("csv_column_names", "on")];
    for _ in 0..2 {
        assert_eq!(flush(&csv, &records), Outcome::Done);
    }
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!((text.matches("timestamp").count(), text.lines().count()), (1, 5), "{text}");
}

#[test]
fn each_record_finds_the_file_that_its_values_and_its_time_name() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_str().unwrap();
    let place = format!("{root}/$kind.d/%Y");
    let pairs = [
        ("path", place.as_str()),
        ("file", "$TAG[1]-$n.log"),
        ("enable_strftime", "on"),
        ("format", "plain"),
        ("mkdir", "on"),
        ("on_missing_field", "fallback"),
        ("fallback_path", root),
        ("fallback_file", "rest"),
    ];
    let records = [
        r#"{"kind":"a","n":1}"#,
        r#"{"kind":"b","n":2}"#,
        r#"{"kind":"a","n":1}"#,
        r#"{"kind":"../../etc","n":1}"#,
        r#"{"n":3}"#,
        r#"{"kind":"%d","n":4}"#,
    ];
    assert_eq!(flush(&pairs, &batch("app.web", &records)), Outcome::Done);
    let read = |name: &str| fs::read_to_string(path(&directory, name)).unwrap();
    assert_eq!(read("a.d/2023/web-1.log"), format!("{}\n{}\n", records[0], records[2]));
    assert_eq!(read("b.d/2023/web-2.log"), format!("{}\n", records[1]));
    assert_eq!(read("%d.d/2023/web-4.log"), format!("{}\n", records[5]));
    assert_eq!(read("rest"), format!("{}\n{}\n", records[3], records[4]));
}

#[test]
fn a_record_without_a_place_is_refused_alone_and_files_have_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let file = format!("{}/x", directory.path().display());
    let place = format!("{}/p-$n", directory.path().display());
    let pairs = [
        ("path", place.as_str()),
        ("file", "f"),
        ("fallback_file", &file),
        ("mkdir", "on"),
        ("max_dynamic_files", "2"),
    ];
    let two = [r#"{"n":1}"#, r#"{"m":1}"#];
    assert!(matches!(flush(&pairs, &batch("t", &two)), Outcome::Split { .. }));
    assert_eq!(fs::read(format!("{}/p-1/f", directory.path().display())).unwrap(), b"", "cut back");
    assert!(matches!(flush(&pairs, &batch("t", &two[1..])), Outcome::Reject { .. }));
    let three = [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#];
    assert!(matches!(flush(&pairs, &batch("t", &three)), Outcome::Split { .. }));
    let drop = [pairs.as_slice(), &[("on_limit_reached", "drop"), ("on_missing_field", "drop")]].concat();
    assert_eq!(flush(&drop, &batch("t", &three)), Outcome::Done);
    assert_eq!(names(directory.path()), ["p-1", "p-2"]);
}

#[test]
fn a_file_that_cannot_be_opened_or_filled_is_tried_again_and_keeps_what_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let missing = path(&directory, "no/such/file");
    let Outcome::Retry { why, .. } = flush(&[("file", &missing)], &batch("t", &["{}"])) else { panic!() };
    assert!(why.contains("mkdir"), "{why}");
    assert!(matches!(flush(&[("file", "/dev/full")], &batch("t", &["{}"])), Outcome::Retry { .. }));
}

#[test]
fn a_file_that_is_too_large_is_moved_aside_compressed_and_the_oldest_go() {
    for gzip in ["on", "off"] {
        let directory = tempfile::tempdir().unwrap();
        let file = path(&directory, "app.log");
        let pairs = [
            ("file", file.as_str()),
            ("format", "plain"),
            ("rotate", "on"),
            ("rotate_max_size", "1K"),
            ("rotate_max_files", "2"),
            ("rotate_gzip", gzip),
        ];
        let other = path(&directory, "app.log.old");
        fs::write(&other, "mine").unwrap();
        let text = common::random_hex(1_000);
        let records = batch("t", &[&format!(r#"{{"text":"{text}"}}"#)]);
        for _ in 0..5 {
            assert_eq!(flush(&pairs, &records), Outcome::Done);
        }
        let names = names(directory.path());
        assert_eq!(names.len(), 4, "the file, two moved aside, and one of another kind: {names:?}");
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
        let aside = fs::read(path(&directory, &names[1])).unwrap();
        assert_eq!(names[1].ends_with(".gz"), gzip == "on", "{names:?}");
        let plain = if gzip == "on" { common::gunzip(&aside) } else { aside };
        assert_eq!(plain, format!("{{\"text\":\"{text}\"}}\n").as_bytes());
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_reason() {
    let setup = common::setup();
    for (pairs, part) in [
        (vec![("path", "$a")], "begins with a value"),
        (vec![("path", "/x/$a")], "fallback_file is missing"),
        (vec![("format", "csb")], "did you mean \"csv\""),
        (vec![("delimiter", ";")], "tab, space, comma"),
        (vec![("on_missing_field", "fallback")], "fallback_file is missing"),
    ] {
        let refused = common::open(&outputs::file::DEF, &setup, &pairs).err().unwrap();
        assert!(refused.contains(part), "{refused}");
    }
}
