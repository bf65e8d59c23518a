//! Streaming ingestion: a batch goes straight to the engine, and its rows are there at once.
//!
//! What is too large, and what comes while streaming does not work, is queued instead, and why it did not work is
//! remembered for the table: throttled for ten seconds, doubled each time up to five minutes; switched off, or without
//! permission, for a quarter of an hour. A passing fault is tried three times before the batch is queued. When the
//! table or its mapping is missing the batch is held, because the queue would take it and the cluster lose it.
//!
//! A stream has no key by which the cluster could know it again. When its answer is lost, and it is sent again or
//! queued, its records may be there twice; this is counted.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use azure_core::Uuid;
use azure_core::http::Url;
use budget::Buf;
use http::{Request, StatusCode};
use net::client::{Body, Client};

use super::counts::Counts;
use super::fault::{Fault, Step, Verdict};
use super::identity::Identity;
use super::message::{self, APPLICATION};
use super::options::KustoOptions;

/// Bytes of a stream before compression: the service's limit.
pub(super) const MOST: u64 = 4 << 20;

/// Tries of one batch.
const TRIES: u32 = 3;

/// The wait before the second try; before the third it is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait between two tries that a server may ask for; when it asks for more, the batch is queued.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long batches are queued after the cluster was too busy, the first time and at most.
const THROTTLED: Duration = Duration::from_secs(10);
const THROTTLED_LONGEST: Duration = Duration::from_secs(300);

/// How long batches are queued when streaming does not work for the table.
const UNAVAILABLE: Duration = Duration::from_secs(900);

/// Why a batch is queued in place of streamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    TooLarge,
    Throttled,
    Unavailable,
    Failed,
}

impl Why {
    /// All of them, in the order of their discriminants.
    pub(super) const ALL: [Why; 4] = [Why::TooLarge, Why::Throttled, Why::Unavailable, Why::Failed];

    pub(super) fn name(self) -> &'static str {
        match self {
            Why::TooLarge => "too_large",
            Why::Throttled => "throttled",
            Why::Unavailable => "unavailable",
            Why::Failed => "failed",
        }
    }
}

/// Streams batches into one table, and remembers why it does not.
pub(super) struct Streams {
    /// The instance, for log lines.
    name: String,
    url: Url,
    identity: Arc<Identity>,
    counts: Arc<Counts>,
    gzip: bool,
    memory: Mutex<Memory>,
}

/// What is remembered of the table.
#[derive(Debug, Default)]
struct Memory {
    until: Option<(Instant, Why)>,
    /// How often the cluster was too busy in a row.
    throttled: u32,
}

impl Memory {
    /// Why nothing is streamed now.
    fn closed(&self, now: Instant) -> Option<Why> {
        self.until.filter(|(until, _)| now < *until).map(|(_, why)| why)
    }

    fn throttle(&mut self, after: Option<Duration>, now: Instant) -> Duration {
        let scheduled = THROTTLED.saturating_mul(1 << self.throttled.min(5)).min(THROTTLED_LONGEST);
        self.throttled += 1;
        let wait = after.unwrap_or(scheduled);
        self.until = Some((now + wait, Why::Throttled));
        wait
    }
}

impl Streams {
    pub(super) fn new(
        name: &str,
        options: &KustoOptions,
        identity: Arc<Identity>,
        counts: Arc<Counts>,
    ) -> Result<Streams, String> {
        let mut url = Url::parse(&options.engine()?).map_err(|_| "this is no URL".to_owned())?;
        if let Ok(mut path) = url.path_segments_mut() {
            let table = [&*options.database_name, &*options.table_name];
            path.pop_if_empty().extend(["v1", "rest", "ingest"]).extend(table);
        }
        url.query_pairs_mut().append_pair("streamFormat", options.data_format.name());
        if let Some(mapping) = &options.ingestion_mapping_reference {
            url.query_pairs_mut().append_pair("mappingName", mapping);
        }
        let gzip = options.compression_enabled;
        Ok(Streams { name: name.to_owned(), url, identity, counts, gzip, memory: Mutex::default() })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Streams a batch of `raw` bytes. `Ok(Some(why))`: queue it. An error is one that the queue would not help.
    pub(super) async fn send(
        &self,
        client: &Client,
        batch: u128,
        pages: &Arc<Buf>,
        raw: u64,
    ) -> Result<Option<Why>, Fault> {
        if raw > MOST {
            return Ok(Some(Why::TooLarge));
        }
        let closed = self.memory().closed(Instant::now());
        if closed.is_some() {
            return Ok(closed);
        }
        for attempt in 0..TRIES {
            let fault = match self.try_twice(client, batch, attempt, pages).await {
                Ok(()) => {
                    *self.memory() = Memory::default();
                    self.counts.streams.add(1);
                    return Ok(None);
                }
                Err(fault) => fault,
            };
            match (fault.verdict(), fault.status) {
                (Verdict::Data, _) => return Err(fault),
                (Verdict::Hold, _) if fault.is_missing_entity() => return Err(fault),
                (Verdict::Split, _) => return Ok(Some(Why::TooLarge)),
                (_, Some(429)) => {
                    let wait = self.memory().throttle(fault.after, Instant::now());
                    let (name, text) = (&self.name, &fault.text);
                    tracing::warn!(
                        "[output:{name}] streaming is throttled, batches are queued for {wait:?}: {text}"
                    );
                    return Ok(Some(Why::Throttled));
                }
                (Verdict::Again | Verdict::NewToken, status) => {
                    // The request may have been served.
                    self.counts.unknown.add(usize::from(status.is_none() && fault.step == Step::Stream));
                    let wait = fault.after.unwrap_or(FIRST_WAIT * 2u32.pow(attempt));
                    if attempt + 1 == TRIES || wait > LONGEST_WAIT {
                        break;
                    }
                    tokio::time::sleep(wait).await;
                }
                _ => {
                    self.close(&fault);
                    return Ok(Some(Why::Unavailable));
                }
            }
        }
        Ok(Some(Why::Failed))
    }

    fn close(&self, fault: &Fault) {
        let (name, text, minutes) = (&self.name, &fault.text, UNAVAILABLE.as_secs() / 60);
        tracing::warn!(
            "[output:{name}] streaming does not work, batches are queued for {minutes} minutes: {text}"
        );
        self.memory().until = Some((Instant::now() + UNAVAILABLE, Why::Unavailable));
    }

    /// With a new token if the first one is refused.
    async fn try_twice(
        &self,
        client: &Client,
        batch: u128,
        attempt: u32,
        pages: &Arc<Buf>,
    ) -> Result<(), Fault> {
        match self.try_once(client, batch, attempt, pages).await {
            Err(fault) if fault.verdict() == Verdict::NewToken => {
                self.try_once(client, batch, attempt, pages).await
            }
            result => result,
        }
    }

    async fn try_once(
        &self,
        client: &Client,
        batch: u128,
        attempt: u32,
        pages: &Arc<Buf>,
    ) -> Result<(), Fault> {
        let token = self.identity.token().await.inspect_err(|fault| self.counts.fault(fault))?;
        let id = Uuid::from_u128(batch);
        let mut request = Request::post(self.url.as_str())
            .header("accept", "application/json")
            .header("content-type", "application/octet-stream")
            .header("authorization", format!("Bearer {}", token.text.expose()))
            .header("x-ms-app", APPLICATION)
            .header("x-ms-client-version", message::version())
            .header("x-ms-client-request-id", format!("WEIR.stream;{id};{attempt}"));
        if self.gzip {
            request = request.header("content-encoding", "gzip");
        }
        let request = request
            .body(Body::pages(Arc::clone(pages)))
            .map_err(|error| Fault::local(Step::Stream, &error.to_string()))?;
        let answered = match Box::pin(client.send(request)).await {
            Ok(response) if response.status() == StatusCode::OK => Ok(()),
            Ok(response) => Err(Fault::answer(Step::Stream, &response)),
            Err(error) => Err(Fault::unanswered(Step::Stream, &error)),
        };
        if let Err(fault) = &answered {
            self.counts.fault(fault);
            if fault.verdict() == Verdict::NewToken {
                self.identity.drop_token(&token).await;
            }
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_throttling_in_a_row_closes_the_table_for_twice_as_long_unless_the_server_says_how_long() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let waits: Vec<u64> = (0..7).map(|_| memory.throttle(None, now).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(memory.closed(now + Duration::from_secs(299)), Some(Why::Throttled));
        assert_eq!(memory.closed(now + Duration::from_secs(300)), None);
        assert_eq!(memory.throttle(Some(Duration::from_secs(3)), now).as_secs(), 3);
    }
}
