//! The ingestion message of the queue: base64 of a JSON object ("How to ingest data using the REST API",
//! "Ingestion message internal structure").
//!
//! Reading is lenient where the service is (older spellings, bytes behind the object), because a client in
//! the field must work; each leniency is written down as a complaint, because a client under test must not
//! need it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::rows::Complaints;
use crate::secrets;

/// The fields the engine uses; it ignores all others.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Message {
    pub(crate) id: Option<String>,
    pub(crate) blob_path: String,
    pub(crate) raw_data_size: Option<u64>,
    pub(crate) database_name: String,
    pub(crate) table_name: String,
    #[serde(default)]
    pub(crate) retain_blob_on_success: Option<bool>,
    #[serde(default)]
    pub(crate) flush_immediately: Option<bool>,
    #[serde(default)]
    report_level: Value,
    #[serde(default)]
    report_method: Value,
    #[serde(default)]
    pub(crate) ingestion_status_in_table: Option<InTable>,
    #[serde(default)]
    pub(crate) additional_properties: Properties,
}

/// Where the status table has this message.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct InTable {
    pub(crate) table_connection_string: String,
    pub(crate) partition_key: String,
    pub(crate) row_key: String,
}

/// `AdditionalProperties`. Lists are JSON texts.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Properties {
    pub(crate) authorization_context: Option<String>,
    pub(crate) format: Option<String>,
    #[serde(alias = "jsonMappingReference", alias = "csvMappingReference", alias = "mappingReference")]
    pub(crate) ingestion_mapping_reference: Option<String>,
    #[serde(alias = "jsonMapping", alias = "csvMapping")]
    pub(crate) ingestion_mapping: Option<String>,
    tags: Option<String>,
    ingest_if_not_exists: Option<String>,
    ignore_first_record: Option<Value>,
}

impl Message {
    /// Whether a success, or a failure, is to be told.
    pub(crate) fn tells(&self, success: bool) -> bool {
        match level(&self.report_level, &["FailuresOnly", "None", "FailuresAndSuccesses"]) {
            0 => !success,
            2 => true,
            _ => false,
        }
    }

    /// Whether it is told in the queue and in the table.
    pub(crate) fn tells_in(&self) -> (bool, bool) {
        match level(&self.report_method, &["Queue", "Table", "QueueAndTable"]) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        }
    }

    /// What messages of one batch have in common.
    pub(crate) fn batch_key(&self) -> String {
        let properties = &self.additional_properties;
        format!(
            "{:?}",
            (
                &self.database_name,
                &self.table_name,
                &properties.format,
                (&properties.ingestion_mapping_reference, &properties.ingestion_mapping),
                (&properties.tags, &properties.ingest_if_not_exists),
                properties.ignore_first_record.as_ref().map(Value::to_string),
            )
        )
    }
}

impl Properties {
    /// The tags of the extent.
    pub(crate) fn tags(&self) -> Result<Vec<String>, String> {
        list("tags", self.tags.as_deref())
    }

    /// Nothing is ingested when the table has one of these `ingest-by:` tags.
    pub(crate) fn unless_tagged(&self) -> Result<Vec<String>, String> {
        list("ingestIfNotExists", self.ingest_if_not_exists.as_deref())
    }

    pub(crate) fn skips_first(&self) -> bool {
        match &self.ignore_first_record {
            Some(Value::Bool(skip)) => *skip,
            Some(Value::String(skip)) => skip.eq_ignore_ascii_case("true"),
            _ => false,
        }
    }
}

fn list(name: &str, text: Option<&str>) -> Result<Vec<String>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|error| format!("{name} is no JSON array of strings: {error}"))
}

/// A number, or its name. Nothing means 0.
fn level(value: &Value, names: &[&str]) -> u64 {
    match value {
        Value::Number(number) => number.as_u64().unwrap_or(0),
        Value::String(name) => names.iter().position(|known| known == name).unwrap_or(0) as u64,
        _ => 0,
    }
}

/// What was seen of the text before the object was understood.
#[derive(Default)]
pub(crate) struct Findings {
    pub(crate) complaints: Complaints,
    /// A NUL byte behind the object.
    pub(crate) trailing_nul: bool,
}

/// Decodes the text of a queue message. The error is a sentence for a person.
pub(crate) fn parse(text: &str, findings: &mut Findings) -> Result<Message, String> {
    let bytes =
        STANDARD.decode(text.trim()).map_err(|error| format!("the message text is not base64: {error}"))?;
    let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Message>();
    let message = values.next().ok_or("the message is empty")?;
    let message = message.map_err(|error| format!("the message is not understood: {error}"))?;
    let rest = &bytes[values.byte_offset()..];
    findings.trailing_nul = rest.contains(&0);
    if findings.trailing_nul {
        findings.complaints.push("the message's JSON ends with a NUL byte");
    }
    if rest.iter().any(|byte| *byte != 0 && !byte.is_ascii_whitespace()) {
        findings.complaints.push(format!("{} bytes are behind the message's JSON", rest.len()));
    }
    if !message.id.as_deref().is_some_and(secrets::is_guid) {
        findings.complaints.push("Id is no GUID");
    }
    Ok(message)
}

/// A message for people: what is secret in it is left out. None when it is no JSON.
pub(crate) fn shown(text: &str) -> Option<Value> {
    let bytes = STANDARD.decode(text.trim()).ok()?;
    let mut message: Value = serde_json::Deserializer::from_slice(&bytes).into_iter().next()?.ok()?;
    if let Some(Value::String(url)) = message.get_mut("BlobPath") {
        url.truncate(url.find('?').unwrap_or(url.len()));
    }
    if let Some(context) = message.pointer_mut("/AdditionalProperties/authorizationContext") {
        *context = Value::from("...");
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"Id":"a0000000-0000-0000-0000-000000000001","BlobPath":"u","RawDataSize":null,"DatabaseName":"d","TableName":"t"}"#;

    fn read(json: &str) -> (Option<Message>, Findings) {
        let mut findings = Findings::default();
        (parse(&STANDARD.encode(json), &mut findings).ok(), findings)
    }

    #[test]
    fn a_good_message_has_no_complaint() {
        let (message, findings) = read(GOOD);
        let message = message.unwrap();
        assert_eq!((message.blob_path.as_str(), message.raw_data_size), ("u", None));
        assert!(findings.complaints.texts.is_empty() && !findings.trailing_nul);
    }

    #[test]
    fn report_levels_are_read_as_numbers_and_names_and_default_to_failures_in_the_queue() {
        for (fields, failure, success, places) in [
            ("", true, false, (true, false)),
            (r#","ReportLevel":1"#, false, false, (true, false)),
            (r#","ReportLevel":2,"ReportMethod":1"#, true, true, (false, true)),
            (
                r#","ReportLevel":"FailuresAndSuccesses","ReportMethod":"QueueAndTable""#,
                true,
                true,
                (true, true),
            ),
        ] {
            let (message, _) = read(&GOOD.replace('}', &format!("{fields}}}")));
            let message = message.unwrap();
            assert_eq!((message.tells(false), message.tells(true)), (failure, success), "{fields}");
            assert_eq!(message.tells_in(), places, "{fields}");
        }
    }

    #[test]
    fn bytes_behind_the_object_are_complaints() {
        let (message, findings) = read(&format!("{GOOD}\0"));
        assert!(message.is_some() && findings.trailing_nul);
        assert_eq!(findings.complaints.texts, ["the message's JSON ends with a NUL byte"]);
        let (message, findings) = read(&format!("{GOOD}{{}}"));
        assert!(message.is_some() && !findings.trailing_nul);
        assert_eq!(findings.complaints.texts, ["2 bytes are behind the message's JSON"]);
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for json in ["", "[]", "{}", "{\"BlobPath\":1}", &GOOD[..40]] {
            assert!(read(json).0.is_none(), "{json}");
        }
        assert!(parse("!!!", &mut Findings::default()).is_err());
    }
}
