//! What went wrong with a request, and what follows from it.
//!
//! | answer | login | cluster | blob | queue | stream |
//! |---|---|---|---|---|---|
//! | none, 408, 5xx | again | again | again | again | again, then queue |
//! | 429 | again | again | again | again | queue for a while |
//! | 401 | hold | renew the token, again | renew the resources, again | as blob | as cluster |
//! | 403 | hold | hold | renew the resources, again | as blob | queue for longer |
//! | 404, container or queue going away | hold | hold | renew the resources, again | as blob | queue for longer |
//! | 409 `BlobAlreadyExists` | | | done | | |
//! | 400 `InvalidBlockList`, `InvalidBlobOrBlock` | | | again, from the first block | | |
//! | 400 that is not permanent | again | again | | | again, then queue |
//! | 400 about the data | | | | | split, down to the record that is refused |
//! | 413 | hold | hold | split | hold | queue this one |
//! | table, database or mapping missing | hold | hold | | | hold |
//! | any other 3xx, 4xx | hold | hold | hold | hold | queue for longer |
//!
//! Only a stream is answered by whoever reads the records, so only there an answer can say that one of them is bad.
//! Nothing else drops a record.

use std::error::Error as _;
use std::time::{Duration, SystemTime};

use azure_core::error::ErrorKind;
use azure_core::http::headers::HeaderName;
use engine::Outcome;
use http::Response;
use net::client;
use serde::Deserialize;

use crate::retry_after;

/// Characters of a server's text that go into a log line.
const TEXT: usize = 300;

/// What was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A token.
    Login,
    /// A question to the cluster.
    Cluster,
    /// Storing the blob.
    Blob,
    /// Posting the message.
    Queue,
    /// Streaming records.
    Stream,
    /// Looking whether the table is there, before a message is posted.
    Table,
}

impl Step {
    /// All steps, in the order of their discriminants.
    pub(super) const ALL: [Step; 6] =
        [Step::Login, Step::Cluster, Step::Blob, Step::Queue, Step::Stream, Step::Table];

    pub(super) fn name(self) -> &'static str {
        match self {
            Step::Login => "login",
            Step::Cluster => "cluster",
            Step::Blob => "blob",
            Step::Queue => "queue",
            Step::Stream => "stream",
            Step::Table => "table",
        }
    }
}

/// What a fault is counted as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    Unavailable,
    Throttled,
    Token,
    Signature,
    Held,
    TooLarge,
    Data,
}

impl Cause {
    /// All causes, in the order of their discriminants.
    pub(super) const ALL: [Cause; 7] = [
        Cause::Unavailable,
        Cause::Throttled,
        Cause::Token,
        Cause::Signature,
        Cause::Held,
        Cause::TooLarge,
        Cause::Data,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Cause::Unavailable => "unavailable",
            Cause::Throttled => "throttled",
            Cause::Token => "token",
            Cause::Signature => "signature",
            Cause::Held => "held",
            Cause::TooLarge => "too_large",
            Cause::Data => "data",
        }
    }
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What was to be done is done.
    Done,
    /// Another time may do.
    Again,
    /// Another token may do.
    NewToken,
    /// Another container or queue, or a fresh signature, may do.
    NewResources,
    /// Somebody has to change something.
    Hold,
    /// Less may do.
    Split,
    /// A record is refused for good: find it.
    Data,
}

/// A request that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) step: Step,
    /// The status; `None` when there was no answer.
    pub(super) status: Option<u16>,
    /// The service's own code, for example `BlobAlreadyExists`.
    pub(super) code: String,
    /// Whether the cluster says that the same request will always fail; `None` when it does not say.
    pub(super) permanent: Option<bool>,
    /// When the service wants to be asked again.
    pub(super) after: Option<Duration>,
    /// One line without secrets.
    pub(super) text: String,
}

/// An error of the cluster: `{"error":{"code":"...","@message":"..."}}`.
#[derive(Deserialize)]
struct OneApi {
    error: OneApiError,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OneApiError {
    code: String,
    message: String,
    #[serde(rename = "@message")]
    details: String,
    #[serde(rename = "@permanent")]
    permanent: Option<bool>,
}

impl Fault {
    /// The cluster answered something else than success. The body may be anything, also HTML or nothing.
    pub(super) fn answer(step: Step, response: &Response<bytes::Bytes>) -> Fault {
        let error = serde_json::from_slice::<OneApi>(response.body()).map(|body| body.error);
        let OneApiError { code, message, details, permanent } = error.unwrap_or_default();
        let status = response.status();
        let text = if details.is_empty() { &message } else { &details };
        Fault {
            step,
            status: Some(status.as_u16()),
            after: retry_after::retry_after(response.headers(), SystemTime::now()),
            text: one_line(&format!("{status} {code} {text}")),
            code,
            permanent,
        }
    }

    /// There was no answer.
    pub(super) fn unanswered(step: Step, error: &client::Error) -> Fault {
        Fault::local(step, &error.to_string())
    }

    /// The answer is not understood.
    pub(super) fn local(step: Step, text: &str) -> Fault {
        Fault { step, status: None, code: String::new(), permanent: None, after: None, text: one_line(text) }
    }

    /// An error of the Azure crates: what they got as an answer, if anything.
    pub(super) fn azure(step: Step, error: &azure_core::Error) -> Fault {
        // A credential's error holds the one with the response.
        let mut found = error;
        while let Some(inner) = found.source().and_then(|source| source.downcast_ref::<azure_core::Error>()) {
            found = inner;
        }
        let ErrorKind::HttpResponse { status, error_code, raw_response } = found.kind() else {
            return Fault::local(step, &client::chain(found));
        };
        let header = |name: &'static str| {
            let headers = raw_response.as_ref()?.headers();
            headers.get_optional_string(&HeaderName::from_static(name))
        };
        // The header is authoritative: a body may be cut, or a proxy's.
        let code = header("x-ms-error-code").or_else(|| error_code.clone()).unwrap_or_default();
        let after = header("retry-after").and_then(|text| retry_after::parse(&text, SystemTime::now()));
        // What a login answers says what to do. What storage answers may repeat the signature.
        let text = if step == Step::Login { found.to_string() } else { String::new() };
        let status = u16::from(*status);
        let text = one_line(&format!("{status} {code} {text}"));
        Fault { step, status: Some(status), text, code, permanent: None, after }
    }

    /// See the table of the module.
    pub(super) fn verdict(&self) -> Verdict {
        let Some(status) = self.status else { return Verdict::Again };
        let storage = matches!(self.step, Step::Blob | Step::Queue);
        match status {
            408 | 429 | 500.. => Verdict::Again,
            401 if matches!(self.step, Step::Cluster | Step::Stream) => Verdict::NewToken,
            400 if self.permanent == Some(false) => Verdict::Again,
            400 if self.step == Step::Stream && self.is_about_data() => Verdict::Data,
            409 if self.code == "BlobAlreadyExists" && self.step == Step::Blob => Verdict::Done,
            413 if matches!(self.step, Step::Blob | Step::Stream) => Verdict::Split,
            400 if self.step == Step::Stream && self.code == "Stream_InputStreamTooLarge" => Verdict::Split,
            400 if self.code == "Md5Mismatch" => Verdict::Again,
            // The blocks were dropped meanwhile, as they are when their list was accepted and nobody heard of it.
            400 if self.step == Step::Blob
                && ["InvalidBlockList", "InvalidBlobOrBlock"].contains(&&*self.code) =>
            {
                Verdict::Again
            }
            401 | 403 | 404 | 409 if storage => Verdict::NewResources,
            _ => Verdict::Hold,
        }
    }

    /// Whether the cluster finds something wrong with the records themselves.
    fn is_about_data(&self) -> bool {
        let code = self.code.as_str();
        let known = ["BadFormat", "BadRequest_NoRecordsOrWrongFormat", "BadRequest_EmptyBlob"];
        known.contains(&code) || (code.starts_with("Stream_") && code != "Stream_InputStreamTooLarge")
    }

    /// Whether table, database or mapping are not there: then a queue takes the message, and the cluster fails later.
    pub(super) fn is_missing_entity(&self) -> bool {
        is_missing_entity(&self.code)
    }

    /// What it is counted as.
    pub(super) fn cause(&self) -> Cause {
        match (self.verdict(), self.status) {
            (_, Some(429)) => Cause::Throttled,
            (_, Some(401)) if !matches!(self.step, Step::Blob | Step::Queue) => Cause::Token,
            (Verdict::NewResources, _) => Cause::Signature,
            (Verdict::Hold, _) => Cause::Held,
            (Verdict::Split, _) => Cause::TooLarge,
            (Verdict::Data, _) => Cause::Data,
            _ => Cause::Unavailable,
        }
    }

    /// What becomes of the batch when nothing else is tried.
    pub(super) fn outcome(&self) -> Outcome {
        let what = match self.step {
            Step::Login => "no token",
            Step::Cluster => "no ingestion resources",
            Step::Blob => "the blob was not stored",
            Step::Queue => "the message was not accepted",
            Step::Stream => "the stream was not taken",
            Step::Table => "the table is not there",
        };
        let why = format!("{what}: {}", self.text);
        match self.verdict() {
            Verdict::Done => Outcome::Done,
            Verdict::Again | Verdict::NewToken | Verdict::NewResources => {
                Outcome::Retry { after: self.after, why }
            }
            Verdict::Hold => Outcome::Hold { why },
            // The halves of a single record are none: the engine rejects it then, with this reason.
            Verdict::Split | Verdict::Data => Outcome::Split { why },
        }
    }
}

/// Whether a code of the cluster says that table, database or mapping are not there.
pub(super) fn is_missing_entity(code: &str) -> bool {
    let codes = ["EntityNotFound", "DatabaseNotExist", "TableNotExist", "MappingReferenceWasNotFound"];
    codes.iter().any(|known| code.contains(known))
}

/// A server's text as part of a log line: short, on one line, and without the query of any URL, because a
/// signature may stand there.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&without_query(word));
    }
    if let Some((cut, _)) = line.char_indices().nth(TEXT) {
        line.truncate(cut);
        line.push_str("...");
    }
    line
}

fn without_query(word: &str) -> String {
    let is_url = |before: &str| before.contains("://") || before.contains('/');
    match word.split_once('?') {
        Some((before, query)) if !query.is_empty() && (is_url(before) || query.contains("sig=")) => {
            // What ends the URL is not part of it.
            let end = query.find(['"', '\'', '<', '>', ')', '`']).map_or("", |at| &query[at..]);
            format!("{before}?...{}", without_query(end))
        }
        _ if word.contains("sig=") => "...".to_owned(),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests;
