//! The general heap, weighed.
//!
//! Small objects live on the heap, and an allocator keeps more than it was asked for: by up to three and a half
//! times under fragmentation. So what they cost is not computed from their sizes but measured: everything of the
//! process that became resident since the budget was divided, is no page of the arena and is not paid for by a
//! lease. Code that load touches for the first time and stacks that grow are in it too.
//!
//! It is weighed on every [`Budget::tick`], and in between whenever an allocator says through [`heap_grew`] that it
//! has handed out another 32 KiB: before the ledger grants anything more. That look counts pages in use as wholly
//! touched, so it sees less than there is, and never lowers what the exact one has found.
//!
//! [`Budget::tick`]: crate::Budget::tick

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ledger::{AccountStat, Inner, Share, State};

/// The heap's share grows and shrinks by so many bytes.
const STEP: usize = 256 << 10;
/// It shrinks when so many steps are to spare.
const SPARE: usize = 3;
/// The unit of residence.
const KERNEL_PAGE: usize = 4096;
/// How many pages of the kernel are looked at by one call.
const LOOK: usize = 4096;

/// Whether an allocator has handed out some more since the heap was weighed last.
static GREW: AtomicBool = AtomicBool::new(false);

/// To be called by the process' allocator after each 32 KiB or so that a thread was given.
pub fn heap_grew() {
    GREW.store(true, Ordering::Relaxed);
}

/// How the heap of this process is weighed.
#[derive(Debug, Clone, Copy)]
pub struct Weighed {
    /// What the process had resident when the budget was divided, pages of the arena left out.
    pub fixed: usize,
    /// Gives back what the allocator keeps for later. Called when there is no room, with the ledger locked.
    pub reclaim: fn(),
}

#[derive(Debug)]
pub(crate) struct Heap {
    pub(crate) share: Share,
    pub(crate) held: usize,
    peak: usize,
    /// The most that a look has found beyond what was booked: what came between two looks.
    pub(crate) beyond: usize,
    /// How often it held more than there was room for.
    short: u64,
    weighed: Weighed,
    /// What the last exact look found.
    exact: usize,
    /// Whether the allocator gave back what it could since then.
    reclaimed: bool,
    statm: Option<File>,
}

impl Heap {
    pub(crate) fn new(share: Share, weighed: Weighed) -> Heap {
        // Opened at the first look: the process may go into the background, as another one, before.
        Heap {
            share,
            held: 0,
            peak: 0,
            beyond: 0,
            short: 0,
            weighed,
            exact: 0,
            reclaimed: false,
            statm: None,
        }
    }

    /// Books what it was found to hold.
    pub(crate) fn book(&mut self, held: usize) {
        self.held = held;
        self.peak = self.peak.max(held);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.held > self.share.max
    }

    pub(crate) fn stat(&self) -> AccountStat {
        AccountStat {
            owner: "process".to_owned(),
            purpose: "heap",
            share: self.share,
            held: self.held,
            peak: self.peak,
            waits: 0,
            refusals: self.short,
        }
    }

    /// What is resident beside what the process began with.
    fn resident(&mut self) -> Option<usize> {
        if self.statm.is_none() {
            self.statm = File::open("/proc/self/statm").ok();
        }
        Some(read(self.statm.as_ref()?)?.saturating_sub(self.weighed.fixed))
    }

    /// The steps that pay for `bytes`.
    fn steps(&self, bytes: usize) -> usize {
        let need = bytes.next_multiple_of(STEP);
        if need > self.held || self.held - need > SPARE * STEP { need } else { self.held }
    }
}

/// What the process has resident, in bytes; `None` when the kernel does not say.
pub fn resident() -> Option<usize> {
    read(&File::open("/proc/self/statm").ok()?)
}

/// A microsecond, and no allocation.
fn read(statm: &File) -> Option<usize> {
    let mut text = [0_u8; 128];
    // SAFETY: the descriptor is open as long as the file, and the buffer is as long as said.
    let read = unsafe { libc::pread(statm.as_raw_fd(), text.as_mut_ptr().cast(), text.len(), 0) };
    let text = text.get(..usize::try_from(read).ok()?)?;
    let field = text.split(|byte| *byte == b' ').nth(1)?;
    let digits = field.iter().map(|byte| usize::from(byte.wrapping_sub(b'0')));
    Some(digits.fold(0, |number, digit| number * 10 + digit) * KERNEL_PAGE)
}

/// Weighs if the allocator said so. Quick: it looks at no pages.
#[inline]
pub(crate) fn weigh_if_grown(budget: &Inner, state: &mut State) {
    if state.heap.is_some() && GREW.load(Ordering::Relaxed) {
        weigh_quickly(budget, state);
    }
}

#[cold]
fn weigh_quickly(budget: &Inner, state: &mut State) {
    GREW.store(false, Ordering::Relaxed);
    let arena = resident_pages(budget, state);
    book(budget, state, arena);
}

/// Weighs with a look at every page that was ever used: to be called ten times a second.
pub(crate) fn weigh_exactly(budget: &Inner) {
    let (extent, before) = {
        let state = budget.lock();
        if state.heap.is_none() {
            return;
        }
        (state.arena.extent(), resident_pages(budget, &state))
    };
    // Without the lock: what is taken meanwhile is added, what goes meanwhile is seen by the next look.
    let touched = touched(extent.0, extent.1);
    let mut state = budget.lock();
    let taken = resident_pages(budget, &state).saturating_sub(before);
    if let Some(heap) = &mut state.heap {
        (heap.exact, heap.reclaimed) = (0, false);
    }
    let beyond = book(budget, &mut state, touched + taken);
    if let Some(heap) = &mut state.heap {
        heap.exact = beyond;
    }
}

/// Pages in use and pages that are free and still there, as if each were touched to its end.
fn resident_pages(budget: &Inner, state: &State) -> usize {
    (state.used_pages + state.arena.dirty()) * budget.page_size
}

/// Books what is resident beside `arena` and beside what leases pay for. Returns how much that is.
fn book(budget: &Inner, state: &mut State, arena: usize) -> usize {
    let mut found = 0;
    for last in [false, true] {
        let plain = state.plain;
        let Some(heap) = &mut state.heap else { return 0 };
        let Some(resident) = heap.resident() else { return 0 };
        found = resident.saturating_sub(arena).saturating_sub(plain).max(heap.exact);
        // What is set aside is there for it, booked or not.
        heap.beyond = heap.beyond.max(found.saturating_sub(heap.held.max(heap.share.guaranteed)));
        let steps = heap.steps(found);
        if state.book_heap(steps) {
            break;
        }
        let Some(heap) = &mut state.heap else { return 0 };
        if last || heap.reclaimed {
            heap.short += 1;
            break;
        }
        // There is no room for what is there already: whatever the allocator can give back goes, once a look.
        heap.reclaimed = true;
        (heap.weighed.reclaim)();
    }
    budget.settle(state);
    found
}

/// Resident bytes of a range.
fn touched(base: usize, len: usize) -> usize {
    let mut bits = [0_u8; LOOK];
    let mut count = 0;
    for at in (0..len).step_by(LOOK * KERNEL_PAGE) {
        let size = (len - at).min(LOOK * KERNEL_PAGE);
        // SAFETY: the range is the arena's, which is mapped as long as the budget lives, and there is a byte for
        // each of its pages.
        if unsafe { libc::mincore((base + at) as *mut libc::c_void, size, bits.as_mut_ptr()) } == 0 {
            count += bits[..size.div_ceil(KERNEL_PAGE)].iter().filter(|bit| **bit & 1 == 1).count();
        }
    }
    count * KERNEL_PAGE
}
