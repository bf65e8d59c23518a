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
    let body = format!("{{{}\"last\":0}}", "\"\":0,".repeat(400_000));
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

#[test]
fn the_ledger_can_be_read_as_json_as_metrics_and_in_the_log() {
    let weir = Weir::start(TO_NULL);
    assert_eq!(weir.connect().post("/a", leaklab::payload::records(100, 1).as_bytes()).unwrap(), 201);
    let page: serde_json::Value = serde_json::from_str(&weir.get("/api/v1/memory")).unwrap();
    assert_eq!(page["limit"], 64_000_000);
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let parts = number(&page["static"]) + number(&page["epsilon"]) + number(&page["budget"]["limit"]);
    assert_eq!(parts, 64_000_000, "the parts make up the limit: {page}");
    assert!(number(&page["process"]["resident"]) > 1_000_000 && number(&page["process"]["peak"]) > 1_000_000);
    let accounts = page["accounts"].as_array().unwrap();
    for purpose in ["heap", "chunks", "connections", "receive"] {
        let account = accounts.iter().find(|account| account["purpose"] == purpose).unwrap();
        assert!(number(&account["peak"]) > 0, "{account}");
    }
    let metrics = weir.get("/api/v1/metrics/prometheus");
    for line in ["weir_memory_limit_bytes 64000000", "weir_memory_pressure 0"] {
        assert!(metrics.contains(&format!("\n{line}\n")), "{line} in {metrics}");
    }
    assert!(metrics.contains("weir_memory_account_peak_bytes{name=\"http.0\",purpose=\"chunks\"} "));
    weir.signal(libc::SIGUSR1);
    let log = eventually("the table in the log", || {
        let log = weir.log();
        log.contains("kernel sockets").then_some(log)
    });
    assert!(log.contains("[memory] http.0 chunks"), "{log}");
    weir.stop();
}

/// Two pipelines, of which the first has a dead destination.
const NEIGHBOURS: &str = "
service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN, memory_limit: 40M}
pipeline:
  inputs:
    - {name: http, listen: 127.0.0.1, port: PORT}
    - {name: http, listen: 127.0.0.1, port: WELL}
  outputs:
    - {name: http, match: dead, host: 127.0.0.1, port: DEAD, WHEN_FULL}
    - {name: 'null', match: well}
";

fn neighbours(when_full: &str) -> (Weir, u16) {
    let well = testkit::free_port();
    let text = NEIGHBOURS
        .replace("WELL", &well.to_string())
        .replace("DEAD", &testkit::free_port().to_string())
        .replace("WHEN_FULL", when_full);
    (Weir::start(&text), well)
}

#[test]
fn a_dead_destination_stops_its_own_input_and_no_other() {
    let (weir, well) = neighbours("when_full: block");
    let body = leaklab::payload::records(400, 1);
    let mut refused = 0;
    let full = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (weir, body, full) = (&weir, &body, &full);
        let flood = scope.spawn(move || {
            let mut connection = weir.connect();
            while connection.post("/dead", body.as_bytes()).unwrap() == 201 {}
            full.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], well));
        let mut connection = leaklab::client::Connection::open(address, testkit::PATIENCE).unwrap();
        let mut behind = 0;
        while behind < 20 {
            refused += usize::from(connection.post("/well", body.as_bytes()).unwrap() != 201);
            behind += usize::from(full.load(std::sync::atomic::Ordering::Relaxed));
        }
        flood.join().unwrap();
    });
    assert_eq!(refused, 0, "what goes elsewhere is taken as before");
    assert_eq!(weir.metric("fluentbit_output_dropped_records_total", "http.0"), 0);
}

#[test]
fn an_output_that_would_rather_drop_than_wait_drops_its_oldest_records_and_counts_them() {
    let (weir, _) = neighbours("when_full: drop_oldest");
    let body = leaklab::payload::records(400, 1);
    let mut connection = weir.connect();
    let mut sent = 0_u64;
    while weir.metric("fluentbit_output_dropped_records_total", "http.0") == 0 {
        for _ in 0..20 {
            assert_eq!(connection.post("/dead", body.as_bytes()).unwrap(), 201, "nothing is refused");
            sent += 400;
        }
        assert!(sent < 2_000_000, "nothing is dropped");
    }
    assert!(weir.log().contains("oldest records are dropped"), "{}", weir.log());
}

#[test]
fn a_configuration_that_does_not_fit_its_limit_is_told_the_smallest_change_that_would_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("weir.yaml");
    let check = |limit: &str, body: &str| {
        let text = TO_NULL
            .replace("64M", limit)
            .replace("port: PORT", &format!("port: 1234, buffer_max_size: {body}"))
            .replace("ADMIN", "1235");
        std::fs::write(&file, text).unwrap();
        let output = testkit::weir(&["-c", file.to_str().unwrap(), "--dry-run"]);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (fits, said) = check("64M", "100M");
    assert!(!fits && said.contains("http.0") && said.contains("buffer_max_size"), "{said}");
    let limit = said.split("set memory_limit to ").nth(1).unwrap().split(' ').next().unwrap();
    let digits: u64 = limit.trim_end_matches(['M', 'K', ',']).parse().unwrap();
    let bytes = digits * if limit.contains('K') { 1_000 } else { 1_000_000 };
    // The process is measured anew each time, so a little more is on the safe side.
    let (fits, said) = check(&(bytes + 3_000_000).to_string(), "100M");
    assert!(fits && said.contains("http.0 chunks"), "{said}");
}

#[test]
fn a_body_that_comes_byte_by_byte_is_given_up_and_told_so() {
    use std::io::{Read, Write};
    let weir = Weir::start(TO_NULL);
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", weir.port)).unwrap();
    let head =
        "POST /a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 400000\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let mut answer = [0; 64];
    let read = eventually("an answer", || {
        let _closed = stream.write_all(b" ");
        stream.read(&mut answer).ok()
    });
    assert!(answer[..read].starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&answer[..read]));
    weir.stop();
}
