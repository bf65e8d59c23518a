//! The corners of RFC 8259, one by one: which texts are values and which, which are not and why not, and where
//! this reader and serde_json differ.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use common::{records, to_json, transcode};
use formats::json::{Error, Reason};
use rmpv::Value;

fn list(items: &[Value]) -> Value {
    Value::Array(items.to_vec())
}

fn map(entries: &[(&str, Value)]) -> Value {
    Value::Map(entries.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

/// Texts that stand as the value of a key, and what they are. An integer and a double are not the same here.
fn numbers() -> Vec<(&'static str, Value)> {
    vec![
        ("0", 0.into()),
        ("-0", 0.into()),
        ("-1", (-1).into()),
        ("123", 123.into()),
        ("9007199254740993", 9_007_199_254_740_993u64.into()),
        ("9223372036854775807", i64::MAX.into()),
        ("9223372036854775808", (i64::MAX as u64 + 1).into()),
        ("18446744073709551615", u64::MAX.into()),
        ("18446744073709551616", 18_446_744_073_709_551_616.0.into()),
        ("-9223372036854775808", i64::MIN.into()),
        ("-9223372036854775809", (-9_223_372_036_854_775_809.0).into()),
        ("100000000000000000000", 1e20.into()),
        ("0.0", 0.0.into()),
        ("-0.0", (-0.0).into()),
        ("1.0", 1.0.into()),
        ("0e1", 0.0.into()),
        ("0e+1", 0.0.into()),
        ("0E0", 0.0.into()),
        ("1e2", 100.0.into()),
        ("1E2", 100.0.into()),
        ("1e+2", 100.0.into()),
        ("1E-2", 0.01.into()),
        ("1e0002", 100.0.into()),
        ("123.456e78", 123.456e78.into()),
        ("-1.5", (-1.5).into()),
        (
            "-0.000000000000000000000000000000000000000000000000000000000000000000000000000001",
            (-1e-78).into(),
        ),
        ("0.1000000000000000055511151231257827", 0.1.into()),
        ("1.7976931348623157e308", f64::MAX.into()),
        ("1.7976931348623158e308", f64::MAX.into()),
        ("2.2250738585072011e-308", 2.225_073_858_507_201e-308.into()),
        ("4.9e-324", 5e-324.into()),
        ("2e-324", 0.0.into()),
        ("1e-400", 0.0.into()),
        ("-1e-400", (-0.0).into()),
        ("0e99999", 0.0.into()),
    ]
}

fn others() -> Vec<(&'static str, Value)> {
    vec![
        ("true", true.into()),
        ("false", false.into()),
        ("null", Value::Nil),
        ("[]", list(&[])),
        ("{}", map(&[])),
        ("[ ]", list(&[])),
        ("[[]   ]", list(&[list(&[])])),
        ("[null, 1, \"1\", {}]", list(&[Value::Nil, 1.into(), "1".into(), map(&[])])),
        ("\t\r\n [\r\n1\t,\n2 ]\r", list(&[1.into(), 2.into()])),
        (r#"{"":0}"#, map(&[("", 0.into())])),
        (r#"{"a":"b","a":"c"}"#, map(&[("a", "b".into()), ("a", "c".into())])),
        (r#"{"a":{"a":{}}}"#, map(&[("a", map(&[("a", map(&[]))]))])),
        (r#"{"a\u0000b":1}"#, map(&[("a\0b", 1.into())])),
        ("\"\"", "".into()),
        ("\" \"", " ".into()),
        (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t".into()),
        (r#""\\u0000""#, "\\u0000".into()),
        (r#""\\""#, "\\".into()),
        (r#""\"""#, "\"".into()),
        (r#""a/*b*/c/*d//e""#, "a/*b*/c/*d//e".into()),
        (r#""\u0000""#, "\0".into()),
        (r#""\u0012""#, "\u{12}".into()),
        (r#""\u0060\u012a\u12AB""#, "`Ī\u{12ab}".into()),
        (r#""\u005C\u0022""#, "\\\"".into()),
        (r#""\uD801\udc37""#, "\u{10437}".into()),
        (r#""\ud83d\ude39\ud83d\udc8d""#, "😹💍".into()),
        (r#""\uDBFF\uDFFF""#, "\u{10ffff}".into()),
        (r#""\uD83F\uDFFE""#, "\u{1fffe}".into()),
        (r#""\uFFFF\uFFFE\uFDD0""#, "\u{ffff}\u{fffe}\u{fdd0}".into()),
        (r#""\u200B\u2064\u00a0""#, "\u{200b}\u{2064}\u{a0}".into()),
        ("\"\u{7f}\u{80}\u{2028}\u{2029}\"", "\u{7f}\u{80}\u{2028}\u{2029}".into()),
        ("\"\u{feff}\"", "\u{feff}".into()),
        ("\"\u{10ffff}\u{1bfff}\u{ffff}\"", "\u{10ffff}\u{1bfff}\u{ffff}".into()),
        ("\"€𝄞\"", "€𝄞".into()),
        (r#""new\u000Aline""#, "new\nline".into()),
    ]
}

/// Texts that are no value: at which byte of the text, and why.
const NO_VALUES: &[(&[u8], u64, Reason)] = &[
    // Numbers.
    (b"-", 0, Reason::Number),
    (b"+1", 0, Reason::ExpectedValue),
    (b"++1", 0, Reason::ExpectedValue),
    (b".5", 0, Reason::ExpectedValue),
    (b"-.5", 0, Reason::Number),
    (b"1.", 0, Reason::Number),
    (b"1.e5", 0, Reason::Number),
    (b"-2.", 0, Reason::Number),
    (b"0.e1", 0, Reason::Number),
    (b"1e", 0, Reason::Number),
    (b"1e+", 0, Reason::Number),
    (b"0E", 0, Reason::Number),
    (b"1.0e-", 0, Reason::Number),
    (b"1eE2", 0, Reason::Number),
    (b"1e1e1", 0, Reason::Number),
    (b"1.2.3", 0, Reason::Number),
    (b"1-2", 0, Reason::Number),
    (b"-1-", 0, Reason::Number),
    (b"--1", 0, Reason::Number),
    (b"00", 0, Reason::LeadingZero),
    (b"-01", 0, Reason::LeadingZero),
    (b"012", 0, Reason::LeadingZero),
    (b"0x42", 1, Reason::AfterMember),
    (b"1 000", 2, Reason::AfterMember),
    (b"1_000", 1, Reason::AfterMember),
    (b"1,5", 2, Reason::ExpectedKey),
    (b"1ea", 0, Reason::Number),
    (b"1a", 1, Reason::AfterMember),
    (b"-a", 0, Reason::Number),
    (b"-Infinity", 0, Reason::Number),
    (b"Infinity", 0, Reason::ExpectedValue),
    (b"NaN", 0, Reason::ExpectedValue),
    (b"-NaN", 0, Reason::Number),
    (b"\xef\xbc\x91", 0, Reason::ExpectedValue),
    (b"1e400", 0, Reason::NumberTooLarge),
    (b"-1e9999", 0, Reason::NumberTooLarge),
    (b"0.4e00669999999999999999", 0, Reason::NumberTooLarge),
    (b"1.7976931348623159e308", 0, Reason::NumberTooLarge),
    // Words.
    (b"tru", 0, Reason::Literal),
    (b"nul", 0, Reason::Literal),
    (b"fals", 0, Reason::Literal),
    (b"trUe", 0, Reason::Literal),
    (b"True", 0, Reason::ExpectedValue),
    (b"truer", 4, Reason::AfterMember),
    (b"nulll", 4, Reason::AfterMember),
    (b"undefined", 0, Reason::ExpectedValue),
    // Strings.
    (b"'a'", 0, Reason::ExpectedValue),
    (b"a", 0, Reason::ExpectedValue),
    (b"\\u0020", 0, Reason::ExpectedValue),
    (b"\"\\a\"", 1, Reason::Escape),
    (b"\"\\x00\"", 1, Reason::Escape),
    (b"\"\\'\"", 1, Reason::Escape),
    (b"\"\\\xf0\x9f\x8c\x80\"", 1, Reason::Escape),
    (b"\"\\U0041\"", 1, Reason::Escape),
    (b"\"\\u\"", 1, Reason::Escape),
    (b"\"\\u00A\"", 1, Reason::Escape),
    (b"\"\\u00g1\"", 1, Reason::Escape),
    (b"\"\\u+041\"", 1, Reason::Escape),
    (b"\"\\ud800\"", 1, Reason::Surrogate),
    (b"\"\\udfff\"", 1, Reason::Surrogate),
    (b"\"\\ud800\\n\"", 1, Reason::Surrogate),
    (b"\"\\ud800\\u0041\"", 1, Reason::Surrogate),
    (b"\"\\ud800\\ud800\"", 1, Reason::Surrogate),
    (b"\"\\ud800abc\"", 1, Reason::Surrogate),
    (b"\"\\udd1e\\ud834\"", 1, Reason::Surrogate),
    (b"\"a\x00a\"", 2, Reason::Control),
    (b"\"\t\"", 1, Reason::Control),
    (b"\"new\nline\"", 4, Reason::Control),
    (b"\"\x1f\"", 1, Reason::Control),
    (b"\"\x80\"", 1, Reason::Utf8),
    (b"\"\xff\"", 1, Reason::Utf8),
    (b"\"\xe9\"", 1, Reason::Utf8),
    (b"\"\xc0\xaf\"", 1, Reason::Utf8),
    (b"\"\xe0\x80\xaf\"", 1, Reason::Utf8),
    (b"\"\xfc\x80\x80\x80\x80\x80\"", 1, Reason::Utf8),
    (b"\"\xed\xa0\x80\"", 1, Reason::Utf8),
    (b"\"\xf4\x90\x80\x80\"", 1, Reason::Utf8),
    (b"\"\xe6\x97\xa5\xd1\x88\xfa\"", 6, Reason::Utf8),
    // Arrays and objects.
    (b"", 0, Reason::ExpectedValue),
    (b"[,1]", 1, Reason::ExpectedValue),
    (b"[1,,2]", 3, Reason::ExpectedValue),
    (b"[1,]", 3, Reason::ExpectedValue),
    (b"[1 true]", 3, Reason::AfterElement),
    (b"[\"a\" \"b\"]", 5, Reason::AfterElement),
    (b"[1}", 2, Reason::AfterElement),
    (b"[\"\": 1]", 3, Reason::AfterElement),
    (b"[1]]", 3, Reason::AfterMember),
    (b"[*]", 1, Reason::ExpectedValue),
    (b"[\x0c]", 1, Reason::ExpectedValue),
    (b"[\x0b1]", 1, Reason::ExpectedValue),
    (b"[\xc2\xa0]", 1, Reason::ExpectedValue),
    (b"[\xe2\x81\xa0]", 1, Reason::ExpectedValue),
    (b"[\xef\xbb\xbf1]", 1, Reason::ExpectedValue),
    (b"[/*1*/]", 1, Reason::ExpectedValue),
    (b"{a:1}", 1, Reason::ExpectedKey),
    (b"{'a':1}", 1, Reason::ExpectedKey),
    (b"{1:1}", 1, Reason::ExpectedKey),
    (b"{null:null}", 1, Reason::ExpectedKey),
    (b"{\"a\":1,,}", 7, Reason::ExpectedKey),
    (b"{\"a\":1,}", 7, Reason::ExpectedKey),
    (b"{\"a\",1}", 4, Reason::ExpectedColon),
    (b"{\"a\"::1}", 5, Reason::ExpectedValue),
    (b"{\"a\" \"b\"}", 5, Reason::ExpectedColon),
    (b"{\"a\":}", 5, Reason::ExpectedValue),
    (b"{\"a\":1 \"b\":2}", 7, Reason::AfterMember),
    (b"{\"a\":1/**/}", 6, Reason::AfterMember),
    (b"{\"a\":1;}", 6, Reason::AfterMember),
    (b"{[1]:2}", 1, Reason::ExpectedKey),
];

/// Bodies and the numbers of their records.
const BODIES: &[(&[u8], usize)] = &[
    (b"{}", 1),
    (b"{}\n", 1),
    (b"\xef\xbb\xbf{}", 1),
    (b"\xef\xbb\xbf \n[{}]", 1),
    (b"{}{}", 2),
    (b"{} {}", 2),
    (b"{}\n{}\n", 2),
    (b"{}\r\n\r\n{}\r\n", 2),
    (b"{},{}", 2),
    (b"{}\n,\n{}", 2),
    (b"[]", 0),
    (b"[{},{}]", 2),
    (b" [ {} , {} ] ", 2),
];

/// Bodies that are refused: at which byte and why.
const NO_BODIES: &[(&[u8], u64, Reason)] = &[
    (b"", 0, Reason::Empty),
    (b" ", 1, Reason::Empty),
    (b"\xef\xbb\xbf", 3, Reason::Empty),
    (b"\xff\xfe{\x00}\x00", 0, Reason::NotAnObject),
    (b"\x00{\x00}", 0, Reason::NotAnObject),
    (b"{\x00}\x00", 1, Reason::ExpectedKey),
    (b"\xef\xbb\xbf\xef\xbb\xbf{}", 3, Reason::NotAnObject),
    (b"\x1e{}", 0, Reason::NotAnObject),
    (b"null", 0, Reason::NotAnObject),
    (b"1", 0, Reason::NotAnObject),
    (b"\"{}\"", 0, Reason::NotAnObject),
    (b"{}}", 2, Reason::BetweenObjects),
    (b"{}#", 2, Reason::BetweenObjects),
    (b"{}//", 2, Reason::BetweenObjects),
    (b"{}\x00", 2, Reason::BetweenObjects),
    (b"{}x", 2, Reason::BetweenObjects),
    (b"{}null", 2, Reason::BetweenObjects),
    (b"{},", 3, Reason::Truncated),
    (b"{};{}", 2, Reason::BetweenObjects),
    (b"{},,{}", 3, Reason::BetweenObjects),
    (b"[]x", 2, Reason::Trailing),
    (b"[][]", 2, Reason::Trailing),
    (b"[{}]]", 4, Reason::Trailing),
    (b"[{}]{}", 4, Reason::Trailing),
    (b"[{},]", 4, Reason::ElementNotAnObject),
    (b"[{} {}]", 4, Reason::BetweenElements),
    (b"[{}", 3, Reason::Truncated),
    (b"{\"a\":\"", 6, Reason::Truncated),
    (b"{\"a\":\"\\", 6, Reason::Truncated),
    (b"{\"a\":\"\\u00", 6, Reason::Truncated),
    (b"{\"a\":\"\\ud834", 6, Reason::Truncated),
    (b"{\"a\":\"\xe2\x82", 6, Reason::Truncated),
    (b"{\"a\":[", 6, Reason::Truncated),
    (b"{\"a\":1", 5, Reason::Truncated),
    (b"{\"a\":tru", 5, Reason::Truncated),
    (b"{\"a\":1e2e", 5, Reason::Number),
    (b"{\"a\":-01", 5, Reason::LeadingZero),
];

const BEFORE: &[u8] = b"{\"v\":";

fn wrapped(text: &[u8]) -> Vec<u8> {
    [BEFORE, text, b"}"].concat()
}

/// The records, the same for the whole body, for its bytes one by one and for each way to cut it in two.
fn read(body: &[u8]) -> Result<Vec<Value>, Error> {
    let one = transcode([body]).map(|events| records(&events));
    for cut in 0..body.len() {
        let (a, b) = body.split_at(cut);
        assert_eq!(transcode([a, b]).map(|events| records(&events)), one, "{} at {cut}", body.escape_ascii());
    }
    assert_eq!(transcode(body.chunks(1)).map(|events| records(&events)), one, "{}", body.escape_ascii());
    one
}

#[test]
fn each_value_is_what_the_table_says() {
    for (text, value) in numbers().into_iter().chain(others()) {
        let found = read(&wrapped(text.as_bytes())).unwrap_or_else(|error| panic!("{text}: {error}"));
        let [Value::Map(entries)] = found.as_slice() else { panic!("{found:?}") };
        // Bits, not only what is equal: there are two zeros.
        if let (Value::F64(found), Value::F64(expected)) = (&entries[0].1, &value) {
            assert_eq!(found.to_bits(), expected.to_bits(), "{text}");
        }
        assert_eq!(entries.as_slice(), [("v".into(), value)], "{text}");
    }
}

#[test]
fn what_is_no_value_is_refused_where_and_why_the_table_says() {
    for (text, offset, reason) in NO_VALUES {
        let expected = Error { offset: BEFORE.len() as u64 + offset, reason: *reason };
        assert_eq!(read(&wrapped(text)), Err(expected), "{}", text.escape_ascii());
    }
}

#[test]
fn each_body_has_the_records_the_table_says_or_is_refused() {
    for (body, count) in BODIES {
        assert_eq!(read(body).unwrap().len(), *count, "{}", body.escape_ascii());
    }
    for (body, offset, reason) in NO_BODIES {
        assert_eq!(read(body), Err(Error { offset: *offset, reason: *reason }), "{}", body.escape_ascii());
    }
}

#[test]
fn a_long_number_that_is_also_wrong_is_refused_for_the_same_reason_wherever_it_is_cut() {
    for digits in [1000, 1020, 1100] {
        let body = format!("{{\"a\":{}e1e1}}", "1".repeat(digits));
        let reason = if digits > 1024 { Reason::NumberTooLong } else { Reason::Number };
        assert_eq!(read(body.as_bytes()), Err(Error { offset: 5, reason }));
    }
}

#[test]
fn levels_are_counted_whatever_they_are_made_of() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let each = open.matches(['[', '{']).count();
        // The record itself is the first level.
        for (inner, taken) in [(127, true), (128, false)] {
            let mut body = format!("{{\"v\":{}", open.repeat(inner / each));
            let rest = inner % each;
            body += &"[".repeat(rest);
            body += "1";
            body += &"]".repeat(rest);
            body += &close.repeat(inner / each);
            body += "}";
            let found = transcode([body.as_bytes()]).map(|_| ());
            assert_eq!(found.is_ok(), taken, "{open} {inner}: {found:?}");
            assert!(taken || found.is_err_and(|error| error.reason == Reason::TooDeep));
        }
    }
}

#[test]
fn serde_json_takes_the_same_values_and_refuses_the_same_texts() {
    for (text, _) in numbers().into_iter().chain(others()) {
        let theirs: serde_json::Value = serde_json::from_slice(&wrapped(text.as_bytes())).unwrap();
        let ours = to_json(&read(&wrapped(text.as_bytes())).unwrap()[0]);
        // The one difference in value: an integer has no negative zero.
        assert!(ours == theirs || text == "-0", "{text}: {ours} {theirs}");
    }
    for (text, ..) in NO_VALUES {
        let theirs = serde_json::from_slice::<serde_json::Value>(&wrapped(text));
        assert!(theirs.is_err(), "{}", text.escape_ascii());
    }
}
