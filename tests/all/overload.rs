//! More than the destination takes.

use leaklab::process::memory;
use testkit::{Weir, eventually, free_port};

const LIMIT: u64 = 40_000_000;

/// A pipeline to an HTTP server at SINK, with a filter on the way.
const FORWARD: &str = "
service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN, memory_limit: 40M, scheduler.base: 1, scheduler.cap: 1}
pipeline:
  inputs:
    - {name: http, listen: 127.0.0.1, port: PORT}
  filters:
    - {name: modify, match: filtered, set: seen yes}
  outputs:
    - {name: http, match: '*', host: 127.0.0.1, port: SINK, format: json_lines}
";

const RECEIVE: &str = "
service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN}
pipeline:
  inputs:
    - {name: http, listen: 127.0.0.1, port: SINK, buffer_max_size: 16M}
  outputs:
    - {name: 'null', match: '*'}
";

/// Posts until the agent has refused twice; returns how many it took.
fn press(weir: &Weir, path: &str, body: &str) -> usize {
    let (mut taken, mut refused) = (0, 0);
    let mut connection = weir.connect();
    while refused < 2 {
        match connection.post(path, body.as_bytes()) {
            Ok(201) => taken += 1,
            Ok(503) => {
                refused += 1;
                connection = weir.connect();
            }
            other => panic!("every request has an answer, 201 or 503: {other:?}"),
        }
    }
    taken
}

#[test]
fn with_a_dead_destination_every_request_has_an_answer_and_what_was_taken_arrives_later() {
    let sink = free_port().to_string();
    let weir = Weir::start(&FORWARD.replace("SINK", &sink));
    // One record of 700 KB, larger than any page, and many small ones.
    let large = format!("{{\"text\":\"{}\"}}", "0123456789abcdef".repeat(44_000));
    let many = leaklab::payload::records(200, 5);
    let taken: usize = std::thread::scope(|scope| {
        let weir = &weir;
        let clients: Vec<_> =
            [("/large", &large, 1), ("/filtered", &large, 1), ("/many", &many, 200), ("/more", &many, 200)]
                .into_iter()
                .map(|(path, body, records)| scope.spawn(move || press(weir, path, body) * records))
                .collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert!(taken > 1_000, "a dead destination is no reason to take nothing: {taken}");
    assert!(weir.get("/api/v1/uptime").contains("uptime_sec"), "the agent can be looked at when it is full");
    let receiver = Weir::start(&RECEIVE.replace("SINK", &sink));
    receiver.wait_for("fluentbit_input_records_total", "http.0", taken as u64);
    eventually("every page to be back", || {
        weir.held().iter().all(|account| account.contains("\"connections\"")).then_some(())
    });
    assert_eq!(weir.metric("fluentbit_output_dropped_records_total", "http.0"), 0);
    let peak = memory(weir.pid()).unwrap().peak;
    assert!(peak <= LIMIT, "{peak} bytes resident at peak");
    weir.stop();
    receiver.stop();
}
