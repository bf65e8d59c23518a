//! How a server is set up, and how a client is pointed at it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a server; the command line has an option of the same name for each.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder for all state: keys, certificates, tables, messages, blobs.
    pub dir: PathBuf,
    /// Address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Directory (tenant) id clients log in to. None: one made up at the first start and kept.
    pub tenant: Option<String>,
    /// Application (client) id. None: as for the tenant.
    pub client_id: Option<String>,
    /// The application's secret. None: as for the tenant.
    pub client_secret: Option<String>,
    /// Name of the one database.
    pub database: String,
    /// A table with the columns `tag:string`, `timestamp:datetime`, `log:dynamic`, made unless it is there.
    pub table: Option<String>,
    /// Serve HTTP instead of HTTPS.
    pub plain_http: bool,
    /// How long an access token holds.
    pub token_lifetime: Duration,
    /// Where the engine (streaming ingestion, queries) listens apart from the data-management endpoint, as in
    /// Azure. None: one address does both.
    pub engine: Option<SocketAddr>,
    /// Where a machine's metadata service would be: tokens for managed identities, over plain HTTP.
    pub imds: Option<SocketAddr>,
    /// Whether the table of the start takes streaming ingestion.
    pub streaming: bool,
    /// How long messages wait for others before they are ingested; zero ingests at once.
    pub batching_time: Duration,
    /// Blob endpoint of an Azurite account to use as storage, and the account's key (None: the emulator's own).
    pub azurite: Option<(String, Option<String>)>,
    /// What `/v1/rest/auth/metadata` answers.
    pub metadata: Metadata,
    /// How long the signatures and the identity token of the ingestion resources hold.
    pub sas_lifetime: Duration,
    /// Signatures with an account's key, which are short, in place of those with a delegated key.
    pub short_sas: bool,
}

impl Options {
    /// The defaults for a folder: HTTPS on a free port of 127.0.0.1, database `local`, table `Logs`, tokens
    /// for an hour and signatures for twelve, as in Azure.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tenant: None,
            client_id: None,
            client_secret: None,
            database: "local".to_owned(),
            table: Some("Logs".to_owned()),
            plain_http: false,
            engine: None,
            imds: None,
            streaming: false,
            batching_time: Duration::ZERO,
            azurite: None,
            metadata: Metadata::Full,
            token_lifetime: Duration::from_secs(3599),
            sas_lifetime: Duration::from_secs(12 * 3600),
            short_sas: false,
        }
    }
}

/// How the auth metadata are answered. Clusters and emulators differ here, and clients must take all three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metadata {
    /// Where to log in and for which resource.
    Full,
    /// 404.
    Missing,
    /// An object that holds `null`.
    Null,
}

/// What a client needs to know. Displayed as `key=value` lines.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// URL of the data-management endpoint.
    pub ingestion_endpoint: String,
    /// URL of the engine: the same, unless it listens elsewhere.
    pub engine_endpoint: String,
    /// URL to log in at.
    pub authority_host: String,
    /// URL of a machine's metadata service, where there is one.
    pub imds: Option<String>,
    /// Certificate to trust; None with plain HTTP.
    pub ca_file: Option<PathBuf>,
    /// Directory (tenant) id.
    pub tenant_id: String,
    /// Application (client) id.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: String,
    /// The database.
    pub database: String,
    /// The table made at the start.
    pub table: Option<String>,
    /// A file with the token that workload identities show; whoever replaces it rotates the token.
    pub federated_token_file: PathBuf,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "ingestion_endpoint={}", self.ingestion_endpoint)?;
        writeln!(formatter, "engine_endpoint={}", self.engine_endpoint)?;
        writeln!(formatter, "authority_host={}", self.authority_host)?;
        if let Some(imds) = &self.imds {
            writeln!(formatter, "imds={imds}")?;
        }
        if let Some(ca_file) = &self.ca_file {
            writeln!(formatter, "ca_file={}", ca_file.display())?;
        }
        writeln!(formatter, "tenant_id={}", self.tenant_id)?;
        writeln!(formatter, "client_id={}", self.client_id)?;
        writeln!(formatter, "client_secret={}", self.client_secret)?;
        writeln!(formatter, "database={}", self.database)?;
        if let Some(table) = &self.table {
            writeln!(formatter, "table={table}")?;
        }
        writeln!(formatter, "federated_token_file={}", self.federated_token_file.display())?;
        Ok(())
    }
}
