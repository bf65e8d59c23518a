//! What a decoder holds, counted at the allocator.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use budget::Account;
use common::compressed::{all, inflate_account};
use formats::inflate::{Decoder, Encoding, Step};

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

/// The most that was held, and the most that was leased.
fn peak(encoding: Encoding, body: &[u8], account: &Account) -> (usize, usize) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let mut decoder = Decoder::new(encoding);
    let mut leased = 0;
    for mut piece in body.chunks(1500) {
        loop {
            match decoder.feed(&mut piece).unwrap() {
                Step::NeedInput => break,
                Step::Output => {}
                Step::Lease(bytes) => {
                    decoder.prepay(account.try_lease(bytes).unwrap());
                    leased = leased.max(account.held());
                }
            }
        }
    }
    decoder.finish().unwrap();
    (PEAK.load(Ordering::Relaxed) - before, leased)
}

/// The only test of this binary, so nothing else allocates meanwhile. A decoder itself is some hundred bytes.
#[test]
fn a_decoder_holds_no_more_than_it_asked_for() {
    let account = inflate_account();
    let text: Vec<u8> = (0..400_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let mut most_of_flate = 0;
    for (name, encoding, body) in all(&text) {
        let (held, leased) = peak(encoding, &body, &account);
        println!("{name}: {held} bytes held, {leased} leased");
        assert!(held <= leased + 600, "{name}: {held} bytes held, {leased} leased");
        if matches!(encoding, Encoding::Gzip | Encoding::Deflate) {
            most_of_flate = most_of_flate.max(held);
        } else {
            assert!(leased <= held, "{name}: {leased} bytes leased, only {held} held");
        }
    }
    assert!(most_of_flate > formats::inflate::FLATE * 8 / 10, "only {most_of_flate} held");
    assert_eq!(account.held(), 0);
}
