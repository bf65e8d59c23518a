//! Lanes: threads with an event loop of their own, and the word to stop.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::Instant;

/// Tells tasks that the agent stops. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop {
    said: watch::Receiver<bool>,
    exit: Exit,
}

/// Says stop to everybody who holds a [`Stop`] of it.
#[derive(Debug, Clone)]
pub struct Stopper {
    said: watch::Sender<bool>,
    exit: Exit,
}

/// The exit code that an instance has asked the agent to end with.
type Exit = Arc<watch::Sender<Option<u8>>>;

impl Default for Stopper {
    fn default() -> Stopper {
        Stopper { said: watch::Sender::new(false), exit: Arc::new(watch::Sender::new(None)) }
    }
}

impl Stopper {
    /// A receiver.
    pub fn stop(&self) -> Stop {
        Stop { said: self.said.subscribe(), exit: Arc::clone(&self.exit) }
    }

    /// Another word to stop, for other receivers. An instance asks both for the end of the agent.
    pub fn apart(&self) -> Stopper {
        Stopper { said: watch::Sender::new(false), exit: Arc::clone(&self.exit) }
    }

    /// Says it. Saying it again changes nothing.
    pub fn say(&self) {
        self.said.send_replace(true);
    }

    /// Waits until an instance asks for the end of the agent, as an input does whose source has ended.
    pub async fn exit_asked(&self) {
        let mut asked = self.exit.subscribe();
        // The sender is held here, so there is always somebody who could ask.
        let _asked = asked.wait_for(Option::is_some).await;
    }

    /// The exit code that was asked for; 0 if none was.
    pub fn exit_code(&self) -> u8 {
        self.exit.borrow().unwrap_or(0)
    }
}

impl Stop {
    /// Waits for the word. A stopper that is gone counts as the word.
    pub async fn requested(&self) {
        let mut said = self.said.clone();
        let _said_or_gone = said.wait_for(|stop| *stop).await;
    }

    /// A word to stop of its own, for a part of what this one stops. An instance asks both for the end.
    pub fn apart(&self) -> Stopper {
        Stopper { said: watch::Sender::new(false), exit: Arc::clone(&self.exit) }
    }

    /// Whether it was said.
    pub fn is_requested(&self) -> bool {
        *self.said.borrow()
    }

    /// Asks for the end of the agent: what was taken is delivered, then it exits with `code`. The first code
    /// that was asked for stays.
    pub fn ask_exit(&self, code: u8) {
        self.exit.send_if_modified(|asked| {
            let first = asked.is_none();
            asked.get_or_insert(code);
            first
        });
    }
}

/// When the agent ends: for lanes of outputs that have something left to do behind their last batch.
#[derive(Debug, Clone)]
pub struct Ending(watch::Receiver<Option<Instant>>);

impl Ending {
    /// For whoever says when it ends.
    pub fn new() -> (watch::Sender<Option<Instant>>, Ending) {
        let (sender, receiver) = watch::channel(None);
        (sender, Ending(receiver))
    }

    /// Waits until the time that a stop may take is over. While nobody stops the agent it is not.
    pub async fn over(&self) {
        let mut at = self.0.clone();
        // The core is gone: then there is no time at all.
        let Ok(at) = at.wait_for(Option::is_some).await.map(|at| *at) else { return };
        if let Some(at) = at {
            tokio::time::sleep_until(at).await;
        }
    }
}

/// The runtime of a lane: one thread, timers and sockets; two more threads at most, for name lookups.
///
/// # Errors
/// The system's, when it has no descriptors or threads left.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(2)
        .thread_keep_alive(std::time::Duration::from_secs(1))
        .build()
}

/// Runs what `work` returns on a thread called `name`, to its end.
///
/// # Errors
/// The system's, when the thread cannot be made.
pub fn spawn<W, F>(name: String, work: W) -> std::io::Result<thread::JoinHandle<()>>
where
    W: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let runtime = runtime()?;
    thread::Builder::new().name(name.clone()).spawn(move || {
        let run = AssertUnwindSafe(|| LocalSet::new().block_on(&runtime, work()));
        if catch_unwind(run).is_err() {
            tracing::error!("[engine] lane {name} ended at a bug (see the message above); restart the agent");
        }
    })
}
