//! `multiline on`: a record begins with a line that `parser_firstline` takes.
//!
//! What one of `parser_1`, `parser_2` and so on takes of the following lines is added to the record. Any other
//! line is appended to the text that stands last. A line that comes before a first one is a record of its own.

use std::sync::Arc;

use budget::{Account, Full};
use event::{Cursor, EventTime, Token};
use formats::multiline::{Joined, LIMIT};
use formats::parser::{Fields, Leased, Parser, Unparsed};

use super::join::{Done, whole};

/// The parsers of an instance.
pub(super) struct Parsers {
    pub(super) first: Arc<Parser>,
    pub(super) more: Vec<Arc<Parser>>,
    pub(super) path_key: Option<String>,
}

/// Joins the lines of one file.
pub(super) struct FirstLine {
    parsers: Arc<Parsers>,
    path: String,
    account: Account,
    pending: Option<Pending>,
}

/// A record on its way.
struct Pending {
    time: EventTime,
    /// The entries, up to the text that lines are appended to.
    fields: Fields,
    /// The key of that text as msgpack, and the text; without it lines cannot be appended.
    last: Option<(Vec<u8>, Leased)>,
    truncated: bool,
}

impl FirstLine {
    pub(super) fn new(parsers: &Arc<Parsers>, path: &str, account: &Account) -> FirstLine {
        FirstLine {
            parsers: Arc::clone(parsers),
            path: path.to_owned(),
            account: account.clone(),
            pending: None,
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    pub(super) fn flush(&mut self, out: &mut Vec<Done>) {
        out.extend(self.pending.take().map(|pending| Done::Record(pending.finish())));
    }

    pub(super) fn line(&mut self, now: EventTime, line: &[u8], out: &mut Vec<Done>) -> Result<(), Full> {
        let mut fields = Fields::new(&self.account);
        if let Some(time) = take(&self.parsers.first, line, now, &mut fields)? {
            let mut pending =
                Pending { time, fields: Fields::new(&self.account), last: None, truncated: false };
            if let Some(key) = &self.parsers.path_key {
                pending.fields.text(key.as_bytes(), self.path.as_bytes())?;
            }
            pending.add(&fields, &self.account)?;
            self.flush(out);
            self.pending = Some(pending);
            return Ok(());
        }
        let Some(pending) = &mut self.pending else {
            return whole(line, &self.account, out);
        };
        for parser in &self.parsers.more {
            if take(parser, line, now, &mut fields)?.is_some() {
                return pending.add(&fields, &self.account);
            }
        }
        match &mut pending.last {
            Some((_, text)) if text.len() + line.len() < LIMIT => {
                text.ensure(line.len() + 1)?;
                text.extend(b"\n")?;
                text.extend(line)
            }
            Some(_) => {
                pending.truncated = true;
                Ok(())
            }
            None => {
                self.flush(out);
                whole(line, &self.account, out)
            }
        }
    }
}

/// What the parser makes of the line, with its time; `None` when it does not take it.
fn take(
    parser: &Parser,
    line: &[u8],
    now: EventTime,
    fields: &mut Fields,
) -> Result<Option<EventTime>, Full> {
    match parser.parse(line, now, fields) {
        Ok(time) => Ok(Some(time.or(now))),
        Err(Unparsed::NoMatch) => Ok(None),
        Err(Unparsed::Full) => Err(Full),
    }
}

impl Pending {
    /// Adds entries; the last of them, if it is text, is what lines are appended to.
    fn add(&mut self, fields: &Fields, account: &Account) -> Result<(), Full> {
        let mut next = Fields::new(account);
        for (key, value) in self.fields.iter() {
            next.entry(key, value)?;
        }
        if let Some((key, text)) = &self.last {
            let mut entry = Fields::new(account);
            entry.text(b"", text.bytes())?;
            let value = entry.iter().next().map(|(_, value)| value).unwrap_or_default();
            next.entry(key, value)?;
        }
        let mut last = None;
        for (number, (key, value)) in fields.iter().enumerate() {
            match text_of(value).filter(|_| number + 1 == fields.len()) {
                Some(bytes) => {
                    let mut text = Leased::new(account);
                    text.extend(bytes)?;
                    last = Some((key.to_vec(), text));
                }
                None => next.entry(key, value)?,
            }
        }
        (self.fields, self.last) = (next, last);
        Ok(())
    }

    fn finish(mut self) -> Joined {
        if let Some((key, text)) = self.last.take() {
            let mut name = Cursor::of(&key);
            let name = match name.token() {
                Ok(Token::Str(size)) => name.here().get(..size).unwrap_or_default(),
                _ => &[],
            };
            // With no memory for a copy of the text the record goes out without it, and says so.
            self.truncated |= self.fields.text(name, text.bytes()).is_err();
        }
        Joined { time: self.time, metadata: vec![0x80], fields: self.fields, truncated: self.truncated }
    }
}

fn text_of(value: &[u8]) -> Option<&[u8]> {
    let mut cursor = Cursor::of(value);
    match cursor.token() {
        Ok(Token::Str(size)) => cursor.here().get(..size),
        _ => None,
    }
}
