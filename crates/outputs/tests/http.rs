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
        // Connections that wait for the next request are still paid for.
        let left = setup.budget.accounts().into_iter().filter(|account| account.purpose != "connections");
        assert_eq!(left.map(|account| account.held).sum::<usize>(), 0, "{pairs:?}");
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

/// A token service that gives out tokens of its own counting, and a server that lets in the one that `valid` names.
async fn guarded(valid: &'static str) -> (String, Arc<Mutex<Vec<Got>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let got: Arc<Mutex<Vec<Got>>> = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&got);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let all = Arc::clone(&all);
            let service =
                service_fn(move |request: Request<Incoming>| guard(request, Arc::clone(&all), valid));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (port, got)
}

async fn guard(
    request: Request<Incoming>,
    all: Arc<Mutex<Vec<Got>>>,
    valid: &'static str,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes().to_vec();
    let line = format!("{} {}", head.method, head.uri);
    let got = Got { line, headers: head.headers, body };
    let mut all = all.lock().unwrap();
    let asked = 1 + all.iter().filter(|got| got.line == "POST /token").count();
    let (status, body) = match (got.line.as_str(), got.header("authorization")) {
        ("POST /token", _) if got.body.windows(10).any(|word| word == b"scope=deny") => {
            (400, "no".to_owned())
        }
        ("POST /token", _) => {
            (200, format!(r#"{{"access_token":"t{asked}","token_type":"Bearer","expires_in":3600}}"#))
        }
        (_, token) if token == valid => (200, String::new()),
        _ => (401, "who is that".to_owned()),
    };
    all.push(got);
    Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_anew_when_the_server_does_not_take_it() {
    let (port, got) = guarded("Bearer t2").await;
    let url = format!("http://127.0.0.1:{port}/token");
    let pairs = [
        ("port", port.as_str()),
        ("oauth2.enable", "on"),
        ("oauth2.token_url", &url),
        ("oauth2.client_id", "me"),
        ("oauth2.client_secret", "s&cret"),
        ("oauth2.scope", "logs write"),
    ];
    let lane = common::open(&outputs::http::DEF, &common::setup(), &pairs).unwrap().lane();
    let batch = batch("t", &["{}"]);
    assert!(matches!(lane.flush(&batch).await, Outcome::Retry { .. }), "the first token is refused");
    for _ in 0..3 {
        assert_eq!(lane.flush(&batch).await, Outcome::Done);
    }
    let lines: Vec<String> = got.lock().unwrap().iter().map(|got| got.line.clone()).collect();
    assert_eq!(lines, ["POST /token", "POST /", "POST /token", "POST /", "POST /", "POST /"]);
    let asked = got.lock().unwrap()[0].clone();
    assert_eq!(asked.body, b"grant_type=client_credentials&scope=logs%20write");
    assert_eq!(asked.header("authorization"), "Basic bWU6cyZjcmV0");

    let post = [pairs.as_slice(), &[("oauth2.auth_method", "post")]].concat();
    let lane = common::open(&outputs::http::DEF, &common::setup(), &post).unwrap().lane();
    let _refused = lane.flush(&batch).await;
    let asked = got.lock().unwrap().iter().rfind(|got| got.line == "POST /token").unwrap().clone();
    let body = String::from_utf8(asked.body.clone()).unwrap();
    assert!(body.ends_with("&client_id=me&client_secret=s%26cret"), "{body}");
    assert_eq!(asked.header("authorization"), "");

    let denied =
        pairs.iter().map(|pair| if pair.0 == "oauth2.scope" { ("oauth2.scope", "deny") } else { *pair });
    let denied: Vec<_> = denied.collect();
    let lane = common::open(&outputs::http::DEF, &common::setup(), &denied).unwrap().lane();
    assert!(
        matches!(lane.flush(&batch).await, Outcome::Hold { .. }),
        "nothing is dropped for want of a token"
    );
}

#[tokio::test]
async fn who_we_are_is_signed_with_our_key() {
    let (port, got) = guarded("Bearer t1").await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (file("key.pem"), file("crt.pem"));
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=me",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let url = format!("http://127.0.0.1:{port}/token");
    let pairs = [
        ("port", port.as_str()),
        ("oauth2.enable", "on"),
        ("oauth2.token_url", &url),
        ("oauth2.client_id", "me"),
        ("oauth2.auth_method", "private_key_jwt"),
        ("oauth2.jwt_key_file", &key),
        ("oauth2.jwt_cert_file", &certificate),
        ("oauth2.jwt_header", "x5t"),
    ];
    let lane = common::open(&outputs::http::DEF, &common::setup(), &pairs).unwrap().lane();
    assert_eq!(lane.flush(&batch("t", &["{}"])).await, Outcome::Done);
    let form = String::from_utf8(got.lock().unwrap()[0].body.clone()).unwrap();
    let (_, statement) = form.split_once("client_assertion=").unwrap();
    let (text, signature) = statement.rsplit_once('.').unwrap();
    let part = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
    };
    let claims: serde_json::Value = serde_json::from_slice(&part(text.split_once('.').unwrap().1)).unwrap();
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["aud"]),
        (&"me".into(), &"me".into(), &url.as_str().into())
    );
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 300);
    std::fs::write(file("text"), text).unwrap();
    std::fs::write(file("signature"), part(signature)).unwrap();
    let shell = format!(
        "openssl x509 -in {certificate} -noout -pubkey > {0} && openssl dgst -sha256 -verify {0} -signature {1} {2}",
        file("public"),
        file("signature"),
        file("text")
    );
    let verified = std::process::Command::new("sh").args(["-c", &shell]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test]
async fn a_record_may_have_the_body_and_the_headers_of_its_own_request() {
    let pairs = [("body_key", "$b"), ("headers_key", "$h"), ("header", "X-All 1")];
    let (port, got) = server(200, None).await;
    let records = [r#"{"b":"the body","h":{"X-Own":"2","no good":"3"}}"#, r#"{"b":"x"}"#];
    assert!(matches!(flush(&port, &batch("t", &records), &pairs).await, Outcome::Split { .. }));
    assert!(matches!(flush(&port, &batch("t", &records[1..]), &pairs).await, Outcome::Reject { .. }));
    assert_eq!(flush(&port, &batch("t", &records[..1]), &pairs).await, Outcome::Done);
    let got = got.lock().unwrap();
    let [got] = got.as_slice() else { panic!("{got:?}") };
    assert_eq!((got.body.as_slice(), got.header("x-own"), got.header("x-all")), (&b"the body"[..], "2", "1"));
}

#[tokio::test]
async fn a_proxy_is_told_the_whole_url_and_headers_are_sent_as_often_as_asked_for() {
    let (port, got) = server(200, None).await;
    let proxy = format!("http://me:pass@127.0.0.1:{port}");
    let pairs = [
        ("host", "logs.invalid"),
        ("port", "8080"),
        ("uri", "/in"),
        ("proxy", proxy.as_str()),
        ("header", "X-A 1"),
        ("header", "X-A 2"),
        ("allow_duplicated_headers", "off"),
    ];
    let lane = common::open(&outputs::http::DEF, &common::setup(), &pairs).unwrap().lane();
    assert_eq!(lane.flush(&batch("t", &["{}"])).await, Outcome::Done);
    let got = got.lock().unwrap()[0].clone();
    assert_eq!(got.line, "POST http://logs.invalid:8080/in");
    assert_eq!(
        (got.header("host"), got.header("proxy-authorization")),
        ("logs.invalid:8080", "Basic bWU6cGFzcw==")
    );
    assert_eq!(got.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["2"]);
}
