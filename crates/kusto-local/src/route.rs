//! From a request's path to the part which serves it, with the fault script in between.
//!
//! | path | part |
//! |---|---|
//! | `/{tenant}/oauth2/v2.0/token` | [`crate::token`] |
//! | `/{tenant}/v2.0/.well-known/openid-configuration` | [`crate::token`] |
//! | `/common/discovery/instance` | [`crate::token`] |
//! | `/v1/rest/auth/metadata` | here |
//! | `/v1/rest/mgmt` | [`crate::mgmt`] |
//! | `/v1/rest/query`, `/v2/rest/query` | [`crate::query`] |
//! | `/v1/rest/ingest/{database}/{table}` | [`crate::engine::stream`] |
//! | `/metadata/identity/oauth2/token`, `/msi/token` | [`crate::token`], for managed identities |
//! | `/{account}/...` | [`crate::storage`] |
//! | `/` | [`crate::page`]; no token is asked for |
//! | `/faults` | [`crate::faults`]; no token is asked for |
//! | `/local/requests` | [`crate::state`]: the last requests; no token is asked for |
//! | `/local/stats` | [`crate::state`]; no token is asked for |
//! | `/local/ingestions`, `/local/recent` | [`crate::engine::record`]; no token is asked for |
//!
//! With the engine at an address of its own, queries and streams are not found at the data-management endpoint,
//! and nothing but these, commands and metadata at the engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::cut::Cut;
use crate::engine::stream;
use crate::faults::{Fault, Kind};
use crate::http::{self as web, Params, Reply, Unread};
use crate::mgmt::{self, Command};
use crate::oneapi::{self, Failure, Ids};
use crate::options::Metadata;
use crate::secrets::request_id;
use crate::state::State;
use crate::storage::{self, Place};
use crate::{limits, page, query, token};

/// The connection is to be reset instead of answered.
#[derive(Debug)]
pub(crate) struct Reset;

impl std::fmt::Display for Reset {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("scripted connection reset")
    }
}

impl std::error::Error for Reset {}

/// What an address serves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Role {
    Both,
    Management,
    Engine,
    /// The metadata service of a machine.
    Machine,
}

/// What a path asks for.
enum Route {
    Stream { database: String, table: String },
    Managed { app_service: bool },
    Page,
    Recent,
    Seen,
    Token { tenant: String },
    OpenId { tenant: String },
    Discovery,
    Metadata,
    Mgmt,
    QueryV1,
    QueryV2,
    Storage(Place),
    Stats,
    Ingestions,
    Faults,
}

impl Route {
    fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        Some(match parts.as_slice() {
            [tenant, "oauth2", "v2.0", "token"] => Self::Token { tenant: (*tenant).to_owned() },
            [tenant, "v2.0", ".well-known", "openid-configuration"] => {
                Self::OpenId { tenant: (*tenant).to_owned() }
            }
            ["common", "discovery", "instance"] => Self::Discovery,
            ["v1", "rest", "auth", "metadata"] => Self::Metadata,
            ["v1", "rest", "mgmt"] => Self::Mgmt,
            ["v1", "rest", "query"] => Self::QueryV1,
            ["v2", "rest", "query"] => Self::QueryV2,
            ["v1", "rest", "ingest", database, table] => {
                let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
                Self::Stream { database: decode(database), table: decode(table) }
            }
            ["metadata", "identity", "oauth2", "token"] => Self::Managed { app_service: false },
            ["msi", "token"] => Self::Managed { app_service: true },
            [""] => Self::Page,
            ["local", "recent"] => Self::Recent,
            ["local", "requests"] => Self::Seen,
            ["local", "stats"] => Self::Stats,
            ["local", "ingestions"] => Self::Ingestions,
            ["faults"] => Self::Faults,
            _ => Self::Storage(Place::parse(path)?),
        })
    }

    fn kind(&self) -> Option<Kind> {
        match self {
            Self::Token { .. } => Some(Kind::Token),
            Self::Mgmt => Some(Kind::Mgmt),
            Self::QueryV1 | Self::QueryV2 => Some(Kind::Query),
            Self::Stream { .. } => Some(Kind::Stream),
            Self::Managed { .. } => Some(Kind::Token),
            Self::Storage(Place::Messages { .. }) => Some(Kind::Queue),
            Self::Storage(Place::Blob { .. }) => Some(Kind::Blob),
            Self::Storage(Place::Status { .. } | Place::Entities { .. }) => None,
            Self::OpenId { .. } | Self::Discovery | Self::Metadata => None,
            Self::Page | Self::Recent | Self::Seen | Self::Stats | Self::Ingestions | Self::Faults => None,
        }
    }

    /// Whether it is found at an address of this role.
    fn is_at(&self, role: Role) -> bool {
        match (self, role) {
            (_, Role::Both) => true,
            (route, Role::Machine) => matches!(route, Self::Managed { app_service: false }),
            (Self::QueryV1 | Self::QueryV2 | Self::Stream { .. }, role) => role == Role::Engine,
            (Self::Mgmt | Self::Metadata, _) => true,
            (_, role) => role == Role::Management,
        }
    }

    /// The storage account that is asked.
    fn account(&self) -> Option<&str> {
        match self {
            Self::Storage(place) => Some(place.account()),
            _ => None,
        }
    }

    /// POST for what changes something or carries a body; storage checks its own methods.
    fn allows(&self, method: &Method) -> bool {
        match self {
            Self::Token { .. } | Self::Mgmt | Self::QueryV1 | Self::QueryV2 => method == Method::POST,
            Self::Stream { .. } => method == Method::POST,
            Self::OpenId { .. } | Self::Discovery | Self::Metadata => method == Method::GET,
            Self::Managed { .. } | Self::Page | Self::Recent | Self::Seen => method == Method::GET,
            Self::Stats | Self::Ingestions => method == Method::GET,
            Self::Faults => [Method::GET, Method::POST, Method::DELETE].contains(method),
            Self::Storage(_) => true,
        }
    }
}

/// Answers a request; an error resets the connection. `reset` tells the connection so.
pub(crate) async fn serve(
    state: Arc<State>,
    role: Role,
    reset: Arc<AtomicBool>,
    request: Request<Incoming>,
) -> Result<Reply, Reset> {
    let Some(route) = Route::parse(request.uri().path()).filter(|route| route.is_at(role)) else {
        web::drain(request.into_body(), limits::DRAIN).await;
        return Ok(web::empty(StatusCode::NOT_FOUND));
    };
    if !route.allows(request.method()) {
        web::drain(request.into_body(), limits::DRAIN).await;
        return Ok(web::empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let Some(kind) = route.kind() else { return Ok(dispatch(&state, role, route, request).await) };
    state.requests.arrived(kind);
    let (head, body) = request.into_parts();
    state.seen.add(kind, &head);
    let request = Request::from_parts(head, body);
    let ids = ids(request.headers());
    let fault = state.faults.next(kind, route.account());
    let mut reply = match &fault {
        None => dispatch(&state, role, route, request).await,
        Some(fault) => {
            state.requests.fault();
            with_fault(&state, fault, (kind, &ids), (role, route), request).await.inspect_err(|_| {
                reset.store(true, Ordering::Relaxed);
            })?
        }
    };
    if reply.status().is_client_error() || reply.status().is_server_error() {
        state.requests.refused(kind);
    }
    if matches!(kind, Kind::Mgmt | Kind::Query | Kind::Stream) {
        web::set(&mut reply, "x-ms-client-request-id", &ids.client_request);
        web::set(&mut reply, "x-ms-activity-id", &ids.activity);
    }
    Ok(reply)
}

fn ids(headers: &HeaderMap) -> Ids {
    let given = web::header(headers, "x-ms-client-request-id");
    let client_request =
        if given.is_empty() { format!("unspecified;{}", request_id()) } else { given.to_owned() };
    Ids { client_request, activity: request_id() }
}

async fn with_fault(
    state: &Arc<State>,
    fault: &Fault,
    (kind, ids): (Kind, &Ids),
    (role, route): (Role, Route),
    request: Request<Incoming>,
) -> Result<Reply, Reset> {
    tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    if fault.hang {
        // With its body unread, the server would not notice that the client has gone.
        web::drain(request.into_body(), limits::DRAIN).await;
        tokio::time::sleep(limits::HANG).await;
        return Err(Reset);
    }
    if fault.reset {
        return Err(Reset);
    }
    if let Some(status) = fault.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        web::drain(request.into_body(), limits::DRAIN).await;
        return Ok(scripted(fault, status, kind, ids));
    }
    let reply = dispatch(state, role, route, request).await;
    Ok(if fault.truncate { truncated(reply) } else { reply })
}

/// The error answer of a scripted status, in the form of the service it comes from.
fn scripted(fault: &Fault, status: StatusCode, kind: Kind, ids: &Ids) -> Reply {
    let mut reply = match kind {
        Kind::Token if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => token::refuse(
            status,
            "temporarily_unavailable",
            90_033,
            "A transient error has occurred. Please try again.",
        ),
        Kind::Token => token::refuse(status, "invalid_client", 7_000_215, "Invalid client secret provided."),
        Kind::Blob | Kind::Queue => storage::scripted(status),
        Kind::Mgmt | Kind::Query | Kind::Stream => {
            let transient = status.is_server_error() || matches!(status.as_u16(), 408 | 429);
            let code = match status.as_u16() {
                401 | 403 => "Forbidden",
                429 => "General_ThrottledIngestion",
                400..500 => "BadRequest",
                _ => "General_InternalServerError",
            };
            let permanent = fault.permanent.unwrap_or(!transient);
            let message = "This is a scripted fault.".to_owned();
            let code = fault.code.clone().unwrap_or_else(|| code.to_owned());
            oneapi::error(&Failure { status, code, message, permanent }, ids)
        }
    };
    if let Some(seconds) = fault.retry_after {
        web::set(&mut reply, "retry-after", &seconds.to_string());
    }
    reply
}

/// The same answer, broken off half way. One without a body promises some bytes first.
fn truncated(reply: Reply) -> Reply {
    let (mut parts, body) = reply.into_parts();
    let length =
        parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    if length == 0 {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(16));
    }
    Reply::from_parts(parts, Cut { body, left: length / 2, paused: false }.boxed())
}

async fn dispatch(state: &Arc<State>, role: Role, route: Route, request: Request<Incoming>) -> Reply {
    match route {
        Route::Token { tenant } => token::issue(state, &tenant, request.into_body()).await,
        Route::OpenId { tenant } => token::openid_configuration(state, &tenant),
        Route::Discovery => token::instance_discovery(state),
        Route::Metadata => metadata(state),
        Route::Mgmt | Route::QueryV1 | Route::QueryV2 => kusto(state, role, &route, request).await,
        Route::Stream { database, table } => stream(state, &database, &table, request).await,
        Route::Managed { app_service } => {
            let query = Params::parse(request.uri().query().unwrap_or_default().as_bytes());
            token::managed(state, app_service, request.headers(), &query)
        }
        Route::Page => page::page(),
        Route::Recent => state.recent(),
        Route::Seen => state.seen.to_json(),
        Route::Storage(place) => storage::serve(state, place, request).await,
        Route::Stats => state.stats(),
        Route::Ingestions => web::answer(StatusCode::OK, "application/json", state.records.to_json()),
        Route::Faults => faults(state, request).await,
    }
}

/// `GET /v1/rest/auth/metadata`: where to log in, and for which resource.
fn metadata(state: &State) -> Reply {
    match state.metadata {
        Metadata::Full => {}
        Metadata::Missing => return web::empty(StatusCode::NOT_FOUND),
        Metadata::Null => return web::json(StatusCode::OK, &json!({ "AzureAD": null })),
    }
    let base = &state.base_url;
    web::json(
        StatusCode::OK,
        &json!({ "AzureAD": {
            "LoginEndpoint": base,
            "LoginMfaRequired": false,
            "KustoClientAppId": "db662dc1-0cfe-4e1c-a843-19a68e65be58",
            "KustoClientRedirectUri": "https://microsoft/kustoclient",
            "KustoServiceResourceId": "https://kusto.kusto.windows.net",
            "FirstPartyAuthorityUrl": format!("{base}/f8cdef31-a31e-4b4a-93e4-5f571e91255a"),
        }}),
    )
}

/// A command or a query: token, body, work, answer.
async fn kusto(state: &Arc<State>, role: Role, route: &Route, request: Request<Incoming>) -> Reply {
    let ids = ids(request.headers());
    let (parts, body) = request.into_parts();
    if let Err(reason) = token::authorize(state, &parts.headers) {
        web::drain(body, limits::DRAIN).await;
        return unauthorized(state, &ids, &reason);
    }
    let body = web::read(body, limits::COMMAND_BODY).await.map_err(|unread| match unread {
        Unread::TooLarge => Failure {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            ..Failure::bad_request("KustoRequestPayloadTooLargeException", "The request body is too large.")
        },
        Unread::Broken => Failure::bad_request("BadRequest_InvalidRequest", "The request body broke off."),
    });
    let command = body.and_then(|body| Command::parse(&body));
    let is_mgmt = matches!(route, Route::Mgmt);
    let worker = Arc::clone(state);
    // Both read or write files.
    let work = move || {
        command.and_then(|command| {
            if is_mgmt { mgmt::run(&worker, role, &command) } else { query::run(&worker, &command) }
        })
    };
    let done = tokio::task::spawn_blocking(work).await;
    match done.unwrap_or_else(|error| Err(Failure::internal(&std::io::Error::other(error)))) {
        Ok(table) if matches!(route, Route::QueryV2) => oneapi::v2(&table, &ids),
        Ok(table) => oneapi::v1(&table),
        Err(failure) => oneapi::error(&failure, &ids),
    }
}

/// A stream: token, permission, body, rows, answer.
async fn stream(state: &Arc<State>, database: &str, table: &str, request: Request<Incoming>) -> Reply {
    let ids = ids(request.headers());
    let (parts, body) = request.into_parts();
    if let Err(reason) = token::authorize(state, &parts.headers) {
        web::drain(body, limits::DRAIN).await;
        return unauthorized(state, &ids, &reason);
    }
    if !state.permitted.load(Ordering::Relaxed) {
        web::drain(body, limits::DRAIN).await;
        return oneapi::error(&mgmt::forbidden(), &ids);
    }
    let body = web::read(body, limits::STREAM_BODY).await.map_err(|unread| match unread {
        Unread::TooLarge => stream::too_large(),
        Unread::Broken => Failure::bad_request("BadRequest_InvalidRequest", "The request body broke off."),
    });
    let worker = Arc::clone(state);
    let (database, table) = (database.to_owned(), table.to_owned());
    let work = move || {
        let query = Params::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let gzip = web::header(&parts.headers, "content-encoding").eq_ignore_ascii_case("gzip");
        let (database, table) = (database.as_str(), table.as_str());
        stream::run(&worker, stream::Request { database, table, query: &query, gzip, body: body? })
    };
    let done = tokio::task::spawn_blocking(work).await;
    match done.unwrap_or_else(|error| Err(Failure::internal(&std::io::Error::other(error)))) {
        Ok(table) => oneapi::v1(&table),
        Err(failure) => oneapi::error(&failure, &ids),
    }
}

fn unauthorized(state: &State, ids: &Ids, reason: &str) -> Reply {
    let message = format!("Authentication failed: {reason}.");
    let failure =
        Failure { status: StatusCode::UNAUTHORIZED, ..Failure::bad_request("Unauthorized", message) };
    let mut reply = oneapi::error(&failure, ids);
    let challenge = format!("Bearer authorization_uri=\"{}/{}\"", state.base_url, state.identity.tenant);
    web::set(&mut reply, "www-authenticate", &challenge);
    reply
}

async fn faults(state: &State, request: Request<Incoming>) -> Reply {
    if request.method() == Method::GET {
        return state.faults.list();
    }
    if request.method() == Method::DELETE {
        return state.faults.clear();
    }
    match web::read(request.into_body(), limits::COMMAND_BODY).await {
        Ok(body) => state.faults.add(&body),
        Err(_) => web::empty(StatusCode::PAYLOAD_TOO_LARGE),
    }
}
