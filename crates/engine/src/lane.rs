//! Lanes: threads with an event loop of their own, and the word to stop.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use tokio::sync::watch;
use tokio::task::LocalSet;

/// Tells tasks that the agent stops. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

/// Says stop to everybody who holds a [`Stop`] of it.
#[derive(Debug, Clone)]
pub struct Stopper(watch::Sender<bool>);

impl Default for Stopper {
    fn default() -> Stopper {
        Stopper(watch::Sender::new(false))
    }
}

impl Stopper {
    /// A receiver.
    pub fn stop(&self) -> Stop {
        Stop(self.0.subscribe())
    }

    /// Says it. Saying it again changes nothing.
    pub fn say(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Waits for the word. A stopper that is gone counts as the word.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        let _said_or_gone = receiver.wait_for(|stop| *stop).await;
    }

    /// Whether it was said.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
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
