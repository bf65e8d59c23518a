//! The general allocator. It holds small things only: payload lives in the ledger's pages.
//!
//! One arena, no huge pages, and caches per thread for objects of up to 4 KiB, which is what a request takes
//! and gives back (measured: without them a fifth of the instructions of a small request). Freed pages stay resident for [`DECAY_MS`], because a
//! request frees what the next one takes: returned at once they cost a system call and a page fault for each
//! request (measured: 20,000 of 60,000 small requests per second). jemalloc looks at the clock only when it is
//! called, so [`settle`] does it for an agent at rest.

use std::ffi::{CStr, c_char};
use std::time::Duration;

use tikv_jemalloc_sys::mallctl;

#[cfg(not(feature = "system-allocator"))]
#[global_allocator]
static HEAP: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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

/// Returns freed pages whose time is over, for ever.
pub async fn settle() {
    let mut timer = tokio::time::interval(Duration::from_millis(DECAY_MS as u64));
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        // SAFETY: the name ends with a zero byte, and this control takes and gives nothing.
        unsafe {
            let nothing = std::ptr::null_mut();
            mallctl(c"arena.0.decay".as_ptr(), nothing, std::ptr::null_mut(), nothing, 0);
        }
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
