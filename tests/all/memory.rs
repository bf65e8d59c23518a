//! Memory, seen from outside.

use leaklab::process::memory;
use testkit::{Weir, eventually};

const TO_NULL: &str = "
service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN, memory_limit: 64M}
pipeline:
  inputs:
    - {name: http, listen: 127.0.0.1, port: PORT}
  outputs:
    - {name: 'null', match: '*'}
";

#[test]
fn memory_after_a_burst_and_with_idle_connections_is_what_it_was_before() {
    let weir = Weir::start(TO_NULL);
    let body = leaklab::payload::alert(4_900, 1);
    let mut connection = weir.connect();
    for _ in 0..20 {
        assert_eq!(connection.post("/a", body.as_bytes()).unwrap(), 201);
    }
    eventually("the ledger to be empty", || idle(&weir).then_some(()));
    let before = memory(weir.pid()).unwrap().resident;
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut connection = weir.connect();
        for _ in 0..3 {
            assert_eq!(connection.post("/a", body.as_bytes()).unwrap(), 201);
        }
        held.push(connection);
    }
    eventually("the ledger to be empty", || idle(&weir).then_some(()));
    let after = eventually("memory to be back", || {
        let now = memory(weir.pid()).unwrap().resident;
        (now < before + 4_000_000).then_some(now)
    });
    assert!(after < before + 4_000_000);
    assert!(memory(weir.pid()).unwrap().peak < 64_000_000);
    drop(held);
    eventually("every account to be at zero", || weir.held().is_empty().then_some(()));
    weir.stop();
}

#[test]
fn a_record_of_very_many_keys_passes_filters_within_the_limit() {
    let filters = "  filters:\n    - {name: modify, match: '*', add: seen yes}\n  outputs:";
    let weir = Weir::start(&TO_NULL.replace("  outputs:", filters));
    let body = format!("{{{}\"last\":0}}", "\"\":0,".repeat(600_000));
    for _ in 0..3 {
        assert_eq!(weir.connect().post("/a", body.as_bytes()).unwrap(), 201);
    }
    let peak = memory(weir.pid()).unwrap().peak;
    assert!(peak <= 64_000_000, "{peak} bytes resident at peak");
    weir.stop();
}

/// Nothing is held but connections.
fn idle(weir: &Weir) -> bool {
    weir.held().iter().all(|account| account.contains("\"connections\""))
}
