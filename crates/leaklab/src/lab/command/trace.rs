//! `leaklab trace`: which stacks grow, by Debian's tools.
//!
//! * `--with valgrind`: memcheck runs the target; behind a warm-up it is asked (by `vgdb`) to remember what there
//!   is, and behind the load what there is more. 20 to 50 times slower.
//! * `--with heaptrack`: the target runs twice, with some requests and with eleven times as many; what the second
//!   run holds more is what grows. 2 to 5 times slower.
//!
//! Both replace `malloc` when the program is loaded. An allocator that is linked into the program is not replaced,
//! and an empty result would look like a clean one: that is found out first, and said.

mod heaptrack;
mod valgrind;

use std::path::{Path, PathBuf};
use std::time::Duration;

use lexopt::prelude::*;

use super::{help, options, show};
use crate::lab::body::Payload;
use crate::lab::plan::Plan;
use crate::lab::target::{self, Target};
use crate::lab::wire::{Protocol, Wire};
use crate::lab::{figure, program, wire};

/// Stacks that are printed, and frames of each.
const STACKS: usize = 10;
const FRAMES: usize = 20;
/// Requests of the warm-up.
const WARM: u64 = 20;
/// The longest wait for the target to listen, and for an answer.
const STARTING: Duration = Duration::from_secs(120);
const ANSWER: Duration = Duration::from_secs(60);

/// Python and PHP take small objects from pools of their own unless they are told not to.
const MALLOC: &str = "PYTHONMALLOC=malloc USE_ZEND_ALLOC=0";

/// A stack that holds more than before.
struct Stack {
    bytes: u64,
    blocks: u64,
    frames: Vec<String>,
}

struct Given {
    cmd: String,
    host: String,
    path: String,
    payload: Payload,
    requests: u64,
    http2: bool,
    folder: PathBuf,
}

/// Runs it. Exit status 0: no stack grows; 1: some do; 2: it could not be seen.
pub fn trace(parser: &mut lexopt::Parser) -> Result<u8, lexopt::Error> {
    let (mut with, mut cmd, mut url, mut payload) = (None, None, None, None);
    let (mut requests, mut http2) = (500, false);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("with") => with = Some(parser.value()?.string()?),
            Long("cmd") => cmd = Some(parser.value()?.string()?),
            Long("url") => url = Some(parser.value()?.string()?),
            Long("payload") => payload = Some(PathBuf::from(parser.value()?)),
            Long("requests") => requests = parser.value()?.parse()?,
            Long("http2") => http2 = true,
            other => return help(other),
        }
    }
    let url = url.ok_or("--url says where it listens")?;
    let (host, path) = target::split(&url)?;
    let folder = std::env::temp_dir().join(format!("leaklab-trace-{}", std::process::id()));
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let given = Given {
        cmd: cmd.ok_or("--cmd says what to start")?,
        host: host.to_owned(),
        path: path.to_owned(),
        payload: options::payload(payload.as_deref(), &Plan::default())?,
        requests,
        http2,
        folder,
    };
    let result = match with.as_deref() {
        Some("valgrind") => valgrind::trace(&given),
        Some("heaptrack") => heaptrack::trace(&given),
        _ => Err("--with takes valgrind or heaptrack".to_owned()),
    };
    let _gone = std::fs::remove_dir_all(&given.folder);
    let stacks = result?;
    show(&text(&stacks, requests))?;
    Ok(u8::from(!stacks.is_empty()))
}

fn text(stacks: &[Stack], requests: u64) -> String {
    if stacks.is_empty() {
        return format!("no stack holds more memory after {requests} requests\n");
    }
    let mut text = String::new();
    for (index, stack) in stacks.iter().take(STACKS).enumerate() {
        let each = stack.bytes as f64 / requests as f64;
        text.push_str(&format!(
            "{}. {} more in {} blocks after {requests} requests ({} each)\n",
            index + 1,
            figure::bytes(stack.bytes as f64),
            stack.blocks,
            figure::bytes(each)
        ));
        for frame in stack.frames.iter().take(FRAMES) {
            text.push_str(&format!("     {frame}\n"));
        }
    }
    text
}

/// Where a program is found, or which package has it.
fn installed(name: &str, package: &str) -> Result<(), String> {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    if found { Ok(()) } else { Err(format!("{name} is not installed: apt-get install {package}")) }
}

impl Given {
    /// Starts a command line and waits until it listens.
    fn start(&self, command: &str) -> Result<(Target, std::net::SocketAddr), String> {
        let all = target::free_addresses(&self.host)?;
        let mut target = Target::start(command, &self.folder.join("target.log"), None)?;
        let address = target.wait_for(&all, STARTING)?;
        Ok((target, address))
    }

    /// Requests over one connection that is kept open as long as the server lets it.
    fn send(&self, address: std::net::SocketAddr, count: u64) -> Result<Option<Wire>, String> {
        let body = self.payload.given();
        let request = wire::Request { method: "POST", path: &self.path, host: &self.host, body, token: None };
        let protocol = if self.http2 { Protocol::Http2 } else { Protocol::Http1 };
        let mut connection: Option<Wire> = None;
        for _ in 0..count {
            let mut wire = match connection.take().filter(Wire::is_open) {
                Some(wire) => wire,
                None => Wire::open(protocol, address, ANSWER).map_err(|error| error.to_string())?,
            };
            wire.send(&request).map_err(|error| error.to_string())?;
            connection = Some(wire);
        }
        Ok(connection)
    }

    /// The command line as one word of the shell.
    fn quoted(&self) -> String {
        format!("'{}'", self.cmd.replace('\'', "'\\''"))
    }
}

/// Says no where the allocator of a process is not replaced by a tool.
fn seen(pid: u32, tool: &str) -> Result<(), String> {
    let program = program::of(pid);
    if matches!(program.runtime.as_str(), "node" | "java" | "dotnet" | "beam") {
        return Err(format!(
            "the target runs on {}, whose objects are not on the heap of malloc: {tool} does not see them, and nothing \
             it printed would mean anything; its own heap profiler does",
            program.runtime
        ));
    }
    let hidden =
        matches!(program.allocator.as_str(), "jemalloc" | "mimalloc" | "tcmalloc" | "go" | "unknown");
    if !hidden {
        return Ok(());
    }
    Err(format!(
        "the target allocates with {}, which {tool} does not see: nothing it printed would mean anything. Build it with \
         the allocator of the C library (weir: cargo build --release -p agent --features system-allocator; \
         Fluent Bit: -DFLB_JEMALLOC=Off)",
        if program.allocator == "unknown" { "an allocator that is not known" } else { &program.allocator }
    ))
}

/// The log of a run, in an error.
fn fail(what: &str, log: &Path) -> String {
    let text = crate::lab::look::read(&log.to_string_lossy()).unwrap_or_default();
    let end: Vec<&str> = text.lines().rev().take(6).collect();
    format!("{what}: {}", end.into_iter().rev().collect::<Vec<_>>().join(" | "))
}
