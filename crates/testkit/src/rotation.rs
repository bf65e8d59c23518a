//! Files that are rotated while an agent follows them and is stopped, or killed, again and again: what becomes of
//! each line.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::{PATIENCE, eventually};

/// How a file is rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is renamed, and a new one made.
    Rename,
    /// It is copied, and emptied.
    CopyTruncate,
}

/// How the agent is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With SIGTERM: it may finish.
    Stop,
    /// With SIGKILL: it may not.
    Kill,
}

/// What is done.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Lines in all.
    pub lines: usize,
    /// Rotations, evenly over the lines.
    pub rotations: usize,
    /// How they are made.
    pub kind: Kind,
    /// Restarts of the agent, evenly over the lines.
    pub restarts: usize,
    /// How it is stopped for them.
    pub end: End,
    /// Tell the agent to ask the kernel for changes.
    pub inotify: bool,
}

/// What became of the lines.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Lines that never came out.
    pub missing: usize,
    /// Lines that came out again.
    pub repeated: usize,
    /// Lines that nobody wrote.
    pub strange: usize,
}

/// Runs the plan with this binary in an empty folder.
///
/// # Panics
/// When the agent does not start, or the lines stop coming.
pub fn run(plan: &Plan, weir: &Path, folder: &Path) -> Report {
    let agent = Mutex::new(Agent::new(plan, weir, folder));
    let written = AtomicUsize::new(0);
    agent.lock().unwrap().start();
    std::thread::scope(|scope| {
        scope.spawn(|| write(plan, folder, &agent, &written));
        for restart in 1..=plan.restarts {
            let at = plan.lines * restart / (plan.restarts + 1);
            while written.load(Ordering::Acquire) < at {
                std::thread::sleep(Duration::from_millis(1));
            }
            agent.lock().unwrap().restart(plan.end);
        }
    });
    let mut agent = agent.into_inner().unwrap();
    agent.wait_for(plan.lines);
    agent.end(End::Stop);
    agent.report(plan.lines)
}

/// Writes the lines. A file is emptied only when all of it has come out: what is emptied before is lost to anybody.
fn write(plan: &Plan, folder: &Path, agent: &Mutex<Agent>, written: &AtomicUsize) {
    let path = folder.join("app.log");
    let open = || BufWriter::new(OpenOptions::new().create(true).append(true).open(&path).unwrap());
    let mut file = open();
    let per_rotation = plan.lines.div_ceil(plan.rotations + 1).max(1);
    for line in 0..plan.lines {
        if line > 0 && line.is_multiple_of(per_rotation) {
            file.flush().unwrap();
            let rotated = folder.join(format!("app.log.{}", line / per_rotation));
            match plan.kind {
                Kind::Rename => {
                    std::fs::rename(&path, &rotated).unwrap();
                    // The writer goes on with the old file for a moment, as real ones do.
                    writeln!(file, "{}", text(line)).unwrap();
                    file.flush().unwrap();
                    file = open();
                    written.store(line, Ordering::Release);
                    continue;
                }
                Kind::CopyTruncate => {
                    let started = Instant::now();
                    while agent.lock().unwrap().seen() < line {
                        assert!(started.elapsed() < PATIENCE, "line {line} does not come");
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    std::fs::copy(&path, folder.join(format!("copy.{}", line / per_rotation))).unwrap();
                    OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
                }
            }
        }
        writeln!(file, "{}", text(line)).unwrap();
        if line.is_multiple_of(500) {
            file.flush().unwrap();
            written.store(line, Ordering::Release);
            // About a hundred thousand lines a second, so that restarts fall between them.
            std::thread::sleep(Duration::from_millis(4));
        }
    }
    file.flush().unwrap();
    written.store(plan.lines, Ordering::Release);
}

fn text(line: usize) -> String {
    format!("line={line};{}", "x".repeat(20 + line % 60))
}

/// The agent, and what it has printed over all its lives.
struct Agent {
    weir: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
    lives: usize,
    /// How far the output of each life was read.
    read: Vec<u64>,
    /// How often each line came out.
    counts: Vec<u32>,
    seen: usize,
    strange: HashMap<String, usize>,
}

impl Agent {
    fn new(plan: &Plan, weir: &Path, folder: &Path) -> Agent {
        let path = match plan.kind {
            Kind::Rename => "app.log*",
            Kind::CopyTruncate => "app.log",
        };
        let folder = folder.to_owned();
        let shown = folder.display();
        let inotify = plan.inotify;
        let configuration = format!(
            "
service: {{flush: 0.2, grace: 20}}
pipeline:
  inputs:
    - name: tail
      path: {shown}/{path}
      db: {shown}/tail.db
      read_from_head: on
      refresh_interval: 1
      inotify_watcher: {inotify}
  outputs:
    - {{name: stdout, match: '*', format: json_lines, json_date_key: false}}
"
        );
        std::fs::write(folder.join("weir.yaml"), configuration).unwrap();
        Agent {
            weir: weir.to_owned(),
            folder,
            child: None,
            lives: 0,
            read: Vec::new(),
            counts: vec![0; plan.lines],
            seen: 0,
            strange: HashMap::new(),
        }
    }

    fn output(&self, life: usize) -> PathBuf {
        self.folder.join(format!("out.{life}"))
    }

    fn start(&mut self) {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let child = Command::new(&self.weir)
            .arg("-c")
            .arg(self.folder.join("weir.yaml"))
            .stdin(Stdio::null())
            .stdout(File::create(self.output(self.lives)).unwrap())
            .stderr(log)
            .spawn();
        self.child = Some(child.unwrap());
        self.lives += 1;
        self.read.push(0);
    }

    fn restart(&mut self, end: End) {
        self.end(end);
        self.start();
    }

    fn end(&mut self, end: End) {
        let Some(mut child) = self.child.take() else { return };
        if end == End::Stop {
            let what = "the agent to listen for SIGTERM: before, it would end as if killed";
            eventually(what, || catches(child.id(), libc::SIGTERM).then_some(()));
        }
        let signal = if end == End::Stop { libc::SIGTERM } else { libc::SIGKILL };
        // SAFETY: a signal to a child that was not waited for yet.
        unsafe { libc::kill(child.id() as libc::pid_t, signal) };
        let status = child.wait().unwrap();
        assert!(end == End::Kill || status.success(), "the agent ended with {status}");
    }

    fn wait_for(&mut self, lines: usize) {
        let (mut started, mut before) = (Instant::now(), 0);
        while self.seen() < lines {
            if self.seen > before {
                (started, before) = (Instant::now(), self.seen);
            }
            if started.elapsed() > PATIENCE {
                // The report says what is missing.
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How many different lines have come out.
    fn seen(&mut self) -> usize {
        for life in 0..self.lives {
            let bytes = from(&self.output(life), self.read[life]).unwrap();
            // A line that is torn by a kill never gets its end.
            let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            self.read[life] += whole as u64;
            for record in String::from_utf8_lossy(&bytes[..whole]).lines() {
                self.count(record);
            }
        }
        self.seen
    }

    fn count(&mut self, record: &str) {
        let number = record.strip_prefix("{\"log\":\"line=").and_then(|rest| rest.split_once(';'));
        let number = number.and_then(|(number, _)| number.parse::<usize>().ok());
        match number.filter(|number| record == format!("{{\"log\":\"{}\"}}", text(*number))) {
            Some(number) if number < self.counts.len() => {
                self.seen += usize::from(self.counts[number] == 0);
                self.counts[number] += 1;
            }
            _ => *self.strange.entry(record.to_owned()).or_default() += 1,
        }
    }

    fn report(mut self, lines: usize) -> Report {
        self.seen();
        for strange in self.strange.keys().take(5) {
            eprintln!("a line that nobody wrote: {strange}");
        }
        let missing: Vec<usize> = (0..lines).filter(|line| self.counts[*line] == 0).collect();
        if let (Some(first), Some(last)) = (missing.first(), missing.last()) {
            eprintln!("missing: {} lines from {first} to {last}", missing.len());
        }
        Report {
            missing: missing.len(),
            repeated: self.counts.iter().map(|count| count.saturating_sub(1) as usize).sum(),
            strange: self.strange.values().sum(),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.end(End::Kill);
    }
}

/// Whether a process has a handler for a signal: proc(5), `SigCgt`.
fn catches(pid: u32, signal: libc::c_int) -> bool {
    #[expect(clippy::disallowed_methods, reason = "the kernel's own page, of a few KB")]
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

/// What a file holds from an offset on.
fn from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    use std::io::{Read, Seek, SeekFrom};
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}
