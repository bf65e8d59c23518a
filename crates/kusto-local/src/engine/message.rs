//! The ingestion message of the queue: base64 of a JSON object ("How to ingest data using the REST API",
//! "Ingestion message internal structure").
//!
//! Reading is lenient where the service is (older spellings, bytes behind the object), because a client in
//! the field must work; each leniency is written down as a complaint, because a client under test must not
//! need it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::rows::Complaints;
use crate::secrets;

/// The fields the engine uses; it ignores all others.
#[derive(Deserialize)]
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
    pub(crate) additional_properties: Properties,
}

/// `AdditionalProperties`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Properties {
    pub(crate) authorization_context: Option<String>,
    pub(crate) format: Option<String>,
    #[serde(alias = "jsonMappingReference", alias = "mappingReference")]
    pub(crate) ingestion_mapping_reference: Option<String>,
    #[serde(alias = "jsonMapping")]
    pub(crate) ingestion_mapping: Option<String>,
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
