//! Writes the records of an input, waiting for room for as long as it takes: the source waits with it.

use std::future::Future;
use std::time::Duration;

use budget::Full;
use engine::Emitter;
use engine::emit::{PATIENCE, Refused};
use event::msgpack::put_str;
use event::{Corrupt, Cursor, Entry, EventTime, Events, Progress, Record, SPARE_ENTRIES, Writer};
use formats::multiline::Joined;
use formats::parser::{Fields, Parser, Unparsed};
use tokio::time::{Instant, timeout};

/// What a datagram may take when there was room as it began.
const MOMENT: Duration = Duration::from_secs(1);

/// A value of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    /// Text, which need not be UTF-8.
    Str(&'a [u8]),
    /// Bytes.
    Bin(&'a [u8]),
    /// A number.
    U64(u64),
    /// A number with a fraction.
    F64(f64),
}

/// Records that are being written, for one tag.
pub(crate) struct Records {
    out: Emitter,
    writer: Writer,
    /// What a parser makes of a line, while there are lines.
    fields: Fields,
}

impl Records {
    /// No records yet; they are charged to the input.
    pub(crate) fn new(out: &Emitter) -> Records {
        Records { out: out.clone(), writer: Writer::new(out.account()), fields: Fields::new(out.account()) }
    }

    /// Where they go.
    pub(crate) fn out(&self) -> &Emitter {
        &self.out
    }

    /// Bytes written.
    pub(crate) fn len(&self) -> usize {
        self.writer.len()
    }

    /// Writes a record with these entries.
    pub(crate) async fn add(&mut self, time: EventTime, entries: &[(&str, Value<'_>)]) {
        if !self.fits(entries) {
            return self.add_large(time, entries).await;
        }
        while self.write(time, entries).is_err() {
            self.room().await;
        }
    }

    /// Whether the record fits a page for certain.
    fn fits(&self, entries: &[(&str, Value<'_>)]) -> bool {
        let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.size() + 16).sum();
        entries.len() < 16 && bytes + 128 < self.writer.account().page_size()
    }

    fn write(&mut self, time: EventTime, entries: &[(&str, Value<'_>)]) -> Result<(), Full> {
        let writer = &mut self.writer;
        let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.size() + 10).sum();
        // Room for all of it: nothing below finds none.
        writer.reserve(bytes + 16)?;
        writer.begin_record(time)?;
        writer.raw(&[0x80 | entries.len() as u8])?;
        for (key, value) in entries {
            writer.str(key.as_bytes())?;
            let (head, size) = value.head();
            writer.raw(&head[..size])?;
            writer.raw(value.bytes())?;
        }
        writer.end_record();
        Ok(())
    }

    async fn add_large(&mut self, time: EventTime, entries: &[(&str, Value<'_>)]) {
        let mut heads = vec![Vec::new()];
        heads[0].extend([0x80]);
        let (header, size) = event::msgpack::map_header(entries.len());
        heads[0].extend(&header[..size]);
        for (key, value) in entries {
            let mut head = Vec::with_capacity(key.len() + 16);
            put_str(&mut head, key);
            let (start, size) = value.head();
            head.extend(&start[..size]);
            heads.push(head);
        }
        let part = |index: usize| match index {
            0 => Some(heads[0].as_slice()),
            _ if index.is_multiple_of(2) => entries.get(index / 2 - 1).map(|(_, value)| value.bytes()),
            _ => heads.get(index / 2 + 1).map(Vec::as_slice),
        };
        let mut progress = Progress::default();
        while self.writer.record(time, part, &mut progress).is_err() {
            self.room().await;
        }
    }

    /// Writes what a parser makes of a line, and `more`. False when the parser does not take the line: then
    /// nothing is written.
    pub(crate) async fn add_parsed(
        &mut self,
        parser: &Parser,
        now: EventTime,
        line: &[u8],
        more: &[(&str, Value<'_>)],
    ) -> bool {
        let time = loop {
            match self.fields_of(parser, now, line, more) {
                Ok(time) => break time,
                Err(Unparsed::NoMatch) => return false,
                Err(Unparsed::Full) => match self.out.account().lease(self.fields.wanted()).await {
                    Ok(lease) => self.fields.prepay(lease),
                    // More than the input may ever hold.
                    Err(_) => return false,
                },
            }
        };
        let mut progress = Progress::default();
        while self.fields.write(time, &mut self.writer, &mut progress).is_err() {
            self.room().await;
        }
        true
    }

    /// Adds a record that lines were joined to, and `more`.
    pub(crate) async fn add_joined(&mut self, mut joined: Joined, more: &[(&str, Value<'_>)]) {
        for (key, value) in more {
            let (head, size) = value.head();
            let mut name = Vec::with_capacity(key.len() + 5);
            put_str(&mut name, key);
            let value = [&head[..size], value.bytes()].concat();
            while joined.fields.entry(&name, &value).is_err() {
                let Ok(lease) = self.out.account().lease(joined.fields.wanted()).await else { break };
                joined.fields.prepay(lease);
            }
        }
        let mut progress = Progress::default();
        while joined.write(&mut self.writer, &mut progress).is_err() {
            self.room().await;
        }
    }

    fn fields_of(
        &mut self,
        parser: &Parser,
        now: EventTime,
        line: &[u8],
        more: &[(&str, Value<'_>)],
    ) -> Result<EventTime, Unparsed> {
        let time = parser.parse(line, now, &mut self.fields)?;
        for (key, value) in more {
            let (head, size) = value.head();
            let mut name = Vec::with_capacity(key.len() + 5);
            put_str(&mut name, key);
            self.fields.entry(&name, &[&head[..size], value.bytes()].concat())?;
        }
        Ok(time.or(now))
    }

    async fn room(&mut self) {
        let page = room(&self.out).await;
        self.writer.prepay(page);
    }

    /// Hands the records over, as [`hand_over`] does. There are none afterwards.
    pub(crate) async fn send(&mut self) {
        let events = self.take();
        hand_over(events, &self.out).await;
    }

    /// The records so far. There are none afterwards.
    pub(crate) fn take(&mut self) -> Events {
        self.fields.release();
        std::mem::replace(&mut self.writer, Writer::new(self.out.account())).finish()
    }
}

impl Value<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Value::Str(bytes) | Value::Bin(bytes) => bytes,
            _ => &[],
        }
    }

    fn size(&self) -> usize {
        self.bytes().len() + 9
    }

    /// What stands before the bytes.
    fn head(&self) -> ([u8; 9], usize) {
        let mut head = [0; 9];
        let mut put = |code: u8, bytes: &[u8]| {
            head[0] = code;
            head[1..=bytes.len()].copy_from_slice(bytes);
            1 + bytes.len()
        };
        let size = match self {
            Value::Str(text) => match text.len() {
                len @ ..32 => put(0xa0 | len as u8, &[]),
                len @ 32..=0xff => put(0xd9, &[len as u8]),
                len @ 0x100..=0xffff => put(0xda, &(len as u16).to_be_bytes()),
                len => put(0xdb, &(len as u32).to_be_bytes()),
            },
            Value::Bin(bytes) => match bytes.len() {
                len @ ..=0xff => put(0xc4, &[len as u8]),
                len @ 0x100..=0xffff => put(0xc5, &(len as u16).to_be_bytes()),
                len => put(0xc6, &(len as u32).to_be_bytes()),
            },
            Value::F64(number) => put(0xcb, &number.to_be_bytes()),
            Value::U64(number) => match *number {
                number @ ..=0x7f => put(number as u8, &[]),
                number @ 0x80..=0xff => put(0xcc, &[number as u8]),
                number @ 0x100..=0xffff => put(0xcd, &(number as u16).to_be_bytes()),
                number @ 0x1_0000..=0xffff_ffff => put(0xce, &(number as u32).to_be_bytes()),
                number => put(0xcf, &number.to_be_bytes()),
            },
        };
        (head, size)
    }
}

/// Hands records over under the input's own tag. Their source does not send them again: what is not taken is counted
/// and said.
pub(crate) async fn hand_over(events: Events, out: &Emitter) {
    let count = events.records;
    if count > 0
        && let Err(why) = out.append(out.tag(), events).await
    {
        out.dropped(count, "records", &why);
    }
}

/// Does the work of a datagram where there is room for it. Otherwise the datagram is dropped and counted: its sender
/// does not wait, and the kernel would drop those behind it without counting them.
pub(crate) async fn or_drop(out: &Emitter, work: impl Future<Output = ()>) {
    let room = out.account().try_lease(out.account().page_size()).is_ok();
    if !room || timeout(MOMENT, work).await.is_err() {
        out.dropped(1, "datagrams", &Refused::NoRoom);
    }
}

/// Waits for a page, for as long as it takes.
pub(crate) async fn room(out: &Emitter) -> budget::Lease {
    loop {
        if let Ok(page) = out.page(Instant::now() + PATIENCE).await {
            return page;
        }
        // An account whose maximum is less than a page answers at once.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Changes each record.
///
/// # Errors
/// [`Refused`] when the records are none, or are larger than memory.
pub(crate) async fn edit(
    out: &Emitter,
    mut events: Events,
    mut change: impl FnMut(&mut Record<'_>),
) -> Result<Events, Refused> {
    let mut writer = Writer::new(out.account());
    while events.records > 0 {
        let extent = Extent::of(&events).map_err(|_| Refused::NoRoom)?;
        let _lease =
            out.account().lease(extent.decoded + extent.copied).await.map_err(|_| Refused::NoRoom)?;
        let copied;
        let mut cursor = events.cursor();
        let bytes = match cursor.clone().whole().map_err(|_| Refused::NoRoom)? {
            Some(bytes) => bytes,
            None => {
                copied = cursor.copy(extent.size).map_err(|_| Refused::NoRoom)?;
                &copied
            }
        };
        let mut record = Record::decode(bytes).map_err(|_| Refused::NoRoom)?;
        change(&mut record);
        let mut progress = Progress::default();
        while record.encode(&mut writer, &mut progress).is_err() {
            writer.prepay(room(out).await);
        }
        drop(record);
        events.buf.consume(extent.size);
        events.records -= 1;
    }
    Ok(writer.finish())
}

/// What the first record takes to decode, in bytes.
pub(crate) struct Extent {
    /// Its length.
    pub(crate) size: usize,
    /// Its entries, taken apart.
    pub(crate) decoded: usize,
    /// Copied into one piece because it lies over a page end.
    pub(crate) copied: usize,
}

impl Extent {
    pub(crate) fn of(events: &Events) -> Result<Extent, Corrupt> {
        let mut cursor: Cursor<'_> = events.cursor();
        let entries = cursor.record_entries()?;
        let whole = cursor.whole()?.is_some();
        let size = cursor.offset();
        let decoded = (entries + SPARE_ENTRIES) * size_of::<Entry<'_>>();
        Ok(Extent { size, decoded, copied: if whole { 0 } else { size } })
    }
}
