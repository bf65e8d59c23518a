//! Log lines on their way to inputs that make records of them.

use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;

/// Lines that a slow reader may be behind; older ones are lost to it.
const BEHIND: usize = 256;

/// A line of the log.
#[derive(Debug, Clone)]
pub struct Line {
    /// error, warn, info, debug or trace.
    pub level: &'static str,
    /// The message, without time and level.
    pub message: Arc<str>,
}

static LINES: OnceLock<broadcast::Sender<Line>> = OnceLock::new();

fn lines() -> &'static broadcast::Sender<Line> {
    LINES.get_or_init(|| broadcast::Sender::new(BEHIND))
}

/// Every line from now on.
pub fn subscribe() -> broadcast::Receiver<Line> {
    lines().subscribe()
}

/// Whoever writes the log says here what it writes. Without a reader it costs nothing.
pub fn publish(level: &'static str, message: &str) {
    if LINES.get().is_some_and(|lines| lines.receiver_count() > 0) {
        // The last reader may have gone in the meantime.
        let _none = lines().send(Line { level, message: Arc::from(message) });
    }
}
