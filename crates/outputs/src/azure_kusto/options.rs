//! What the user says.

use azure_core::http::Url;
use net::client::{NetOptions, TrustOptions};
use options::{Choice, CommaList, Options, Period, Reader, Secret, Size};

/// The options of an instance.
#[derive(Debug, Options)]
#[options(check = KustoOptions::check)]
pub(super) struct KustoOptions {
    /// How to log in.
    #[option(default = "service_principal")]
    pub(super) auth_type: AuthType,
    /// Directory (tenant) of the application; for a workload identity AZURE_TENANT_ID may say it.
    pub(super) tenant_id: Option<String>,
    /// Application (client) id; for a workload identity AZURE_CLIENT_ID may say it. For a managed identity
    /// `system`, or nothing, is the machine's own, and any other id one that was assigned to it.
    pub(super) client_id: Option<String>,
    /// Secret of the application.
    pub(super) client_secret: Option<Secret>,
    /// File with the token that a workload identity shows; it is read again whenever a token is needed. If not
    /// set, AZURE_FEDERATED_TOKEN_FILE from the environment, or else
    /// /var/run/secrets/azure/tokens/azure-identity-token.
    pub(super) workload_identity_token_file: Option<String>,
    /// Where to log in, for other clouds than the public one; if not set, AZURE_AUTHORITY_HOST from the
    /// environment, or else https://login.microsoftonline.com.
    pub(super) authority_host: Option<String>,
    /// URL of the cluster's ingestion endpoint: https://ingest-NAME.REGION.kusto.windows.net.
    #[option(required)]
    pub(super) ingestion_endpoint: String,
    /// URL of the cluster's engine, for streaming; if not set, the ingestion endpoint without `ingest-`.
    pub(super) engine_endpoint: Option<String>,
    /// Database of the table.
    #[option(required)]
    pub(super) database_name: String,
    /// Table that takes the records.
    #[option(required)]
    pub(super) table_name: String,
    /// Name of a JSON ingestion mapping of the table.
    pub(super) ingestion_mapping_reference: Option<String>,
    /// Key of a record's body.
    #[option(default = "log")]
    pub(super) log_key: String,
    /// Write the tag.
    #[option(default = "on")]
    pub(super) include_tag_key: bool,
    /// Key of the tag.
    #[option(default = "tag")]
    pub(super) tag_key: String,
    /// Write the time.
    #[option(default = "on")]
    pub(super) include_time_key: bool,
    /// Key of the time.
    #[option(default = "timestamp")]
    pub(super) time_key: String,
    /// The format that is declared: `json` is a record a line and the cheaper one to read for the cluster.
    #[option(default = "json")]
    pub(super) data_format: DataFormat,
    /// Compress with gzip.
    #[option(default = "on")]
    pub(super) compression_enabled: bool,
    /// Effort of the compression. Of web logs 1 leaves 16 %, 3 as much and 6 leaves 14 %; next to 1, a core compresses a
    /// third of the bytes with 3 and a sixth with 6.
    #[option(default = "1", min = "1", max = "9")]
    pub(super) compression_level: u32,
    /// Send small batches by streaming ingestion, which takes seconds in place of minutes, and queue what is too
    /// large, or comes while streaming is throttled or unavailable.
    #[option(default = "off")]
    pub(super) streaming_ingestion_enabled: bool,
    /// Tag each blob's extent with the blob's id and have the cluster skip an id that it has already. Prevents
    /// duplicates; meant for few, large blobs.
    #[option(default = "off")]
    pub(super) ingest_by_tags: bool,
    /// Tags of the extents, such as `drop-by:2026-11-23`.
    pub(super) extent_tags: Option<CommaList>,
    /// Ask the cluster to ingest each blob at once, without waiting for others. Costly for the cluster.
    #[option(default = "off")]
    pub(super) flush_immediately: bool,
    /// Ask the cluster whether the table is there and which ingestions have failed, hold what flows while it is missing
    /// and post again what failed for it. Asks the engine, and wants the permission to view the database.
    #[option(default = "on")]
    pub(super) check_ingestion: bool,
    #[option(flatten)]
    pub(super) buffer: BufferOptions,
    /// The time to connect to the ingestion endpoint.
    #[option(default = "60")]
    pub(super) ingestion_endpoint_connect_timeout: Period,
    /// How long containers, queues and their signatures are used before they are asked for again.
    #[option(default = "3600", min = "1")]
    pub(super) ingestion_resources_refresh_interval: Period,
    /// The time that one request may take: a token, the resources, a blob, a message.
    #[option(default = "60s", min = "1s")]
    pub(super) io_timeout: Period,
    #[option(flatten)]
    pub(super) trust: TrustOptions,
    #[option(flatten)]
    pub(super) net: NetOptions,
}

/// The options of buffering.
#[derive(Debug, Clone, Options)]
pub(super) struct BufferOptions {
    /// Collect records in files before they are uploaded, so that blobs become large. What is in a file is
    /// settled, and survives a crash.
    #[option(default = "off")]
    pub(super) buffering_enabled: bool,
    /// Folder of the files.
    #[option(default = "/tmp/fluent-bit/azure-kusto/")]
    pub(super) buffer_dir: String,
    /// Folder below `buffer_dir`, to be different for each instance.
    #[option(default = "key")]
    pub(super) azure_kusto_buffer_key: String,
    /// A file is uploaded when it is so old.
    #[option(default = "30m", min = "1s")]
    pub(super) upload_timeout: Period,
    /// A file is uploaded when it holds so many bytes, before compression.
    #[option(default = "200M", min = "1M", max = "4G")]
    pub(super) upload_file_size: Size,
    /// While the files take so many bytes, no more records are taken.
    #[option(default = "8G", min = "1M")]
    pub(super) store_dir_limit_size: Size,
    /// Delete a file when its blob is stored, and not only when the queue has accepted its message.
    #[option(default = "off")]
    pub(super) buffer_file_delete_early: bool,
    /// Tries of one file before it is given up; without it there is no limit. Tries that ended for want of a
    /// permission, or of a table, do not count.
    #[option(min = "0")]
    pub(super) scheduler_max_retries: Option<u32>,
    /// Delete a file that is given up, and count its records as dropped; otherwise it stays until the next start.
    #[option(default = "off")]
    pub(super) delete_on_max_upload_error: bool,
}

/// How to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(super) enum AuthType {
    #[choice(name = "service_principal")]
    ServicePrincipal,
    #[choice(name = "managed_identity")]
    ManagedIdentity,
    #[choice(name = "workload_identity")]
    WorkloadIdentity,
}

/// The declared format. What is written is both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Choice)]
pub(super) enum DataFormat {
    #[choice(name = "json")]
    Json,
    #[choice(name = "multijson")]
    MultiJson,
}

impl DataFormat {
    pub(super) fn name(self) -> &'static str {
        match self {
            DataFormat::Json => "json",
            DataFormat::MultiJson => "multijson",
        }
    }
}

impl KustoOptions {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.auth_type == AuthType::ServicePrincipal {
            let needed = [
                ("tenant_id", self.tenant_id.is_some()),
                ("client_id", self.client_id.is_some()),
                ("client_secret", self.client_secret.is_some()),
            ];
            for (option, _) in needed.iter().filter(|(_, given)| !given) {
                let hint = "or choose auth_type managed_identity or workload_identity".to_owned();
                reader.refuse(option, format!("option \"{option}\" is required"), Some(hint));
            }
        }
        if let Err(what) = endpoint(&self.ingestion_endpoint) {
            reader.refuse("ingestion_endpoint", what, None);
        }
        if let Some(Err(what)) = self.engine_endpoint.as_deref().map(endpoint) {
            reader.refuse("engine_endpoint", what, None);
        }
        if self.streaming_ingestion_enabled {
            let tags = self.extent_tags.as_ref().is_some_and(|tags| !tags.is_empty());
            let excluded = [
                ("buffering_enabled", self.buffer.buffering_enabled),
                ("ingest_by_tags", self.ingest_by_tags),
                ("extent_tags", tags),
            ];
            for (option, _) in excluded.iter().filter(|(_, on)| *on) {
                let what = format!("{option} does not go with streaming_ingestion_enabled");
                reader.refuse(option, what, Some("use one of them".to_owned()));
            }
        }
    }

    /// The engine's URL.
    pub(super) fn engine(&self) -> Result<String, String> {
        match &self.engine_endpoint {
            Some(url) => endpoint(url),
            None => Ok(endpoint(&self.ingestion_endpoint)?.replacen("://ingest-", "://", 1)),
        }
    }
}

/// An endpoint without a slash at its end. Tokens go there, so only this machine may be spoken to in clear.
pub(super) fn endpoint(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|_| "this is no URL".to_owned())?;
    let host = url.host_str().unwrap_or_default();
    let local = ["localhost", "127.0.0.1", "[::1]"].contains(&host);
    match url.scheme() {
        _ if host.is_empty() => Err("this is no URL".to_owned()),
        "https" => Ok(text.trim_end_matches('/').to_owned()),
        "http" if local => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("the URL must start with https://".to_owned()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Options with what is required, and more.
    pub(crate) fn read(pairs: &[(&str, &str)]) -> Result<KustoOptions, String> {
        let needed = [
            ("tenant_id", "t"),
            ("client_id", "c"),
            ("client_secret", "s3cret"),
            ("ingestion_endpoint", "https://ingest-x.kusto.windows.net/"),
            ("database_name", "d"),
            ("table_name", "t"),
        ];
        KustoOptions::from_pairs(&[&needed, pairs].concat()).map_err(|problems| problems.to_string())
    }

    #[test]
    fn defaults_are_those_of_fluent_bit() {
        let options = read(&[]).unwrap();
        assert_eq!((&*options.log_key, &*options.tag_key, &*options.time_key), ("log", "tag", "timestamp"));
        assert!(options.include_tag_key && options.include_time_key && options.compression_enabled);
        assert_eq!(options.io_timeout.0.as_secs(), 60);
        assert_eq!(options.ingestion_resources_refresh_interval.0.as_secs(), 3600);
        let buffer = &options.buffer;
        assert!(!buffer.buffering_enabled && !buffer.delete_on_max_upload_error);
        assert_eq!((buffer.upload_timeout.0.as_secs(), buffer.upload_file_size.0), (1800, 200_000_000));
        assert_eq!(buffer.store_dir_limit_size.0, 8_000_000_000);
        assert_eq!(options.engine().unwrap(), "https://x.kusto.windows.net");
        assert!(!format!("{options:?}").contains("s3cret"));
    }

    #[test]
    fn what_an_identity_needs_is_asked_for_and_no_more() {
        let place = [
            ("ingestion_endpoint", "https://ingest-x.kusto.windows.net"),
            ("database_name", "d"),
            ("table_name", "t"),
        ];
        let with =
            |pair| KustoOptions::from_pairs(&[&place[..], &[pair]].concat()).map_err(|e| e.to_string());
        let refused = with(("auth_type", "service_principal")).unwrap_err();
        for option in ["tenant_id", "client_id", "client_secret"] {
            assert!(refused.contains(&format!("\"{option}\" is required")), "{refused}");
        }
        with(("auth_type", "managed_identity")).unwrap();
        with(("auth_type", "workload_identity")).unwrap();
    }

    #[test]
    fn streaming_goes_with_nothing_that_it_cannot_carry() {
        for option in [("ingest_by_tags", "on"), ("extent_tags", "a"), ("buffering_enabled", "on")] {
            let refused = read(&[("streaming_ingestion_enabled", "on"), option]).unwrap_err();
            assert!(refused.contains(option.0), "{refused}");
        }
    }

    #[test]
    fn tokens_travel_in_clear_only_within_the_machine() {
        for (url, expected) in [
            ("https://x.example", Ok("https://x.example".to_owned())),
            ("http://127.0.0.1:8080/", Ok("http://127.0.0.1:8080".to_owned())),
            ("http://x.example", Err("the URL must start with https://".to_owned())),
            ("x.example", Err("this is no URL".to_owned())),
            ("not a url", Err("this is no URL".to_owned())),
        ] {
            assert_eq!(endpoint(url), expected, "{url}");
        }
    }
}
