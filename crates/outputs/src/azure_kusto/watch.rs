//! What becomes of blobs behind the queue.
//!
//! A queue takes the message of a blob whatever the cluster is going to make of it, minutes later. So while messages
//! are on their way, the engine is asked every ten seconds whether the table is there, and every minute which
//! ingestions have failed:
//!
//! * While the table is missing nothing is posted: batches are held, with an alarm.
//! * A blob that was refused for want of a table, a mapping or a permission, or because its signature had run out, is
//!   still in storage: its message is posted again when the table is there.
//! * A blob whose records are wrong is not posted again. The log names it, with the cluster's own code.
//!
//! Somebody who may ingest but not look is told so once, and then goes without.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::client::Client;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Kusto;
use super::commands::{Commands, Table};
use super::counts::Counts;
use super::fault::{Fault, Step, Verdict, is_missing_entity, one_line};
use super::options::KustoOptions;
use super::upload::{Stored, Way};

/// How often the table is looked at.
const LOOK: Duration = Duration::from_secs(10);

/// Failures are asked for at each of so many looks.
const FAILURES: u32 = 6;

/// How long after its message a blob is watched: the cluster waits for others for half an hour at most.
const WATCHED: Duration = Duration::from_secs(3600);

/// Blobs that are watched at a time.
const BLOBS: usize = 1024;

/// Failures that are asked for at a time.
const SHOWN: usize = 256;

/// Questions in a row without an answer until that is said.
const BLIND: u32 = 5;

/// Codes of refusals that somebody puts right, beside those of what is missing.
const MENDED: [&str; 6] = [
    "TableAccessDenied",
    "Forbidden",
    "InvalidKustoIdentityToken",
    "Download_AccessConditionNotSatisfied",
    "General_RetryAttemptsExceeded",
    "General_AbandonedIngestion",
];

/// Looks after the blobs of an instance.
pub(super) struct Watch {
    /// The instance, for log lines.
    name: String,
    commands: Commands,
    database: String,
    table: String,
    counts: Arc<Counts>,
    blobs: Mutex<VecDeque<Blob>>,
    /// Why nothing is posted.
    missing: Mutex<Option<Fault>>,
    posted: Notify,
    /// It was said that one of the questions is not answered.
    blind: AtomicBool,
    /// How often in a row failures could not be asked for.
    unseen: AtomicU32,
}

/// A blob that a queue has accepted the message of.
#[derive(Clone)]
struct Blob {
    stored: Stored,
    suffix: String,
    at: Instant,
    /// Failures of it that were seen.
    failures: usize,
    /// It is to be posted again.
    again: bool,
}

impl Watch {
    pub(super) fn new(name: &str, options: &KustoOptions, commands: Commands, counts: Arc<Counts>) -> Watch {
        Watch {
            name: name.to_owned(),
            commands,
            database: options.database_name.clone(),
            table: options.table_name.replace('\\', "\\\\").replace('\'', "\\'"),
            counts,
            blobs: Mutex::default(),
            missing: Mutex::default(),
            posted: Notify::new(),
            blind: AtomicBool::new(false),
            unseen: AtomicU32::new(0),
        }
    }

    fn blobs(&self) -> MutexGuard<'_, VecDeque<Blob>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missing(&self) -> MutexGuard<'_, Option<Fault>> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether messages may be posted.
    pub(super) fn permits(&self) -> Result<(), Fault> {
        self.missing().clone().map_or(Ok(()), Err)
    }

    /// Remembers a blob whose message was accepted.
    pub(super) fn posted(&self, stored: &Stored, suffix: &str) {
        let mut blobs = self.blobs();
        let known = blobs.iter().position(|blob| blob.stored.id == stored.id);
        let failures = known.and_then(|at| blobs.remove(at)).map_or(0, |blob| blob.failures);
        if blobs.len() == BLOBS
            && let Some(oldest) = blobs.pop_front()
            && oldest.again
        {
            let (name, id) = (&self.name, oldest.stored.id);
            tracing::error!(
                "[output:{name}] blob {id:032x} failed and is watched no longer: its records are not in the table"
            );
        }
        let (stored, suffix) = (stored.clone(), suffix.to_owned());
        blobs.push_back(Blob { stored, suffix, at: Instant::now(), failures, again: false });
        self.posted.notify_one();
    }

    /// Whether there is anything to look at.
    fn is_idle(&self) -> bool {
        let mut blobs = self.blobs();
        blobs.retain(|blob| blob.again || blob.at.elapsed() < WATCHED);
        blobs.is_empty() && self.missing().is_none()
    }

    /// Looks whether the table is there; `None`: nobody can tell.
    async fn look(&self) -> Option<bool> {
        let command = format!(".show table ['{}'] schema as json", self.table);
        match Box::pin(self.commands.ask("table", &self.database, &command)).await {
            Ok(_) => {
                if self.missing().take().is_some() {
                    self.counts.clear_one(&self.name, Step::Table);
                }
                Some(true)
            }
            Err(fault) if is_missing_entity(&fault.code) => {
                let fault = Fault { step: Step::Table, ..fault };
                self.counts.raise(&self.name, &fault);
                *self.missing() = Some(fault);
                Some(false)
            }
            Err(fault) => {
                self.cannot("whether the table is there", &fault, 1);
                None
            }
        }
    }

    /// Says once what is not known: at once when it takes somebody to change that, else after some tries in a row.
    fn cannot(&self, what: &str, fault: &Fault, tries: u32) {
        let lasts = fault.verdict() == Verdict::Hold || tries >= BLIND;
        if lasts && !self.blind.swap(true, Ordering::Relaxed) {
            let (name, why) = (&self.name, &fault.text);
            tracing::warn!(
                "[output:{name}] cannot tell {what}: {why}; the permission to view the database helps"
            );
        }
    }

    /// Asks which ingestions have failed, and takes note of those of our blobs.
    async fn note_failures(&self) {
        let unseen = self.unseen.load(Ordering::Relaxed);
        // An answer may be too long to be read: so fewer are asked for at each try.
        let most = (SHOWN >> unseen.min(8)).max(1);
        let command = format!(
            ".show ingestion failures | where Table == '{}' | where IngestionSourcePath contains '/weir__' | \
             order by FailedOn desc | take {most} | project IngestionSourcePath, ErrorCode, FailureKind, Details",
            self.table
        );
        match Box::pin(self.commands.ask("failures", &self.database, &command)).await {
            Ok(table) => {
                self.unseen.store(0, Ordering::Relaxed);
                self.note(&failures(&table));
            }
            Err(fault) => {
                self.unseen.store(unseen.saturating_add(1), Ordering::Relaxed);
                self.cannot("which ingestions have failed", &fault, unseen + 1);
            }
        }
    }

    fn note(&self, failures: &HashMap<u128, Failures>) {
        let name = &self.name;
        self.blobs().retain_mut(|blob| {
            let Some(found) = failures.get(&blob.stored.id).filter(|found| found.count > blob.failures) else {
                return true;
            };
            blob.failures = found.count;
            self.counts.failed.add(1);
            let (id, code, details) = (blob.stored.id, &found.code, &found.details);
            if is_missing_entity(code) || MENDED.iter().any(|mended| code.contains(mended)) {
                tracing::warn!("[output:{name}] blob {id:032x} was not ingested ({code}: {details}); its message is posted again");
                blob.again = true;
                return true;
            }
            let container = &blob.stored.container;
            tracing::error!("[output:{name}] the cluster refuses blob {id:032x} in {container} ({code}: {details}); its records are not in the table");
            false
        });
    }

    /// The blobs that are to be posted again.
    fn again(&self) -> Vec<Blob> {
        self.blobs().iter().filter(|blob| blob.again).cloned().collect()
    }
}

/// Failures of one blob for good: how many, and the last.
#[derive(Debug, Default, PartialEq, Eq)]
struct Failures {
    count: usize,
    code: String,
    details: String,
}

/// By the id of the blob. What passes by itself is passed over: the cluster tries again.
fn failures(table: &Table) -> HashMap<u128, Failures> {
    let mut found = HashMap::<u128, Failures>::new();
    let rows = table.texts("IngestionSourcePath").zip(table.texts("ErrorCode"));
    for ((path, code), (kind, details)) in rows.zip(table.texts("FailureKind").zip(table.texts("Details"))) {
        let Some(id) = id(path).filter(|_| kind != "Transient") else { continue };
        let failures = found.entry(id).or_insert_with(|| Failures {
            count: 0,
            code: code.to_owned(),
            details: one_line(details),
        });
        failures.count += 1;
    }
    found
}

/// The id in the name of a blob of ours: `.../weir__d__t__ID.json.gz`.
fn id(path: &str) -> Option<u128> {
    let name = path.split('?').next()?.rsplit('/').next()?.strip_prefix("weir__")?;
    let id = name.rsplit("__").next()?.split('.').next()?;
    u128::from_str_radix(id, 16).ok().filter(|_| id.len() == 32)
}

/// Looks after blobs until the lane ends.
pub(super) async fn run(kusto: Arc<Kusto>, client: Client) {
    let Some(watch) = &kusto.watch else { return };
    let mut looks = 0_u32;
    loop {
        if watch.is_idle() {
            looks = 0;
            watch.posted.notified().await;
        }
        tokio::time::sleep(LOOK).await;
        looks += 1;
        let was_missing = watch.missing().is_some();
        let there = watch.look().await;
        let is_new = was_missing != (there == Some(false));
        if is_new || looks.is_multiple_of(FAILURES) {
            watch.note_failures().await;
        }
        if there == Some(false) {
            continue;
        }
        for blob in watch.again() {
            let mut way = Way::new(&kusto, &client, blob.stored.id, blob.failures as u32, &blob.suffix);
            if let Err(fault) = Box::pin(way.post(&blob.stored)).await {
                let (name, id, why) = (&watch.name, blob.stored.id, &fault.text);
                tracing::warn!(
                    "[output:{name}] the message of blob {id:032x} is not posted again yet: {why}"
                );
                break;
            }
            kusto.counts.posted_again.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_known_by_the_id_in_its_name() {
        for (path, expected) in [
            (
                "https://a.blob.core.windows.net/c/weir__my__db__t__000000000000000000000000000000ab.json.gz",
                Some(0xab),
            ),
            ("a/c/weir__d__t__000000000000000000000000000000ab.multijson?sig=x", Some(0xab)),
            ("a/c/weir__d__t__ab.json.gz", None),
            ("a/c/other__000000000000000000000000000000ab.json", None),
            ("", None),
        ] {
            assert_eq!(id(path), expected, "{path}");
        }
    }

    #[test]
    fn failures_are_counted_by_blob_and_passing_ones_are_not() {
        let path = |id: u32| format!("a/c/weir__d__t__{id:032x}.json.gz");
        let columns = ["IngestionSourcePath", "ErrorCode", "FailureKind", "Details"];
        let table = Table::of(
            &columns,
            &[
                &[&path(1), "BadRequest_TableNotExist", "Permanent", "gone"],
                &[&path(2), "Timeout", "Transient", ""],
                &[&path(1), "BadFormat", "Permanent", "earlier"],
            ],
        );
        let found = failures(&table);
        assert_eq!(found.len(), 1);
        let expected =
            Failures { count: 2, code: "BadRequest_TableNotExist".to_owned(), details: "gone".to_owned() };
        assert_eq!(found[&1], expected);
    }
}
