//! Parsers against what Fluent Bit 5.1.1 made of the same lines, recorded in `parser/cases.json`.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod recorded;

use budget::{Account, Budget, Share};
use event::EventTime;
use formats::parser::{Fields, Parser, ParserOptions, Time, Unparsed};
use options::Options;
use recorded::{entries, expected};
use serde_json::Value;

/// When the lines were recorded: what a time without a year refers to.
const NOW: EventTime = EventTime { seconds: 1_795_536_000, nanoseconds: 0 };

fn account() -> Account {
    Budget::new(16 << 20, 65_536).unwrap().account("test", "parse", Share::COMMON).unwrap()
}

fn parser(options: &[(&str, &str)]) -> Parser {
    let pairs: Vec<_> = std::iter::once(("name", "p")).chain(options.iter().copied()).collect();
    Parser::new(ParserOptions::from_pairs(&pairs).unwrap_or_else(|problems| panic!("{problems}"))).unwrap().0
}

/// Lines where the difference is meant: see docs/differences.md.
const DIFFERENT: &[(&str, &str)] = &[
    // Times before 1970 wrap around to 2106.
    ("time: iso", "1969-12-31T23:59:59.0Z"),
    // The C library reads hexadecimal floats.
    ("regex: types", "-9223372036854775809|0x1p3|0b1|true"),
    // A byte behind the end of the text is read.
    ("decode_field_as escaped", "{\"log\": \"a\\\\nb\\\\t\\\\\\\"c\\\\\\\\d\\\\x\\\\\"}"),
];

/// Fluent Bit removes what a pattern took for the time when it is none; here it stays.
fn without_time(json: &str, text: &str) -> String {
    let entry = format!("\"time\": {text:?}");
    json.replace(&format!("{entry}, "), "").replace(&format!(", {entry}"), "").replace(&entry, "")
}

#[test]
fn every_parser_makes_of_a_line_what_fluent_bit_makes_of_it() {
    let cases: Value = serde_json::from_str(include_str!("parser/cases.json")).unwrap();
    let account = account();
    let mut fields = Fields::new(&account);
    let mut wrong = Vec::new();
    let mut lines = 0;
    for case in cases.as_array().unwrap() {
        let title = case["title"].as_str().unwrap();
        let options = case["options"].as_array().unwrap();
        let options: Vec<_> =
            options.iter().map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap())).collect();
        let parser = parser(&options);
        for line in case["lines"].as_array().unwrap() {
            let text = line[0].as_str().unwrap();
            if DIFFERENT.contains(&(title, text)) {
                continue;
            }
            lines += 1;
            let time = line[1].as_array().map(|time| EventTime {
                seconds: time[0].as_u64().unwrap() as u32,
                nanoseconds: time[1].as_u64().unwrap() as u32,
            });
            let expected = (!line[2].is_null()).then(|| (time, expected(&line[2])));
            let found = match parser.parse(text.as_bytes(), NOW, &mut fields) {
                Ok(Time::Invalid) if options.contains(&("format", "regex")) => {
                    let time =
                        rmpv::decode::read_value(&mut fields.get(b"time").or(fields.get(b"ts")).unwrap());
                    let found = entries(&fields).replace("\"ts\"", "\"time\"");
                    Some((None, without_time(&found, time.unwrap().as_str().unwrap())))
                }
                Ok(time) => {
                    let time = if let Time::At(time) = time { Some(time) } else { None };
                    Some((time, entries(&fields)))
                }
                Err(Unparsed::NoMatch) => None,
                Err(Unparsed::Full) => panic!("the budget is large enough"),
            };
            if found != expected {
                wrong.push(format!("{title}: {text:?}\n  Fluent Bit {expected:?}\n  Weir       {found:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {lines} lines differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(lines > 380, "{lines}");
}
