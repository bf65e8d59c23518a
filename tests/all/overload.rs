//! More than the destination takes.

use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

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

#[test]
fn clients_that_are_turned_away_while_they_send_read_why() {
    let weir = Weir::start(&FORWARD.replace("SINK", &free_port().to_string()));
    let body = leaklab::payload::records(2_000, 5);
    let head = format!(
        "POST /crowd HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [head.as_bytes(), body.as_bytes()].concat();
    const CLIENTS: usize = 40;
    let answers: Vec<String> = std::thread::scope(|scope| {
        let one = || {
            let mut stream = TcpStream::connect(("127.0.0.1", weir.port)).unwrap();
            stream.set_read_timeout(Some(testkit::PATIENCE)).unwrap();
            // All of it: one that stops sending when it is refused is no test.
            stream.write_all(&request).unwrap();
            let mut answer = [0; 12];
            stream.read_exact(&mut answer).unwrap();
            String::from_utf8_lossy(&answer).into_owned()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(one)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let count = |status: &str| answers.iter().filter(|answer| answer.ends_with(status)).count();
    assert!(count("201") > 0 && count("503") > 0, "{answers:?}");
    assert_eq!(count("201") + count("503"), CLIENTS, "{answers:?}");
}

#[test]
fn records_that_can_never_fit_are_refused_for_good_and_told_why() {
    let input = "port: PORT, buffer_max_size: 16M}";
    let weir = Weir::start(&FORWARD.replace("port: PORT}", input).replace("40M", "64M").replace("SINK", "1"));
    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body");
    // An empty record takes more room than its three bytes.
    std::fs::write(&body, "{},".repeat(4_000_000)).unwrap();
    let data = format!("@{}", body.display());
    let (status, said) =
        testkit::curl(&["-H", "Content-Type: application/json", "--data-binary", &data, &weir.url("/a")]);
    assert_eq!(status, 413, "{said}");
    assert!(said.contains("memory_limit"), "{said}");
    weir.stop();
}

/// Inputs that no answer goes back from.
const WITHOUT_ANSWERS: &str = "
service: {flush: 0.2, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN, memory_limit: 40M, scheduler.base: 1, scheduler.cap: 1}
pipeline:
  inputs:
    - {name: tcp, listen: 127.0.0.1, port: PORT, format: none}
    - {name: udp, listen: 127.0.0.1, port: UDP, format: none}
  outputs:
    - {name: http, match: '*', host: 127.0.0.1, port: SINK, format: json_lines, retry_limit: no_limits}
";

#[test]
fn when_memory_is_full_a_stream_waits_and_loses_nothing_and_datagrams_are_dropped_and_counted() {
    let (sink, port) = (free_port().to_string(), free_port());
    let weir = Weir::start(&WITHOUT_ANSWERS.replace("SINK", &sink).replace("UDP", &port.to_string()));
    const LINES: u64 = 120_000;
    std::thread::scope(|scope| {
        let mut stream = TcpStream::connect(("127.0.0.1", weir.port)).unwrap();
        scope.spawn(move || {
            let lines = format!("{}\n", "x".repeat(399)).repeat(1_000);
            (0..LINES / 1_000).for_each(|_| stream.write_all(lines.as_bytes()).unwrap());
        });
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        eventually("datagrams to be dropped", || {
            for _ in 0..100 {
                datagrams.send_to(&[b'u'; 1_000], ("127.0.0.1", port)).unwrap();
            }
            (weir.metric("weir_input_dropped_total", "udp.1") > 0).then_some(())
        });
        assert!(weir.metric("fluentbit_input_records_total", "tcp.0") < LINES, "the stream does not fit");
        let receiver = Weir::start(&RECEIVE.replace("SINK", &sink));
        weir.wait_for("fluentbit_input_records_total", "tcp.0", LINES);
        let taken = LINES + weir.metric("fluentbit_input_records_total", "udp.1");
        receiver.wait_for("fluentbit_input_records_total", "http.0", taken);
        receiver.stop();
    });
    assert_eq!(weir.metric("weir_input_dropped_total", "tcp.0"), 0);
    assert!(weir.log().contains("[input:udp.1] ") && weir.log().contains(" datagrams were dropped"));
    let peak = memory(weir.pid()).unwrap().peak;
    assert!(peak <= LIMIT, "{peak} bytes resident at peak");
    weir.stop();
}
