//! The agent that a scenario runs against: started on a configuration, watched while it runs, stopped.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Connection;
use crate::process;

/// How often the agent is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// The longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What all scenarios of a run share.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The binary.
    pub weir: PathBuf,
    /// `memory_limit`, in bytes.
    pub limit: u64,
    /// How long to misbehave, if not for the time of the scenario.
    pub time: Option<Duration>,
}

/// The most that was seen while it ran.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Resident beyond the static part and the ledger, when most was resident.
    pub difference: i64,
    /// The most resident at a look.
    pub resident: u64,
    /// The most that the kernel held for its sockets.
    pub sockets: u64,
    /// The most that came to the heap between two looks, beyond what was booked and set aside.
    pub beyond: u64,
    /// The most that the heap held.
    pub heap: u64,
    /// The budget.
    pub budget: u64,
}

/// A running agent.
pub struct Agent {
    child: Child,
    folder: PathBuf,
    /// Ports of its inputs, in the order of the configuration.
    pub ports: Vec<u16>,
    admin: u16,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    watching: Option<JoinHandle<()>>,
    group: Option<Group>,
}

/// A port of the loopback interface that was free a moment ago.
///
/// # Errors
/// The system's.
pub fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind(local(0)).map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}

/// A port of the loopback interface.
pub fn local(port: u16) -> SocketAddr {
    (std::net::Ipv4Addr::LOCALHOST, port).into()
}

impl Agent {
    /// Starts it on a pipeline in YAML, in which `PORT0`, `PORT1` stand for ports of inputs. `grouped`: in a memory
    /// control group of limit / 0.8.
    ///
    /// # Errors
    /// What it wrote, when it does not start.
    pub fn start(setting: &Setting, pipeline: &str, grouped: bool) -> Result<Agent, String> {
        let fail = |error: io::Error| format!("{}: {error}", setting.weir.display());
        let admin = free_port()?;
        let ports = [free_port()?, free_port()?];
        let folder = std::env::temp_dir().join(format!("weir-soak-{}-{admin}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(fail)?;
        let text = format!(
            "service: {{flush: 1, grace: 60, http_server: on, http_listen: 127.0.0.1, http_port: {admin}, \
             memory_limit: {}, scheduler.base: 1, scheduler.cap: 1}}\n{}",
            setting.limit,
            pipeline.replace("PORT0", &ports[0].to_string()).replace("PORT1", &ports[1].to_string())
        );
        let config = folder.join("weir.yaml");
        std::fs::write(&config, text).map_err(fail)?;
        let log = File::create(folder.join("log")).map_err(fail)?;
        let group = if grouped { Some(Group::new(setting.limit / 4 * 5)?) } else { None };
        let mut command = Command::new(&setting.weir);
        command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().map_err(fail)?;
        if let Some(group) = &group {
            group.enter(child.id())?;
        }
        let started = Instant::now();
        while get(admin, "/api/v1/uptime").is_none() {
            if !matches!(child.try_wait(), Ok(None)) || started.elapsed() > PATIENCE {
                let _gone = child.kill();
                return Err(format!("weir did not start:\n{}", read(&folder.join("log"))));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (shared, until) = (Arc::clone(&seen), Arc::clone(&stop));
        let watching = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                if let Some(now) = look(admin) {
                    shared.lock().unwrap_or_else(PoisonError::into_inner).add(now);
                }
                std::thread::sleep(LOOK);
            }
        });
        Ok(Agent { child, folder, ports: ports.to_vec(), admin, seen, stop, watching: Some(watching), group })
    }

    /// Where an input listens.
    pub fn input(&self, number: usize) -> SocketAddr {
        local(self.ports[number])
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// It is gone.
    pub fn memory(&self) -> Result<process::Memory, String> {
        process::memory(self.child.id()).map_err(|error| format!("weir is gone: {error}\n{}", self.log()))
    }

    /// The most that was seen so far.
    pub fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accounts that hold something beside connections.
    pub fn held(&self) -> Vec<String> {
        let Some(ledger) = ledger(self.admin) else {
            return vec!["the monitoring API does not answer".into()];
        };
        let accounts = ledger["accounts"].as_array().map_or(&[][..], Vec::as_slice).iter();
        let load = |account: &&Value| {
            account["held"] != 0 && account["owner"] != "http_server" && account["purpose"] != "heap"
        };
        accounts.filter(load).map(|account| format!("{} {}", account["owner"], account["purpose"])).collect()
    }

    /// What it wrote.
    pub fn log(&self) -> String {
        read(&self.folder.join("log"))
    }

    /// Kills in its control group, and the most that the group held; `None` without a group.
    pub fn group(&self) -> Option<(u64, u64)> {
        self.group.as_ref().map(Group::figures)
    }

    /// Stops it as an operator would. Returns what is wrong with how it ended.
    pub fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM) };
        let started = Instant::now();
        let mut wrong = Vec::new();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => break,
                Ok(None) if started.elapsed() < 2 * PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                other => {
                    wrong.push(format!("it ended with {other:?}"));
                    break;
                }
            }
        }
        let log = self.log();
        wrong.extend(log.lines().filter(|line| line.contains("[memory] still held")).map(str::to_owned));
        wrong.extend(log.lines().find(|line| line.contains("panicked")).map(str::to_owned));
        wrong
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _gone = self.child.kill();
        let _status = self.child.wait();
        if let Some(watching) = self.watching.take() {
            let _ended = watching.join();
        }
        if std::env::var_os("WEIR_SOAK_KEEP").is_none() {
            let _gone = std::fs::remove_dir_all(&self.folder);
        }
    }
}

impl Seen {
    fn add(&mut self, now: Seen) {
        if now.resident > self.resident {
            (self.resident, self.difference) = (now.resident, now.difference);
        }
        self.sockets = self.sockets.max(now.sockets);
        self.beyond = self.beyond.max(now.beyond);
        self.heap = self.heap.max(now.heap);
        self.budget = now.budget;
    }
}

fn get(port: u16, path: &str) -> Option<Vec<u8>> {
    let (status, body) = Connection::open(local(port), Duration::from_secs(5)).ok()?.get(path).ok()?;
    (status == 200).then_some(body)
}

fn ledger(admin: u16) -> Option<Value> {
    serde_json::from_slice(&get(admin, "/api/v1/memory")?).ok()
}

fn look(admin: u16) -> Option<Seen> {
    let ledger = ledger(admin)?;
    let process = &ledger["process"];
    let accounts = ledger["accounts"].as_array()?;
    let heap =
        accounts.iter().find(|account| account["owner"] == "process" && account["purpose"] == "heap")?;
    Some(Seen {
        difference: process["difference"].as_i64()?,
        resident: process["resident"].as_u64()?,
        sockets: process["kernel_sockets"].as_u64()?,
        beyond: process["beyond_peak"].as_u64()?,
        heap: heap["peak"].as_u64()?,
        budget: ledger["budget"]["limit"].as_u64()?,
    })
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A memory control group, version 1 or 2.
struct Group {
    folder: PathBuf,
    second: bool,
}

/// Why no control group can be made here; `None` when one can.
pub fn no_group() -> Option<String> {
    Group::new(64_000_000).err()
}

impl Group {
    fn new(limit: u64) -> Result<Group, String> {
        let second = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
        let base = if second { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
        let folder = Path::new(base).join(format!("weir-soak-{}", std::process::id()));
        let group = Group { folder, second };
        let made = std::fs::create_dir_all(&group.folder).and_then(|()| {
            let file = if second { "memory.max" } else { "memory.limit_in_bytes" };
            std::fs::write(group.folder.join(file), limit.to_string())
        });
        made.map(|()| group).map_err(|error| format!("no memory control group can be made: {error}"))
    }

    fn enter(&self, process: u32) -> Result<(), String> {
        std::fs::write(self.folder.join("cgroup.procs"), process.to_string())
            .map_err(|error| format!("the control group cannot be entered: {error}"))
    }

    fn figures(&self) -> (u64, u64) {
        let (kills, most) = if self.second {
            ("memory.events", "memory.peak")
        } else {
            ("memory.oom_control", "memory.max_usage_in_bytes")
        };
        let text = read(&self.folder.join(kills));
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok());
        (kills.unwrap_or(0), read(&self.folder.join(most)).trim().parse().unwrap_or(0))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty by then: the agent was waited for.
        let _gone = std::fs::remove_dir(&self.folder);
    }
}
