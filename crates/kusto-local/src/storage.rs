//! Blob and queue storage: just what a queued ingestion client uses, for a fixed set of accounts.
//!
//! URLs are path style, `https://host:port/ACCOUNT/CONTAINER/BLOB?SAS`, as the storage emulators have them
//! and the SDKs accept for IP hosts. Accounts, containers and queues exist from the start; a client learns
//! them from `.get ingestion resources` and reaches them with the signature in those URLs only.
//!
//! Errors follow "Status and error codes" of Azure Storage: an XML body and, authoritative, the header
//! `x-ms-error-code`.

pub(crate) mod blob;
pub(crate) mod queue;
pub(crate) mod status;

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;

use crate::http::{self as web, Params, Reply};
use crate::sas::{self, Refused, Service, Target};
use crate::secrets::request_id;
use crate::state::State;
use crate::{limits, stamp};

/// The storage accounts of the cluster.
pub(crate) const ACCOUNTS: [&str; 2] = ["kustolocal0", "kustolocal1"];
/// The containers of each account.
pub(crate) const CONTAINERS: [&str; 2] = ["20260101-ingestdata-e5c334-0", "20260101-ingestdata-e5c334-1"];
/// The ingestion queue of each account.
pub(crate) const QUEUE: &str = "readyforaggregation-secured";

/// The status queues and the status table of the first account.
pub(crate) const FAILURES: &str = "ingestion-failures";
/// See [`FAILURES`].
pub(crate) const SUCCESSES: &str = "ingestion-successes";
/// See [`FAILURES`].
pub(crate) const STATUS_TABLE: &str = "ingestionsstatus";

const VERSION: &str = "2026-02-06";

/// An error of the storage service.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    /// `AuthenticationErrorDetail`: what is wrong with the signature.
    pub(crate) detail: Option<String>,
}

impl Refusal {
    /// An error without an authentication detail.
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), detail: None }
    }

    /// 500: this server could not do its work, for instance on a full disk.
    pub(crate) fn internal(error: &std::io::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", error.to_string())
    }

    fn signature(refused: Refused) -> Self {
        let status = StatusCode::FORBIDDEN;
        match refused {
            Refused::Authentication(detail) => {
                let text = "Server failed to authenticate the request. Make sure the value of Authorization header \
                            is formed correctly including the signature.";
                Self { detail: Some(detail), ..Self::new(status, "AuthenticationFailed", text) }
            }
            Refused::Permission(detail) => {
                let text = "This request is not authorized to perform this operation using this permission.";
                Self { detail: Some(detail), ..Self::new(status, "AuthorizationPermissionMismatch", text) }
            }
        }
    }

    /// The answer.
    pub(crate) fn reply(&self) -> Reply {
        let text = escape(&format!(
            "{}\nRequestId:{}\nTime:{}",
            self.message,
            request_id(),
            stamp::ticks(stamp::now())
        ));
        let detail = self.detail.as_deref().map(escape);
        let detail = detail.map_or_else(String::new, |detail| {
            format!("<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>")
        });
        let code = self.code;
        let xml = format!(
            r#"<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{text}</Message>{detail}</Error>"#
        );
        let mut reply = web::answer(self.status, "application/xml", xml);
        web::set(&mut reply, "x-ms-error-code", code);
        reply
    }
}

/// The error for a status scripted as a fault, with the code Azure has for it.
pub(crate) fn scripted(status: StatusCode) -> Reply {
    let code = match status.as_u16() {
        401 => "NoAuthenticationInformation",
        403 => "AuthenticationFailed",
        404 => "ResourceNotFound",
        408 | 500 => "InternalError",
        409 => "BlobAlreadyExists",
        412 => "ConditionNotMet",
        413 => "RequestBodyTooLarge",
        429 | 503 => "ServerBusy",
        504 => "OperationTimedOut",
        _ => "InvalidInput",
    };
    Refusal::new(status, code, "This is a scripted fault.").reply()
}

/// What a path below an account names.
pub(crate) enum Place {
    /// `/ACCOUNT/QUEUE/messages`.
    Messages { account: String, queue: String, rest: String },
    /// The same for a status queue, which clients read.
    Status { account: String, queue: String, rest: String },
    /// `/ACCOUNT/ingestionsstatus(PartitionKey='...',RowKey='...')`, or without the keys.
    Entities { account: String, keys: Option<(String, String)> },
    /// `/ACCOUNT/CONTAINER/BLOB`.
    Blob { account: String, container: String, name: String },
}

/// The keys in `(PartitionKey='a',RowKey='b')`.
fn entity_keys(text: &str) -> Option<(String, String)> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let (partition, row) = inner.split_once(',')?;
    let value = |text: &str, name: &str| -> Option<String> {
        let quoted = text.trim().strip_prefix(name)?.strip_prefix('=')?;
        Some(quoted.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "'"))
    };
    Some((value(partition, "PartitionKey")?, value(row, "RowKey")?))
}

impl Place {
    /// Reads a path; None when it names no known account.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.splitn(3, '/');
        let account = parts.next().filter(|account| ACCOUNTS.contains(account))?.to_owned();
        let decode = |part: Option<&str>| {
            percent_decode_str(part.unwrap_or_default()).decode_utf8_lossy().into_owned()
        };
        let (second, third) = (decode(parts.next()), decode(parts.next()));
        Some(if second == QUEUE {
            Self::Messages { account, queue: second, rest: third }
        } else if [FAILURES, SUCCESSES].contains(&second.as_str()) {
            Self::Status { account, queue: second, rest: third }
        } else if let Some(keys) = second.strip_prefix(STATUS_TABLE) {
            Self::Entities { account, keys: entity_keys(keys) }
        } else {
            Self::Blob { account, container: second, name: third }
        })
    }

    /// The account.
    pub(crate) fn account(&self) -> &str {
        match self {
            Self::Messages { account, .. }
            | Self::Status { account, .. }
            | Self::Entities { account, .. }
            | Self::Blob { account, .. } => account,
        }
    }

    fn target(&self) -> Target<'_> {
        match self {
            Self::Messages { account, queue, .. } | Self::Status { account, queue, .. } => {
                Target { service: Service::Queue, account, name: queue }
            }
            Self::Entities { account, .. } => Target { service: Service::Table, account, name: STATUS_TABLE },
            Self::Blob { account, container, .. } => {
                Target { service: Service::Blob, account, name: container }
            }
        }
    }
}

/// Serves a request to storage.
pub(crate) async fn serve(state: &Arc<State>, place: Place, request: Request<Incoming>) -> Reply {
    let client_request_id = web::header(request.headers(), "x-ms-client-request-id").to_owned();
    let (parts, body) = request.into_parts();
    let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let mut body = Some(body);
    let result = match allow(state, &place, &parts.method, &query) {
        Err(refusal) => Err(refusal),
        Ok(()) => match &place {
            Place::Messages { account, queue, rest } => {
                let place = format!("{account}/{queue}");
                queue::serve(state, place, (&parts.method, rest), &mut body).await
            }
            Place::Status { queue, rest, .. } => {
                state.statuses.serve_queue(queue, rest, &parts.method, &query)
            }
            Place::Entities { keys, .. } => {
                let bytes = match body.take() {
                    Some(body) => web::read(body, limits::COMMAND_BODY).await.unwrap_or_default(),
                    None => bytes::Bytes::new(),
                };
                state.statuses.serve_table(keys.clone(), &parts.method, &bytes)
            }
            Place::Blob { account, container, name } => {
                let at = blob::At { account, container, name };
                blob::serve(state, at, &parts, &query, &mut body).await
            }
        },
    };
    let mut reply = result.unwrap_or_else(|refusal| refusal.reply());
    // What was refused before its body was read.
    if let Some(body) = body {
        web::drain(body, limits::DRAIN).await;
    }
    web::set(&mut reply, "x-ms-request-id", &request_id());
    web::set(&mut reply, "x-ms-version", VERSION);
    if !client_request_id.is_empty() {
        web::set(&mut reply, "x-ms-client-request-id", &client_request_id);
    }
    reply
}

/// Checks the signature before anything is said about what exists, as Azure does.
fn allow(state: &State, place: &Place, method: &Method, query: &Params) -> Result<(), Refusal> {
    let permissions: &[char] = match (place, method.as_str()) {
        (Place::Messages { .. }, _) => &['a'],
        (Place::Status { .. }, "GET") => &['r', 'p'],
        (Place::Status { .. }, _) => &['p'],
        (Place::Entities { .. }, "GET") => &['r'],
        (Place::Entities { .. }, _) => &['a', 'u'],
        (Place::Blob { .. }, "GET" | "HEAD") => &['r'],
        (Place::Blob { .. }, "DELETE") => &['d'],
        (Place::Blob { .. }, _) => &['w', 'c'],
    };
    sas::check(&state.signer, place.target(), query, permissions, stamp::now()).map_err(Refusal::signature)
}

/// Text inside XML.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Text out of XML: the five predefined entities.
pub(crate) fn unescape(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&")
}

/// Contents of the first element `tag` in `xml`.
pub(crate) fn element<'a>(xml: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = xml.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(text, _)| text)
}
