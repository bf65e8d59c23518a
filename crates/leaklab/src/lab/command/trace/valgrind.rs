//! By valgrind's memcheck, asked through `vgdb` what there is more than before.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Given, MALLOC, STARTING, Stack, WARM, fail, installed, seen};
use crate::lab::{look, program};

/// Starts the target without valgrind first, to see with which allocator, and then with it.
pub fn trace(given: &Given) -> Result<Vec<Stack>, String> {
    installed("valgrind", "valgrind")?;
    installed("vgdb", "valgrind")?;
    let (target, address) = given.start(&given.cmd)?;
    let real = program::listener(target.pid(), address.port());
    seen(real, "valgrind")?;
    drop(target);
    let folder = given.folder.display();
    let command = format!(
        "{MALLOC} exec valgrind --tool=memcheck --leak-check=no --undef-value-errors=no --num-callers=24 --trace-children=yes \
         --vgdb=yes --vgdb-prefix={folder}/vgdb --log-file={folder}/valgrind.%p /bin/sh -c {}",
        given.quoted()
    );
    let (target, address) = given.start(&command)?;
    let pid = program::listener(target.pid(), address.port());
    drop(given.send(address, WARM)?);
    // The first answer is everything there is; from then on only what is more counts.
    ask(given, pid)?;
    let connection = given.send(address, given.requests)?;
    let text = ask(given, pid)?;
    drop(connection);
    let mut stacks = stacks(&text);
    // Less than a block for every tenth request comes from elsewhere.
    stacks.retain(|stack| stack.blocks * 10 >= given.requests);
    stacks.sort_by_key(|stack| std::cmp::Reverse(stack.bytes));
    Ok(stacks)
}

/// What has grown since this was asked before.
fn ask(given: &Given, pid: u32) -> Result<String, String> {
    let folder = given.folder.display();
    let begun = Instant::now();
    loop {
        let output = Command::new("vgdb")
            .arg(format!("--vgdb-prefix={folder}/vgdb"))
            .arg(format!("--pid={pid}"))
            .args(["leak_check", "full", "reachable", "increased", "unlimited"])
            .output()
            .map_err(|error| format!("vgdb: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && text.contains("LEAK SUMMARY") || text.contains("no leaks are possible")
        {
            return Ok(text);
        }
        if begun.elapsed() > STARTING || look::look(&[pid]).is_none() {
            let log = given.folder.join(format!("valgrind.{pid}"));
            return Err(fail(&format!("vgdb {}", String::from_utf8_lossy(&output.stderr).trim()), &log));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Entries such as `==7== 1,024 (+1,024) bytes in 8 (+8) blocks are still reachable in loss record 1 of 9`, each with
/// its frames behind it.
fn stacks(text: &str) -> Vec<Stack> {
    let mut found: Vec<Stack> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let line = line.trim_start_matches(|letter: char| letter == '=' || letter.is_ascii_digit()).trim();
        if line.contains(" blocks are ") && line.contains("loss record") {
            let more = increases(line);
            open = more.first().is_some_and(|bytes| *bytes > 0);
            if open {
                let (bytes, blocks) = (more[0], more.get(1).copied().unwrap_or(0));
                found.push(Stack { bytes, blocks, frames: Vec::new() });
            }
        } else if let Some(frame) = line.strip_prefix("at ").or_else(|| line.strip_prefix("by "))
            && open
            && let Some(stack) = found.last_mut()
        {
            let frame = frame.split_once(": ").map_or(frame, |(_, frame)| frame);
            stack.frames.push(frame.to_owned());
        } else if line.is_empty() {
            open = false;
        }
    }
    found
}

/// The numbers in brackets with a plus.
fn increases(line: &str) -> Vec<u64> {
    let parts = line.split("(+").skip(1);
    parts.filter_map(|part| part.split(')').next()?.replace(',', "").parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_that_grew_are_read_and_others_are_not() {
        let text = "\
==42== 5,120 (+5,120) bytes in 5 (+5) blocks are still reachable in loss record 2 of 3
==42==    at 0x48: malloc (vg_replace_malloc.c:381)
==42==    by 0x10: keep (server.c:12)
==42==
==42== 64 (+0) bytes in 1 (+0) blocks are still reachable in loss record 1 of 3
==42==    at 0x48: malloc (vg_replace_malloc.c:381)
==42==
==42== LEAK SUMMARY:
==42==    still reachable: 5,184 (+5,120) bytes in 6 (+5) blocks
";
        let stacks = stacks(text);
        assert_eq!(stacks.len(), 1);
        assert_eq!((stacks[0].bytes, stacks[0].blocks), (5120, 5));
        assert_eq!(stacks[0].frames, ["malloc (vg_replace_malloc.c:381)", "keep (server.c:12)"]);
    }
}
