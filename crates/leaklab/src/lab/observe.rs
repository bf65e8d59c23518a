//! Looking at the target while it is loaded, from a thread of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::capture::{Capture, Line};
use super::look::{self, Look};
use super::target::interrupted;

/// How often memory is compared with the ceiling of a block.
pub const GLANCE: Duration = Duration::from_millis(20);
/// Glances between two samples, and samples between two closer looks.
const SAMPLE: u32 = 5;
const CLOSELY: u32 = 10;

/// What the thread and its owner share.
pub struct Shared {
    /// What was seen and done.
    pub capture: Mutex<Capture>,
    /// The processes of the target.
    pub pids: Mutex<Vec<u32>>,
    /// Set when the block must end: the memory is above the ceiling, or somebody has ended this program.
    pub stop: AtomicBool,
    ceiling: AtomicU64,
    end: AtomicBool,
    started: Instant,
}

/// The thread; it ends when this is dropped.
pub struct Observer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Seconds since the start.
    pub fn now(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Adds a line.
    pub fn write(&self, line: Line) {
        lock(&self.capture).lines.push(line);
    }

    /// Adds a sentence.
    pub fn note(&self, text: impl Into<String>) {
        self.write(Line::Note { t: self.now(), text: text.into() });
    }

    /// The figures now. None: the target is gone.
    pub fn look(&self) -> Option<Look> {
        let pids = lock(&self.pids).clone();
        look::look(&pids)
    }

    /// From now on blocks end when the target's memory is above `bytes`.
    pub fn set_ceiling(&self, bytes: u64) {
        self.ceiling.store(bytes, Ordering::Relaxed);
        self.stop.store(false, Ordering::Relaxed);
    }

    fn glance(&self) -> u64 {
        let pids = lock(&self.pids).clone();
        pids.iter().map(|pid| resident(*pid)).sum()
    }
}

/// Resident bytes: cheap, and a little behind.
fn resident(pid: u32) -> u64 {
    let statm = look::read(&format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

impl Observer {
    /// Begins to look at a process and everything below it.
    pub fn start(root: u32, started: Instant, capture: Capture) -> Observer {
        let shared = Arc::new(Shared {
            capture: Mutex::new(capture),
            pids: Mutex::new(look::tree(root)),
            stop: AtomicBool::new(false),
            ceiling: AtomicU64::new(u64::MAX),
            end: AtomicBool::new(false),
            started,
        });
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || observe(&shared, root)
        });
        Observer { shared, thread: Some(thread) }
    }

    /// What is shared.
    pub fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// Ends the thread and hands over what was written.
    pub fn finish(mut self) -> Capture {
        self.end();
        std::mem::take(&mut *lock(&self.shared.capture))
    }

    fn end(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.end();
    }
}

fn observe(shared: &Shared, root: u32) {
    let mut turn = 0_u32;
    while !shared.end.load(Ordering::Relaxed) {
        if shared.glance() > shared.ceiling.load(Ordering::Relaxed) || interrupted() {
            shared.stop.store(true, Ordering::Relaxed);
        }
        if turn.is_multiple_of(SAMPLE) {
            let closely = turn.is_multiple_of(SAMPLE * CLOSELY);
            if closely {
                *lock(&shared.pids) = look::tree(root);
            }
            let pids = lock(&shared.pids).clone();
            let seen = if closely { look::look_closely(&pids) } else { look::look(&pids) };
            if let Some(look) = seen {
                shared.write(Line::Sample { t: shared.now(), look, inside: None });
            }
        }
        turn = turn.wrapping_add(1);
        std::thread::sleep(GLANCE);
    }
}
