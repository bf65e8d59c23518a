//! Waiting for room: first come, first served.
//!
//! What comes in pieces (see [`Ticket`](crate::Ticket)) keeps its place from its first piece on: an older one is
//! served before all younger ones. Served in turn they would all grow at the same pace, and hold everything before
//! one of them is complete.
//!
//! A waiter that only its own account's maximum holds back does not hold up the ones behind it; one that
//! waits for the budget does, so that a large lease is not starved by small ones.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use crate::Full;
use crate::ledger::{Account, AccountInner, Inner, Lease, State};

pub(crate) struct Waiter {
    id: u64,
    account: Arc<AccountInner>,
    bytes: usize,
    /// On whose behalf; 0 is nobody's.
    ticket: u64,
    /// Charged already; the future only has to take it.
    granted: bool,
    waker: Waker,
}

impl Waiter {
    pub(crate) fn waits_for_common(&self) -> bool {
        !self.granted && !self.account.at_own_maximum(self.bytes)
    }
}

/// Charges for the waiters that fit now, in order. Returns whom to wake, after the lock is released.
pub(crate) fn grant(budget: &Inner, state: &mut State) -> Vec<Waker> {
    if state.waiters.is_empty() {
        return Vec::new();
    }
    let mut woken = Vec::new();
    let mut waiters = std::mem::take(&mut state.waiters);
    let mut blocked = false;
    for waiter in waiters.iter_mut().filter(|waiter| !waiter.granted) {
        let may = !blocked || waiter.account.is_guaranteed(waiter.bytes);
        let reserve = state.reserve();
        if may && budget.charge(state, &waiter.account, waiter.bytes, reserve) {
            waiter.granted = true;
            woken.push(waiter.waker.clone());
        } else if !waiter.account.at_own_maximum(waiter.bytes) {
            blocked = true;
        }
    }
    if blocked
        && let Some(oldest) = finisher(&mut waiters, state.finisher)
        && budget.charge(state, &oldest.account, oldest.bytes, 0)
    {
        state.finisher = Some(oldest.ticket);
        oldest.granted = true;
        woken.push(oldest.waker.clone());
    }
    state.waiters = waiters;
    woken
}

/// The one that may draw on the reserve: the one that does already, or the oldest when nobody does.
fn finisher(waiters: &mut VecDeque<Waiter>, drawing: Option<u64>) -> Option<&mut Waiter> {
    let may = |waiter: &&mut Waiter| {
        let first = drawing.is_none_or(|drawing| drawing == waiter.ticket);
        first && waiter.ticket != 0 && waiter.waits_for_common()
    };
    waiters.iter_mut().filter(may).min_by_key(|waiter| waiter.ticket)
}

/// The wait for a lease. Dropping it leaves the queue and pays back what was granted meanwhile.
///
/// Resolves to [`Full`] at once when the account could never hold the bytes: waiting would be for ever.
#[must_use = "a future does nothing unless awaited"]
pub struct Acquire {
    account: Account,
    bytes: usize,
    id: Option<u64>,
}

impl Acquire {
    pub(crate) fn new(account: Account, bytes: usize) -> Acquire {
        Acquire { account, bytes, id: None }
    }

    fn count(&self, state: &State) {
        self.account.inner.budget.waiting.store(state.waiters.len(), Ordering::Relaxed);
    }

    /// Also returns whom to wake.
    fn first_try(&mut self, state: &mut State, context: &Context<'_>) -> (Poll<()>, Vec<Waker>) {
        if self.account.try_charge(state, self.bytes).is_ok() {
            return (Poll::Ready(()), Vec::new());
        }
        let id = state.next_waiter;
        state.next_waiter += 1;
        let account = Arc::clone(&self.account.inner);
        account.count_wait();
        let waker = context.waker().clone();
        let (bytes, ticket) = (self.bytes, self.account.ticket);
        let younger = |waiter: &Waiter| ticket != 0 && waiter.ticket > ticket;
        let at = state.waiters.iter().position(younger).unwrap_or(state.waiters.len());
        state.waiters.insert(at, Waiter { id, account, bytes, ticket, granted: false, waker });
        self.count(state);
        self.id = Some(id);
        if ticket == 0 {
            return (Poll::Pending, Vec::new());
        }
        // The reserve may be for it.
        let woken = grant(&self.account.inner.budget, state);
        (self.look_again(state, id, context), woken)
    }

    fn look_again(&mut self, state: &mut State, id: u64, context: &Context<'_>) -> Poll<()> {
        let Some(at) = state.waiters.iter().position(|waiter| waiter.id == id) else {
            return Poll::Pending; // polled again after it was ready: never by an executor
        };
        if state.waiters[at].granted {
            state.waiters.remove(at);
            self.count(state);
            self.id = None;
            return Poll::Ready(());
        }
        state.waiters[at].waker.clone_from(context.waker());
        Poll::Pending
    }
}

impl Future for Acquire {
    type Output = Result<Lease, Full>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.id.is_none() && this.bytes > this.account.most() {
            return Poll::Ready(Err(Full));
        }
        let budget = Arc::clone(&this.account.inner.budget);
        let mut state = budget.lock();
        let (ready, woken) = match this.id {
            None => this.first_try(&mut state, context),
            Some(id) => (this.look_again(&mut state, id, context), Vec::new()),
        };
        if ready.is_ready() {
            budget.add_plain(&mut state, this.bytes);
        }
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        if ready.is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(Ok(Lease { account: this.account.clone(), bytes: this.bytes }))
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let account = &self.account.inner;
        let mut granted = false;
        {
            let mut state = account.budget.lock();
            if let Some(at) = state.waiters.iter().position(|waiter| waiter.id == id) {
                granted = state.waiters.remove(at).is_some_and(|waiter| waiter.granted);
                account.budget.waiting.store(state.waiters.len(), Ordering::Relaxed);
            }
        }
        // Somebody behind this one may fit now, so the queue is looked at in either case.
        let bytes = if granted { self.bytes } else { 0 };
        account.budget.release(account, bytes, false, &mut |_| ());
    }
}
