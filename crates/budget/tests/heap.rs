//! The heap's share. A test binary of its own, because what is weighed is the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use budget::{Budget, Buf, Division, Share, Weighed, resident};

const MB: usize = 1 << 20;

#[test]
fn what_the_process_holds_beside_pages_and_leases_is_charged_to_its_heap() {
    let budget = Budget::new(128 * MB, 65_536).unwrap();
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let weighed = Weighed { fixed: resident().unwrap(), reclaim: || () };
    let heap = Share { guaranteed: 2 * MB, max: 16 * MB };
    budget.divide(Division { limit: 128 * MB, reserve: 4 * MB, heap, weighed: Some(weighed) }).unwrap();
    budget.tick();
    assert!(budget.stat().heap <= MB, "nothing was taken yet: {:?}", budget.stat());

    // Pages in use are the arena's, however far they are filled.
    let mut buf = Buf::new(&account);
    buf.write(&vec![7; 16 * MB + 100]).unwrap();
    for _ in 0..64 {
        buf.grow().unwrap();
    }
    budget.tick();
    assert!(budget.stat().heap <= 2 * MB, "pages are not the heap's: {:?}", budget.stat());

    // What is leased is paid for; what is not is the heap's.
    let leased = account.try_lease(8 * MB).unwrap();
    let paid = vec![1_u8; 8 * MB];
    budget.tick();
    assert!(budget.stat().heap <= 2 * MB, "{:?}", budget.stat());
    // So large that it is a mapping of its own, which goes when it is dropped.
    let unpaid = vec![1_u8; 40 * MB];
    budget::heap_grew();
    assert!(account.try_lease(70 * MB).is_err(), "the room is taken by what nobody leased");
    let quick = budget.stat().heap;
    assert!(quick >= 32 * MB, "a quick look takes 64 empty pages for full ones: {quick}");
    budget.tick();
    let stat = budget.stat();
    assert!(stat.heap >= 40 * MB - 4096 && stat.heap < 44 * MB, "{stat:?}");
    assert!(budget.heap_is_full(), "40 MB are more than the 16 that it should stay below");
    let account_of_heap = budget.accounts().into_iter().find(|a| a.purpose == "heap").unwrap();
    assert_eq!(account_of_heap.held, stat.heap);

    drop(std::hint::black_box(unpaid));
    budget.tick();
    assert!(budget.stat().heap <= 3 * MB, "{:?}", budget.stat());
    assert!(account.try_lease(70 * MB).is_ok());
    assert!(!budget.heap_is_full());
    drop((std::hint::black_box(paid), leased));
}
