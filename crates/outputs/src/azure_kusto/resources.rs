//! Where blobs and messages go: what the cluster answers to `.get ingestion resources`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use azure_core::Uuid;
use azure_core::http::Url;
use http::{Request, StatusCode};
use net::client::{Body, Client};
use options::Secret;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::counts::Counts;
use super::fault::{Fault, Step, Verdict};
use super::identity::{Identity, Token};
use super::message::{self, APPLICATION};

/// The longest answer that is read, in bytes: some hundred URLs with signatures of a kilobyte each.
pub(super) const RESPONSE_BYTES: usize = 256 << 10;

/// After a refresh that failed, the old resources are used so long before the next attempt.
const REFRESH_AGAIN: Duration = Duration::from_secs(60);

/// Containers, queues and the token that goes into messages.
pub(super) struct Resources {
    containers: Vec<Url>,
    queues: Vec<Url>,
    pub(super) context: Secret,
    number: u64,
}

impl std::fmt::Debug for Resources {
    // The URLs are signed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resources({} containers, {} queues)", self.containers.len(), self.queues.len())
    }
}

impl Resources {
    /// The containers, in the cluster's order.
    pub(super) fn containers(&self) -> &[Url] {
        &self.containers
    }

    /// The queues, in the cluster's order.
    pub(super) fn queues(&self) -> &[Url] {
        &self.queues
    }

    /// The container at this place, with today's signature.
    pub(super) fn container_at(&self, place: &str) -> Option<&Url> {
        self.containers.iter().find(|url| place_of(url) == place)
    }
}

/// A URL without its query: the same place, however it is signed.
pub(super) fn place_of(url: &Url) -> String {
    let mut place = url.clone();
    place.set_query(None);
    place.into()
}

/// Knows the resources, and asks for them again when it is time.
pub(super) struct Directory {
    /// The instance, for log lines.
    name: String,
    endpoint: String,
    client: Client,
    identity: Arc<Identity>,
    interval: Duration,
    counts: Arc<Counts>,
    /// Held while the cluster is asked, so that all who need the resources wait for the same answer.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: Option<Arc<Resources>>,
    refresh_at: Option<Instant>,
    number: u64,
}

impl Directory {
    pub(super) fn new(
        name: &str,
        endpoint: String,
        client: Client,
        identity: Arc<Identity>,
        interval: Duration,
        counts: Arc<Counts>,
    ) -> Directory {
        let (name, state) = (name.to_owned(), Mutex::default());
        Directory { name, endpoint, client, identity, interval, counts, state }
    }

    /// The resources: those that are known, or new ones when the interval has passed.
    pub(super) async fn get(&self) -> Result<Arc<Resources>, Fault> {
        let mut state = self.state.lock().await;
        match &state.known {
            Some(known) if state.refresh_at.is_some_and(|at| Instant::now() < at) => Ok(Arc::clone(known)),
            _ => self.refresh(&mut state).await,
        }
    }

    /// New resources in place of `refused`, whatever their age. When somebody else has got new ones meanwhile,
    /// those.
    pub(super) async fn replace(&self, refused: &Resources) -> Result<Arc<Resources>, Fault> {
        let mut state = self.state.lock().await;
        match &state.known {
            Some(known) if known.number != refused.number => Ok(Arc::clone(known)),
            _ => {
                let number = state.number + 1;
                let found = self.ask_all(number).await?;
                Ok(self.keep(&mut state, found))
            }
        }
    }

    async fn refresh(&self, state: &mut State) -> Result<Arc<Resources>, Fault> {
        match (self.ask_all(state.number + 1).await, &state.known) {
            (Ok(found), _) => Ok(self.keep(state, found)),
            (Err(fault), Some(known)) => {
                let (name, why) = (&self.name, &fault.text);
                tracing::warn!(
                    "[output:{name}] no new ingestion resources, the old ones are used on for now: {why}"
                );
                state.refresh_at = Some(Instant::now() + REFRESH_AGAIN);
                Ok(Arc::clone(known))
            }
            (Err(fault), None) => Err(fault),
        }
    }

    fn keep(&self, state: &mut State, found: Resources) -> Arc<Resources> {
        let found = Arc::new(found);
        state.number = found.number;
        state.known = Some(Arc::clone(&found));
        state.refresh_at = Some(Instant::now() + self.interval);
        found
    }

    async fn ask_all(&self, number: u64) -> Result<Resources, Fault> {
        let listed = Box::pin(self.ask("resources", ".get ingestion resources")).await?;
        let (containers, queues) = locations(&listed).map_err(|what| Fault::local(Step::Cluster, &what))?;
        let answered = Box::pin(self.ask("identity", ".get kusto identity token")).await?;
        let context = answered.first("AuthorizationContext").filter(|context| !context.is_empty());
        let context =
            context.ok_or_else(|| Fault::local(Step::Cluster, "the cluster gave no identity token"))?;
        Ok(Resources { containers, queues, context: Secret::new(context), number })
    }

    /// Runs a command. A token that is refused is renewed, once.
    async fn ask(&self, operation: &str, command: &str) -> Result<Table, Fault> {
        let count = |fault: &Fault| self.counts.fault(fault);
        let token = self.identity.token().await.inspect_err(count)?;
        match self.run(operation, command, &token).await.inspect_err(count) {
            Err(fault) if fault.verdict() == Verdict::NewToken => {
                self.identity.drop_token(&token).await;
                let token = self.identity.token().await.inspect_err(count)?;
                self.run(operation, command, &token).await.inspect_err(count)
            }
            result => result,
        }
    }

    async fn run(&self, operation: &str, command: &str, token: &Token) -> Result<Table, Fault> {
        let body = serde_json::json!({"db": "NetDefaultDB", "csl": command}).to_string();
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
struct Table {
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
    fn parse(body: &[u8]) -> Option<Table> {
        serde_json::from_slice::<Frame>(body).ok()?.tables.into_iter().next()
    }

    /// The texts of a column, whatever its place.
    fn texts(&self, column: &str) -> impl Iterator<Item = &str> {
        let at = self.columns.iter().position(|found| found.column_name == column);
        let cell =
            move |row: &'_ Vec<serde_json::Value>| -> Option<usize> { at.filter(|at| *at < row.len()) };
        self.rows.iter().map(move |row| cell(row).and_then(|at| row[at].as_str()).unwrap_or(""))
    }

    fn first(&self, column: &str) -> Option<&str> {
        self.texts(column).next()
    }
}

/// Containers and queues of an answer, in its order. Kinds that nobody needs here are passed over.
fn locations(table: &Table) -> Result<(Vec<Url>, Vec<Url>), String> {
    let (mut containers, mut queues) = (Vec::new(), Vec::new());
    for (kind, root) in table.texts("ResourceTypeName").zip(table.texts("StorageRoot")) {
        let found = match kind {
            "TempStorage" => &mut containers,
            "SecuredReadyForAggregationQueue" => &mut queues,
            _ => continue,
        };
        // A URL that is none is passed over as well: others may do.
        found.extend(Url::parse(root).ok().filter(|url| url.has_host()));
    }
    match (containers.is_empty(), queues.is_empty()) {
        (true, _) => Err("the cluster named no container (TempStorage)".to_owned()),
        (_, true) => Err("the cluster named no queue (SecuredReadyForAggregationQueue)".to_owned()),
        _ => Ok((containers, queues)),
    }
}

#[cfg(test)]
mod tests;
