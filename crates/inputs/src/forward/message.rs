//! Messages of the Forward Protocol on their way to records. Entries are taken as they arrive, so a message costs
//! its records and one entry, not its bytes again.

use std::borrow::Cow;

use budget::{Buf, Lease};
use engine::Emitter;
use event::{Cursor, EventTime, Events, Progress, Token, Writer};
use formats::inflate::{Decoder, Encoding, Step};

use crate::records::room;

/// The longest tag that is read.
const TAG_BYTES: usize = 8_192;
/// A record without metadata.
const EMPTY_MAP: &[u8] = &[0x80];

/// A message that is complete.
pub(super) struct Done {
    /// The client's tag.
    pub(super) tag: Vec<u8>,
    /// Its records.
    pub(super) events: Events,
    /// What to acknowledge.
    pub(super) chunk: Option<Vec<u8>>,
}

/// The message that is being received.
pub(super) struct Message {
    writer: Writer,
    tag: Vec<u8>,
    chunk: Option<Vec<u8>>,
    stage: Stage,
    /// Options follow the entries.
    with_options: bool,
    /// Bytes of the message consumed.
    read: usize,
    limit: usize,
}

/// What comes next.
enum Stage {
    /// The tag and how the entries come.
    Head,
    /// So many entries.
    Entries(usize),
    /// So many bytes with entries in them.
    Packed(usize, Packing),
    /// The options, if there are any.
    Options,
    /// Nothing.
    Complete,
}

enum Packing {
    /// Not looked at yet.
    Unknown,
    Plain,
    Compressed(Box<Inflate>),
    /// No log records: passed over.
    Other,
}

/// Entries that are being decompressed.
struct Inflate {
    decoder: Decoder,
    /// Text that is no whole entry yet.
    text: Buf,
    /// Bytes of text so far.
    unpacked: usize,
}

/// How the entries come.
enum Payload {
    Entries(usize),
    Packed(usize),
    /// One, as the next values of the message.
    Single,
}

/// What is wrong, or whether there was enough to go on.
type Outcome<T> = Result<T, String>;

impl Message {
    pub(super) fn new(out: &Emitter, limit: usize) -> Message {
        Message {
            writer: Writer::new(out.account()),
            tag: Vec::new(),
            chunk: None,
            stage: Stage::Head,
            with_options: false,
            read: 0,
            limit,
        }
    }

    /// Whether the start of it was consumed.
    pub(super) fn holds(&self) -> bool {
        !matches!(self.stage, Stage::Head)
    }

    /// Goes on with what has arrived. True when the message is complete, false when more must arrive.
    ///
    /// # Errors
    /// What is wrong with the message.
    pub(super) async fn advance(&mut self, input: &mut Buf, out: &Emitter) -> Outcome<bool> {
        loop {
            let before = input.len();
            let went_on = match self.stage {
                Stage::Head => self.head(input, out).await?,
                Stage::Entries(left) => self.entries(left, input, out).await?,
                Stage::Packed(..) => self.packed(input, out).await?,
                Stage::Options => self.options(input, out).await?,
                Stage::Complete => return Ok(true),
            };
            self.read += before - input.len();
            if !went_on {
                if self.read + input.len() > self.limit {
                    return Err(format!("a message is larger than buffer_max_size ({} bytes)", self.limit));
                }
                return Ok(false);
            }
        }
    }

    /// The message, which is complete.
    pub(super) fn done(self) -> Done {
        Done { tag: self.tag, events: self.writer.finish(), chunk: self.chunk }
    }

    async fn head(&mut self, input: &mut Buf, out: &Emitter) -> Outcome<bool> {
        let mut cursor = Cursor::new(input);
        let Some((size, tag, payload)) = head(&mut cursor)? else { return Ok(false) };
        let at = cursor.offset();
        self.stage = match payload {
            Payload::Entries(count) => Stage::Entries(count),
            Payload::Packed(bytes) if bytes > self.limit => {
                return Err(format!(
                    "entries of {bytes} bytes are more than buffer_max_size ({})",
                    self.limit
                ));
            }
            Payload::Packed(bytes) => Stage::Packed(bytes, Packing::Unknown),
            Payload::Single => {
                let Some(length) = length(Cursor::new(input), input.len())? else { return Ok(false) };
                self.single(input, at, length, size, out).await?;
                Stage::Complete
            }
        };
        if !matches!(self.stage, Stage::Complete) {
            input.consume(at);
        }
        (self.tag, self.with_options) = (tag, size > 2);
        Ok(true)
    }

    /// `[tag, time, record, options]`, which is complete; the time starts at `at`.
    async fn single(
        &mut self,
        input: &mut Buf,
        at: usize,
        length: usize,
        size: usize,
        out: &Emitter,
    ) -> Outcome<()> {
        let (bytes, _lease) = front(input, length, out).await?;
        let wrong = || "a message is not [tag, time, record]".to_owned();
        let mut cursor = Cursor::of(&bytes[at..]);
        let time = time(&mut cursor).ok_or_else(wrong)?;
        let body = map(&mut cursor).filter(|_| size > 2).ok_or_else(wrong)?;
        let mut metadata = EMPTY_MAP;
        if size > 3 {
            let options = Options::read(cursor.here())?;
            metadata = options.metadata.unwrap_or(EMPTY_MAP);
            self.chunk = options.chunk.map(<[u8]>::to_vec);
        }
        write(&mut self.writer, time, metadata, body, out).await;
        drop(bytes);
        input.consume(length);
        Ok(())
    }

    async fn entries(&mut self, mut left: usize, input: &mut Buf, out: &Emitter) -> Outcome<bool> {
        while left > 0 {
            let available = input.len();
            if !entry(&mut self.writer, input, available, out).await? {
                self.stage = Stage::Entries(left);
                return Ok(false);
            }
            left -= 1;
        }
        self.stage = Stage::Options;
        Ok(true)
    }

    async fn packed(&mut self, input: &mut Buf, out: &Emitter) -> Outcome<bool> {
        let Stage::Packed(mut left, mut packing) = std::mem::replace(&mut self.stage, Stage::Options) else {
            return Ok(true);
        };
        if matches!(packing, Packing::Unknown) && left > 0 {
            if input.len() < left.min(4) {
                self.stage = Stage::Packed(left, packing);
                return Ok(false);
            }
            packing = Packing::sniff(&crate::payload::copy(input, left.min(4)), out);
        }
        while left > 0 {
            let before = input.len();
            match &mut packing {
                Packing::Compressed(inflate) if before > 0 => {
                    let piece = input.front().len().min(left);
                    let limit = self.limit;
                    inflate.feed(&input.front()[..piece], limit, &mut self.writer, out).await?;
                    input.consume(piece);
                }
                Packing::Plain => {
                    let available = left.min(before);
                    if !entry(&mut self.writer, input, available, out).await? && available == left {
                        return Err("packed entries end in the middle of one".to_owned());
                    }
                }
                _ => input.consume(left.min(before)),
            }
            left -= before - input.len();
            if before == input.len() && left > 0 {
                self.stage = Stage::Packed(left, packing);
                return Ok(false);
            }
        }
        if let Packing::Compressed(inflate) = packing {
            inflate.finish()?;
        }
        Ok(true)
    }

    async fn options(&mut self, input: &mut Buf, out: &Emitter) -> Outcome<bool> {
        if self.with_options {
            let Some(length) = length(Cursor::new(input), input.len())? else { return Ok(false) };
            let (bytes, _lease) = front(input, length, out).await?;
            self.chunk = Options::read(&bytes)?.chunk.map(<[u8]>::to_vec);
            drop(bytes);
            input.consume(length);
        }
        self.stage = Stage::Complete;
        Ok(true)
    }
}

impl Packing {
    /// By the first bytes, as the options that name the compression come last.
    fn sniff(start: &[u8], out: &Emitter) -> Packing {
        let encoding = match start {
            [0x1f, 0x8b, ..] => Encoding::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Encoding::Zstd,
            // An entry is an array of two.
            [0x92 | 0xdc | 0xdd, ..] => return Packing::Plain,
            _ => {
                tracing::warn!("[input:forward] a message without log records is passed over");
                return Packing::Other;
            }
        };
        let (decoder, text) = (Decoder::new(encoding), Buf::new(out.account()));
        Packing::Compressed(Box::new(Inflate { decoder, text, unpacked: 0 }))
    }
}

impl Inflate {
    async fn feed(
        &mut self,
        mut piece: &[u8],
        limit: usize,
        writer: &mut Writer,
        out: &Emitter,
    ) -> Outcome<()> {
        loop {
            match self.decoder.feed(&mut piece).map_err(|error| error.to_string())? {
                Step::NeedInput => return Ok(()),
                Step::Lease(bytes) => {
                    let lease = out.account().lease(bytes).await.map_err(|_| too_much(bytes))?;
                    self.decoder.prepay(lease);
                }
                Step::Output => {
                    let text = self.decoder.output();
                    self.unpacked += text.len();
                    if self.unpacked > limit {
                        return Err(format!(
                            "decompressed entries are more than buffer_max_size ({limit} bytes)"
                        ));
                    }
                    while self.text.write(text).is_err() {
                        self.text.grow_with(room(out).await);
                    }
                    loop {
                        let available = self.text.len();
                        if !entry(writer, &mut self.text, available, out).await? {
                            break;
                        }
                    }
                }
            }
        }
    }

    fn finish(&self) -> Outcome<()> {
        self.decoder.finish().map_err(|error| error.to_string())?;
        if self.text.is_empty() {
            Ok(())
        } else {
            Err("compressed entries end in the middle of one".to_owned())
        }
    }
}

/// Takes an entry, `[time, body]` or `[[time, metadata], body]`, from the front. False when it is not whole
/// within the first `available` bytes.
async fn entry(writer: &mut Writer, input: &mut Buf, available: usize, out: &Emitter) -> Outcome<bool> {
    let Some(length) = length(Cursor::new(input), available)? else { return Ok(false) };
    let (bytes, _lease) = front(input, length, out).await?;
    let wrong = || "an entry is not [time, record]".to_owned();
    let mut cursor = Cursor::of(&bytes);
    let (time, with_metadata) = cursor.record_head().map_err(|_| wrong())?;
    let metadata = if with_metadata { map(&mut cursor).ok_or_else(wrong)? } else { EMPTY_MAP };
    let body = map(&mut cursor).ok_or_else(wrong)?;
    write(writer, time, metadata, body, out).await;
    drop(bytes);
    input.consume(length);
    Ok(true)
}

async fn write(writer: &mut Writer, time: EventTime, metadata: &[u8], body: &[u8], out: &Emitter) {
    let mut progress = Progress::default();
    let part = |index: usize| [metadata, body].get(index).copied();
    while writer.record(time, part, &mut progress).is_err() {
        writer.prepay(room(out).await);
    }
}

/// The first `length` bytes in one piece, and what pays for them if they had to be copied.
async fn front<'a>(input: &'a Buf, length: usize, out: &Emitter) -> Outcome<(Cow<'a, [u8]>, Option<Lease>)> {
    if let Some(bytes) = input.front().get(..length) {
        return Ok((Cow::Borrowed(bytes), None));
    }
    let lease = out.account().lease(length).await.map_err(|_| too_much(length))?;
    Ok((Cow::Owned(crate::payload::copy(input, length)), Some(lease)))
}

fn too_much(bytes: usize) -> String {
    format!("{bytes} bytes are more than the memory limit allows")
}

/// How long the value at the cursor is; none when it is not whole within the first `available` bytes.
fn length(mut cursor: Cursor<'_>, available: usize) -> Outcome<Option<usize>> {
    // As `Cursor::skip`, but telling what is wrong from what is not there yet.
    let mut due: u64 = 1;
    while due > 0 {
        due -= 1;
        if cursor.here().first() == Some(&0xc1) {
            return Err("a message is not msgpack".to_owned());
        }
        let passed = match cursor.token() {
            Ok(Token::Str(size) | Token::Bin(size) | Token::Ext(_, size)) => cursor.pass(size),
            Ok(Token::Array(count)) => {
                due += count as u64;
                Ok(())
            }
            Ok(Token::Map(count)) => {
                due += 2 * count as u64;
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(corrupt) => Err(corrupt),
        };
        if passed.is_err() || cursor.offset() > available {
            return Ok(None);
        }
    }
    Ok(Some(cursor.offset()))
}

/// How many values a message has, its tag, and how its entries come. The cursor then stands at the first entry, or
/// at the time of a single one. None when more must arrive.
fn head(cursor: &mut Cursor<'_>) -> Outcome<Option<(usize, Vec<u8>, Payload)>> {
    let wrong = |what: &str| Err(format!("a message {what}"));
    if cursor.at_end() {
        return Ok(None);
    }
    let size = match cursor.token() {
        Ok(Token::Array(size @ 2..=4)) => size,
        Err(_) if cursor.here().first() != Some(&0xc1) => return Ok(None),
        _ => return wrong("is not an array of two to four values"),
    };
    let Ok(token) = cursor.token() else { return Ok(None) };
    let (Token::Str(length) | Token::Bin(length)) = token else { return wrong("does not start with a tag") };
    if length > TAG_BYTES {
        return wrong("has a tag of more than 8192 bytes");
    }
    let Ok(tag) = cursor.copy(length) else { return Ok(None) };
    let single = cursor.clone();
    let payload = match cursor.token() {
        Err(_) => return Ok(None),
        Ok(Token::Array(count)) => Payload::Entries(count),
        Ok(Token::Str(bytes) | Token::Bin(bytes)) => Payload::Packed(bytes),
        Ok(Token::U64(_) | Token::F64(_) | Token::Ext(0, 8)) => {
            *cursor = single;
            Payload::Single
        }
        Ok(_) => return wrong("has neither entries nor a time behind its tag"),
    };
    Ok(Some((size, tag, payload)))
}

fn time(cursor: &mut Cursor<'_>) -> Option<EventTime> {
    match cursor.token().ok()? {
        Token::U64(seconds) => Some(EventTime { seconds: u32::try_from(seconds).ok()?, nanoseconds: 0 }),
        Token::F64(seconds) if seconds >= 0.0 => {
            Some(EventTime { seconds: seconds as u32, nanoseconds: (seconds.fract() * 1e9) as u32 })
        }
        Token::Ext(0, 8) => {
            let bytes = cursor.piece(8).ok()?;
            Some(EventTime::from_ext(bytes.try_into().ok()?))
        }
        _ => None,
    }
}

/// The bytes of the map at the cursor.
fn map<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let Ok(Token::Map(_)) = cursor.clone().token() else { return None };
    cursor.whole().ok()?
}

/// The options of a message that mean something here.
#[derive(Default)]
struct Options<'a> {
    chunk: Option<&'a [u8]>,
    metadata: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    /// Old clients send nil for no options.
    fn read(bytes: &'a [u8]) -> Outcome<Options<'a>> {
        let wrong = || "the options of a message are no map".to_owned();
        let mut cursor = Cursor::of(bytes);
        let count = match cursor.token().map_err(|_| wrong())? {
            Token::Nil => 0,
            Token::Map(count) => count,
            _ => return Err(wrong()),
        };
        let mut options = Options::default();
        for _ in 0..count {
            let key = cursor.whole().ok().flatten().ok_or_else(wrong)?;
            let value = cursor.whole().ok().flatten().ok_or_else(wrong)?;
            match text(key) {
                Some(b"chunk") => options.chunk = Some(text(value).ok_or("the option \"chunk\" is no text")?),
                Some(b"metadata") => {
                    let map = map(&mut Cursor::of(value));
                    options.metadata = Some(map.ok_or("the option \"metadata\" is no map")?);
                }
                _ => {}
            }
        }
        Ok(options)
    }
}

/// The bytes of a string.
pub(super) fn text(value: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::of(value);
    match cursor.token() {
        Ok(Token::Str(size) | Token::Bin(size)) => cursor.here().get(..size),
        _ => None,
    }
}
