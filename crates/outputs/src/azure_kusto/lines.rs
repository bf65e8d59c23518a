//! Records to the lines of a blob.

use budget::Full;
use engine::Batch;
use event::{Corrupt, Cursor};
use formats::json::iso_millis;

use super::options::{DataFormat, KustoOptions};
use crate::payload::{Encoder, Slot};
use crate::rows::{Body, Form, json_string, record_time};

/// The form of a line: `{"timestamp":"...","tag":"...","log":{...}}`.
pub(super) struct Lines {
    escape_unicode: bool,
    format: DataFormat,
    /// The level of gzip; `None` leaves the lines as they are.
    gzip: Option<u32>,
    /// `{"timestamp":"`, if there is a time.
    time: Option<Vec<u8>>,
    /// `"tag":`, if there is a tag.
    tag: Option<Vec<u8>>,
    /// `"log":`
    log: Vec<u8>,
}

impl Lines {
    pub(super) fn new(options: &KustoOptions, escape_unicode: bool) -> Lines {
        let key = |name: &str| [json_string(name, escape_unicode), b":".to_vec()].concat();
        let time = options.include_time_key.then(|| [b"{", &*key(&options.time_key), b"\""].concat());
        Lines {
            escape_unicode,
            format: options.data_format,
            gzip: options.compression_enabled.then_some(options.compression_level),
            time,
            tag: options.include_tag_key.then(|| key(&options.tag_key)),
            log: key(&options.log_key),
        }
    }

    /// The suffix of a blob's name, from which the service knows how to read it.
    pub(super) fn suffix(&self) -> &'static str {
        match (self.format, self.gzip.is_some()) {
            (DataFormat::Json, true) => "json.gz",
            (DataFormat::Json, false) => "json",
            (DataFormat::MultiJson, true) => "multijson.gz",
            (DataFormat::MultiJson, false) => "multijson",
        }
    }

    /// Whether characters beyond ASCII are escaped.
    pub(super) fn escapes(&self) -> bool {
        self.escape_unicode
    }

    /// The level of gzip, if the lines are compressed.
    pub(super) fn gzip(&self) -> Option<u32> {
        self.gzip
    }

    /// Begins to write a batch as a blob.
    pub(super) fn encoder<'a>(
        &'a self,
        batch: &'a Batch,
        slot: &Slot<'_>,
    ) -> Result<Encoder<'a, Lines>, Full> {
        slot.encoder(self, batch, self.escape_unicode)
    }
}

impl Form for Lines {
    fn tag(&self, tag: &str) -> Vec<u8> {
        json_string(tag, self.escape_unicode)
    }

    fn head(
        &self,
        _first: bool,
        tag: &[u8],
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Body, Corrupt> {
        let time = record_time(cursor)?;
        if let Some(head) = &self.time {
            out.extend_from_slice(head);
            out.extend_from_slice(&iso_millis(time));
            out.extend_from_slice(b"\",");
        } else {
            out.push(b'{');
        }
        if let Some(key) = &self.tag {
            out.extend_from_slice(key);
            out.extend_from_slice(tag);
            out.push(b',');
        }
        out.extend_from_slice(&self.log);
        Ok(Body::Value)
    }

    fn tail(&self) -> &[u8] {
        b"}\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure_kusto::options::tests::read;
    use crate::payload::{PATIENCE, Slots};
    use crate::testing;

    async fn written(pairs: &[(&str, &str)], escape_unicode: bool) -> (Vec<u8>, u64) {
        let lines = Lines::new(&read(pairs).unwrap(), escape_unicode);
        let slots = Slots::one(1 << 20, lines.gzip);
        let slot = slots.take().unwrap();
        let batch = testing::batch("app \u{e9}", &[r#"{"level":"info","n":1}"#, "{}"]);
        let mut encoder = lines.encoder(&batch, &slot).unwrap();
        let blob = encoder.next(PATIENCE).await.unwrap().unwrap();
        assert!(encoder.complete() && encoder.next(PATIENCE).await.unwrap().is_none());
        (blob.to_vec(), encoder.raw())
    }

    #[tokio::test]
    async fn a_line_has_the_bytes_that_fluent_bit_writes() {
        let plain = [("compression_enabled", "off")];
        let (bytes, raw) = written(&plain, true).await;
        let expected = concat!(
            r#"{"timestamp":"2023-11-14T22:13:20.123Z","tag":"app \u00e9","log":{"level":"info","n":1}}"#,
            "\n",
            r#"{"timestamp":"2023-11-14T22:13:21.123Z","tag":"app \u00e9","log":{}}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        assert_eq!(raw, expected.len() as u64);
        let (bytes, _) = written(&plain, false).await;
        assert_eq!(String::from_utf8(bytes).unwrap(), expected.replace("\\u00e9", "\u{e9}"));
    }

    #[tokio::test]
    async fn keys_can_be_renamed_and_left_out() {
        let pairs = [
            ("compression_enabled", "off"),
            ("include_time_key", "off"),
            ("include_tag_key", "off"),
            ("log_key", "the \"log\""),
        ];
        let (bytes, _) = written(&pairs, true).await;
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "{\"the \\\"log\\\"\":{\"level\":\"info\",\"n\":1}}\n{\"the \\\"log\\\"\":{}}\n"
        );
    }

    #[tokio::test]
    async fn a_compressed_blob_is_one_gzip_member_of_the_same_lines() {
        let (plain, raw) = written(&[("compression_enabled", "off")], true).await;
        let (compressed, raw_compressed) = written(&[], true).await;
        assert_eq!(testing::gunzip(&compressed), plain);
        assert_eq!(raw, raw_compressed);
    }
}
