//! What the heap holds, compared with what the ledger says: a pipeline runs inside this process, whose allocator
//! counts. After each case everything that was not leased must be gone again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::RefCell;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use budget::Budget;
use engine::common::Service;
use engine::lane::{Stopper, runtime};
use engine::pipeline::{self, Sections};
use engine::registry::Registry;
use engine::{Filter, FilterDef};
use event::{Tag, Window};
use leaklab::client::Connection;
use leaklab::payload;
use options::{Entry, Options, Pos, Section, Text};
use tokio::task::LocalSet;

/// Bytes that are allocated now.
static LIVE: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the heap may hold more after a case than before it, and no lease pays for: buffers that keep their size,
/// tables that have grown. A thousand requests that forget ten bytes each are above it.
const SLACK: isize = 8 << 10;

/// A filter that keeps a copy of a part of every record and leases nothing for it: the bug that is looked for.
struct Forgetful(RefCell<Vec<Vec<u8>>>);

static FORGETFUL: FilterDef = FilterDef {
    name: "forgetful",
    about: "Keeps what it sees",
    specs: |_| {},
    open: |_, _| Some(Box::new(Forgetful(RefCell::default()))),
};

impl Filter for Forgetful {
    fn logs(&mut self, _tag: &Tag, window: &mut Window<'_>) {
        let kept = window.records.iter().map(|_| vec![0_u8; 64]);
        self.0.borrow_mut().extend(kept);
    }

    fn for_lane(&self) -> Box<dyn Filter> {
        Box::new(Forgetful(RefCell::default()))
    }
}

const REGISTRY: Registry = Registry {
    inputs: inputs::INPUTS,
    filters: &[&FORGETFUL],
    processors: &[],
    outputs: outputs::OUTPUTS,
    reference: |_, _| None,
    instead: |_, _| None,
};

fn section(kind: &str, entries: &[(&str, &str)]) -> Section {
    let pos = Pos::new("test", 1, 1);
    let mut section = Section::new(kind, pos.clone());
    section.entries = entries
        .iter()
        .map(|(key, value)| Entry {
            key: Text::new(*key, pos.clone()),
            value: Text::new(*value, pos.clone()),
        })
        .collect();
    section
}

/// Runs a pipeline from http to null while `work` is done to it.
fn with_pipeline(filters: &[Section], work: impl FnOnce(SocketAddr, &Budget)) {
    let port = testkit::free_port();
    let budget = Budget::new(64_000_000, 16_384).unwrap();
    let http = [("name", "http"), ("listen", "127.0.0.1"), ("port", &port.to_string())];
    let inputs = [section("input", &http)];
    let outputs = [section("output", &[("name", "null"), ("match", "*")])];
    let service =
        Service { flush: options::Period(Duration::from_millis(50)), ..Service::defaults().unwrap() };
    let sections = Sections {
        inputs: &inputs,
        filters,
        outputs: &outputs,
        parsers: &[],
        multiline_parsers: &[],
        upstreams: &[],
    };
    let opened = pipeline::open(&service, &sections, REGISTRY, &budget, None);
    let problems: Vec<String> = opened.problems.sorted().iter().map(ToString::to_string).collect();
    let pipeline = opened.pipeline.unwrap_or_else(|| panic!("{problems:?}"));
    pipeline.start().unwrap();
    let stopper = Stopper::default();
    let stop = stopper.stop();
    let (_switches, switched) = tokio::sync::mpsc::channel(1);
    let running = std::thread::spawn(move || {
        let runtime = runtime().unwrap();
        LocalSet::new().block_on(&runtime, pipeline.run(stop, switched)).unwrap()
    });
    work(SocketAddr::from(([127, 0, 0, 1], port)), &budget);
    stopper.say();
    assert_eq!(running.join().unwrap(), 0, "everything is delivered");
    let held: Vec<_> = budget.accounts().into_iter().filter(|account| account.held > 0).collect();
    assert!(held.is_empty(), "the ledger is empty at the end: {held:?}");
}

/// What is on the heap and no lease pays for, once nothing is held.
fn unpaid(budget: &Budget) -> isize {
    let started = Instant::now();
    loop {
        let busy = budget.accounts().iter().any(|account| account.held > 0);
        if !busy || started.elapsed() > Duration::from_secs(20) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // Tasks that have ended are freed a moment later.
    std::thread::sleep(Duration::from_millis(200));
    LIVE.load(Ordering::Relaxed) - budget.stat().plain as isize
}

/// What a case leaves on the heap that no lease pays for: the least of several times, because tables and buffers
/// grow once and a leak each time.
fn growth(address: SocketAddr, budget: &Budget, case: fn(SocketAddr)) -> isize {
    case(address);
    let once = |_| {
        let before = unpaid(budget);
        case(address);
        unpaid(budget) - before
    };
    (0..3).map(once).min().unwrap_or(0)
}

/// A way to use the agent.
type Case = (&'static str, fn(SocketAddr));

const CASES: &[Case] = &[
    ("small requests over one connection", |address| {
        let mut connection = Connection::open(address, testkit::PATIENCE).unwrap();
        for seed in 0..1_000 {
            assert_eq!(connection.post("/a", payload::record(seed).as_bytes()).unwrap(), 201);
        }
    }),
    ("a connection for each request", |address| {
        for seed in 0..300 {
            let mut connection = Connection::open(address, testkit::PATIENCE).unwrap();
            assert_eq!(connection.post("/a", payload::record(seed).as_bytes()).unwrap(), 201);
        }
    }),
    ("large bodies", |address| {
        let mut connection = Connection::open(address, testkit::PATIENCE).unwrap();
        for seed in 0..20 {
            assert_eq!(connection.post("/a", payload::alert(20_000, seed).as_bytes()).unwrap(), 201);
        }
    }),
    ("arrays under many tags", |address| {
        let mut connection = Connection::open(address, testkit::PATIENCE).unwrap();
        for tag in 0..200 {
            let body = payload::records(20, tag);
            assert_eq!(connection.post(&format!("/tag.{}", tag % 50), body.as_bytes()).unwrap(), 201);
        }
    }),
    ("bodies that are wrong", |address| {
        for body in ["", "{", "[1,2", "{\"a\":oh}", "nonsense"].repeat(60) {
            let mut connection = Connection::open(address, testkit::PATIENCE).unwrap();
            assert_eq!(connection.post("/a", body.as_bytes()).unwrap(), 400, "{body}");
        }
    }),
    ("bodies that are never finished", |address| {
        for _ in 0..200 {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let head = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(b"{\"text\":\"and that is all").unwrap();
        }
    }),
];

#[test]
fn after_each_case_the_heap_holds_what_the_ledger_says_and_a_forgotten_lease_is_found() {
    with_pipeline(&[], |address, budget| {
        for (name, case) in CASES {
            let grown = growth(address, budget, *case);
            assert!(grown <= SLACK, "{name}: {grown} bytes more on the heap than leases pay for");
        }
    });
    let forgetful = [section("filter", &[("name", "forgetful"), ("match", "*")])];
    with_pipeline(&forgetful, |address, budget| {
        let grown = growth(address, budget, CASES[0].1);
        assert!(grown >= 64_000, "the filter kept 64,000 bytes, and {grown} were found");
    });
}
