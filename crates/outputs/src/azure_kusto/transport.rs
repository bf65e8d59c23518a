//! The agent's HTTP client as the transport of the Azure crates, and leased pages as a body of theirs.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, HeaderValue, Headers};
use azure_core::http::{AsyncRawResponse, Body, ClientOptions, HttpClient, Request, RetryOptions, Transport};
use azure_core::stream::SeekableStream;
use budget::Buf;
use bytes::Bytes;
use futures_core::Stream;
use futures_io::AsyncRead;
use net::client::{self, Client, Frames};

/// Bytes that are copied out of the pages at a time. The Azure crates read a body as a stream, so what is on
/// its way to the socket is a copy; this is how much of it there is.
const PIECE: usize = 16 << 10;

/// Where a machine's managed identity gets its tokens.
const METADATA_SERVICE: &str = "http://169.254.169.254";

/// Names another place for it, as for Microsoft's SDK for Python.
const METADATA_HOST: &str = "AZURE_POD_IDENTITY_AUTHORITY_HOST";

/// Options for a client of the Azure crates: our transport, and no retries, because those are the engine's.
pub(super) fn options(client: Client) -> ClientOptions {
    ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(Carrier(client)))),
        ..ClientOptions::default()
    }
}

#[derive(Debug)]
struct Carrier(Client);

#[async_trait]
impl HttpClient for Carrier {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let url = match std::env::var(METADATA_HOST) {
            Ok(host) => elsewhere(request.url().as_str(), &host),
            Err(_) => request.url().to_string(),
        };
        let mut sent = http::Request::builder().method(request.method().as_ref()).uri(url);
        for (name, value) in request.headers().iter() {
            sent = sent.header(name.as_str(), value.as_str());
        }
        let sent = sent.body(body(request.body())).map_err(|error| failed(&error))?;
        let response = self.0.send(sent).await.map_err(|error| failed(&error))?;
        let (head, body) = response.into_parts();
        let mut headers = Headers::new();
        for (name, value) in &head.headers {
            if let Ok(value) = value.to_str() {
                headers
                    .insert(HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value.to_owned()));
            }
        }
        Ok(AsyncRawResponse::from_bytes(head.status.as_u16().into(), headers, body))
    }
}

/// A request to a machine's metadata service, sent to another host.
fn elsewhere(url: &str, host: &str) -> String {
    match url.strip_prefix(METADATA_SERVICE) {
        Some(path) => format!("{}{path}", host.trim_end_matches('/')),
        None => url.to_owned(),
    }
}

fn failed(error: &dyn std::error::Error) -> azure_core::Error {
    azure_core::Error::with_message(ErrorKind::Io, client::chain(error))
}

fn body(body: &Body) -> client::Body {
    match body {
        Body::Bytes(bytes) => client::Body::from(bytes.clone()),
        Body::SeekableStream(stream) => {
            let (bytes, stream) = (stream.len().unwrap_or(0), stream.clone());
            client::Body::made(bytes, move || Box::new(Pieces(stream.clone())))
        }
    }
}

/// A body of the Azure crates, piece by piece.
struct Pieces(Box<dyn SeekableStream>);

impl Frames for Pieces {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let next = Stream::poll_next(Pin::new(&mut *self.0), context);
        next.map(|next| next.map(|piece| piece.map_err(io::Error::other)))
    }
}

/// Leased pages as a body of the Azure crates. A clone starts at the beginning.
pub(super) struct Pages {
    buf: Arc<Buf>,
    /// The page to read from, and how much of it was read.
    page: usize,
    at: usize,
}

impl Pages {
    pub(super) fn new(buf: Arc<Buf>) -> Pages {
        Pages { buf, page: 0, at: 0 }
    }
}

impl Clone for Pages {
    fn clone(&self) -> Pages {
        Pages::new(Arc::clone(&self.buf))
    }
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pages({} bytes)", self.buf.len())
    }
}

impl AsyncRead for Pages {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut filled = 0;
        for page in this.buf.pages().skip(this.page) {
            let rest = &page[this.at..];
            let taken = rest.len().min(out.len() - filled);
            out[filled..filled + taken].copy_from_slice(&rest[..taken]);
            filled += taken;
            if taken < rest.len() {
                this.at += taken;
                break;
            }
            (this.page, this.at) = (this.page + 1, 0);
        }
        Poll::Ready(Ok(filled))
    }
}

#[async_trait]
impl SeekableStream for Pages {
    async fn reset(&mut self) -> azure_core::Result<()> {
        (self.page, self.at) = (0, 0);
        Ok(())
    }

    fn len(&self) -> Option<u64> {
        Some(self.buf.len() as u64)
    }

    fn buffer_size(&self) -> usize {
        PIECE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use budget::{Budget, Share};

    #[test]
    fn only_the_metadata_service_can_be_elsewhere() {
        let url = "http://169.254.169.254/metadata/identity/oauth2/token?a=b";
        assert_eq!(
            elsewhere(url, "http://localhost:1/"),
            "http://localhost:1/metadata/identity/oauth2/token?a=b"
        );
        assert_eq!(elsewhere("https://login.x/y", "http://localhost:1"), "https://login.x/y");
    }

    #[test]
    fn pages_are_read_as_they_were_written_whatever_the_pieces_and_a_clone_starts_anew() {
        let account = Budget::new(1 << 20, 4096).unwrap().account("k.0", "x", Share::COMMON).unwrap();
        let mut buf = Buf::new(&account);
        let written: Vec<u8> = (0..20_000u32).map(|at| at as u8).collect();
        buf.write(&written).unwrap();
        let pages = Pages::new(Arc::new(buf));
        let mut context = Context::from_waker(std::task::Waker::noop());
        for piece in [1, 100, 4080, 4096, 50_000] {
            let (mut pages, mut read, mut out) = (pages.clone(), Vec::new(), vec![0; piece]);
            while let Poll::Ready(Ok(bytes @ 1..)) = Pin::new(&mut pages).poll_read(&mut context, &mut out) {
                read.extend_from_slice(&out[..bytes]);
            }
            assert_eq!(read, written, "pieces of {piece} bytes");
            assert_eq!(pages.len(), Some(20_000));
        }
    }
}
