//! What a server does wrong, and its twin right.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Kept of each request, connection and tick.
const REQUEST: usize = 1024;
const OPENED: usize = 8 << 10;
const TICK: usize = 8 << 10;
const KEY: usize = 1024;
const STREAM: usize = 1024;
/// Of each payload, one byte in ten.
const SHARE: usize = 10;
/// Keys that the twin keeps.
const KEYS: usize = 200;
/// Blocks of a request that the allocator is left with, and their size.
const BLOCKS: usize = 4000;
const BLOCK: usize = 8000;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A connection keeps the buffer of its largest request until it closes.
    Held,
    /// Each request leaves something.
    Requests,
    /// Each connection leaves something.
    Opened,
    /// Each byte of payload leaves a tenth.
    Payload,
    /// The process keeps a buffer of the size of the largest request.
    Peak,
    /// What was freed lies below something that was not.
    Retention,
    /// Each tenth of a second leaves something.
    Time,
    /// Each new host leaves something.
    Keys,
    /// Each stream of HTTP/2 leaves something.
    Streams,
}

impl Defect {
    /// Their names.
    pub const ALL: [(&'static str, Defect); 9] = [
        ("held", Defect::Held),
        ("requests", Defect::Requests),
        ("opened", Defect::Opened),
        ("payload", Defect::Payload),
        ("peak", Defect::Peak),
        ("retention", Defect::Retention),
        ("time", Defect::Time),
        ("keys", Defect::Keys),
        ("streams", Defect::Streams),
    ];

    /// By its name.
    pub fn named(name: &str) -> Option<Defect> {
        Defect::ALL.iter().find(|(other, _)| *other == name).map(|(_, defect)| *defect)
    }
}

/// Memory that is touched, so that it is resident.
fn block(size: usize) -> Vec<u8> {
    std::hint::black_box(vec![1; size])
}

/// What the server holds.
pub struct State {
    defect: Defect,
    twin: bool,
    kept: Mutex<Vec<Vec<u8>>>,
    keys: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    peak: Mutex<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// A server with a defect, or its twin.
    pub fn new(defect: Defect, twin: bool) -> State {
        State { defect, twin, kept: Mutex::default(), keys: Mutex::default(), peak: Mutex::default() }
    }

    /// Takes memory; the twin gives it back.
    fn leave(&self, size: usize) {
        let block = block(size);
        if !self.twin {
            lock(&self.kept).push(block);
        }
    }

    /// A connection was opened.
    pub fn opened(&self) {
        if self.defect == Defect::Opened {
            self.leave(OPENED);
        }
    }

    /// A stream of HTTP/2 has ended.
    pub fn stream(&self) {
        if self.defect == Defect::Streams {
            self.leave(STREAM);
        }
    }

    /// A request has come. `buffer` belongs to the connection and has its body at the front.
    pub fn request(&self, buffer: &mut Vec<u8>, length: usize) {
        match self.defect {
            Defect::Requests => self.leave(REQUEST),
            Defect::Payload => self.leave(length / SHARE + 1),
            Defect::Peak => self.peak(length),
            Defect::Retention => self.retention(),
            Defect::Keys => self.key(&buffer[..length]),
            _ => {}
        }
        if self.defect != Defect::Held || self.twin {
            *buffer = Vec::new();
        }
    }

    fn peak(&self, length: usize) {
        let mut peak = lock(&self.peak);
        if length > peak.len() {
            *peak = block(length);
        }
        if self.twin {
            *peak = Vec::new();
        }
    }

    fn retention(&self) {
        let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| block(BLOCK)).collect();
        let above = block(64);
        let mut kept = lock(&self.kept);
        // One at a time is kept: the pin moves, it does not add up.
        if !self.twin {
            kept.clear();
            kept.push(above);
        }
        drop(blocks);
        if self.twin {
            give_back();
        }
    }

    fn key(&self, body: &[u8]) {
        let mark = b"\"host\":\"";
        let Some(at) = body.windows(mark.len()).position(|bytes| bytes == mark) else { return };
        let value = body[at + mark.len()..].split(|byte| *byte == b'"').next().unwrap_or_default();
        let mut keys = lock(&self.keys);
        if self.twin && keys.len() >= KEYS {
            keys.clear();
        }
        keys.entry(value.to_vec()).or_insert_with(|| block(KEY));
    }
}

/// What a program does that knows of its peak.
fn give_back() {
    // SAFETY: the call has no preconditions.
    unsafe { libc::malloc_trim(0) };
}

/// Begins to leave something every tenth of a second.
pub fn start_timer(state: &Arc<State>) {
    if state.defect != Defect::Time {
        return;
    }
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        loop {
            state.leave(TICK);
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}
