//! Where blobs and messages go: what the cluster answers to `.get ingestion resources`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use azure_core::http::Url;
use options::Secret;
use tokio::sync::Mutex;

use super::commands::{Commands, Table};
use super::fault::{Fault, Step};
use super::options::endpoint;

/// The database that commands about none are sent to.
const ANY: &str = "NetDefaultDB";

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
    commands: Commands,
    interval: Duration,
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
    pub(super) fn new(name: &str, commands: Commands, interval: Duration) -> Directory {
        Directory { name: name.to_owned(), commands, interval, state: Mutex::default() }
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
        let listed = Box::pin(self.commands.ask("resources", ANY, ".get ingestion resources")).await?;
        let (containers, queues) = locations(&listed).map_err(|what| Fault::local(Step::Cluster, &what))?;
        let answered = Box::pin(self.commands.ask("identity", ANY, ".get kusto identity token")).await?;
        let context = answered.first("AuthorizationContext").filter(|context| !context.is_empty());
        let context =
            context.ok_or_else(|| Fault::local(Step::Cluster, "the cluster gave no identity token"))?;
        Ok(Resources { containers, queues, context: Secret::new(context), number })
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
        // A URL that is none is passed over as well: others may do. Its signature must not travel in clear.
        found.extend(Url::parse(root).ok().filter(|_| endpoint(root).is_ok()));
    }
    match (containers.is_empty(), queues.is_empty()) {
        (true, _) => Err("the cluster named no container (TempStorage)".to_owned()),
        (_, true) => Err("the cluster named no queue (SecuredReadyForAggregationQueue)".to_owned()),
        _ => Ok((containers, queues)),
    }
}

#[cfg(test)]
mod tests;
