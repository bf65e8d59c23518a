//! The load against a small server of this process.

#![allow(
    clippy::unwrap_used,
    reason = "a test panics on failure, also outside of the functions marked as tests"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use leaklab::load::{Plan, Target, run};
use leaklab::message::{Reader, Side};

/// Answers every third request 503, and the others 201. `keep`: requests a connection may have.
fn server(keep: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap(), keep));
        }
    });
    address
}

fn serve(mut stream: TcpStream, keep: usize) {
    let (mut reader, mut buffer, mut answered) = (Reader::new(Side::Requests), vec![0; 8192], 0);
    while answered < keep {
        let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
        let mut bytes = &buffer[..count];
        while let Some(message) = reader.take(&mut bytes).unwrap() {
            answered += 1;
            let status = if answered % 3 == 0 { "503 Busy" } else { "201 Created" };
            let close = if answered == keep { "Connection: close\r\n" } else { "" };
            assert!(message.body > 0);
            write!(stream, "HTTP/1.1 {status}\r\n{close}Content-Length: 2\r\n\r\nok").unwrap();
        }
    }
}

fn plan(address: SocketAddr) -> Plan {
    let target = Target::parse(&format!("http://{address}/app.log")).unwrap();
    Plan { patience: Duration::from_secs(20), ..Plan::new(target, vec![b'x'; 100_000], 7) }
}

#[test]
fn every_request_is_answered_once_and_accepted_records_are_counted() {
    for (connections, chunked, in_turn) in [(1, false, false), (5, true, false), (3, false, true)] {
        let plan = Plan { connections, chunked, in_turn, requests: Some(30), ..plan(server(usize::MAX)) };
        let (outcome, held) = run(&plan, &mut |_| {}).unwrap();
        assert_eq!((outcome.requests, outcome.answers.values().sum::<u64>()), (30, 30), "{outcome}");
        assert!(outcome.failures.is_empty(), "{outcome}");
        let accepted = outcome.accepted();
        assert!((20..=30).contains(&accepted), "{outcome}");
        assert_eq!((outcome.records, outcome.bytes), (accepted * 7, accepted * 100_000));
        assert_eq!(held.count(), connections);
        assert!(outcome.latency.p50 > 0.0 && outcome.latency.p50 <= outcome.latency.max);
    }
}

#[test]
fn connections_that_the_server_closes_are_opened_again() {
    let plan = Plan { requests: Some(20), ..plan(server(2)) };
    let (outcome, _) = run(&plan, &mut |_| {}).unwrap();
    assert_eq!(outcome.answers, [(201, 20)].into(), "{outcome}");
    assert_eq!(outcome.connections, 10);
}

#[test]
fn new_connections_serve_one_request_each() {
    let plan = Plan { requests: Some(12), connections: 4, new_connections: true, ..plan(server(9)) };
    let (outcome, held) = run(&plan, &mut |_| {}).unwrap();
    assert_eq!((outcome.connections, outcome.answers[&201], held.count()), (12, 12, 0));
}

#[test]
fn a_duration_ends_the_load() {
    let plan =
        Plan { duration: Some(Duration::from_millis(100)), connections: 2, ..plan(server(usize::MAX)) };
    let (outcome, _) = run(&plan, &mut |_| {}).unwrap();
    assert_eq!(outcome.answers.values().sum::<u64>(), outcome.requests, "{outcome}");
    assert!(outcome.requests > 0);
}

#[test]
fn a_connection_that_breaks_is_a_failure_and_not_an_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let plan = Plan { requests: Some(3), ..plan(address) };
    let (outcome, _) = run(&plan, &mut |_| {}).unwrap();
    assert_eq!((outcome.answers.len(), outcome.failures.values().sum::<u64>()), (0, 3), "{outcome}");
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plan = plan(listener.local_addr().unwrap());
    drop(listener);
    assert!(run(&plan, &mut |_| {}).is_err());
}
