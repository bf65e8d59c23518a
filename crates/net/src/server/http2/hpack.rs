//! Header compression: RFC 7541, as a server needs it.
//!
//! What is decoded is put one after the other into [`Fields`], which a lane keeps and reuses; a connection owns
//! its dynamic table only, at most [`TABLE_BYTES`] as the RFC counts. Answers are encoded without that table.

use std::collections::VecDeque;
use std::ops::Range;

use super::huffman;

/// The largest dynamic table: what the protocol starts with.
const TABLE_BYTES: usize = 4_096;
/// What the RFC adds to the bytes of a field for its entry: section 4.1.
const ENTRY_BYTES: usize = 32;
/// The most fields of a head.
const FIELDS: usize = 96;

/// The compression has lost its state, so the connection cannot go on: RFC 9113 section 4.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// The fields of one head.
#[derive(Debug, Default)]
pub(super) struct Fields {
    text: Vec<u8>,
    /// Where names and values stand in the text.
    fields: Vec<(Range<usize>, Range<usize>)>,
    /// There were more bytes or more fields than allowed: what is here is a part.
    pub(super) too_large: bool,
}

impl Fields {
    /// Names and values in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|(name, value)| (&self.text[name.clone()], &self.text[value.clone()]))
    }

    fn clear(&mut self) {
        self.text.clear();
        self.fields.clear();
        self.too_large = false;
    }

    /// Adds a field whose name and value were put at the end of the text.
    fn push(&mut self, start: usize, value: usize, limit: usize) {
        if self.text.len() + ENTRY_BYTES * (self.fields.len() + 1) > limit || self.fields.len() == FIELDS {
            self.too_large = true;
            self.text.truncate(start);
        } else {
            self.fields.push((start..value, value..self.text.len()));
        }
    }
}

/// The decoder of a connection.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The newest first.
    table: VecDeque<Entry>,
    /// Bytes of the table, as the RFC counts.
    bytes: usize,
    /// The size that the client wants; `None` until it says so.
    size: Option<usize>,
}

#[derive(Debug)]
struct Entry {
    text: Box<[u8]>,
    name: usize,
}

impl Decoder {
    /// Decodes a block into `fields`, whose names, values and entries may come to `limit` bytes. A block with
    /// more is decoded to its end all the same: the next one depends on it.
    pub(super) fn decode(&mut self, block: &[u8], limit: usize, fields: &mut Fields) -> Result<(), Broken> {
        fields.clear();
        let mut block = Block(block);
        let mut begun = false;
        while let Some(first) = block.peek() {
            let start = fields.text.len();
            if first & 0x80 != 0 {
                let index = block.integer(7)?;
                let value = self.name(index, &mut fields.text)?;
                self.value(index, &mut fields.text)?;
                fields.push(start, value, limit);
            } else if first & 0xc0 == 0x40 {
                let value = self.literal(&mut block, 6, &mut fields.text)?;
                self.insert(&fields.text[start..], value - start);
                fields.push(start, value, limit);
            } else if first & 0xe0 == 0x20 {
                // Only at the start of a block: section 4.2.
                let size = block.integer(5)?;
                if begun || size > TABLE_BYTES {
                    return Err(Broken);
                }
                self.size = Some(size);
                self.evict(size);
                continue;
            } else {
                let value = self.literal(&mut block, 4, &mut fields.text)?;
                fields.push(start, value, limit);
            }
            begun = true;
        }
        Ok(())
    }

    /// Appends a literal field to `text` and returns where its value begins.
    fn literal(&self, block: &mut Block<'_>, prefix: u32, text: &mut Vec<u8>) -> Result<usize, Broken> {
        match block.integer(prefix)? {
            0 => block.string(text)?,
            index => {
                self.name(index, text)?;
            }
        }
        let value = text.len();
        block.string(text)?;
        Ok(value)
    }

    /// Appends the name at an index and returns where it ends.
    fn name(&self, index: usize, text: &mut Vec<u8>) -> Result<usize, Broken> {
        match STATIC.get(index.wrapping_sub(1)) {
            Some((name, _)) => text.extend_from_slice(name.as_bytes()),
            None => {
                let entry = self.entry(index)?;
                text.extend_from_slice(&entry.text[..entry.name]);
            }
        }
        Ok(text.len())
    }

    fn value(&self, index: usize, text: &mut Vec<u8>) -> Result<(), Broken> {
        match STATIC.get(index.wrapping_sub(1)) {
            Some((_, value)) => text.extend_from_slice(value.as_bytes()),
            None => {
                let entry = self.entry(index)?;
                text.extend_from_slice(&entry.text[entry.name..]);
            }
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&Entry, Broken> {
        let index = index.checked_sub(STATIC.len() + 1).ok_or(Broken)?;
        self.table.get(index).ok_or(Broken)
    }

    /// Adds an entry, and lets the oldest go: section 4.4. One larger than the table empties it.
    fn insert(&mut self, text: &[u8], name: usize) {
        let size = self.size.unwrap_or(TABLE_BYTES);
        let bytes = text.len() + ENTRY_BYTES;
        self.evict(size.saturating_sub(bytes));
        if bytes <= size {
            self.bytes += bytes;
            self.table.push_front(Entry { text: text.into(), name });
        }
    }

    fn evict(&mut self, size: usize) {
        while self.bytes > size
            && let Some(oldest) = self.table.pop_back()
        {
            self.bytes -= oldest.text.len() + ENTRY_BYTES;
        }
    }
}

/// What is left of a block.
struct Block<'a>(&'a [u8]);

impl Block<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn take(&mut self) -> Result<u8, Broken> {
        let (first, rest) = self.0.split_first().ok_or(Broken)?;
        self.0 = rest;
        Ok(*first)
    }

    /// An integer behind a prefix of so many bits: section 5.1. No length or index here needs more than 28.
    fn integer(&mut self, prefix: u32) -> Result<usize, Broken> {
        let mask = (1usize << prefix) - 1;
        let mut value = usize::from(self.take()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let next = self.take()?;
            value += usize::from(next & 0x7f) << shift;
            if next & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken)
    }

    /// Appends a string: section 5.2.
    fn string(&mut self, text: &mut Vec<u8>) -> Result<(), Broken> {
        let coded = self.peek().ok_or(Broken)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (string, rest) = self.0.split_at_checked(length).ok_or(Broken)?;
        self.0 = rest;
        if coded {
            return huffman::decode(string, text).ok_or(Broken);
        }
        text.extend_from_slice(string);
        Ok(())
    }
}

/// Appends a field of an answer to a block, as a literal that no table remembers.
pub(super) fn encode(name: &str, value: &str, block: &mut Vec<u8>) {
    match STATIC.iter().position(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some(index) => integer(index + 1, 4, 0, block),
        None => {
            block.push(0);
            integer(name.len(), 7, 0, block);
            block.extend(name.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
    }
    integer(value.len(), 7, 0, block);
    block.extend_from_slice(value.as_bytes());
}

/// Appends the status of an answer: most have an index.
pub(super) fn encode_status(status: u16, block: &mut Vec<u8>) {
    let digits = [status / 100 % 10, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8);
    let text = std::str::from_utf8(&digits).unwrap_or("500");
    match STATIC.iter().position(|field| *field == (":status", text)) {
        Some(index) => integer(index + 1, 7, 0x80, block),
        None => encode(":status", text, block),
    }
}

fn integer(value: usize, prefix: u32, flags: u8, block: &mut Vec<u8>) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        return block.push(flags | value as u8);
    }
    block.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

/// The static table: RFC 7541 appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Broken> {
        let mut fields = Fields::default();
        decoder.decode(block, 8_192, &mut fields)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok(fields.iter().map(|(name, value)| format!("{}: {}", text(name), text(value))).collect())
    }

    #[test]
    fn the_examples_of_the_rfc_are_read_as_it_says() {
        let first = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
        let second = [&first[..], &["cache-control: no-cache"]].concat();
        let third = [
            ":method: GET",
            ":scheme: https",
            ":path: /index.html",
            ":authority: www.example.com",
            "custom-key: custom-value",
        ];
        // Appendix C.3 without and C.4 with Huffman coding.
        for blocks in [
            [
                "828684410f7777772e6578616d706c652e636f6d",
                "828684be58086e6f2d6361636865",
                "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
            ],
            [
                "828684418cf1e3c2e5f23a6ba0ab90f4ff",
                "828684be5886a8eb10649cbf",
                "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
            ],
        ] {
            let mut decoder = Decoder::default();
            assert_eq!(decode(&mut decoder, &bytes(blocks[0])).unwrap(), first);
            assert_eq!(decode(&mut decoder, &bytes(blocks[1])).unwrap(), second);
            assert_eq!(decode(&mut decoder, &bytes(blocks[2])).unwrap(), third);
            assert_eq!((decoder.table.len(), decoder.bytes), (3, 164));
        }
    }

    #[test]
    fn the_table_is_bounded_and_empty_when_the_client_wants_it_to_be() {
        let mut decoder = Decoder::default();
        for number in 0..500 {
            let mut block = vec![0x40];
            let name = format!("x-{number}");
            integer(name.len(), 7, 0, &mut block);
            block.extend_from_slice(name.as_bytes());
            integer(200, 7, 0, &mut block);
            block.extend_from_slice(&[b'v'; 200]);
            decode(&mut decoder, &block).unwrap();
            assert!(decoder.bytes <= TABLE_BYTES);
        }
        // The newest is the first behind the static ones.
        assert!(decode(&mut decoder, &[0x80 | 62]).unwrap()[0].starts_with("x-499: v"));
        decode(&mut decoder, &[0x20]).unwrap();
        assert_eq!((decoder.table.len(), decoder.bytes), (0, 0));
        assert_eq!(decode(&mut decoder, &[0x80 | 62]), Err(Broken));
    }

    #[test]
    fn what_is_too_large_is_said_and_the_next_block_is_read_all_the_same() {
        let mut decoder = Decoder::default();
        let mut fields = Fields::default();
        let mut block = vec![0x40, 1, b'a'];
        integer(300, 7, 0, &mut block);
        block.extend_from_slice(&[b'v'; 300]);
        decoder.decode(&block, 200, &mut fields).unwrap();
        assert!(fields.too_large && fields.iter().next().is_none());
        assert!(decode(&mut decoder, &[0x80 | 62]).unwrap()[0].starts_with("a: vvv"));
    }

    #[test]
    fn damaged_blocks_break_and_never_panic() {
        for block in [
            &[0x80][..],
            &[0x80 | 62],
            &[0x40],
            &[0x40, 5, b'a'],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0x3f, 0xff, 0xff, 0x7f],
            &[0x82, 0x20],
            &[0, 0x81, 0, 0],
        ] {
            assert_eq!(decode(&mut Decoder::default(), block), Err(Broken), "{block:x?}");
        }
    }

    #[test]
    fn an_answer_is_encoded_so_that_it_reads_back() {
        let mut block = Vec::new();
        encode_status(201, &mut block);
        encode_status(204, &mut block);
        encode("Retry-After", "1", &mut block);
        encode("X-Long", &"v".repeat(1_000), &mut block);
        let fields = decode(&mut Decoder::default(), &block).unwrap();
        assert_eq!(fields[..3], [":status: 201", ":status: 204", "retry-after: 1"]);
        assert_eq!(fields[3], format!("x-long: {}", "v".repeat(1_000)));
    }
}
