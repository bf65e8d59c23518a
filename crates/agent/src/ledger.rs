//! The ledger, to look at: as JSON, as Prometheus' text, and as a table for the log.

use std::fmt::Write;
use std::path::Path;

use budget::{AccountStat, Budget};
use serde_json::{Value, json};

use crate::memory::Memory;

/// The ledger of the running agent with the division of its limit.
#[derive(Clone)]
pub struct Ledger {
    budget: Budget,
    memory: Memory,
}

/// What the kernel says of the process, in bytes.
struct Process {
    resident: usize,
    peak: usize,
    /// What the kernel holds for the process' sockets: outside the limit, inside a container's.
    sockets: usize,
}

impl Process {
    fn now() -> Process {
        let status = config::read_limited(Path::new("/proc/self/status"), 16 << 10).unwrap_or_default();
        Process {
            resident: kilobytes(&status, "VmRSS:").unwrap_or(0),
            peak: kilobytes(&status, "VmHWM:").unwrap_or(0),
            sockets: sockets(),
        }
    }
}

/// A line of `/proc/PID/status`, in bytes.
pub fn kilobytes(status: &str, name: &str) -> Option<usize> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|kilobytes| kilobytes * 1024)
}

/// What the buffers of all sockets hold.
fn sockets() -> usize {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let numbers = descriptors.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter_map(socket).sum()
}

/// What is received and not read, what is sent and not acknowledged, and what is set aside for more; `None` for
/// what is no socket.
fn socket(descriptor: i32) -> Option<usize> {
    const RECEIVED: usize = 0;
    const AHEAD: usize = 4;
    const QUEUED: usize = 5;
    let mut figures = [0_u32; 9];
    let mut size = size_of_val(&figures) as libc::socklen_t;
    // SAFETY: the figures are as long as said and live during the call; a number that is no socket is refused.
    let status = unsafe {
        libc::getsockopt(
            descriptor,
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            figures.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    (status == 0).then(|| [RECEIVED, AHEAD, QUEUED].map(|at| figures[at] as usize).iter().sum())
}

impl Ledger {
    /// The ledger, and how the limit was divided.
    pub fn new(budget: Budget, memory: Memory) -> Ledger {
        Ledger { budget, memory }
    }

    /// What is resident beyond the static part and everything the ledger knows of since it was weighed last. Below
    /// [`Memory::epsilon`] as long as the promise holds; below zero when something leased is not used yet.
    fn difference(&self, process: &Process) -> i64 {
        let stat = self.budget.stat();
        process.resident as i64 - (self.memory.static_part() + stat.held + stat.dirty) as i64
    }

    /// `/api/v1/memory`.
    pub fn json(&self) -> Value {
        let process = Process::now();
        let difference = self.difference(&process);
        self.budget.weigh();
        let stat = self.budget.stat();
        let accounts: Vec<Value> = self.accounts().iter().map(|account| {
            json!({
                "owner": account.owner, "purpose": account.purpose, "held": account.held, "peak": account.peak,
                "guaranteed": account.share.guaranteed, "max": account.share.max.min(stat.limit),
                "waits": account.waits, "refusals": account.refusals,
            })
        }).collect();
        let parts = self.memory.fixed.iter().map(|(what, bytes)| json!({"what": what, "bytes": bytes}));
        json!({
            "limit": self.memory.limit,
            "static": self.memory.static_part(),
            "epsilon": self.memory.epsilon(),
            "static_parts": parts.collect::<Vec<Value>>(),
            "process": {
                "resident": process.resident, "peak": process.peak, "kernel_sockets": process.sockets,
                "difference": difference, "beyond_peak": stat.beyond,
            },
            "budget": {
                "limit": stat.limit, "held": stat.held, "guaranteed": stat.guaranteed, "common": stat.common,
                "reserve": stat.reserve, "heap": stat.heap, "free_resident": stat.dirty,
                "page_size": stat.page_size, "waiting": stat.waiting, "pressure": stat.pressure.word(),
            },
            "accounts": accounts,
        })
    }

    fn accounts(&self) -> Vec<AccountStat> {
        self.budget.accounts()
    }

    /// The same in Prometheus' text format.
    pub fn prometheus(&self) -> String {
        let process = Process::now();
        let difference = self.difference(&process);
        self.budget.weigh();
        let stat = self.budget.stat();
        let gauges: [(&str, &str, i64); 12] = [
            ("limit_bytes", "What the process may have resident.", self.memory.limit as i64),
            ("static_bytes", "What does not depend on load.", self.memory.static_part() as i64),
            ("resident_bytes", "What the process has resident.", process.resident as i64),
            ("peak_bytes", "The most it ever had resident.", process.peak as i64),
            ("kernel_sockets_bytes", "What the kernel holds for its sockets.", process.sockets as i64),
            ("difference_bytes", "Resident beyond what the ledger knows of.", difference),
            ("beyond_peak_bytes", "The most that came to the heap between two looks.", stat.beyond as i64),
            ("budget_bytes", "What load may hold.", stat.limit as i64),
            ("held_bytes", "What load holds.", stat.held as i64),
            ("free_resident_bytes", "Free pages that are still resident.", stat.dirty as i64),
            ("waiting", "Waits for room.", stat.waiting as i64),
            ("pressure", "0 calm, 1 flush, 2 close, 3 full.", stat.pressure as i64),
        ];
        let mut text = String::new();
        for (name, help, value) in gauges {
            family(&mut text, name, "gauge", help);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "weir_memory_{name} {value}");
        }
        let accounts = self.accounts();
        for (name, kind, help, of) in FIGURES {
            family(&mut text, name, kind, help);
            for account in &accounts {
                let owner = account.owner.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let (purpose, value) = (account.purpose, of(account));
                let _ =
                    writeln!(text, "weir_memory_{name}{{name=\"{owner}\",purpose=\"{purpose}\"}} {value}");
            }
        }
        text
    }

    /// The ledger as a table, a line for the log each.
    pub fn lines(&self) -> Vec<String> {
        self.budget.weigh();
        let (stat, process) = (self.budget.stat(), Process::now());
        let line = |what: &str, figures: [&str; 5]| {
            let [held, peak, most, waits, refusals] = figures;
            format!("{what:<40} {held:>12} {peak:>12} {most:>12} {waits:>8} {refusals:>8}")
        };
        let mut lines = vec![line("in bytes", ["held", "peak", "most", "waits", "refusals"])];
        lines.extend(self.accounts().iter().map(|account| {
            let most = account.share.max.min(stat.limit) as u64;
            let (held, peak) = (account.held as u64, account.peak as u64);
            let figures =
                [held, peak, most, account.waits, account.refusals].map(|figure| figure.to_string());
            let [held, peak, most, waits, refusals] = &figures;
            line(&format!("{} {}", account.owner, account.purpose), [held, peak, most, waits, refusals])
        }));
        lines.push(format!(
            "budget {} of {} held, {} free and resident, pressure {}",
            stat.held,
            stat.limit,
            stat.dirty,
            stat.pressure.word()
        ));
        lines.push(format!(
            "process {} resident, {} at its peak, limit {}, static {}, beyond the ledger {}, kernel sockets {}",
            process.resident,
            process.peak,
            self.memory.limit,
            self.memory.static_part(),
            self.difference(&process),
            process.sockets
        ));
        lines
    }

    /// The accounts that hold something that load took. The monitoring API may be serving somebody, and the heap is
    /// never empty.
    pub fn held(&self) -> Vec<String> {
        let load = |account: &&AccountStat| {
            account.held > 0 && account.owner != crate::admin::OWNER && account.purpose != "heap"
        };
        let text = |account: &AccountStat| format!("{} {}: {}", account.owner, account.purpose, account.held);
        self.accounts().iter().filter(load).map(text).collect()
    }
}

/// Figures of an account: name, kind, help, and where it is.
type Figure = (&'static str, &'static str, &'static str, fn(&AccountStat) -> u64);

const FIGURES: [Figure; 6] = [
    ("account_held_bytes", "gauge", "What the account holds.", |account| account.held as u64),
    ("account_peak_bytes", "gauge", "The most it ever held.", |account| account.peak as u64),
    ("account_guaranteed_bytes", "gauge", "What is set aside for it.", |account| {
        account.share.guaranteed as u64
    }),
    ("account_max_bytes", "gauge", "What it may hold.", |account| account.share.max as u64),
    ("account_waits_total", "counter", "Waits for room.", |account| account.waits),
    ("account_refusals_total", "counter", "Requests for room that were refused.", |account| account.refusals),
];

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP weir_memory_{name} {help}\n# TYPE weir_memory_{name} {kind}");
}
