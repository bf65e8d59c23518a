//! What was acknowledged arrives: kills, restarts, damaged and foreign files, faults of the destination.
//!
//! `cargo x kill` runs the same with more kills and a larger backlog.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use leaklab::client::Connection;
use leaklab::process::memory;
use testkit::{PATIENCE, binary, eventually, free_port};

/// A destination that counts what it gets by the number in each record, and fails every so many requests.
struct Sink {
    port: u16,
    got: Arc<Mutex<HashMap<u64, usize>>>,
}

impl Sink {
    fn start(fail_every: usize) -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got: Arc<Mutex<HashMap<u64, usize>>> = Arc::default();
        let (counts, requests) = (Arc::clone(&got), Arc::new(AtomicUsize::new(1)));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (counts, requests) = (Arc::clone(&counts), Arc::clone(&requests));
                std::thread::spawn(move || serve(stream, &counts, &requests, fail_every));
            }
        });
        Sink { port, got }
    }

    fn missing(&self, ids: &HashSet<u64>) -> usize {
        let got = self.got.lock().unwrap();
        ids.iter().filter(|id| !got.contains_key(id)).count()
    }

    fn duplicates(&self) -> usize {
        self.got.lock().unwrap().values().map(|times| times - 1).sum()
    }
}

fn serve(stream: TcpStream, got: &Mutex<HashMap<u64, usize>>, requests: &AtomicUsize, fail_every: usize) {
    let mut answers = stream.try_clone().unwrap();
    let mut from = BufReader::new(stream);
    loop {
        let mut size = 0;
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                size = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; size];
        if from.read_exact(&mut body).is_err() {
            return;
        }
        let fails = requests.fetch_add(1, Ordering::Relaxed).is_multiple_of(fail_every);
        if !fails {
            let mut got = got.lock().unwrap();
            for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let record: serde_json::Value = serde_json::from_slice(line).unwrap();
                // A damaged record may be whole and have lost its number.
                if let Some(id) = record["i"].as_u64() {
                    *got.entry(id).or_default() += 1;
                }
            }
        }
        let status = if fails { "503 Service Unavailable" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        if answers.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// An agent that can be killed and started again on the same folder.
struct Agent {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Agent {
    fn start(folder: tempfile::TempDir, service: &str, input: &str, sink: u16) -> Agent {
        let (port, store) = (free_port(), folder.path().join("store"));
        let yaml = format!(
            "
service: {{flush: 0.1, grace: 30, scheduler.base: 1, scheduler.cap: 1, storage.path: '{}', {service}}}
pipeline:
  inputs:
    - {{name: http, alias: http.0, listen: 127.0.0.1, port: {port}, {input}}}
  outputs:
    - {{name: http, match: '*', host: 127.0.0.1, port: {sink}, format: json_lines}}
",
            store.display()
        );
        std::fs::write(folder.path().join("weir.yaml"), yaml).unwrap();
        let child = Agent::spawn(folder.path());
        let agent = Agent { folder, port, child };
        agent.wait();
        agent
    }

    fn spawn(folder: &Path) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        Command::new(binary("weir"))
            .arg("-c")
            .arg(folder.join("weir.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn wait(&self) {
        eventually("the agent", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    fn connect(&self) -> Connection {
        Connection::open(([127, 0, 0, 1], self.port).into(), PATIENCE).unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Agent::spawn(self.folder.path());
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn stop(mut self) -> (tempfile::TempDir, String) {
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        assert!(self.child.wait().unwrap().success());
        let log = std::fs::read(self.folder.path().join("log")).unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        (folder, String::from_utf8_lossy(&log).into_owned())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A number from the environment: `cargo x kill` sets larger ones.
fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Chunk files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() { files(&path) } else { vec![path] }
    });
    below.filter(|path| path.extension().is_some_and(|extension| extension == "flb")).collect()
}

fn kills(sync: &str, times: u64) {
    let sink = Sink::start(usize::MAX);
    let service = format!("storage.sync: {sync}, storage.backlog.flush_on_shutdown: on");
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(folder, &service, "storage.type: filesystem", sink.port);
    let acknowledged: Mutex<HashSet<u64>> = Mutex::default();
    let (stop, next, port) = (AtomicBool::new(false), AtomicUsize::new(0), agent.port);
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (acknowledged, stop, next) = (&acknowledged, &stop, &next);
            scope.spawn(move || {
                let mut connection = None;
                while !stop.load(Ordering::Relaxed) {
                    let first = next.fetch_add(5, Ordering::Relaxed) as u64;
                    let ids = first..first + 5;
                    let body: String = ids
                        .clone()
                        .map(|id| format!("{{\"i\":{id},\"text\":\"{}\"}}", "x".repeat(300)))
                        .collect();
                    let open = || Connection::open(([127, 0, 0, 1], port).into(), PATIENCE).ok();
                    let mut here = connection.take().or_else(open);
                    let path = format!("/app{}", (first / 5 + client) % 20);
                    match here.as_mut().map(|here| here.post(&path, body.as_bytes())) {
                        Some(Ok(201)) => {
                            acknowledged.lock().unwrap().extend(ids);
                            connection = here;
                        }
                        _ => std::thread::sleep(Duration::from_millis(10)),
                    }
                }
            });
        }
        // The moment is taken from the clock: no two kills come at the same place.
        for _ in 0..times {
            let random =
                Instant::now().elapsed().subsec_nanos() as u64 ^ (u64::from(agent.child.id()) * 7919);
            std::thread::sleep(Duration::from_millis(200 + random % 700));
            agent.kill();
            agent.wait();
        }
        stop.store(true, Ordering::Relaxed);
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    eventually("every acknowledged record", || (sink.missing(&acknowledged) == 0).then_some(()));
    println!(
        "sync {sync}: {times} kills, {} acknowledged records, 0 missing, {} came again",
        acknowledged.len(),
        sink.duplicates()
    );
    let store = agent.store();
    let (_folder, log) = agent.stop();
    assert!(!log.contains("panicked"), "{log}");
    assert!(files(&store).is_empty(), "what was delivered is deleted");
}

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    kills("normal", number("KILL_TIMES", 5));
}

#[test]
fn a_kill_at_any_moment_with_sync_full_loses_nothing_that_was_acknowledged() {
    kills("full", number("KILL_TIMES", 5));
}

#[test]
fn storage_of_fluent_bit_is_delivered_record_for_record() {
    for (name, checksum) in
        [("stopped", "off"), ("stopped-sum", "on"), ("killed", "off"), ("killed-sum", "on")]
    {
        let sink = Sink::start(usize::MAX);
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("store");
        std::fs::create_dir(&store).unwrap();
        let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fixtures/storage/{name}.tar.gz"));
        let unpacked = Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(&store).status().unwrap();
        assert!(unpacked.success());
        let service = format!("storage.checksum: {checksum}");
        let agent = Agent::start(folder, &service, "storage.type: filesystem", sink.port);
        let sent: HashSet<u64> = (1..=30).chain(1001..=1030).collect();
        eventually("every record", || (sink.missing(&sent) == 0).then_some(()));
        eventually("the files to be deleted", || files(&store).is_empty().then_some(()));
        assert_eq!(sink.duplicates(), 0, "{name}");
        assert_eq!(sink.got.lock().unwrap().len(), sent.len(), "{name}");
        agent.stop();
    }
}

#[test]
fn delivered_means_delivered_though_one_request_in_ten_fails_at_the_destination() {
    let sink = Sink::start(10);
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder, "storage.checksum: off", "acknowledge: delivered", sink.port);
    let requests = number("DELIVERED_REQUESTS", 400);
    let clients = 40;
    let outcomes: Vec<(u64, u16)> = std::thread::scope(|scope| {
        let client = |client: u64| {
            let mut connection = agent.connect();
            let ids = (client..requests).step_by(clients as usize);
            ids.map(|id| {
                let path = format!("/app{}", client % 8);
                (id, connection.post(&path, format!("{{\"i\":{id}}}").as_bytes()).unwrap())
            })
            .collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..clients).map(|number| scope.spawn(move || client(number))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let taken: HashSet<u64> =
        outcomes.iter().filter(|(_, status)| *status == 201).map(|(id, _)| *id).collect();
    assert_eq!(sink.missing(&taken), 0, "no 201 without a delivery");
    println!("acknowledge delivered: {} of {requests} requests ended as 201", taken.len());
    assert!(taken.len() as u64 * 10 >= requests * 9, "{} of {requests}", taken.len());
    agent.stop();
}

/// A chunk file as Fluent Bit has it.
fn chunk(ids: std::ops::Range<u64>, text: usize) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[..2].copy_from_slice(&[0xc1, 0x00]);
    let meta = b"\xf1\x77\x00\x00app";
    bytes[22..24].copy_from_slice(&(meta.len() as u16).to_be_bytes());
    bytes.extend_from_slice(meta);
    for id in ids {
        bytes.extend_from_slice(&[0x92, 0x92, 0xce, 0x66, 0, 0, 0, 0x80, 0x82, 0xa1, b'i', 0xcf]);
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&[0xa1, b't', 0xda]);
        bytes.extend_from_slice(&(text as u16).to_be_bytes());
        bytes.extend(std::iter::repeat_n(b'x', text));
    }
    bytes
}

#[test]
fn a_thousand_damaged_files_stop_nothing_and_give_what_is_whole() {
    let sink = Sink::start(usize::MAX);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("store/http.0");
    std::fs::create_dir_all(&input).unwrap();
    let whole = chunk(0..4, 10);
    for number in 0..1_000_usize {
        let mut bytes = whole.clone();
        let at = number * 7919 % bytes.len();
        match number % 4 {
            0 => bytes.truncate(at),
            1 => bytes[at..].fill(0),
            2 => bytes[at] ^= 1 << (number % 8),
            _ => bytes.splice(at..at, [0xc1; 9]).for_each(drop),
        }
        std::fs::write(input.join(format!("1-{number}.5.flb")), bytes).unwrap();
    }
    std::fs::write(input.join("1-5000.1.flb"), chunk(100..104, 10)).unwrap();
    let agent = Agent::start(folder, "storage.checksum: on", "storage.type: filesystem", sink.port);
    assert_eq!(agent.connect().post("/app", b"{\"i\":200}").unwrap(), 201);
    eventually("the whole ones", || (sink.missing(&(100..104).chain([200]).collect()) == 0).then_some(()));
    let (_folder, log) = agent.stop();
    assert!(log.contains("damaged") && !log.contains("panicked"), "{log}");
}

#[test]
fn a_backlog_larger_than_memory_is_delivered_within_the_memory_limit() {
    let megabytes = number("BACKLOG_MB", 80);
    let sink = Sink::start(usize::MAX);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("store/http.0");
    std::fs::create_dir_all(&input).unwrap();
    let (files, per) = (megabytes / 2, 1_000);
    for number in 0..files {
        let bytes = chunk(number * per..(number + 1) * per, 1_970);
        std::fs::write(input.join(format!("1-{}.5.flb", 1_000 + number)), bytes).unwrap();
    }
    let started = Instant::now();
    let agent = Agent::start(folder, "memory_limit: 64M", "storage.type: filesystem", sink.port);
    let until = Instant::now() + Duration::from_secs(60 + megabytes);
    while (sink.got.lock().unwrap().len() as u64) < files * per {
        assert!(Instant::now() < until, "{} of {}", sink.got.lock().unwrap().len(), files * per);
        std::thread::sleep(Duration::from_millis(50));
    }
    let peak = memory(agent.child.id()).unwrap().peak;
    println!("{megabytes} MB in {files} files: all delivered, {peak} bytes at peak, {:?}", started.elapsed());
    assert!(peak <= 64_000_000, "{peak} bytes resident at peak");
    assert_eq!(sink.duplicates(), 0);
    agent.stop();
}

#[test]
fn a_folder_that_is_deleted_or_read_only_refuses_or_recovers_and_never_ends_the_agent() {
    let sink = Sink::start(usize::MAX);
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder, "storage.checksum: off", "storage.type: filesystem", sink.port);
    let mut connection = agent.connect();
    assert_eq!(connection.post("/a", b"{\"i\":1}").unwrap(), 201);
    std::fs::remove_dir_all(agent.store()).unwrap();
    assert_eq!(connection.post("/a", b"{\"i\":2}").unwrap(), 201, "the folder is made again");
    eventually("both", || (sink.missing(&HashSet::from([1, 2])) == 0).then_some(()));
    // A file in the place of the folder: nothing can be stored.
    std::fs::remove_dir_all(agent.store()).unwrap();
    std::fs::write(agent.store(), "").unwrap();
    assert_eq!(connection.post("/b", b"{\"i\":3}").unwrap(), 503);
    std::fs::remove_file(agent.store()).unwrap();
    assert_eq!(agent.connect().post("/b", b"{\"i\":4}").unwrap(), 201, "and then again it can");
    eventually("what was taken", || (sink.missing(&HashSet::from([4])) == 0).then_some(()));
    agent.stop();
}
