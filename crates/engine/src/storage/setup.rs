//! From the options to the storage of a pipeline.

use std::path::PathBuf;
use std::sync::Arc;

use budget::{Account, Budget, Share};
use options::{Problem, Reader};

use super::{Folders, Layout};
use crate::common::{Acknowledge, InputCommon, Service, StorageType, Sync};
use crate::dispatch::Settings;
use crate::emit::{PATIENCE, Promise};
use crate::limits::LOAD_BYTES;
use crate::metrics::StorageMetrics;

/// The storage of a pipeline that is not running yet.
pub(crate) struct Plan {
    pub(crate) layout: Layout,
    pub(crate) max_up: usize,
    pub(crate) settings: Settings,
    /// The folders of the inputs, by number.
    pub(crate) folders: Vec<(usize, String)>,
    /// No pipeline before this one has it open.
    pub(crate) fresh: bool,
}

/// What an input promises, by its options and the service's. What does not go together is reported.
pub(crate) fn promise(common: &InputCommon, service: &Service, reader: &mut Reader<'_>) -> Promise {
    let inherited = service.storage_type.filter(|_| service.storage_inherit);
    let kind = common.storage_type.or(inherited).unwrap_or(StorageType::Memory);
    let stored = kind == StorageType::Filesystem;
    if stored && service.storage_path.is_none() {
        let what = "option \"storage.type\": filesystem needs a folder to store records in".to_owned();
        reader.refuse("storage.type", what, Some("set storage.path in the service section".to_owned()));
    }
    if common.acknowledge == Some(Acknowledge::Stored) && !stored {
        let what = "option \"acknowledge\": stored needs records on the filesystem".to_owned();
        reader.refuse("acknowledge", what, Some("set storage.type to filesystem".to_owned()));
    }
    let usual = if stored { Acknowledge::Stored } else { Acknowledge::Buffered };
    Promise {
        acknowledge: common.acknowledge.unwrap_or(usual),
        patience: common.acknowledge_timeout.duration(),
        stored,
        pauses_at: (stored && common.storage_pause).then_some(service.storage_max_chunks_up as u64),
        waits: Some(PATIENCE),
        ring: kind == StorageType::Memrb && common.mem_buf_limit.0 > 0,
    }
}

/// The storage of the whole pipeline, if there is a folder for it.
///
/// # Errors
/// What does not fit.
pub(crate) fn plan(
    service: &Service,
    folders: Vec<(usize, String)>,
    outputs: usize,
    metrics: &StorageMetrics,
    budget: &Budget,
) -> Result<Option<Plan>, Problem> {
    let Some(path) = &service.storage_path else { return Ok(None) };
    let fresh = metrics.account.get().is_none();
    let account = match metrics.account.get() {
        Some(account) => account.clone(),
        None => account(service, outputs, budget)?,
    };
    let rejected = service.storage_rejected_path.trim_matches('/').to_owned();
    Ok(Some(Plan {
        layout: Layout {
            root: PathBuf::from(path),
            rejected: rejected.into(),
            checksum: service.storage_checksum,
            full_sync: service.storage_sync == Sync::Full,
            delete_damaged: service.storage_delete_damaged,
            folders: Folders::default(),
            account,
            lost: Arc::clone(&metrics.lost),
        },
        max_up: service.storage_max_chunks_up,
        settings: Settings {
            keep_rejected: service.storage_keep_rejected,
            rejected_limit: service.storage_rejected_limit.map(|limit| limit.0),
            rejected: 0,
            flush_on_shutdown: service.storage_flush_on_shutdown,
            rings: Vec::new(),
        },
        folders,
        fresh,
    }))
}

/// What is read from the disk is paid from here. A part is set aside, more the more outputs there are, so that one
/// that does not answer leaves the others some.
fn account(service: &Service, outputs: usize, budget: &Budget) -> Result<Account, Problem> {
    let limit = budget.stat().limit;
    let guaranteed = (LOAD_BYTES * outputs.max(1)).min(limit / 4);
    let max = (service.storage_backlog_mem_limit.0 as usize).max(guaranteed);
    budget.account("storage", "chunks", Share { guaranteed, max }).map_err(|_| {
        let what = format!("{guaranteed} bytes set aside to read stored records do not fit the memory limit");
        let hint = "raise memory_limit in the service section, or remove an instance".to_owned();
        Problem::new(options::Pos::new("service", 1, 1), what).hint(hint)
    })
}

/// Bytes of the rejected records that are there already.
pub(crate) fn rejected_bytes(layout: &Layout) -> u64 {
    let folder = layout.root.join(&*layout.rejected);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}
