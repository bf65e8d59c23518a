//! Escapes that C, JavaScript and MySQL write into text.

/// Backslash escapes, `\u` and `\x` included, as UTF-8. Writes at most as many bytes as it reads.
pub(super) fn escaped_utf8(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        if *byte != b'\\' || behind.is_empty() {
            if *byte == 0 {
                return;
            }
            out.push(*byte);
            rest = behind;
            continue;
        }
        if behind[0] >= 0x80 {
            // A character beyond ASCII stands for itself.
            rest = behind;
            continue;
        }
        let (code, len) = sequence(behind);
        match char::from_u32(code) {
            Some('\0') | None => {}
            Some(found) => out.extend_from_slice(found.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        rest = &behind[len..];
    }
}

/// The code point that stands behind a backslash, and how many bytes write it.
fn sequence(text: &[u8]) -> (u32, usize) {
    let digits = |from: usize, most: usize, base: u32| {
        let found = text.get(from..).unwrap_or_default().iter().take(most);
        let found = found.map_while(|byte| char::from(*byte).to_digit(base));
        found.fold((0_u32, 0), |(value, count), digit| (value * base + digit, count + 1))
    };
    let first = text[0];
    match first {
        b'n' => (0x0a, 1),
        b't' => (0x09, 1),
        b'r' => (0x0d, 1),
        b'b' => (0x08, 1),
        b'f' => (0x0c, 1),
        b'v' => (0x0b, 1),
        b'a' => (0x07, 1),
        b'0'..=b'7' => {
            let (value, count) = digits(0, 3, 8);
            (value, count)
        }
        b'x' => match digits(1, 2, 16) {
            (_, 0) => (u32::from(first), 1),
            (value, count) => (value, 1 + count),
        },
        b'U' => match digits(1, 8, 16) {
            (_, 0) => (u32::from(first), 1),
            (value, count) => (value, 1 + count),
        },
        b'u' => unicode(digits(1, 4, 16), text, &digits),
        _ => (u32::from(first), 1),
    }
}

const REPLACEMENT: u32 = 0xfffd;

/// `\uXXXX`, with its partner where it has one.
fn unicode(
    (high, count): (u32, usize),
    text: &[u8],
    digits: &dyn Fn(usize, usize, u32) -> (u32, usize),
) -> (u32, usize) {
    match (high, count) {
        // Without a digit there is nothing; Fluent Bit ends the text here.
        (_, 0) => (0, 1),
        (_, 1..4) | (0xdc00..0xe000, _) => (REPLACEMENT, 1 + count),
        (0xd800..0xdc00, _) => {
            if text.get(5..7) != Some(b"\\u") {
                return (REPLACEMENT, 5);
            }
            match digits(7, 4, 16) {
                (low @ 0xdc00..0xe000, 4) => (0x1_0000 + ((high - 0xd800) << 10 | (low - 0xdc00)), 11),
                (_, count) => (REPLACEMENT, 7 + count),
            }
        }
        _ => (high, 5),
    }
}

/// The escapes of one letter that stand for control characters; any other character behind a backslash stands
/// for itself.
pub(super) fn escaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        let (b'\\', Some((letter, after))) = (*byte, behind.split_first()) else {
            out.push(*byte);
            rest = behind;
            continue;
        };
        out.push(match letter {
            b'n' => b'\n',
            b'a' => 0x07,
            b'b' => 0x08,
            b't' => b'\t',
            b'v' => 0x0b,
            b'f' => 0x0c,
            b'r' => b'\r',
            other => *other,
        });
        rest = after;
    }
}

/// Text that MySQL put into quotes. Without quotes it stays as it is.
pub(super) fn mysql_quoted(text: &[u8], out: &mut Vec<u8>) {
    let (Some([b'\'', inner @ .., b'\'']) | Some([b'"', inner @ .., b'"'])) = Some(text) else {
        return out.extend_from_slice(text);
    };
    let mut rest = inner;
    while let Some((byte, behind)) = rest.split_first() {
        let (b'\\', Some((letter, after))) = (*byte, behind.split_first()) else {
            out.push(*byte);
            rest = behind;
            continue;
        };
        match letter {
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'\\' | b'\'' | b'"' => out.push(*letter),
            b'0' => out.push(0),
            b'Z' => out.push(0x1a),
            _ => out.extend_from_slice(&[b'\\', *letter]),
        }
        rest = after;
    }
}
