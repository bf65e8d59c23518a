//! Reads msgpack token by token, over page ends where it must.

use budget::{Buf, Pages};

use crate::EventTime;

/// The bytes are not msgpack, or end within a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

impl std::fmt::Display for Corrupt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a valid msgpack record")
    }
}

impl std::error::Error for Corrupt {}

/// One token. The bytes of strings, binaries and extensions follow through [`Cursor::piece`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token {
    /// Nil.
    Nil,
    /// A boolean.
    Bool(bool),
    /// A non-negative integer.
    U64(u64),
    /// A negative integer.
    I64(i64),
    /// A float that was written with 32 bits.
    F32(f32),
    /// A float.
    F64(f64),
    /// A string of so many bytes, not checked to be UTF-8.
    Str(usize),
    /// A binary of so many bytes.
    Bin(usize),
    /// An extension: type and bytes.
    Ext(i8, usize),
    /// An array of so many values.
    Array(usize),
    /// A map of so many keys and values.
    Map(usize),
}

/// A place in records. Cheap to clone.
#[derive(Clone)]
pub struct Cursor<'a> {
    here: &'a [u8],
    rest: Option<Pages<'a>>,
    /// Bytes up to the end of the current page.
    until: usize,
}

impl<'a> Cursor<'a> {
    /// Reads a chain from its start.
    pub fn new(buf: &'a Buf) -> Cursor<'a> {
        let mut cursor = Cursor { here: &[], rest: Some(buf.pages()), until: 0 };
        cursor.turn();
        cursor
    }

    /// Reads bytes that stand in one piece.
    pub fn of(bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { here: bytes, rest: None, until: bytes.len() }
    }

    /// What is left in the current page.
    pub fn here(&self) -> &'a [u8] {
        self.here
    }

    /// Bytes passed since the start.
    pub fn offset(&self) -> usize {
        self.until - self.here.len()
    }

    /// Whether nothing is left.
    pub fn at_end(&self) -> bool {
        self.here.is_empty()
    }

    fn turn(&mut self) {
        if self.here.is_empty() {
            self.here = self.rest.as_mut().and_then(Iterator::next).unwrap_or(&[]);
            self.until += self.here.len();
        }
    }

    #[inline]
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        if let Some((bytes, rest)) = self.here.split_first_chunk::<N>()
            && !rest.is_empty()
        {
            self.here = rest;
            return Ok(*bytes);
        }
        self.bytes_over_the_end()
    }

    #[cold]
    fn bytes_over_the_end<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let mut bytes = [0; N];
        let mut filled = 0;
        while filled < N {
            let piece = self.piece(N - filled)?;
            bytes[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        }
        Ok(bytes)
    }

    /// The next bytes of a value, at most `left`, in one piece.
    #[inline]
    pub fn piece(&mut self, left: usize) -> Result<&'a [u8], Corrupt> {
        if self.here.is_empty() && left > 0 {
            return Err(Corrupt);
        }
        let (piece, rest) = self.here.split_at(left.min(self.here.len()));
        self.here = rest;
        self.turn();
        Ok(piece)
    }

    /// Passes over `left` bytes.
    pub fn pass(&mut self, mut left: usize) -> Result<(), Corrupt> {
        while left > 0 {
            left -= self.piece(left)?.len();
        }
        Ok(())
    }

    #[inline]
    fn size<const N: usize>(&mut self) -> Result<usize, Corrupt> {
        Ok(self.bytes::<N>()?.iter().fold(0, |size, byte| size << 8 | usize::from(*byte)))
    }

    /// The next token.
    #[inline]
    pub fn token(&mut self) -> Result<Token, Corrupt> {
        let [code] = self.bytes::<1>()?;
        Ok(match code {
            0x00..=0x7f => Token::U64(u64::from(code)),
            0x80..=0x8f => Token::Map(usize::from(code & 0x0f)),
            0x90..=0x9f => Token::Array(usize::from(code & 0x0f)),
            0xa0..=0xbf => Token::Str(usize::from(code & 0x1f)),
            0xc0 => Token::Nil,
            0xc1 => return Err(Corrupt),
            0xc2 | 0xc3 => Token::Bool(code == 0xc3),
            0xc4 => Token::Bin(self.size::<1>()?),
            0xc5 => Token::Bin(self.size::<2>()?),
            0xc6 => Token::Bin(self.size::<4>()?),
            0xc7 => self.ext::<1>()?,
            0xc8 => self.ext::<2>()?,
            0xc9 => self.ext::<4>()?,
            0xca => Token::F32(f32::from_be_bytes(self.bytes()?)),
            0xcb => Token::F64(f64::from_be_bytes(self.bytes()?)),
            0xcc..=0xcf => self.unsigned(code)?,
            0xd0 => signed(i64::from(i8::from_be_bytes(self.bytes()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(self.bytes()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(self.bytes()?))),
            0xd3 => signed(i64::from_be_bytes(self.bytes()?)),
            0xd4..=0xd8 => Token::Ext(i8::from_be_bytes(self.bytes()?), 1 << (code - 0xd4)),
            0xd9 => Token::Str(self.size::<1>()?),
            0xda => Token::Str(self.size::<2>()?),
            0xdb => Token::Str(self.size::<4>()?),
            0xdc => Token::Array(self.size::<2>()?),
            0xdd => Token::Array(self.size::<4>()?),
            0xde => Token::Map(self.size::<2>()?),
            0xdf => Token::Map(self.size::<4>()?),
            0xe0..=0xff => Token::I64(i64::from(code as i8)),
        })
    }

    fn unsigned(&mut self, code: u8) -> Result<Token, Corrupt> {
        Ok(Token::U64(match code {
            0xcc => u64::from(u8::from_be_bytes(self.bytes()?)),
            0xcd => u64::from(u16::from_be_bytes(self.bytes()?)),
            0xce => u64::from(u32::from_be_bytes(self.bytes()?)),
            _ => u64::from_be_bytes(self.bytes()?),
        }))
    }

    fn ext<const N: usize>(&mut self) -> Result<Token, Corrupt> {
        let size = self.size::<N>()?;
        Ok(Token::Ext(i8::from_be_bytes(self.bytes()?), size))
    }

    /// Passes over one whole value.
    pub fn skip(&mut self) -> Result<(), Corrupt> {
        match value_size(self.here) {
            Some(size) => {
                self.here = &self.here[size..];
                self.turn();
                Ok(())
            }
            None => self.skip_token_by_token(),
        }
    }

    /// A value that lies over a page end, or is none.
    fn skip_token_by_token(&mut self) -> Result<(), Corrupt> {
        // Counts values that are still due instead of recursing: the depth of a value costs nothing here.
        let mut due: u64 = 1;
        while due > 0 {
            due -= 1;
            match self.token()? {
                Token::Str(size) | Token::Bin(size) | Token::Ext(_, size) => self.pass(size)?,
                Token::Array(count) => due += count as u64,
                Token::Map(count) => due += 2 * count as u64,
                _ => {}
            }
        }
        Ok(())
    }

    /// The bytes of the next value if they stand in one piece; passes over it in either case.
    pub fn whole(&mut self) -> Result<Option<&'a [u8]>, Corrupt> {
        if let Some(size) = value_size(self.here) {
            let (value, rest) = self.here.split_at(size);
            self.here = rest;
            self.turn();
            return Ok(Some(value));
        }
        let before = self.clone();
        self.skip_token_by_token()?;
        Ok(before.here.get(..self.offset() - before.offset()))
    }

    /// The next `left` bytes as one vector. The vector is not leased: the caller has paid for it.
    pub fn copy(&mut self, mut left: usize) -> Result<Vec<u8>, Corrupt> {
        let mut bytes = Vec::with_capacity(left);
        while left > 0 {
            let piece = self.piece(left)?;
            bytes.extend_from_slice(piece);
            left -= piece.len();
        }
        Ok(bytes)
    }

    /// Whether the record that the cursor stands at begins or ends a group: its time says so. Does not move.
    pub fn at_group_marker(&self) -> bool {
        let mut head = self.clone();
        let head = match self.here.first_chunk() {
            Some(head) => Ok(*head),
            None => head.bytes::<8>(),
        };
        // 2^32 - 1 seconds begin a group, one less ends it.
        matches!(head, Ok([0x92, 0x92, 0xd7, 0, 0xff, 0xff, 0xff, 0xfe | 0xff]))
    }

    /// How many entries the body of the record has that the cursor stands at. Does not move.
    pub fn record_entries(&self) -> Result<usize, Corrupt> {
        let mut cursor = self.clone();
        let (_, with_metadata) = cursor.record_head()?;
        if with_metadata {
            cursor.skip()?;
        }
        match cursor.token()? {
            Token::Map(count) => Ok(count),
            _ => Err(Corrupt),
        }
    }

    /// Reads the head of a record, `[[time, metadata], body]`: the cursor then stands at the metadata, behind
    /// which the body follows. Times as integer or float are read too, and so is `[time, body]`, whose
    /// metadata is absent.
    pub fn record_head(&mut self) -> Result<(EventTime, bool), Corrupt> {
        if self.token()? != Token::Array(2) {
            return Err(Corrupt);
        }
        let mut token = self.token()?;
        let with_metadata = token == Token::Array(2);
        if with_metadata {
            token = self.token()?;
        }
        let time = match token {
            Token::Ext(0, 8) => EventTime::from_ext(self.bytes()?),
            Token::U64(seconds) => EventTime { seconds: seconds as u32, nanoseconds: 0 },
            Token::F64(seconds) if seconds >= 0.0 => {
                EventTime { seconds: seconds as u32, nanoseconds: (seconds.fract() * 1e9) as u32 }
            }
            _ => return Err(Corrupt),
        };
        Ok((time, with_metadata))
    }
}

/// How many bytes the first value of a text of values has, if all of it is there. Most of what filters do with a
/// record is passing over values, and sizes alone cost a third of what tokens do.
fn value_size(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize, size: usize| {
        let bytes = bytes.get(at..at + size)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    };
    let mut at = 0;
    let mut due: u64 = 1;
    while due > 0 {
        due -= 1;
        let code = *bytes.get(at)?;
        at += 1;
        // Bytes of a size or count, bytes that follow in any case, and what the number counts.
        match code {
            0x00..=0x7f | 0xc0 | 0xc2 | 0xc3 | 0xe0..=0xff => {}
            0xa0..=0xbf => at += usize::from(code & 0x1f),
            0x80..=0x8f => due += 2 * u64::from(code & 0x0f),
            0x90..=0x9f => due += u64::from(code & 0x0f),
            0xc1 => return None,
            0xcc | 0xd0 => at += 1,
            0xcd | 0xd1 => at += 2,
            0xca | 0xce | 0xd2 => at += 4,
            0xcb | 0xcf | 0xd3 => at += 8,
            0xc4 | 0xd9 => at += 1 + number(at, 1)?,
            0xc5 | 0xda => at += 2 + number(at, 2)?,
            0xc6 | 0xdb => at += 4 + number(at, 4)?,
            0xc7 => at += 2 + number(at, 1)?,
            0xc8 => at += 3 + number(at, 2)?,
            0xc9 => at += 5 + number(at, 4)?,
            0xd4..=0xd8 => at += 1 + (1 << (code - 0xd4)),
            0xdc | 0xdd => {
                let size = 2 << (code - 0xdc);
                due += number(at, size)? as u64;
                at += size;
            }
            0xde | 0xdf => {
                let size = 2 << (code - 0xde);
                due += 2 * number(at, size)? as u64;
                at += size;
            }
        }
    }
    (at <= bytes.len()).then_some(at)
}

fn signed(value: i64) -> Token {
    u64::try_from(value).map_or(Token::I64(value), Token::U64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Budget, Share};
    use proptest::prelude::*;

    /// Writes bytes into a chain so that a page ends after every `step` bytes.
    fn chain(bytes: &[u8], step: usize) -> Buf {
        let budget = Budget::new(4 << 20, 4096).unwrap();
        let account = budget.account("test", "x", Share::COMMON).unwrap();
        let mut buf = Buf::new(&account);
        for piece in bytes.chunks(step) {
            let mut page = Buf::new(&account);
            page.write(piece).unwrap();
            buf.append(page).unwrap();
        }
        buf
    }

    #[test]
    fn tokens_are_the_same_wherever_a_page_ends() {
        let value = rmpv::Value::Map(vec![
            ("text".into(), "x".repeat(40).into()),
            (
                "numbers".into(),
                rmpv::Value::Array(vec![(-5).into(), 70_000.into(), u64::MAX.into(), 1.5.into()]),
            ),
            ("bytes".into(), rmpv::Value::Binary(vec![1; 300])),
            ("none".into(), rmpv::Value::Nil),
        ]);
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value).unwrap();
        let read = |mut cursor: Cursor<'_>| {
            let mut tokens = Vec::new();
            while !cursor.at_end() {
                let token = cursor.token().unwrap();
                if let Token::Str(size) | Token::Bin(size) = token {
                    cursor.pass(size).unwrap();
                }
                tokens.push(token);
            }
            tokens
        };
        let expected = read(Cursor::of(&bytes));
        for step in 1..=bytes.len() {
            assert_eq!(read(Cursor::new(&chain(&bytes, step))), expected, "pages of {step} bytes");
        }
    }

    proptest! {
        #[test]
        fn a_value_in_one_piece_is_passed_over_as_token_by_token(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut fast = Cursor::of(&bytes);
            let mut slow = fast.clone();
            prop_assert_eq!(fast.skip(), slow.skip_token_by_token());
            prop_assert_eq!(fast.offset(), slow.offset());
        }

        #[test]
        fn no_bytes_make_the_cursor_panic_or_loop(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1usize..20) {
            let buf = chain(&bytes, step);
            let mut cursor = Cursor::new(&buf);
            while !cursor.at_end() && cursor.skip().is_ok() {}
            let mut cursor = Cursor::new(&buf);
            while !cursor.at_end() && cursor.whole().is_ok() {}
        }
    }

    #[test]
    fn a_value_in_one_piece_is_given_as_bytes_and_one_over_a_page_end_is_not() {
        let bytes = [0x92, 1, 2, 0x92, 3, 4];
        let one = chain(&bytes, 3);
        let mut cursor = Cursor::new(&one);
        assert_eq!(cursor.whole(), Ok(Some(&bytes[..3])));
        assert_eq!(cursor.whole(), Ok(Some(&bytes[3..])));
        let two = chain(&bytes, 4);
        let mut cursor = Cursor::new(&two);
        assert_eq!(cursor.whole(), Ok(Some(&bytes[..3])));
        assert_eq!(cursor.whole(), Ok(None));
        assert!(cursor.at_end());
    }
}
