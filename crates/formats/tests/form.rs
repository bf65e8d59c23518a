//! Forms to records: what is accepted, what is refused, and that neither depends on where the body is cut or
//! when the ledger is full.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use budget::{Budget, Share};
use common::{PAGE, TIME, account, records};
use event::Events;
use formats::form::{Error, Reason, Transcoder};
use formats::json::Step;
use proptest::prelude::*;

type Fields = Vec<(String, String)>;

fn transcode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Events, Error> {
    let mut transcoder = Transcoder::new(&account(4096), TIME);
    for mut piece in pieces {
        assert_eq!(transcoder.feed(&mut piece)?, Step::NeedInput);
        assert!(piece.is_empty(), "all of it is consumed");
    }
    assert_eq!(transcoder.end()?, Step::NeedInput);
    transcoder.finish()
}

fn fields(events: &Events) -> Fields {
    let records = records(events);
    let [rmpv::Value::Map(entries)] = records.as_slice() else { panic!("one record: {records:?}") };
    let text = |value: &rmpv::Value| value.as_str().unwrap().to_owned();
    entries.iter().map(|(key, value)| (text(key), text(value))).collect()
}

fn whole(body: &[u8]) -> Result<Fields, Error> {
    transcode([body]).map(|events| fields(&events))
}

/// Bodies and their fields.
const ACCEPTED: &[(&str, &[(&str, &str)])] = &[
    ("a=1", &[("a", "1")]),
    ("a=1&b=2&a=3", &[("a", "1"), ("b", "2"), ("a", "3")]),
    ("a=", &[("a", "")]),
    ("a", &[("a", "")]),
    ("a&b=1&c", &[("a", ""), ("b", "1"), ("c", "")]),
    ("=v", &[("", "v")]),
    ("=", &[("", "")]),
    ("&&a=1&&b=2&&", &[("a", "1"), ("b", "2")]),
    ("a=b=c", &[("a", "b=c")]),
    ("a+b=c+d", &[("a b", "c d")]),
    ("a%20b=%2B%26%3D%25", &[("a b", "+&=%")]),
    ("%61=%c3%a9%C3%A9", &[("a", "éé")]),
    ("a=é&b=\u{20ac}x", &[("a", "é"), ("b", "€x")]),
    ("a=%f0%9f%98%80", &[("a", "😀")]),
    ("a=%00", &[("a", "\0")]),
    ("a=\0b", &[("a", "\0b")]),
    ("a={\"b\": 1}&n=5&t=true", &[("a", "{\"b\": 1}"), ("n", "5"), ("t", "true")]),
    // Line ends around fields, and within them.
    ("a=1\n", &[("a", "1")]),
    ("a=1\r\n", &[("a", "1")]),
    ("\r\na=1&\nb=2\n&c\n", &[("a", "1"), ("b", "2"), ("c", "")]),
    ("a=1\n2", &[("a", "1\n2")]),
    ("a=1\r\n\r\n", &[("a", "1\r\n")]),
    ("a=1\r2\n\n3", &[("a", "1\r2\n\n3")]),
    ("a\n=1%0A", &[("a\n", "1\n")]),
];

/// Bodies that are refused, at which byte and why.
const REFUSED: &[(&[u8], u64, Reason)] = &[
    (b"", 0, Reason::Empty),
    (b"&&", 2, Reason::Empty),
    (b"\r\n&\n", 4, Reason::Empty),
    (b"a=%", 2, Reason::Escape),
    (b"a=%4", 2, Reason::Escape),
    (b"a=x%4&b=1", 3, Reason::Escape),
    (b"a=%zz", 2, Reason::Escape),
    (b"a=%4g", 2, Reason::Escape),
    (b"a=%+1", 2, Reason::Escape),
    (b"a%=1", 1, Reason::Escape),
    (b"a=1&b=100%", 9, Reason::Escape),
    (b"a=\xff", 2, Reason::Utf8),
    (b"a=%ff", 2, Reason::Utf8),
    (b"a=%c3", 2, Reason::Utf8),
    (b"a=%c3&b=1", 2, Reason::Utf8),
    (b"a=xy%c3%28", 4, Reason::Utf8),
    (b"a=%ed%a0%80", 2, Reason::Utf8),
    (b"a=%c0%80", 2, Reason::Utf8),
    (b"\xc3=1", 0, Reason::Utf8),
];

fn owned(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn each_form_gives_its_fields_wherever_it_is_cut() {
    for (body, expected) in ACCEPTED {
        let expected = owned(expected);
        assert_eq!(whole(body.as_bytes()).unwrap(), expected, "{body:?}");
        for cut in 0..=body.len() {
            let (a, b) = body.as_bytes().split_at(cut);
            assert_eq!(fields(&transcode([a, b]).unwrap()), expected, "{body:?} cut at {cut}");
        }
        assert_eq!(fields(&transcode(body.as_bytes().chunks(1)).unwrap()), expected, "{body:?} by bytes");
    }
}

#[test]
fn what_is_no_form_is_refused_with_its_place_wherever_it_is_cut() {
    for (body, offset, reason) in REFUSED {
        let expected = Err(Error { offset: *offset, reason: *reason });
        assert_eq!(whole(body), expected, "{}", body.escape_ascii());
        for cut in 0..=body.len() {
            let (a, b) = body.split_at(cut);
            assert_eq!(
                transcode([a, b]).map(|_| ()),
                expected.clone().map(|_| ()),
                "{}",
                body.escape_ascii()
            );
        }
        assert_eq!(transcode(body.chunks(1)).map(|_| ()), expected.map(|_| ()), "{}", body.escape_ascii());
    }
    let error = whole(b"a=1&b=100%").unwrap_err();
    assert_eq!(error.to_string(), "invalid form at byte 9: expected two hexadecimal digits behind '%'");
}

#[test]
fn an_idle_transcoder_is_small() {
    assert!(size_of::<Transcoder>() <= 300, "{} bytes", size_of::<Transcoder>());
}

/// As a budget that others use up: each page has to be waited for.
fn starved(body: &[u8], slice: usize) -> (Fields, usize) {
    let budget = Budget::new(1024 * PAGE, PAGE).unwrap();
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut others =
        budget.account("tail.0", "chunks", Share::COMMON).unwrap().try_lease(1024 * PAGE).unwrap();
    let mut transcoder = Transcoder::new(&account, TIME);
    let mut waits = 0;
    let mut wait = || {
        waits += 1;
        others.shrink_to(others.bytes() - PAGE);
    };
    for mut rest in body.chunks(slice) {
        while transcoder.feed(&mut rest).unwrap() == Step::Full {
            wait();
        }
        assert!(rest.is_empty());
    }
    while transcoder.end().unwrap() == Step::Full {
        wait();
    }
    (fields(&transcoder.finish().unwrap()), waits)
}

#[test]
fn a_full_ledger_at_each_page_changes_no_field() {
    for (body, expected) in ACCEPTED {
        assert_eq!(starved(body.as_bytes(), 1), (owned(expected), 1), "{body:?}");
    }
}

#[test]
fn more_fields_and_longer_ones_than_small_sizes_hold_are_read() {
    let body = "k=v&".repeat(70_000) + "long=" + &"%c3%a9x+".repeat(30_000);
    for slice in [100, 4096, usize::MAX] {
        let (fields, waits) = starved(body.as_bytes(), slice);
        assert_eq!(fields.len(), 70_001);
        assert_eq!(fields[70_000], ("long".to_owned(), "éx ".repeat(30_000)));
        assert!(waits > 50);
    }
}

/// A text as a form holds it: what must be escaped is, and more where `more` says so.
fn escaped(text: &str, more: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b' ' if more & 1 == 0 => out.push(b'+'),
            b'%' | b'&' | b'+' | b'=' | b'\r' | b'\n' => out.extend(format!("%{byte:02x}").bytes()),
            _ if (more >> (at % 8)) & 1 == 1 => out.extend(format!("%{byte:02X}").bytes()),
            _ => out.push(byte),
        }
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_fields_come_back_from_any_pieces(
        expected in prop::collection::vec(("[ -~]{0,20}|\\PC{0,8}|.{0,6}", "[ -~]{0,300}|\\PC{0,8}|[a-é\n]{0,3000}"), 1..12),
        more in any::<u8>(),
        slice in 1usize..300,
    ) {
        let pair = |(key, value): &(String, String)| [escaped(key, more), b"=".to_vec(), escaped(value, more)].concat();
        let body = expected.iter().map(pair).collect::<Vec<_>>().join(&b'&');
        prop_assert_eq!(&whole(&body).unwrap(), &expected);
        prop_assert_eq!(&fields(&transcode(body.chunks(slice)).unwrap()), &expected);
        prop_assert_eq!(&starved(&body, slice).0, &expected);
    }

    #[test]
    fn any_bytes_give_the_same_record_or_error_wherever_they_are_cut(
        body in prop::collection::vec(prop_oneof![Just(b'%'), Just(b'&'), Just(b'\n'), Just(b'\r'), Just(0xc3), any::<u8>(), b'0'..=b'=', b'a'..=b'f'], 0..60),
        slice in 1usize..20,
    ) {
        let one = whole(&body);
        let many = transcode(body.chunks(slice)).map(|events| fields(&events));
        prop_assert_eq!(one, many);
    }
}
