//! What the ledger guarantees.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use budget::{Budget, Buf, Division, Full, Mark, Share};
use proptest::prelude::*;

const PAGE: usize = 4096;

fn budget(pages: usize) -> Budget {
    Budget::new(pages * PAGE, PAGE).unwrap()
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_held_beyond_the_limit() {
    let budget = budget(4);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut buf = Buf::new(&account);
    for _ in 0..4 {
        buf.grow().unwrap();
    }
    assert_eq!(buf.grow(), Err(Full));
    assert!(account.try_lease(1).is_err());
    drop(buf);
    assert_eq!((account.held(), budget.stat().held), (0, 0));
    assert!(account.try_lease(4 * PAGE).is_ok());
}

#[test]
fn a_guarantee_can_be_drawn_when_the_others_hold_everything_else() {
    let budget = budget(4);
    let egress = budget.account("kusto.0", "encode", Share::fixed(2 * PAGE)).unwrap();
    let ingress = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let all = ingress.try_lease(2 * PAGE).unwrap();
    assert!(ingress.try_lease(1).is_err(), "the guarantee is not common room");
    let held = egress.try_lease(2 * PAGE).unwrap();
    assert!(egress.try_lease(1).is_err(), "fixed means: never more");
    drop((all, held));
    assert!(
        budget.account("other", "x", Share::fixed(3 * PAGE)).is_err(),
        "a guarantee that does not fit is refused"
    );
}

#[test]
fn a_closed_account_returns_its_guarantee() {
    let budget = budget(2);
    drop(budget.account("a", "x", Share::fixed(2 * PAGE)).unwrap());
    assert!(budget.account("b", "x", Share::fixed(2 * PAGE)).is_ok());
    assert_eq!(budget.accounts().len(), 0, "closed accounts leave the list");
}

#[test]
fn waiters_are_served_in_order_and_a_large_one_is_not_starved() {
    let budget = budget(4);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let first = account.try_lease(3 * PAGE).unwrap();
    let woken = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    let mut large = pin!(account.lease(4 * PAGE));
    assert!(large.as_mut().poll(&mut context).is_pending());
    assert!(account.try_lease(PAGE).is_err(), "who comes later does not overtake");
    drop(first);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    let Poll::Ready(Ok(lease)) = large.as_mut().poll(&mut context) else { panic!("granted") };
    assert_eq!(lease.bytes(), 4 * PAGE);
}

#[test]
fn an_account_at_its_own_maximum_does_not_hold_up_others() {
    let budget = budget(4);
    let small = budget.account("http.0", "chunks", Share::at_most(PAGE)).unwrap();
    let other = budget.account("http.1", "chunks", Share::COMMON).unwrap();
    let held = small.try_lease(PAGE).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut wait = pin!(small.lease(PAGE));
    assert!(wait.as_mut().poll(&mut context).is_pending());
    assert!(other.try_lease(PAGE).is_ok());
    drop(held);
    assert!(wait.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_wait_given_up_pays_back_what_was_granted_and_lets_the_next_one_in() {
    let budget = budget(2);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let held = account.try_lease(2 * PAGE).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut first = Box::pin(account.lease(2 * PAGE));
    let mut second = Box::pin(account.lease(PAGE));
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(held); // grants the first
    drop(first);
    assert!(second.as_mut().poll(&mut context).is_ready());
    drop(second);
    assert_eq!((account.held(), budget.stat().waiting), (0, 0));
}

#[test]
fn a_page_that_was_waited_for_is_not_lost_to_another_waiter() {
    let budget = budget(1);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let held = account.try_lease(PAGE).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut first = Box::pin(account.lease(PAGE));
    let mut second = Box::pin(account.lease(PAGE));
    assert!(first.as_mut().poll(&mut context).is_pending());
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(held);
    let Poll::Ready(Ok(lease)) = first.as_mut().poll(&mut context) else { panic!("granted") };
    let mut buf = Buf::new(&account);
    buf.prepay(lease);
    assert_eq!(buf.grow(), Ok(()), "the page is there though another waits");
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(buf);
    assert!(second.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_lease_that_can_never_fit_is_refused_at_once() {
    let budget = budget(2);
    let _egress = budget.account("kusto.0", "encode", Share::fixed(PAGE)).unwrap();
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut wait = pin!(account.lease(2 * PAGE));
    assert!(matches!(wait.as_mut().poll(&mut context), Poll::Ready(Err(Full))));
}

#[test]
fn free_pages_stay_while_busy_and_go_when_idle() {
    let budget = budget(64);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut buf = Buf::new(&account);
    buf.write(&vec![7; 40 * PAGE]).unwrap();
    drop(buf);
    assert!(budget.stat().dirty >= 40 * PAGE);
    budget.tick(); // something was taken since the last one
    assert!(budget.stat().dirty >= 40 * PAGE);
    budget.tick();
    assert_eq!(budget.stat().dirty, 0);
}

#[test]
fn a_trickle_does_not_keep_the_peak_resident() {
    let budget = budget(64);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut buf = Buf::new(&account);
    buf.write(&vec![7; 40 * PAGE]).unwrap();
    drop(buf);
    for _ in 0..40 {
        Buf::new(&account).grow().unwrap();
        budget.tick();
    }
    assert!(budget.stat().dirty <= PAGE, "{} bytes stay", budget.stat().dirty);
}

#[test]
fn resident_free_pages_make_room_for_plain_leases() {
    let budget = budget(8);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut buf = Buf::new(&account);
    buf.write(&vec![7; 7 * PAGE]).unwrap();
    drop(buf);
    let lease = account.try_lease(6 * PAGE).unwrap();
    let stat = budget.stat();
    assert!(stat.held + stat.dirty <= stat.limit, "{stat:?}");
    drop(lease);
}

#[test]
fn a_carried_record_leaves_its_page_and_keeps_its_marks() {
    let budget = budget(8);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut buf = Buf::new(&account);
    buf.write(&vec![1; PAGE - 100]).unwrap();
    let record = buf.mark();
    buf.write(&[2; 10]).unwrap();
    let inner = buf.mark();
    buf.write(&[3; 5]).unwrap();
    let moved = buf.carry(record).unwrap();
    buf.patch(inner.carried(record, moved), &[9; 5]);
    let pages: Vec<&[u8]> = buf.pages().collect();
    assert_eq!(pages[0], vec![1; PAGE - 100]);
    assert_eq!(pages[1], [[2u8; 10].as_slice(), &[9; 5]].concat());
    assert_eq!(buf.len(), PAGE - 85);
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<u8>),
    Consume(usize),
    Mark,
    Truncate,
    Patch(u8),
    Insert(usize),
    Append(Vec<u8>),
}

#[test]
fn each_page_is_found_from_either_end() {
    let budget = budget(64);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let mut buf = Buf::new(&account);
    let mut marks = Vec::new();
    let mut other = Buf::new(&account);
    other.write(&[0; 3 * PAGE]).unwrap();
    buf.append(other).unwrap_or_else(|_| panic!("the same account"));
    for n in 0..20 {
        buf.grow().unwrap();
        marks.push(buf.mark());
        buf.write(&[n; 8]).unwrap();
    }
    let before = buf.len() - 160;
    // The gap does not fit its page, so a page is linked behind it: pages behind it have another number.
    buf.truncate(marks[19]);
    buf.write(&[19; 8]).unwrap();
    buf.consume(0);
    for (n, mark) in marks.iter().enumerate() {
        buf.patch(*mark, &[100 + n as u8; 4]);
    }
    buf.insert(marks[9], buf.page_capacity() - 8).unwrap();
    for (n, mark) in marks[..9].iter().enumerate() {
        buf.patch(*mark, &[200 + n as u8; 2]);
    }
    let bytes = buf.to_vec();
    let gap = buf.page_capacity() - 8;
    for n in 0..20_u8 {
        let at = before + usize::from(n) * 8 + if n >= 9 { gap } else { 0 };
        let first = if n < 9 { 200 + n } else { 100 + n };
        assert_eq!(bytes[at..at + 8], [first, first, 100 + n, 100 + n, n, n, n, n]);
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..3 * PAGE).prop_map(Step::Write),
        2 => (0usize..2 * PAGE).prop_map(Step::Consume),
        1 => Just(Step::Mark),
        1 => Just(Step::Truncate),
        1 => any::<u8>().prop_map(Step::Patch),
        1 => (1usize..5).prop_map(Step::Insert),
        1 => prop::collection::vec(any::<u8>(), 0..2 * PAGE).prop_map(Step::Append),
    ]
}

proptest! {
    #[test]
    fn a_buf_behaves_like_a_vector(steps in prop::collection::vec(step(), 1..40)) {
        let budget = budget(256);
        let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
        let mut buf = Buf::new(&account);
        let mut model: Vec<u8> = Vec::new();
        // A mark and where it stands in the model; only valid until something is consumed or inserted.
        let mut mark: Option<(Mark, usize)> = None;
        for step in steps {
            match step {
                Step::Write(bytes) => { buf.write(&bytes).unwrap(); model.extend(bytes); }
                Step::Consume(n) => {
                    let n = n.min(model.len());
                    buf.consume(n);
                    model.drain(..n);
                    mark = None;
                }
                Step::Mark => mark = (!buf.is_empty()).then(|| (buf.mark(), model.len())),
                Step::Truncate => if let Some((mark, at)) = mark.take() { buf.truncate(mark); model.truncate(at); },
                Step::Patch(byte) => {
                    let at = buf.mark();
                    buf.write(&[0]).unwrap();
                    // A full page leaves the mark at its end; the byte then stands in the next one.
                    if buf.mark().same_page(at) { buf.patch(at, &[byte]); model.push(byte); } else { model.push(0); }
                }
                Step::Insert(n) => if let Some((mark, at)) = mark.take() && model.len() - at < PAGE / 2 && model.len() > at {
                    buf.insert(mark, n).unwrap();
                    model.splice(at..at, std::iter::repeat_n(0, n));
                },
                Step::Append(bytes) => {
                    let mut other = Buf::new(&account);
                    other.write(&bytes).unwrap();
                    buf.append(other).unwrap();
                    model.extend(bytes);
                }
            }
            prop_assert_eq!(buf.len(), model.len());
        }
        prop_assert_eq!(buf.to_vec(), model);
        drop(buf);
        prop_assert_eq!(account.held(), 0);
    }
}

/// A division with a reserve and nothing else.
fn reserve(budget: &Budget, pages: usize) {
    let heap = Share { guaranteed: 0, max: usize::MAX };
    let limit = budget.stat().limit;
    budget.divide(Division { limit, reserve: pages * PAGE, heap, weighed: None }).unwrap();
}

#[test]
fn the_oldest_unfinished_work_completes_when_many_hold_everything() {
    let budget = budget(16);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    reserve(&budget, 4);
    let mut context = Context::from_waker(Waker::noop());
    // Twelve requests with a page each, and each needs three more.
    let tickets: Vec<_> = (0..12).map(|_| account.ticket()).collect();
    let mut bufs: Vec<Buf> = tickets.iter().map(|ticket| Buf::new(ticket.account())).collect();
    for buf in &mut bufs {
        buf.grow().unwrap();
    }
    assert!(account.try_lease(1).is_err(), "the reserve is nobody's who does not wait");
    // Each waits for a page, again and again, and is delivered when it has its four.
    let mut work: Vec<_> = tickets.into_iter().zip(bufs).map(|(ticket, buf)| (ticket, buf, None)).collect();
    for _ in 0..200 {
        work.retain_mut(|(_, buf, wait)| {
            let acquire = wait.get_or_insert_with(|| Box::pin(buf.account().lease(PAGE)));
            if let Poll::Ready(Ok(page)) = acquire.as_mut().poll(&mut context) {
                buf.grow_with(page);
                *wait = None;
            }
            buf.charged() < 4 * PAGE
        });
    }
    assert_eq!(work.len(), 0, "one after the other they all complete");
    assert_eq!((account.held(), budget.stat().waiting), (0, 0));
}

#[test]
fn an_older_piece_of_work_is_served_before_younger_ones_that_wait_for_longer() {
    let budget = budget(2);
    let account = budget.account("http.0", "chunks", Share::COMMON).unwrap();
    let (old, young) = (account.ticket(), account.ticket());
    let mut context = Context::from_waker(Waker::noop());
    let all = account.try_lease(2 * PAGE).unwrap();
    let mut first = Box::pin(young.account().lease(PAGE));
    assert!(first.as_mut().poll(&mut context).is_pending());
    let mut second = Box::pin(old.account().lease(2 * PAGE));
    assert!(second.as_mut().poll(&mut context).is_pending());
    drop(all);
    assert!(first.as_mut().poll(&mut context).is_pending());
    let Poll::Ready(lease) = second.as_mut().poll(&mut context) else { panic!("it is its turn") };
    drop(lease);
    assert!(first.as_mut().poll(&mut context).is_ready());
}

#[test]
fn a_division_that_does_not_fit_names_what_is_missing() {
    let budget = budget(16);
    let _egress = budget.account("kusto.0", "encode", Share::fixed(10 * PAGE)).unwrap();
    let heap = Share { guaranteed: 0, max: usize::MAX };
    let division = Division { limit: 12 * PAGE, reserve: 5 * PAGE, heap, weighed: None };
    assert_eq!(budget.divide(division), Err(3 * PAGE));
    assert!(budget.divide(Division { reserve: 2 * PAGE, ..division }).is_ok());
    assert!(budget.account("other", "x", Share::fixed(1)).is_err(), "nothing is left");
}

/// What actors do in the test below, in every order of their steps.
#[derive(Clone, Copy)]
enum Act {
    /// Asks for so many pages, and polls again until it has them.
    Take(usize),
    /// Gives up waiting, or gives back what it took last.
    Give,
}

/// Runs scripts in one interleaving; `order` says whose turn it is. Returns how many were left waiting.
fn interleave(scripts: &[&[Act]], order: &[usize]) -> usize {
    // Three pages are common, and three more are there for one to complete: the most that any of them takes.
    let budget = budget(8);
    let fixed = budget.account("out", "egress", Share { guaranteed: 2 * PAGE, max: 4 * PAGE }).unwrap();
    let common = budget.account("in", "chunks", Share::COMMON).unwrap();
    reserve(&budget, 3);
    let tickets: Vec<_> = scripts.iter().map(|_| common.ticket()).collect();
    let mut context = Context::from_waker(Waker::noop());
    let mut at = vec![0; scripts.len()];
    let mut waiting: Vec<Option<std::pin::Pin<Box<budget::Acquire>>>> =
        scripts.iter().map(|_| None).collect();
    let mut held: Vec<Vec<budget::Lease>> = scripts.iter().map(|_| Vec::new()).collect();
    for actor in order.iter().copied() {
        let Some(act) = scripts[actor].get(at[actor]) else { continue };
        match act {
            Act::Take(pages) => {
                let account = if actor == 0 { &fixed } else { tickets[actor].account() };
                let wait = waiting[actor].get_or_insert_with(|| Box::pin(account.lease(pages * PAGE)));
                if let Poll::Ready(lease) = wait.as_mut().poll(&mut context) {
                    held[actor].extend(lease.ok());
                    waiting[actor] = None;
                    at[actor] += 1;
                }
            }
            Act::Give => {
                waiting[actor] = None;
                held[actor].pop();
                at[actor] += 1;
            }
        }
        let sum: usize = held.iter().flatten().map(budget::Lease::bytes).sum();
        let stat = budget.stat();
        assert!(sum <= stat.held && stat.held + stat.dirty <= stat.limit, "{order:?}: {stat:?}");
        assert_eq!(stat.guaranteed, 2 * PAGE);
        assert!(fixed.held() <= 4 * PAGE);
    }
    let left = waiting.iter().flatten().count();
    drop((waiting, held, tickets));
    assert_eq!((fixed.held(), common.held(), budget.stat().waiting), (0, 0, 0), "{order:?}");
    assert!(common.try_lease(3 * PAGE).is_ok(), "nothing is lost in {order:?}");
    left
}

#[test]
fn no_interleaving_of_three_actors_breaks_the_ledger_or_leaves_one_waiting_for_ever() {
    use Act::{Give, Take};
    let scripts: [&[Act]; 3] =
        [&[Take(2), Take(1), Give, Give], &[Take(2), Take(1), Give, Give], &[Take(1), Take(2), Give, Give]];
    // Every order of twelve steps, four of each actor: 34,650. Steps that only wait again are repeated behind it.
    let mut orders = 0;
    let mut order = Vec::new();
    fn all(order: &mut Vec<usize>, left: [usize; 3], run: &mut dyn FnMut(&[usize])) {
        if left == [0; 3] {
            return run(order);
        }
        for actor in 0..3 {
            if left[actor] > 0 {
                let mut less = left;
                less[actor] -= 1;
                order.push(actor);
                all(order, less, run);
                order.pop();
            }
        }
    }
    all(&mut order, [4; 3], &mut |order| {
        orders += 1;
        let rest = [0, 1, 2].repeat(8);
        assert_eq!(interleave(&scripts, &[order, &rest].concat()), 0, "{order:?}");
    });
    assert_eq!(orders, 34_650);
}

#[derive(Debug, Clone)]
enum Move {
    Lease(usize, usize),
    Wait(usize, usize),
    Poll(usize),
    Shrink(usize, usize),
    Drop(usize),
    Leave(usize),
    Page(usize),
    Tick,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        3 => (0usize..3, 0usize..6 * PAGE).prop_map(|(account, bytes)| Move::Lease(account, bytes)),
        3 => (0usize..3, 0usize..6 * PAGE).prop_map(|(account, bytes)| Move::Wait(account, bytes)),
        3 => (0usize..8).prop_map(Move::Poll),
        1 => (0usize..8, 0usize..PAGE).prop_map(|(lease, bytes)| Move::Shrink(lease, bytes)),
        3 => (0usize..8).prop_map(Move::Drop),
        1 => (0usize..8).prop_map(Move::Leave),
        3 => (0usize..3).prop_map(Move::Page),
        1 => Just(Move::Tick),
    ];
    prop::collection::vec(one, 1..120)
}

proptest! {
    #[test]
    fn whatever_is_done_the_sum_stays_within_the_limit_and_ends_at_zero(moves in moves()) {
        let budget = budget(12);
        let shares = [Share::COMMON, Share::at_most(4 * PAGE), Share { guaranteed: 3 * PAGE, max: 5 * PAGE }];
        let accounts = shares.map(|share| budget.account("x", "y", share).unwrap());
        reserve(&budget, 2);
        let tickets: Vec<_> = accounts.iter().map(|account| account.ticket()).collect();
        let mut context = Context::from_waker(Waker::noop());
        let mut leases = Vec::new();
        let mut waits = Vec::new();
        let mut bufs = Vec::new();
        for step in moves {
            match step {
                Move::Lease(account, bytes) => leases.extend(accounts[account].try_lease(bytes)),
                Move::Wait(account, bytes) => waits.push(Box::pin(tickets[account].account().lease(bytes))),
                Move::Poll(at) => if at < waits.len()
                    && let Poll::Ready(lease) = waits[at].as_mut().poll(&mut context)
                {
                    drop(waits.remove(at));
                    leases.extend(lease);
                },
                Move::Shrink(at, bytes) => if let Some(lease) = leases.get_mut(at) { lease.shrink_to(bytes) },
                Move::Drop(at) => if at < leases.len() { drop(leases.remove(at)) } else { bufs.pop(); },
                Move::Leave(at) => if at < waits.len() { drop(waits.remove(at)) },
                Move::Page(account) => {
                    let mut buf = Buf::new(&accounts[account]);
                    if buf.grow().is_ok() { bufs.push(buf) }
                }
                Move::Tick => { budget.tick(); }
            }
            let stat = budget.stat();
            prop_assert!(stat.held + stat.dirty <= stat.limit, "{stat:?}");
            let charged: usize = accounts.iter().map(budget::Account::held).sum();
            prop_assert!(stat.held <= charged && charged <= stat.limit, "{stat:?} {charged}");
            prop_assert!(accounts.iter().zip(shares).all(|(account, share)| account.held() <= share.max));
        }
        drop((leases, waits, bufs, tickets));
        prop_assert!(accounts.iter().all(|account| account.held() == 0));
        prop_assert_eq!((budget.stat().held, budget.stat().waiting, budget.stat().common), (0, 0, 0));
    }
}
