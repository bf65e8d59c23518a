//! What a request carries, sent from where it lies.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use budget::Buf;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// The body of a request. Cheap to clone, because a request may be sent twice.
#[derive(Clone)]
pub struct Body(Kind);

#[derive(Clone)]
enum Kind {
    Bytes(Bytes),
    Pages(Arc<Buf>),
    Made { bytes: u64, make: Arc<dyn Fn() -> Box<dyn Frames> + Send + Sync> },
}

/// A body made as it is sent.
pub trait Frames: Send {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The source's. It breaks the request off.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Bytes>>>;
}

impl Body {
    /// No body.
    pub fn empty() -> Body {
        Body(Kind::Bytes(Bytes::new()))
    }

    /// Leased pages. They are not copied, and go back to their account when the last clone of `pages` is gone.
    pub fn pages(pages: Arc<Buf>) -> Body {
        Body(Kind::Pages(pages))
    }

    /// A body of exactly `bytes` bytes that `make` begins anew for each try.
    pub fn made(bytes: u64, make: impl Fn() -> Box<dyn Frames> + Send + Sync + 'static) -> Body {
        Body(Kind::Made { bytes, make: Arc::new(make) })
    }

    /// Begins to send.
    pub(super) fn sending(&self) -> Sending {
        match &self.0 {
            Kind::Bytes(bytes) => Sending::Bytes(bytes.clone()),
            Kind::Pages(buf) => Sending::Pages { buf: Arc::clone(buf), page: 0, left: buf.len() as u64 },
            Kind::Made { bytes, make } => Sending::Made { frames: make(), left: *bytes },
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Body {
        Body(Kind::Bytes(bytes.into()))
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.0 {
            Kind::Bytes(bytes) => bytes.len() as u64,
            Kind::Pages(buf) => buf.len() as u64,
            Kind::Made { bytes, .. } => *bytes,
        };
        write!(f, "Body({bytes} bytes)")
    }
}

/// A body on its way.
pub(super) enum Sending {
    Bytes(Bytes),
    Pages { buf: Arc<Buf>, page: usize, left: u64 },
    Made { frames: Box<dyn Frames>, left: u64 },
}

/// One page of a chain, which lives as long as the whole chain.
struct Page {
    buf: Arc<Buf>,
    page: usize,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        // A walk from the start for each page: some hundred links for the largest bodies.
        self.buf.pages().nth(self.page).unwrap_or(&[])
    }
}

impl Sending {
    fn left(&self) -> u64 {
        match self {
            Sending::Bytes(bytes) => bytes.len() as u64,
            Sending::Pages { left, .. } | Sending::Made { left, .. } => *left,
        }
    }
}

impl http_body::Body for Sending {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            Sending::Bytes(bytes) if bytes.is_empty() => Poll::Ready(None),
            Sending::Bytes(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Sending::Pages { left: 0, .. } => Poll::Ready(None),
            Sending::Pages { buf, page, left } => {
                let bytes = Bytes::from_owner(Page { buf: Arc::clone(buf), page: *page });
                *page += 1;
                *left -= bytes.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Sending::Made { frames, left } => frames.poll_next(context).map(|next| {
                next.map(|bytes| {
                    let bytes = bytes?;
                    *left = left.saturating_sub(bytes.len() as u64);
                    Ok(Frame::data(bytes))
                })
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
