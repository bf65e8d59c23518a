//! Sends records to Azure Data Explorer (Kusto) by queued ingestion.
//!
//! ```text
//! [OUTPUT]
//!     name                azure_kusto
//!     match               *
//!     tenant_id           00000000-0000-0000-0000-000000000000
//!     client_id           11111111-1111-1111-1111-111111111111
//!     client_secret       ${KUSTO_SECRET}
//!     ingestion_endpoint  https://ingest-mycluster.westeurope.kusto.windows.net
//!     database_name       logs
//!     table_name          Logs
//! ```
//!
//! A record becomes one line of JSON,
//! `{"timestamp":"2026-11-23T20:35:46.123Z","tag":"app.log","log":{...}}`, so the table wants the columns
//! `timestamp:datetime`, `tag:string` and `log:dynamic`, or a JSON mapping named by
//! `ingestion_mapping_reference`. The lines of a batch are compressed into one blob, which is stored block by
//! block as it is written; a message in a queue of the cluster then names the blob, and from there the cluster
//! ingests it, by default within five minutes.
//!
//! A batch is delivered when the queue has accepted the message. Delivery is at least once: a message whose
//! acceptance was not heard of may be posted twice. The name of the blob and the id of the message follow from
//! the batch. Each try of a batch turns to the next container and queue, so that one that is out of order holds
//! up nothing; when a blob was stored but the answer was not heard of, it therefore stays behind in the first
//! container, where no message names it, while the one in the next container is ingested.
//!
//! Nothing is dropped for a missing permission, database or table: the batch is held and tried again until
//! somebody has put it right. What the cluster finds wrong after it has taken the message (a table that does not
//! exist, a mapping that does not fit) it reports in `.show ingestion failures`.
//!
//! The life of a batch, in the order of the modules: `identity` (a token for the cluster), `resources` (which
//! containers and queues), `lines` (records to a compressed blob), `storage` (blob and message), with
//! `message` (what the message says) and `fault` (what follows from an error).

use std::sync::Arc;

use engine::{Batch, Drive, Local, Outcome, Output, OutputDef, OutputLane, Setup};
use net::client::{Client, NetOptions, Settings, Tls, TrustOptions};
use options::{Choice, Options, Period, Reader, Secret};

mod fault;
mod identity;
mod lines;
mod message;
mod resources;
mod storage;
mod transport;
mod upload;

use crate::payload::Slots;
use identity::Identity;
use lines::Lines;
use resources::Directory;
use upload::{Target, Uploaded};

/// The `azure_kusto` output.
pub static DEF: OutputDef = OutputDef {
    name: "azure_kusto",
    about: "Sends records to Azure Data Explorer (Kusto)",
    specs: KustoOptions::specs,
    open,
};

/// Batches on their way at a time: one is compressed while the other waits for the network.
const CONCURRENCY: usize = 2;

/// Bytes of records in one blob. Fewer, larger blobs are what the cluster likes; their size costs
/// no memory beyond the records', because a blob is stored block by block.
const BATCH_BYTES: usize = 16_000_000;

/// Bytes of one block of a blob, which are set aside for each upload. A blob that is not larger is stored with
/// one request, any other one with a request for each block and one for their list.
const BLOB_BLOCK: usize = 1 << 20;

/// The accounts of the uploads.
const UPLOADS: [&str; CONCURRENCY] = ["upload.0", "upload.1"];

#[derive(Debug, Options)]
#[options(check = KustoOptions::check)]
struct KustoOptions {
    /// How to log in. Only `service_principal` is available.
    #[option(default = "service_principal")]
    auth_type: AuthType,
    /// Directory (tenant) of the application.
    #[option(required)]
    tenant_id: String,
    /// Application (client) id.
    #[option(required)]
    client_id: String,
    /// Secret of the application.
    #[option(required)]
    client_secret: Secret,
    /// Where to log in, for other clouds than the public one; if not set, AZURE_AUTHORITY_HOST from the
    /// environment, or else https://login.microsoftonline.com.
    authority_host: Option<String>,
    /// URL of the cluster's ingestion endpoint: https://ingest-NAME.REGION.kusto.windows.net.
    #[option(required)]
    ingestion_endpoint: String,
    /// Database of the table.
    #[option(required)]
    database_name: String,
    /// Table that takes the records.
    #[option(required)]
    table_name: String,
    /// Name of a JSON ingestion mapping of the table.
    ingestion_mapping_reference: Option<String>,
    /// Key of a record's body.
    #[option(default = "log")]
    log_key: String,
    /// Write the tag.
    #[option(default = "on")]
    include_tag_key: bool,
    /// Key of the tag.
    #[option(default = "tag")]
    tag_key: String,
    /// Write the time.
    #[option(default = "on")]
    include_time_key: bool,
    /// Key of the time.
    #[option(default = "timestamp")]
    time_key: String,
    /// Compress blobs with gzip.
    #[option(default = "on")]
    compression_enabled: bool,
    /// Effort of the compression.
    #[option(default = "6", min = "1", max = "9")]
    compression_level: u32,
    /// The time to connect to the ingestion endpoint.
    #[option(default = "60")]
    ingestion_endpoint_connect_timeout: Period,
    /// How long containers, queues and their signatures are used before they are asked for again.
    #[option(default = "3600", min = "1")]
    ingestion_resources_refresh_interval: Period,
    /// The time that one request may take: a token, the resources, a blob, a message.
    #[option(default = "60s", min = "1s")]
    io_timeout: Period,
    #[option(flatten)]
    trust: TrustOptions,
    #[option(flatten)]
    net: NetOptions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
enum AuthType {
    #[choice(name = "service_principal")]
    ServicePrincipal,
    #[choice(name = "managed_identity")]
    ManagedIdentity,
    #[choice(name = "workload_identity")]
    WorkloadIdentity,
}

impl KustoOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.auth_type != AuthType::ServicePrincipal {
            let hint = "use service_principal with tenant_id, client_id and client_secret".to_owned();
            reader.refuse("auth_type", "this auth_type is not available yet", Some(hint));
        }
        if let Err(what) = endpoint(&self.ingestion_endpoint) {
            reader.refuse("ingestion_endpoint", what, None);
        }
    }
}

/// The endpoint without a slash at its end. Tokens go there, so only this machine may be spoken to in clear.
fn endpoint(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|_| "this is no URL".to_owned())?;
    let host = uri.host().unwrap_or_default();
    let local = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    match uri.scheme_str() {
        _ if host.is_empty() => Err("this is no URL".to_owned()),
        Some("https") => Ok(text.trim_end_matches('/').to_owned()),
        Some("http") if local => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("the URL must start with https://".to_owned()),
    }
}

/// What all lanes share.
struct Kusto {
    slots: Slots,
    lines: Lines,
    directory: Directory,
    target: Target,
    uploaded: Uploaded,
    /// Of the clients that carry blobs and messages, one per lane.
    settings: Settings,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Output>> {
    let options = KustoOptions::read(reader)?;
    let endpoint = endpoint(&options.ingestion_endpoint).ok()?;
    let tls = Tls::trusting(&options.trust)
        .map_err(|refused| reader.refuse(refused.option, refused.what, None))
        .ok()?;
    let mut settings =
        Settings { exchange_timeout: options.io_timeout.0, tls: Some(tls), ..Settings::default() };
    options.net.apply(&mut settings);
    // One client for what is asked rarely. It keeps no connection, so any lane may use it.
    let control = Client::new(Settings {
        connect_timeout: options.ingestion_endpoint_connect_timeout.0,
        idle: 0,
        response_bytes: resources::RESPONSE_BYTES,
        ..settings.clone()
    });
    let identity = Identity::new(&setup.name, &options, &endpoint, control.clone())
        .map_err(|refused| reader.refuse(refused.option, refused.what, None))
        .ok()?;
    let lines = Lines::new(&options, setup.escape_unicode);
    let slots = Slots::open(&UPLOADS, BLOB_BLOCK, lines.gzip(), setup, reader)?;
    let interval = options.ingestion_resources_refresh_interval.0;
    Some(Arc::new(Kusto {
        slots,
        lines,
        directory: Directory::new(&setup.name, endpoint, control, identity, interval),
        target: Target::new(&options),
        uploaded: Uploaded::default(),
        settings,
    }))
}

impl Output for Kusto {
    fn drive(&self) -> Drive {
        // A lane, because compressing sixteen megabytes takes some tenths of a second of the core thread.
        Drive { lanes: 1, concurrency: CONCURRENCY, batch_bytes: BATCH_BYTES, batch_chunks: 1024 }
    }

    fn lane(self: Arc<Self>) -> Box<dyn OutputLane> {
        let client = Client::new(self.settings.clone());
        Box::new(Lane { kusto: self, client })
    }
}

struct Lane {
    kusto: Arc<Kusto>,
    client: Client,
}

impl OutputLane for Lane {
    fn flush<'a>(&'a self, batch: &'a Batch) -> Local<'a, Outcome> {
        Box::pin(async {
            match upload::deliver(&self.kusto, &self.client, batch).await {
                Ok(()) => Outcome::Done,
                Err(outcome) => outcome,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: [(&str, &str); 6] = [
        ("tenant_id", "t"),
        ("client_id", "c"),
        ("client_secret", "s3cret"),
        ("ingestion_endpoint", "https://ingest-x.kusto.windows.net/"),
        ("database_name", "d"),
        ("table_name", "t"),
    ];

    fn read(pairs: &[(&str, &str)]) -> Result<KustoOptions, String> {
        KustoOptions::from_pairs(&[&NEEDED, pairs].concat()).map_err(|problems| problems.to_string())
    }

    #[test]
    fn defaults_are_those_of_fluent_bit() {
        let options = read(&[]).unwrap();
        assert_eq!((&*options.log_key, &*options.tag_key, &*options.time_key), ("log", "tag", "timestamp"));
        assert!(options.include_tag_key && options.include_time_key && options.compression_enabled);
        assert_eq!(options.io_timeout.0.as_secs(), 60);
        assert_eq!(options.ingestion_resources_refresh_interval.0.as_secs(), 3600);
        assert!(!format!("{options:?}").contains("s3cret"));
    }

    #[test]
    fn an_identity_that_is_not_available_is_refused_by_name() {
        let refused = read(&[("auth_type", "managed_identity")]).unwrap_err();
        assert!(refused.contains("this auth_type is not available yet"), "{refused}");
    }

    #[test]
    fn tokens_travel_in_clear_only_within_the_machine() {
        for (url, expected) in [
            ("https://x.example", Ok("https://x.example".to_owned())),
            ("http://127.0.0.1:8080/", Ok("http://127.0.0.1:8080".to_owned())),
            ("http://x.example", Err("the URL must start with https://".to_owned())),
            ("x.example", Err("the URL must start with https://".to_owned())),
            ("not a url", Err("this is no URL".to_owned())),
        ] {
            assert_eq!(endpoint(url), expected, "{url}");
        }
    }
}
