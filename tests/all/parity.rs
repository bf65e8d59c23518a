//! The same configuration gives the same records as in Fluent Bit.
//!
//! A case is a configuration in `tests/parity` and what Fluent Bit 5.1.1 wrote in `.expect` beside it. What it
//! reads from standard input is in `.in`; what is sent to its `${PORT}` is in `.tcp` or `.udp`. `cargo x parity --peer fluent-bit=PATH` runs that agent too and compares;
//! with `--write` it keeps what the peer wrote. Cases whose plugins are not there are named and skipped.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::{binary, free_port};

/// Nothing more comes when so long nothing came.
const QUIET: Duration = Duration::from_millis(1_200);
/// The longest that a case takes.
const LONGEST: Duration = Duration::from_secs(6);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity")
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

struct Ran {
    /// Standard output, then the files that were written.
    wrote: String,
    log: String,
}

/// Runs a case; an agent that has written nothing for as long as `silence` has nothing to write.
fn run(agent: &Path, case: &str, silence: Duration) -> Ran {
    let out = tempfile::tempdir().unwrap();
    let (stdout, log) = (out.path().join(".stdout"), out.path().join(".log"));
    let input = std::fs::read(folder().join(case).with_extension("in")).ok();
    let port = free_port();
    let mut child = Command::new(agent)
        .arg("-c")
        .arg(folder().join(case))
        .current_dir(folder())
        .env("OUT", out.path())
        .env("CASES", folder())
        .env("PORT", port.to_string())
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(File::create(&stdout).unwrap())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    if let Some(input) = input {
        let mut pipe = child.stdin.take().unwrap();
        // An agent that refuses the configuration has gone already.
        let _refused = pipe.write_all(&input);
        std::thread::sleep(Duration::from_secs(1));
    }
    send(case, port);
    let (started, mut changed, mut last) = (Instant::now(), Instant::now(), 0);
    while child.try_wait().unwrap().is_none() && started.elapsed() < LONGEST {
        std::thread::sleep(Duration::from_millis(50));
        let size = wrote(out.path(), &stdout).len();
        if size != last {
            (changed, last) = (Instant::now(), size);
        }
        if changed.elapsed() > if size == 0 { silence } else { QUIET } {
            break;
        }
    }
    // SAFETY: a signal to a child that was not waited for yet, or that has ended and is still there.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
    child.wait().unwrap();
    Ran { wrote: wrote(out.path(), &stdout), log: read(&log) }
}

/// Sends what the case has for its port.
fn send(case: &str, port: u16) {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    if let Ok(bytes) = std::fs::read(folder().join(case).with_extension("tcp")) {
        let started = Instant::now();
        while started.elapsed() < LONGEST {
            if let Ok(mut stream) = TcpStream::connect(address) {
                let _refused = stream.write_all(&bytes);
                std::thread::sleep(Duration::from_millis(500));
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    if let Ok(bytes) = std::fs::read(folder().join(case).with_extension("udp")) {
        // There is no way to see that it listens.
        std::thread::sleep(Duration::from_millis(1_500));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            socket.send_to(line, address).unwrap();
        }
    }
}

fn wrote(folder: &Path, stdout: &Path) -> String {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    files.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
    files.sort();
    let mut text = read(stdout);
    for file in files {
        text.push_str(&format!("== {}\n{}", file.file_name().unwrap().to_string_lossy(), read(&file)));
    }
    text
}

/// Cases in which the agents differ on purpose, with the reason.
fn differences() -> HashMap<String, String> {
    let text = read(&folder().join("differences.txt"));
    text.lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(c, why)| (c.to_owned(), why.to_owned()))
        .collect()
}

fn cases() -> Vec<String> {
    let only = std::env::var("PARITY_ONLY").unwrap_or_default();
    let mut cases: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| (name.ends_with(".conf") || name.ends_with(".yaml")) && name.contains(&only))
        .collect();
    cases.sort();
    cases
}

/// What is wrong with a case, if something is.
fn judge(case: &str, peer: Option<&Path>, write: bool) -> Result<(), String> {
    let kept = folder().join(format!("{case}.expect"));
    if let Some(peer) = peer {
        // Its timers of multiline parsers take three seconds and more.
        let theirs = run(peer, case, LONGEST).wrote;
        if write {
            std::fs::write(&kept, &theirs).unwrap();
        } else if theirs != read(&kept) {
            return Err(format!("the peer wrote\n{theirs}kept is\n{}", read(&kept)));
        }
    }
    let ours = run(&binary("weir"), case, LONGEST / 2);
    if ours.log.contains("not available here yet") || ours.log.contains("unknown processor plugin") {
        eprintln!("skipped: {case}: {}", ours.log.lines().next().unwrap_or_default());
        return Ok(());
    }
    let expected = read(&kept);
    if ours.wrote == expected && !ours.log.contains("not started") {
        return Ok(());
    }
    Err(format!("weir wrote\n{}expected is\n{expected}log\n{}", ours.wrote, ours.log))
}

#[test]
fn configurations_give_the_records_that_fluent_bit_gives() {
    let peer = std::env::var_os("PARITY_PEER").map(PathBuf::from);
    let write = std::env::var_os("PARITY_WRITE").is_some();
    let (cases, known) = (cases(), differences());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    match (judge(case, peer.as_deref(), write), known.get(case)) {
                        (Ok(()), _) => {}
                        (Err(_), Some(why)) => eprintln!("differs on purpose: {case}: {why}"),
                        (Err(what), None) => wrong.lock().unwrap().push(format!("## {case}\n{what}")),
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    eprintln!("{} configurations, {} differ", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
