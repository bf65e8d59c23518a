//! Messages that a container runtime has split into records and marked: `partial_message`, `partial_id` and
//! `partial_last`.

use std::time::{Duration, Instant};

use budget::{Account, Full};
use event::{Entry, Record};

use super::group::{Content, Group, Head, Joined};
use crate::parser::as_str;

/// What marks the entries that say how a message was split.
const PREFIX: &[u8] = b"partial_";

/// Messages that are put together at a time. The oldest goes out when one more begins.
const MESSAGES: usize = 256;

/// What became of a record.
#[derive(Debug)]
pub enum Partial {
    /// It is a whole one.
    No,
    /// It waits for the rest of its message.
    Waits,
    /// It was the last of this message.
    Complete(Joined),
}

/// Puts the messages of one stream together.
pub struct Partials {
    key: String,
    limit: usize,
    account: Account,
    messages: Vec<Message>,
}

struct Message {
    id: Box<[u8]>,
    group: Group,
    last: Instant,
}

impl Partials {
    /// No messages yet. What is split is the value of `key`; what waits is charged to `account`.
    pub fn new(key: &str, limit: usize, account: &Account) -> Partials {
        Partials { key: key.to_owned(), limit, account: account.clone(), messages: Vec::new() }
    }

    /// Whether something waits for more.
    pub fn is_waiting(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Takes a record. A message that could not be completed is appended to `out`.
    ///
    /// # Errors
    /// [`Full`] when there is no memory for it. It was not taken.
    pub fn record(
        &mut self,
        record: &Record<'_>,
        now: Instant,
        out: &mut Vec<Joined>,
    ) -> Result<Partial, Full> {
        let text = |key: &[u8]| record.get(key).and_then(|value| as_str(value.bytes()));
        let says_true = |key: &[u8]| {
            text(key).is_some_and(|text| text.get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"true")))
        };
        let (true, Some(id)) = (says_true(b"partial_message"), text(b"partial_id")) else {
            return Ok(Partial::No);
        };
        let Some(content) = text(self.key.as_bytes()) else { return Ok(Partial::No) };
        let at = self.message(id, now, out);
        let others = record.body().iter().filter(|entry| !self.is_special(entry));
        let others: Vec<_> = others.map(|entry| (entry.key.bytes(), entry.value.bytes())).collect();
        let head = Head {
            time: record.time(),
            metadata: Some(record.metadata().bytes()),
            key: Some(&self.key),
            entries: Some(&others),
        };
        let content = Content { text: content, pattern: content, with_breaks: false };
        let complete = says_true(b"partial_last");
        let mut done = Vec::new();
        self.messages[at].last = now;
        self.messages[at].group.until(complete, &head, &content, self.limit, &mut done)?;
        if complete {
            self.messages.remove(at);
        }
        let last = complete.then(|| done.pop()).flatten();
        out.append(&mut done);
        Ok(last.map_or(Partial::Waits, Partial::Complete))
    }

    /// The content and what says how it was split.
    fn is_special(&self, entry: &Entry<'_>) -> bool {
        entry.key.as_str().is_some_and(|key| key == self.key.as_bytes() || key.starts_with(PREFIX))
    }

    fn message(&mut self, id: &[u8], now: Instant, out: &mut Vec<Joined>) -> usize {
        if let Some(at) = self.messages.iter().position(|message| *message.id == *id) {
            return at;
        }
        if self.messages.len() == MESSAGES {
            out.extend(self.messages.remove(0).group.finish());
        }
        let group = Group::new(0, &[], &self.account);
        self.messages.push(Message { id: id.into(), group, last: now });
        self.messages.len() - 1
    }

    /// Messages to which nothing came for so long, as far as they came.
    pub fn flush(&mut self, older: Duration, now: Instant, out: &mut Vec<Joined>) {
        let old = |message: &mut Message| now.saturating_duration_since(message.last) >= older;
        out.extend(self.messages.extract_if(.., old).filter_map(|mut message| message.group.finish()));
    }
}
