//! The client against small servers: what it keeps, what it bounds and how it fails.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use budget::{Account, Budget, Buf, Share};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use net::client::{Body, Client, Error, Settings, Tls, TlsOptions, TrustOptions};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring};

/// Far more than any test needs; a test that reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server of the test's own bytes: `talk` is called with the number of each connection. Gives its URL and
/// the count of connections.
async fn raw<F, R>(talk: F) -> (String, Arc<AtomicUsize>)
where
    F: Fn(usize, TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/path?sig=SECRET", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(count.fetch_add(1, Ordering::Relaxed), stream));
        }
    });
    (url, connections)
}

/// Reads the head of a request and answers it.
async fn answer(stream: &mut TcpStream, response: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    // A client may have seen enough and closed.
    let _ = stream.write_all(response.as_bytes()).await;
}

fn get(url: &str) -> Request<Body> {
    Request::get(url).body(Body::empty()).unwrap()
}

fn put(url: &str, body: impl Into<Body>) -> Request<Body> {
    Request::put(url).body(body.into()).unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again_and_closed_when_it_was_idle_for_too_long() {
    let closed = Arc::new(Notify::new());
    let notify = Arc::clone(&closed);
    let (url, connections) = raw(move |_, mut stream| {
        let notify = Arc::clone(&notify);
        async move {
            answer(&mut stream, OK).await;
            answer(&mut stream, OK).await;
            // The end of the connection.
            let _ = stream.read_u8().await;
            notify.notify_one();
        }
    })
    .await;
    let client = Client::new(Settings { idle_timeout: Duration::from_secs(1), ..Settings::default() });
    assert_eq!(client.send(get(&url)).await.unwrap().body(), "ok");
    assert_eq!(client.send(get(&url)).await.unwrap().body(), "ok");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
    tokio::time::timeout(DEADLINE, closed.notified()).await.expect("it closes though nobody asks");
}

#[tokio::test]
async fn a_connection_is_kept_as_long_as_the_settings_say() {
    for (settings, expected) in [
        (Settings { idle: 0, ..Settings::default() }, 4),
        (Settings { idle_per_peer: 0, ..Settings::default() }, 4),
        (Settings { recycle: 2, ..Settings::default() }, 2),
        (Settings { recycle: 0, ..Settings::default() }, 1),
    ] {
        let (url, connections) = raw(|_, mut stream| async move {
            for _ in 0..4 {
                answer(&mut stream, OK).await;
            }
        })
        .await;
        let client = Client::new(settings.clone());
        for _ in 0..4 {
            client.send(get(&url)).await.unwrap();
        }
        assert_eq!(connections.load(Ordering::Relaxed), expected, "{settings:?}");
    }
}

#[tokio::test]
async fn a_request_on_a_connection_that_the_peer_closes_is_sent_again_on_a_new_one() {
    // Takes the second request of the first connection and closes without a word.
    let (url, connections) = raw(|number, mut stream| async move {
        answer(&mut stream, OK).await;
        if number == 0 {
            answer(&mut stream, "").await;
        }
    })
    .await;
    let client = Client::new(Settings::default());
    for _ in 0..2 {
        assert_eq!(client.send(get(&url)).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn an_answer_that_is_none_or_breaks_off_or_is_too_long_is_an_error_without_secrets() {
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    for (response, expected) in [
        ("", "no whole response from 127.0.0.1:"),
        ("HELLO\r\n\r\n", "no whole response from 127.0.0.1:"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", "no whole response from 127.0.0.1:"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n12345678901234567890", "is longer than 10 bytes"),
        (&long_head, "no whole response from 127.0.0.1:"),
    ] {
        let sent = response.to_owned();
        let (url, _) = raw(move |_, mut stream| {
            let sent = sent.clone();
            async move { answer(&mut stream, &sent).await }
        })
        .await;
        let client = Client::new(Settings { response_bytes: 10, ..Settings::default() });
        let error = client.send(get(&url)).await.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        assert!(!error.contains("SECRET") && !error.contains("path"), "{error}");
    }
}

#[tokio::test]
async fn the_long_body_of_an_error_is_cut_and_its_connection_is_not_kept() {
    let (url, connections) = raw(|_, mut stream| async move {
        answer(&mut stream, "HTTP/1.1 413 Too Large\r\ncontent-length: 20\r\n\r\n12345678901234567890").await;
        answer(&mut stream, OK).await;
    })
    .await;
    let client = Client::new(Settings { response_bytes: 10, ..Settings::default() });
    for _ in 0..2 {
        let response = client.send(get(&url)).await.unwrap();
        assert_eq!((response.status().as_u16(), &response.body()[..]), (413, &b"1234567890"[..]));
    }
    assert_eq!(connections.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_a_timeout_and_gets_no_second_request() {
    let (url, connections) = raw(|_, mut stream| async move {
        answer(&mut stream, "").await;
        std::future::pending().await
    })
    .await;
    let client = Client::new(Settings { exchange_timeout: Duration::from_millis(50), ..Settings::default() });
    let error = client.send(get(&url)).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { doing: "answer", .. }), "{error}");
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn each_phase_has_its_error() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (open, _) = raw(|_, _| std::future::pending()).await;
    let client = Client::new(Settings::default());
    for (url, expected) in [
        (format!("http://{closed}/"), "cannot connect to 127.0.0.1:"),
        ("http://name.invalid/".to_owned(), "cannot resolve name.invalid:80: "),
        (open.replace("http:", "https:"), "the URL cannot be used: TLS"),
        ("ftp://x/".to_owned(), "the URL cannot be used: the scheme"),
        ("/relative".to_owned(), "the URL cannot be used: the scheme"),
    ] {
        let error = client.send(get(&url)).await.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

fn account() -> Account {
    Budget::new(8 << 20, 4096).unwrap().account("http.0", "bodies", Share::COMMON).unwrap()
}

/// A server that answers with what it is sent. Its name is `localhost`.
async fn echo(tls: Option<TlsAcceptor>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let scheme = if tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://localhost:{}/", listener.local_addr().unwrap().port());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (server, service) = (hyper::server::conn::http1::Builder::new(), service_fn(echoed));
            match tls.clone() {
                None => drop(tokio::spawn(server.serve_connection(TokioIo::new(stream), service))),
                Some(tls) => drop(tokio::spawn(async move {
                    if let Ok(stream) = tls.accept(stream).await {
                        let _ = server.serve_connection(TokioIo::new(stream), service).await;
                    }
                })),
            }
        }
    });
    url
}

async fn echoed(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    assert!(request.headers()["host"].to_str().unwrap().starts_with("localhost:"));
    Ok(Response::new(Full::from(request.into_body().collect().await.unwrap().to_bytes())))
}

#[tokio::test]
async fn leased_pages_arrive_as_they_were_written_and_are_paid_back() {
    let (account, url) = (account(), echo(None).await);
    let client = Client::new(Settings { response_bytes: 4 << 20, ..Settings::default() });
    for bytes in [0, 1, 4096, 1_000_000] {
        let written: Vec<u8> = (0..bytes).map(|at: u32| (at % 251) as u8).collect();
        let mut buf = Buf::new(&account);
        buf.write(&written).unwrap();
        let response = client.send(put(&url, Body::pages(Arc::new(buf)))).await.unwrap();
        assert_eq!(response.body()[..], written);
        assert_eq!(account.held(), 0);
    }
}

#[tokio::test]
async fn a_request_that_is_given_up_pays_its_pages_back() {
    let account = account();
    let (url, _) = raw(|_, stream| async move {
        let _open = stream;
        std::future::pending().await
    })
    .await;
    let client = Client::new(Settings { exchange_timeout: Duration::from_millis(50), ..Settings::default() });
    let mut buf = Buf::new(&account);
    buf.write(&vec![1; 4 << 20]).unwrap();
    client.send(put(&url, Body::pages(Arc::new(buf)))).await.unwrap_err();
    // The task that held the socket ends at its next turn.
    let paid_back = async {
        while account.held() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(DEADLINE, paid_back).await.expect("nothing holds the pages");
}

/// Files with a certificate for `name`, and a server that shows it.
fn certified(name: &str) -> (tempfile::TempDir, String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (dir, file.to_str().unwrap().to_owned(), TlsAcceptor::from(Arc::new(config)))
}

fn tls(verify: bool, ca_file: Option<&str>, vhost: Option<&str>) -> Client {
    let trust = TrustOptions { verify, ca_file: ca_file.map(str::to_owned), ..TrustOptions::default() };
    let vhost = vhost.map(str::to_owned);
    let options = TlsOptions { enabled: true, trust, vhost, ..TlsOptions::default() };
    Client::new(Settings { tls: Some(Tls::new(&options).unwrap()), ..Settings::default() })
}

#[tokio::test]
async fn a_certificate_must_come_from_whom_is_trusted_and_carry_the_name() {
    let (_dir, ca_file, acceptor) = certified("localhost");
    let url = echo(Some(acceptor)).await;
    let body = || put(&url, "secret");
    assert_eq!(tls(true, Some(&ca_file), None).send(body()).await.unwrap().body(), "secret");

    let (_other_dir, other_ca, _) = certified("localhost");
    for client in [tls(true, Some(&other_ca), None), tls(true, Some(&ca_file), Some("another.example"))] {
        let error = client.send(body()).await.unwrap_err();
        assert!(matches!(error, Error::Tls { .. }), "{error}");
    }
    assert_eq!(tls(false, None, None).send(body()).await.unwrap().body(), "secret");
}

#[tokio::test]
async fn another_name_can_be_asked_for() {
    let (_dir, ca_file, acceptor) = certified("logs.example");
    let url = echo(Some(acceptor)).await;
    assert!(tls(true, Some(&ca_file), None).send(put(&url, "x")).await.is_err());
    let client = tls(true, Some(&ca_file), Some("logs.example"));
    assert_eq!(client.send(put(&url, "x")).await.unwrap().body(), "x");
}

#[test]
fn files_that_are_no_certificates_are_refused_by_the_option_that_names_them() {
    let (dir, ca_file, _) = certified("localhost");
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let empty = empty.to_str().unwrap();
    let trust = |file: &str| TrustOptions { ca_file: Some(file.to_owned()), ..TrustOptions::default() };
    let refused = Tls::trusting(&trust("/nowhere/ca.pem")).unwrap_err();
    assert_eq!(refused.option, "tls.ca_file");
    assert!(refused.what.starts_with("cannot read /nowhere/ca.pem"), "{}", refused.what);
    assert!(Tls::trusting(&trust(empty)).unwrap_err().what.ends_with("has no certificate"));
    let (crt_file, key_file) = (Some(ca_file.clone()), Some(empty.to_owned()));
    let options =
        TlsOptions { enabled: true, trust: trust(&ca_file), crt_file, key_file, ..TlsOptions::default() };
    assert_eq!(Tls::new(&options).unwrap_err().option, "tls.key_file");
}
