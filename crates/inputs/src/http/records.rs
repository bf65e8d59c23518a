//! The body of a request on its way to records.

use budget::{Account, Lease, Ticket};
use engine::Emitter;
use engine::emit::{PATIENCE, Refused};
use event::{EventTime, Events, Tag};
use formats::form;
use formats::inflate::{self, Decoder, Encoding};
use formats::json::{self, Step};
use net::server::{Answer, Body};
use tokio::time::{Instant, timeout_at};

use super::marking::Marks;

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Form,
}

impl Format {
    /// The format that a `Content-Type` names.
    pub(super) fn named(kind: &str) -> Option<Format> {
        let kind = kind.split(';').next().unwrap_or("").trim();
        let known = [
            ("application/json", Format::Json),
            ("application/x-ndjson", Format::Json),
            ("application/jsonl", Format::Json),
            ("application/x-www-form-urlencoded", Format::Form),
        ];
        known.iter().find(|(known, _)| known.eq_ignore_ascii_case(kind)).map(|(_, format)| *format)
    }
}

/// What is to become of the records of a request.
pub(super) struct Plan {
    pub(super) tag: Tag,
    pub(super) marks: Option<Marks>,
    pub(super) format: Format,
    pub(super) encoding: Option<Encoding>,
    /// The most bytes of the body when it is decompressed.
    pub(super) limit: usize,
    /// The answer when everything was taken.
    pub(super) success: Answer,
    /// What pays for the records of a small request while others wait for room.
    pub(super) small: Option<Account>,
}

/// A body being received.
pub(super) struct Records {
    plan: Plan,
    out: Emitter,
    /// All room is taken with it: of the requests that wait for room the oldest always completes.
    _ticket: Ticket,
    /// What pays for them.
    account: Account,
    decoder: Option<Decoder>,
    reader: Reader,
    /// Bytes of text read.
    read: usize,
    /// Until when room is waited for; set by the first wait.
    deadline: Option<Instant>,
}

/// Writes the records of a body.
#[expect(clippy::large_enum_variant, reason = "JSON is what nearly every request has: a box costs it more")]
enum Reader {
    Json(json::Transcoder),
    // Boxed: JSON is what nearly every request has, and should not carry the larger one's size.
    Form(Box<form::Transcoder>),
}

impl Reader {
    fn feed(&mut self, text: &mut &[u8]) -> Result<Step, Answer> {
        match self {
            Reader::Json(json) => json.feed(text).map_err(malformed),
            Reader::Form(form) => form.feed(text).map_err(malformed),
        }
    }

    /// What is left to do when all text was read.
    fn end(&mut self) -> Result<Step, Answer> {
        match self {
            Reader::Json(_) => Ok(Step::NeedInput),
            Reader::Form(form) => form.end().map_err(malformed),
        }
    }

    fn charged(&self) -> usize {
        match self {
            Reader::Json(json) => json.charged(),
            Reader::Form(form) => form.charged(),
        }
    }

    fn prepay(&mut self, page: Lease) {
        match self {
            Reader::Json(json) => json.prepay(page),
            Reader::Form(form) => form.prepay(page),
        }
    }

    fn finish(self) -> Result<Events, Answer> {
        match self {
            Reader::Json(json) => json.finish().map_err(malformed),
            Reader::Form(form) => form.finish().map_err(malformed),
        }
    }
}

impl Records {
    /// Records of one request, all with the time of now.
    pub(super) fn new(out: Emitter, plan: Plan) -> Records {
        let (ticket, now) = (out.account().ticket(), EventTime::now());
        let small = plan.small.as_ref();
        let paid = small.and_then(|small| Some((small.clone(), small.try_lease(small.page_size()).ok()?)));
        let (account, page) =
            paid.map_or_else(|| (ticket.account().clone(), None), |(small, page)| (small, Some(page)));
        let mut reader = match plan.format {
            Format::Json => Reader::Json(json::Transcoder::new(&account, now)),
            Format::Form => Reader::Form(Box::new(form::Transcoder::new(&account, now))),
        };
        if let Some(page) = page {
            reader.prepay(page);
        }
        let decoder = plan.encoding.map(Decoder::new);
        Records { plan, out, _ticket: ticket, account, decoder, reader, read: 0, deadline: None }
    }

    /// Until when this request waits for room.
    fn deadline(&mut self) -> Instant {
        *self.deadline.get_or_insert_with(|| Instant::now() + PATIENCE)
    }

    /// Reads text, to its end.
    async fn text(&mut self, mut text: &[u8]) -> Result<(), Answer> {
        self.read += text.len();
        while self.reader.feed(&mut text)? == Step::Full {
            self.page().await?;
        }
        Ok(())
    }

    async fn page(&mut self) -> Result<(), Answer> {
        let most = self.account.most();
        if self.reader.charged() + self.account.page_size() > most {
            return Err(never_fits(most));
        }
        let deadline = self.deadline();
        let page = engine::emit::page(&self.account, deadline).await.map_err(refused)?;
        self.reader.prepay(page);
        Ok(())
    }

    /// Decompresses and reads.
    async fn inflate(&mut self, decoder: &mut Decoder, mut piece: &[u8]) -> Result<(), Answer> {
        loop {
            match decoder.feed(&mut piece).map_err(malformed)? {
                inflate::Step::NeedInput => return Ok(()),
                inflate::Step::Output => {
                    let text = decoder.output();
                    if self.read + text.len() > self.plan.limit {
                        return Err(self.too_large());
                    }
                    self.text(text).await?;
                }
                inflate::Step::Lease(bytes) => {
                    // A block of snappy says how long its text is before there is any.
                    if self.plan.encoding == Some(Encoding::Snappy) && bytes > self.plan.limit.max(1 << 16) {
                        return Err(self.too_large());
                    }
                    let deadline = self.deadline();
                    let lease = timeout_at(deadline, self.account.lease(bytes)).await;
                    decoder
                        .prepay(lease.map_err(|_| refused(Refused::NoRoom))?.map_err(|_| too_much(bytes))?);
                }
            }
        }
    }

    fn too_large(&self) -> Answer {
        let limit = self.plan.limit;
        Answer::text(
            413,
            format!("error: the decompressed body is larger than buffer_max_size ({limit} bytes)"),
        )
    }

    async fn take(mut self) -> Result<Answer, Answer> {
        if let Some(decoder) = self.decoder.take() {
            decoder.finish().map_err(malformed)?;
        }
        if self.read == 0 {
            return Err(Answer::text(400, "error: no payload found"));
        }
        while self.reader.end()? == Step::Full {
            self.page().await?;
        }
        // The ticket is good until the records are in.
        let Records { plan, out, reader, _ticket, .. } = self;
        let events = reader.finish()?;
        match plan.marks {
            None => out.append(&plan.tag, events).await.map_err(refused)?,
            Some(marks) => {
                let parts = marks.apply(&out, plan.tag, events).await.map_err(refused)?;
                out.append_all(parts).await.map_err(refused)?;
            }
        }
        Ok(plan.success)
    }
}

fn malformed(error: impl std::fmt::Display) -> Answer {
    Answer::text(400, format!("error: {error}"))
}

pub(super) fn refused(why: Refused) -> Answer {
    let text = format!("error: {why}");
    match why {
        Refused::NoRoom | Refused::Stopping | Refused::NotStored(_) => {
            Answer::text(503, text).header("Retry-After", "1")
        }
        Refused::NoRoute => Answer::text(503, text),
        Refused::Dropped(_) => Answer::text(502, text),
        Refused::Late(_) => Answer::text(504, text),
    }
}

/// The records would not fit an agent that holds nothing else: sending them again does not help.
fn never_fits(most: usize) -> Answer {
    let text =
        format!("error: the records of this body take more than memory_limit leaves for them ({most} bytes)");
    Answer::text(413, text)
}

/// More than the budget could ever have.
fn too_much(bytes: usize) -> Answer {
    Answer::text(
        413,
        format!("error: decompressing this body takes {bytes} bytes, more than the memory limit allows"),
    )
}

impl Body for Records {
    async fn data(&mut self, piece: &[u8]) -> Result<(), Answer> {
        match self.decoder.take() {
            None => self.text(piece).await,
            Some(mut decoder) => {
                self.inflate(&mut decoder, piece).await?;
                self.decoder = Some(decoder);
                Ok(())
            }
        }
    }

    async fn end(self) -> Answer {
        self.take().await.unwrap_or_else(|refusal| refusal)
    }
}
