//! One connection of the load, as far as it can go without waiting.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use super::poll::{self, Poll};
use crate::message::{Message, Reader, Side};

/// A connection and the request on it.
pub struct Connection {
    stream: TcpStream,
    reader: Reader,
    request: Option<Request>,
}

struct Request {
    begun: Instant,
    sent: usize,
}

/// What came of a step.
pub enum Step {
    /// It waits for the network.
    Blocked,
    /// The request was answered.
    Answered(Answer),
    /// The server closed a connection that had no request.
    Closed,
    /// The request failed.
    Failed(ErrorKind),
}

/// An answer.
pub struct Answer {
    pub message: Message,
    pub begun: Instant,
    /// The connection cannot take another request.
    pub last: bool,
}

impl Connection {
    /// Begins to connect.
    pub fn open(address: SocketAddr, poll: &Poll, token: usize) -> io::Result<Connection> {
        let stream = poll::connect(address)?;
        poll.add(&stream, token)?;
        Ok(Connection { stream, reader: Reader::new(Side::Answers), request: None })
    }

    /// Begins a request: sends as much of it as goes without waiting. Its answer is reported by the poll.
    pub fn begin(&mut self, now: Instant, bytes: &[u8]) -> Step {
        self.request = Some(Request { begun: now, sent: 0 });
        self.send(bytes).map_or_else(|error| Step::Failed(error.kind()), |()| Step::Blocked)
    }

    /// Since when an answer is waited for.
    pub fn waits_since(&self) -> Option<Instant> {
        self.request.as_ref().map(|request| request.begun)
    }

    /// The socket, to be kept open.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Sends and receives as much as goes without waiting.
    pub fn step(&mut self, bytes: &[u8], buffer: &mut [u8]) -> Step {
        match self.send(bytes) {
            Ok(()) => {}
            // An answer may have come before the end of the request, and the connection been closed.
            Err(error) => return self.receive(buffer, bytes.len()).unwrap_or(Step::Failed(error.kind())),
        }
        self.receive(buffer, bytes.len()).unwrap_or(Step::Blocked)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(request) = &mut self.request else { return Ok(()) };
        while request.sent < bytes.len() {
            match self.stream.write(&bytes[request.sent..]) {
                Ok(sent) => request.sent += sent,
                // Not connected yet reads as would block.
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// None: nothing came.
    fn receive(&mut self, buffer: &mut [u8], length: usize) -> Option<Step> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Some(self.ended()),
                Ok(count) => {
                    let mut bytes = &buffer[..count];
                    match self.reader.take(&mut bytes) {
                        Ok(Some(message)) => return Some(self.answered(message, length)),
                        Ok(None) => {}
                        Err(_) => return Some(Step::Failed(ErrorKind::InvalidData)),
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if self.request.is_some() => return Some(Step::Failed(error.kind())),
                Err(_) => return Some(Step::Closed),
            }
        }
    }

    fn answered(&mut self, message: Message, length: usize) -> Step {
        match self.request.take() {
            Some(Request { begun, sent }) => {
                Step::Answered(Answer { message, begun, last: message.close || sent < length })
            }
            // An answer to nothing: such as 408 on a connection that rested too long.
            None => Step::Closed,
        }
    }

    fn ended(&mut self) -> Step {
        let Some(request) = self.request.take() else { return Step::Closed };
        match self.reader.closed() {
            Some(message) => Step::Answered(Answer { message, begun: request.begun, last: true }),
            None => Step::Failed(ErrorKind::UnexpectedEof),
        }
    }
}
