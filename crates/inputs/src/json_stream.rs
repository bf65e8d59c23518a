//! JSON values that arrive one after the other without an end, as over TCP or standard input.

use engine::Emitter;
use event::{EventTime, Events};
use formats::json::{Error, Step, Transcoder};

use crate::records::room;

/// Reads values as they arrive. Between two of them it holds nothing.
pub(crate) struct JsonStream {
    transcoder: Option<Box<Transcoder>>,
    /// The key that an array becomes the value of.
    key: &'static str,
    /// The most bytes of a value that is not complete.
    limit: usize,
    /// After something that is no JSON: the rest of the line is passed over.
    skipping: bool,
}

/// What came of a piece of text.
pub(crate) enum Read {
    /// Records that are complete.
    Records(Events),
    /// All of it was read.
    All,
    /// Something that is no JSON object or array; what follows the line end goes on.
    Bad(Error),
    /// A value that is too long.
    TooLong,
}

impl JsonStream {
    /// Nothing has arrived.
    pub(crate) fn new(key: &'static str, limit: usize) -> JsonStream {
        JsonStream { transcoder: None, key, limit, skipping: false }
    }

    /// Whether the start of a value is held.
    pub(crate) fn holds(&self) -> bool {
        self.transcoder.is_some()
    }

    /// Passes over the rest of the line, after a value that is too long.
    pub(crate) fn skip_line(&mut self) {
        self.skipping = true;
    }

    /// Reads on. `text` shrinks by what was consumed; to be called until it says that all was read.
    pub(crate) async fn read(&mut self, text: &mut &[u8], out: &Emitter) -> Read {
        if self.skipping {
            let Some(end) = memchr::memchr(b'\n', text) else {
                *text = &[];
                return Read::All;
            };
            *text = &text[end + 1..];
            self.skipping = false;
        }
        let key = self.key;
        let fresh = || Box::new(Transcoder::stream(out.account(), EventTime::now(), key));
        let mut transcoder = self.transcoder.take().unwrap_or_else(fresh);
        let (start, slice) = (transcoder.offset(), *text);
        let fed = loop {
            match transcoder.feed(text) {
                Ok(Step::Full) => transcoder.prepay(room(out).await),
                Ok(Step::NeedInput) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if transcoder.records() > 0 {
            // What follows the last record is read again, by the next transcoder: it is in this slice, because
            // a transcoder that goes on from slice to slice has no record yet.
            *text = &slice[(transcoder.complete() - start) as usize..];
            return Read::Records(transcoder.take_complete());
        }
        if let Err(error) = fed {
            *text = &slice[error.offset.saturating_sub(start).min(slice.len() as u64) as usize..];
            self.skipping = true;
            return Read::Bad(error);
        }
        if transcoder.offset() > self.limit as u64 && !transcoder.is_between() {
            return Read::TooLong;
        }
        if !transcoder.is_between() {
            self.transcoder = Some(transcoder);
        }
        Read::All
    }
}
