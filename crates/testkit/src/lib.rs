//! For integration tests: the built binaries as processes, and real clients. Everything here panics on
//! failure, as a test does.

#![allow(clippy::unwrap_used, reason = "only tests use this crate")]

pub mod rotation;

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use leaklab::client::Connection;

/// The longest wait for anything. Generous: it is only reached when something is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A binary of the workspace. `cargo x test` builds them before it runs the tests; without it they are built
/// here, once.
pub fn binary(name: &str) -> PathBuf {
    static BUILT: std::sync::Once = std::sync::Once::new();
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().and_then(Path::parent).unwrap().to_owned();
    BUILT.call_once(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        // The folder has the name of the profile, but for one.
        let profile = folder.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or("debug");
        let profile = if profile == "debug" { "dev" } else { profile };
        build
            .args(["build", "--quiet", "--profile", profile, "-p", "agent", "-p", "kusto-local"])
            .env("CARGO_TARGET_DIR", folder.parent().unwrap());
        assert!(build.status().unwrap().success(), "the binaries must build");
    });
    folder.join(name)
}

/// A port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks again until there is an answer.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a test that drives this program can run. Without it the test is skipped by name; in CI that is a
/// failure.
pub fn have(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "{program} is missing, and CI skips nothing");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// A running agent. Dropping it kills it; [`Weir::stop`] stops it as an operator would.
pub struct Weir {
    child: Child,
    folder: tempfile::TempDir,
    config: PathBuf,
    /// The port of the input, if the configuration has one.
    pub port: u16,
    /// The port of the monitoring API.
    pub admin: u16,
}

impl Weir {
    /// Starts it on a YAML configuration in which `PORT` and `ADMIN` stand for free ports, and waits until
    /// the monitoring API answers.
    pub fn start(yaml: &str) -> Weir {
        Weir::start_with(yaml, &[])
    }

    /// The same with environment variables.
    pub fn start_with(yaml: &str, variables: &[(&str, &str)]) -> Weir {
        Weir::start_named("weir.yaml", yaml, variables)
    }

    /// The same with the name of the file, whose extension decides the format.
    pub fn start_named(name: &str, text: &str, variables: &[(&str, &str)]) -> Weir {
        let folder = tempfile::tempdir().unwrap();
        let (port, admin) = (free_port(), free_port());
        let text = text.replace("ADMIN", &admin.to_string()).replace("PORT", &port.to_string());
        let config = folder.path().join(name);
        std::fs::write(&config, text).unwrap();
        let child = Command::new(binary("weir"))
            .arg("-c")
            .arg(&config)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(File::create(folder.path().join("out")).unwrap())
            .stderr(File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut weir = Weir { child, folder, config, port, admin };
        eventually("the monitoring API", || {
            if let Some(status) = weir.child.try_wait().unwrap() {
                panic!("weir ended with {status}:\n{}", weir.log());
            }
            weir.try_get("/api/v1/uptime")
        });
        weir
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection to the input.
    pub fn connect(&self) -> Connection {
        Connection::open(SocketAddr::from(([127, 0, 0, 1], self.port)), PATIENCE).unwrap()
    }

    /// Where the input listens.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn try_get(&self, path: &str) -> Option<String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.admin));
        let (status, body) = Connection::open(address, PATIENCE).ok()?.get(path).ok()?;
        (status == 200).then(|| String::from_utf8(body).unwrap())
    }

    /// A page of the monitoring API.
    pub fn get(&self, path: &str) -> String {
        self.try_get(path).unwrap_or_else(|| panic!("{path} is there"))
    }

    /// The value of a counter of an instance; 0 when it is not there.
    pub fn metric(&self, name: &str, instance: &str) -> u64 {
        let text = self.get("/api/v1/metrics/prometheus");
        let start = format!("{name}{{name=\"{instance}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&start)?.split(' ').next()?.parse().ok());
        value.unwrap_or(0)
    }

    /// Waits until a counter has reached a value.
    pub fn wait_for(&self, name: &str, instance: &str, value: u64) {
        eventually(&format!("{name} of {instance} to reach {value}"), || {
            (self.metric(name, instance) >= value).then_some(())
        });
    }

    /// What was written to standard output.
    pub fn output(&self) -> String {
        read(&self.folder.path().join("out"))
    }

    /// What was logged.
    pub fn log(&self) -> String {
        read(&self.folder.path().join("log"))
    }

    /// The accounts of the ledger that hold something, beside the monitoring API's own connection.
    pub fn held(&self) -> Vec<String> {
        let ledger: serde_json::Value = serde_json::from_str(&self.get("/api/v1/memory")).unwrap();
        let accounts = ledger["accounts"].as_array().unwrap().iter();
        let held = accounts.filter(|account| {
            account["held"] != 0 && account["owner"] != "http_server" && account["purpose"] != "heap"
        });
        held.map(ToString::to_string).collect()
    }

    /// Changes the configuration file.
    pub fn rewrite(&self, change: impl FnOnce(String) -> String) {
        let text = read(&self.config);
        std::fs::write(&self.config, change(text)).unwrap();
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }

    /// Stops it with SIGTERM; it must end well. Returns what it wrote: standard output and log.
    pub fn stop(mut self) -> (String, String) {
        self.signal(libc::SIGTERM);
        let status = self.child.wait().unwrap();
        let (output, log) = (self.output(), self.log());
        assert!(status.success(), "weir ended with {status}:\n{log}");
        assert!(!log.contains("[memory] still held"), "the ledger is not empty at the end:\n{log}");
        (output, log)
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned()
}

/// Runs `weir` with arguments to its end.
pub fn weir(arguments: &[&str]) -> Output {
    Command::new(binary("weir")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// Posts with curl; returns the status and the body of the answer.
pub fn curl(arguments: &[&str]) -> (u16, String) {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}"])
        .args(arguments);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap();
    (status.parse().unwrap(), body.to_owned())
}
