//! What waits to become one record.

use std::sync::Arc;

use budget::{Account, Full, Lease};
use event::msgpack::{map_header, put_str as put_text};
use event::{Cursor, EventTime, Progress, Token, Writer};

use super::Rule;
use crate::parser::{Fields, Leased, as_str, put_str};

/// The most bytes of metadata that is gathered for one record.
const METADATA_BYTES: usize = 16 << 10;

/// A record that lines were joined to.
#[derive(Debug)]
pub struct Joined {
    /// When it happened.
    pub time: EventTime,
    /// The metadata, a msgpack map.
    pub metadata: Vec<u8>,
    /// The entries.
    pub fields: Fields,
    /// It is not all there was.
    pub truncated: bool,
}

impl Joined {
    /// The record of a line that nothing else belongs to.
    pub(super) fn line(
        time: EventTime,
        key: Option<&str>,
        line: &[u8],
        limit: usize,
        account: &Account,
        out: &mut Vec<Joined>,
    ) -> Result<(), Full> {
        let mut group = Group::new(0, &[], account);
        let head = Head { time, metadata: None, key, entries: None };
        let content = Content { text: line, pattern: line, with_breaks: key.is_none() };
        group.until(true, &head, &content, limit, out)
    }

    /// Writes the record; see [`Writer::record`].
    ///
    /// # Errors
    /// [`Full`]: call again with the same progress when there is room.
    pub fn write(&self, writer: &mut Writer, progress: &mut Progress) -> Result<(), Full> {
        self.fields.write_with(self.time, &self.metadata, writer, progress)
    }

    /// The body, a msgpack map, and what pays for it.
    pub fn into_map(self) -> (Arc<[u8]>, Option<Lease>) {
        let (header, size) = map_header(self.fields.len());
        let map = header[..size].iter().chain(self.fields.bytes()).copied();
        (map.collect(), self.fields.into_lease())
    }
}

/// What a line or record gives the record that it begins.
pub(super) struct Head<'a> {
    pub(super) time: EventTime,
    pub(super) metadata: Option<&'a [u8]>,
    /// The key of the content; `log` if there is none.
    pub(super) key: Option<&'a str>,
    pub(super) entries: Option<&'a [(&'a [u8], &'a [u8])]>,
}

/// The text of a line or record.
pub(super) struct Content<'a> {
    /// What is joined.
    pub(super) text: &'a [u8],
    /// What is compared.
    pub(super) pattern: &'a [u8],
    /// Lines are joined by line ends, and a record ends with one.
    pub(super) with_breaks: bool,
}

/// What waits in a stream for one parser and one value of its key.
pub(super) struct Group {
    parser: usize,
    name: Box<[u8]>,
    account: Account,
    /// The rule that the last line matched.
    state: Option<usize>,
    pending: Option<Pending>,
}

struct Pending {
    time: EventTime,
    /// The entries as msgpack, up to the content and with it.
    out: Leased,
    /// Entries in all.
    entries: usize,
    /// Where the content's header stands; its bytes follow up to the end.
    header: usize,
    /// The entries behind the content.
    after: Leased,
    /// Entries of the metadata, and how many.
    metadata: Vec<u8>,
    metadata_entries: usize,
    /// Lines as they are: nothing but the content.
    plain: bool,
    with_breaks: bool,
    truncated: bool,
}

impl Group {
    pub(super) fn new(parser: usize, name: &[u8], account: &Account) -> Group {
        Group { parser, name: name.into(), account: account.clone(), state: None, pending: None }
    }

    pub(super) fn is(&self, parser: usize, name: &[u8]) -> bool {
        self.parser == parser && *self.name == *name
    }

    pub(super) fn is_of(&self, parser: usize) -> bool {
        self.parser == parser
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_none()
    }

    /// What waits, as far as it came.
    pub(super) fn finish(&mut self) -> Option<Joined> {
        self.pending.take().and_then(Pending::finish)
    }

    /// Adds the content, and lets the record go if it is complete.
    pub(super) fn until(
        &mut self,
        complete: bool,
        head: &Head<'_>,
        content: &Content<'_>,
        limit: usize,
        out: &mut Vec<Joined>,
    ) -> Result<(), Full> {
        self.add(head, content, limit, out)?;
        if complete {
            out.extend(self.finish());
        }
        Ok(())
    }

    /// Adds the content if a rule takes it. Answers whether one does.
    pub(super) fn by_rules(
        &mut self,
        rules: &[Rule],
        head: &Head<'_>,
        content: &Content<'_>,
        limit: usize,
        out: &mut Vec<Joined>,
    ) -> Result<bool, Full> {
        let matches = |rule: &&usize| rules[**rule].regex.is_match(content.text);
        let follows = self.state.and_then(|state| {
            rules[state].next.iter().filter(|next| !rules[**next].start).find(matches).copied()
        });
        let found = follows.or_else(|| {
            let start = (0..rules.len()).filter(|rule| rules[*rule].start);
            start.into_iter().find(|rule| rules[*rule].regex.is_match(content.text))
        });
        let Some(rule) = found else { return Ok(false) };
        if follows.is_none() {
            out.extend(self.finish());
        }
        // Between the lines of a record is a line end, also where the key of the content is known.
        if follows.is_some()
            && let Some(pending) = &mut self.pending
            && pending.line_end(content.text.is_empty()).is_err()
        {
            // No memory for it: what there is goes out, for two lines without it would be one.
            pending.truncated = true;
            out.extend(self.finish());
        }
        self.add(head, content, limit, out)?;
        self.state = Some(rule);
        let truncated = self.pending.as_ref().is_none_or(|pending| pending.truncated);
        if truncated {
            // What is left of the record cannot be told from a new one.
            out.extend(self.finish());
            self.state = None;
        } else if rules[rule].next.iter().any(|next| rules[*next].start) {
            out.extend(self.finish());
        }
        Ok(true)
    }

    /// Appends the content to what waits, or begins with it.
    fn add(
        &mut self,
        head: &Head<'_>,
        content: &Content<'_>,
        limit: usize,
        out: &mut Vec<Joined>,
    ) -> Result<(), Full> {
        if let Some(pending) = &mut self.pending {
            if pending.append(head, content, limit).is_ok() {
                return Ok(());
            }
            // No memory for more: what there is goes out, and this begins anew.
            pending.truncated = true;
            out.extend(self.finish());
        }
        self.pending = Some(Pending::begin(head, content, limit, &self.account)?);
        Ok(())
    }
}

impl Pending {
    fn begin(
        head: &Head<'_>,
        content: &Content<'_>,
        limit: usize,
        account: &Account,
    ) -> Result<Pending, Full> {
        let mut pending = Pending {
            time: head.time,
            out: Leased::new(account),
            entries: 1,
            header: 0,
            after: Leased::new(account),
            metadata: Vec::new(),
            metadata_entries: 0,
            plain: head.entries.is_none(),
            with_breaks: content.with_breaks,
            truncated: false,
        };
        let key = head.key.unwrap_or("log");
        let mut before = true;
        for (name, value) in head.entries.unwrap_or_default() {
            if before && as_str(name) == Some(key.as_bytes()) {
                before = false;
                continue;
            }
            let part = if before { &mut pending.out } else { &mut pending.after };
            part.extend(name)?;
            part.extend(value)?;
            pending.entries += 1;
        }
        put_str(&mut pending.out, key.as_bytes())?;
        pending.header = pending.out.len();
        pending.out.extend(&[0xdb, 0, 0, 0, 0])?;
        pending.gather(head.metadata);
        pending.text(content.text, limit)?;
        Ok(pending)
    }

    /// Bytes of the content.
    fn len(&self) -> usize {
        self.out.len() - self.header - 5
    }

    fn ends_line(&self) -> bool {
        self.len() == 0 || self.out.bytes().ends_with(b"\n")
    }

    /// Ends the last line, if nothing does yet; an `empty` line is another line end.
    fn line_end(&mut self, empty: bool) -> Result<(), Full> {
        let missing = usize::from(!self.ends_line()) + usize::from(empty);
        self.out.extend(&b"\n\n"[..missing])
    }

    fn append(&mut self, head: &Head<'_>, content: &Content<'_>, limit: usize) -> Result<(), Full> {
        if head.entries.is_none() {
            // Lines carry the time of the last of them.
            self.time = head.time;
        }
        if content.with_breaks {
            self.line_end(false)?;
        }
        self.gather(head.metadata);
        self.text(content.text, limit)
    }

    /// Appends to the last line, with room for its end.
    fn text(&mut self, mut text: &[u8], limit: usize) -> Result<(), Full> {
        let room = limit.saturating_sub(self.len());
        if limit > 0 && text.len() > room {
            self.truncated = true;
            text = &text[..room];
        }
        self.out.ensure(text.len() + 1)?;
        self.out.extend(text)
    }

    /// Adds the entries of a metadata map that are not there yet.
    fn gather(&mut self, metadata: Option<&[u8]>) {
        let Some(map) = metadata else { return };
        let mut cursor = Cursor::of(map);
        let Ok(Token::Map(count)) = cursor.token() else { return };
        for _ in 0..count {
            let start = cursor.here();
            let (Ok(Some(key)), Ok(Some(value))) = (cursor.whole(), cursor.whole()) else { return };
            let entry = &start[..key.len() + value.len()];
            let known = self.metadata.windows(entry.len()).any(|known| known == entry);
            if !known && self.metadata.len() + entry.len() <= METADATA_BYTES {
                self.metadata.extend_from_slice(entry);
                self.metadata_entries += 1;
            }
        }
    }

    /// The record; there is none of an empty line.
    fn finish(mut self) -> Option<Joined> {
        if self.plain && self.len() == 0 {
            return None;
        }
        if self.with_breaks {
            let _there_is_room = self.line_end(false);
        }
        let size = self.len() as u32;
        self.out.patch(self.header + 1, &size.to_be_bytes());
        let mut entries = self.entries;
        if self.out.extend(self.after.bytes()).is_err() {
            entries -= count(self.after.bytes());
            self.truncated = true;
        }
        if self.truncated {
            put_text(&mut self.metadata, "multiline_truncated");
            self.metadata.push(0xc3);
            self.metadata_entries += 1;
        }
        let (header, len) = map_header(self.metadata_entries);
        let metadata = [&header[..len], &self.metadata].concat();
        let fields = Fields::of(self.out, entries);
        Some(Joined { time: self.time, metadata, fields, truncated: self.truncated })
    }
}

/// How many entries there are.
fn count(entries: &[u8]) -> usize {
    let mut cursor = Cursor::of(entries);
    let mut values = 0;
    while !cursor.at_end() && cursor.skip().is_ok() {
        values += 1;
    }
    values / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted() {
        assert_eq!(count(&[0xa1, b'a', 1, 0xa1, b'b', 0x91, 2]), 2);
    }
}
