//! By heaptrack: two runs of different length, and what the longer one holds more at its end.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Given, MALLOC, Stack, WARM, fail, installed, seen};
use crate::lab::program;

/// How long heaptrack may take to write what it has.
const WRITING: Duration = Duration::from_secs(30);

/// Runs the target twice and prints the difference.
pub fn trace(given: &Given) -> Result<Vec<Stack>, String> {
    installed("heaptrack", "heaptrack")?;
    installed("heaptrack_print", "heaptrack")?;
    let short = record(given, "short", WARM)?;
    let long = record(given, "long", WARM + given.requests)?;
    let output = Command::new("heaptrack_print")
        .args(["--print-leaks=1", "--print-peaks=0", "--print-allocators=0", "--print-temporary=0"])
        .arg("--merge-backtraces=0")
        .arg("--diff")
        .arg(&short)
        .arg("--file")
        .arg(&long)
        .output()
        .map_err(|error| format!("heaptrack_print: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let calls = allocations(&text);
    if calls < given.requests {
        return Err(format!(
            "heaptrack saw {calls} allocations in {} requests: it does not see the allocator of the target",
            given.requests
        ));
    }
    let mut stacks = stacks(&text);
    stacks.retain(|stack| stack.blocks * 10 >= given.requests);
    stacks.sort_by_key(|stack| std::cmp::Reverse(stack.bytes));
    Ok(stacks)
}

/// `calls to allocation functions: 1234 (...)`.
fn allocations(text: &str) -> u64 {
    let number = text.lines().find_map(|line| line.strip_prefix("calls to allocation functions:"));
    number.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// One run; the file it wrote.
fn record(given: &Given, name: &str, requests: u64) -> Result<PathBuf, String> {
    let file = given.folder.join(name);
    // It follows one program, and not the children of a shell.
    let command =
        format!("{MALLOC} heaptrack --output '{}' {}", file.display(), given.cmd.trim_start_matches("exec "));
    let (mut target, address) = given.start(&command)?;
    let pid = program::listener(target.pid(), address.port());
    seen(pid, "heaptrack")?;
    // The connection is open when the target ends: what belongs to it counts.
    let connection = given.send(address, requests)?;
    // Only the program itself is ended: heaptrack writes what it has when that is gone.
    // SAFETY: a signal to a process below our own child.
    unsafe { libc::kill(pid as libc::pid_t, libc::SIGTERM) };
    let ended = Instant::now();
    while target.ended().is_none() && ended.elapsed() < WRITING {
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(target);
    drop(connection);
    let entries = std::fs::read_dir(&given.folder).map_err(|error| error.to_string())?.flatten();
    let mut files: Vec<(u64, PathBuf)> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{name}.")))
        .map(|entry| (entry.metadata().map_or(0, |data| data.len()), entry.path()))
        .collect();
    // The shell has one too, and it is small.
    files.sort();
    let found = files.pop().map(|(_, path)| path);
    found.ok_or_else(|| fail("heaptrack wrote nothing", &given.folder.join("target.log")))
}

/// Entries of the section of leaks: `123K leaked over 45 calls from:` or with the sign of a difference, and frames.
fn stacks(text: &str) -> Vec<Stack> {
    let mut found: Vec<Stack> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [bytes, "leaked", "over", calls, "calls", ..] => {
                let (bytes, blocks) = (size(bytes), calls.parse::<i64>().unwrap_or(0));
                found.push(Stack {
                    bytes: bytes.max(0.0) as u64,
                    blocks: blocks.max(0) as u64,
                    frames: Vec::new(),
                });
            }
            [] => {}
            _ if line.starts_with(' ') => {
                if let Some(stack) = found.last_mut() {
                    stack.frames.push(line.trim().to_owned());
                }
            }
            _ => {}
        }
    }
    found.retain(|stack| stack.bytes > 0 && !stack.frames.is_empty());
    found
}

/// `1.5K` and the like; units of a thousand.
fn size(text: &str) -> f64 {
    let end = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    let factor = match &text[end..] {
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        _ => 1.0,
    };
    text[..end].parse::<f64>().unwrap_or(0.0) * factor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaks_of_a_difference_are_read() {
        let text = "MEMORY LEAKS\n1.02M leaked over 1000 calls from:\n    keep\n      at server.c:12\n      in /bin/x\n\n-3K leaked over -2 calls from:\n    other\n";
        let stacks = stacks(text);
        assert_eq!(stacks.len(), 1);
        assert_eq!((stacks[0].bytes, stacks[0].blocks), (1_020_000, 1000));
        assert_eq!(stacks[0].frames[0], "keep");
    }
}
