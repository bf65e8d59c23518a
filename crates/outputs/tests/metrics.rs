//! Outputs that take metrics: what they make of them.
#![allow(clippy::disallowed_methods, reason = "files that the test has made")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use budget::{Budget, Buf, Share};
use engine::{Batch, Outcome, Part};
use event::{Chunk, Events, Signal, Tag};
use formats::metrics::{Family, Kind, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

/// Far more than any test needs; a test that reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// One look of an input.
fn look(input: usize, value: f64) -> Batch {
    let account = Budget::new(64 << 20, 65_536).unwrap().account("in.0", "chunks", Share::COMMON).unwrap();
    let mut family =
        Family::new(Kind::Counter, ["fluentbit", "input", "records_total"], "Records.", &["name"]);
    family.add(1_700_000_000_000_000_005, &["in.0"], value);
    let mut bytes = Vec::new();
    encode(&[family], &mut bytes);
    let mut buf = Buf::new(&account);
    buf.write(&bytes).unwrap();
    let events = Events { buf, records: 1 };
    assert_eq!(events.signal(), Signal::Metrics);
    let chunk = Chunk { id: 1, tag: Tag::new("internal"), input, events, created: Instant::now() };
    Batch::new(7, vec![Part::whole(Arc::new(chunk))])
}

async fn get(port: u16, path: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn prometheus_sees_the_last_look_of_each_input() {
    // The port is free again when the exporter takes it.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let text = port.to_string();
    let pairs = [("host", "127.0.0.1"), ("port", text.as_str()), ("add_label", "env test")];
    let exporter = common::open(&outputs::prometheus_exporter::DEF, &common::setup(), &pairs).unwrap();
    assert_eq!(exporter.signals(), [Signal::Metrics], "it is given no records");
    exporter.start().unwrap();
    let served = async {
        let lane = exporter.lane();
        let empty = get(port, "/metrics").await;
        assert!(empty.starts_with("HTTP/1.1 200") && empty.ends_with("\r\n\r\n"), "{empty}");
        for (input, value) in [(0, 1.0), (0, 2.0), (1, 9.0)] {
            assert_eq!(lane.flush(&look(input, value)).await, Outcome::Done);
        }
        let page = get(port, "/metrics").await;
        let head =
            "# HELP fluentbit_input_records_total Records.\n# TYPE fluentbit_input_records_total counter\n";
        let sample = "fluentbit_input_records_total{env=\"test\",name=\"in.0\"}";
        assert!(page.contains("Content-Type: text/plain; version=0.0.4\r\n"), "{page}");
        assert!(page.ends_with(&format!("\r\n\r\n{head}{sample} 2\n{head}{sample} 9\n")), "{page}");
        assert!(get(port, "/other").await.starts_with("HTTP/1.1 404"));
    };
    tokio::time::timeout(DEADLINE, LocalSet::new().run_until(served)).await.unwrap();
}

#[tokio::test]
async fn a_file_has_a_line_for_each_sample() {
    let directory = tempfile::tempdir().unwrap();
    let pairs = [("path", directory.path().to_str().unwrap())];
    let lane = common::open(&outputs::file::DEF, &common::setup(), &pairs).unwrap().lane();
    assert_eq!(lane.flush(&look(0, 3.0)).await, Outcome::Done);
    let text = std::fs::read_to_string(directory.path().join("internal")).unwrap();
    assert_eq!(text, "2023-11-14T22:13:20.000000005Z fluentbit_input_records_total{name=\"in.0\"} = 3\n");
}

#[tokio::test]
async fn forward_sends_metrics_as_they_lie_and_says_what_they_are() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let batch = look(0, 1.0);
    let mut expected = Vec::new();
    let mut cursor = batch.parts[0].cursor().unwrap();
    while !cursor.at_end() {
        expected.extend_from_slice(cursor.piece(usize::MAX).unwrap());
    }
    for compress in ["text", "gzip"] {
        let pairs = [("port", port.as_str()), ("compress", compress)];
        let lane = common::open(&outputs::forward::DEF, &common::setup(), &pairs).unwrap().lane();
        let receive = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.unwrap();
            rmpv::decode::read_value(&mut bytes.as_slice()).unwrap()
        };
        let send = async {
            assert_eq!(lane.flush(&batch).await, Outcome::Done);
            drop(lane);
        };
        let ((), message) = tokio::join!(send, receive);
        let [tag, rmpv::Value::Binary(bytes), options] = message.as_array().unwrap().as_slice() else {
            panic!()
        };
        assert_eq!((tag.as_str(), options["fluent_signal"].as_u64()), (Some("internal"), Some(1)));
        assert_eq!(options["compressed"].as_str(), (compress == "gzip").then_some("gzip"));
        let bytes = if compress == "gzip" { common::gunzip(bytes) } else { bytes.clone() };
        assert_eq!(bytes, expected, "{compress}");
    }
}
