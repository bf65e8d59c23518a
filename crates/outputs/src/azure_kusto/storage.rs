//! A blob into a container, a message into a queue, through Microsoft's own clients.

use std::num::NonZero;
use std::sync::Arc;

use azure_core::Bytes;
use azure_core::http::{Body, NoFormat, RequestContent, Url};
use azure_storage_blob::models::{
    BlockBlobClientCommitBlockListOptions, BlockBlobClientUploadOptions, BlockLookupList,
};
use azure_storage_blob::{BlockBlobClient, BlockBlobClientOptions};
use azure_storage_queue::models::QueueMessage;
use azure_storage_queue::{QueueClient, QueueClientOptions};
use budget::Buf;
use net::client::Client;

use super::fault::{Fault, Step, Verdict};
use super::transport::{self, Pages};

/// The URL of a blob in a container, with the container's signature. The name is escaped.
pub(super) fn blob_url(container: &Url, name: &str) -> Url {
    let mut url = container.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().push(name);
    }
    url
}

/// What is stored with one request.
pub(super) enum Piece {
    /// A whole blob.
    Whole(Arc<Buf>),
    /// One block of a blob, by its number.
    Block(u32, Arc<Buf>),
    /// The list that makes a blob of so many blocks.
    List(u32),
}

/// Stores a piece. A blob that is there already was stored by an earlier try, whose answer did not arrive.
pub(super) async fn store(client: &Client, url: &Url, piece: &Piece) -> Result<(), Fault> {
    let options =
        BlockBlobClientOptions { client_options: transport::options(client.clone()), ..Default::default() };
    let fault = |error: azure_core::Error| Fault::azure(Step::Blob, &error);
    let blob = BlockBlobClient::new(url.clone(), None, Some(options)).map_err(fault)?;
    let stored = match piece {
        Piece::Whole(pages) => put(&blob, pages).await,
        Piece::Block(number, pages) => {
            let bytes = pages.len() as u64;
            blob.stage_block(&block_id(*number), bytes, content(pages), None).await.map(drop)
        }
        Piece::List(blocks) => commit(&blob, *blocks).await,
    };
    match stored.map_err(fault) {
        Err(fault) if fault.verdict() == Verdict::Done => Ok(()),
        result => result,
    }
}

async fn put(blob: &BlockBlobClient, pages: &Arc<Buf>) -> azure_core::Result<()> {
    let upload = BlockBlobClientUploadOptions {
        // One partition: the whole body in one request.
        partition_size: NonZero::new(pages.len() as u64),
        ..BlockBlobClientUploadOptions::default().if_not_exists()
    };
    blob.upload(content(pages), Some(upload)).await.map(drop)
}

async fn commit(blob: &BlockBlobClient, blocks: u32) -> azure_core::Result<()> {
    let ids = (0..blocks).map(|number| block_id(number).to_vec()).collect();
    let list = BlockLookupList { latest: Some(ids), ..Default::default() };
    let options =
        BlockBlobClientCommitBlockListOptions { if_none_match: Some("*".into()), ..Default::default() };
    blob.commit_block_list(list.try_into()?, Some(options)).await.map(drop)
}

/// The id of a block. All of one blob must have the same length.
fn block_id(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn content(pages: &Arc<Buf>) -> RequestContent<Bytes, NoFormat> {
    Body::SeekableStream(Box::new(Pages::new(Arc::clone(pages)))).into()
}

/// Posts a message.
pub(super) async fn post(client: &Client, queue: &Url, text: String) -> Result<(), Fault> {
    let fault = |error: azure_core::Error| Fault::azure(Step::Queue, &error);
    let options =
        QueueClientOptions { client_options: transport::options(client.clone()), ..Default::default() };
    let queue = QueueClient::new(queue.clone(), None, Some(options)).map_err(fault)?;
    let message = QueueMessage { message_text: Some(text) };
    let message = message.try_into().map_err(fault)?;
    queue.send_message(message, None).await.map_err(fault)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_blob_is_escaped_and_the_signature_stays_as_it_is() {
        let container =
            Url::parse("https://a.blob.core.windows.net/c?sv=1&sig=a%2Bb%3D%3D&se=2026-01-01T00:00:00Z")
                .unwrap();
        assert_eq!(
            blob_url(&container, "weir__d b__t/x%__1.json.gz").as_str(),
            "https://a.blob.core.windows.net/c/weir__d%20b__t%2Fx%25__1.json.gz?sv=1&sig=a%2Bb%3D%3D&se=2026-01-01T00:00:00Z"
        );
    }
}
