//! What the kernel shows of a process and all its children: memory, threads, descriptors, sockets.

use std::collections::HashMap;
use std::io::Read;

use serde::{Deserialize, Serialize};

/// The longest file under /proc that is read.
const FILE: u64 = 1 << 20;

/// What a tree of processes holds, in bytes and in numbers. Sums over the tree.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Resident memory (RSS).
    pub rss: u64,
    /// Resident memory, pages shared with others counted in part (PSS).
    pub pss: u64,
    /// Anonymous and shared memory, also where it is swapped out: what is judged. Pages of files (code, mostly)
    /// come and go with the kernel's mood and are left out.
    pub anonymous: u64,
    /// Anonymous memory in huge pages.
    pub huge: u64,
    /// Resident pages of files.
    pub file: u64,
    /// Freed by the process and not yet taken back by the kernel: no longer its own.
    pub lazy: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Sockets among them.
    pub sockets: u64,
    /// Memory of the control group, 0 where it has none of its own.
    pub cgroup: u64,
    /// Processes.
    pub processes: u64,
}

/// A file under /proc or /sys, at most [`FILE`] bytes of it. None: it is gone, or not ours to read.
pub fn read(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A process and everything below it, itself first.
pub fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let parent = read(&format!("/proc/{pid}/stat")).as_deref().and_then(parent);
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        found.extend(children.remove(&found[next]).unwrap_or_default());
        next += 1;
    }
    found
}

/// The fourth field; the second, the name in brackets, may contain anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Bytes of a `Name:  123 kB` line.
fn kilobytes(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// Looks at every process of the list; those that are gone count nothing. None: all are gone.
pub fn look(pids: &[u32]) -> Option<Look> {
    let mut sum = Look::default();
    for pid in pids {
        let Some(rollup) = read(&format!("/proc/{pid}/smaps_rollup")) else { continue };
        let anonymous = kilobytes(&rollup, "Anonymous");
        let rss = kilobytes(&rollup, "Rss");
        if rss == 0 {
            continue;
        }
        let status = read(&format!("/proc/{pid}/status")).unwrap_or_default();
        let shared = kilobytes(&status, "RssShmem");
        sum.rss += rss;
        sum.pss += kilobytes(&rollup, "Pss");
        sum.lazy += kilobytes(&rollup, "LazyFree");
        sum.anonymous +=
            (anonymous + shared + kilobytes(&rollup, "Swap")).saturating_sub(kilobytes(&rollup, "LazyFree"));
        sum.huge += kilobytes(&rollup, "AnonHugePages");
        sum.file += rss.saturating_sub(anonymous + shared);
        sum.threads += kilobytes(&status, "Threads") / 1024;
        sum.processes += 1;
    }
    (sum.processes > 0).then_some(sum)
}

/// As [`look`], with descriptors, sockets and the control group: dearer.
pub fn look_closely(pids: &[u32]) -> Option<Look> {
    let mut sum = look(pids)?;
    for pid in pids {
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            sum.descriptors += 1;
            let to = std::fs::read_link(entry.path()).unwrap_or_default();
            sum.sockets += u64::from(to.to_string_lossy().starts_with("socket:"));
        }
    }
    sum.cgroup = pids.first().and_then(|pid| cgroup(*pid)).unwrap_or(0);
    Some(sum)
}

/// Memory of the process' control group (version 2); none for the root's.
fn cgroup(pid: u32) -> Option<u64> {
    let groups = read(&format!("/proc/{pid}/cgroup"))?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?.trim_end();
    read(&format!("/sys/fs/cgroup{path}/memory.current"))?.trim().parse().ok()
}

/// Memory that could still be taken on this machine.
pub fn available() -> u64 {
    let text = read("/proc/meminfo").unwrap_or_default();
    kilobytes(&text, "MemAvailable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_seen_to_grow_by_what_it_takes() {
        let pids = tree(std::process::id());
        let before = look_closely(&pids).unwrap();
        let memory = std::hint::black_box(vec![7_u8; 64 << 20]);
        let after = look_closely(&pids).unwrap();
        let grown = after.anonymous.saturating_sub(before.anonymous);
        assert!((60 << 20..80 << 20).contains(&grown), "{grown}");
        assert!(after.rss > after.anonymous && after.threads > 0 && after.descriptors > 2);
        drop(memory);
    }

    #[test]
    fn a_child_belongs_to_the_tree() {
        let mut child = std::process::Command::new("sleep").arg("30").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(parent("7 (a) b) S 42 1"), Some(42));
    }

    #[test]
    fn a_process_that_is_gone_is_none() {
        assert_eq!(look(&[u32::MAX]), None);
    }
}
