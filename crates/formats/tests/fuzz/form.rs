//! Forms: the transcoder against itself and against the definition, written down for a whole body.

use budget::{Budget, Share};
use event::Events;
use formats::form::{Error, Reason, Transcoder};
use formats::json::Step;

use crate::common::{TIME, records};
use crate::random::Random;

const TEXTS: &[&[u8]] =
    &[b"", b"a", b"key", b"%41", b"+", b"%2B", b"%c3%a9", b"\xc3\xa9", b"%F0%9F%98%80", b"x%0ay"];

const TOKENS: &[&[u8]] = &[
    b"&",
    b"=",
    b"%",
    b"+",
    b"%4",
    b"%zz",
    b"%ff",
    b"%c3",
    b"\xc3",
    b"\xff",
    b"\r",
    b"\n",
    b"\r\n",
    b"&&",
    b"\x00",
    b"%00",
    b"%ed%a0%80",
    b"=&",
    b"\n&",
];

fn body(random: &mut Random) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..random.below(5) {
        for _ in 0..1 + random.below(3) {
            body.extend_from_slice(&random.pick(TEXTS).repeat(1 + random.below(3)));
        }
        body.push(b'=');
        let times = if random.once_in(20) { 3000 } else { random.below(4) };
        body.extend_from_slice(&random.pick(TEXTS).repeat(times));
        body.push(b'&');
    }
    body
}

type Fields = Vec<(rmpv::Value, rmpv::Value)>;

fn fields(events: &Events) -> Fields {
    let records = records(events);
    let [rmpv::Value::Map(fields)] = records.as_slice() else { panic!("one record") };
    fields.clone()
}

/// In pages that have to be waited for, or in one that need not.
fn read(pieces: Vec<&[u8]>, starved: bool) -> Result<Fields, Error> {
    let budget = Budget::new(64 * 4096, 4096).unwrap();
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let all = if starved { 64 * 4096 } else { 0 };
    let mut others = budget.account("tail.0", "chunks", Share::COMMON).unwrap().try_lease(all).unwrap();
    let mut transcoder = Transcoder::new(&account, TIME);
    for mut piece in pieces {
        while transcoder.feed(&mut piece)? == Step::Full {
            others.shrink_to(others.bytes() - 4096);
        }
    }
    while transcoder.end()? == Step::Full {
        others.shrink_to(others.bytes() - 4096);
    }
    transcoder.finish().map(|events| fields(&events))
}

fn decode(text: &[u8]) -> Option<rmpv::Value> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some((first, later)) = rest.split_first() {
        rest = later;
        out.push(match first {
            b'+' => b' ',
            b'%' => {
                let digits = rest.get(..2)?;
                rest = &rest[2..];
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
            }
            other => *other,
        });
    }
    String::from_utf8(out).ok().map(Into::into)
}

/// The fields of a body, by the definition.
fn oracle(body: &[u8]) -> Option<Fields> {
    let mut fields = Vec::new();
    for field in body.split(|byte| *byte == b'&') {
        let start = field.iter().take_while(|byte| b"\r\n".contains(byte)).count();
        let field = &field[start..];
        let ends: [&[u8]; 3] = [b"\r\n", b"\n", b"\r"];
        let stripped = ends.iter().find_map(|end| field.strip_suffix(*end)).unwrap_or(field);
        if stripped.is_empty() {
            continue;
        }
        let (key, value) = match stripped.iter().position(|byte| *byte == b'=') {
            Some(at) => (&stripped[..at], &stripped[at + 1..]),
            None => (stripped, b"".as_slice()),
        };
        fields.push((decode(key)?, decode(value)?));
    }
    (!fields.is_empty()).then_some(fields)
}

pub fn round(random: &mut Random) {
    let mut body = body(random);
    for _ in 0..random.below(4) {
        random.damage(&mut body, TOKENS);
    }
    let shown = || body.escape_ascii().to_string();
    let one = read(vec![&body], false);
    assert_eq!(read(random.pieces(&body), false), one, "{}", shown());
    assert_eq!(read(random.pieces(&body), true), one, "{}", shown());
    assert_eq!(one.clone().ok(), oracle(&body), "{}", shown());
    if let Err(error) = one {
        let at = body.get(error.offset as usize);
        assert!(error.reason != Reason::Escape || at == Some(&b'%') || at.is_some_and(|at| *at >= 0x80));
    }
}
