//! Lines through parsers of every kind, damaged at random and in memory that is short at random: what is read
//! is the same with and without memory to spare, its entries can be read back, and JSON is what serde_json reads.

use budget::{Account, Budget, Share};
use event::EventTime;
use formats::multiline::{BUILT_IN, Joins, Multiline, built_in};
use formats::parser::{Fields, Parser, ParserOptions, Time, Unparsed};
use options::Options;
use std::sync::Arc;

use crate::random::Random;

const NOW: EventTime = EventTime { seconds: 1_795_536_000, nanoseconds: 0 };

const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"\"",
    b"\\",
    b":",
    b",",
    b"[",
    b"]",
    b"=",
    b"\t",
    b"\n",
    b" ",
    b"a",
    b"log",
    b"time",
    b"1",
    b"-1.5e3",
    b"true",
    b"null",
    b"\\u00e4",
    b"\\ud800",
    b"\xc3\xa4",
    b"\xff",
    b"\x00",
    b"key=",
    b"label:",
    b"'",
    b"{\"a\":1}",
    b"{\"log\":\"{\\\"x\\\":1}\",\"time\":\"2024-02-29T12:34:56.5Z\"}",
    b"2024-02-29T12:34:56.5+01:00",
    b"[10/Oct/2000:13:55:36 -0700]",
    b"Oct  7 22:33:16",
    b"1600000000.25",
    b"192.168.2.20 - - [28/Jul/2006:10:27:10 -0300] \"GET / HTTP/1.0\" 200 3395",
    b"x.Exception: y",
    b"   at a.b(C.java:1)",
    b"Traceback (most recent call last):",
    b"  File ",
    b"panic: ",
    b"goroutine 1 [x]:",
    b"2024-02-29T12:34:56.5Z stdout P ",
    b"2024-02-29T12:34:56.5Z stderr F ",
];

const PARSERS: &[&[(&str, &str)]] = &[
    &[("format", "json"), ("time_format", "%Y-%m-%dT%H:%M:%S.%L%z")],
    &[("format", "json"), ("decode_field_as", "escaped_utf8 log do_next"), ("decode_field_as", "json log")],
    &[("format", "json"), ("decode_field", "json log"), ("time_format", "%s.%L"), ("time_keep", "on")],
    &[
        ("format", "ltsv"),
        ("types", "label:integer a:float 1:hex log:bool"),
        ("decode_field_as", "escaped log"),
    ],
    &[("format", "logfmt"), ("time_format", "%d/%b/%Y:%H:%M:%S %z")],
    &[("format", "logfmt"), ("types", "key:integer a:bool"), ("logfmt_no_bare_keys", "on")],
    &[("format", "regex"), ("regex", r"^(?<time>[^ ]+) (?<log>.*)$"), ("time_format", "%b %d %H:%M:%S")],
    &[
        ("format", "regex"),
        ("regex", r#"(?<q>["'])(?<log>.*?)\k<q>(?<a>(?=x).)?"#),
        ("decode_field_as", "mysql_quoted log"),
    ],
    &[("format", "regex"), ("regex", r"/(?<a>\w+).(?<log>[^a-z]*+)/mi"), ("types", "a:integer log:float")],
];

fn parser(options: &[(&str, &str)]) -> Parser {
    let pairs: Vec<_> = std::iter::once(("name", "p")).chain(options.iter().copied()).collect();
    Parser::new(ParserOptions::from_pairs(&pairs).unwrap()).unwrap().0
}

fn line(random: &mut Random) -> Vec<u8> {
    let mut line = Vec::new();
    for _ in 0..1 + random.below(12) {
        let times = if random.once_in(40) { 300 } else { 1 };
        line.extend_from_slice(&random.pick(TOKENS).repeat(times));
    }
    line
}

fn account(bytes: usize) -> Account {
    Budget::new(bytes, 4096).unwrap().account("fuzz", "parse", Share::COMMON).unwrap()
}

type Read = Option<(Time, Vec<u8>, usize)>;

/// Parses with as much memory as is wanted, or with what is handed in piece by piece.
fn read(parser: &Parser, line: &[u8], account: &Account, starved: bool) -> Read {
    let mut fields = Fields::new(account);
    let mut others = starved.then(|| account.try_lease((1 << 20) - 4096).unwrap());
    loop {
        match parser.parse(line, NOW, &mut fields) {
            Ok(time) => return Some((time, fields.bytes().to_vec(), fields.len())),
            Err(Unparsed::NoMatch) => return None,
            Err(Unparsed::Full) => {
                drop(others.take());
                let wanted = fields.wanted();
                fields.prepay(account.try_lease(wanted).unwrap());
            }
        }
    }
}

pub fn round(random: &mut Random) {
    let account = account(1 << 20);
    let parser = parser(random.pick(PARSERS));
    for _ in 0..10 {
        let line = line(random);
        let plain = read(&parser, &line, &account, false);
        assert_eq!(plain, read(&parser, &line, &account, true), "{line:?}");
        if let Some((_, bytes, entries)) = plain {
            let mut rest = bytes.as_slice();
            for _ in 0..2 * entries {
                rmpv::decode::read_value(&mut rest).unwrap();
            }
            assert!(rest.is_empty());
        }
    }
    assert_eq!(account.held(), 0);
}

/// An object that serde_json reads is read here, with the same entries.
pub fn json_round(random: &mut Random) {
    let account = account(1 << 20);
    let parser = parser(&[("format", "json")]);
    let line = line(random);
    let Ok(serde_json::Value::Object(map)) = serde_json::from_slice(&line) else { return };
    let (_, bytes, entries) = read(&parser, &line, &account, false).expect("an object is parsed");
    assert!(entries >= map.len());
    let mut rest = bytes.as_slice();
    for _ in 0..entries {
        let key = rmpv::decode::read_value(&mut rest).unwrap();
        assert!(map.contains_key(key.as_str().unwrap()));
        rmpv::decode::read_value(&mut rest).unwrap();
    }
}

/// Every line is somewhere in what comes out, whatever the parsers, the limit and the memory.
pub fn multiline_round(random: &mut Random) {
    let account = account(256 << 10);
    let names = (0..1 + random.below(3)).map(|_| BUILT_IN[2 + random.below(BUILT_IN.len() - 2)]);
    let parsers: Vec<_> = names.map(|name| Arc::new(built_in(name).unwrap())).collect();
    let joins = Joins::new(parsers, None, 1 << 20);
    let mut multiline = Multiline::new(&joins, &account);
    let mut others = random.once_in(3).then(|| account.try_lease(230 << 10).unwrap());
    let (mut given, mut found, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let mut gather = |out: &mut Vec<formats::multiline::Joined>| {
        for joined in out.drain(..) {
            let mut value = joined.fields.get(b"log").unwrap();
            match rmpv::decode::read_value(&mut value).unwrap() {
                rmpv::Value::String(text) => found.extend_from_slice(text.as_bytes()),
                other => panic!("{other}"),
            }
        }
    };
    for _ in 0..random.below(40) {
        let line: Vec<u8> = line(random).into_iter().filter(|byte| *byte != b'\n').collect();
        while multiline.line(NOW, &line, &mut out).is_err() {
            gather(&mut out);
            drop(others.take());
        }
        gather(&mut out);
        if !line.is_empty() {
            given.extend_from_slice(&line);
            given.push(b'\n');
        }
    }
    multiline.flush(&mut out);
    gather(&mut out);
    // Empty lines within a record are kept, those that stand alone are not.
    let lines = |text: &[u8]| {
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    drop(others);
    assert_eq!(sorted(lines(&given)), sorted(lines(&found)));
    drop(multiline);
    assert_eq!(account.held(), 0);
}

/// Parsers that take turns may let a line pass one that waits.
fn sorted(mut lines: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    lines.sort();
    lines
}
