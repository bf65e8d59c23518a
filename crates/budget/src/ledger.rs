//! Budget, accounts and leases.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::Full;
use crate::arena::{Arena, PageId};
use crate::wait::{Acquire, Waiter};

/// How many calls of [`Budget::tick`] a peak of use keeps its pages resident for.
const WINDOW: usize = 20;

/// The bytes a process may spend on load. Cheap to clone; all clones are the same budget.
#[derive(Clone)]
pub struct Budget {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) page_size: usize,
    limit: usize,
    state: Mutex<State>,
    accounts: Mutex<Vec<Weak<AccountInner>>>,
    /// Counts reloads.
    generation: AtomicU64,
}

pub(crate) struct State {
    arena: Arena,
    /// Bytes held beyond guarantees, by all accounts.
    common: usize,
    /// The sum of all guarantees.
    guaranteed: usize,
    used_pages: usize,
    /// Bytes held that are not pages.
    plain: usize,
    pub(crate) waiters: VecDeque<Waiter>,
    pub(crate) next_waiter: u64,
    window: [usize; WINDOW],
    window_at: usize,
    taken: u64,
    taken_at_last_tick: u64,
}

/// What an account may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Bytes set aside when the account opens: these can always be had.
    pub guaranteed: usize,
    /// Bytes that the account never exceeds.
    pub max: usize,
}

impl Share {
    /// Nothing set aside, bounded by the budget alone.
    pub const COMMON: Share = Share { guaranteed: 0, max: usize::MAX };

    /// `bytes` set aside, and never more than them.
    pub fn fixed(bytes: usize) -> Share {
        Share { guaranteed: bytes, max: bytes }
    }

    /// Nothing set aside, at most `bytes`.
    pub fn at_most(bytes: usize) -> Share {
        Share { guaranteed: 0, max: bytes }
    }
}

/// An owner of bytes: an instance and a purpose. Cheap to clone; all clones are the same account.
#[derive(Clone)]
pub struct Account {
    pub(crate) inner: Arc<AccountInner>,
}

pub(crate) struct AccountInner {
    pub(crate) budget: Arc<Inner>,
    owner: String,
    purpose: &'static str,
    share: Share,
    /// The reload that opened it or took it over last.
    generation: AtomicU64,
    // Written under the ledger's lock; atomics so that reading them takes none.
    held: AtomicUsize,
    peak: AtomicUsize,
    waits: AtomicU64,
    refusals: AtomicU64,
}

/// What an account holds, as the ledger shows it. All sizes in bytes.
#[derive(Debug, Clone)]
pub struct AccountStat {
    /// The instance, for example `http.0`.
    pub owner: String,
    /// What the bytes are for, for example `chunks`.
    pub purpose: &'static str,
    /// The account's share.
    pub share: Share,
    /// Held now.
    pub held: usize,
    /// The most ever held.
    pub peak: usize,
    /// How often somebody had to wait for room.
    pub waits: u64,
    /// How often a request for room was refused.
    pub refusals: u64,
}

/// The budget as a whole. All sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub struct BudgetStat {
    /// What the budget may hold.
    pub limit: usize,
    /// Held by all accounts.
    pub held: usize,
    /// Set aside for guarantees.
    pub guaranteed: usize,
    /// Free pages that are still resident.
    pub dirty: usize,
    /// The size of a page.
    pub page_size: usize,
    /// Waiting for room now.
    pub waiting: usize,
}

impl Budget {
    /// A budget of `limit` bytes with pages of `page_size` bytes (a power of two, at least 4096).
    ///
    /// # Errors
    /// The kernel's, when it refuses the address range.
    pub fn new(limit: usize, page_size: usize) -> std::io::Result<Budget> {
        assert!(
            page_size.is_power_of_two() && (4096..=1 << 20).contains(&page_size),
            "page size {page_size}"
        );
        let arena = Arena::reserve(limit / page_size, page_size)?;
        let state = State {
            arena,
            common: 0,
            guaranteed: 0,
            used_pages: 0,
            plain: 0,
            waiters: VecDeque::new(),
            next_waiter: 0,
            window: [0; WINDOW],
            window_at: 0,
            taken: 0,
            taken_at_last_tick: 0,
        };
        let inner = Inner {
            page_size,
            limit,
            state: Mutex::new(state),
            accounts: Mutex::new(Vec::new()),
            generation: AtomicU64::new(0),
        };
        Ok(Budget { inner: Arc::new(inner) })
    }

    /// Opens an account and sets its guarantee aside.
    ///
    /// # Errors
    /// [`Full`] when the guarantee does not fit beside what is set aside and held already.
    pub fn account(&self, owner: &str, purpose: &'static str, share: Share) -> Result<Account, Full> {
        assert!(share.guaranteed <= share.max, "account {owner} {purpose}: guarantee above maximum");
        if let Some(inherited) = self.inherit(owner, purpose, share) {
            return Ok(inherited);
        }
        {
            let mut state = self.inner.lock();
            if state.common + state.guaranteed + share.guaranteed > self.inner.limit {
                return Err(Full);
            }
            state.guaranteed += share.guaranteed;
        }
        let inner = Arc::new(AccountInner {
            budget: Arc::clone(&self.inner),
            owner: owner.to_owned(),
            purpose,
            share,
            generation: AtomicU64::new(self.inner.generation.load(Ordering::Relaxed)),
            held: AtomicUsize::new(0),
            peak: AtomicUsize::new(0),
            waits: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        });
        let mut accounts = self.inner.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.retain(|account| account.strong_count() > 0);
        accounts.push(Arc::downgrade(&inner));
        Ok(Account { inner })
    }

    /// From now on whoever opens an account takes over the one of the same owner, purpose and share that is open
    /// already: for a reload, whose new instances need nothing beside what their predecessors have.
    pub fn next_generation(&self) {
        self.inner.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// The account of an earlier generation that this would be.
    fn inherit(&self, owner: &str, purpose: &str, share: Share) -> Option<Account> {
        let generation = self.inner.generation.load(Ordering::Relaxed);
        let accounts = self.inner.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |account: &Arc<AccountInner>| {
            account.owner == owner
                && account.purpose == purpose
                && account.share == share
                && account.generation.load(Ordering::Relaxed) < generation
        };
        let inner = accounts.iter().filter_map(Weak::upgrade).find(same)?;
        inner.generation.store(generation, Ordering::Relaxed);
        drop(accounts);
        Some(Account { inner })
    }

    /// Returns pages that recent load did not use to the kernel. To be called every 100 ms: when nothing was
    /// taken since the last call all free pages go, otherwise those above the peak of the last two seconds.
    /// Returns the bytes given back.
    pub fn tick(&self) -> usize {
        let mut state = self.inner.lock();
        let at = state.window_at;
        state.window_at = (at + 1) % WINDOW;
        // The next slot gathers the peak until the next call.
        let next = state.window_at;
        state.window[next] = state.used_pages;
        let idle = state.taken == state.taken_at_last_tick;
        state.taken_at_last_tick = state.taken;
        let peak = state.window.iter().copied().max().unwrap_or(0);
        let keep = if idle { 0 } else { peak - state.used_pages };
        state.arena.purge(keep) * self.inner.page_size
    }

    /// The budget as a whole.
    pub fn stat(&self) -> BudgetStat {
        let state = self.inner.lock();
        BudgetStat {
            limit: self.inner.limit,
            held: state.used_pages * self.inner.page_size + state.plain,
            guaranteed: state.guaranteed,
            dirty: state.arena.dirty() * self.inner.page_size,
            page_size: self.inner.page_size,
            waiting: state.waiters.len(),
        }
    }

    /// Every open account, in the order of opening.
    pub fn accounts(&self) -> Vec<AccountStat> {
        let accounts = self.inner.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        accounts.iter().filter_map(Weak::upgrade).map(|account| account.stat()).collect()
    }

    /// The size of a page in bytes.
    pub fn page_size(&self) -> usize {
        self.inner.page_size
    }
}

impl Inner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is a bug that the task boundary reports; the numbers are still the
        // numbers, and refusing to account would hide them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Charges `bytes` if the account and the budget have room.
    pub(crate) fn charge(&self, state: &mut State, account: &AccountInner, bytes: usize) -> bool {
        let held = account.held.load(Ordering::Relaxed);
        let Some(after) = held.checked_add(bytes).filter(|after| *after <= account.share.max) else {
            return false;
        };
        let guaranteed = account.share.guaranteed;
        let from_common = after.saturating_sub(guaranteed) - held.saturating_sub(guaranteed);
        if state.common + from_common > self.limit - state.guaranteed {
            return false;
        }
        state.common += from_common;
        account.held.store(after, Ordering::Relaxed);
        account.peak.fetch_max(after, Ordering::Relaxed);
        true
    }

    fn pay_back(&self, state: &mut State, account: &AccountInner, bytes: usize) {
        let held = account.held.load(Ordering::Relaxed);
        assert!(bytes <= held, "{} {} pays back {bytes} of {held} bytes", account.owner, account.purpose);
        let after = held - bytes;
        let guaranteed = account.share.guaranteed;
        state.common -= held.saturating_sub(guaranteed) - after.saturating_sub(guaranteed);
        account.held.store(after, Ordering::Relaxed);
    }

    /// Makes what is charged physical: room for it is found by giving resident free pages back.
    fn settle(&self, state: &mut State) {
        let used = state.used_pages * self.page_size + state.plain;
        let room = self.limit.saturating_sub(used) / self.page_size;
        if state.arena.dirty() > room {
            state.arena.purge(room);
        }
    }

    /// Turns a charge of one page into the page.
    pub(crate) fn take_page(&self, state: &mut State) -> Option<PageId> {
        let (id, resident) = state.arena.take()?;
        state.used_pages += 1;
        state.taken += 1;
        let at = state.window_at;
        state.window[at] = state.window[at].max(state.used_pages);
        if !resident {
            self.settle(state);
        }
        Some(id)
    }

    pub(crate) fn put_page(&self, state: &mut State, address: std::ptr::NonNull<u8>) {
        let id = state.arena.id_of(address);
        state.arena.put(id);
        state.used_pages -= 1;
    }

    pub(crate) fn page_address(&self, state: &State, id: PageId) -> std::ptr::NonNull<u8> {
        state.arena.address(id)
    }

    pub(crate) fn add_plain(&self, state: &mut State, bytes: usize) {
        state.plain += bytes;
        self.settle(state);
    }

    /// Pays `bytes` back and lets those wait no longer whom that serves.
    pub(crate) fn release(
        &self,
        account: &AccountInner,
        bytes: usize,
        plain: bool,
        pages: &mut dyn FnMut(&mut State),
    ) {
        let mut state = self.lock();
        pages(&mut state);
        if plain {
            state.plain -= bytes;
        }
        self.pay_back(&mut state, account, bytes);
        let woken = crate::wait::grant(self, &mut state);
        drop(state);
        woken.into_iter().for_each(std::task::Waker::wake);
    }
}

impl State {
    /// Bytes that were plain become a page.
    pub(crate) fn unplain(&mut self, bytes: usize) {
        self.plain -= bytes;
    }
}

impl AccountInner {
    fn stat(&self) -> AccountStat {
        AccountStat {
            owner: self.owner.clone(),
            purpose: self.purpose,
            share: self.share,
            held: self.held.load(Ordering::Relaxed),
            peak: self.peak.load(Ordering::Relaxed),
            waits: self.waits.load(Ordering::Relaxed),
            refusals: self.refusals.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn count_wait(&self) {
        self.waits.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether `bytes` could be granted when nobody else held anything.
    pub(crate) fn could_ever_hold(&self, bytes: usize) -> bool {
        let reserved_by_others = self.budget.lock().guaranteed - self.share.guaranteed;
        bytes <= self.share.max && bytes <= self.budget.limit - reserved_by_others
    }

    /// Within its guarantee an account never queues behind the others.
    pub(crate) fn is_guaranteed(&self, bytes: usize) -> bool {
        self.held.load(Ordering::Relaxed) + bytes <= self.share.guaranteed
    }

    pub(crate) fn at_own_maximum(&self, bytes: usize) -> bool {
        self.held.load(Ordering::Relaxed).saturating_add(bytes) > self.share.max
    }
}

impl Drop for AccountInner {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        debug_assert_eq!(
            self.held.load(Ordering::Relaxed),
            0,
            "{} {} closed while held",
            self.owner,
            self.purpose
        );
        state.guaranteed -= self.share.guaranteed;
        let woken = crate::wait::grant(&self.budget, &mut state);
        drop(state);
        woken.into_iter().for_each(std::task::Waker::wake);
    }
}

impl Account {
    /// Charges `bytes` now.
    ///
    /// # Errors
    /// [`Full`] when there is no room, or others wait for it already.
    pub fn try_lease(&self, bytes: usize) -> Result<Lease, Full> {
        let mut state = self.inner.budget.lock();
        self.try_charge(&mut state, bytes)?;
        self.inner.budget.add_plain(&mut state, bytes);
        Ok(Lease { account: self.clone(), bytes })
    }

    /// Charges `bytes` as soon as there is room: first come, first served.
    pub fn lease(&self, bytes: usize) -> Acquire {
        Acquire::new(self.clone(), bytes)
    }

    pub(crate) fn try_charge(&self, state: &mut State, bytes: usize) -> Result<(), Full> {
        // Who waits for common room goes first; a guarantee is not common room.
        let queue = state.waiters.iter().any(Waiter::waits_for_common);
        if (queue && !self.inner.is_guaranteed(bytes)) || !self.inner.budget.charge(state, &self.inner, bytes)
        {
            self.inner.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(Full);
        }
        Ok(())
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.inner.held.load(Ordering::Relaxed)
    }

    /// What the account may hold.
    pub fn share(&self) -> Share {
        self.inner.share
    }

    /// The size of a page in bytes.
    pub fn page_size(&self) -> usize {
        self.inner.budget.page_size
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}: {} bytes", self.inner.owner, self.inner.purpose, self.held())
    }
}

/// Bytes charged to an account, paid back on drop. Free the memory before its lease.
#[derive(Debug)]
pub struct Lease {
    pub(crate) account: Account,
    pub(crate) bytes: usize,
}

impl Lease {
    /// The bytes charged.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Pays back what is above `bytes`.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.bytes {
            let surplus = self.bytes - bytes;
            self.bytes = bytes;
            let account = &self.account.inner;
            account.budget.release(account, surplus, true, &mut |_| ());
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
