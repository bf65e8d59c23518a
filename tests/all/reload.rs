//! Hot reload: a new configuration takes over while records flow.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use leaklab::client::Connection;
use testkit::{Weir, eventually};

/// A server that keeps the lines it is sent, and can be made to refuse them.
struct Sink {
    port: u16,
    lines: Arc<Mutex<Vec<String>>>,
    refuses: Arc<AtomicBool>,
}

impl Sink {
    fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let sink = Sink { port, lines: Arc::default(), refuses: Arc::default() };
        let (lines, refuses) = (Arc::clone(&sink.lines), Arc::clone(&sink.refuses));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (lines, refuses) = (Arc::clone(&lines), Arc::clone(&refuses));
                std::thread::spawn(move || while Sink::answer(&stream, &lines, &refuses).is_some() {});
            }
        });
        sink
    }

    /// One request; `None` when the client has gone.
    fn answer(mut stream: &TcpStream, lines: &Mutex<Vec<String>>, refuses: &AtomicBool) -> Option<()> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
        let length = head.split("content-length:").nth(1)?.lines().next()?.trim().parse().ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let status = if refuses.load(Ordering::Relaxed) {
            "503 no"
        } else {
            let body = String::from_utf8(body).ok()?;
            lines.lock().unwrap().extend(body.lines().map(str::to_owned));
            "200 yes"
        };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").ok()
    }
}

fn configuration(sink: &Sink, set: &str) -> String {
    format!(
        "
service: {{flush: 0.1, grace: 5, http_server: on, http_listen: 127.0.0.1, http_port: ADMIN, hot_reload: on}}
pipeline:
  inputs:
    - {{name: http, listen: 127.0.0.1, port: PORT, http_server.workers: 2}}
  filters:
    - {{name: modify, match: '*', set: {set}}}
  outputs:
    - {{name: http, alias: sink, match: '*', host: 127.0.0.1, port: {}, format: json_lines}}
",
        sink.port
    )
}

fn reloads(weir: &Weir) -> u64 {
    let answer: serde_json::Value = serde_json::from_str(&weir.get("/api/v2/reload")).unwrap();
    answer["hot_reload_count"].as_u64().unwrap()
}

/// Sends numbered records until it is told to stop; returns how many were acknowledged.
fn send(port: u16, client: usize, stop: &AtomicBool, refused: &AtomicUsize) -> usize {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut acknowledged = 0;
    while !stop.load(Ordering::Relaxed) {
        let body = format!("{{\"id\":\"{client}-{acknowledged}\"}}");
        let head = format!(
            "POST /app HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let Ok(mut stream) = TcpStream::connect(address) else {
            refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = String::new();
        let sent =
            stream.write_all((head + &body).as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
        match sent {
            Ok(_) if answer.starts_with("HTTP/1.1 201") => acknowledged += 1,
            _ => {
                refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    acknowledged
}

#[test]
fn reloads_under_load_lose_nothing_and_refuse_nobody() {
    let rounds: u64 = std::env::var("RELOADS").ok().and_then(|text| text.parse().ok()).unwrap_or(9);
    let sink = Sink::start();
    let weir = Weir::start(&configuration(&sink, "a b"));
    let (stop, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    let acknowledged: usize = std::thread::scope(|scope| {
        let (stop, refused) = (&stop, &refused);
        let port = weir.port;
        let clients: Vec<_> =
            (0..4).map(|client| scope.spawn(move || send(port, client, stop, refused))).collect();
        for round in 0..rounds {
            sink.refuses.store(round >= rounds / 3 && round < 2 * rounds / 3, Ordering::Relaxed);
            weir.signal(libc::SIGHUP);
            eventually("the reload", || (reloads(&weir) > round).then_some(()));
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    assert_eq!(refused.load(Ordering::Relaxed), 0, "requests that got no 201");
    eventually("everything to arrive", || (sink.lines.lock().unwrap().len() >= acknowledged).then_some(()));
    weir.stop();
    let mut lines = sink.lines.lock().unwrap().clone();
    lines.sort();
    let all = lines.len();
    lines.dedup();
    assert_eq!((lines.len(), all), (acknowledged, acknowledged), "each acknowledged record exactly once");
    eprintln!("{rounds} reloads, {acknowledged} records");
}

#[test]
fn a_bad_new_configuration_changes_nothing_and_says_why() {
    let sink = Sink::start();
    let weir = Weir::start(&configuration(&sink, "a b"));
    weir.rewrite(|text| text.replace("modify", "modfy"));
    weir.signal(libc::SIGHUP);
    eventually("the verdict", || weir.log().contains("nothing is changed").then_some(()));
    assert!(
        weir.log().contains("unknown filter plugin \"modfy\"; did you mean \"modify\"?"),
        "{}",
        weir.log()
    );
    assert_eq!(reloads(&weir), 0);
    assert_eq!(weir.connect().post("/app", b"{\"id\":1}").unwrap(), 201);
    weir.rewrite(|text| text.replace("modfy", "modify").replace("a b", "new yes"));
    let admin = SocketAddr::from(([127, 0, 0, 1], weir.admin));
    let mut admin = Connection::open(admin, testkit::PATIENCE).unwrap();
    assert_eq!(admin.post("/api/v2/reload", b"{}").unwrap(), 200);
    eventually("the reload", || (reloads(&weir) == 1).then_some(()));
    assert_eq!(weir.connect().post("/app", b"{\"id\":2}").unwrap(), 201);
    eventually("both records", || (sink.lines.lock().unwrap().len() == 2).then_some(()));
    // The two are in chunks of their own, which no order is promised for.
    let lines = sink.lines.lock().unwrap().clone();
    assert!(
        lines.iter().any(|line| line.contains("\"id\":2") && line.contains("\"new\":\"yes\"")),
        "{lines:?}"
    );
    weir.stop();
}
