//! The general allocator. It holds small things only: payload lives in the ledger's pages.
//!
//! One arena, no huge pages, and caches per thread for objects of up to 4 KiB, which is what a request takes
//! and gives back (measured: without them a fifth of the instructions of a small request). Freed pages stay resident for [`DECAY_MS`], because a
//! request frees what the next one takes: returned at once they cost a system call and a page fault for each
//! request (measured: 20,000 of 60,000 small requests per second). jemalloc looks at the clock only when it is
//! called, so [`settle`] does it for an agent at rest.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::time::Duration;

use tikv_jemalloc_sys::mallctl;

#[cfg(not(feature = "system-allocator"))]
type Allocator = tikv_jemallocator::Jemalloc;
#[cfg(not(feature = "system-allocator"))]
const ALLOCATOR: Allocator = tikv_jemallocator::Jemalloc;
#[cfg(feature = "system-allocator")]
type Allocator = std::alloc::System;
#[cfg(feature = "system-allocator")]
const ALLOCATOR: Allocator = std::alloc::System;

#[global_allocator]
static HEAP: Watched = Watched(ALLOCATOR);

/// After so many bytes that a thread was given, the ledger is told to weigh the heap before it grants more.
const LOOK: usize = 32 << 10;

/// The allocator, with an eye on what threads are given.
struct Watched(Allocator);

thread_local! {
    /// What this thread was given since the ledger was told.
    static GIVEN: Cell<usize> = const { Cell::new(0) };
}

impl Watched {
    #[inline]
    fn given(bytes: usize) {
        // A thread that ends has no counter any more, and little to take.
        let _gone = GIVEN.try_with(|given| {
            let sum = given.get() + bytes;
            given.set(if sum < LOOK { sum } else { 0 });
            if sum >= LOOK {
                budget::heap_grew();
            }
        });
    }
}

// SAFETY: everything is passed on to the allocator as it came; what is counted allocates nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Watched::given(layout.size());
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Watched::given(layout.size());
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Watched::given(size.saturating_sub(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(memory, layout, size) }
    }
}

/// How long freed pages stay resident, in milliseconds.
const DECAY_MS: isize = 500;

/// A `const char *`.
#[repr(transparent)]
pub struct Text(*const c_char);

// SAFETY: it points to a constant.
unsafe impl Sync for Text {}

/// Read by jemalloc before the first allocation; environment variables come too late to be relied on.
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static OPTIONS: Text = Text(
    c"narenas:1,dirty_decay_ms:500,muzzy_decay_ms:0,tcache:true,lg_tcache_max:12,thp:never,background_thread:false".as_ptr(),
);

/// Whether the settings above are in force, as one line for the log.
///
/// # Errors
/// Which one is not: the memory limit was measured with them.
pub fn verify() -> Result<String, String> {
    if cfg!(feature = "system-allocator") {
        return Ok("the system's allocator: the memory limit was not measured with it".to_owned());
    }
    let expect = |name: &CStr, is: Option<isize>, expected: isize| match is {
        Some(is) if is == expected => Ok(()),
        is => Err(format!("the allocator's {} is {is:?}, not {expected}", name.to_string_lossy())),
    };
    expect(c"opt.narenas", read::<u32>(c"opt.narenas").map(|n| n as isize), 1)?;
    expect(c"opt.dirty_decay_ms", read::<isize>(c"opt.dirty_decay_ms"), DECAY_MS)?;
    expect(c"opt.muzzy_decay_ms", read::<isize>(c"opt.muzzy_decay_ms"), 0)?;
    expect(c"opt.tcache", read::<bool>(c"opt.tcache").map(isize::from), 1)?;
    Ok(format!("jemalloc, one arena, small caches, freed pages return after {DECAY_MS} ms"))
}

/// Gives back every freed page now, whatever its time: when there is no room in the ledger for what is kept.
pub fn reclaim() {
    control(c"arena.0.purge");
}

/// A control that takes and gives nothing.
fn control(name: &CStr) {
    // SAFETY: the name ends with a zero byte, and nothing is read or written.
    unsafe {
        let nothing = std::ptr::null_mut();
        mallctl(name.as_ptr(), nothing, std::ptr::null_mut(), nothing, 0);
    }
}

/// Returns freed pages whose time is over, for ever.
pub async fn settle() {
    let mut timer = tokio::time::interval(Duration::from_millis(DECAY_MS as u64));
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        control(c"arena.0.decay");
    }
}

/// A setting of the allocator; `T` is the type that its documentation names.
fn read<T: Copy + Default>(name: &CStr) -> Option<T> {
    let mut value = T::default();
    let mut size = size_of::<T>();
    // SAFETY: the name ends with a zero byte, and the value has the size that is said; jemalloc refuses another.
    let status =
        unsafe { mallctl(name.as_ptr(), (&raw mut value).cast(), &raw mut size, std::ptr::null_mut(), 0) };
    (status == 0).then_some(value)
}
