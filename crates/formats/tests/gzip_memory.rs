//! What an encoder holds, counted at the allocator.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use budget::{Budget, Buf, Share};
use formats::gzip::Encoder;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The only test of this binary, so nothing else allocates meanwhile.
#[test]
fn an_encoder_of_any_level_holds_no_more_than_it_says() {
    let account = Budget::new(8 << 20, 64 << 10).unwrap().account("http.0", "encode", Share::COMMON).unwrap();
    let body: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let mut most = 0;
    for level in 0..=9 {
        let mut out = Buf::new(&account);
        out.grow().unwrap();
        let before = HELD.load(Ordering::Relaxed);
        PEAK.store(before, Ordering::Relaxed);
        let mut encoder = Encoder::new(level);
        encoder.write(&mut body.as_slice(), &mut out).unwrap();
        encoder.finish(&mut out).unwrap();
        let held = PEAK.load(Ordering::Relaxed) - before;
        println!("level {level}: {held} bytes");
        most = most.max(held);
    }
    assert!(most <= Encoder::HELD, "{most} bytes held, {} said", Encoder::HELD);
    assert!(most > Encoder::HELD * 9 / 10, "{} bytes said, only {most} held", Encoder::HELD);
}
