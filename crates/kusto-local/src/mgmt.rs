//! Management commands: `POST /v1/rest/mgmt` ("Management commands overview", "Query/management HTTP
//! request").
//!
//! | command | who asks |
//! |---|---|
//! | `.get ingestion resources` | ingestion clients, for containers and queues with signatures |
//! | `.get kusto identity token` | ingestion clients, for the `authorizationContext` of messages |
//! | `.show version` | SDKs, to tell a data-management endpoint from an engine |
//! | `.show tables`, `.create table T (...)`, `.drop table T [ifexists]` | people and tests |
//! | `.create[-or-alter] table T ingestion json\|csv mapping 'M' '[...]'`, `.show table T ingestion mappings`, `.drop table T ingestion json\|csv mapping 'M'` | |
//! | `.alter table T policy streamingingestion enable\|disable`, `.alter table T policy ingestionbatching '{...}'`, `.show table T policy ...` | |
//! | `.show table T schema as json`, `.show table T extents`, `.show ingestion failures` | |
//! | `.ingest inline into table T <\| ...` | |
//! | `.add database D ingestors (...)`, `.drop database D ingestors (...)` | tests: gives and takes the permission to ingest |
//!
//! Behind a `.show` the operators of [`crate::query`] may follow. In Azure the first two are commands of the
//! data-management endpoint and the rest is the engine's. Here every command works at either, except that an engine
//! with an address of its own does not know the first two.

mod ingest;
mod tables;

use std::sync::atomic::Ordering;

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::schema::ColumnType;
use crate::oneapi::{Failure, Table};
use crate::query::{self, parse};
use crate::route::Role;
use crate::sas::{self, Grant, Service, Target};
use crate::state::State;
use crate::{stamp, storage};

const PURPOSE: &str = "identity-token";
const STRING: ColumnType = ColumnType::String;

/// Body of a command or query.
#[derive(Deserialize)]
pub(crate) struct Command {
    #[serde(default)]
    pub(crate) db: String,
    pub(crate) csl: String,
}

impl Command {
    /// Reads a request body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Failure> {
        serde_json::from_slice(body).map_err(|error| {
            Failure::bad_request("BadRequest_InvalidRequest", format!("Request is invalid: {error}"))
        })
    }
}

/// Runs a command.
pub(crate) fn run(state: &State, role: Role, command: &Command) -> Result<Table, Failure> {
    check_database(state, &command.db)?;
    let text = command.csl.trim();
    if text.starts_with(".show")
        && let Some((show, operators)) = parse::split_pipe(text)
    {
        let shown = run(state, role, &Command { db: String::new(), csl: show.to_owned() })?;
        return query::over(shown, operators);
    }
    let text = command.csl.trim().trim_end_matches(';').trim_end();
    let words: Vec<&str> = text.split_whitespace().collect();
    // The browser's variant of the first ends in `with (...)`.
    let starts = |with: &str| with.split(' ').zip(&words).filter(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    if role != Role::Engine {
        if starts(".get ingestion resources") == 3 && words.get(3).is_none_or(|word| word.starts_with("with"))
        {
            return permitted(state).map(|()| ingestion_resources(state));
        }
        if starts(".get kusto identity token") == 4 && words.len() == 4 {
            permitted(state)?;
            return Ok(Table::new(&[("AuthorizationContext", STRING)], &[json!([identity_token(state)])]));
        }
    }
    if starts(".show version") == 2 && words.len() == 2 {
        return Ok(version(role));
    }
    if starts(".show ingestion failures") == 3 && words.len() == 3 {
        return Ok(ingest::failures(state));
    }
    if starts(".ingest inline into table") == 4 {
        return ingest::inline(state, after_words(text, 4));
    }
    for (command, allowed) in [(".add database", true), (".drop database", false)] {
        if starts(command) == 2 && words.get(3).is_some_and(|word| word.starts_with("ingestors")) {
            state.permitted.store(allowed, Ordering::Relaxed);
            return Ok(tables::list(state));
        }
    }
    if let Some(answer) = tables::run(state, text, &words) {
        return answer;
    }
    let start: String = text.chars().take(80).collect();
    Err(Failure::bad_request(
        "BadRequest_SyntaxError",
        format!("kusto-local does not support the command '{start}'."),
    ))
}

/// Refuses a database that is not the one of this server.
pub(crate) fn check_database(state: &State, name: &str) -> Result<(), Failure> {
    if name.is_empty() || name == "NetDefaultDB" || name == state.database {
        return Ok(());
    }
    Err(Failure::bad_request("BadRequest_DatabaseNotExist", format!("Database '{name}' could not be found.")))
}

/// Refuses when the permission to ingest was taken away.
fn permitted(state: &State) -> Result<(), Failure> {
    if state.permitted.load(Ordering::Relaxed) { Ok(()) } else { Err(forbidden()) }
}

/// 403: the principal may not ingest.
pub(crate) fn forbidden() -> Failure {
    let text =
        "Principal is not authorized to ingest into the database (kusto-local: .add database D ingestors).";
    Failure { status: StatusCode::FORBIDDEN, ..Failure::bad_request("Forbidden", text) }
}

fn after_words(text: &str, count: usize) -> &str {
    (0..count).fold(text, |rest, _| {
        let rest = rest.trim_start();
        &rest[rest.find(char::is_whitespace).unwrap_or(rest.len())..]
    })
}

fn ingestion_resources(state: &State) -> Table {
    let mut rows = Vec::new();
    if let Some(azurite) = &state.azurite {
        let rows: Vec<Value> = azurite.resources(state.sas_lifetime).iter().map(|row| json!(row)).collect();
        return Table::new(&[("ResourceTypeName", STRING), ("StorageRoot", STRING)], &rows);
    }
    for account in storage::ACCOUNTS {
        let queue = Target { service: Service::Queue, account, name: storage::QUEUE };
        rows.push(json!(["SecuredReadyForAggregationQueue", signed_url(state, queue, "a")]));
        for name in storage::CONTAINERS {
            let container = Target { service: Service::Blob, account, name };
            rows.push(json!(["TempStorage", signed_url(state, container, "rw")]));
        }
    }
    let account = storage::ACCOUNTS[0];
    for (kind, service, name, permissions) in [
        ("FailedIngestionsQueue", Service::Queue, storage::FAILURES, "rp"),
        ("SuccessfulIngestionsQueue", Service::Queue, storage::SUCCESSES, "rp"),
        ("IngestionsStatusTable", Service::Table, storage::STATUS_TABLE, "rau"),
    ] {
        rows.push(json!([kind, signed_url(state, Target { service, account, name }, permissions)]));
    }
    Table::new(&[("ResourceTypeName", STRING), ("StorageRoot", STRING)], &rows)
}

fn signed_url(state: &State, target: Target<'_>, permissions: &str) -> String {
    let grant = Grant {
        permissions,
        from: stamp::now(),
        lifetime: state.sas_lifetime,
        https_only: !state.plain_http,
        short: state.short_sas,
    };
    let query = sas::issue(&state.signer, &state.identity, target, grant);
    format!("{}/{}/{}?{query}", state.base_url, target.account, target.name)
}

/// An identity token says until when it holds and is signed; a client passes it on unread.
fn identity_token(state: &State) -> String {
    let expiry = stamp::now().unix_timestamp().saturating_add_unsigned(state.sas_lifetime.as_secs());
    let text = format!("kusto-local:{}:{expiry}", state.database);
    let signature = state.signer.sign_url_safe(PURPOSE, &text);
    format!("{text}:{signature}")
}

/// Checks the `authorizationContext` of a message. The error is a sentence for a person.
pub(crate) fn check_identity_token(state: &State, token: &str) -> Result<(), String> {
    if token.is_empty() {
        return Err("The message has no authorizationContext.".to_owned());
    }
    let (text, signature) = token.rsplit_once(':').unwrap_or_default();
    if !state.signer.verify_url_safe(PURPOSE, text, signature) {
        return Err("The authorizationContext was not issued by this server.".to_owned());
    }
    let expiry = text.rsplit_once(':').and_then(|(_, expiry)| expiry.parse::<i64>().ok()).unwrap_or(0);
    if expiry <= stamp::now().unix_timestamp() {
        return Err("The authorizationContext has expired.".to_owned());
    }
    Ok(())
}

fn version(role: Role) -> Table {
    let service = if role == Role::Engine { "Engine" } else { "DataManagement" };
    let columns = [
        ("BuildVersion", STRING),
        ("BuildTime", ColumnType::Datetime),
        ("ServiceType", STRING),
        ("ProductVersion", STRING),
    ];
    let product = concat!("kusto-local ", env!("CARGO_PKG_VERSION"));
    Table::new(&columns, &[json!(["1.0.0.0", "2026-01-01T00:00:00.0000000Z", service, product])])
}
