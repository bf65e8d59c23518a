//! Azurite, Microsoft's storage emulator, as the storage in place of this server's own.
//!
//! At the start containers, queues and the status table are made there; `.get ingestion resources` then names
//! them, with signatures made with the account's key ("Create a service SAS", "Create an account SAS"). A task
//! moves messages from Azurite's ingestion queues to this server's, from where everything goes on as always.
//! Blobs are downloaded with the URL of their message, as the service does.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::state::State;
use crate::storage::{self, CONTAINERS, FAILURES, QUEUE, STATUS_TABLE, SUCCESSES};
use crate::{limits, stamp};

const VERSION: &str = "2021-12-02";
/// How often an empty queue is asked again.
const POLL: Duration = Duration::from_millis(100);
/// The time one request may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The emulator's documented key of `devstoreaccount1`.
pub(crate) const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// One account in path style: `http://127.0.0.1:10000/devstoreaccount1`.
pub(crate) struct Azurite {
    account: String,
    blobs: String,
    queues: String,
    tables: String,
    key: hmac::Key,
}

/// What an account's key signs: a whole account for this server, one container or queue for clients.
fn sign(key: &hmac::Key, text: &str) -> String {
    let signature = STANDARD.encode(hmac::sign(key, text.as_bytes()));
    utf8_percent_encode(&signature, NON_ALPHANUMERIC).to_string()
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

impl Azurite {
    /// Reads the account's blob endpoint. Queues and tables are at the next two ports, as Azurite has them.
    pub(crate) fn new(url: &str, key: &str) -> io::Result<Self> {
        let wrong = || {
            let text = format!("'{url}' is no account URL like http://127.0.0.1:10000/devstoreaccount1");
            io::Error::new(io::ErrorKind::InvalidInput, text)
        };
        let rest = url.trim_end_matches('/').strip_prefix("http://").ok_or_else(wrong)?;
        let (authority, account) = rest.split_once('/').unwrap_or((rest, "devstoreaccount1"));
        let (host, port) = authority.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let endpoint = |offset| format!("http://{host}:{}/{account}", port + offset);
        let key = STANDARD.decode(key).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self {
            account: account.to_owned(),
            blobs: endpoint(0),
            queues: endpoint(1),
            tables: endpoint(2),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        })
    }

    /// Whether a URL with this host and port is one of this storage.
    pub(crate) fn serves(&self, authority: &str) -> bool {
        self.blobs.starts_with(&format!("http://{authority}/"))
    }

    /// A signature for the whole account, for this server's own requests.
    fn own(&self) -> String {
        let expiry = stamp::seconds(stamp::now() + time::Duration::hours(1));
        let (permissions, services, types) = ("rwdlacup", "bqt", "sco");
        let text = format!(
            "{}\n{permissions}\n{services}\n{types}\n\n{expiry}\n\nhttps,http\n{VERSION}\n\n",
            self.account
        );
        format!(
            "sv={VERSION}&ss={services}&srt={types}&sp={permissions}&se={}&spr=https,http&sig={}",
            escaped(&expiry),
            sign(&self.key, &text)
        )
    }

    /// A signature for one container.
    fn container_url(&self, name: &str, expiry: &str) -> String {
        let text = format!("rw\n\n{expiry}\n/blob/{}/{name}\n\n\n\n{VERSION}\nc\n\n\n\n\n\n\n", self.account);
        let signature = sign(&self.key, &text);
        format!("{}/{name}?sv={VERSION}&sr=c&se={}&sp=rw&sig={signature}", self.blobs, escaped(expiry))
    }

    /// A signature for one queue.
    fn queue_url(&self, name: &str, permissions: &str, expiry: &str) -> String {
        let text = format!("{permissions}\n\n{expiry}\n/queue/{}/{name}\n\n\n\n{VERSION}", self.account);
        let signature = sign(&self.key, &text);
        format!("{}/{name}?sv={VERSION}&se={}&sp={permissions}&sig={signature}", self.queues, escaped(expiry))
    }

    /// A signature for one table.
    fn table_url(&self, name: &str, expiry: &str) -> String {
        let text = format!(
            "rau\n\n{expiry}\n/table/{}/{}\n\n\n\n{VERSION}\n\n\n\n",
            self.account,
            name.to_lowercase()
        );
        let signature = sign(&self.key, &text);
        format!("{}/{name}?sv={VERSION}&tn={name}&se={}&sp=rau&sig={signature}", self.tables, escaped(expiry))
    }

    /// The rows of `.get ingestion resources`.
    pub(crate) fn resources(&self, lifetime: Duration) -> Vec<(&'static str, String)> {
        let lifetime = time::Duration::try_from(lifetime).unwrap_or(time::Duration::HOUR);
        let expiry = stamp::seconds(stamp::now().saturating_add(lifetime));
        let mut rows = vec![("SecuredReadyForAggregationQueue", self.queue_url(QUEUE, "a", &expiry))];
        rows.extend(CONTAINERS.map(|name| ("TempStorage", self.container_url(name, &expiry))));
        rows.push(("FailedIngestionsQueue", self.queue_url(FAILURES, "rp", &expiry)));
        rows.push(("SuccessfulIngestionsQueue", self.queue_url(SUCCESSES, "rp", &expiry)));
        rows.push(("IngestionsStatusTable", self.table_url(STATUS_TABLE, &expiry)));
        rows
    }

    /// Makes what is missing.
    pub(crate) async fn prepare(&self) -> io::Result<()> {
        let own = self.own();
        let containers = CONTAINERS.map(|name| format!("{}/{name}?restype=container&{own}", self.blobs));
        let queues = [QUEUE, FAILURES, SUCCESSES].map(|name| format!("{}/{name}?{own}", self.queues));
        for url in containers.iter().chain(&queues) {
            let (status, text) = send(Method::PUT, url, &[], Bytes::new()).await?;
            expect(status, &[201, 204, 409], url, &text)?;
        }
        let url = format!("{}/Tables?{own}", self.tables);
        let headers = [("content-type", "application/json"), ("accept", "application/json;odata=nometadata")];
        let body = serde_json::json!({ "TableName": STATUS_TABLE }).to_string();
        let (status, text) = send(Method::POST, &url, &headers, body.into()).await?;
        expect(status, &[201, 204, 409], &url, &text)
    }

    /// Downloads a blob into a file at `scratch`, which has no name when this returns. The error is the status
    /// and a text for a person.
    pub(crate) fn download(&self, url: &str, scratch: &Path) -> Result<File, (u16, String)> {
        let failed = |error: io::Error| (0, error.to_string());
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(scratch)
            .map_err(failed)?;
        std::fs::remove_file(scratch).map_err(failed)?;
        let (status, text) = block_on(async {
            let mut response = open(Method::GET, url, &[], Bytes::new()).await?;
            let status = response.status().as_u16();
            if status != 200 {
                return Ok((status, text_of(response).await?));
            }
            while let Some(frame) = response.body_mut().frame().await {
                if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                    file.write_all(&data)?;
                }
            }
            Ok((status, String::new()))
        })
        .map_err(failed)?;
        if status != 200 {
            return Err((status, text));
        }
        file.rewind().map_err(failed)?;
        Ok(file)
    }

    /// Deletes a blob by its path below the storage's root.
    pub(crate) fn delete_blob(&self, path: &str) -> io::Result<()> {
        let name = path.strip_prefix(&format!("{}/", self.account)).unwrap_or(path);
        let name: Vec<String> = name.splitn(2, '/').map(escaped).collect();
        let url = format!("{}/{}?{}", self.blobs, name.join("/"), self.own());
        let (status, text) = block_on(send(Method::DELETE, &url, &[], Bytes::new()))?;
        expect(status, &[202, 404], "the blob", &text)
    }

    /// Posts a message into a queue.
    pub(crate) fn post(&self, queue: &str, text: &str) -> io::Result<()> {
        let url = format!("{}/{queue}/messages?{}", self.queues, self.own());
        let body =
            format!("<QueueMessage><MessageText>{}</MessageText></QueueMessage>", STANDARD.encode(text));
        let (status, text) =
            block_on(send(Method::POST, &url, &[("content-type", "application/xml")], body.into()))?;
        expect(status, &[201], queue, &text)
    }

    /// Merges an entity into the table whose signed URL the client gave.
    pub(crate) fn merge_entity(&self, table: &str, entity: &Value) -> io::Result<()> {
        let place = table.split(['?', ';']).next().unwrap_or_default();
        let name = place.rsplit('/').next().unwrap_or(STATUS_TABLE);
        let key = |key: &str| entity[key].as_str().unwrap_or_default().replace('\'', "''");
        let url = format!(
            "{}/{name}(PartitionKey='{}',RowKey='{}')?{}",
            self.tables,
            escaped(&key("PartitionKey")),
            escaped(&key("RowKey")),
            self.own()
        );
        let headers = [("content-type", "application/json"), ("accept", "application/json;odata=nometadata")];
        let (status, text) = block_on(send(
            Method::from_bytes(b"MERGE").map_err(io::Error::other)?,
            &url,
            &headers,
            entity.to_string().into(),
        ))?;
        expect(status, &[204], "the status table", &text)
    }

    /// Takes messages off the ingestion queue until the task is dropped.
    pub(crate) async fn collect(self: Arc<Self>, state: Arc<State>) {
        loop {
            match self.collect_once(&state).await {
                Ok(0) => tokio::time::sleep(POLL).await,
                Ok(_) => {}
                Err(error) => {
                    eprintln!("kusto-local: azurite: {error}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// A message is kept here before it is deleted there: a kill in between takes it twice, never not at all.
    async fn collect_once(&self, state: &Arc<State>) -> io::Result<usize> {
        let url = format!("{}/{QUEUE}/messages", self.queues);
        let own = self.own();
        let most = format!("{url}?numofmessages=32&visibilitytimeout=60&{own}");
        let (status, xml) = send(Method::GET, &most, &[], Bytes::new()).await?;
        expect(status, &[200], "the queue", &xml)?;
        let mut taken = 0;
        for message in xml.split("<QueueMessage>").skip(1) {
            let field = |tag: &str| storage::element(message, tag).map(storage::unescape);
            let (Some(id), Some(receipt), Some(text)) =
                (field("MessageId"), field("PopReceipt"), field("MessageText"))
            else {
                continue;
            };
            let (worker, place) = (Arc::clone(state), format!("{}/{QUEUE}", self.account));
            let posted = tokio::task::spawn_blocking(move || worker.queues.post(place, text)).await;
            if posted.map_err(io::Error::other)??.is_none() {
                return Err(io::Error::other("too many messages wait for the engine"));
            }
            let done = format!("{url}/{id}?popreceipt={}&{own}", escaped(&receipt));
            let (status, text) = send(Method::DELETE, &done, &[], Bytes::new()).await?;
            expect(status, &[204], "the message", &text)?;
            taken += 1;
        }
        Ok(taken)
    }
}

fn expect(status: u16, expected: &[u16], what: &str, text: &str) -> io::Result<()> {
    if expected.contains(&status) {
        return Ok(());
    }
    let what = what.split('?').next().unwrap_or_default();
    let text: String = text.chars().take(300).collect();
    Err(io::Error::other(format!("{what}: azurite answered {status}: {text}")))
}

/// Runs a request from a blocking thread of the server's runtime.
fn block_on<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Handle::current().block_on(async {
        tokio::time::timeout(PATIENCE, work).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    })
}

async fn send(method: Method, url: &str, headers: &[(&str, &str)], body: Bytes) -> io::Result<(u16, String)> {
    let response = open(method, url, headers, body).await?;
    let status: StatusCode = response.status();
    Ok((status.as_u16(), text_of(response).await?))
}

async fn text_of(response: http::Response<hyper::body::Incoming>) -> io::Result<String> {
    let bytes = crate::http::read(response.into_body(), limits::QUERY_BYTES).await;
    let bytes = bytes.map_err(|_| io::Error::other("azurite's answer broke off"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn open(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> io::Result<http::Response<hyper::body::Incoming>> {
    let rest = url.strip_prefix("http://").ok_or_else(|| io::Error::other("azurite is spoken to by http"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        // Its error is the request's as well.
        let _ = connection.await;
    });
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/{path}"))
        .header("host", authority)
        .header("x-ms-version", VERSION)
        .header("x-ms-date", stamp::http(stamp::now()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body)).map_err(io::Error::other)?;
    sender.send_request(request).await.map_err(io::Error::other)
}
