//! The main job on one machine: large JSON payloads over HTTP into a Kusto table, with flat memory.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use leaklab::client::Connection;
use leaklab::process::{Memory, memory};

use crate::run::{self, Running};

/// Requests before memory is first looked at: code and certificates are in by then.
const WARM_UP: usize = 20;
/// Requests over one connection that is kept alive.
const KEPT_ALIVE: usize = 1_000;
/// Connections that send one request each and stay open.
const HELD: usize = 200;
/// Lines of the payload.
const LINES: usize = 4_900;
/// How long memory may settle before it is looked at.
const REST: Duration = Duration::from_secs(5);
/// What memory may grow by: the code of paths that the warm-up did not take, and rounding.
const MOST_GROWTH: u64 = 4_000_000;
/// The longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

const INPUT: &str = "127.0.0.1:9880";
const ADMIN: &str = "127.0.0.1:2020";

/// Runs it and prints the figures.
pub fn quickstart() -> Result<(), String> {
    crate::tools::install()?;
    println!("building (the first time takes some minutes) ...");
    run::cargo(&["build", "--release", "--quiet", "-p", "agent", "-p", "kusto-local"])?;
    let folder = run::target().join("quickstart");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;

    println!("starting kusto-local, a local Kusto ingestion endpoint ...");
    let (kusto, endpoint) = start_kusto(&folder.join("kusto"))?;
    println!("starting weir -c examples/quickstart.yaml ...");
    let weir = start_weir(&endpoint, &folder)?;
    let figures = load(&weir, &kusto_address(&endpoint)?, &endpoint)?;
    print(&figures, &folder);
    weir.stop()?;
    kusto.stop()?;
    figures.judge()
}

fn start_kusto(folder: &Path) -> Result<(Running, HashMap<String, String>), String> {
    let mut command = Command::new(run::target().join("release/kusto-local"));
    command.arg("--dir").arg(folder).args(["--database", "quickstart", "--table", "Alerts"]);
    let mut kusto = Running::start("kusto-local", &mut command, Stdio::piped())?;
    let output = kusto.child().stdout.take().ok_or("kusto-local has no output")?;
    let mut endpoint = HashMap::new();
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("kusto-local: {error}"))?;
        if line == "ready" {
            return Ok((kusto, endpoint));
        }
        if let Some((key, value)) = line.split_once('=') {
            endpoint.insert(key.to_owned(), value.to_owned());
        }
    }
    Err("kusto-local ended before it was ready".to_owned())
}

fn start_weir(endpoint: &HashMap<String, String>, folder: &Path) -> Result<Running, String> {
    let log = folder.join("weir.log");
    let file = std::fs::File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let mut command = Command::new(run::target().join("release/weir"));
    command.arg("-c").arg(run::root().join("examples/quickstart.yaml")).stderr(file);
    for (key, value) in endpoint {
        command.env(format!("KUSTO_{}", key.to_ascii_uppercase()), value);
    }
    let mut weir = Running::start("weir", &mut command, Stdio::null())?;
    let started = Instant::now();
    while Connection::open(address(INPUT)?, Duration::from_secs(1)).is_err() {
        let ended = weir.child().try_wait().map_err(|error| format!("weir: {error}"))?;
        if ended.is_some() || started.elapsed() > PATIENCE {
            // The agent wrote this file: a few lines, as it has just started.
            let said = std::fs::read(&log).unwrap_or_default();
            return Err(format!("weir did not start:\n{}", String::from_utf8_lossy(&said)));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(weir)
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}

/// Where kusto-local answers questions about its tables without a token.
fn kusto_address(endpoint: &HashMap<String, String>) -> Result<String, String> {
    endpoint
        .get("ingestion_endpoint")
        .cloned()
        .ok_or_else(|| "kusto-local gave no ingestion_endpoint".to_owned())
}

struct Figures {
    expected: usize,
    found: usize,
    before: Memory,
    after: Memory,
    seconds: f64,
    megabytes: f64,
}

fn load(weir: &Running, kusto: &str, endpoint: &HashMap<String, String>) -> Result<Figures, String> {
    let fail = |error: std::io::Error| format!("sending: {error}");
    let body = leaklab::payload::alert(LINES, 1);
    println!("the payload: one JSON object of {} lines, {} bytes", body.lines().count(), body.len());
    let mut connection = Connection::open(address(INPUT)?, PATIENCE).map_err(fail)?;
    let post = |connection: &mut Connection| match connection.post("/alerts", body.as_bytes()) {
        Ok(201) => Ok(()),
        Ok(status) => Err(format!("weir answered {status}")),
        Err(error) => Err(fail(error)),
    };
    println!("sending {WARM_UP} requests, then {} s of rest ...", REST.as_secs());
    (0..WARM_UP).try_for_each(|_| post(&mut connection))?;
    std::thread::sleep(REST);
    let before = memory(weir.pid()).map_err(fail)?;

    println!("sending {KEPT_ALIVE} requests over one connection ...");
    // The server may have closed the connection that rested.
    let started = Instant::now();
    let mut connection = Connection::open(address(INPUT)?, PATIENCE).map_err(fail)?;
    (0..KEPT_ALIVE).try_for_each(|_| post(&mut connection))?;
    println!("sending 1 request over each of {HELD} connections that stay open ...");
    let mut held = Vec::with_capacity(HELD);
    for _ in 0..HELD {
        let mut connection = Connection::open(address(INPUT)?, PATIENCE).map_err(fail)?;
        post(&mut connection)?;
        held.push(connection);
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("waiting for the rows ...");
    let expected = WARM_UP + KEPT_ALIVE + HELD;
    let found = wait_for_rows(kusto, endpoint, expected)?;
    std::thread::sleep(REST);
    let after = memory(weir.pid()).map_err(fail)?;
    drop(held);
    let megabytes = (body.len() * (KEPT_ALIVE + HELD)) as f64 / 1e6;
    Ok(Figures { expected, found, before, after, seconds, megabytes })
}

/// Asks with curl: this end of the connection needs TLS, which nothing else here does.
fn wait_for_rows(kusto: &str, endpoint: &HashMap<String, String>, expected: usize) -> Result<usize, String> {
    let started = Instant::now();
    let authority = endpoint.get("ca_file").map_or("", String::as_str);
    loop {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "10", "--cacert", authority]);
        let output =
            curl.arg(format!("{kusto}/local/stats")).output().map_err(|error| format!("curl: {error}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let found = rows(&text).ok_or_else(|| format!("kusto-local's statistics cannot be read: {text}"))?;
        if found >= expected || started.elapsed() > PATIENCE {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// The number behind `"rows":`.
fn rows(stats: &str) -> Option<usize> {
    let (_, rest) = stats.split_once("\"rows\":")?;
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn print(figures: &Figures, folder: &Path) {
    let Figures { expected, found, before, after, seconds, megabytes } = figures;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!();
    println!("rows expected     {expected:>8}");
    println!("rows found        {found:>8}");
    println!(
        "RSS before        {:>8.1} MB  (after {WARM_UP} requests and {} s of rest)",
        mb(before.resident),
        REST.as_secs()
    );
    println!("RSS at peak       {:>8.1} MB", mb(after.peak));
    println!("RSS after         {:>8.1} MB  (with {HELD} connections open)", mb(after.resident));
    println!("sent              {megabytes:>8.1} MB in {seconds:.1} s");
    println!();
    println!("To look further:");
    println!("  weir's log                {}", folder.join("weir.log").display());
    println!("  the table's rows          {}", folder.join("kusto").display());
    println!(
        "  run it yourself           start kusto-local, then weir -c examples/quickstart.yaml (both in {})",
        run::target().join("release").display()
    );
    println!("  while it runs             curl http://{ADMIN}/api/v1/metrics/prometheus");
    println!("                            curl http://{ADMIN}/api/v1/memory");
}

impl Figures {
    fn judge(&self) -> Result<(), String> {
        if self.found != self.expected {
            return Err(format!("{} rows were expected and {} found", self.expected, self.found));
        }
        let growth = self.after.resident.saturating_sub(self.before.resident);
        if growth > MOST_GROWTH {
            return Err(format!("memory grew by {growth} bytes, which is more than {MOST_GROWTH}"));
        }
        println!("\nevery row arrived, and memory is flat");
        Ok(())
    }
}
