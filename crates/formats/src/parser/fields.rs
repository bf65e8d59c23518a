//! The entries of one parsed record.

use budget::{Account, Full, Lease};
use event::msgpack::{map_header, str_header};
use event::{Cursor, EventTime, Progress, Sink, WHOLE_STR, Writer};

use super::decode::Work;
use super::leased::Leased;

/// The entries of one record as msgpack: keys and values, one after the other. A parser fills it, the caller
/// may add entries of its own and writes it; then it serves the next record.
///
/// What it holds is charged to its account and follows the longest record; [`Fields::release`] pays back.
#[derive(Debug)]
pub struct Fields {
    pub(super) out: Leased,
    entries: usize,
    /// What decoders work on.
    pub(super) work: Option<Box<Work>>,
}

impl Fields {
    /// No entries. Nothing is charged to `account` before there are some.
    pub fn new(account: &Account) -> Fields {
        Fields { out: Leased::new(account), entries: 0, work: None }
    }

    /// These entries: so many, as msgpack.
    pub(crate) fn of(out: Leased, entries: usize) -> Fields {
        Fields { out, entries, work: None }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The msgpack of all entries, without the header of the map.
    pub fn bytes(&self) -> &[u8] {
        self.out.bytes()
    }

    /// Forgets the entries.
    pub fn clear(&mut self) {
        self.out.clear();
        self.entries = 0;
    }

    /// What pays for the entries: for who has copied them.
    pub fn into_lease(self) -> Option<Lease> {
        self.out.into_lease()
    }

    /// Forgets the entries and pays back all: for when nothing comes for a while.
    pub fn release(&mut self) {
        self.clear();
        self.out.release();
        self.work = None;
    }

    /// The bytes that must be leased to go on after [`Full`]: wait for them, hand them to
    /// [`Fields::prepay`] and call again.
    pub fn wanted(&mut self) -> usize {
        self.parts().map(|part| part.wanted()).max().unwrap_or(0)
    }

    /// Hands in a lease of [`Fields::wanted`] bytes of the same account.
    pub fn prepay(&mut self, lease: Lease) {
        if let Some(part) = self.parts().max_by_key(|part| part.wanted()) {
            part.prepay(lease);
        }
    }

    fn parts(&mut self) -> impl Iterator<Item = &mut Leased> {
        let work = self.work.as_mut().into_iter().flat_map(|work| work.parts());
        std::iter::once(&mut self.out).chain(work)
    }

    /// Exchanges the entries with those of `other`.
    pub(super) fn swap(&mut self, other: &mut Fields) {
        std::mem::swap(&mut self.out, &mut other.out);
        std::mem::swap(&mut self.entries, &mut other.entries);
    }

    /// Appends an entry whose value is text.
    ///
    /// # Errors
    /// [`Full`]; nothing was appended then.
    pub fn text(&mut self, key: &[u8], value: &[u8]) -> Result<(), Full> {
        self.out.ensure(key.len() + value.len() + 10)?;
        put_str(&mut self.out, key)?;
        put_str(&mut self.out, value)?;
        self.entries += 1;
        Ok(())
    }

    /// Appends an entry whose key and value are msgpack.
    ///
    /// # Errors
    /// [`Full`]; nothing was appended then.
    pub fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), Full> {
        self.out.ensure(key.len() + value.len())?;
        self.out.extend(key)?;
        self.out.extend(value)?;
        self.entries += 1;
        Ok(())
    }

    /// Appends an entry whose key is msgpack and whose value is text.
    #[inline]
    pub(super) fn value(&mut self, key: &[u8], value: &[u8]) -> Result<(), Full> {
        self.out.ensure(key.len() + value.len() + 5)?;
        self.out.extend(key)?;
        put_str(&mut self.out, value)?;
        self.entries += 1;
        Ok(())
    }

    pub(super) fn count(&mut self) {
        self.entries += 1;
    }

    /// Appends an entry whose value is text that `make` writes, at most `most` bytes.
    pub(super) fn made_text(
        &mut self,
        key: &[u8],
        most: usize,
        make: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Full> {
        self.out.ensure(key.len() + most + 10)?;
        put_str(&mut self.out, key)?;
        self.out.made_str(most, make)?;
        self.entries += 1;
        Ok(())
    }

    /// Appends all entries of `other`.
    pub(super) fn append(&mut self, other: &Fields) -> Result<(), Full> {
        self.out.extend(other.bytes())?;
        self.entries += other.entries;
        Ok(())
    }

    /// Takes out the entry that stands at `range`.
    pub(super) fn remove(&mut self, range: std::ops::Range<usize>) {
        self.out.remove(range);
        self.entries -= 1;
    }

    /// The entries: their key and value, each as msgpack.
    pub fn iter(&self) -> Entries<'_> {
        Entries { cursor: Cursor::of(self.bytes()) }
    }

    /// The first value with this key, as msgpack.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(found, _)| as_str(found) == Some(key)).map(|(_, value)| value)
    }

    /// Where the first entry stands whose key is this msgpack string.
    pub(super) fn find(&self, key: &[u8]) -> Option<std::ops::Range<usize>> {
        let name = as_str(key)?;
        let mut at = 0;
        self.iter().find_map(|(found, value)| {
            let range = at..at + found.len() + value.len();
            at = range.end;
            (as_str(found) == Some(name)).then_some(range)
        })
    }

    /// Writes them as a record without metadata; see [`Writer::record`].
    ///
    /// # Errors
    /// [`Full`]: call again with the same progress when there is room.
    pub fn write(&self, time: EventTime, writer: &mut Writer, progress: &mut Progress) -> Result<(), Full> {
        self.write_with(time, &[0x80], writer, progress)
    }

    /// Writes them as a record with this metadata, a msgpack map.
    ///
    /// # Errors
    /// [`Full`]: call again with the same progress when there is room.
    pub fn write_with(
        &self,
        time: EventTime,
        metadata: &[u8],
        writer: &mut Writer,
        progress: &mut Progress,
    ) -> Result<(), Full> {
        let (header, size) = map_header(self.entries);
        let part = |index: usize| match index {
            0 => Some(metadata),
            1 => Some(&header[..size]),
            2 => Some(self.bytes()),
            _ => None,
        };
        writer.record(time, part, progress)
    }
}

/// Iterator over the entries of [`Fields`].
pub struct Entries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor.at_end() {
            return None;
        }
        let key = self.cursor.whole().ok()??;
        Some((key, self.cursor.whole().ok()??))
    }
}

/// The bytes of a msgpack string.
pub(crate) fn as_str(value: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::of(value);
    match cursor.token() {
        Ok(event::Token::Str(size)) => cursor.here().get(..size),
        _ => None,
    }
}

/// Appends a msgpack string.
#[inline]
pub(crate) fn put_str(out: &mut Leased, text: &[u8]) -> Result<(), Full> {
    let (header, size) = str_header(text.len());
    out.ensure(size + text.len())?;
    out.extend(&header[..size])?;
    out.extend(text)
}

/// Fills [`Fields`] from a reader of records, and finds the entry with one key on the way.
pub(super) struct Filling<'a> {
    fields: &'a mut Fields,
    /// Maps, arrays and strings that are open, the record's own map first.
    open: Vec<Open>,
    /// The msgpack of the key looked for.
    key: Option<&'a [u8]>,
    found: &'a mut Option<std::ops::Range<usize>>,
    /// Where the last entry of the record ended.
    end: usize,
}

struct Open {
    at: usize,
    count: u32,
    code: u8,
}

impl<'a> Filling<'a> {
    pub(super) fn new(
        fields: &'a mut Fields,
        key: Option<&'a [u8]>,
        found: &'a mut Option<std::ops::Range<usize>>,
    ) -> Filling<'a> {
        fields.clear();
        Filling { fields, open: Vec::new(), key, found, end: 0 }
    }

    fn out(&mut self) -> &mut Leased {
        &mut self.fields.out
    }

    fn begin(&mut self, code: u8) -> Result<(), Full> {
        let at = self.fields.out.len();
        if !self.open.is_empty() {
            self.out().extend(&[code, 0, 0])?;
        }
        self.open.push(Open { at, count: 0, code });
        Ok(())
    }

    /// An entry of the record is complete.
    fn top_level(&mut self) {
        let (start, end) = (self.end, self.fields.out.len());
        self.end = end;
        self.fields.entries += 1;
        if let Some(key) = self.key
            && self.found.is_none()
            && self.fields.bytes()[start..].starts_with(key)
        {
            *self.found = Some(start..end);
        }
    }
}

impl Sink for Filling<'_> {
    fn begin_record(&mut self, _time: EventTime) -> Result<(), Full> {
        Ok(())
    }

    fn empty_record(&mut self, _time: EventTime) -> Result<(), Full> {
        Ok(())
    }

    fn end_record(&mut self) {}

    fn begin_map(&mut self) -> Result<(), Full> {
        self.begin(0xde)
    }

    fn begin_array(&mut self) -> Result<(), Full> {
        self.begin(0xdc)
    }

    #[inline]
    fn entry(&mut self) -> Result<(), Full> {
        if self.open.len() == 1 {
            self.top_level();
            return Ok(());
        }
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        if open.count == 0xffff {
            // Two bytes no longer hold the count: the header grows by two, once.
            self.fields.out.insert(open.at + 3, 2)?;
            self.fields.out.patch(open.at, &[open.code + 1]);
        }
        open.count += 1;
        Ok(())
    }

    fn end(&mut self) {
        let Some(open) = self.open.pop() else { return };
        if self.open.is_empty() {
            return;
        }
        if open.count > 0xffff {
            self.out().patch(open.at + 1, &open.count.to_be_bytes());
        } else {
            self.out().patch(open.at + 1, &(open.count as u16).to_be_bytes());
        }
    }

    #[inline]
    fn str(&mut self, bytes: &[u8]) -> Result<(), Full> {
        debug_assert!(bytes.len() <= WHOLE_STR);
        put_str(self.out(), bytes)
    }

    fn begin_str(&mut self) -> Result<(), Full> {
        let at = self.fields.out.len();
        self.out().extend(&[0xdb, 0, 0, 0, 0])?;
        self.open.push(Open { at, count: 0, code: 0xdb });
        Ok(())
    }

    fn piece(&mut self, bytes: &mut &[u8]) -> Result<(), Full> {
        self.out().extend(bytes)?;
        *bytes = &[];
        Ok(())
    }

    fn end_str(&mut self) {
        let Some(open) = self.open.pop() else { return };
        let size = (self.fields.out.len() - open.at - 5) as u32;
        self.out().patch(open.at + 1, &size.to_be_bytes());
    }

    #[inline]
    fn raw(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.out().extend(bytes)
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), Full> {
        self.out().ensure(bytes)
    }

    #[inline]
    fn room(&self) -> usize {
        self.fields.out.room()
    }
}
