//! From the memory limit to the budget of the ledger.
//!
//! `memory_limit` is what VmHWM never exceeds. It is divided when every instance is open and nothing runs yet:
//!
//! ```text
//! memory_limit = what the process has resident by then, measured
//!              + what its threads will add                        [`LANE`] each
//!              + what is between two looks at the heap            [`epsilon`]
//!              + the budget: everything that depends on load, and the heap's growth
//! ```
//!
//! What the process holds later beside pages and leases (small objects, code that load touches for the first time,
//! deeper stacks) is weighed and charged to the account `process heap`: see [`budget::Weighed`]. So none of these
//! numbers must be right for the promise to hold; they only decide how much is left for load.

use std::fmt::Write;

use budget::{Budget, Division, Share, Weighed};
use engine::common::MemoryLimit;
use engine::pipeline::Needs;

use crate::heap;

/// What a lane adds to the process when it has worked: its stack, its runtime, its copy of the filters. Measured:
/// see docs/memory.md.
const LANE: usize = 96 << 10;

/// What the heap and code that load touches have set aside. Measured: see docs/memory.md.
const HEAP: usize = 4 << 20;

/// The heap stays below this part of the budget: above it, nothing is begun that lives there.
const HEAP_PART: usize = 3;

/// The oldest unfinished request finds this part of the budget at most, however large the largest request is.
const RESERVE_PART: usize = 5;

/// Without a container's limit and without a configured one.
const DEFAULT_LIMIT: u64 = 256_000_000;

/// What may become resident between two looks at the heap: 32 KiB of each thread, the kernel's counters, which are
/// exact to 64 pages for each processor, code that load touches. Measured: see docs/memory.md.
fn epsilon(limit: usize) -> usize {
    1_250_000 + limit / 128
}

/// How the limit is divided.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The limit.
    pub limit: usize,
    source: &'static str,
    page_size: usize,
    /// The static part, by consumer.
    pub fixed: Vec<(String, usize)>,
    /// What is left for load.
    pub budget: usize,
    /// Connections that the budget pays for, and what the kernel may hold for their sockets.
    sockets: (usize, usize),
}

/// What is wrong, and what would do.
type Misfit = (String, String);

impl Memory {
    /// The configured limit, and the budget that it would leave if opening the instances cost nothing.
    ///
    /// # Errors
    /// The limit is too small for any pipeline.
    pub fn of(configured: MemoryLimit) -> Result<(Memory, Budget), Misfit> {
        let (limit, source) = match configured.0 {
            Some(limit) => (limit, "configured"),
            None => match container_limit() {
                Some(limit) => (limit / 5 * 4, "80 % of the container's limit"),
                None => (DEFAULT_LIMIT, "default"),
            },
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let process = budget::resident().unwrap_or(0);
        let fixed =
            vec![("the process".to_owned(), process), ("between two looks".to_owned(), epsilon(limit))];
        let budget = limit.saturating_sub(sum(&fixed));
        // Many tags with little each waste less in small pages; throughput is the same.
        let page_size = if limit <= 48_000_000 { 16_384 } else { 65_536 };
        if budget < HEAP + 64 * page_size {
            let smallest = megabytes(sum(&fixed) + HEAP + 64 * page_size);
            let what = format!("memory_limit of {limit} bytes ({source}) is too small for any pipeline");
            return Err((what, format!("set memory_limit to {smallest} or more")));
        }
        let ledger = Budget::new(budget, page_size).map_err(|error| {
            (format!("the address space for the budget is refused: {error}"), "lower memory_limit".to_owned())
        })?;
        Ok((Memory { limit, source, page_size, fixed, budget, sockets: (0, 0) }, ledger))
    }

    /// Divides the limit, now that all instances are open.
    ///
    /// # Errors
    /// What is set aside, the largest request and the heap do not fit together: the smallest change that would do.
    pub fn divide(&mut self, ledger: &Budget, needs: &Needs) -> Result<(), Misfit> {
        let (anonymous, file) = residence();
        self.fixed = vec![
            ("code and data that starting touched".to_owned(), file),
            ("heap after opening: configuration, plugins, certificates".to_owned(), anonymous),
            (format!("{} threads: stacks and runtimes", needs.lanes + 1), (needs.lanes + 1) * LANE),
            ("between two looks at the heap".to_owned(), epsilon(self.limit)),
        ];
        self.sockets = (needs.connections, needs.socket_bytes);
        self.budget = self.limit.saturating_sub(sum(&self.fixed)).min(ledger.stat().limit);
        let page = self.page_size;
        let aside = ledger.stat().guaranteed + HEAP;
        let largest = needs.largest.as_ref().map_or(16 * page, |largest| largest.bytes + 4 * page);
        let free = self.budget.saturating_sub(aside);
        if largest > free {
            return Err(self.misfit(aside, largest - free, needs));
        }
        let heap =
            Share { guaranteed: HEAP, max: (self.budget / HEAP_PART).min(free - largest + HEAP).max(HEAP) };
        let reserve = largest.min(free / RESERVE_PART) / page * page;
        let resident = anonymous + file + (needs.lanes + 1) * LANE;
        let weighed = Some(Weighed { fixed: resident, reclaim: heap::reclaim });
        let division = Division { limit: self.budget, reserve, heap, weighed };
        ledger.divide(division).map_err(|missing| self.misfit(aside, missing, needs))
    }

    /// Whether another pipeline fits the division, as after a reload. Its accounts are open.
    ///
    /// # Errors
    /// Its largest request does not.
    pub fn fits(&self, ledger: &Budget, needs: &Needs) -> Result<(), Misfit> {
        let aside = ledger.stat().guaranteed;
        let free = self.budget.saturating_sub(aside);
        match &needs.largest {
            Some(largest) if largest.bytes > free => Err(self.misfit(aside, largest.bytes - free, needs)),
            _ => Ok(()),
        }
    }

    fn misfit(&self, aside: usize, missing: usize, needs: &Needs) -> Misfit {
        let (limit, fixed) = (self.limit, sum(&self.fixed));
        let mut what = format!(
            "memory_limit of {limit} bytes ({}) does not fit: {fixed} bytes for the process and {aside} bytes that \
             are set aside",
            self.source
        );
        let mut hint = format!("set memory_limit to {} or more", megabytes(limit + missing));
        if let Some(largest) = &needs.largest {
            let _ =
                write!(what, " leave too little for a request of {} bytes ({})", largest.bytes, largest.name);
            if let Some(rest) = largest.bytes.checked_sub(missing).filter(|rest| *rest >= 64 << 10) {
                let _ = write!(hint, ", or {} of {} to {rest} or less", largest.option, largest.name);
            }
        }
        (what, hint)
    }

    /// The division and the accounts as a table.
    pub fn table(&self, ledger: &Budget) -> String {
        let mut text = String::new();
        let mut line = |what: &str, reserved: &str, most: &str| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{what:<60} {reserved:>12} {most:>12}");
        };
        line("memory, in bytes", "reserved", "most");
        for (what, bytes) in &self.fixed {
            line(what, &bytes.to_string(), "");
        }
        let stat = ledger.stat();
        for account in ledger.accounts() {
            let most = account.share.max.min(self.budget).to_string();
            line(
                &format!("{} {}", account.owner, account.purpose),
                &account.share.guaranteed.to_string(),
                &most,
            );
        }
        line("for the oldest unfinished request", &stat.reserve.to_string(), "");
        let common = self.budget.saturating_sub(stat.guaranteed + stat.reserve);
        line("common to all accounts", &common.to_string(), "");
        line("memory_limit", &self.limit.to_string(), "");
        let (connections, bytes) = self.sockets;
        let sockets = format!("kernel buffers of {connections} connections (in a container's limit only)");
        line(&sockets, "", &(connections * bytes).to_string());
        text
    }

    /// What is not the budget's, the bytes between two looks left out.
    pub fn static_part(&self) -> usize {
        sum(&self.fixed) - epsilon(self.limit)
    }

    /// See the table.
    pub fn epsilon(&self) -> usize {
        epsilon(self.limit)
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Memory { limit, budget, page_size, source, sockets: (connections, _), .. } = self;
        write!(
            f,
            "memory_limit={limit} ({source}), budget={budget}, page={page_size}, connections={connections}"
        )
    }
}

fn sum(lines: &[(String, usize)]) -> usize {
    lines.iter().map(|(_, bytes)| bytes).sum()
}

/// Rounded up to a hundred thousand, as the configuration has it.
fn megabytes(bytes: usize) -> String {
    let tenths = bytes.div_ceil(100_000);
    if tenths.is_multiple_of(10) { format!("{}M", tenths / 10) } else { format!("{}K", tenths * 100) }
}

/// Resident bytes of the process: its own, and those of files, most of which is code.
fn residence() -> (usize, usize) {
    let status =
        config::read_limited(std::path::Path::new("/proc/self/status"), 16 << 10).unwrap_or_default();
    let field = |name| crate::ledger::kilobytes(&status, name).unwrap_or(0);
    (field("RssAnon:") + field("RssShmem:"), field("RssFile:"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine::pipeline::Largest;
    use options::Value;

    fn needs(bytes: usize) -> Needs {
        let largest = Largest { name: "http.0".into(), option: "buffer_max_size", bytes };
        Needs { lanes: 2, connections: 10, socket_bytes: 1_000, largest: Some(largest) }
    }

    #[test]
    fn the_parts_make_up_the_limit() {
        let (mut memory, ledger) = Memory::of(MemoryLimit(Some(64_000_000))).unwrap();
        let _egress = ledger.account("out", "body", Share::fixed(1_000_000)).unwrap();
        memory.divide(&ledger, &needs(4_000_000)).unwrap();
        assert_eq!(memory.static_part() + memory.epsilon() + memory.budget, 64_000_000);
        let stat = ledger.stat();
        assert_eq!((stat.limit, stat.guaranteed), (memory.budget, 1_000_000 + HEAP));
        let table = memory.table(&ledger);
        assert!(table.contains("out body") && table.contains("process heap") && table.contains("64000000"));
    }

    #[test]
    fn a_request_that_does_not_fit_is_named_with_the_smallest_change_that_would_do() {
        let (mut memory, ledger) = Memory::of(MemoryLimit(Some(64_000_000))).unwrap();
        let (what, hint) = memory.divide(&ledger, &needs(60_000_000)).unwrap_err();
        assert!(what.contains("60000000 bytes (http.0)"), "{what}");
        let limit = hint.split(' ').nth(3).unwrap().trim_end_matches(',');
        let limit: u64 = options::Size::parse(limit).unwrap().0;
        let (mut larger, ledger) = Memory::of(MemoryLimit(Some(limit + 2_000_000))).unwrap();
        assert_eq!(larger.divide(&ledger, &needs(60_000_000)), Ok(()), "{hint}");
    }

    #[test]
    fn a_limit_that_is_too_small_for_anything_is_refused() {
        let Err((what, hint)) = Memory::of(MemoryLimit(Some(1_000_000))) else { panic!("it was taken") };
        assert!(what.contains("too small") && hint.contains("or more"), "{what} {hint}");
    }
}
