//! `tcp`, `udp` and `syslog` against sockets of the test's own: the bytes, and what becomes of a batch.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use std::time::Duration;

use common::batch;
use engine::{Batch, Outcome, OutputDef};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, UdpSocket};

/// Far more than any test needs; a test that reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

async fn flush(def: &OutputDef, port: u16, pairs: &[(&str, &str)], batch: &Batch) -> Outcome {
    let setup = common::setup();
    let port = port.to_string();
    let pairs = [&[("port", port.as_str())], pairs].concat();
    let lane = common::open(def, &setup, &pairs).unwrap().lane();
    lane.flush(batch).await
}

/// What a connection carries for one batch.
async fn sent(def: &OutputDef, pairs: &[(&str, &str)], batch: &Batch) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    };
    // The connection ends with the lane.
    let (outcome, bytes) = tokio::join!(flush(def, port, pairs, batch), receive);
    assert_eq!(outcome, Outcome::Done);
    bytes
}

/// The first so many datagrams of a batch.
async fn datagrams(def: &OutputDef, pairs: &[(&str, &str)], batch: &Batch, count: usize) -> Vec<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    assert_eq!(flush(def, port, pairs, batch).await, Outcome::Done);
    let mut datagrams = Vec::new();
    let mut bytes = vec![0; 70_000];
    for _ in 0..count {
        let size = tokio::time::timeout(DEADLINE, socket.recv(&mut bytes)).await.unwrap().unwrap();
        datagrams.push(String::from_utf8(bytes[..size].to_vec()).unwrap());
    }
    datagrams
}

const ONE: &str = "{\"date\":1700000000.123457,\"a\":1}";
const TWO: &str = "{\"date\":1700000001.123457,\"b\":\"x\"}";

fn two() -> Batch {
    batch("app.log", &[r#"{"a":1}"#, r#"{"b":"x"}"#])
}

#[tokio::test]
async fn tcp_sends_the_bytes_of_each_format() {
    let def = &outputs::tcp::DEF;
    for (pairs, expected) in [
        (vec![("format", "json_lines")], format!("{ONE}\n{TWO}\n")),
        (vec![("format", "json")], format!("[{ONE},{TWO}]")),
        (vec![("format", "json_stream")], format!("{ONE}{TWO}")),
        (vec![("raw_message_key", "$b")], "\nx\n".to_owned()),
    ] {
        assert_eq!(sent(def, &pairs, &two()).await, expected.as_bytes(), "{pairs:?}");
    }
    let msgpack = sent(def, &[], &two()).await;
    assert_eq!(msgpack[..4], [0x92, 0x92, 0xd7, 0x00]);
    assert_eq!(msgpack.len(), 2 * 12 + 2 + 4 + 5, "the records as they lie");
}

#[tokio::test]
async fn tcp_carries_batches_of_any_size_over_one_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let setup = common::setup();
    let pairs = [("port", port.as_str()), ("format", "json_lines"), ("json_date_key", "false")];
    let lane = common::open(&outputs::tcp::DEF, &setup, &pairs).unwrap().lane();
    let _filled = common::fill(&setup.budget);
    let records = common::unwieldy();
    let expected: String = records.iter().flatten().map(|record| format!("{record}\n")).collect();
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; expected.len()];
        stream.read_exact(&mut bytes).await.unwrap();
        assert!(bytes == expected.as_bytes());
    };
    let send = async {
        for records in &records {
            assert_eq!(lane.flush(&common::batch_of(1, records)).await, Outcome::Done);
        }
    };
    tokio::time::timeout(DEADLINE, async { tokio::join!(send, receive) }).await.unwrap();
}

#[tokio::test]
async fn who_does_not_answer_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for def in [&outputs::tcp::DEF, &outputs::syslog::DEF] {
        let outcome =
            flush(def, port, if def.name == "tcp" { &[] } else { &[("mode", "tcp")] }, &two()).await;
        assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_connection_that_the_other_side_closed_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let setup = common::setup();
    let pairs = [("port", port.as_str()), ("format", "json_lines")];
    let lane = common::open(&outputs::tcp::DEF, &setup, &pairs).unwrap().lane();
    for _ in 0..3 {
        let receive = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = vec![0; ONE.len() + TWO.len() + 2];
            stream.read_exact(&mut bytes).await.unwrap();
        };
        let batch = two();
        let (outcome, ()) = tokio::join!(lane.flush(&batch), receive);
        assert_eq!(outcome, Outcome::Done);
    }
}

#[tokio::test]
async fn udp_sends_each_record_as_a_datagram_and_leaves_out_what_fits_none() {
    let def = &outputs::udp::DEF;
    let lines = datagrams(def, &[], &two(), 2).await;
    assert_eq!(lines, [format!("{ONE}\n"), format!("{TWO}\n")]);
    let arrays = datagrams(def, &[("format", "json")], &two(), 2).await;
    assert_eq!(arrays, [format!("[{ONE}]\n"), format!("[{TWO}]\n")]);
    let raw = datagrams(def, &[("raw_message_key", "$b")], &two(), 2).await;
    assert_eq!(raw, ["\n", "x\n"]);
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(65_500));
    let datagrams = datagrams(def, &[("json_date_key", "off")], &batch("t", &[&long, r#"{"b":2}"#]), 1).await;
    assert_eq!(datagrams, ["{\"b\":2}\n"]);
}

#[tokio::test]
async fn syslog_sends_lines_over_tcp_and_datagrams_without_ends() {
    let batch = batch("t", &[r#"{"log":"one"}"#, r#"{"log":"two"}"#]);
    let pairs = [("syslog_message_key", "log"), ("syslog_hostname_preset", "h")];
    let message =
        |second: u8, text: &str| format!("<14>1 2023-11-14T22:13:{second}.123456Z h - - - - \u{feff}{text}");
    let tcp = [pairs.as_slice(), &[("mode", "tcp")]].concat();
    let expected = format!("{}\n{}\n", message(20, "one"), message(21, "two"));
    assert_eq!(String::from_utf8(sent(&outputs::syslog::DEF, &tcp, &batch).await).unwrap(), expected);
    let udp = datagrams(&outputs::syslog::DEF, &pairs, &batch, 2).await;
    assert_eq!(udp, [message(20, "one"), message(21, "two")]);
}

#[test]
fn what_syslog_cannot_do_is_refused() {
    let setup = common::setup();
    for (pairs, part) in [
        (vec![("mode", "dtls")], "use mode tls"),
        (vec![("tls", "on")], "use mode tls"),
        (vec![("syslog_severity_preset", "8")], "syslog_severity_preset"),
    ] {
        let refused = common::open(&outputs::syslog::DEF, &setup, &pairs).err().unwrap();
        assert!(refused.contains(part), "{refused}");
    }
}
