//! Lines as records: whole, or taken apart by a parser.

use std::sync::Arc;

use engine::Setup;
use event::EventTime;
use formats::parser::Parser;
use options::Reader;

use crate::records::{Records, Value};

/// What makes a record of a line.
#[derive(Debug, Clone)]
pub(crate) struct LineParser {
    parser: Option<Arc<Parser>>,
}

impl LineParser {
    /// The parser of this name, or none. Reports a name that nothing has.
    pub(crate) fn open(name: Option<&str>, reader: &mut Reader<'_>, setup: &Setup) -> Option<LineParser> {
        let Some(name) = name else { return Some(LineParser { parser: None }) };
        setup.parser("parser", name, reader).map(|parser| LineParser { parser: Some(parser) })
    }

    /// Whether there is a parser.
    pub(crate) fn is_some(&self) -> bool {
        self.parser.is_some()
    }

    /// Adds the record of a line: what the parser makes of it and then `more`; or, when there is none or it does
    /// not take the line, the line as the value of `key` and then `more`. False when it does not take it.
    pub(crate) async fn add(
        &self,
        records: &mut Records,
        time: EventTime,
        line: &[u8],
        key: &str,
        more: &[(&str, Value<'_>)],
    ) -> bool {
        if self.add_parsed(records, time, line, more).await {
            return true;
        }
        self.add_whole(records, time, line, key, more).await;
        self.parser.is_none()
    }

    /// Adds what the parser makes of a line, and then `more`. False, and nothing, when there is none or it does not
    /// take the line.
    pub(crate) async fn add_parsed(
        &self,
        records: &mut Records,
        time: EventTime,
        line: &[u8],
        more: &[(&str, Value<'_>)],
    ) -> bool {
        match &self.parser {
            Some(parser) => records.add_parsed(parser, time, line, more).await,
            None => false,
        }
    }

    /// Adds the line as the value of `key`, and then `more`.
    pub(crate) async fn add_whole(
        &self,
        records: &mut Records,
        time: EventTime,
        line: &[u8],
        key: &str,
        more: &[(&str, Value<'_>)],
    ) {
        if more.is_empty() {
            return records.add(time, &[(key, Value::Str(line))]).await;
        }
        let mut entries = Vec::with_capacity(1 + more.len());
        entries.push((key, Value::Str(line)));
        entries.extend_from_slice(more);
        records.add(time, &entries).await;
    }
}
