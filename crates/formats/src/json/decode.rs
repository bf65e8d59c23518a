//! JSON text to records, in one pass, resumable at any byte.

mod strings;

use budget::{Account, Full, Lease};
use event::{EventTime, Events, Sink, Writer};

use super::error::{Error, Reason, Stop};
use super::number::{self, Scanned};
use super::scan;

/// Levels of objects and arrays that a record may have, itself counted.
const MAX_DEPTH: u8 = 128;

const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

/// Reads the JSON text of a body and writes its records.
///
/// A body is one object; or several objects with white space, line ends or a comma between them; or one array
/// of objects. Each object becomes a record with the given time and no metadata. Everything else is refused,
/// with the byte and the reason, and so is what [RFC 8259](https://www.rfc-editor.org/rfc/rfc8259) does not
/// allow. A byte order mark at the start is passed over. Objects keep their keys in order, duplicates
/// included. Integers that fit 64 bits stay integers, other numbers become doubles.
///
/// A body is taken whole or not at all: after an error nothing can be done with the transcoder but to drop it,
/// which gives the pages back.
///
/// Between two calls it holds about 200 bytes, 16 bytes for each open level, and the first bytes of a token
/// that the last slice ended in (at most [1024](Reason::NumberTooLong)); the records are in leased pages.
pub struct Transcoder<S = Writer> {
    writer: S,
    time: EventTime,
    offset: u64,
    /// A bit for each open level, the innermost lowest: set for an object.
    objects: u128,
    depth: u8,
    array: bool,
    state: State,
    /// The start of a number, a word, an escape or a character that the last slice ended in.
    held: Vec<u8>,
    /// In a stream of values: the key that an array becomes the value of.
    stream: Option<&'static str>,
    /// The array that is open is such a value.
    wrapped: bool,
    /// Bytes of the slice that were left when the last record ended in it.
    left: Option<usize>,
    /// Bytes of the text up to the end of the last record.
    complete: u64,
    /// Control characters within strings and surrogates without a partner are taken: see [`line`].
    lenient: bool,
}

/// What [`Transcoder::feed`] needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The slice is used up: more input, or [`Transcoder::finish`].
    NeedInput,
    /// Room in the ledger, for a page: see [`Transcoder::prepay`]. Then call again with what the slice still
    /// holds.
    Full,
}

/// What may come next. Where nothing else is said, white space may come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A byte order mark without white space before it, or as `Open`.
    Start,
    /// The first object, or the array.
    Open,
    /// The first element of the array of records, or its end.
    FirstRecord,
    /// A record, behind a comma.
    Record,
    /// The brace of a record that the writer has begun.
    Begun,
    /// What follows a record.
    AfterRecord,
    /// Nothing more.
    Closed,
    /// The first key of an object, or its end.
    FirstKey,
    Key,
    Colon,
    /// The first element of an array, or its end.
    FirstElement,
    Value,
    /// What follows a value within an object or array.
    AfterValue,
    /// The rest of a key, no white space passed over.
    InKey,
    /// The rest of a string, no white space passed over.
    InText,
    /// The rest of the number or word that is held.
    InNumber,
    InWord,
}

impl Transcoder {
    /// A transcoder whose records are charged to `account` and carry `time`.
    pub fn new(account: &Account, time: EventTime) -> Transcoder {
        Transcoder::into_sink(Writer::new(account), time)
    }

    /// A transcoder for values that come one after the other without an end: see
    /// [`Transcoder::take_complete`]. An array is a record as well, with the array as the value of `key`.
    pub fn stream(account: &Account, time: EventTime, key: &'static str) -> Transcoder {
        Transcoder { stream: Some(key), ..Transcoder::new(account, time) }
    }

    /// Records that are complete.
    pub fn records(&self) -> usize {
        self.writer.records()
    }

    /// Bytes of the text up to the end of the last complete record.
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// Whether nothing of a record is held.
    pub fn is_between(&self) -> bool {
        self.held.is_empty()
            && matches!(self.state, State::Start | State::Open | State::Record | State::AfterRecord)
    }

    /// The records that are complete, also after an error. What was read behind them is forgotten.
    pub fn take_complete(self) -> Events {
        self.writer.finish()
    }

    /// Bytes charged for the records so far: whole pages.
    pub fn charged(&self) -> usize {
        self.writer.charged()
    }

    /// Hands in a lease of a page, after [`Step::Full`]: the next page is paid with it.
    pub fn prepay(&mut self, lease: Lease) {
        self.writer.prepay(lease);
    }

    /// Ends the body and gives its records.
    ///
    /// # Errors
    /// The body is empty, or ends too early.
    pub fn finish(self) -> Result<Events, Error> {
        match self.state {
            State::Closed => Ok(self.writer.finish()),
            State::AfterRecord if !self.array => Ok(self.writer.finish()),
            State::Start | State::Open if self.held.is_empty() => Err(self.error(Reason::Empty)),
            // A number that was cut is looked at when it is complete, which this one will never be.
            State::InNumber if let Err(reason) = number::scan(&self.held) => Err(self.error(reason)),
            _ => Err(self.error(Reason::Truncated)),
        }
    }
}

impl<S: Sink> Transcoder<S> {
    fn into_sink(writer: S, time: EventTime) -> Transcoder<S> {
        Transcoder {
            writer,
            time,
            offset: 0,
            objects: 0,
            depth: 0,
            array: false,
            state: State::Start,
            held: Vec::new(),
            stream: None,
            wrapped: false,
            left: None,
            complete: 0,
            lenient: false,
        }
    }

    /// Bytes of the body consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads on. `input` shrinks by what was consumed.
    ///
    /// # Errors
    /// The text is refused.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Step, Error> {
        let before = input.len();
        self.left = None;
        let outcome = self.run(input);
        if let Some(left) = self.left {
            self.complete = self.offset + (before - left) as u64;
        }
        self.offset += (before - input.len()) as u64;
        match outcome {
            Ok(()) => Ok(Step::NeedInput),
            Err(Stop::Full) => Ok(Step::Full),
            Err(Stop::Bad(reason)) => Err(self.error(reason)),
        }
    }

    /// The offset is that of the byte that cannot stand where it does, or of the start of a number, word,
    /// escape or character that is wrong: the same wherever the slices ended.
    fn error(&self, reason: Reason) -> Error {
        Error { offset: self.offset - self.held.len() as u64, reason }
    }

    fn run(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        while !input.is_empty() {
            self.step(input)?;
        }
        Ok(())
    }

    #[inline(always)]
    fn step(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        match self.state {
            State::Start => self.byte_order_mark(input),
            State::InKey => self.text(input, State::Colon),
            State::InText => self.text(input, State::AfterValue),
            State::InNumber => self.rest_of_number(input),
            State::InWord => self.rest_of_word(input),
            State::FirstKey | State::Key => self.members(input),
            State::Value if !self.in_object() => self.elements(input),
            _ => self.token(input),
        }
    }

    fn byte_order_mark(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        while let Some(expected) = BYTE_ORDER_MARK.get(self.held.len())
            && let Some(byte) = input.first()
        {
            if byte != expected {
                if !self.held.is_empty() {
                    return Err(Reason::NotAnObject.into());
                }
                self.state = State::Open;
                return Ok(());
            }
            self.held.push(*byte);
            advance(input, 1);
        }
        if self.held.len() == BYTE_ORDER_MARK.len() {
            self.held = Vec::new();
            self.state = State::Open;
        }
        Ok(())
    }

    /// One token, with the white space before it.
    #[inline]
    fn token(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        *input = scan::skip_blank(input);
        let Some(&byte) = input.first() else { return Ok(()) };
        match (self.state, byte) {
            (State::FirstKey | State::Key, _) => self.key(input, byte),
            (State::Colon, b':') => self.go(input, State::Value),
            (State::Colon, _) => Err(Reason::ExpectedColon.into()),
            (State::FirstElement, b']') => self.close(input),
            (State::FirstElement | State::Value, _) => self.value(input, byte),
            (State::AfterValue, _) => self.after_value(input, byte),
            _ => self.between_records(input, byte),
        }
    }

    #[inline]
    fn key(&mut self, input: &mut &[u8], byte: u8) -> Result<(), Stop> {
        match byte {
            b'"' => self.string(input, State::Colon, State::InKey),
            b'}' if self.state == State::FirstKey => self.close(input),
            _ => Err(Reason::ExpectedKey.into()),
        }
    }

    /// Keys and values of an object, as long as they are the common ones: strings and numbers that end within
    /// the slice. Stops at anything else, which [`Transcoder::token`] then reads. This only saves time: it
    /// knows what comes next instead of asking the state for each token.
    fn members(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        loop {
            // What comes next is a key.
            let rest = scan::skip_blank(input);
            *input = rest;
            let Some(len) = self.whole_string(rest)? else { return self.token(input) };
            let rest = scan::skip_blank(&rest[len..]);
            *input = rest;
            let Some((b':', rest)) = rest.split_first() else {
                self.state = State::Colon;
                return Ok(());
            };
            let rest = scan::skip_blank(rest);
            *input = rest;
            self.state = State::Value;
            let Some(len) = self.simple(rest)? else { return self.token(input) };
            let rest = scan::skip_blank(&rest[len..]);
            *input = rest;
            self.state = State::AfterValue;
            let Some((b',', rest)) = rest.split_first() else { return Ok(()) };
            self.writer.entry()?;
            *input = rest;
            self.state = State::Key;
        }
    }

    /// The same for elements of an array. What comes next is one.
    fn elements(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        loop {
            let rest = scan::skip_blank(input);
            *input = rest;
            let Some(len) = self.simple(rest)? else { return self.token(input) };
            let rest = scan::skip_blank(&rest[len..]);
            *input = rest;
            self.state = State::AfterValue;
            let Some((b',', rest)) = rest.split_first() else { return Ok(()) };
            self.writer.entry()?;
            *input = rest;
            self.state = State::Value;
        }
    }

    /// Writes the string or number that `input` starts with, if it ends within it and is of a common form, and
    /// answers its length.
    #[inline(always)]
    fn simple(&mut self, input: &[u8]) -> Result<Option<usize>, Stop> {
        match input.first() {
            Some(b'"') => self.whole_string(input),
            Some(b'-' | b'0'..=b'9') => {
                let Some(((bytes, size), len)) = number::short(input) else { return Ok(None) };
                self.writer.front_of(&bytes, size)?;
                Ok(Some(len))
            }
            _ => Ok(None),
        }
    }

    fn go(&mut self, input: &mut &[u8], state: State) -> Result<(), Stop> {
        advance(input, 1);
        self.state = state;
        Ok(())
    }

    fn between_records(&mut self, input: &mut &[u8], byte: u8) -> Result<(), Stop> {
        match (self.state, byte) {
            (State::Begun, _) => self.open(input, true),
            (State::Open | State::FirstRecord | State::Record, b'{') => self.record(input),
            (State::AfterRecord, b'{') if !self.array => self.record(input),
            (State::AfterRecord, b',') => self.go(input, State::Record),
            (State::Open | State::AfterRecord | State::Record, b'[') if let Some(key) = self.stream => {
                self.wrap(input, key)
            }
            (State::FirstRecord, b']') => self.go(input, State::Closed),
            (State::AfterRecord, b']') if self.array => self.go(input, State::Closed),
            (State::Open, b'[') => {
                self.array = true;
                self.go(input, State::FirstRecord)
            }
            (State::Closed, _) => Err(Reason::Trailing.into()),
            (State::AfterRecord, _) if self.array => Err(Reason::BetweenElements.into()),
            (_, _) if self.array => Err(Reason::ElementNotAnObject.into()),
            (State::Open, _) => Err(Reason::NotAnObject.into()),
            _ => Err(Reason::BetweenObjects.into()),
        }
    }

    fn record(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        if input.starts_with(b"{}") {
            return self.empty_records(input);
        }
        self.writer.begin_record(self.time)?;
        self.state = State::Begun;
        self.open(input, true)
    }

    /// An array in a stream, as the only value of a record.
    fn wrap(&mut self, input: &mut &[u8], key: &str) -> Result<(), Stop> {
        // Room for all of it, so that nothing below stops half-way.
        self.writer.reserve(64 + key.len())?;
        self.writer.begin_record(self.time)?;
        self.writer.begin_map()?;
        self.writer.str(key.as_bytes())?;
        self.wrapped = true;
        // The map is a level that no brace in the text closes.
        self.depth += 1;
        self.objects = self.objects << 1 | 1;
        self.open(input, false)
    }

    /// Records without entries, and the commas between them. This only saves time: a body may be made of
    /// nothing else.
    fn empty_records(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        loop {
            self.writer.empty_record(self.time)?;
            advance(input, 2);
            self.left = Some(input.len());
            self.state = State::AfterRecord;
            if !input.starts_with(b",{}") {
                return Ok(());
            }
            self.go(input, State::Record)?;
        }
    }

    #[inline]
    fn open(&mut self, input: &mut &[u8], object: bool) -> Result<(), Stop> {
        if self.depth == MAX_DEPTH {
            return Err(Reason::TooDeep.into());
        }
        if object {
            self.writer.begin_map()?
        } else {
            self.writer.begin_array()?
        };
        self.depth += 1;
        self.objects = self.objects << 1 | u128::from(object);
        self.go(input, if object { State::FirstKey } else { State::FirstElement })
    }

    /// Arrays that stand directly in one another. This only saves time.
    #[inline(never)]
    fn open_arrays(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        let most = usize::from(MAX_DEPTH - self.depth);
        let run = input.iter().take(most).take_while(|byte| **byte == b'[').count();
        // The last one may be empty, or one too many.
        let outer = self.writer.begin_arrays(run.saturating_sub(1))?;
        self.depth += outer as u8;
        self.objects <<= outer;
        advance(input, outer);
        self.state = State::FirstElement;
        if outer > 0 && input.get(1) == Some(&b']') { Ok(()) } else { self.open(input, false) }
    }

    /// Arrays that end directly behind one another, but for the last levels. This only saves time.
    #[inline(never)]
    fn close_arrays(&mut self, input: &mut &[u8]) {
        let arrays = self.objects.trailing_zeros().min(u32::from(self.depth.saturating_sub(2)));
        let run = input.iter().take(arrays as usize).take_while(|byte| **byte == b']').count();
        let closed = self.writer.end_arrays(run);
        self.depth -= closed as u8;
        self.objects >>= closed;
        advance(input, closed);
    }

    /// Ends an object or array, and those around it that end right behind it.
    #[inline]
    fn close(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        loop {
            self.writer.end();
            self.depth -= 1;
            self.objects >>= 1;
            if self.wrapped && self.depth == 1 {
                self.writer.entry()?;
                self.writer.end();
                (self.wrapped, self.depth, self.objects) = (false, 0, 0);
            }
            if self.depth == 0 {
                self.writer.end_record();
                self.left = Some(input.len() - 1);
                return self.go(input, State::AfterRecord);
            }
            self.go(input, State::AfterValue)?;
            if input.first() != Some(&self.closing()) {
                return Ok(());
            }
            if self.closing() == b']' {
                self.close_arrays(input);
                if input.first() != Some(&self.closing()) {
                    return Ok(());
                }
            }
            self.writer.entry()?;
        }
    }

    /// What ends the innermost level.
    fn closing(&self) -> u8 {
        if self.in_object() { b'}' } else { b']' }
    }

    fn in_object(&self) -> bool {
        self.objects & 1 == 1
    }

    /// Entries are counted here, when their value is complete, and not where they start: then whatever finds
    /// no room can simply be tried again.
    #[inline]
    fn after_value(&mut self, input: &mut &[u8], byte: u8) -> Result<(), Stop> {
        let object = self.in_object();
        match byte {
            b',' => {
                self.writer.entry()?;
                self.go(input, if object { State::Key } else { State::Value })
            }
            b'}' if object => {
                self.writer.entry()?;
                self.close(input)
            }
            b']' if !object => {
                self.writer.entry()?;
                self.close(input)
            }
            _ if object => Err(Reason::AfterMember.into()),
            _ => Err(Reason::AfterElement.into()),
        }
    }

    #[inline]
    fn value(&mut self, input: &mut &[u8], byte: u8) -> Result<(), Stop> {
        match byte {
            b'"' => self.string(input, State::AfterValue, State::InText),
            b'-' | b'0'..=b'9' => self.number(input),
            b'{' if input.get(1) == Some(&b'}') && self.depth < MAX_DEPTH => self.scalar(input, &[0x80], 2),
            b'{' => self.open(input, true),
            b'[' if input.get(1) == Some(&b']') && self.depth < MAX_DEPTH => self.scalar(input, &[0x90], 2),
            b'[' => self.open_arrays(input),
            b't' | b'f' | b'n' => self.word(input),
            _ => Err(Reason::ExpectedValue.into()),
        }
    }

    #[inline]
    fn number(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        if let Some(((bytes, size), len)) = number::short(input) {
            return self.scalar(input, &bytes[..size], len);
        }
        self.long_number(input)
    }

    fn long_number(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        let found = number::scan(&input[..input.len().min(number::MAX + 1)])?;
        if found.len > number::MAX {
            return Err(Reason::NumberTooLong.into());
        }
        if found.len == input.len() {
            return self.hold(input, State::InNumber);
        }
        let (bytes, size) = number::pack(&input[..found.len], found.integer)?;
        self.scalar(input, &bytes[..size], found.len)
    }

    fn rest_of_number(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        let len = input.iter().position(|byte| !number::in_numbers(*byte)).unwrap_or(input.len());
        // One byte more than may be, to refuse the number for the same reason wherever it was cut.
        let len = len.min(number::MAX + 1 - self.held.len());
        self.held.extend_from_slice(&input[..len]);
        advance(input, len);
        if self.held.len() > number::MAX {
            number::scan(&self.held)?;
            return Err(Reason::NumberTooLong.into());
        }
        if input.is_empty() {
            return Ok(());
        }
        let Scanned { whole: true, integer, .. } = number::scan(&self.held)? else {
            return Err(Reason::Number.into());
        };
        let (bytes, size) = number::pack(&self.held, integer)?;
        self.scalar(input, &bytes[..size], 0)?;
        self.release_held();
        Ok(())
    }

    fn word(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        let Some((word, code)) = word(input) else { return Err(Reason::Literal.into()) };
        if input.len() < word.len() {
            return self.hold(input, State::InWord);
        }
        self.scalar(input, &[code], word.len())
    }

    fn rest_of_word(&mut self, input: &mut &[u8]) -> Result<(), Stop> {
        loop {
            let Some((word, code)) = word(&self.held) else { return Err(Reason::Literal.into()) };
            if self.held.len() == word.len() {
                self.scalar(input, &[code], 0)?;
                self.release_held();
                return Ok(());
            }
            let Some(byte) = input.first() else { return Ok(()) };
            // As in [`Transcoder::held_unit`].
            self.writer.reserve(1)?;
            self.held.push(*byte);
            advance(input, 1);
        }
    }

    /// Writes a value that `len` bytes of input stand for.
    #[inline]
    fn scalar(&mut self, input: &mut &[u8], bytes: &[u8], len: usize) -> Result<(), Stop> {
        self.writer.raw(bytes)?;
        advance(input, len);
        self.state = State::AfterValue;
        Ok(())
    }

    /// Keeps the start of a token that the slice ends in.
    fn hold(&mut self, input: &mut &[u8], state: State) -> Result<(), Stop> {
        self.held.extend_from_slice(input);
        *input = &[];
        self.state = state;
        Ok(())
    }
}

/// Reads the one object that a line begins with and writes it into `sink` as a record. Answers what stands
/// behind it, or `None` when the line is no object.
///
/// A line was written by a program that may not know JSON well, so more is taken than in a body: control
/// characters within strings as they are, and U+FFFD for an escaped surrogate without its partner.
///
/// # Errors
/// [`Full`] when the sink has no room.
pub(crate) fn line(mut text: &[u8], sink: impl Sink) -> Result<Option<&[u8]>, Full> {
    let mut transcoder = Transcoder::into_sink(sink, EventTime::default());
    (transcoder.lenient, transcoder.state) = (true, State::Open);
    text = scan::skip_blank(text);
    if text.first() != Some(&b'{') {
        return Ok(None);
    }
    while !text.is_empty() {
        match transcoder.step(&mut text) {
            Ok(()) if transcoder.state == State::AfterRecord => return Ok(Some(text)),
            Ok(()) => {}
            Err(Stop::Bad(_)) => return Ok(None),
            Err(Stop::Full) => return Err(Full),
        }
    }
    Ok(None)
}

#[inline(always)]
fn advance(input: &mut &[u8], len: usize) {
    *input = &input[len..];
}

/// The word that `bytes` start with, or are the start of, and its msgpack code.
fn word(bytes: &[u8]) -> Option<(&'static [u8], u8)> {
    let (word, code): (&[u8], u8) = match bytes.first() {
        Some(b't') => (b"true", 0xc3),
        Some(b'f') => (b"false", 0xc2),
        _ => (b"null", 0xc0),
    };
    let len = word.len().min(bytes.len());
    (bytes[..len] == word[..len]).then_some((word, code))
}
