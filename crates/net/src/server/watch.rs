//! Deadlines of a lane's connections, without a timer for each.
//!
//! A timer per wait costs more than the wait's own work when requests are small. Here a wait notes its deadline
//! and its waker in a table, and one sweep every [`TICK`] wakes those that are late. Deadlines are therefore
//! met within a tick, which is good enough for cutting off clients.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How often deadlines are looked at.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// How long idle connections stay after the stop, in ticks.
const LAST_CALL: u32 = 2;

/// A point in time, in ticks since the table was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(u32);

impl Tick {
    /// The end of time.
    pub(super) const NEVER: Tick = Tick(u32::MAX);

    /// The tick that has passed when `after` from here is over.
    pub(super) fn plus(self, after: Duration) -> Tick {
        let ticks = after.as_millis().div_ceil(TICK.as_millis()).min(u128::from(u32::MAX / 2)) as u32;
        Tick(self.0.saturating_add(ticks).saturating_add(1))
    }

    /// The same point as long after this one as `now` is after `then`.
    pub(super) fn delayed(self, then: Tick, now: Tick) -> Tick {
        Tick(self.0.saturating_add(now.0.saturating_sub(then.0)))
    }
}

/// A wait ended because its time was over, or because the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expired;

/// The table.
#[derive(Default)]
pub(super) struct Watches {
    now: Cell<u32>,
    stopping: Cell<bool>,
    /// When idle connections end after the stop.
    closing: Cell<u32>,
    entries: RefCell<slab::Slab<Entry>>,
}

struct Entry {
    deadline: Tick,
    /// Also ends when the server stops: nothing is lost by it.
    idle: bool,
    waker: Option<Waker>,
}

impl Watches {
    /// A watch for a connection.
    pub(super) fn watch(self: &Rc<Self>) -> Watch {
        let entry = Entry { deadline: Tick::NEVER, idle: false, waker: None };
        Watch { key: self.entries.borrow_mut().insert(entry), table: Rc::clone(self) }
    }

    /// Whether nobody is watched: then no sweep is needed.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// Lets time pass: to be called every [`TICK`] while somebody is watched.
    pub(super) fn sweep(&self) {
        let now = Tick(self.now.get() + 1);
        self.now.set(now.0);
        let closed = self.closed();
        self.wake(|entry| entry.deadline <= now || (entry.idle && closed));
    }

    /// Ends the waits of idle connections after [`LAST_CALL`]: a request that is on its way when the server stops
    /// is answered still, and its client told to connect anew.
    pub(super) fn stop(&self) {
        self.stopping.set(true);
        self.closing.set(self.now.get() + LAST_CALL);
    }

    fn closed(&self) -> bool {
        self.stopping.get() && self.now.get() >= self.closing.get()
    }

    fn wake(&self, which: impl Fn(&Entry) -> bool) {
        let mut entries = self.entries.borrow_mut();
        for (_, entry) in entries.iter_mut().filter(|(_, entry)| which(entry)) {
            if let Some(waker) = entry.waker.take() {
                waker.wake();
            }
        }
    }
}

/// A connection's line in the table.
pub(super) struct Watch {
    table: Rc<Watches>,
    key: usize,
}

impl Watch {
    /// The tick that has passed when `after` is over, and at most one tick later.
    pub(super) fn after(&self, after: Duration) -> Tick {
        self.now().plus(after)
    }

    /// Now.
    pub(super) fn now(&self) -> Tick {
        Tick(self.table.now.get())
    }

    /// Waits from now on end at `deadline`; those of an idle connection also when the server stops.
    pub(super) fn arm(&self, deadline: Tick, idle: bool) {
        let mut entries = self.table.entries.borrow_mut();
        let entry = &mut entries[self.key];
        (entry.deadline, entry.idle) = (deadline, idle);
    }

    /// Waits for `work` until `deadline`, whatever is armed, and no longer than until `over` says that it is for
    /// nothing: that is asked at every tick.
    ///
    /// # Errors
    /// One of the two was first.
    pub(super) async fn unless<T>(
        &self,
        deadline: Tick,
        over: impl Fn() -> bool,
        work: impl Future<Output = T>,
    ) -> Result<T, Expired> {
        let mut work = pin!(work);
        let (before, idle) = self.armed();
        let done = loop {
            self.arm(deadline.min(self.after(Duration::ZERO)), false);
            match self.within(work.as_mut()).await {
                Err(Expired) if deadline > self.now() && !over() => {}
                done => break done,
            }
        };
        self.arm(before, idle);
        done
    }

    fn armed(&self) -> (Tick, bool) {
        let entry = &self.table.entries.borrow()[self.key];
        (entry.deadline, entry.idle)
    }

    /// Whether the server is stopping.
    pub(super) fn stopping(&self) -> bool {
        self.table.stopping.get()
    }

    /// Whether the time is over; if it is not, the task is woken when it is.
    pub(super) fn poll_expired(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut entries = self.table.entries.borrow_mut();
        let entry = &mut entries[self.key];
        if entry.deadline.0 <= self.table.now.get() || (entry.idle && self.table.closed()) {
            return Poll::Ready(());
        }
        if !entry.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            entry.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits for `work` within the time that is armed.
    ///
    /// # Errors
    /// The time was over first.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Expired> {
        let mut work = pin!(work);
        std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_expired(context).map(|()| Err(Expired)),
        })
        .await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut entries = self.table.entries.borrow_mut();
        entries.remove(self.key);
        if entries.is_empty() {
            // A burst of connections leaves no table behind.
            entries.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_at_its_deadline_and_one_that_is_done_does_not() {
        let watches = Rc::new(Watches::default());
        let watch = watches.watch();
        watch.arm(watch.after(2 * TICK), false);
        assert_eq!(watch.within(async { 7 }).await, Ok(7));
        let late = watch.within(std::future::pending::<()>());
        let sweeps = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
                watches.sweep();
            }
        };
        let (late, ()) = tokio::join!(late, sweeps);
        assert_eq!(late, Err(Expired));
    }

    #[tokio::test]
    async fn a_wait_that_is_for_nothing_ends_at_the_next_tick_and_what_was_armed_stays() {
        let watches = Rc::new(Watches::default());
        let watch = watches.watch();
        watch.arm(watch.after(9 * TICK), true);
        let before = watch.armed();
        let asked = Cell::new(0);
        let over = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        let wait = watch.unless(Tick::NEVER, over, std::future::pending::<()>());
        let sweeps = async {
            for _ in 0..9 {
                tokio::task::yield_now().await;
                watches.sweep();
            }
        };
        let (ended, ()) = tokio::join!(wait, sweeps);
        assert_eq!((ended, asked.get(), watch.armed()), (Err(Expired), 3, before));
        assert_eq!(watch.unless(Tick::NEVER, || true, async { 7 }).await, Ok(7));
    }

    #[tokio::test]
    async fn a_stop_ends_the_waits_of_idle_connections_only() {
        let watches = Rc::new(Watches::default());
        let (idle, busy) = (watches.watch(), watches.watch());
        idle.arm(Tick::NEVER, true);
        busy.arm(Tick::NEVER, false);
        watches.stop();
        assert_eq!(idle.within(async { 1 }).await, Ok(1), "a last request");
        (0..LAST_CALL).for_each(|_| watches.sweep());
        assert_eq!(idle.within(std::future::pending::<()>()).await, Err(Expired));
        assert_eq!(busy.within(async { 1 }).await, Ok(1));
        drop((idle, busy));
        assert!(watches.is_empty());
    }
}
