//! Values to text: what each kind looks like, and that it does not depend on where pages and blocks end.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use budget::Buf;
use common::{account, object, transcode};
use event::{Corrupt, Cursor};
use formats::Block;
use formats::json::{Printer, Progress, Style};
use formats::stdout::RecordLine;
use proptest::prelude::*;
use rmpv::Value;

const ESCAPED: Style = Style::Json { escape_unicode: true };
const PLAIN: Style = Style::Json { escape_unicode: false };

/// The next value of the cursor, through a block of `capacity` bytes.
fn print(cursor: &mut Cursor<'_>, style: Style, capacity: usize) -> Result<String, Corrupt> {
    let (mut printer, mut block) = (Printer::new(style), Block::new(capacity));
    let mut text = Vec::new();
    loop {
        let progress = printer.value(cursor, &mut block)?;
        assert!(block.bytes().len() <= capacity, "the block does not grow");
        text.extend_from_slice(block.bytes());
        block.clear();
        if progress == Progress::Done {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
}

fn pack(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

fn printed(value: impl Into<Value>, style: Style) -> String {
    print(&mut Cursor::of(&pack(&value.into())), style, 4096).unwrap()
}

/// The bytes in a chain that has a page end after every `step` bytes.
fn chain(bytes: &[u8], step: usize) -> Buf {
    let account = account(bytes.len().div_ceil(step) + 16);
    let mut buf = Buf::new(&account);
    for piece in bytes.chunks(step) {
        let mut page = Buf::new(&account);
        page.write(piece).unwrap();
        buf.append(page).unwrap();
    }
    buf
}

fn map(entries: Vec<(Value, Value)>) -> Value {
    Value::Map(entries)
}

#[test]
fn each_kind_of_value_has_its_json_and_its_stdout_form() {
    let text = |text: &str| Value::from(text);
    // All the digits of the double, which printf prints too.
    let exact = format!("{:.6}", 1.5e300);
    let cases: Vec<(Value, &str, &str)> = vec![
        (Value::Nil, "null", "nil"),
        (true.into(), "true", "true"),
        (false.into(), "false", "false"),
        (0.into(), "0", "0"),
        (7.into(), "7", "7"),
        (10.into(), "10", "10"),
        (123.into(), "123", "123"),
        (u64::MAX.into(), "18446744073709551615", "18446744073709551615"),
        (i64::MIN.into(), "-9223372036854775808", "-9223372036854775808"),
        ((-1).into(), "-1", "-1"),
        (3.0.into(), "3.0", "3.000000"),
        ((-0.0).into(), "-0.0", "-0.000000"),
        (1e15.into(), "1000000000000000.0", "1000000000000000.000000"),
        (1e17.into(), "100000000000000000.0", "100000000000000000.000000"),
        (0.1.into(), "0.1", "0.100000"),
        (1.5e300.into(), "1.5e300", &exact),
        (5e-324.into(), "5e-324", "0.000000"),
        (Value::F32(0.1), "0.10000000149011612", "0.100000"),
        (f64::NAN.into(), "null", "nan"),
        (f64::NEG_INFINITY.into(), "null", "-inf"),
        (text(""), r#""""#, r#""""#),
        (
            text("a\"b\\c/\n\t\r\u{8}\u{c}\0\u{1f}\u{7f}"),
            "\"a\\\"b\\\\c/\\n\\t\\r\\b\\f\\u0000\\u001f\u{7f}\"",
            "\"a\"b\\c/\n\t\r\u{8}\u{c}\0\u{1f}\u{7f}\"",
        ),
        (text("é€😀"), r#""\u00e9\u20ac\ud83d\ude00""#, "\"é€😀\""),
        (Value::Binary(vec![b'a', 0, b'"', 0xff]), r#""a\u0000\"\ufffd""#, r#""a\x00\"\xff""#),
        (Value::Ext(-5, vec![0, 0xab]), r#""\\x00\\xab""#, r#"(ext: -5)"\x00\xab""#),
        (Value::Array(vec![]), "[]", "[]"),
        (map(vec![]), "{}", "{}"),
        (Value::Array(vec![1.into(), Value::Array(vec![2.into()])]), "[1,[2]]", "[1, [2]]"),
        (
            map(vec![(text("k"), text("v")), (text("n"), map(vec![(text("m"), 1.into())]))]),
            r#"{"k":"v","n":{"m":1}}"#,
            r#"{"k"=>"v", "n"=>{"m"=>1}}"#,
        ),
        (
            map(vec![(1.into(), 2.into()), (Value::Nil, true.into()), (0.5.into(), 1.into())]),
            r#"{"1":2,"null":true,"0.5":1}"#,
            "{1=>2, nil=>true, 0.500000=>1}",
        ),
        (
            map(vec![(map(vec![(text("a"), text("b\"\n"))]), 1.into()), (Value::Array(vec![]), 2.into())]),
            r#"{"{\"a\":\"b\\\"\\n\"}":1,"[]":2}"#,
            "{{\"a\"=>\"b\"\n\"}=>1, []=>2}",
        ),
        (
            map(vec![(Value::Array(vec![map(vec![(1.into(), Value::Ext(0, vec![1]))])]), 1.into())]),
            r#"{"[{\"1\":\"\\\\x01\"}]":1}"#,
            r#"{[{1=>(ext: 0)"\x01"}]=>1}"#,
        ),
    ];
    for (value, json, text) in cases {
        assert_eq!(printed(value.clone(), ESCAPED), json);
        assert_eq!(printed(value, Style::Text), text);
    }
    assert_eq!(printed("é€😀", PLAIN), "\"é€😀\"");
}

#[test]
fn invalid_utf8_is_replaced_as_the_standard_library_does_wherever_a_page_ends() {
    for bytes in [
        b"\xff".as_slice(),
        b"a\x80b",
        b"\xc3",
        b"x\xe2\x82",
        b"\xe2\x82(\xf0\x9f\x98",
        b"\xf0\x9f\x98\x80\xf0\x9f\xc3\xa9",
        b"\xed\xa0\x80\xf4\x90\x80\x80",
        b"ok \xc3\xa9 \xf0\x9f\x98\x80 ok",
    ] {
        let mut value = vec![0xa0 | bytes.len() as u8];
        value.extend(bytes);
        let expected = String::from_utf8_lossy(bytes);
        for style in [ESCAPED, PLAIN] {
            for step in 1..=value.len() {
                let buf = chain(&value, step);
                let text = print(&mut Cursor::new(&buf), style, 4096).unwrap();
                let read: String = serde_json::from_str(&text).unwrap();
                assert_eq!(read, expected, "{bytes:x?} in pages of {step}");
                assert_eq!(text.is_ascii(), style == ESCAPED);
            }
        }
    }
}

#[test]
fn what_is_no_value_is_corrupt_and_the_printer_can_go_on() {
    let nested = |levels: usize| [vec![0x91; levels], vec![1]].concat();
    assert!(print(&mut Cursor::of(&nested(1000)), ESCAPED, 512).is_ok());
    let in_key_in_key = [0x81, 0x91, 0x81, 0x90, 1, 1];
    for bytes in [
        &nested(1001),
        b"".as_slice(),
        b"\xc1",
        b"\xa5abc",
        b"\x92\x01",
        b"\xdf\xff\xff\xff\xff",
        &in_key_in_key,
    ] {
        let (mut printer, mut block) = (Printer::new(ESCAPED), Block::new(4096));
        assert_eq!(printer.value(&mut Cursor::of(bytes), &mut block), Err(Corrupt));
        block.clear();
        assert_eq!(printer.value(&mut Cursor::of(&[0x91, 1]), &mut block), Ok(Progress::Done));
        assert_eq!(block.bytes(), b"[1]");
    }
}

#[test]
fn a_record_looks_as_fluent_bit_prints_it() {
    let v2 = "{\"k\":\"v\",\"n\":1}";
    let events = transcode([v2.as_bytes(), b"{}"]).unwrap();
    let (mut cursor, mut line, mut block) = (events.cursor(), RecordLine::default(), Block::new(1024));
    for (index, body) in [r#"{"k"=>"v", "n"=>1}"#, "{}"].iter().enumerate() {
        line.begin(index, "app.log", &mut cursor).unwrap();
        assert_eq!(line.write(&mut cursor, &mut block), Ok(Progress::Done));
        let expected = format!("[{index}] app.log: [[1795466146.000000005, {{}}], {body}]\n");
        assert_eq!(std::str::from_utf8(block.bytes()).unwrap(), expected);
        block.clear();
    }
    assert!(cursor.at_end());
    // A forwarded record: [time, body].
    let mut cursor = Cursor::of(b"\x92\x07\x81\xa1k\x01");
    let tag = "t".repeat(600);
    line.begin(0, &tag, &mut cursor).unwrap();
    let mut text = Vec::new();
    while line.write(&mut cursor, &mut block).unwrap() == Progress::BlockFull {
        text.extend_from_slice(block.bytes());
        block.clear();
    }
    text.extend_from_slice(block.bytes());
    let expected = format!("[0] {tag}: [[7.000000000, {{}}], {{\"k\"=>1}}]\n");
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

/// Any msgpack value.
fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        ".{0,30}".prop_map(Value::from),
        "[ -~]{0,3000}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Binary),
        (any::<i8>(), prop::collection::vec(any::<u8>(), 0..400))
            .prop_map(|(kind, bytes)| Value::Ext(kind, bytes)),
    ];
    scalar.prop_recursive(4, 30, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((".{0,20}".prop_map(Value::from), inner.clone()), 0..6)
                .prop_map(Value::Map),
            prop::collection::vec((any::<i32>().prop_map(Value::from), inner), 0..6).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_to_records_and_back_is_the_same_json(object in object(), escape_unicode: bool, capacity in 512usize..3000) {
        let object = serde_json::Value::Object(object);
        let body = object.to_string();
        let events = transcode([body.as_bytes()]).unwrap();
        let mut cursor = events.cursor();
        cursor.record_head().unwrap();
        cursor.skip().unwrap();
        let text = print(&mut cursor, Style::Json { escape_unicode }, capacity).unwrap();
        prop_assert!(cursor.at_end());
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), object);
        prop_assert_eq!(text.is_ascii(), escape_unicode || body.is_ascii());
    }

    #[test]
    fn any_value_is_valid_json_and_the_same_wherever_pages_and_blocks_end(
        value in value(),
        step in 1usize..600,
        capacity in 512usize..2000,
    ) {
        let bytes = pack(&value);
        let buf = chain(&bytes, step.max(bytes.len() / 900));
        for style in [ESCAPED, PLAIN, Style::Text] {
            let expected = print(&mut Cursor::of(&bytes), style, 1 << 20).unwrap();
            prop_assert_eq!(&print(&mut Cursor::new(&buf), style, capacity).unwrap(), &expected);
            if style != Style::Text {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&expected).is_ok(), "{}", expected);
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_loop(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for style in [ESCAPED, PLAIN, Style::Text] {
            let mut cursor = Cursor::of(&bytes);
            while !cursor.at_end() && print(&mut cursor, style, 600).is_ok() {}
        }
    }
}
