//! One connection of the load in HTTP/1.1, as far as it can go without waiting.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use super::plan::Plan;
use super::poll::{self, Poll};
use super::tls::Stream;
use crate::message::{Message, Reader, Side};

/// Requests that are sent with one system call.
const TOGETHER: usize = 32;
/// How often a slow connection sends.
pub const PACE: Duration = Duration::from_millis(50);

/// A connection and the requests on it.
pub struct Connection {
    stream: Stream,
    reader: Reader,
    /// Requests without an answer, the oldest first.
    requests: VecDeque<Request>,
    /// How many of them are wholly sent, and how many bytes of the next are.
    whole: usize,
    sent: usize,
    /// Bytes in a second, at most.
    rate: Option<u64>,
}

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub begun: Instant,
    /// Which body it carries.
    pub body: usize,
    /// Which of the plan's requests it is.
    pub bytes: usize,
}

/// How far a step came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// It waits for the network.
    Blocked,
    /// It waits for the time to send more.
    Paced,
    /// No more can be sent or received, and why.
    Ended(String),
}

/// An error in words that are the same for all connections it happens to.
pub fn reason(error: &io::Error) -> String {
    error.get_ref().map_or_else(|| error.kind().to_string(), ToString::to_string)
}

/// An answer.
pub struct Answer {
    pub message: Message,
    pub request: Request,
}

impl Connection {
    /// Begins to connect.
    pub fn open(plan: &Plan, poll: &Poll, token: usize) -> io::Result<Connection> {
        let socket = poll::connect(plan.target.address)?;
        poll.add(&socket, token)?;
        let stream = match &plan.tls {
            Some(config) => Stream::tls(socket, config, plan.target.name())?,
            None => Stream::Plain(socket),
        };
        let reader = Reader::new(Side::Answers);
        Ok(Connection { stream, reader, requests: VecDeque::new(), whole: 0, sent: 0, rate: plan.rate })
    }

    /// Adds a request; [`Connection::send`] sends it.
    pub fn begin(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    /// Since when the oldest answer is waited for.
    pub fn waits_since(&self) -> Option<Instant> {
        self.requests.front().map(|request| request.begun)
    }

    /// Requests without an answer.
    pub fn waiting(&self) -> usize {
        self.requests.len()
    }

    /// Sends and receives as much as goes without waiting. `bytes` has the plan's requests.
    pub fn step(&mut self, bytes: &[Vec<u8>], buffer: &mut [u8], answers: &mut Vec<Answer>) -> Step {
        let sent = self.send(bytes);
        // An answer may have come before the end of the request, and the connection been closed.
        match (self.receive(buffer, answers), sent) {
            (Step::Ended(reason), _) => Step::Ended(reason),
            (_, sent) => sent,
        }
    }

    /// Sends as much as goes without waiting.
    pub fn send(&mut self, bytes: &[Vec<u8>]) -> Step {
        loop {
            let mut slices = [IoSlice::new(&[]); TOGETHER];
            let mut count = 0;
            for request in self.requests.iter().skip(self.whole).take(TOGETHER) {
                let from = if count == 0 { self.sent } else { 0 };
                let unsent = &bytes[request.bytes][from..];
                slices[count] = IoSlice::new(self.allowed(request, from, unsent));
                count += 1;
                if self.rate.is_some() {
                    break;
                }
            }
            if count == 0 {
                return Step::Blocked;
            }
            if slices[0].is_empty() {
                return Step::Paced;
            }
            match self.stream.write_vectored(&slices[..count]) {
                Ok(0) => return Step::Blocked,
                Ok(sent) => self.has_sent(sent, bytes),
                // Not connected yet reads as would block.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Blocked,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Step::Ended(reason(&error)),
            }
        }
    }

    /// What a slow connection may send now of what it has not sent.
    fn allowed<'b>(&self, request: &Request, sent: usize, unsent: &'b [u8]) -> &'b [u8] {
        let Some(rate) = self.rate else { return unsent };
        let time = request.begun.elapsed() + PACE;
        let allowed = (time.as_secs_f64() * rate as f64) as usize;
        &unsent[..unsent.len().min(allowed.saturating_sub(sent))]
    }

    fn has_sent(&mut self, mut sent: usize, bytes: &[Vec<u8>]) {
        while let Some(request) = self.requests.get(self.whole) {
            let left = bytes[request.bytes].len() - self.sent;
            if sent < left {
                self.sent += sent;
                return;
            }
            sent -= left;
            self.sent = 0;
            self.whole += 1;
        }
    }

    fn receive(&mut self, buffer: &mut [u8], answers: &mut Vec<Answer>) -> Step {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return self.ended(answers),
                Ok(count) => {
                    let mut bytes = &buffer[..count];
                    loop {
                        match self.reader.take(&mut bytes) {
                            Ok(Some(message)) => {
                                if self.answered(message, answers) {
                                    return Step::Ended(ErrorKind::ConnectionAborted.to_string());
                                }
                            }
                            Ok(None) => break,
                            Err(what) => return Step::Ended(what.to_owned()),
                        }
                    }
                    // The next bytes are reported by the poll; one call less for each answer.
                    if self.stream.is_plain() && count < buffer.len() && !self.reader.is_inside() {
                        return Step::Blocked;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Blocked,
                Err(error) => return Step::Ended(reason(&error)),
            }
        }
    }

    /// Whether it was the last of this connection.
    fn answered(&mut self, message: Message, answers: &mut Vec<Answer>) -> bool {
        // An answer to nothing: such as 408 on a connection that rested too long.
        let Some(request) = self.requests.pop_front() else { return true };
        let early = self.whole == 0;
        self.whole = self.whole.saturating_sub(1);
        answers.push(Answer { message, request });
        early || message.close
    }

    fn ended(&mut self, answers: &mut Vec<Answer>) -> Step {
        if let Some(message) = self.reader.closed() {
            self.answered(message, answers);
        }
        Step::Ended(ErrorKind::UnexpectedEof.to_string())
    }
}
