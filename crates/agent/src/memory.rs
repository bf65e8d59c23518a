//! From the memory limit to the budget of the ledger.

use std::fmt::Write;

use budget::Budget;
use engine::common::MemoryLimit;

/// What the process holds whatever the load, by consumer, in bytes. Measured on the release build; what is not
/// load is not in the ledger.
const STATIC: &[(&str, usize)] = &[
    ("code and data", 8_000_000),
    ("runtime, threads, configuration, log", 2_000_000),
    ("TLS, certificates, service clients", 3_000_000),
    ("small objects of the heap that are not leased", 5_000_000),
    ("the kernel's rounding, pages between two reads", 2_000_000),
];

/// The smallest budget that is worth starting with: the largest default body, its events and an upload.
const SMALLEST_BUDGET: usize = 10_000_000;

/// Without a container's limit and without a configured one.
const DEFAULT_LIMIT: u64 = 256_000_000;

/// How the limit is divided.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    limit: usize,
    budget: usize,
    page_size: usize,
    source: &'static str,
}

impl Memory {
    /// The division of the configured limit, and the budget it leaves.
    ///
    /// # Errors
    /// What is wrong and what would do.
    pub fn of(configured: MemoryLimit) -> Result<(Memory, Budget), (String, String)> {
        let (limit, source) = match configured.0 {
            Some(limit) => (limit, "configured"),
            None => match container_limit() {
                Some(limit) => (limit / 5 * 4, "80 % of the container's limit"),
                None => (DEFAULT_LIMIT, "default"),
            },
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let fixed: usize = STATIC.iter().map(|(_, bytes)| bytes).sum();
        let budget = limit.saturating_sub(fixed);
        if budget < SMALLEST_BUDGET {
            let smallest = (fixed + SMALLEST_BUDGET).div_ceil(1_000_000);
            let what = format!(
                "memory_limit of {limit} bytes ({source}) is too small: {fixed} bytes are needed before any load"
            );
            return Err((what, format!("set memory_limit to {smallest}M or more")));
        }
        // Many tags with little each waste less in small pages; throughput is the same.
        let page_size = if limit <= 48_000_000 { 16_384 } else { 65_536 };
        let ledger = Budget::new(budget, page_size).map_err(|error| {
            (format!("the address space for the budget is refused: {error}"), "lower memory_limit".to_owned())
        })?;
        Ok((Memory { limit, budget, page_size, source }, ledger))
    }

    /// The division and the accounts as a table.
    pub fn table(&self, budget: &Budget) -> String {
        let mut text = String::new();
        let mut line = |what: &str, reserved: usize, most: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{what:<52} {reserved:>12} {most:>12}");
        };
        line("memory (bytes)", 0, "most".to_owned());
        for (what, bytes) in STATIC {
            line(what, *bytes, String::new());
        }
        for account in budget.accounts() {
            let most = account.share.max.min(self.budget);
            line(
                &format!("{} {}", account.owner, account.purpose),
                account.share.guaranteed,
                most.to_string(),
            );
        }
        line("budget for load", self.budget, String::new());
        line("memory_limit", self.limit, String::new());
        text
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Memory { limit, budget, page_size, source } = self;
        write!(f, "memory_limit={limit} ({source}), budget={budget}, page={page_size}")
    }
}

/// The limit of the control group the process is in, version 2 or 1.
fn container_limit() -> Option<u64> {
    let paths = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let limit = paths.iter().find_map(|path| {
        let text = config::read_limited(std::path::Path::new(path), 64).ok()?;
        text.trim().parse::<u64>().ok()
    })?;
    // Version 1 says "no limit" with a number near the largest.
    (limit < 1 << 50).then_some(limit)
}
