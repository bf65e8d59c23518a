//! Management commands: `POST /v1/rest/mgmt` ("Management commands overview", "Query/management HTTP
//! request").
//!
//! | command | who asks |
//! |---|---|
//! | `.get ingestion resources` | ingestion clients, for containers and queues with signatures |
//! | `.get kusto identity token` | ingestion clients, for the `authorizationContext` of messages |
//! | `.show version` | SDKs, to tell a data-management endpoint from an engine |
//! | `.show tables`, `.create table`, `.drop table` | people and tests |
//!
//! In Azure the first two are commands of the data-management endpoint and the rest is the engine's; here
//! both are one host, and each command works there.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::engine::schema::{self, ColumnType};
use crate::engine::table::Table as StoredTable;
use crate::oneapi::{Failure, Table};
use crate::sas::{self, Grant, Service, Target};
use crate::state::State;
use crate::{limits, stamp, storage};

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
pub(crate) fn run(state: &State, command: &Command) -> Result<Table, Failure> {
    check_database(state, &command.db)?;
    let text = command.csl.trim().trim_end_matches(';').trim_end();
    let words: Vec<&str> = text.split_whitespace().collect();
    // The browser's variant of the first ends in `with (...)`.
    let starts = |with: &str| with.split(' ').zip(&words).filter(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    if starts(".get ingestion resources") == 3 && words.get(3).is_none_or(|word| word.starts_with("with")) {
        return Ok(ingestion_resources(state));
    }
    if starts(".get kusto identity token") == 4 && words.len() == 4 {
        return Ok(Table::new(&[("AuthorizationContext", STRING)], &[json!([identity_token(state)])]));
    }
    if starts(".show version") == 2 && words.len() == 2 {
        return Ok(version());
    }
    if starts(".show tables") == 2 && words.len() == 2 {
        return Ok(tables(state));
    }
    if starts(".create table") == 2 {
        return create_table(state, after_words(text, 2));
    }
    if starts(".drop table") == 2 {
        return drop_table(state, after_words(text, 2));
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

fn after_words(text: &str, count: usize) -> &str {
    (0..count).fold(text, |rest, _| {
        let rest = rest.trim_start();
        &rest[rest.find(char::is_whitespace).unwrap_or(rest.len())..]
    })
}

fn ingestion_resources(state: &State) -> Table {
    let mut rows = Vec::new();
    for account in storage::ACCOUNTS {
        let queue = Target { service: Service::Queue, account, name: storage::QUEUE };
        rows.push(json!(["SecuredReadyForAggregationQueue", signed_url(state, queue, "a")]));
        for name in storage::CONTAINERS {
            let container = Target { service: Service::Blob, account, name };
            rows.push(json!(["TempStorage", signed_url(state, container, "rw")]));
        }
    }
    Table::new(&[("ResourceTypeName", STRING), ("StorageRoot", STRING)], &rows)
}

fn signed_url(state: &State, target: Target<'_>, permissions: &str) -> String {
    let grant = Grant {
        permissions,
        from: stamp::now(),
        lifetime: state.sas_lifetime,
        https_only: !state.plain_http,
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

fn version() -> Table {
    let columns = [
        ("BuildVersion", STRING),
        ("BuildTime", ColumnType::Datetime),
        ("ServiceType", STRING),
        ("ProductVersion", STRING),
    ];
    let product = concat!("kusto-local ", env!("CARGO_PKG_VERSION"));
    Table::new(&columns, &[json!(["1.0.0.0", "2026-01-01T00:00:00.0000000Z", "DataManagement", product])])
}

fn tables(state: &State) -> Table {
    let rows: Vec<Value> =
        state.tables.list().iter().map(|table| json!([table.name, state.database, "", ""])).collect();
    let columns =
        [("TableName", STRING), ("DatabaseName", STRING), ("Folder", STRING), ("DocString", STRING)];
    Table::new(&columns, &rows)
}

fn create_table(state: &State, text: &str) -> Result<Table, Failure> {
    let syntax = |message: String| Failure::bad_request("BadRequest_SyntaxError", message);
    let open = text.find('(').ok_or_else(|| syntax("Expected a table name and a column list.".to_owned()))?;
    let name = schema::entity_name(&text[..open]).map_err(syntax)?;
    let columns = schema::column_list(&text[open..]).map_err(syntax)?;
    if state.tables.get(&name).is_none() && state.tables.list().len() >= limits::TABLES {
        return Err(Failure::bad_request("BadRequest_LimitExceeded", "The database has too many tables."));
    }
    let table = state.tables.create(&name, columns).map_err(|error| Failure::internal(&error))?;
    let row = json!([table.name, schema_json(&table).to_string(), state.database, "", ""]);
    let columns = [
        ("TableName", STRING),
        ("Schema", STRING),
        ("DatabaseName", STRING),
        ("Folder", STRING),
        ("DocString", STRING),
    ];
    Ok(Table::new(&columns, &[row]))
}

fn schema_json(table: &StoredTable) -> Value {
    let columns: Vec<Value> = table
        .columns
        .iter()
        .map(|column| json!({ "Name": column.name, "Type": column.kind.clr_full(), "CslType": column.kind.name() }))
        .collect();
    json!({ "Name": table.name, "OrderedColumns": columns })
}

fn drop_table(state: &State, text: &str) -> Result<Table, Failure> {
    let text = text.trim();
    let (name, if_exists) = text.strip_suffix("ifexists").map_or((text, false), |name| (name, true));
    let name = schema::entity_name(name)
        .map_err(|message| Failure::bad_request("BadRequest_SyntaxError", message))?;
    let dropped = state.tables.drop(&name).map_err(|error| Failure::internal(&error))?;
    if !dropped && !if_exists {
        let message = format!("Entity not found: table '{name}'.");
        return Err(Failure {
            status: StatusCode::BAD_REQUEST,
            ..Failure::bad_request("BadRequest_EntityNotFound", message)
        });
    }
    Ok(tables(state))
}
