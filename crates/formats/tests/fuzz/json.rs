//! JSON: the transcoder against itself and against serde_json.

use budget::{Budget, Share};
use event::Events;
use formats::json::{Error, Reason, Step, Transcoder};
use serde_json::Value;

use crate::common::{TIME, records, to_json, transcode};
use crate::random::Random;

/// What a value or a body may be made of; what is wrong is for [`Random::damage`].
const SCALARS: &[&str] = &[
    "0",
    "-0",
    "7",
    "-1",
    "127",
    "128",
    "255",
    "256",
    "65536",
    "4294967296",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "-9223372036854775809",
    "0.1",
    "-0.0",
    "1e2",
    "1E-400",
    "2.5e+10",
    "1.7976931348623157e308",
    "5e-324",
    "123456789012345678901234567890",
    "true",
    "false",
    "null",
    "\"\"",
    "\"a\"",
    "\"é😀\"",
    "\"\\u00e9\\ud83d\\ude00\\n\\\"\\\\\"",
    "\"\u{7f}\u{2028}\"",
    "[]",
    "{}",
];

const TOKENS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"{}",
    b"[]",
    b"},{",
    b"}{",
    b"}\n{",
    b" ",
    b"\t\r\n",
    b"\x00",
    b"\x0c",
    b"\xef\xbb\xbf",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xf0\x9f",
    b"\\ud83d",
    b"\\ude00",
    b"\\u0000",
    b"\\u12",
    b"\\x",
    b"-",
    b"+",
    b"0",
    b"00",
    b".",
    b"e",
    b"E+",
    b"1e400",
    b"1e-400",
    b"-0",
    b"18446744073709551616",
    b"0x1",
    b"tru",
    b"true",
    b"nul",
    b"null",
    b"NaN",
    b"Infinity",
    b"\"k\":",
    b"'",
    b"/*",
    b"//",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"1111111111111111111111111111",
];

fn value(random: &mut Random, depth: usize, out: &mut String) {
    match random.below(if depth > 6 { 6 } else { 10 }) {
        0..5 => out.push_str(random.pick(SCALARS)),
        // Longer than what is read at once, and than a page.
        5 => {
            let long = [5, 70, 300, 3000][random.below(4)];
            let unit = random.pick(&["x", "é", "\\n", "😀", "\\ud83d\\ude00", "plain text "]);
            *out += &format!("\"{}\"", unit.repeat(random.below(long)));
        }
        6 | 7 => {
            out.push('[');
            for n in 0..random.below(5) {
                out.push_str(if n > 0 { random.pick(&[",", " ,\n "]) } else { "" });
                value(random, depth + 1, out);
            }
            out.push(']');
        }
        _ => object(random, depth + 1, out),
    }
}

fn object(random: &mut Random, depth: usize, out: &mut String) {
    out.push('{');
    for n in 0..random.below(6) {
        out.push_str(if n > 0 { "," } else { "" });
        out.push_str(random.pick(&["\"a\"", " \"b\" ", "\"\"", "\"k\\u0000\"", "\"schlüssel\"", "\n\"c\""]));
        out.push_str(random.pick(&[":", " : "]));
        value(random, depth, out);
    }
    out.push('}');
}

fn body(random: &mut Random) -> Vec<u8> {
    let mut out = String::new();
    let array = random.once_in(3);
    let between = if array { "," } else { random.pick(&["", " ", "\n", ",", "\r\n", " , "]) };
    out.push_str(random.pick(&["", "", "", " \n", "\u{feff}"]));
    out.push_str(if array { "[" } else { "" });
    for n in 0..1 + random.below(4) {
        out.push_str(if n > 0 { between } else { "" });
        object(random, 0, &mut out);
    }
    out.push_str(if array { "]" } else { "" });
    out.into_bytes()
}

/// In pages of any size, each of which has to be waited for.
fn starved(random: &mut Random, body: &[u8]) -> Result<Events, Error> {
    let page = [4096, 16_384, 65_536][random.below(3)];
    let budget = Budget::new(256 * page, page).unwrap();
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut others =
        budget.account("tail.0", "chunks", Share::COMMON).unwrap().try_lease(256 * page).unwrap();
    let mut transcoder = Transcoder::new(&account, TIME);
    for mut piece in random.pieces(body) {
        while transcoder.feed(&mut piece)? == Step::Full {
            others.shrink_to(others.bytes() - page);
        }
    }
    transcoder.finish()
}

/// What serde_json makes of a body; it knows neither several objects with commas nor byte order marks.
fn oracle(body: &[u8]) -> Option<Vec<Value>> {
    let blank = |rest: &[u8]| rest.iter().take_while(|byte| b" \t\r\n".contains(byte)).count();
    let next = |rest: &[u8]| {
        let mut reader = serde_json::Deserializer::from_slice(rest);
        reader.disable_recursion_limit();
        let mut values = reader.into_iter::<Value>();
        let value = values.next()?.ok()?;
        Some((value, values.byte_offset()))
    };
    let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    rest = &rest[blank(rest)..];
    if rest.starts_with(b"[") {
        let (value, read) = next(rest)?;
        let Value::Array(items) = value else { return None };
        let end = read + blank(&rest[read..]);
        return (end == rest.len() && items.iter().all(Value::is_object)).then_some(items);
    }
    let mut objects = Vec::new();
    loop {
        if !rest.starts_with(b"{") {
            return None;
        }
        let (object, read) = next(rest)?;
        objects.push(object);
        rest = &rest[read..];
        rest = &rest[blank(rest)..];
        if rest.is_empty() {
            return Some(objects);
        }
        if let Some(after) = rest.strip_prefix(b",") {
            rest = &after[blank(after)..];
        }
    }
}

/// Equal, but for the integer -0, which serde_json reads as a double.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            let found =
                |(key, value): (&String, &Value)| theirs.get(key).is_some_and(|their| same(value, their));
            ours.len() == theirs.len() && ours.iter().all(found)
        }
        _ => ours == theirs || (ours.as_u64() == Some(0) && theirs.as_f64() == Some(0.0)),
    }
}

pub fn round(random: &mut Random) {
    let mut body = body(random);
    for _ in 0..random.below(4) {
        random.damage(&mut body, TOKENS);
    }
    let shown = || body.escape_ascii().to_string();
    let one = transcode([body.as_slice()]).map(|events| records(&events));
    let pieces = random.pieces(&body);
    assert_eq!(transcode(pieces).map(|events| records(&events)), one, "{}", shown());
    assert_eq!(starved(random, &body).map(|events| records(&events)), one, "{}", shown());
    // Limits of ours, which are none of JSON's.
    if one.as_ref().is_err_and(|error| matches!(error.reason, Reason::TooDeep | Reason::NumberTooLong)) {
        return;
    }
    match (one, oracle(&body)) {
        (Ok(ours), Some(theirs)) => {
            let ours = Value::Array(ours.iter().map(to_json).collect());
            assert!(same(&ours, &Value::Array(theirs)), "{}", shown());
        }
        (Err(_), None) => {}
        (ours, theirs) => panic!("{}: {ours:?}, serde_json: {}", shown(), theirs.is_some()),
    }
}
