//! `http` against a small server: what it sends, and what it makes of the answers.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use common::batch;
use engine::{Batch, Outcome};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// A request as the server got it.
#[derive(Debug, Clone)]
struct Got {
    line: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Starts a server that gives the same answer to everything; returns its port and what it gets.
async fn server(status: u16, retry_after: Option<&'static str>) -> (String, Arc<Mutex<Vec<Got>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let got = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&got);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let all = Arc::clone(&all);
            let service = service_fn(move |request: Request<Incoming>| {
                answer(request, Arc::clone(&all), status, retry_after)
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (port, got)
}

async fn answer(
    request: Request<Incoming>,
    all: Arc<Mutex<Vec<Got>>>,
    status: u16,
    retry_after: Option<&'static str>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let line = format!("{} {}", head.method, head.uri);
    all.lock().unwrap().push(Got { line, headers: head.headers, body });
    let mut response = Response::builder().status(status);
    if let Some(value) = retry_after {
        response = response.header("retry-after", value);
    }
    Ok(response.body(Full::from("the\nreason")).unwrap())
}

async fn flush(port: &str, batch: &Batch, pairs: &[(&str, &str)]) -> Outcome {
    let setup = common::setup();
    let pairs = [&[("port", port)], pairs].concat();
    let lane = common::open(&outputs::http::DEF, &setup, &pairs).unwrap().lane();
    lane.flush(batch).await
}

/// What one flush sends.
async fn sent(pairs: &[(&str, &str)]) -> Got {
    let (port, got) = server(200, None).await;
    let batch = batch("app.log", &[r#"{"a":1}"#, r#"{"b":"x"}"#]);
    assert_eq!(flush(&port, &batch, pairs).await, Outcome::Done);
    let got = got.lock().unwrap().clone();
    assert_eq!(got.len(), 1);
    got[0].clone()
}

const LINES: &str = "{\"date\":1700000000.123457,\"a\":1}\n{\"date\":1700000001.123457,\"b\":\"x\"}\n";

#[tokio::test]
async fn the_default_request_is_that_of_fluent_bit() {
    let got = sent(&[]).await;
    assert_eq!(got.line, "POST /");
    assert_eq!(got.header("content-type"), "application/json");
    assert!(got.header("user-agent").starts_with("Weir/"));
    assert_eq!(got.header("content-length"), got.body.len().to_string());
    assert_eq!(String::from_utf8(got.body).unwrap(), format!("[{}]", LINES.trim_end().replace('\n', ",")));
}

#[tokio::test]
async fn each_format_has_its_body_and_its_content_type() {
    let got = sent(&[("format", "json_lines")]).await;
    assert_eq!((got.header("content-type"), &*got.body), ("application/x-ndjson", LINES.as_bytes()));
    let got = sent(&[("format", "json_stream")]).await;
    assert_eq!(
        (got.header("content-type"), String::from_utf8_lossy(&got.body).into_owned()),
        ("application/json", LINES.replace('\n', ""))
    );
    let got = sent(&[("format", "msgpack")]).await;
    assert_eq!(got.header("content-type"), "application/msgpack");
    let mut rest = got.body.as_slice();
    let first = rmpv::decode::read_value(&mut rest).unwrap();
    assert_eq!(first[1], rmpv::Value::Map(vec![("a".into(), 1.into())]));
    let second = rmpv::decode::read_value(&mut rest).unwrap();
    assert_eq!(second[1], rmpv::Value::Map(vec![("b".into(), "x".into())]));
    assert!(rest.is_empty());
}

#[tokio::test]
async fn options_shape_the_request() {
    let got = sent(&[
        ("uri", "in?x=1"),
        ("http_method", "PUT"),
        ("header", "X-Team the platform"),
        ("header", "Content-Type text/plain"),
        ("header_tag", "X-Tag"),
        ("http_user", "me"),
        ("http_passwd", "secret"),
        ("json_date_key", "false"),
        ("format", "json_lines"),
        ("compress", "gzip"),
    ])
    .await;
    assert_eq!(got.line, "PUT /in?x=1");
    assert_eq!(got.header("x-team"), "the platform");
    assert_eq!(got.headers.get_all("content-type").iter().count(), 1);
    assert_eq!(got.header("content-type"), "text/plain");
    assert_eq!(got.header("x-tag"), "app.log");
    assert_eq!(got.header("authorization"), "Basic bWU6c2VjcmV0");
    assert_eq!(got.header("content-encoding"), "gzip");
    assert_eq!(common::gunzip(&got.body), b"{\"a\":1}\n{\"b\":\"x\"}\n");
}

#[tokio::test]
async fn each_answer_has_the_outcome_of_the_table() {
    let batch = batch("t", &["{}"]);
    for (status, name) in [
        (200, "done"),
        (204, "done"),
        (299, "done"),
        (301, "retry"),
        (400, "reject"),
        (401, "reject"),
        (404, "reject"),
        (408, "retry"),
        (413, "split"),
        (429, "retry"),
        (500, "retry"),
        (503, "retry"),
    ] {
        let (port, _) = server(status, Some("9")).await;
        let outcome = flush(&port, &batch, &[]).await;
        let found = match &outcome {
            Outcome::Done => "done",
            Outcome::Retry { .. } => "retry",
            Outcome::Hold { .. } => "hold",
            Outcome::Reject { .. } => "reject",
            Outcome::Split { .. } => "split",
        };
        assert_eq!(found, name, "{status}: {outcome:?}");
        if let Outcome::Retry { after, why } = outcome {
            assert_eq!(after, Some(Duration::from_secs(9)), "{status}");
            assert!(why.ends_with(": the reason"), "{why}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_tried_again() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port().to_string();
    let outcome = flush(&closed, &batch("t", &["{}"]), &[]).await;
    let Outcome::Retry { after: None, why } = outcome else { panic!("{outcome:?}") };
    assert!(why.starts_with("cannot connect to 127.0.0.1:"), "{why}");
}

/// What the server is to get of these records.
fn expected(format: &str, records: &[String]) -> Vec<u8> {
    if format == "msgpack" {
        let batch = common::batch_of(1, records);
        let mut cursor = batch.parts[0].cursor().unwrap();
        return cursor.copy(batch.bytes()).unwrap();
    }
    records.iter().map(|record| format!("{record}\n")).collect::<String>().into_bytes()
}

#[tokio::test]
async fn a_body_of_any_size_is_sent_while_others_hold_all_of_the_budget() {
    for pairs in [
        [("format", "json_lines"), ("json_date_key", "off")].as_slice(),
        &[("format", "json_lines"), ("json_date_key", "off"), ("compress", "gzip")],
        &[("format", "msgpack")],
    ] {
        let (port, got) = server(200, None).await;
        let setup = common::setup();
        let output = common::open(&outputs::http::DEF, &setup, &[&[("port", &*port)], pairs].concat());
        let lane = output.unwrap().lane();
        let filled = common::fill(&setup.budget);
        let records = common::unwieldy();
        let [one, many] = [0, 1].map(|at| common::batch_of(at as u128, &records[at]));
        let outcomes = tokio::join!(lane.flush(&one), lane.flush(&many));
        assert_eq!(outcomes, (Outcome::Done, Outcome::Done), "{pairs:?}");
        drop(filled);
        assert_eq!(setup.budget.stat().held, 0, "{pairs:?}");
        let mut got = got.lock().unwrap().clone();
        got.sort_by_key(|got| std::cmp::Reverse(got.body.len()));
        for (got, records) in got.iter().zip(&records) {
            assert_eq!(got.header("content-length"), got.body.len().to_string());
            let gzip = got.header("content-encoding") == "gzip";
            let body = if gzip { common::gunzip(&got.body) } else { got.body.clone() };
            assert!(body == expected(pairs[0].1, records), "{pairs:?}");
        }
    }
}

/// A server that closes a connection after its first answer, without saying so.
async fn forgetful_server() -> (String, Arc<Mutex<Vec<Got>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let got = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&got);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (all, answered) = (Arc::clone(&all), Arc::new(tokio::sync::Notify::new()));
            let done = Arc::clone(&answered);
            let service = service_fn(move |request: Request<Incoming>| {
                let (all, done, before) = (Arc::clone(&all), Arc::clone(&done), all.lock().unwrap().len());
                async move {
                    if before == 1 {
                        // In the middle of the body, on the connection of the first request.
                        let mut body = request.into_body();
                        body.frame().await.unwrap().unwrap();
                        all.lock().unwrap().push(Got {
                            line: String::new(),
                            headers: HeaderMap::new(),
                            body: Vec::new(),
                        });
                        done.notify_one();
                        return std::future::pending().await;
                    }
                    answer(request, all, 200, None).await
                }
            });
            tokio::spawn(async move {
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::select! {
                    _ended = builder.serve_connection(TokioIo::new(stream), service) => (),
                    () = answered.notified() => (),
                }
            });
        }
    });
    (port, got)
}

#[tokio::test]
async fn a_large_body_is_written_anew_when_a_connection_breaks_in_the_middle_of_it() {
    let (port, got) = forgetful_server().await;
    let setup = common::setup();
    let pairs = [("port", &*port), ("format", "json_lines"), ("json_date_key", "off"), ("compress", "gzip")];
    let lane = common::open(&outputs::http::DEF, &setup, &pairs).unwrap().lane();
    assert_eq!(lane.flush(&batch("t", &["{}"])).await, Outcome::Done);
    let [records, _] = common::unwieldy();
    let large = common::batch_of(2, &records);
    let mut outcome = lane.flush(&large).await;
    if let Outcome::Retry { .. } = outcome {
        // How the break shows is a matter of the moment: as a failure to send, or as one to answer.
        outcome = lane.flush(&large).await;
    }
    assert_eq!(outcome, Outcome::Done);
    let got = got.lock().unwrap();
    assert!(common::gunzip(&got.last().unwrap().body) == expected("json_lines", &records));
}

#[tokio::test]
async fn a_large_body_that_is_refused_before_its_end_pays_everything_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|_: Request<Incoming>| async {
                Ok::<_, Infallible>(Response::builder().status(413).body(Full::<Bytes>::from("")).unwrap())
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    let setup = common::setup();
    let lane = common::open(&outputs::http::DEF, &setup, &[("port", &port)]).unwrap().lane();
    let [one, many] = common::unwieldy().map(|records| common::batch_of(1, &records));
    let _filled = common::fill(&setup.budget);
    for batch in [&one, &many, &one, &many] {
        // A server that closes while it is written to may be heard of only as a broken connection.
        let outcome = lane.flush(batch).await;
        let text = format!("{outcome:?}");
        assert!(matches!(outcome, Outcome::Split { .. } | Outcome::Retry { .. }), "{text}");
        assert!(!text.contains("set aside"), "{text}");
    }
}

#[test]
fn every_problem_of_a_section_is_told_at_once() {
    let setup = common::setup();
    let problems = common::open(
        &outputs::http::DEF,
        &setup,
        &[("header", "a\u{1}b c"), ("header_tag", "x y"), ("tls", "on"), ("tls.ca_file", "/nowhere/ca.pem")],
    );
    let problems = problems.err().unwrap();
    for expected in ["is no name of a header", "cannot read /nowhere/ca.pem"] {
        assert!(problems.contains(expected), "{problems}");
    }
}
