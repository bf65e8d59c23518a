//! Budget, accounts and leases.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::arena::{Arena, PageId};
use crate::heap::{self, Heap};
use crate::pressure::Pressure;
use crate::wait::{Acquire, Waiter};
use crate::{Full, Weighed};

/// How many calls of [`Budget::tick`] a peak of use keeps its pages resident for.
const WINDOW: usize = 20;

/// The bytes a process may spend on load. Cheap to clone; all clones are the same budget.
#[derive(Clone)]
pub struct Budget {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) page_size: usize,
    /// What it was made with.
    size: usize,
    state: Mutex<State>,
    accounts: Mutex<Vec<Weak<AccountInner>>>,
    /// Counts reloads.
    generation: AtomicU64,
    /// The ticket that was given out last.
    tickets: AtomicU64,
    /// How many wait, for those who only want to know whether somebody does.
    pub(crate) waiting: AtomicUsize,
}

pub(crate) struct State {
    pub(crate) arena: Arena,
    limit: usize,
    /// Common room that only the oldest unfinished piece of work may draw on.
    reserve: usize,
    /// The ticket of the one that draws on it.
    pub(crate) finisher: Option<u64>,
    pub(crate) heap: Option<Heap>,
    /// Bytes held beyond guarantees, by all accounts.
    common: usize,
    /// The sum of all guarantees.
    guaranteed: usize,
    pub(crate) used_pages: usize,
    /// Bytes held that are not pages.
    pub(crate) plain: usize,
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
    /// On whose behalf it is used; 0 is nobody's.
    pub(crate) ticket: u64,
}

/// A piece of work that takes room step by step and hands all of it on when it is complete, as a request does. Of
/// all those that wait for room, the oldest may draw on the budget's reserve until its ticket is dropped. So one
/// of them always completes, and no two wait for each other for ever.
#[derive(Debug)]
pub struct Ticket {
    account: Account,
}

/// How a budget is divided when everything is open: see [`Budget::divide`].
#[derive(Debug, Clone, Copy)]
pub struct Division {
    /// What the budget may hold: not more than what it was made with.
    pub limit: usize,
    /// Common room for the oldest unfinished piece of work.
    pub reserve: usize,
    /// What the general heap has set aside, and what it should stay below.
    pub heap: Share,
    /// How the heap is weighed; without it, it is not.
    pub weighed: Option<Weighed>,
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
    /// What it was made with: it never changes, so parts of it are the same after a reload.
    pub size: usize,
    /// What the budget may hold.
    pub limit: usize,
    /// Held by all accounts.
    pub held: usize,
    /// Of that what is not pages: what leases pay for outside the arena.
    pub plain: usize,
    /// Set aside for guarantees.
    pub guaranteed: usize,
    /// Held beyond guarantees.
    pub common: usize,
    /// Common room for the oldest unfinished piece of work.
    pub reserve: usize,
    /// What the general heap holds beyond what is leased, as it was last weighed.
    pub heap: usize,
    /// The most that came to the general heap between two looks, beyond what was booked and set aside for it.
    pub beyond: usize,
    /// Free pages that are still resident.
    pub dirty: usize,
    /// The size of a page.
    pub page_size: usize,
    /// Waiting for room now.
    pub waiting: usize,
    /// How full it is.
    pub pressure: Pressure,
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
            limit,
            reserve: 0,
            finisher: None,
            heap: None,
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
            size: limit,
            state: Mutex::new(state),
            accounts: Mutex::new(Vec::new()),
            generation: AtomicU64::new(0),
            tickets: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
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
            if state.common + state.guaranteed + state.reserve + share.guaranteed > state.limit {
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
        Ok(Account { inner, ticket: 0 })
    }

    /// Divides the budget anew. To be called when all accounts are open and before there is load, and again when
    /// others have taken their place; the heap then keeps what it has.
    ///
    /// # Errors
    /// How many bytes are missing for what is set aside.
    pub fn divide(&self, division: Division) -> Result<(), usize> {
        let mut state = self.inner.lock();
        let heap = if state.heap.is_some() { 0 } else { division.heap.guaranteed };
        let aside = state.guaranteed + heap + division.reserve;
        if let Some(missing) =
            (aside + state.common).checked_sub(division.limit).filter(|missing| *missing > 0)
        {
            return Err(missing);
        }
        state.limit = state.limit.min(division.limit);
        state.reserve = division.reserve;
        if state.heap.is_none()
            && let Some(weighed) = division.weighed
        {
            state.guaranteed += division.heap.guaranteed;
            state.heap = Some(Heap::new(division.heap, weighed));
        }
        Ok(())
    }

    /// Whether the general heap holds more than it should: then nothing that lives there is begun.
    pub fn heap_is_full(&self) -> bool {
        self.inner.lock().heap.as_ref().is_some_and(Heap::is_full)
    }

    /// How full the budget is.
    pub fn pressure(&self) -> Pressure {
        self.inner.lock().pressure()
    }

    /// Weighs the general heap against every page of the arena, as the kernel sees them.
    pub fn weigh(&self) {
        heap::weigh_exactly(&self.inner);
    }

    /// From now on whoever opens an account takes over the one of the same owner, purpose and share that is open
    /// already: for a reload, whose new instances need nothing beside what their predecessors have.
    pub fn next_generation(&self) {
        self.inner.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// How many generations there were before this one.
    pub fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Relaxed)
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
        Some(Account { inner, ticket: 0 })
    }

    /// Returns pages that recent load did not use to the kernel. To be called every 100 ms: when nothing was
    /// taken since the last call all free pages go, otherwise those above the peak of the last two seconds.
    /// Also weighs the general heap. Returns the bytes given back.
    pub fn tick(&self) -> usize {
        self.weigh();
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
        let heap = state.heap.as_ref().map_or(0, |heap| heap.held);
        BudgetStat {
            size: self.inner.size,
            limit: state.limit,
            held: state.used_pages * self.inner.page_size + state.plain + heap,
            plain: state.plain,
            guaranteed: state.guaranteed,
            common: state.common,
            reserve: state.reserve,
            heap,
            beyond: state.heap.as_ref().map_or(0, |heap| heap.beyond),
            dirty: state.arena.dirty() * self.inner.page_size,
            page_size: self.inner.page_size,
            waiting: state.waiters.len(),
            pressure: state.pressure(),
        }
    }

    /// Every open account, in the order of opening.
    pub fn accounts(&self) -> Vec<AccountStat> {
        let heap = self.inner.lock().heap.as_ref().map(Heap::stat);
        let accounts = self.inner.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        heap.into_iter().chain(accounts.iter().filter_map(Weak::upgrade).map(|a| a.stat())).collect()
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

    /// Charges `bytes` if the account and the budget have room; `reserve` is the common room that is not for
    /// the asking one.
    pub(crate) fn charge(
        &self,
        state: &mut State,
        account: &AccountInner,
        bytes: usize,
        reserve: usize,
    ) -> bool {
        let held = account.held.load(Ordering::Relaxed);
        let Some(after) = held.checked_add(bytes).filter(|after| *after <= account.share.max) else {
            return false;
        };
        let guaranteed = account.share.guaranteed;
        let from_common = after.saturating_sub(guaranteed) - held.saturating_sub(guaranteed);
        // Within its guarantee an account always has room, also when the heap has taken more than there is.
        if from_common > 0 && state.common + from_common + state.guaranteed + reserve > state.limit {
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
    pub(crate) fn settle(&self, state: &mut State) {
        let heap = state.heap.as_ref().map_or(0, |heap| heap.held);
        let used = state.used_pages * self.page_size + state.plain + heap;
        let room = state.limit.saturating_sub(used) / self.page_size;
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

    /// What is common to all accounts, and how much of it is held.
    fn common_room(&self) -> (usize, usize) {
        (self.limit.saturating_sub(self.guaranteed + self.reserve), self.common)
    }

    fn pressure(&self) -> Pressure {
        let (room, held) = self.common_room();
        Pressure::of(held, room, self.waiters.iter().any(Waiter::waits_for_common))
    }

    /// Common room that is not for the one with this ticket.
    fn reserve_against(&self, ticket: u64) -> usize {
        if self.finisher == Some(ticket) { 0 } else { self.reserve }
    }

    pub(crate) fn reserve(&self) -> usize {
        self.reserve
    }

    /// Books what the heap was found to hold, whether there is room for it or not: it is there. Returns whether
    /// there was.
    pub(crate) fn book_heap(&mut self, held: usize) -> bool {
        let Some(heap) = &mut self.heap else { return true };
        let guaranteed = heap.share.guaranteed;
        let (before, after) = (heap.held.saturating_sub(guaranteed), held.saturating_sub(guaranteed));
        heap.book(held);
        self.common = self.common - before + after;
        self.common + self.guaranteed <= self.limit
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

    /// What could be granted when nobody else held anything.
    pub(crate) fn most(&self, ticket: u64) -> usize {
        let state = self.budget.lock();
        // Who has a ticket may draw on the reserve.
        let reserve = if ticket == 0 { state.reserve } else { 0 };
        let reserved_by_others = state.guaranteed + reserve - self.share.guaranteed;
        self.share.max.min(state.limit.saturating_sub(reserved_by_others))
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
        heap::weigh_if_grown(&self.inner.budget, state);
        let queue = state.waiters.iter().any(Waiter::waits_for_common);
        let reserve = state.reserve_against(self.ticket);
        let may = !queue || reserve < state.reserve || self.inner.is_guaranteed(bytes);
        if !may || !self.inner.budget.charge(state, &self.inner, bytes, reserve) {
            self.inner.refusals.fetch_add(1, Ordering::Relaxed);
            return Err(Full);
        }
        Ok(())
    }

    /// A ticket for a piece of work that begins now.
    pub fn ticket(&self) -> Ticket {
        let id = self.inner.budget.tickets.fetch_add(1, Ordering::Relaxed) + 1;
        Ticket { account: Account { inner: Arc::clone(&self.inner), ticket: id } }
    }

    /// The same account on behalf of the one that `other` is used on behalf of.
    pub fn on_behalf_of(&self, other: &Account) -> Account {
        Account { inner: Arc::clone(&self.inner), ticket: other.ticket }
    }

    /// Whether somebody waits for room. Only a hint: it takes no lock.
    pub fn is_waited_for(&self) -> bool {
        self.inner.budget.waiting.load(Ordering::Relaxed) > 0
    }

    /// The budget that the account is part of.
    pub fn budget(&self) -> Budget {
        Budget { inner: Arc::clone(&self.inner.budget) }
    }

    /// Whether something may begin that holds `bytes`: within the guarantee always, beyond it only while there is
    /// more than what those need who have begun.
    pub fn admits(&self, bytes: usize) -> bool {
        if self.inner.is_guaranteed(bytes) {
            return true;
        }
        let mut state = self.inner.budget.lock();
        heap::weigh_if_grown(&self.inner.budget, &mut state);
        let heap_is_full = state.heap.as_ref().is_some_and(Heap::is_full);
        !heap_is_full && state.pressure() < Pressure::Close
    }

    /// Bytes held now.
    pub fn held(&self) -> usize {
        self.inner.held.load(Ordering::Relaxed)
    }

    /// The most that it could hold when no other account held anything: what needs more never fits.
    pub fn most(&self) -> usize {
        self.inner.most(self.ticket)
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

impl Ticket {
    /// The account, on behalf of the work.
    pub fn account(&self) -> &Account {
        &self.account
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let budget = &self.account.inner.budget;
        let mut state = budget.lock();
        if state.finisher != Some(self.account.ticket) {
            return;
        }
        state.finisher = None;
        let woken = crate::wait::grant(budget, &mut state);
        drop(state);
        woken.into_iter().for_each(std::task::Waker::wake);
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
