//! Commands to the cluster, and what it answers.

use std::sync::Arc;

use azure_core::Uuid;
use http::{Request, StatusCode};
use net::client::{Body, Client};
use serde::Deserialize;

use super::counts::Counts;
use super::fault::{Fault, Step, Verdict};
use super::identity::{Identity, Token};
use super::message::{self, APPLICATION};

/// The longest answer that is read, in bytes: some hundred URLs with signatures of a kilobyte each.
pub(super) const RESPONSE_BYTES: usize = 256 << 10;

/// Asks an endpoint: data management, or the engine.
pub(super) struct Commands {
    pub(super) endpoint: String,
    pub(super) client: Client,
    pub(super) identity: Arc<Identity>,
    pub(super) counts: Arc<Counts>,
}

impl Commands {
    /// Runs a command. A token that is refused is renewed, once.
    pub(super) async fn ask(&self, operation: &str, database: &str, command: &str) -> Result<Table, Fault> {
        let body = serde_json::json!({"db": database, "csl": command}).to_string();
        let count = |fault: &Fault| self.counts.fault(fault);
        let token = self.identity.token().await.inspect_err(count)?;
        match self.run(operation, body.clone(), &token).await.inspect_err(count) {
            Err(fault) if fault.verdict() == Verdict::NewToken => {
                self.identity.drop_token(&token).await;
                let token = self.identity.token().await.inspect_err(count)?;
                self.run(operation, body.clone(), &token).await.inspect_err(count)
            }
            result => result,
        }
    }

    async fn run(&self, operation: &str, body: String, token: &Token) -> Result<Table, Fault> {
        let request = Request::post(format!("{}/v1/rest/mgmt", self.endpoint))
            .header("accept", "application/json")
            .header("content-type", "application/json; charset=utf-8")
            .header("authorization", format!("Bearer {}", token.text.expose()))
            .header("x-ms-app", APPLICATION)
            .header("x-ms-client-version", message::version())
            .header("x-ms-client-request-id", format!("WEIR.{operation};{}", Uuid::new_v4()))
            .body(Body::from(body))
            .map_err(|error| Fault::local(Step::Cluster, &error.to_string()))?;
        let sent = self.client.send(request).await;
        let response = sent.map_err(|error| Fault::unanswered(Step::Cluster, &error))?;
        if response.status() != StatusCode::OK {
            return Err(Fault::answer(Step::Cluster, &response));
        }
        Table::parse(response.body())
            .ok_or_else(|| Fault::local(Step::Cluster, "the cluster's answer to a command is not understood"))
    }
}

/// The first table of an answer (V1 frame).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<serde_json::Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Column {
    column_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Frame {
    tables: Vec<Table>,
}

impl Table {
    pub(super) fn parse(body: &[u8]) -> Option<Table> {
        serde_json::from_slice::<Frame>(body).ok()?.tables.into_iter().next()
    }

    /// The texts of a column, whatever its place.
    pub(super) fn texts(&self, column: &str) -> impl Iterator<Item = &str> {
        let at = self.columns.iter().position(|found| found.column_name == column);
        let cell =
            move |row: &'_ Vec<serde_json::Value>| -> Option<usize> { at.filter(|at| *at < row.len()) };
        self.rows.iter().map(move |row| cell(row).and_then(|at| row[at].as_str()).unwrap_or(""))
    }

    pub(super) fn first(&self, column: &str) -> Option<&str> {
        self.texts(column).next()
    }
}

#[cfg(test)]
impl Table {
    /// A table of texts.
    pub(super) fn of(columns: &[&str], rows: &[&[&str]]) -> Table {
        let columns = columns.iter().map(|name| Column { column_name: (*name).to_owned() }).collect();
        let rows = rows.iter().map(|row| row.iter().map(|cell| (*cell).into()).collect()).collect();
        Table { columns, rows }
    }
}
