//! The load against a small server of this process.

#![allow(
    clippy::unwrap_used,
    reason = "a test panics on failure, also outside of the functions marked as tests"
)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use leaklab::load::{Body, Plan, Target, run, tls_config};
use leaklab::message::{Reader, Side};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::io::{AsyncRead, AsyncWrite};

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

fn serve(mut stream: impl Read + Write, keep: usize) {
    let (mut reader, mut buffer, mut answered) = (Reader::new(Side::Requests), vec![0; 8192], 0);
    while answered < keep {
        let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
        let mut bytes = &buffer[..count];
        // What is no request of HTTP/1.1 ends the connection.
        while let Some(message) = reader.take(&mut bytes).unwrap_or_default() {
            answered += 1;
            let status = if answered % 3 == 0 { "503 Busy" } else { "201 Created" };
            let close = if answered == keep { "Connection: close\r\n" } else { "" };
            assert!(message.body > 0);
            write!(stream, "HTTP/1.1 {status}\r\n{close}Content-Length: 2\r\n\r\nok").unwrap();
        }
    }
}

/// So many records in so many bytes.
fn body(records: usize, bytes: usize) -> Body {
    let mut text = format!("[{}]", vec!["{}"; records].join(",")).into_bytes();
    text.resize(bytes, b' ');
    Body::new(text)
}

fn plan(address: SocketAddr) -> Plan {
    let target = Target::parse(&format!("http://{address}/app.log")).unwrap();
    Plan { patience: Duration::from_secs(20), ..Plan::new(target, body(7, 100_000)) }
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
fn pipelined_requests_are_answered_in_their_order_also_when_connections_close() {
    for (keep, connections) in [(usize::MAX, 2), (10, 1)] {
        let plan = Plan { connections, depth: 5, requests: Some(60), ..plan(server(keep)) };
        let plan = Plan { bodies: vec![body(7, 60)], ..plan };
        let (outcome, _) = run(&plan, &mut |_| {}).unwrap();
        assert_eq!(outcome.requests, 60, "{outcome}");
        let (answers, failures) =
            (outcome.answers.values().sum::<u64>(), outcome.failures.values().sum::<u64>());
        // What was sent behind the last request of a connection, if anything was, has no answer.
        assert_eq!(answers + failures, 60, "{outcome}");
        assert!(failures == 0 || keep == 10, "{outcome}");
        assert_eq!(outcome.records, outcome.accepted() * 7);
    }
}

#[test]
fn a_staircase_counts_each_of_its_steps() {
    let bodies = vec![body(1, 100), body(2, 200), body(3, 300)];
    let plan = Plan { bodies, requests: Some(30), ..plan(server(usize::MAX)) };
    let (outcome, _) = run(&plan, &mut |_| {}).unwrap();
    let steps: Vec<_> =
        outcome.steps.iter().map(|step| (step.bytes, step.answers.values().sum::<u64>())).collect();
    assert_eq!(steps, [(100, 10), (200, 10), (300, 10)], "{outcome}");
    let accepted = |step: usize| outcome.steps[step].answers[&201];
    assert_eq!(outcome.records, accepted(0) + 2 * accepted(1) + 3 * accepted(2));
}

#[test]
fn a_slow_sender_sends_in_many_pieces() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut reader, mut buffer) = (Reader::new(Side::Requests), vec![0; 65536]);
        // The first connection is the one that asks whether somebody is there.
        let mut stream = listener.incoming().nth(1).unwrap().unwrap();
        for reads in 1.. {
            let count = stream.read(&mut buffer).unwrap();
            if reader.take(&mut &buffer[..count]).unwrap().is_some() {
                stream.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n").unwrap();
                return reads;
            }
        }
        0
    });
    let plan = Plan { rate: Some(200_000), requests: Some(1), ..plan(address) };
    let (outcome, _) = run(&plan, &mut |_| {}).unwrap();
    assert_eq!(outcome.answers, [(201, 1)].into(), "{outcome}");
    assert!(server.join().unwrap() > 5);
}

/// A certificate for 127.0.0.1, in PEM, and what a server needs of it.
fn certificate(protocol: &[u8]) -> (String, Arc<ServerConfig>) {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = vec![protocol.to_vec()];
    (issued.cert.pem(), Arc::new(config))
}

#[test]
fn https_is_answered_and_only_by_whom_is_trusted() {
    let (pem, config) = certificate(b"http/1.1");
    let (stranger, _) = certificate(b"http/1.1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            std::thread::spawn(move || serve(StreamOwned::new(connection, stream.unwrap()), usize::MAX));
        }
    });
    let mut plan = Plan { connections: 2, requests: Some(20), ..plan(address) };
    plan.target = Target::parse(&format!("https://{address}/app.log")).unwrap();
    for trust in [Some(pem.as_bytes()), None] {
        plan.tls = Some(tls_config(trust, false).unwrap());
        let (outcome, held) = run(&plan, &mut |_| {}).unwrap();
        assert_eq!((outcome.answers.values().sum::<u64>(), held.count()), (20, 2), "{outcome}");
        assert!(outcome.failures.is_empty(), "{outcome}");
    }
    plan.tls = Some(tls_config(Some(stranger.as_bytes()), false).unwrap());
    plan.requests = Some(2);
    let (outcome, _) = run(&plan, &mut |_| {}).unwrap();
    assert_eq!((outcome.accepted(), outcome.failures.values().sum::<u64>()), (0, 2), "{outcome}");
}

/// Answers each request that has `bytes` bytes 201, in HTTP/2, and others 400.
fn http2_server(bytes: usize, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let tls = tls.clone();
                tokio::spawn(async move {
                    match tls {
                        None => serve_http2(socket, bytes).await,
                        Some(config) => {
                            let accepted = tokio_rustls::TlsAcceptor::from(config).accept(socket).await;
                            if let Ok(stream) = accepted {
                                serve_http2(stream, bytes).await;
                            }
                        }
                    }
                });
            }
        });
    });
    address
}

async fn serve_http2<T: AsyncRead + AsyncWrite + Unpin>(transport: T, bytes: usize) {
    // A connection that only asks whether somebody is there ends here.
    let Ok(mut connection) = h2::server::handshake(transport).await else { return };
    while let Some(Ok((request, mut answer))) = connection.accept().await {
        tokio::spawn(async move {
            let (mut body, mut received) = (request.into_body(), 0);
            while let Some(Ok(piece)) = body.data().await {
                received += piece.len();
                body.flow_control().release_capacity(piece.len()).unwrap();
            }
            let status = if received == bytes { 201 } else { 400 };
            answer.send_response(http::Response::builder().status(status).body(()).unwrap(), true).unwrap();
        });
    }
}

#[test]
fn http2_sends_whole_bodies_over_streams_plain_and_encrypted() {
    let (pem, config) = certificate(b"h2");
    for tls in [None, Some(config)] {
        let address = http2_server(100_000, tls.clone());
        let mut plan = Plan { http2: true, connections: 2, depth: 3, requests: Some(40), ..plan(address) };
        if tls.is_some() {
            plan.target = Target::parse(&format!("https://{address}/app.log")).unwrap();
            plan.tls = Some(tls_config(Some(pem.as_bytes()), true).unwrap());
        }
        let (outcome, held) = run(&plan, &mut |_| {}).unwrap();
        assert_eq!(outcome.answers, [(201, 40)].into(), "{outcome}");
        assert_eq!((outcome.connections, held.count(), outcome.records), (2, 2, 280));
    }
}

#[test]
fn http2_that_is_not_spoken_is_a_failure_and_not_an_answer() {
    let plan = Plan { http2: true, requests: Some(2), ..plan(server(usize::MAX)) };
    let plan = Plan { patience: Duration::from_millis(300), ..plan };
    let (outcome, _) = run(&plan, &mut |_| {}).unwrap();
    assert_eq!((outcome.accepted(), outcome.failures.values().sum::<u64>()), (0, 2), "{outcome}");
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
