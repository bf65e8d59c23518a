//! Compressed bodies: what other implementations compressed, damaged or not.

use budget::{Account, Budget, Share};
use formats::inflate::Reason;

use crate::common::compressed::{all, inflate};
use crate::random::Random;

const TOKENS: &[&[u8]] = &[
    b"\x00",
    b"\xff",
    b"\x1f\x8b\x08\x00",
    b"\x28\xb5\x2f\xfd",
    b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
    b"\x78\x9c",
    b"\xff\x06\x00\x00sNaPpY",
    b"\xfe\x01\x00\x00",
    b"\xff\xff\xff\xff\x0f",
    b"\xfc\xff\xff\xff\xff",
];

fn text(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..random.below(30) {
        match random.below(3) {
            0 => text.extend((0..random.below(300)).map(|_| random.next() as u8)),
            1 => text.extend_from_slice(&b"{\"key\":\"value\"},".repeat(random.below(100))),
            _ => {
                let from = random.below(text.len() + 1);
                text.extend_from_within(from..(from + 3000).min(text.len()));
            }
        }
    }
    text
}

/// Small: most of what a damaged header asks for is refused.
fn account() -> Account {
    Budget::new(2 << 20, 4096).unwrap().account("http.0", "inflate", Share::COMMON).unwrap()
}

pub fn round(random: &mut Random) {
    let text = text(random);
    for (name, encoding, whole) in all(&text) {
        let mut body = whole.clone();
        for _ in 0..random.below(3) {
            random.damage(&mut body, TOKENS);
        }
        let (one, end) = inflate(encoding, [body.as_slice()], &account());
        let account = account();
        let (many, cut) = inflate(encoding, random.pieces(&body), &account);
        assert_eq!(account.held(), 0, "everything is given back");
        let (end, cut) = (end.map_err(|error| error.reason), cut.map_err(|error| error.reason));
        let shown = || format!("{name}: {}", body.escape_ascii());
        assert_eq!(end, cut, "{}", shown());
        assert!(one.starts_with(&many) || many.starts_with(&one), "{}", shown());
        assert!(end.is_err() || one == many, "{}", shown());
        if body == whole {
            assert!(one == text && (end.is_ok() || body.is_empty()), "{}", shown());
        } else if body.len() < whole.len() && whole.starts_with(&body) && end.is_err() {
            assert_eq!(end, Err(Reason::Truncated), "{}", shown());
        }
    }
}
