//! A body that is written while it is sent.
//!
//! The client asks for the body once for each connection that it tries. Each time a channel for one block is
//! made: its end goes into the request, and its beginning to [`Tries`], which writes the batch anew.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use budget::Buf;
use bytes::Bytes;
use net::client::{Body, Frames};
use tokio::sync::mpsc;

use crate::payload::Encoder;
use crate::rows::{Failed, Form};

/// Blocks between the encoder and the connection. More would only hold more pages.
const BLOCKS: usize = 1;

/// Connections that the client tries for one request: one from its pool, and a new one.
const TRIES: usize = 2;

/// The blocks of a body, as a connection takes them.
pub(super) struct Stream {
    blocks: mpsc::Receiver<Buf>,
    /// The block that is being sent, and the next of its pages.
    block: Option<Arc<Buf>>,
    page: usize,
}

/// Where the blocks of each try are to be written to.
pub(super) struct Tries(mpsc::Receiver<mpsc::Sender<Buf>>);

impl Stream {
    /// A body of `length` bytes, and who writes it.
    pub(super) fn open(length: u64) -> (Body, Tries) {
        let (begin, tries) = mpsc::channel(TRIES);
        let body = Body::made(length, move || {
            let (write, blocks) = mpsc::channel(BLOCKS);
            // Without a writer the body ends early, which breaks the request off.
            let _unwritten = begin.try_send(write);
            Box::new(Stream { blocks, block: None, page: 0 })
        });
        (body, Tries(tries))
    }
}

impl Frames for Stream {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(block) = &self.block {
                let page = Page { block: Arc::clone(block), page: self.page };
                self.page += 1;
                if !page.as_ref().is_empty() {
                    return Poll::Ready(Some(Ok(Bytes::from_owner(page))));
                }
                self.block = None;
            }
            match ready!(self.blocks.poll_recv(context)) {
                Some(block) => (self.block, self.page) = (Some(Arc::new(block)), 0),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// One page of a block, which goes back with the last one.
struct Page {
    block: Arc<Buf>,
    page: usize,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        self.block.pages().nth(self.page).unwrap_or(&[])
    }
}

impl Tries {
    /// Writes the batch for each try, until it is dropped: whether the request succeeds, the answer says.
    pub(super) async fn write<'a, F: Form + 'a>(
        &mut self,
        encoder: impl Fn() -> Result<Encoder<'a, F>, Failed>,
    ) -> Failed {
        loop {
            let Some(write) = self.0.recv().await else {
                // The client makes no more of it, so it is about to say why.
                return std::future::pending().await;
            };
            if let Err(failed) = feed(&encoder, &write).await {
                return failed;
            }
        }
    }
}

/// Writes until the batch is complete or the connection wants no more. The time a peer may take is the
/// request's, so nothing here ends the wait for a page.
async fn feed<'a, F: Form + 'a>(
    encoder: &impl Fn() -> Result<Encoder<'a, F>, Failed>,
    write: &mpsc::Sender<Buf>,
) -> Result<(), Failed> {
    let mut encoder = encoder()?;
    while let Some(block) = encoder.next(Duration::MAX).await? {
        if write.send(block).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
