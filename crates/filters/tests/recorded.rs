//! What Fluent Bit 5.1.1 made of records, filter by filter. The files in `recorded` hold options, records and the
//! lines that its stdout output printed.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod support;

use event::{Cursor, Record, Tag, Window};
use formats::Block;
use formats::json::{Printer, Style};
use serde::Deserialize;
use support::{body, open, open_processor};

#[derive(Deserialize)]
struct Case {
    filter: String,
    options: Vec<(String, String)>,
    records: Vec<String>,
    /// Tag and body of every record that came out, in the order of tags.
    output: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct Processed {
    processor: String,
    options: Vec<(String, String)>,
    record: String,
    /// Metadata and body.
    output: (String, String),
}

fn text(value: &[u8]) -> String {
    let mut block = Block::new(64 << 10);
    Printer::new(Style::Text).value(&mut Cursor::of(value), &mut block).unwrap();
    String::from_utf8(block.bytes().to_vec()).unwrap()
}

fn shown(record: &Record<'_>) -> String {
    text(event::Raw::map(record.body()).bytes())
}

/// Where Fluent Bit does what it should not, and docs/differences.md says so.
fn differs(case: &Case) -> bool {
    let zero = case.options.iter().any(|(_, value)| value.starts_with("z "));
    case.filter == "type_converter" && zero
}

#[test]
fn filters_make_of_records_what_fluent_bit_makes_of_them() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("recorded/filters.json")).unwrap();
    assert!(cases.len() > 80);
    let list = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(list.path(), "# comment\nh1\nH2\n\nget /\ni%\r\nerr_5\n").unwrap();
    for case in cases.iter().filter(|case| !differs(case)) {
        let path = list.path().to_str().unwrap();
        let options =
            case.options.iter().map(|(key, value)| format!("{key} {}\n", value.replace("LIST", path)));
        let options: String = options.collect();
        let mut filter = open(&case.filter, &options).unwrap_or_else(|error| panic!("{options}{error}"));
        let mut output = Vec::new();
        for (number, record) in case.records.iter().enumerate() {
            let mut bytes = vec![0x92, 0x92, 0xd7, 0x00, 0, 0, 0, 1, 0, 0, 0, 2, 0x80];
            rmpv::encode::write_value(&mut bytes, &body(record)).unwrap();
            let mut window = Window::new(0, vec![Record::decode(&bytes).unwrap()]);
            let tag = Tag::new(&format!("c.r{number}"));
            filter.logs(&tag, &mut window);
            output.extend(window.records.iter().map(|record| (tag.to_string(), shown(record))));
            output.extend(window.take_emitted().iter().map(|(tag, record)| (tag.to_string(), shown(record))));
        }
        output.sort();
        assert_eq!(output, case.output, "{}\n{options}", case.filter);
    }
}

#[test]
fn processors_make_of_records_what_fluent_bit_makes_of_them() {
    let cases: Vec<Processed> = serde_json::from_str(include_str!("recorded/processors.json")).unwrap();
    assert!(cases.len() > 50);
    for case in cases {
        let options: String = case.options.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        let mut processor =
            open_processor(&case.processor, &options).unwrap_or_else(|error| panic!("{options}{error}"));
        let mut bytes = vec![0x92, 0x92, 0xd7, 0x00, 0, 0, 0, 1, 0, 0, 0, 2, 0x80];
        rmpv::encode::write_value(&mut bytes, &body(&case.record)).unwrap();
        let mut window = Window::new(0, vec![Record::decode(&bytes).unwrap()]);
        processor.logs(&Tag::new("p"), &mut window);
        let record = &window.records[0];
        assert_eq!(
            (text(record.metadata().bytes()), shown(record)),
            case.output,
            "{options}on {}",
            case.record
        );
    }
}
