//! Fluent Bit's chunk file: a head of 24 bytes, metadata, then records as they are in memory.
//!
//! | bytes | what |
//! |---|---|
//! | 0-1 | C1 00 |
//! | 2-5 | CRC-32, big endian, of everything from byte 22 on; only with `storage.checksum`, and only of a file that was closed |
//! | 10-13 | length of the records; 0 while the file grows: then it is what the file has |
//! | 22-23 | length of the metadata |
//! | 24- | metadata: F1 77, kind, flags, tag (before 1.9 only the tag), and with flags NUL and routes |

use std::io::{self, BufRead, Read};

use event::Tag;

/// Bytes before the metadata.
pub(crate) const HEAD: usize = 24;
/// Where the checksum starts.
const SUMMED: usize = 22;
const MAGIC: [u8; 2] = [0xC1, 0x00];
const META_MAGIC: [u8; 2] = [0xF1, 0x77];
/// A tag that is longer does not fit the metadata with all else; the engine has shorter ones.
const LONGEST_META: usize = u16::MAX as usize;

/// The head and the metadata of a file that has no records yet, for logs.
pub(crate) fn start(tag: &Tag) -> Vec<u8> {
    let tag = &tag.as_str().as_bytes()[..tag.as_str().len().min(LONGEST_META - 4)];
    let mut bytes = vec![0; HEAD];
    bytes[..2].copy_from_slice(&MAGIC);
    bytes[SUMMED..HEAD].copy_from_slice(&(tag.len() as u16 + 4).to_be_bytes());
    bytes.extend_from_slice(&META_MAGIC);
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(tag);
    bytes
}

/// The first 14 bytes of a file that grows no more.
pub(crate) fn finish(sum: Option<Sum>, content: u64) -> [u8; 14] {
    let mut bytes = [0; 14];
    bytes[..2].copy_from_slice(&MAGIC);
    if let Some(sum) = sum {
        bytes[2..6].copy_from_slice(&sum.value().to_be_bytes());
    }
    // Chunks are far smaller; a length that does not fit is left to the size of the file.
    bytes[10..14].copy_from_slice(&u32::try_from(content).unwrap_or(0).to_be_bytes());
    bytes
}

/// The sum of the head and metadata that [`start`] wrote.
pub(crate) fn start_sum(start: &[u8]) -> Sum {
    let mut sum = Sum::default();
    sum.add(&start[SUMMED..]);
    sum
}

/// What the start of a file says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) tag: Tag,
    /// What the records are: 0 for logs.
    pub(crate) kind: u8,
    /// Where the records start.
    pub(crate) records_at: u64,
    /// How many bytes of records there are, if it says so.
    pub(crate) content: Option<u64>,
}

/// Reads head and metadata; `None` when they are none.
pub(crate) fn head(file: &mut dyn Read) -> io::Result<Option<Head>> {
    let mut head = [0; HEAD];
    if !filled(file, &mut head)? || head[..2] != MAGIC {
        return Ok(None);
    }
    let mut meta = vec![0; usize::from(u16::from_be_bytes([head[22], head[23]]))];
    if !filled(file, &mut meta)? {
        return Ok(None);
    }
    let (kind, tag) = match meta.strip_prefix(&META_MAGIC) {
        Some([kind, flags, rest @ ..]) => {
            let end = if *flags == 0 { None } else { rest.iter().position(|byte| *byte == 0) };
            (*kind, &rest[..end.unwrap_or(rest.len())])
        }
        Some(_) => return Ok(None),
        None => (0, meta.as_slice()),
    };
    let Ok(tag) = std::str::from_utf8(tag) else { return Ok(None) };
    if tag.is_empty() {
        return Ok(None);
    }
    let content = u32::from_be_bytes([head[10], head[11], head[12], head[13]]);
    Ok(Some(Head {
        tag: Tag::new(tag),
        kind,
        records_at: (HEAD + meta.len()) as u64,
        content: (content > 0).then_some(u64::from(content)),
    }))
}

fn filled(file: &mut dyn Read, bytes: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// A walk over records in a file, one after the other, of any size, in a fixed amount of memory.
pub(crate) struct Walk<R> {
    from: R,
    /// Bytes passed.
    pub(crate) at: u64,
}

/// Why a walk cannot go on.
pub(crate) enum Broken {
    /// What follows is no record, or not all of one.
    Damaged,
    /// The file cannot be read.
    Io(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        if error.kind() == io::ErrorKind::UnexpectedEof { Broken::Damaged } else { Broken::Io(error) }
    }
}

impl<R: BufRead> Walk<R> {
    pub(crate) fn new(from: R) -> Walk<R> {
        Walk { from, at: 0 }
    }

    /// Whether nothing is left.
    pub(crate) fn at_end(&mut self) -> io::Result<bool> {
        Ok(self.from.fill_buf()?.is_empty())
    }

    /// Whether only zeros are left: what a mapped file is padded with.
    pub(crate) fn only_zeros(&mut self) -> io::Result<bool> {
        loop {
            let bytes = self.from.fill_buf()?;
            if bytes.is_empty() {
                return Ok(true);
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            let size = bytes.len();
            self.from.consume(size);
        }
    }

    /// Passes over one record: `[[time, metadata], body]` or `[time, body]`, where the body is a map.
    pub(crate) fn record(&mut self) -> Result<(), Broken> {
        if self.byte()? != 0x92 {
            return Err(Broken::Damaged);
        }
        match self.byte()? {
            0x92 => {
                self.value()?;
                self.value()?;
            }
            // An event time, an integer or a float.
            first @ (0x00..=0x7f | 0xc7 | 0xca..=0xd3 | 0xd7 | 0xe0..=0xff) => self.rest_of(first)?,
            _ => return Err(Broken::Damaged),
        }
        match self.byte()? {
            first @ (0x80..=0x8f | 0xde | 0xdf) => self.rest_of(first),
            _ => Err(Broken::Damaged),
        }
    }

    fn value(&mut self) -> Result<(), Broken> {
        let first = self.byte()?;
        self.rest_of(first)
    }

    /// Passes over what follows the first byte of a value. Counts what is due instead of recursing.
    fn rest_of(&mut self, first: u8) -> Result<(), Broken> {
        let mut due = self.token(first)?;
        while due > 0 {
            due -= 1;
            let next = self.byte()?;
            due += self.token(next)?;
        }
        Ok(())
    }

    /// Passes over the head and the bytes of a value; returns how many values it holds.
    fn token(&mut self, first: u8) -> Result<u64, Broken> {
        let bytes = match first {
            0x80..=0x8f => return Ok(2 * u64::from(first & 0x0f)),
            0x90..=0x9f => return Ok(u64::from(first & 0x0f)),
            0xdc => return self.size(2),
            0xdd => return self.size(4),
            0xde => return Ok(2 * self.size(2)?),
            0xdf => return Ok(2 * self.size(4)?),
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 0,
            0xa0..=0xbf => u64::from(first & 0x1f),
            0xc1 => return Err(Broken::Damaged),
            0xc4 | 0xd9 => self.size(1)?,
            0xc5 | 0xda => self.size(2)?,
            0xc6 | 0xdb => self.size(4)?,
            0xc7 => self.size(1)? + 1,
            0xc8 => self.size(2)? + 1,
            0xc9 => self.size(4)? + 1,
            0xcc | 0xd0 => 1,
            0xcd | 0xd1 => 2,
            0xca | 0xce | 0xd2 => 4,
            0xcb | 0xcf | 0xd3 => 8,
            0xd4..=0xd8 => (1 << (first - 0xd4)) + 1,
        };
        self.pass(bytes)?;
        Ok(0)
    }

    fn size(&mut self, bytes: usize) -> Result<u64, Broken> {
        (0..bytes).try_fold(0, |size, _| Ok(size << 8 | u64::from(self.byte()?)))
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        let byte = *self.from.fill_buf()?.first().ok_or(Broken::Damaged)?;
        self.from.consume(1);
        self.at += 1;
        Ok(byte)
    }

    fn pass(&mut self, mut bytes: u64) -> Result<(), Broken> {
        while bytes > 0 {
            let here = self.from.fill_buf()?.len() as u64;
            if here == 0 {
                return Err(Broken::Damaged);
            }
            let step = here.min(bytes);
            self.from.consume(step as usize);
            self.at += step;
            bytes -= step;
        }
        Ok(())
    }
}

/// CRC-32 as zip files have it, as far as it has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum(u32);

impl Default for Sum {
    fn default() -> Sum {
        Sum(u32::MAX)
    }
}

/// Tables for eight bytes at a time.
const TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = value >> 1 ^ if value & 1 == 1 { 0xedb8_8320 } else { 0 };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before: u32 = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
};

impl Sum {
    /// Goes on with these bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            let word = u64::from_le_bytes(*eight) ^ u64::from(self.0);
            let pick = |at: usize| TABLES[7 - at][(word >> (8 * at) & 0xff) as usize];
            self.0 = (0..8).fold(0, |sum, at| sum ^ pick(at));
        }
        for byte in rest {
            self.0 = self.0 >> 8 ^ TABLES[0][((self.0 ^ u32::from(*byte)) & 0xff) as usize];
        }
    }

    /// The checksum.
    pub(crate) fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_common_one() {
        let mut sum = Sum::default();
        sum.add(b"1234");
        sum.add(b"56789");
        assert_eq!(sum.value(), 0xcbf4_3926);
    }

    #[test]
    fn a_head_reads_as_it_was_written() {
        let bytes = start(&Tag::new("app.log"));
        let read = head(&mut bytes.as_slice()).unwrap().unwrap();
        let expected =
            Head { tag: Tag::new("app.log"), kind: 0, records_at: bytes.len() as u64, content: None };
        assert_eq!(read, expected);
    }

    #[test]
    fn tags_of_every_version_are_read() {
        let file = |meta: &[u8]| {
            let mut bytes = vec![0; HEAD];
            bytes[..2].copy_from_slice(&MAGIC);
            bytes[22..24].copy_from_slice(&(meta.len() as u16).to_be_bytes());
            bytes.extend_from_slice(meta);
            head(&mut bytes.as_slice()).unwrap().map(|head| (head.tag.to_string(), head.kind))
        };
        assert_eq!(file(b"old"), Some(("old".into(), 0)));
        assert_eq!(file(b"\xf1\x77\x01\x00cpu"), Some(("cpu".into(), 1)));
        assert_eq!(file(b"\xf1\x77\x00\x01routed\x00\x00\x04\x00\x01\x00\x00"), Some(("routed".into(), 0)));
        assert_eq!(file(b"\xf1\x77"), None);
        assert_eq!(file(b""), None);
    }

    #[test]
    fn a_walk_passes_whole_records_and_stops_at_half_ones() {
        let record = [0x92, 0x92, 0xce, 0, 0, 0, 1, 0x80, 0x81, 0xa1, b'k', 0x93, 1, 0xc3, 0xa2, b'x', b'y'];
        let mut bytes = [record, record].concat();
        bytes.extend_from_slice(&record[..9]);
        let mut walk = Walk::new(bytes.as_slice());
        assert!(walk.record().is_ok() && walk.record().is_ok());
        assert_eq!(walk.at, 2 * record.len() as u64);
        assert!(matches!(walk.record(), Err(Broken::Damaged)));
    }
}
