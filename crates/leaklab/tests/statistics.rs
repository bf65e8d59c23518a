//! How often the judge is right about captures whose truth is known.

#![allow(
    clippy::unwrap_used,
    reason = "a test panics on failure, also outside of the functions marked as tests"
)]

use leaklab::lab::judge::Verdict;
use leaklab::lab::synthetic::{CLASSES, Class, tally};

/// Captures of each class; `cargo x zoo --synthetic` judges 1,000.
const COUNT: u64 = 200;

#[test]
fn of_every_class_nineteen_in_twenty_are_judged_right_and_nothing_clean_is_called_a_leak() {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        while let Some(class) = CLASSES.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            check(*class);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
    });
}

fn check(class: Class) {
    let tally = tally(class, COUNT);
    let right: u32 = tally.iter().filter(|(found, _)| *found == class.truth()).map(|(_, times)| times).sum();
    assert!(u64::from(right) * 100 >= COUNT * 95, "{class:?}: {right} of {COUNT} right: {tally:?}");
    let grows = |verdict: Verdict| !matches!(verdict, Verdict::Clean | Verdict::Inconclusive);
    let called_a_leak = tally.iter().any(|((verdict, _), _)| grows(*verdict));
    assert!(class != Class::Clean || !called_a_leak, "{tally:?}");
}
