//! Records to the lines of a blob.

use std::sync::Arc;

use budget::{Account, Buf};
use engine::Batch;
use event::Cursor;
use formats::json::iso_millis;

use super::KustoOptions;
use crate::payload::Payload;
use crate::rows::{BLOCK, Failed, Rows, Sink, json_string, record_time};

/// Bytes of lines after which others on the thread get their turn: about a millisecond of compressing.
const TURN: u64 = 128 << 10;

/// The form of a line: `{"timestamp":"...","tag":"...","log":{...}}`.
pub(super) struct Lines {
    escape_unicode: bool,
    /// The level of gzip; `None` leaves the lines as they are.
    gzip: Option<u32>,
    /// `{"timestamp":"`, if there is a time.
    time: Option<Vec<u8>>,
    /// `"tag":`, if there is a tag.
    tag: Option<Vec<u8>>,
    /// `"log":`
    log: Vec<u8>,
}

/// A batch as the body of a blob.
#[derive(Debug)]
pub(super) struct Blob {
    /// What is stored.
    pub(super) pages: Arc<Buf>,
    /// Bytes of the lines before compression.
    pub(super) raw: u64,
}

impl Lines {
    pub(super) fn new(options: &KustoOptions, escape_unicode: bool) -> Lines {
        let key = |name: &str| [json_string(name, escape_unicode), b":".to_vec()].concat();
        let time = options.include_time_key.then(|| [b"{", &*key(&options.time_key), b"\""].concat());
        Lines {
            escape_unicode,
            gzip: options.compression_enabled.then_some(options.compression_level),
            time,
            tag: options.include_tag_key.then(|| key(&options.tag_key)),
            log: key(&options.log_key),
        }
    }

    /// The suffix of a blob's name, from which the service knows how to read it.
    pub(super) fn suffix(&self) -> &'static str {
        if self.gzip.is_some() { "json.gz" } else { "json" }
    }

    /// Writes a batch. The block and the compressor are leased from `account`, and so are the pages.
    pub(super) async fn blob(&self, batch: &Batch, account: &Account) -> Result<Blob, Failed> {
        let _block = account.try_lease(BLOCK)?;
        let mut rows = Rows::new(self.escape_unicode);
        let mut payload = Payload::new(account, self.gzip)?;
        let mut turn = TURN;
        for part in &batch.parts {
            let tag = json_string(part.tag().as_str(), self.escape_unicode);
            let mut cursor = part.cursor()?;
            for _ in 0..part.records() {
                self.line(&tag, &mut cursor, &mut rows, &mut payload)?;
                if payload.raw() >= turn {
                    turn = payload.raw() + TURN;
                    tokio::task::yield_now().await;
                }
            }
        }
        rows.drain(&mut payload)?;
        let (pages, raw) = payload.finish()?;
        Ok(Blob { pages: Arc::new(pages), raw })
    }

    fn line(
        &self,
        tag: &[u8],
        cursor: &mut Cursor<'_>,
        rows: &mut Rows,
        out: &mut impl Sink,
    ) -> Result<(), Failed> {
        let time = record_time(cursor)?;
        if let Some(head) = &self.time {
            rows.text(head, out)?;
            rows.text(&iso_millis(time), out)?;
            rows.text(b"\",", out)?;
        } else {
            rows.text(b"{", out)?;
        }
        if let Some(key) = &self.tag {
            rows.text(key, out)?;
            rows.text(tag, out)?;
            rows.text(b",", out)?;
        }
        rows.text(&self.log, out)?;
        rows.value(cursor, out)?;
        Ok(rows.text(b"}\n", out)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use budget::Share;
    use options::Options as _;

    fn options(pairs: &[(&str, &str)]) -> KustoOptions {
        let needed = [
            ("tenant_id", "t"),
            ("client_id", "c"),
            ("client_secret", "s"),
            ("ingestion_endpoint", "https://x"),
            ("database_name", "d"),
            ("table_name", "t"),
        ];
        KustoOptions::from_pairs(&[&needed, pairs].concat()).unwrap()
    }

    async fn written(pairs: &[(&str, &str)], escape_unicode: bool) -> (Vec<u8>, u64) {
        let account = testing::setup().budget.account("kusto.0", "uploads", Share::COMMON).unwrap();
        let batch = testing::batch("app \u{e9}", &[r#"{"level":"info","n":1}"#, "{}"]);
        let blob = Lines::new(&options(pairs), escape_unicode).blob(&batch, &account).await.unwrap();
        (blob.pages.to_vec(), blob.raw)
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

    #[tokio::test]
    async fn a_blob_that_has_no_room_is_full_and_pays_everything_back() {
        let setup = testing::setup();
        let account = setup.budget.account("kusto.0", "uploads", Share::at_most(BLOCK)).unwrap();
        let batch = testing::batch("t", &["{}"]);
        let failed = Lines::new(&options(&[]), true).blob(&batch, &account).await.unwrap_err();
        assert_eq!((failed, account.held()), (Failed::Full, 0));
    }

    /// A service's log: times, levels, paths, ids and numbers, 160 bytes of msgpack each.
    fn usual_log(count: u64) -> Vec<String> {
        let mut state = 1u64;
        let mut draw = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let line = |_| {
            let level = ["debug", "info", "info", "warn"][draw(4) as usize];
            let path = ["/v1/orders", "/v1/carts", "/health", "/v2/users"][draw(4) as usize];
            format!(
                r#"{{"level":"{level}","logger":"shop.web.RequestLog","message":"GET {path}/{} took {} ms","trace":"{:016x}","pod":"shop-web-{}","namespace":"production","status":{}}}"#,
                draw(100_000),
                draw(900),
                draw(u64::MAX),
                draw(12),
                200 + draw(3)
            )
        };
        (0..count).map(line).collect()
    }

    #[tokio::test]
    async fn a_full_batch_of_usual_logs_fits_into_what_is_set_aside() {
        use super::super::{BATCH_BYTES, UPLOAD};
        let setup = testing::setup();
        let account = setup.budget.account("kusto.0", "uploads", Share::fixed(UPLOAD)).unwrap();
        let records = usual_log(36_000);
        let batch = testing::batch("app.log", &records.iter().map(String::as_str).collect::<Vec<_>>());
        assert!((BATCH_BYTES * 9 / 10..BATCH_BYTES).contains(&batch.bytes()), "{} bytes", batch.bytes());
        let blob = Lines::new(&options(&[]), true).blob(&batch, &account).await.unwrap();
        let peak = setup.budget.accounts()[0].peak;
        assert!(peak <= UPLOAD && blob.raw > batch.bytes() as u64, "{peak} bytes at the most");
    }
}
