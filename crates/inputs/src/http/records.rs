//! The body of a request on its way to records.

use engine::Emitter;
use engine::emit::{PATIENCE, Refused};
use event::{EventTime, Tag};
use formats::json::{Step, Transcoder};
use net::server::{Answer, Body};
use tokio::time::Instant;

use super::marking::Marks;

/// A body being received.
pub(super) struct Records {
    transcoder: Transcoder,
    out: Emitter,
    tag: Tag,
    marks: Option<Marks>,
    /// The answer when everything was taken.
    success: Answer,
    empty: bool,
    /// Until when room is waited for; set by the first wait.
    deadline: Option<Instant>,
}

impl Records {
    /// Records of one request, all with the time of now.
    pub(super) fn new(out: Emitter, tag: Tag, marks: Option<Marks>, success: Answer) -> Records {
        let transcoder = Transcoder::new(out.account(), EventTime::now());
        Records { transcoder, out, tag, marks, success, empty: true, deadline: None }
    }

    async fn take(self) -> Result<Answer, Answer> {
        if self.empty {
            return Err(Answer::text(400, "error: no payload found"));
        }
        let events = self.transcoder.finish().map_err(malformed)?;
        match self.marks {
            None => self.out.append(&self.tag, events).await.map_err(no_room)?,
            Some(marks) => {
                let parts = marks.apply(&self.out, self.tag, events).await.map_err(no_room)?;
                self.out.append_all(parts).await.map_err(no_room)?;
            }
        }
        Ok(self.success)
    }
}

fn malformed(error: impl std::fmt::Display) -> Answer {
    Answer::text(400, format!("error: {error}"))
}

fn no_room(_: Refused) -> Answer {
    Answer::text(503, "error: no memory left for these records; send them again").header("Retry-After", "1")
}

impl Body for Records {
    async fn data(&mut self, mut piece: &[u8]) -> Result<(), Answer> {
        self.empty &= piece.is_empty();
        loop {
            match self.transcoder.feed(&mut piece).map_err(malformed)? {
                Step::NeedInput => return Ok(()),
                Step::Full => {
                    let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                    let page = self.out.page(deadline).await.map_err(no_room)?;
                    self.transcoder.prepay(page);
                }
            }
        }
    }

    async fn end(self) -> Answer {
        self.take().await.unwrap_or_else(|refusal| refusal)
    }
}
