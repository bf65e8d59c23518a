//! Buffer files on their way: each becomes a blob, block by block, then its message is posted, then it is deleted.
//!
//! One file at a time, the oldest first. What is done is in the journal, so that a restart goes on where it was.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use budget::Buf;
use net::client::Client;

use super::Kusto;
use super::fault::{Fault, Verdict};
use super::journal::{self, Name};
use super::spool::Spool;
use super::storage::Piece;
use super::upload::{Stored, Way};
use crate::payload::{PATIENCE, Slot};

/// The wait after the first failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The same while somebody must change something.
const HELD_WAIT: Duration = Duration::from_secs(10);
const HELD_LONGEST: Duration = Duration::from_secs(300);

/// Files that are remembered as given up; beyond that all are tried again.
const GIVEN_UP: usize = 1024;

/// How often the folder is looked at, whatever was or was not said.
const LOOK: Duration = Duration::from_secs(30);

/// Why a file was not delivered.
enum Stuck {
    Fault(Fault),
    Disk(io::Error),
    Memory,
}

impl From<Fault> for Stuck {
    fn from(fault: Fault) -> Stuck {
        Stuck::Fault(fault)
    }
}

impl From<io::Error> for Stuck {
    fn from(error: io::Error) -> Stuck {
        Stuck::Disk(error)
    }
}

impl Stuck {
    /// Whether somebody must change something first.
    fn is_held(&self) -> bool {
        matches!(self, Stuck::Fault(fault) if fault.verdict() == Verdict::Hold)
    }
}

impl std::fmt::Display for Stuck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stuck::Fault(fault) => f.write_str(&fault.text),
            Stuck::Disk(error) => error.fmt(f),
            Stuck::Memory => f.write_str("the memory that is set aside for an upload is still in use"),
        }
    }
}

/// Tries of the file that is at hand.
#[derive(Default)]
struct Tries {
    failed: u32,
    held: u32,
}

/// Uploads files until the lane ends: then those that are left, unless another output is going to, or the destination
/// does not take them.
pub(super) async fn run(kusto: Arc<Kusto>, client: Client) {
    let Some(spool) = &kusto.spool else { return };
    if let Err(error) = spool.turn().await {
        tracing::error!("[output:{}] buffer_dir: {error}", kusto.name);
    }
    let ending = spool.ending.stop();
    let (mut tries, mut given_up) = (Tries::default(), HashSet::new());
    loop {
        let last = ending.is_requested();
        if last && spool.has_successor() {
            return;
        }
        let left = spool.close_when_old().await;
        let found = spool.oldest(|id| given_up.contains(&id));
        let Ok(Some(name)) = found else {
            if let Err(error) = found {
                tracing::error!("[output:{}] buffer_dir: {error}", kusto.name);
            }
            if last {
                return;
            }
            let wait = left.unwrap_or(LOOK).min(LOOK);
            tokio::select! {
                () = spool.closed.notified() => {}
                () = ending.requested() => {}
                () = tokio::time::sleep(wait) => {}
            }
            continue;
        };
        match Box::pin(ship(&kusto, spool, &client, &name, tries.failed)).await {
            Ok(()) => {
                tries = Tries::default();
                kusto.counts.uploaded.add(1);
                kusto.counts.clear(&kusto.name);
            }
            Err(stuck) => match after(&kusto, &stuck, &mut tries) {
                Some(_) if last && stuck.is_held() => return,
                Some(wait) if last => tokio::time::sleep(wait.min(FIRST_WAIT)).await,
                Some(wait) => tokio::select! {
                    () = ending.requested() => {}
                    () = tokio::time::sleep(wait) => {}
                },
                None => {
                    tries = Tries::default();
                    give_up(&kusto, spool, &name, &stuck);
                    if given_up.len() >= GIVEN_UP {
                        given_up.clear();
                    }
                    given_up.insert(name.id);
                }
            },
        }
    }
}

/// How long to wait before the next try; `None` when there is none.
fn after(kusto: &Kusto, stuck: &Stuck, tries: &mut Tries) -> Option<Duration> {
    let name = &kusto.name;
    if let Stuck::Fault(fault) = stuck
        && stuck.is_held()
    {
        kusto.counts.raise(name, fault);
        let wait = HELD_WAIT.saturating_mul(1 << tries.held.min(5)).min(HELD_LONGEST);
        tries.held += 1;
        return Some(wait);
    }
    tries.failed += 1;
    let most = kusto.spool.as_ref().and_then(|spool| spool.options.scheduler_max_retries);
    if most.is_some_and(|most| tries.failed > most) {
        return None;
    }
    let asked = if let Stuck::Fault(fault) = stuck { fault.after } else { None };
    let scheduled = FIRST_WAIT.saturating_mul(1 << (tries.failed - 1).min(6)).min(LONGEST_WAIT);
    let wait = asked.unwrap_or(scheduled);
    tracing::warn!("[output:{name}] a buffer file is not uploaded yet, again in {wait:?}: {stuck}");
    Some(wait)
}

fn give_up(kusto: &Kusto, spool: &Spool, name: &Name, stuck: &Stuck) {
    let (instance, file) = (&kusto.name, name.data());
    let file = file.display();
    kusto.counts.given_up.add(1);
    if !spool.options.delete_on_max_upload_error {
        tracing::error!("[output:{instance}] {file} is given up until the next start: {stuck}");
        return;
    }
    let records = name.said().ok().and_then(|said| said.closed).map_or(0, |closed| closed.records);
    tracing::error!("[output:{instance}] {file} is deleted, {records} records are dropped: {stuck}");
    if let Err(error) = spool.remove(name) {
        tracing::error!("[output:{instance}] {file}: {error}");
    }
}

/// One try of one file.
async fn ship(kusto: &Kusto, spool: &Spool, client: &Client, name: &Name, attempt: u32) -> Result<(), Stuck> {
    let mut said = name.said()?;
    if said.closed.is_none() {
        journal::finish(name, said.durable)?;
        said = name.said()?;
    }
    let closed = said.closed.unwrap_or_default();
    let mut way = Way::new(kusto, client, name.id, attempt, &name.suffix);
    let container = match said.stored {
        Some(container) if way.is_in_use(&container).await? => container,
        _ => {
            let container = upload(kusto, &mut way, name, closed.bytes).await?;
            name.say(&format!("stored {container}"))?;
            container
        }
    };
    if spool.options.buffer_file_delete_early {
        spool.empty(name)?;
    }
    way.post(&Stored { id: name.id, container, raw: closed.raw }).await?;
    Ok(spool.remove(name)?)
}

/// Stores the file as a blob; its container.
async fn upload(kusto: &Kusto, way: &mut Way<'_>, name: &Name, bytes: u64) -> Result<String, Stuck> {
    let mut file = File::open(name.data())?;
    if file.metadata()?.len() < bytes {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the buffer file is cut").into());
    }
    let slot = kusto.slots.take().map_err(|_full| Stuck::Memory)?;
    let (mut place, mut blocks, mut left) = (None, 0, bytes);
    while left > 0 {
        let pages = read(&slot, &mut file, left).await?;
        left -= pages.len() as u64;
        let pages = Arc::new(pages);
        if blocks == 0 && left == 0 {
            way.store(&mut place, &Piece::Whole(pages)).await?;
            return Ok(place.unwrap_or_default());
        }
        way.store(&mut place, &Piece::Block(blocks, pages)).await?;
        blocks += 1;
    }
    way.store(&mut place, &Piece::List(blocks)).await?;
    Ok(place.unwrap_or_default())
}

/// The next block of a file: as much as the slot has room for.
async fn read(slot: &Slot<'_>, file: &mut File, left: u64) -> Result<Buf, Stuck> {
    let mut pages = slot.buffer(PATIENCE).await.map_err(|_full| Stuck::Memory)?;
    let mut file = file.take(left);
    loop {
        if pages.room() == 0
            && (pages.charged() + pages.account().page_size() > slot.pages() || pages.grow().is_err())
        {
            return Ok(pages);
        }
        let read = file.read(pages.spare())?;
        if read == 0 {
            return match pages.is_empty() {
                true => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                false => Ok(pages),
            };
        }
        pages.advance(read);
    }
}
