//! A record that has the body and the headers of its own request.

use budget::Buf;
use engine::Part;
use event::{Corrupt, Cursor, Token};
use http::header::{HeaderName, HeaderValue};

use crate::rows::record_time;
use crate::template::Path;

/// Headers that a record may have, and bytes of each of their values.
const HEADERS: usize = 64;
const VALUE: usize = 8 << 10;

/// The text that is the body, with its length, and the headers. `None` when the record lacks one of them.
type Read<'a> = Option<((Cursor<'a>, usize), Vec<(HeaderName, HeaderValue)>)>;

/// Reads the first record of a part.
pub(super) fn read<'a>(part: &'a Part, body: &Path, headers: &Path) -> Result<Read<'a>, Corrupt> {
    let mut cursor = part.cursor()?;
    record_time(&mut cursor)?;
    let (Some(mut text), Some(mut map)) = (body.find(cursor.clone())?, headers.find(cursor)?) else {
        return Ok(None);
    };
    let (Token::Str(size) | Token::Bin(size), Token::Map(count)) = (text.token()?, map.token()?) else {
        return Ok(None);
    };
    let mut own = Vec::new();
    for _ in 0..count {
        let (name, value) = (string(&mut map)?, string(&mut map)?);
        // What no header may be named or hold is left out.
        if let (Some(name), Some(value)) = (name, value)
            && let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&name), HeaderValue::from_bytes(&value))
            && own.len() < HEADERS
        {
            own.push((name, value));
        }
    }
    Ok(Some(((text, size), own)))
}

/// The next value if it is a string that is not too long; passes over it.
fn string(cursor: &mut Cursor<'_>) -> Result<Option<Vec<u8>>, Corrupt> {
    let mut value = cursor.clone();
    cursor.skip()?;
    match value.token()? {
        Token::Str(size) if size <= VALUE => Ok(Some(value.copy(size)?)),
        _ => Ok(None),
    }
}

/// Copies a text into pages, at most so many bytes of them; answers whether it fits.
pub(super) fn copy(
    (mut text, mut left): (Cursor<'_>, usize),
    pages: &mut Buf,
    most: usize,
) -> Result<bool, Corrupt> {
    while left > 0 {
        if pages.room() == 0
            && (pages.charged() + pages.account().page_size() > most || pages.grow().is_err())
        {
            return Ok(false);
        }
        let piece = text.piece(left.min(pages.room()))?;
        // There is room for it.
        let _written = pages.write(piece);
        left -= piece.len();
    }
    Ok(true)
}
