//! A blob into a container, a message into a queue, through Microsoft's own clients.

use std::num::NonZero;
use std::sync::Arc;

use azure_core::Bytes;
use azure_core::http::{Body, NoFormat, RequestContent, Url};
use azure_storage_blob::models::BlockBlobClientUploadOptions;
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

/// Stores a blob. One that is there already was stored by an earlier try, whose answer did not arrive.
pub(super) async fn put(client: &Client, url: &Url, pages: Arc<Buf>) -> Result<(), Fault> {
    let fault = |error: azure_core::Error| Fault::azure(Step::Blob, &error);
    let options =
        BlockBlobClientOptions { client_options: transport::options(client.clone()), ..Default::default() };
    let blob = BlockBlobClient::new(url.clone(), None, Some(options)).map_err(fault)?;
    let upload = BlockBlobClientUploadOptions {
        // One partition: the whole body in one request.
        partition_size: NonZero::new(pages.len() as u64),
        ..BlockBlobClientUploadOptions::default().if_not_exists()
    };
    let body = Body::SeekableStream(Box::new(Pages::new(pages)));
    let content: RequestContent<Bytes, NoFormat> = body.into();
    match blob.upload(content, Some(upload)).await.map_err(fault) {
        Err(fault) if fault.verdict() == Verdict::Done => Ok(()),
        Err(fault) => Err(fault),
        Ok(_) => Ok(()),
    }
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
