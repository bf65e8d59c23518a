//! JSON text to records: what is accepted, what is refused, and that neither depends on where the input is cut
//! or when the ledger is full.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use budget::{Budget, Share};
use common::{PAGE, TIME, object, records, to_json, transcode};
use event::Events;
use formats::json::{Error, Reason, Step, Transcoder};
use proptest::prelude::*;
use serde_json::{Value, json};

fn whole(body: &[u8]) -> Result<Vec<Value>, Error> {
    transcode([body]).map(|events| values(&events))
}

fn values(events: &Events) -> Vec<Value> {
    records(events).iter().map(to_json).collect()
}

/// Bodies and their records.
fn accepted() -> Vec<(String, Vec<Value>)> {
    let many = format!("{{\"a\":[{}]}}", vec!["7"; 70_000].join(","));
    let long = "x".repeat(9000) + "é\\n" + &"ü".repeat(5000);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(127), "]".repeat(127));
    let cases: Vec<(&str, Vec<Value>)> = vec![
        ("{}", vec![json!({})]),
        (" \r\n\t{ } \n", vec![json!({})]),
        ("\u{feff}{}", vec![json!({})]),
        ("[]", vec![]),
        (" [ ] ", vec![]),
        ("[{}]", vec![json!({})]),
        (r#"[{"a":1}, {"b":2}]"#, vec![json!({"a": 1}), json!({"b": 2})]),
        (r#"{"a":1}{"b":2}"#, vec![json!({"a": 1}), json!({"b": 2})]),
        ("{\"a\":1}\n{\"b\":2}\n", vec![json!({"a": 1}), json!({"b": 2})]),
        (r#"{"a":1} , {"b":2},{}"#, vec![json!({"a": 1}), json!({"b": 2}), json!({})]),
        (r#"{"":{"":[]}}"#, vec![json!({"": {"": []}})]),
        (r#"{"a":[true,false,null,[],{}]}"#, vec![json!({"a": [true, false, null, [], {}]})]),
        (
            r#"{"a":[0,-0,-1,127,128,18446744073709551615,-9223372036854775808]}"#,
            vec![json!({"a": [0, 0, -1, 127, 128, u64::MAX, i64::MIN]})],
        ),
        (
            r#"{"a":[0.0,-0.5,1e2,1E+2,25e-1,18446744073709551616,-9223372036854775809,1e-400]}"#,
            vec![
                json!({"a": [0.0, -0.5, 1e2, 1e2, 2.5, 18446744073709551616.0, -9223372036854775809.0, 0.0]}),
            ],
        ),
        (r#"{"a":123456789012345678901234567890.5e-3}"#, vec![json!({"a": 1.234_567_890_123_456_8e26})]),
        (
            r#"{"\u0061\n":"\"\\\/\b\f\n\r\t\u0000\u00e9\ud83d\ude00\uFFFF"}"#,
            vec![json!({"a\n": "\"\\/\u{8}\u{c}\n\r\t\0é😀\u{ffff}"})],
        ),
        ("{\"grüße\":\"€😀\u{7f} \"}", vec![json!({"grüße": "€😀\u{7f} "})]),
    ];
    let mut cases: Vec<_> = cases.into_iter().map(|(body, records)| (body.to_owned(), records)).collect();
    cases.push((many, vec![json!({"a": vec![7; 70_000]})]));
    let text = long.replace("\\n", "\n");
    cases.push((format!("{{\"{long}\":\"{long}\"}}"), vec![json!({text.clone(): text})]));
    let nested = (0..126).fold(json!([]), |value, _| json!([value]));
    cases.push((deep, vec![json!({"a": nested})]));
    cases
}

/// Bodies that are refused, at which byte and why.
const REFUSED: &[(&[u8], u64, Reason)] = &[
    (b"", 0, Reason::Empty),
    (b" \n ", 3, Reason::Empty),
    (b"\xef\xbb\xbf", 3, Reason::Empty),
    (b"\xef\xbb", 0, Reason::Truncated),
    (b"\xef\xbb{}", 0, Reason::NotAnObject),
    (b" \xef\xbb\xbf{}", 1, Reason::NotAnObject),
    (b"1", 0, Reason::NotAnObject),
    (b"\"a\"", 0, Reason::NotAnObject),
    (b"null", 0, Reason::NotAnObject),
    (b",{}", 0, Reason::NotAnObject),
    (b"{}1", 2, Reason::BetweenObjects),
    (b"{}]", 2, Reason::BetweenObjects),
    (b"{}[{}]", 2, Reason::BetweenObjects),
    (b"{},", 3, Reason::Truncated),
    (b"{},,{}", 3, Reason::BetweenObjects),
    (b"[1]", 1, Reason::ElementNotAnObject),
    (b"[[{}]]", 1, Reason::ElementNotAnObject),
    (b"[,{}]", 1, Reason::ElementNotAnObject),
    (b"[{},]", 4, Reason::ElementNotAnObject),
    (b"[{},null]", 4, Reason::ElementNotAnObject),
    (b"[{}{}]", 3, Reason::BetweenElements),
    (b"[{}}", 3, Reason::BetweenElements),
    (b"[", 1, Reason::Truncated),
    (b"[{}", 3, Reason::Truncated),
    (b"[{},", 4, Reason::Truncated),
    (b"[]x", 2, Reason::Trailing),
    (b"[{}] {}", 5, Reason::Trailing),
    (b"[{}],{}", 4, Reason::Trailing),
    (b"{", 1, Reason::Truncated),
    (b"{\"a", 3, Reason::Truncated),
    (b"{\"a\"", 4, Reason::Truncated),
    (b"{\"a\":", 5, Reason::Truncated),
    (b"{\"a\":1", 5, Reason::Truncated),
    (b"{\"a\":1,", 7, Reason::Truncated),
    (b"{\"a\":tru", 5, Reason::Truncated),
    (b"{\"a\":1}{\"b\":", 12, Reason::Truncated),
    (b"{a:1}", 1, Reason::ExpectedKey),
    (b"{1:1}", 1, Reason::ExpectedKey),
    (b"{,}", 1, Reason::ExpectedKey),
    (b"{\"a\":1,}", 7, Reason::ExpectedKey),
    (b"{\"a\" 1}", 5, Reason::ExpectedColon),
    (b"{\"a\"}", 4, Reason::ExpectedColon),
    (b"{\"a\":}", 5, Reason::ExpectedValue),
    (b"{\"a\":'b'}", 5, Reason::ExpectedValue),
    (b"{\"a\":[1,]}", 8, Reason::ExpectedValue),
    (b"{\"a\":+1}", 5, Reason::ExpectedValue),
    (b"{\"a\":.5}", 5, Reason::ExpectedValue),
    (b"{\"a\":NaN}", 5, Reason::ExpectedValue),
    (b"{\"a\":\x00}", 5, Reason::ExpectedValue),
    (b"{\"a\":1 2}", 7, Reason::AfterMember),
    (b"{\"a\":1]", 6, Reason::AfterMember),
    (b"{\"a\":1x}", 6, Reason::AfterMember),
    (b"{\"a\":\"b\"\"c\"}", 8, Reason::AfterMember),
    (b"{\"a\":[1}", 7, Reason::AfterElement),
    (b"{\"a\":[true false]}", 11, Reason::AfterElement),
    (b"{\"a\":trux}", 5, Reason::Literal),
    (b"{\"a\":nil}", 5, Reason::Literal),
    (b"{\"a\":False}", 5, Reason::ExpectedValue),
    (b"{\"a\":-}", 5, Reason::Number),
    (b"{\"a\":1.}", 5, Reason::Number),
    (b"{\"a\":1e}", 5, Reason::Number),
    (b"{\"a\":1.5.2}", 5, Reason::Number),
    (b"{\"a\":0x10}", 6, Reason::AfterMember),
    (b"{\"a\":01}", 5, Reason::LeadingZero),
    (b"{\"a\":-012}", 5, Reason::LeadingZero),
    (b"{\"a\":1e309}", 5, Reason::NumberTooLarge),
    (b"{\"a\":\"\n\"}", 6, Reason::Control),
    (b"{\"a\":\"\x1f\"}", 6, Reason::Control),
    (b"{\"a\x00\":1}", 3, Reason::Control),
    (b"{\"a\":\"x\\q\"}", 7, Reason::Escape),
    (b"{\"a\":\"\\u12g4\"}", 6, Reason::Escape),
    (b"{\"a\":\"\\ud800\"}", 6, Reason::Surrogate),
    (b"{\"a\":\"\\udc00\"}", 6, Reason::Surrogate),
    (b"{\"a\":\"\\ud83dx\"}", 6, Reason::Surrogate),
    (b"{\"a\":\"\\ud83d\\n\"}", 6, Reason::Surrogate),
    (b"{\"a\":\"\\ud83d\\ud83d\"}", 6, Reason::Surrogate),
    (b"{\"a\":\"\xff\"}", 6, Reason::Utf8),
    (b"{\"a\":\"xy\xc3\"}", 8, Reason::Utf8),
    (b"{\"a\":\"\xc0\x80\"}", 6, Reason::Utf8),
    (b"{\"a\":\"\xed\xa0\x80\"}", 6, Reason::Utf8),
    (b"{\"a\":\"\xf4\x90\x80\x80\"}", 6, Reason::Utf8),
    (b"{\"\xe2\x82\":1}", 2, Reason::Utf8),
    (b"{\"a\":\xc3\xa9}", 5, Reason::ExpectedValue),
];

#[test]
fn each_form_of_a_body_gives_its_records() {
    for (body, expected) in accepted() {
        assert_eq!(whole(body.as_bytes()).unwrap(), expected, "{}", &body[..body.len().min(80)]);
    }
}

#[test]
fn what_is_not_json_or_no_object_is_refused_with_its_place() {
    for (body, offset, reason) in REFUSED {
        let error = Error { offset: *offset, reason: *reason };
        assert_eq!(whole(body), Err(error), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn an_error_is_one_line_with_the_byte_and_the_reason() {
    let error = whole(b"{\"a\":1,}").unwrap_err();
    assert_eq!(error.to_string(), "invalid JSON at byte 7: expected a key in double quotes");
}

#[test]
fn records_and_errors_are_the_same_wherever_the_body_is_cut() {
    for (body, expected) in accepted().iter().filter(|(body, _)| body.len() < 500) {
        let body = body.as_bytes();
        for cut in 0..=body.len() {
            let (a, b) = body.split_at(cut);
            assert_eq!(values(&transcode([a, b]).unwrap()), *expected, "cut at {cut}");
        }
        assert_eq!(values(&transcode(body.chunks(1)).unwrap()), *expected, "byte by byte");
    }
    for (body, offset, reason) in REFUSED {
        let expected = Err(Error { offset: *offset, reason: *reason });
        for cut in 0..=body.len() {
            let (a, b) = body.split_at(cut);
            assert_eq!(transcode([a, b]).map(|_| ()), expected, "{} cut at {cut}", body.escape_ascii());
        }
        assert_eq!(transcode(body.chunks(1)).map(|_| ()), expected, "{} by bytes", body.escape_ascii());
    }
}

#[test]
fn duplicate_keys_are_kept_in_their_order() {
    let events = transcode([br#"{"a":1,"b":2,"a":3}"#.as_slice()]).unwrap();
    let expected: Vec<(rmpv::Value, rmpv::Value)> =
        vec![("a".into(), 1.into()), ("b".into(), 2.into()), ("a".into(), 3.into())];
    assert_eq!(records(&events), [rmpv::Value::Map(expected)]);
}

#[test]
fn a_record_nests_at_most_128_levels() {
    let body = |levels: usize| format!("[{}1{}]", "{\"a\":".repeat(levels), "}".repeat(levels));
    assert_eq!(whole(body(128).as_bytes()).unwrap().len(), 1);
    let error = Error { offset: 1 + 128 * 5, reason: Reason::TooDeep };
    assert_eq!(whole(body(129).as_bytes()), Err(error));
}

#[test]
fn a_number_has_at_most_1024_bytes_however_it_is_cut() {
    for (digits, ok) in [(1024, true), (1025, false)] {
        let body = format!("{{\"a\":0.{}}}", "3".repeat(digits - 2));
        for size in [1, 100, 5000] {
            let result = transcode(body.as_bytes().chunks(size)).map(|events| values(&events));
            let expected = Err(Error { offset: 5, reason: Reason::NumberTooLong });
            assert_eq!(result, if ok { Ok(vec![json!({"a": 1.0 / 3.0})]) } else { expected });
        }
    }
}

#[test]
fn an_idle_transcoder_is_small() {
    assert!(size_of::<Transcoder>() <= 300, "{} bytes", size_of::<Transcoder>());
}

/// As a budget that others use up: each page has to be waited for.
fn starved(body: &[u8], slice: usize) -> (Result<Events, Error>, usize) {
    let budget = Budget::new(4096 * PAGE, PAGE).unwrap();
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut others =
        budget.account("tail.0", "chunks", Share::COMMON).unwrap().try_lease(4096 * PAGE).unwrap();
    let mut transcoder = Transcoder::new(&account, TIME);
    let mut waits = 0;
    for mut rest in body.chunks(slice) {
        loop {
            match transcoder.feed(&mut rest) {
                Ok(Step::NeedInput) => break,
                Ok(Step::Full) => {
                    waits += 1;
                    others.shrink_to(others.bytes() - PAGE);
                }
                Err(error) => return (Err(error), waits),
            }
        }
        assert!(rest.is_empty());
    }
    (transcoder.finish(), waits)
}

#[test]
fn a_full_ledger_at_each_page_changes_no_record() {
    for (body, expected) in accepted() {
        for slice in [37, 4096, usize::MAX] {
            let (events, waits) = starved(body.as_bytes(), slice);
            assert_eq!(values(&events.unwrap()), expected);
            assert_eq!(waits == 0, expected.is_empty());
        }
    }
}

#[test]
fn a_full_ledger_does_not_move_the_place_of_an_error() {
    // Each ends early, around the end of the first page.
    let texts = (2020..2060).map(|count| format!("{{\"a\":\"{}", "é".repeat(count)));
    let words = (4040..4090).map(|count| format!("{{\"a\":[{}true", "true,".repeat(count)));
    for body in texts.chain(words) {
        let (found, _) = starved(body.as_bytes(), 1);
        assert_eq!(found.map(|events| values(&events)), whole(body.as_bytes()), "{} bytes", body.len());
    }
}

#[test]
fn the_worst_legal_bodies_are_read_whole() {
    // Each of these would take minutes if a record, a level or an escape cost more the later it comes.
    let deep = format!("{{\"a\":{}{}}},", "[".repeat(127), "]".repeat(127));
    let wide = format!("{{\"a\":[{}1]}},", "[[[]]],".repeat(100_000));
    for (body, records) in [
        ("{},".repeat(1_000_000), 1_000_000),
        (deep.repeat(10_000), 10_000),
        (wide.repeat(3), 3),
        (format!("{{\"a\":\"{}\"}},", "\\ud83d\\ude00\\n\\u0000".repeat(100_000)), 1),
        (format!("{{\"a\":\"{}\"}},", "é\\n".repeat(500_000)), 1),
        (format!("{{{}\"b\":1}},", "\"a\":{},".repeat(300_000)), 1),
    ] {
        let body = format!("[{}]", body.trim_end_matches(','));
        assert_eq!(transcode(body.as_bytes().chunks(65_536)).unwrap().records, records);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_are_those_of_serde_json(
        objects in prop::collection::vec(object(), 0..6),
        form in 0..5,
        slice in 1usize..200,
    ) {
        let objects: Vec<Value> = objects.into_iter().map(Value::Object).collect();
        prop_assume!(form < 2 || !objects.is_empty());
        let join = |separator: &str| {
            objects.iter().map(Value::to_string).collect::<Vec<_>>().join(separator)
        };
        let body = match form {
            0 => serde_json::to_string(&objects).unwrap(),
            1 => serde_json::to_string_pretty(&objects).unwrap(),
            2 => join("\n"),
            3 => join(","),
            _ => join(""),
        };
        prop_assert_eq!(whole(body.as_bytes()).unwrap(), objects.clone());
        prop_assert_eq!(values(&transcode(body.as_bytes().chunks(slice)).unwrap()), objects.clone());
        prop_assert_eq!(values(&starved(body.as_bytes(), slice * 50).0.unwrap()), objects);
    }

    #[test]
    fn a_damaged_body_is_refused_exactly_when_serde_json_refuses_it(
        object in object(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..4),
        slice in 1usize..50,
    ) {
        let mut body = Value::Object(object).to_string().into_bytes();
        for (at, bytes) in damage {
            let at = at.index(body.len());
            body.splice(at..(at + 1).min(body.len()), bytes);
            prop_assume!(!body.is_empty());
        }
        let ours = whole(&body);
        let cut = transcode(body.chunks(slice)).map(|events| values(&events));
        prop_assert_eq!(&ours, &cut);
        match serde_json::from_slice::<Value>(&body) {
            Ok(Value::Object(_)) => prop_assert!(ours.is_ok(), "{:?}", ours),
            Ok(_) => prop_assert!(ours.is_err() || body.starts_with(b"[")),
            // Several objects are a body, but not for serde_json.
            Err(_) => prop_assert!(ours.is_err() || ours.is_ok_and(|records| records.len() > 1)),
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..300), slice in 1usize..40) {
        let _ = transcode(body.chunks(slice));
    }
}

/// Bytes that matter to JSON.
fn damage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(vec![]),
        prop::sample::select(b"{}[]\",:\\0-+.eE \n\x00\x80\xc3tnu".to_vec()).prop_map(|byte| vec![byte]),
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec!["\\ud83d", "\\u00e9", "é", "null", "1e5", "{}", ",\"x\":1"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ]
}
