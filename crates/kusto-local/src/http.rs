//! Requests and answers as the handlers see them: bounded reading, and bodies with a known length.
//!
//! The Python SDK keeps connections alive and trusts `Content-Length`; every answer carries one.

use std::io;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};

use crate::limits;

/// Body of every answer. An error in it ends the connection in the middle of the answer.
pub(crate) type Body = BoxBody<Bytes, io::Error>;
/// An answer.
pub(crate) type Reply = Response<Body>;

/// A body of known bytes.
pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// An answer with a body of one content type.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, bytes: impl Into<Bytes>) -> Reply {
    let bytes = bytes.into();
    let length = bytes.len();
    let mut reply = Response::new(full(bytes));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    reply
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Reply {
    let mut reply = Response::new(full(Bytes::new()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    reply
}

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &serde_json::Value) -> Reply {
    answer(status, "application/json; charset=utf-8", value.to_string())
}

/// Sets a header; a value which is no header text is left out, since it came from a request's header.
pub(crate) fn set(reply: &mut Reply, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(HeaderName::from_static(name), value);
    }
}

/// A request header as text, or "".
pub(crate) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Why a request's body was not read.
pub(crate) enum Unread {
    /// It is longer than the limit.
    TooLarge,
    /// The client went away, or what it sent is no HTTP.
    Broken,
}

/// The next part of a body; `None` at its end. A client that sends nothing does not keep its place for ever.
pub(crate) async fn frame(body: &mut Incoming) -> io::Result<Option<Frame<Bytes>>> {
    match tokio::time::timeout(limits::SILENCE, body.frame()).await {
        Ok(frame) => frame.transpose().map_err(io::Error::other),
        Err(_elapsed) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came for too long")),
    }
}

/// Reads a whole body of at most `limit` bytes. The rest of a longer one is drained.
pub(crate) async fn read(mut body: Incoming, limit: usize) -> Result<Bytes, Unread> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = frame(&mut body).await.map_err(|_| Unread::Broken)? {
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > limit - bytes.len() {
            drain(body, limits::DRAIN).await;
            return Err(Unread::TooLarge);
        }
        bytes.extend_from_slice(data);
    }
    Ok(bytes.freeze())
}

/// Reads and forgets a body, at most `limit` bytes of it. A refused client gets to read the refusal this
/// way; otherwise it sees its upload break off.
pub(crate) async fn drain(mut body: Incoming, limit: u64) {
    let mut seen = 0;
    while seen < limit {
        match frame(&mut body).await {
            Ok(Some(frame)) => seen += frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => return,
        }
    }
}

/// The parameters of a query string or a form, decoded, in their order.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Decodes `text`.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The names in their order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The first value of `name`.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
