//! What the ledger guarantees.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use budget::{Budget, Buf, Full, Mark, Share};
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
