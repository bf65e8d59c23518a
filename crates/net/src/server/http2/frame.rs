//! Frames: RFC 9113 sections 4 and 6.

use super::super::Answer;
use super::hpack;

/// The largest frame that is taken, which is the least that the protocol allows to ask for.
pub(super) const FRAME_BYTES: usize = 16_384;
/// Bytes before the payload.
pub(super) const HEADER: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 0x1;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const PADDED: u8 = 0x8;
pub(super) const PRIORITIZED: u8 = 0x20;

/// Why a stream or a connection ends: section 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    No = 0,
    Protocol = 1,
    FlowControl = 3,
    StreamClosed = 5,
    FrameSize = 6,
    Refused = 7,
    Cancel = 8,
    Compression = 9,
    Calm = 11,
}

/// The header of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Frame {
    pub(super) fn of(header: &[u8; HEADER]) -> Frame {
        let [a, b, c, kind, flags, stream @ ..] = *header;
        Frame {
            length: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The payload of HEADERS or DATA without padding and priority; `None` when they do not fit.
    pub(super) fn text<'a>(&self, payload: &'a [u8]) -> Option<&'a [u8]> {
        let mut text = payload;
        let mut padding = 0;
        if self.has(PADDED) {
            let (length, rest) = text.split_first()?;
            (padding, text) = (usize::from(*length), rest);
        }
        if self.kind == HEADERS && self.has(PRIORITIZED) {
            text = text.get(5..)?;
        }
        text.get(..text.len().checked_sub(padding)?)
    }
}

fn header(length: usize, kind: u8, flags: u8, stream: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

pub(super) fn settings(values: &[(u16, u32)], out: &mut Vec<u8>) {
    header(6 * values.len(), SETTINGS, 0, 0, out);
    for (name, value) in values {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn settings_ack(out: &mut Vec<u8>) {
    header(0, SETTINGS, ACK, 0, out);
}

pub(super) fn pong(ping: &[u8], out: &mut Vec<u8>) {
    header(ping.len(), PING, ACK, 0, out);
    out.extend_from_slice(ping);
}

pub(super) fn window_update(stream: u32, bytes: usize, out: &mut Vec<u8>) {
    header(4, WINDOW_UPDATE, 0, stream, out);
    out.extend_from_slice(&(bytes as u32).to_be_bytes());
}

pub(super) fn reset(stream: u32, reason: Reason, out: &mut Vec<u8>) {
    header(4, RST_STREAM, 0, stream, out);
    out.extend_from_slice(&(reason as u32).to_be_bytes());
}

pub(super) fn goaway(last: u32, reason: Reason, out: &mut Vec<u8>) {
    header(8, GOAWAY, 0, 0, out);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(reason as u32).to_be_bytes());
}

/// A piece of an answer's body.
pub(super) fn data(stream: u32, piece: &[u8], last: bool, out: &mut Vec<u8>) {
    header(piece.len(), DATA, if last { END_STREAM } else { 0 }, stream, out);
    out.extend_from_slice(piece);
}

/// The head of an answer. Fields beyond a frame, which only a configuration could ask for, are left out.
pub(super) fn head(stream: u32, answer: &Answer, last: bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(128 + answer.body.len());
    header(0, HEADERS, END_HEADERS | if last { END_STREAM } else { 0 }, stream, out);
    hpack::encode_status(answer.status, out);
    hpack::encode("server", "weir", out);
    if answer.status != 204 {
        hpack::encode("content-length", &answer.body.len().to_string(), out);
    }
    for (name, value) in answer.fields() {
        let before = out.len();
        hpack::encode(name, value, out);
        if out.len() - start - HEADER > FRAME_BYTES {
            out.truncate(before);
        }
    }
    let length = ((out.len() - start - HEADER) as u32).to_be_bytes();
    out[start..start + 3].copy_from_slice(&length[1..]);
}
