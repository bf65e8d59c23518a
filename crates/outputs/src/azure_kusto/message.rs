//! The message that makes the cluster ingest a blob ("Ingestion message internal structure").

use azure_core::Uuid;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// What traces say of the sender.
pub(super) const APPLICATION: &str = "Kusto.Weir";

/// What is sent, in the order in which it is written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Message<'a> {
    /// The key of whatever the cluster reports: follows from the batch.
    id: String,
    /// The blob's URL with its signature.
    blob_path: &'a str,
    /// Bytes before compression, by which the cluster batches.
    raw_data_size: u64,
    database_name: &'a str,
    table_name: &'a str,
    /// Written when it is asked for: the service's own value is false.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    flush_immediately: bool,
    client_version_for_tracing: String,
    application_for_tracing: &'static str,
    additional_properties: Properties<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Properties<'a> {
    format: &'static str,
    authorization_context: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingestion_mapping_reference: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingestion_mapping_type: Option<&'static str>,
    /// A list as a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<String>,
    /// A list as a text, of values without their prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    ingest_if_not_exists: Option<String>,
}

/// Where a blob goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Destination<'a> {
    pub(super) database: &'a str,
    pub(super) table: &'a str,
    pub(super) mapping: Option<&'a str>,
    pub(super) format: &'static str,
    pub(super) tags: &'a [String],
    /// Tag it with its id, and have it skipped when the table has the id already.
    pub(super) once: bool,
    pub(super) flush_immediately: bool,
}

impl<'a> Message<'a> {
    pub(super) fn new(
        batch: u128,
        blob_path: &'a str,
        raw: u64,
        to: Destination<'a>,
        authorization_context: &'a str,
    ) -> Message<'a> {
        let id = Uuid::from_u128(batch).to_string();
        let by = to.once.then(|| format!("ingest-by:{id}"));
        let tags: Vec<&str> = to.tags.iter().map(String::as_str).chain(by.as_deref()).collect();
        let list = |items: &[&str]| (!items.is_empty()).then(|| serde_json::json!(items).to_string());
        let (tags, once) = (list(&tags), to.once.then(|| list(&[&id])).flatten());
        Message {
            id,
            blob_path,
            raw_data_size: raw,
            database_name: to.database,
            table_name: to.table,
            flush_immediately: to.flush_immediately,
            client_version_for_tracing: version(),
            application_for_tracing: APPLICATION,
            additional_properties: Properties {
                format: to.format,
                authorization_context,
                ingestion_mapping_reference: to.mapping,
                ingestion_mapping_type: to.mapping.map(|_| "Json"),
                tags,
                ingest_if_not_exists: once,
            },
        }
    }

    /// The text of the queue message: base64 of the JSON, without a byte behind it.
    pub(super) fn text(&self) -> String {
        // Texts and numbers: nothing in it can fail to be written.
        STANDARD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

/// Name and version as traces want them: `Kusto.Weir:{0.1.0}`.
pub(super) fn version() -> String {
    format!("{APPLICATION}:{{{}}}", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const BATCH: u128 = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff;

    const PLAIN: Destination<'_> = Destination {
        database: "d",
        table: "t",
        mapping: None,
        format: "json",
        tags: &[],
        once: false,
        flush_immediately: false,
    };

    fn decoded(to: Destination<'_>) -> serde_json::Value {
        let text = Message::new(BATCH, "https://a/c/b.json.gz?sig=x%2B%3D", 9, to, "ctx").text();
        serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap()
    }

    #[test]
    fn a_message_has_exactly_these_fields() {
        let mut expected = json!({
            "Id": "00112233-4455-6677-8899-aabbccddeeff",
            "BlobPath": "https://a/c/b.json.gz?sig=x%2B%3D",
            "RawDataSize": 9,
            "DatabaseName": "d",
            "TableName": "t",
            "ClientVersionForTracing": version(),
            "ApplicationForTracing": "Kusto.Weir",
            "AdditionalProperties": {"format": "json", "authorizationContext": "ctx"},
        });
        assert_eq!(decoded(PLAIN), expected);
        let properties = &mut expected["AdditionalProperties"];
        properties["format"] = json!("multijson");
        properties["ingestionMappingReference"] = json!("m");
        properties["ingestionMappingType"] = json!("Json");
        properties["tags"] = json!(r#"["drop-by:\"x\"","ingest-by:00112233-4455-6677-8899-aabbccddeeff"]"#);
        properties["ingestIfNotExists"] = json!(r#"["00112233-4455-6677-8899-aabbccddeeff"]"#);
        expected["FlushImmediately"] = json!(true);
        let tags = ["drop-by:\"x\"".to_owned()];
        let all = Destination {
            mapping: Some("m"),
            format: "multijson",
            tags: &tags,
            once: true,
            flush_immediately: true,
            ..PLAIN
        };
        assert_eq!(decoded(all), expected);
    }

    #[test]
    fn the_json_ends_with_its_last_bracket() {
        let bytes = STANDARD.decode(Message::new(1, "u", 0, PLAIN, "c").text()).unwrap();
        assert_eq!(bytes.last(), Some(&b'}'));
    }
}
