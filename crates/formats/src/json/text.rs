//! Strings: escapes and UTF-8.

use super::error::Reason;
use super::scan;
use event::WHOLE_STR;

/// What one escape or one character beyond ASCII at the front of some bytes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// This character, written with so many bytes.
    Char(char, usize),
    /// The bytes end within it.
    More,
    /// It is refused.
    Bad(Reason),
}

/// Reads the escape or the character that `bytes` start with.
pub(super) fn unit(bytes: &[u8]) -> Unit {
    if bytes.first() == Some(&b'\\') { escape(bytes) } else { character(bytes) }
}

fn character(bytes: &[u8]) -> Unit {
    let bytes = &bytes[..bytes.len().min(4)];
    let (valid, error) = match std::str::from_utf8(bytes) {
        Ok(text) => (text, None),
        Err(error) => (std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""), Some(error)),
    };
    match (valid.chars().next(), error) {
        (Some(first), _) => Unit::Char(first, first.len_utf8()),
        (None, Some(error)) if error.error_len().is_some() => Unit::Bad(Reason::Utf8),
        (None, _) => Unit::More,
    }
}

#[inline]
fn escape(bytes: &[u8]) -> Unit {
    let Some(code) = bytes.get(1) else { return Unit::More };
    let character = match code {
        b'"' | b'\\' | b'/' => char::from(*code),
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => return unicode(bytes),
        _ => return Unit::Bad(Reason::Escape),
    };
    Unit::Char(character, 2)
}

/// Reads escapes and plain ASCII into `out`, until it is full or something else comes. Answers the bytes read
/// and the bytes written.
pub(super) fn unescape(bytes: &[u8], out: &mut [u8]) -> (usize, usize) {
    let (mut read, mut written) = (0, 0);
    while out.len() - written >= 4 {
        if bytes.get(read) == Some(&b'\\') {
            let Unit::Char(found, len) = escape(&bytes[read..]) else { break };
            written += found.encode_utf8(&mut out[written..]).len();
            read += len;
        } else {
            let run = scan::plain(&bytes[read..], out.len() - written);
            if run == 0 {
                break;
            }
            out[written..written + run].copy_from_slice(&bytes[read..read + run]);
            (read, written) = (read + run, written + run);
        }
    }
    (read, written)
}

/// `\uXXXX`, or two of them that make a character beyond the first 65,536.
fn unicode(bytes: &[u8]) -> Unit {
    let high = match hex(&bytes[2..]) {
        Ok(code) => code,
        Err(unit) => return unit,
    };
    if !(0xd800..0xe000).contains(&high) {
        return char::from_u32(high).map_or(Unit::Bad(Reason::Escape), |found| Unit::Char(found, 6));
    }
    let partner = &bytes[6..];
    if high >= 0xdc00 || !b"\\u".starts_with(&partner[..partner.len().min(2)]) {
        return Unit::Bad(Reason::Surrogate);
    }
    if partner.len() < 2 {
        return Unit::More;
    }
    match hex(&partner[2..]) {
        Ok(low @ 0xdc00..0xe000) => {
            let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            char::from_u32(code).map_or(Unit::Bad(Reason::Surrogate), |found| Unit::Char(found, 12))
        }
        Ok(_) => Unit::Bad(Reason::Surrogate),
        Err(unit) => unit,
    }
}

/// Four hexadecimal digits.
fn hex(bytes: &[u8]) -> Result<u32, Unit> {
    let digits = &bytes[..bytes.len().min(4)];
    let mut value = 0;
    for digit in digits {
        value = value << 4 | char::from(*digit).to_digit(16).ok_or(Unit::Bad(Reason::Escape))?;
    }
    if digits.len() < 4 { Err(Unit::More) } else { Ok(value) }
}

/// The string that `bytes` start with, if it is of the most common kind: up to 31 characters of plain ASCII. Answers
/// the block that it is the front of, and its length.
#[inline(always)]
pub(super) fn short(bytes: &[u8]) -> Option<(&[u8; 32], usize)> {
    let Some((b'"', body)) = bytes.split_first() else { return None };
    let block = body.first_chunk::<32>()?;
    let len = scan::plain_in(block);
    (block.get(len) == Some(&b'"')).then_some((block, len))
}

/// The content of the string that `bytes` start with, if there is one that ends within them, has no escapes,
/// is valid and not longer than [`WHOLE_STR`]. Most strings are so; the others are read by pieces.
#[inline]
pub(super) fn whole(bytes: &[u8]) -> Option<&[u8]> {
    let Some((b'"', body)) = bytes.split_first() else { return None };
    let len = scan::plain(body, WHOLE_STR + 1);
    match body.get(len) {
        Some(b'"') => body.get(..len).filter(|text| text.len() <= WHOLE_STR),
        Some(0x80..) => whole_beyond_ascii(body, len),
        _ => None,
    }
}

fn whole_beyond_ascii(body: &[u8], ascii: usize) -> Option<&[u8]> {
    let len = ascii + scan::text(&body[ascii..], (WHOLE_STR + 1).saturating_sub(ascii));
    let text = body.get(..len).filter(|text| text.len() <= WHOLE_STR)?;
    (body.get(len) == Some(&b'"') && std::str::from_utf8(&text[ascii..]).is_ok()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read_and_refused_as_rfc_8259_says() {
        for (text, expected) in [
            (r#"\""#, Unit::Char('"', 2)),
            (r"\/x", Unit::Char('/', 2)),
            (r"\u0041", Unit::Char('A', 6)),
            (r"\u0000", Unit::Char('\0', 6)),
            (r"\uFFFFx", Unit::Char('\u{ffff}', 6)),
            (r"\ud83D\uDe00", Unit::Char('😀', 12)),
            (r"\x", Unit::Bad(Reason::Escape)),
            (r"\u00g", Unit::Bad(Reason::Escape)),
            (r"\u+123", Unit::Bad(Reason::Escape)),
            (r"\udc00", Unit::Bad(Reason::Surrogate)),
            (r"\ud800x", Unit::Bad(Reason::Surrogate)),
            (r"\ud800\n", Unit::Bad(Reason::Surrogate)),
            (r"\ud800\u0041", Unit::Bad(Reason::Surrogate)),
            (r"\ud800\ud800", Unit::Bad(Reason::Surrogate)),
            ("é", Unit::Char('é', 2)),
            ("😀é", Unit::Char('😀', 4)),
        ] {
            assert_eq!(unit(text.as_bytes()), expected, "{text}");
            if let Unit::Char(_, len) = expected {
                for cut in 1..len {
                    assert_eq!(unit(&text.as_bytes()[..cut]), Unit::More, "{text} cut at {cut}");
                }
            }
        }
        for bytes in [b"\x80".as_slice(), b"\xc0\x80", b"\xed\xa0\x80", b"\xf5", b"\xc3(", b"\xe2\x82\""] {
            assert_eq!(unit(bytes), Unit::Bad(Reason::Utf8), "{bytes:x?}");
        }
    }

    #[test]
    fn a_short_string_is_seen_at_once_and_nothing_else_is() {
        for len in 0..=40 {
            let text = format!("\"{}\"{}", "y".repeat(len), " ".repeat(32));
            let found = short(text.as_bytes()).map(|(block, len)| &block[..len]);
            assert_eq!(found, (len < 32).then(|| &text.as_bytes()[1..=len]));
            assert_eq!(short(&text.as_bytes()[..32]), None, "no whole block");
        }
        for text in [r#""a\n""#, "\"a\tb\"", "\"grün\"", "7"] {
            assert_eq!(short(format!("{text}{}", " ".repeat(32)).as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_string_is_taken_whole_up_to_the_longest_that_fits() {
        let quoted = |text: &str| format!("\"{text}\" and more").into_bytes();
        for text in ["", "x", "grün", &"y".repeat(WHOLE_STR), &"é".repeat(WHOLE_STR / 2)] {
            assert_eq!(whole(&quoted(text)), Some(text.as_bytes()));
        }
        for text in [r"a\n", "a\tb", &"y".repeat(WHOLE_STR + 1), &"é".repeat(WHOLE_STR / 2 + 1)] {
            assert_eq!(whole(&quoted(text)), None);
        }
        assert_eq!(whole(b"\"unfinished"), None);
        assert_eq!(whole(b"\"\xff\""), None);
    }
}
