//! Queue storage: `POST /ACCOUNT/QUEUE/messages` ("Put Message"). The engine is the only reader.
//!
//! A message is a file from before its 201 until it is ingested, so an accepted message survives a kill.
//! The messages of all queues share one sequence, and the engine takes them in that order.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, StatusCode};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use time::Duration;
use tokio::sync::Notify;

use super::{Refusal, element, unescape};
use crate::http::{self as web, Reply, Unread};
use crate::state::State;
use crate::{files, limits, secrets, stamp};

const FILE_BYTES: u64 = 256 << 10;

/// A message on its way to the engine.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pending {
    pub(crate) sequence: u64,
    pub(crate) message_id: String,
    /// Account and queue.
    pub(crate) queue: String,
    pub(crate) text: String,
}

struct Inner {
    /// Messages the engine has not taken yet.
    waiting: VecDeque<u64>,
    /// Message files: waiting ones and the one the engine works on.
    files: usize,
    next: u64,
}

/// The messages of all queues.
pub(crate) struct Queues {
    dir: PathBuf,
    inner: Mutex<Inner>,
    arrived: Notify,
}

impl Queues {
    /// Opens the messages kept in `dir`. Numbers go on behind `used`, since tables remember them.
    pub(crate) fn open(dir: PathBuf, used: u64) -> io::Result<Self> {
        files::make_dir(&dir)?;
        let mut waiting = Vec::new();
        for entry in files::at(&dir, dir.read_dir())? {
            let path = entry?.path();
            let stem =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
            waiting.extend(stem.and_then(|stem| stem.parse::<u64>().ok()));
        }
        waiting.sort_unstable();
        let next = waiting.last().copied().unwrap_or(0).max(used) + 1;
        let inner = Inner { files: waiting.len(), waiting: waiting.into(), next };
        Ok(Self { dir, inner: Mutex::new(inner), arrived: Notify::new() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, sequence: u64) -> PathBuf {
        self.dir.join(format!("{sequence}.json"))
    }

    /// Messages not ingested yet.
    pub(crate) fn len(&self) -> usize {
        self.inner().files
    }

    /// Keeps a message. None when there are too many already. Blocks for the disk, with the lock held: the
    /// order of numbers must be the order in which messages become visible.
    pub(crate) fn post(&self, queue: String, text: String) -> io::Result<Option<Pending>> {
        let mut inner = self.inner();
        if inner.files >= limits::QUEUED_MESSAGES {
            return Ok(None);
        }
        let pending = Pending { sequence: inner.next, message_id: secrets::guid()?, queue, text };
        files::replace(&self.file(pending.sequence), &serde_json::to_vec(&pending)?)?;
        inner.next += 1;
        inner.files += 1;
        inner.waiting.push_back(pending.sequence);
        self.arrived.notify_one();
        Ok(Some(pending))
    }

    /// Waits for the next message and takes it.
    pub(crate) async fn next(&self) -> u64 {
        loop {
            let taken = self.inner().waiting.pop_front();
            match taken {
                Some(sequence) => return sequence,
                None => self.arrived.notified().await,
            }
        }
    }

    /// Reads a taken message.
    pub(crate) fn load(&self, sequence: u64) -> io::Result<Pending> {
        Ok(serde_json::from_slice(&files::read(&self.file(sequence), FILE_BYTES)?)?)
    }

    /// Forgets a taken message.
    pub(crate) fn done(&self, sequence: u64) -> io::Result<()> {
        let mut inner = self.inner();
        inner.files = inner.files.saturating_sub(1);
        files::remove(&self.file(sequence))
    }
}

/// Folder of the messages in the server's folder.
pub(crate) fn folder(dir: &Path) -> PathBuf {
    dir.join("queues")
}

/// Serves a request whose signature holds.
pub(crate) async fn serve(
    state: &Arc<State>,
    place: String,
    (method, rest): (&Method, &str),
    body: &mut Option<Incoming>,
) -> Result<Reply, Refusal> {
    if method != Method::POST || rest != "messages" {
        let text = "kusto-local's queues support only Put Message.";
        return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", text));
    }
    let Some(body) = body.take() else {
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "InvalidInput", "The request has no body."));
    };
    let text = read_text(body).await?;
    let worker = Arc::clone(state);
    let posted = tokio::task::spawn_blocking(move || worker.queues.post(place, text)).await;
    let posted = posted.map_err(io::Error::other).and_then(|result| result);
    match posted.map_err(|error| Refusal::internal(&error))? {
        Some(pending) => Ok(receipt(&pending)),
        None => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "ServerBusy", "The queue is full.")),
    }
}

async fn read_text(body: Incoming) -> Result<String, Refusal> {
    let too_large = || {
        let text = "The request body is too large and exceeds the maximum permissible limit.";
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", text)
    };
    let invalid = |text: &str| Refusal::new(StatusCode::BAD_REQUEST, "InvalidXmlDocument", text);
    let bytes = web::read(body, limits::MESSAGE_BODY).await.map_err(|unread| match unread {
        Unread::TooLarge => too_large(),
        Unread::Broken => invalid("The request body broke off."),
    })?;
    let xml = std::str::from_utf8(&bytes).map_err(|_| invalid("The request body is not UTF-8."))?;
    let text = element(xml, "QueueMessage").and_then(|inner| element(inner, "MessageText"));
    let text =
        unescape(text.ok_or_else(|| invalid("The request body has no QueueMessage with a MessageText."))?);
    if text.len() > limits::MESSAGE_TEXT {
        return Err(too_large());
    }
    Ok(text)
}

fn receipt(pending: &Pending) -> Reply {
    let now = stamp::now();
    let (inserted, expires) = (stamp::http(now), stamp::http(now + Duration::days(7)));
    let fields = [
        ("MessageId", pending.message_id.as_str()),
        ("InsertionTime", &inserted),
        ("ExpirationTime", &expires),
        ("PopReceipt", "AgAAAAMAAAAAAAAA"),
        ("TimeNextVisible", &inserted),
    ];
    let fields: String = fields.iter().map(|(tag, value)| format!("<{tag}>{value}</{tag}>")).collect();
    let message = format!("<QueueMessage>{fields}</QueueMessage>");
    let xml =
        format!(r#"<?xml version="1.0" encoding="utf-8"?><QueueMessagesList>{message}</QueueMessagesList>"#);
    web::answer(StatusCode::CREATED, "application/xml", xml)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_messages_survive_a_restart_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let queues = Queues::open(dir.path().to_owned(), 0).unwrap();
        for text in ["a", "b", "c"] {
            queues.post("q".to_owned(), text.to_owned()).unwrap().unwrap();
        }
        queues.done(1).unwrap();
        let queues = Queues::open(dir.path().to_owned(), 9).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let order = [runtime.block_on(queues.next()), runtime.block_on(queues.next())];
        assert_eq!(order, [2, 3]);
        assert_eq!(queues.load(2).unwrap().text, "b");
        assert_eq!(queues.post("q".to_owned(), "d".to_owned()).unwrap().unwrap().sequence, 10);
    }
}
