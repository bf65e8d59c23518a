//! What comes in as DATA, and what goes out.

use super::super::http1::{ANSWER_TIME, LINGER, PASSED_OVER};
use super::super::watch::{Expired, Tick};
use super::super::{Answer, Body, SMALL_BODY, Service};
use super::frame::{self, FRAME_BYTES, Frame, HEADER, Reason};
use super::{Over, PROTOCOL, Reading, Session, State};

/// Bodies.
impl<S: Service> Session<'_, S> {
    /// Reads what stands before the bytes of a DATA frame.
    pub(super) fn begin_data(&mut self, frame: Frame) -> Result<bool, Over> {
        let padded = usize::from(frame.has(frame::PADDED));
        let Some(payload) = self.io.input.front().get(HEADER..HEADER + padded) else { return Ok(false) };
        let padding = payload.first().map_or(0, |length| usize::from(*length));
        let Some(left) = frame.length.checked_sub(padded + padding) else { return Err(PROTOCOL) };
        if frame.stream == 0 || frame.stream > self.last {
            return Err(PROTOCOL);
        }
        if !self.window.receive(frame.length) {
            return Err(Over::Say(Reason::FlowControl));
        }
        self.io.consume(HEADER + padded);
        // All of the frame is told of here: what is in it is taken before the next one is read.
        self.window.release(0, frame.length, &mut self.out);
        let (stream, last) = (frame.stream, frame.has(frame::END_STREAM));
        self.reading = Reading::Data { stream, left, padding, last };
        if let Some(at) = self.find(stream) {
            let request = &mut self.requests[at];
            if request.ended {
                self.reset(stream, Reason::StreamClosed);
            } else if !request.window.receive(frame.length) {
                self.reset(stream, Reason::FlowControl);
            } else if !last {
                request.window.release(stream, frame.length, &mut self.out);
            }
        }
        Ok(true)
    }

    /// Reads bytes of a DATA frame.
    pub(super) async fn data(
        &mut self,
        stream: u32,
        left: usize,
        padding: usize,
        last: bool,
    ) -> Result<bool, Over> {
        let here = left.min(self.io.input.front().len());
        if here == 0 && left > 0 {
            return Ok(false);
        }
        let at = self.find(stream);
        if let Some(at) = at {
            self.take(at, here).await?;
        }
        self.io.consume(here);
        if here < left {
            self.reading = Reading::Data { stream, left: left - here, padding, last };
            return Ok(true);
        }
        self.reading = if padding > 0 { Reading::Skip(padding) } else { Reading::Frame };
        if last && let Some(at) = self.find(stream) {
            self.end(at);
        }
        Ok(true)
    }

    /// Gives the first `size` bytes that were received to a request.
    async fn take(&mut self, at: usize, size: usize) -> Result<(), Over> {
        let (io, settings) = (&self.io, &self.server.settings);
        let piece = &io.input.front()[..size];
        let request = &mut self.requests[at];
        request.received += size as u64;
        request.silence = io.watch.after(settings.idle);
        let refusal = match &mut request.state {
            State::Body { limit, .. } if request.received > *limit as u64 => Some(Answer::too_large(*limit)),
            State::Body { body, pace, .. } => {
                let before = io.watch.now();
                let taking = self.answering.beside(body.data(piece));
                let taken = io.watch.unless(Tick::NEVER, || io.stream.is_closed(), taking).await;
                let taken = taken.map_err(|Expired| Over::Gone)?;
                // What this end takes to find room is not the client's.
                pace.delay(before, io.watch.now());
                taken.err()
            }
            State::Refused { seen, .. } => {
                *seen += size;
                None
            }
            State::Ending | State::Sending { .. } => None,
        };
        if let Some(answer) = refusal {
            request.state = State::Refused { answer, seen: size };
        }
        if let State::Refused { answer, seen } = &request.state
            && *seen > PASSED_OVER
        {
            let answer = answer.clone();
            self.answer(at, answer);
        }
        Ok(())
    }

    /// Everything of a request has come.
    pub(super) fn end(&mut self, at: usize) {
        let request = &mut self.requests[at];
        request.ended = true;
        self.io.small = request.received <= SMALL_BODY as u64;
        if request.length.is_some_and(|length| length != request.received) {
            return self.reset(self.requests[at].id, Reason::Protocol);
        }
        match std::mem::replace(&mut request.state, State::Ending) {
            State::Body { body, .. } => self.answering.pending.push((request.id, Box::pin(body.end()))),
            State::Refused { answer, .. } => self.answer(at, answer),
            State::Sending { text, sent } if sent == text.len() => self.remove(at),
            state => request.state = state,
        }
    }
}

/// Answers.
impl<S: Service> Session<'_, S> {
    /// Answers the requests that the service has ended.
    pub(super) fn answer_done(&mut self) {
        while let Some((id, answer)) = self.answering.done.pop() {
            if let Some(at) = self.find(id) {
                self.answer(at, answer);
            }
        }
    }

    pub(super) fn answer(&mut self, at: usize, answer: Answer) {
        let request = &mut self.requests[at];
        let empty = answer.body.is_empty() || request.head_only || answer.status == 204;
        frame::head(request.id, &answer, empty, &mut self.out);
        let text = if empty { Vec::new() } else { answer.body.into_bytes() };
        request.state = State::Sending { text, sent: 0 };
        request.deadline = self.io.watch.after(if empty { LINGER } else { ANSWER_TIME });
        self.send_body(at);
    }

    /// Writes as much of the answers' bodies as the client takes.
    pub(super) fn send_bodies(&mut self) {
        // From the end: one that is done is replaced by the last.
        for at in (0..self.requests.len()).rev() {
            self.send_body(at);
        }
    }

    fn send_body(&mut self, at: usize) {
        let request = &mut self.requests[at];
        let State::Sending { text, sent } = &mut request.state else { return };
        while *sent < text.len() {
            let credit = request.credit.min(self.peer.window).clamp(0, FRAME_BYTES as i64) as usize;
            let end = text.len().min(*sent + credit);
            if end == *sent {
                return;
            }
            request.credit -= (end - *sent) as i64;
            self.peer.window -= (end - *sent) as i64;
            frame::data(request.id, &text[*sent..end], end == text.len(), &mut self.out);
            *sent = end;
            if end == text.len() {
                request.deadline = self.io.watch.after(LINGER);
            }
        }
        if request.ended {
            self.remove(at);
        }
    }
}
