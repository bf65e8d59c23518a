//! Writes records into pages as their values become known.
//!
//! Numbers of entries and lengths of strings are filled in when a map, array or string closes, so nothing has
//! to be known beforehand. Every operation either happens or answers [`Full`] and has changed nothing that
//! matters: after room was made it can simply be called again.

use budget::{Account, Buf, Full, Lease, Mark};

use crate::EventTime;
use crate::chunk::Events;

/// Strings up to this length can be written in one call of [`Writer::str`].
pub const WHOLE_STR: usize = 2048;

/// The count that [`Writer::begin_arrays`] writes: arrays of one element, which deep ones are made of, need not be
/// looked up again.
const LIKELY: u8 = 1;

/// Writes records one after the other. See the module.
pub struct Writer {
    buf: Buf,
    /// Where the record being written starts.
    record: Option<Mark>,
    open: Vec<Open>,
    records: usize,
}

/// How far [`Writer::record`] has come with a record.
#[derive(Debug, Default)]
pub struct Progress {
    begun: bool,
    part: usize,
    bytes: usize,
}

/// A map, array or string whose size is not known yet.
struct Open {
    header: Mark,
    count: u32,
    /// The header has four bytes for the size instead of two.
    wide: bool,
    /// It has [`LIKELY`] as its count.
    likely: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Map,
    Array,
    Str,
}

impl Writer {
    /// A writer whose pages are charged to `account`.
    pub fn new(account: &Account) -> Writer {
        Writer { buf: Buf::new(account), record: None, open: Vec::new(), records: 0 }
    }

    /// The account that pays.
    pub fn account(&self) -> &Account {
        self.buf.account()
    }

    fn in_last_page(&self, mark: Mark) -> bool {
        mark.same_page(self.buf.mark())
    }

    fn carry(&mut self, record: Mark) -> Result<(), Full> {
        let moved = self.buf.carry(record)?;
        for open in &mut self.open {
            open.header = open.header.carried(record, moved);
        }
        self.record = Some(moved);
        Ok(())
    }

    /// Makes `bytes` bytes fit behind the last one; a started record moves along so that it stays in one page.
    #[inline]
    fn ensure(&mut self, bytes: usize) -> Result<(), Full> {
        if self.buf.room() >= bytes {
            return Ok(());
        }
        self.make_room(bytes)
    }

    /// Makes the next `bytes` bytes fit a page: what is written up to them does not find it full.
    pub fn reserve(&mut self, bytes: usize) -> Result<(), Full> {
        self.ensure(bytes)
    }

    #[cold]
    fn make_room(&mut self, bytes: usize) -> Result<(), Full> {
        if let Some(record) = self.record
            && self.in_last_page(record)
            && !record.at_page_start()
        {
            self.carry(record)?;
            if self.buf.room() >= bytes {
                return Ok(());
            }
        }
        self.buf.grow()
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.ensure(bytes.len())?;
        self.buf.spare()[..bytes.len()].copy_from_slice(bytes);
        self.buf.advance(bytes.len());
        Ok(())
    }

    /// Starts a record with empty metadata. Its body is the next value, normally a map.
    pub fn begin_record(&mut self, time: EventTime) -> Result<(), Full> {
        debug_assert!(self.record.is_none() && self.open.is_empty(), "the last record was not ended");
        let mut head = [0x92, 0x92, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];
        head[2..12].copy_from_slice(&time.to_msgpack());
        self.ensure(head.len())?;
        self.record = Some(self.buf.mark());
        self.put(&head)
    }

    /// Writes a record without entries.
    pub fn empty_record(&mut self, time: EventTime) -> Result<(), Full> {
        let mut record = [0x92, 0x92, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x80];
        record[2..12].copy_from_slice(&time.to_msgpack());
        self.put(&record)?;
        self.records += 1;
        Ok(())
    }

    /// Writes a whole record of which metadata and body are msgpack already: `part` gives their bytes, piece by
    /// piece, until it has no more. After [`Full`] the same call goes on where `progress` stands; nothing that
    /// was written is given up, so that a record of many pages is not begun again and again.
    pub fn record<'a>(
        &mut self,
        time: EventTime,
        part: impl Fn(usize) -> Option<&'a [u8]>,
        progress: &mut Progress,
    ) -> Result<(), Full> {
        if !progress.begun {
            self.ensure(12)?;
            self.record = Some(self.buf.mark());
            self.put(&[0x92, 0x92])?;
            self.put(&time.to_msgpack())?;
            progress.begun = true;
        }
        while let Some(bytes) = part(progress.part) {
            let mut rest = &bytes[progress.bytes..];
            let written = self.piece(&mut rest);
            progress.bytes = bytes.len() - rest.len();
            written?;
            progress.part += 1;
            progress.bytes = 0;
        }
        self.end_record();
        Ok(())
    }

    /// Writes a record as the bytes that it is. After [`Full`] the same call goes on where `progress` stands.
    pub fn whole_record(&mut self, bytes: &[u8], progress: &mut Progress) -> Result<(), Full> {
        if !progress.begun {
            if bytes.len() <= self.buf.page_capacity() {
                self.put(bytes)?;
                self.records += 1;
                return Ok(());
            }
            self.ensure(1)?;
            self.record = Some(self.buf.mark());
            progress.begun = true;
        }
        let mut rest = &bytes[progress.bytes..];
        let written = self.piece(&mut rest);
        progress.bytes = bytes.len() - rest.len();
        written?;
        self.end_record();
        Ok(())
    }

    /// Ends the record: it counts from now on.
    pub fn end_record(&mut self) {
        debug_assert!(self.open.is_empty(), "a value is still open");
        self.record = None;
        self.records += 1;
    }

    /// Writes a complete msgpack value, or a part of one, of at most [`WHOLE_STR`] bytes.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.put(bytes)
    }

    /// Writes the first `len` bytes of `block`, as [`Writer::raw`]. Where the page has room the whole block is copied,
    /// which costs less than to copy so many bytes.
    #[inline(always)]
    pub fn front_of(&mut self, block: &[u8; 9], len: usize) -> Result<(), Full> {
        let Some(room) = self.buf.spare().first_chunk_mut() else { return self.put(&block[..len]) };
        *room = *block;
        self.buf.advance(len);
        Ok(())
    }

    /// Writes bytes of any length; they may span pages. `bytes` shrinks by what was written, so that after
    /// [`Full`] the rest can follow. UTF-8 text is only cut between characters.
    pub fn piece(&mut self, bytes: &mut &[u8]) -> Result<(), Full> {
        while !bytes.is_empty() {
            let spare = self.buf.spare();
            let take = cut(bytes, spare.len());
            if take == 0 {
                self.make_room(1)?;
                continue;
            }
            spare[..take].copy_from_slice(&bytes[..take]);
            self.buf.advance(take);
            *bytes = &bytes[take..];
            if let Some(open) = self.open.last_mut().filter(|open| open.kind == Kind::Str) {
                open.count += take as u32;
            }
        }
        Ok(())
    }

    /// Writes a string of at most [`WHOLE_STR`] bytes.
    #[inline]
    pub fn str(&mut self, bytes: &[u8]) -> Result<(), Full> {
        debug_assert!(bytes.len() <= WHOLE_STR);
        let len = bytes.len();
        let header = match len {
            ..32 => 1,
            32..=0xff => 2,
            _ => 3,
        };
        self.ensure(header + len)?;
        let (head, body) = self.buf.spare()[..header + len].split_at_mut(header);
        match head {
            [code] => *code = 0xa0 | len as u8,
            [code, size] => (*code, *size) = (0xd9, len as u8),
            [code, size @ ..] => {
                *code = 0xda;
                size.copy_from_slice(&(len as u16).to_be_bytes());
            }
            [] => {}
        }
        if header == 1 {
            copy_short(body, bytes)
        } else {
            body.copy_from_slice(bytes)
        };
        self.buf.advance(header + len);
        Ok(())
    }

    /// Writes the first `len` bytes of `block`, fewer than all, as a string; see [`Writer::front_of`].
    #[inline(always)]
    pub fn short_str(&mut self, block: &[u8; 32], len: usize) -> Result<(), Full> {
        debug_assert!(len < block.len());
        let Some([code, body @ ..]) = self.buf.spare().first_chunk_mut::<33>() else {
            return self.str(&block[..len]);
        };
        *code = 0xa0 | len as u8;
        *body = *block;
        self.buf.advance(1 + len);
        Ok(())
    }

    /// Starts a string of unknown length; [`Writer::piece`] writes it and [`Writer::end_str`] ends it.
    pub fn begin_str(&mut self) -> Result<(), Full> {
        self.ensure(5)?;
        let header = self.buf.mark();
        self.put(&[0xdb, 0, 0, 0, 0])?;
        self.open.push(Open { header, count: 0, wide: true, likely: false, kind: Kind::Str });
        Ok(())
    }

    /// Ends the string and fills in its length.
    pub fn end_str(&mut self) {
        let Some(open) = self.open.pop() else { panic!("no string is open") };
        self.buf.patch(open.header.plus(1), &open.count.to_be_bytes());
    }

    /// Starts a map; see [`Writer::entry`].
    #[inline]
    pub fn begin_map(&mut self) -> Result<(), Full> {
        self.begin(0xde, Kind::Map)
    }

    /// Starts an array; see [`Writer::entry`].
    #[inline]
    pub fn begin_array(&mut self) -> Result<(), Full> {
        self.begin(0xdc, Kind::Array)
    }

    #[inline]
    fn begin(&mut self, code: u8, kind: Kind) -> Result<(), Full> {
        self.ensure(3)?;
        let header = self.buf.mark();
        self.put(&[code, 0, 0])?;
        self.open.push(Open { header, count: 0, wide: false, likely: false, kind });
        Ok(())
    }

    /// Starts arrays, at most [`WHOLE_STR`] thirds of them, each the first element of the one before it.
    #[inline(never)]
    pub fn begin_arrays(&mut self, count: usize) -> Result<(), Full> {
        self.ensure(3 * count)?;
        let first = self.buf.mark();
        for header in self.buf.spare()[..3 * count].as_chunks_mut::<3>().0 {
            *header = [0xdc, 0, LIKELY];
        }
        self.buf.advance(3 * count);
        let open =
            |at| Open { header: first.plus(3 * at), count: 0, wide: false, likely: true, kind: Kind::Array };
        self.open.extend((0..count as u32).map(open));
        Ok(())
    }

    /// Ends the innermost array, of which what was written last is the only element, and so on, for up to `count`
    /// arrays that are open and were begun by [`Writer::begin_arrays`]. Returns how many.
    #[inline(never)]
    pub fn end_arrays(&mut self, count: usize) -> usize {
        let ends = |open: &&Open| open.count == 0 && open.likely;
        let ended = self.open.iter().rev().take(count).take_while(ends).count();
        self.open.truncate(self.open.len() - ended);
        ended
    }

    /// Counts an entry of the innermost open map, or an element of the array, before or after it is written.
    #[inline]
    pub fn entry(&mut self) -> Result<(), Full> {
        let Some(open) = self.open.last_mut() else { panic!("no map or array is open") };
        if open.count == 0xffff && !open.wide {
            // Two bytes no longer hold the count: the header grows by two, once.
            self.buf.insert(open.header.plus(3), 2)?;
            self.buf.patch(open.header, &[if open.kind == Kind::Map { 0xdf } else { 0xdd }]);
            open.wide = true;
        }
        open.count += 1;
        Ok(())
    }

    /// Ends the innermost map or array and fills in its count.
    #[inline]
    pub fn end(&mut self) {
        let Some(open) = self.open.pop() else { panic!("no map or array is open") };
        if open.wide {
            self.buf.patch(open.header.plus(1), &open.count.to_be_bytes());
        } else {
            self.buf.patch(open.header.plus(1), &(open.count as u16).to_be_bytes());
        }
    }

    /// How many maps, arrays and strings are open.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Bytes charged: whole pages.
    pub fn charged(&self) -> usize {
        self.buf.charged()
    }

    /// Hands in a lease of a page of the writer's account, for the page that an operation found no room for.
    pub fn prepay(&mut self, lease: Lease) {
        self.buf.prepay(lease);
    }

    /// Bytes that fit the current page.
    #[inline]
    pub fn room(&self) -> usize {
        self.buf.room()
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Records ended.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Forgets the record that was begun and not ended.
    fn abandon_record(&mut self) {
        self.open.clear();
        if let Some(record) = self.record.take() {
            self.buf.truncate(record);
        }
    }

    /// The records written. A record that was begun and not ended is not among them.
    pub fn finish(mut self) -> Events {
        self.abandon_record();
        Events { buf: self.buf, records: self.records }
    }
}

/// Copies fewer than 32 bytes, without the call that a copy of unknown size is: most strings are that short.
#[inline]
fn copy_short(to: &mut [u8], from: &[u8]) {
    /// The first and the last `N` bytes, which together are all.
    #[inline]
    fn ends<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
        let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) else {
            return false;
        };
        if let Some(to) = to.first_chunk_mut::<N>() {
            *to = *first;
        }
        if let Some(to) = to.last_chunk_mut::<N>() {
            *to = *last;
        }
        true
    }
    let _ = ends::<16>(to, from) || ends::<8>(to, from) || ends::<4>(to, from) || {
        to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        true
    };
}

/// How many bytes go into `room` bytes without cutting a character. Bytes that are no UTF-8 are cut anywhere.
fn cut(bytes: &[u8], room: usize) -> usize {
    let continues = |at: usize| bytes[at] & 0xc0 == 0x80;
    if room >= bytes.len() {
        return bytes.len();
    }
    (room.saturating_sub(3)..=room).rev().find(|at| !continues(*at)).unwrap_or(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Budget, Share};

    fn account(pages: usize) -> Account {
        Budget::new(pages * 4096, 4096).unwrap().account("http.0", "chunks", Share::COMMON).unwrap()
    }

    fn record(writer: &mut Writer, text: &[u8]) -> Result<(), Full> {
        writer.begin_record(EventTime::default())?;
        writer.begin_map()?;
        writer.entry()?;
        writer.str(b"k")?;
        writer.str(text)?;
        writer.end();
        writer.end_record();
        Ok(())
    }

    fn decode(events: &Events) -> Vec<rmpv::Value> {
        let bytes = events.buf.to_vec();
        let mut rest = bytes.as_slice();
        let mut values = Vec::new();
        while !rest.is_empty() {
            values.push(rmpv::decode::read_value(&mut rest).unwrap());
        }
        values
    }

    #[test]
    fn a_record_that_fits_a_page_is_in_one_page() {
        let mut writer = Writer::new(&account(64));
        for size in (0..100).map(|i| i * 20) {
            record(&mut writer, &vec![b'x'; size]).unwrap();
        }
        let events = writer.finish();
        assert_eq!(events.records, 100);
        assert_eq!(decode(&events).len(), 100);
        for page in events.buf.pages() {
            assert_eq!(page[..2], [0x92, 0x92], "each page starts with a record");
        }
    }

    #[test]
    fn a_string_larger_than_a_page_spans_and_keeps_its_length() {
        let mut writer = Writer::new(&account(64));
        record(&mut writer, b"before").unwrap();
        writer.begin_record(EventTime::default()).unwrap();
        writer.begin_map().unwrap();
        writer.entry().unwrap();
        writer.str(b"long").unwrap();
        writer.begin_str().unwrap();
        for _ in 0..100 {
            writer.piece(&mut [b'y'; 300].as_slice()).unwrap();
        }
        writer.end_str();
        writer.end();
        writer.end_record();
        record(&mut writer, b"after").unwrap();
        let values = decode(&writer.finish());
        assert_eq!(values[1][1]["long"].as_str().map(str::len), Some(30_000));
        assert_eq!(values[2][1]["k"].as_str(), Some("after"));
    }

    #[test]
    fn a_container_of_more_than_65535_entries_grows_its_header() {
        for count in [65_535, 65_536, 200_000_usize] {
            let mut writer = Writer::new(&account(256));
            record(&mut writer, b"before").unwrap();
            writer.begin_record(EventTime::default()).unwrap();
            writer.begin_map().unwrap();
            writer.entry().unwrap();
            writer.str(b"list").unwrap();
            writer.begin_array().unwrap();
            for _ in 0..count {
                writer.entry().unwrap();
                writer.raw(&[1]).unwrap();
            }
            writer.end();
            writer.end();
            writer.end_record();
            record(&mut writer, b"after").unwrap();
            let values = decode(&writer.finish());
            assert_eq!(values[1][1]["list"].as_array().map(Vec::len), Some(count));
            assert_eq!(values[2][1]["k"].as_str(), Some("after"));
        }
    }

    #[test]
    fn a_record_of_many_pages_is_written_with_one_page_at_a_time() {
        let account = account(32);
        let held = account.try_lease(30 * 4096).unwrap();
        let mut writer = Writer::new(&account);
        let body = rmpv_text(60_000);
        let mut progress = Progress::default();
        let part = |index| [[0x80].as_slice(), &body].get(index).copied();
        let mut held = Some(held);
        let mut waits = 0;
        while writer.record(EventTime::default(), part, &mut progress).is_err() {
            let mut lease = held.take().unwrap();
            lease.shrink_to(lease.bytes() - 4096);
            held = Some(lease);
            waits += 1;
        }
        assert!((10..20).contains(&waits), "each page was waited for once: {waits}");
        let values = decode(&writer.finish());
        assert_eq!(values[0][1].as_str().map(str::len), Some(60_000));
    }

    fn rmpv_text(size: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &"x".repeat(size).into()).unwrap();
        bytes
    }

    #[test]
    fn a_record_that_was_not_ended_is_not_among_the_events() {
        let mut writer = Writer::new(&account(64));
        record(&mut writer, b"whole").unwrap();
        writer.begin_record(EventTime::default()).unwrap();
        writer.begin_map().unwrap();
        let events = writer.finish();
        assert_eq!((events.records, decode(&events).len()), (1, 1));
    }

    #[test]
    fn a_string_of_each_length_has_its_shortest_header() {
        for len in 0..=WHOLE_STR {
            let mut writer = Writer::new(&account(4));
            let text: Vec<u8> = (0..len).map(|n| b'a' + (n % 26) as u8).collect();
            writer.str(&text).unwrap();
            let mut expected = Vec::new();
            crate::msgpack::put_str(&mut expected, std::str::from_utf8(&text).unwrap());
            assert_eq!(writer.finish().buf.to_vec(), expected);
        }
    }

    #[test]
    fn what_is_copied_as_a_block_fills_pages_to_the_end() {
        let block = *b"abcdefghijklmnopqrstuvwxyz012345";
        for len in 0..32 {
            let (mut writer, mut other) = (Writer::new(&account(10)), Writer::new(&account(10)));
            for number in 0..1_000 {
                writer.short_str(&block, len).unwrap();
                other.str(&block[..len]).unwrap();
                writer.front_of(&[1; 9], number % 10).unwrap();
                other.raw(&[1; 9][..number % 10]).unwrap();
            }
            let (events, other) = (writer.finish(), other.finish());
            assert_eq!(events.buf.to_vec(), other.buf.to_vec());
            assert_eq!(events.buf.pages().count(), other.buf.pages().count());
        }
    }

    #[test]
    fn text_is_cut_between_characters_and_other_bytes_anywhere() {
        for shift in 0..12 {
            let mut writer = Writer::new(&account(64));
            let text = "x".repeat(shift) + &"é€😀".repeat(3000);
            writer.begin_str().unwrap();
            writer.piece(&mut text.as_bytes()).unwrap();
            writer.piece(&mut [0x80; 9000].as_slice()).unwrap();
            writer.end_str();
            let events = writer.finish();
            let bytes = events.buf.to_vec();
            assert_eq!(bytes[1..5], (text.len() as u32 + 9000).to_be_bytes());
            assert_eq!(&bytes[5..5 + text.len()], text.as_bytes());
            let mut at = 0;
            for page in events.buf.pages() {
                assert!(at < 5 || at - 5 >= text.len() || text.is_char_boundary(at - 5));
                at += page.len();
            }
        }
    }
}
