//! Requests of HTTP/1.1 on one core, pipelined so that parsing and answering is most of what is timed.

use std::rc::Rc;
use std::time::Duration;

use budget::{Budget, Share};
use criterion::{Criterion, Throughput};
use net::server::{Accounts, Answer, Begin, Body, Head, Lanes, Server, Service, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

/// Requests on their way at a time.
const DEPTH: usize = 64;
const LONG: Duration = Duration::from_secs(3_600);

/// Takes every body and forgets it.
struct Forget;

struct Forgotten(usize);

impl Service for Forget {
    type Body = Forgotten;

    fn begin(&self, head: &Head<'_>) -> Begin<Forgotten> {
        match head.header("content-type") {
            Some("application/json") => Begin::Body(Forgotten(0), 64 << 20),
            _ => Begin::Answer(Answer::status(400)),
        }
    }
}

impl Body for Forgotten {
    async fn data(&mut self, piece: &[u8]) -> Result<(), Answer> {
        self.0 += piece.len();
        Ok(())
    }

    async fn end(self) -> Answer {
        Answer::status(201)
    }
}

async fn connect() -> (TcpStream, Rc<Server<Forget>>) {
    let budget = Budget::new(16 << 20, 64 << 10).expect("address space");
    let account = budget.account("bench", "connections", Share::COMMON).expect("room");
    let settings = Settings {
        accept: LONG,
        idle: LONG,
        head: LONG,
        body: LONG,
        rate: 0,
        keep_alive: true,
        http2: true,
        tls: None,
    };
    let accounts =
        Accounts { connections: account.clone(), active: account.clone(), receive: account, small: None };
    let server = Server::new(Forget, settings, accounts);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    spawn_local(Rc::clone(&server).serve(listener, Lanes::new(0), std::future::pending()));
    (TcpStream::connect(address).await.expect("a connection"), server)
}

/// Sends `requests` and waits for `answers` bytes.
async fn exchange(client: &mut TcpStream, requests: &[u8], answers: &mut [u8]) {
    let (mut from, mut to) = client.split();
    let (sent, received) = tokio::join!(to.write_all(requests), from.read_exact(answers));
    sent.and(received.map(|_| ())).expect("answers");
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (name, size, depth) in [("small requests", 480, DEPTH), ("large bodies", 490_000, 2)] {
        let head = format!(
            "POST /app.log HTTP/1.1\r\nHost: 127.0.0.1:9880\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        );
        let request = [head.as_bytes(), &vec![b'x'; size]].concat();
        let tasks = LocalSet::new();
        let (mut client, _server) = tasks.block_on(&runtime, connect());
        // All answers are alike: the first tells how long one is.
        let mut first = vec![0; 4_096];
        let length = tasks.block_on(&runtime, async {
            client.write_all(&request).await.expect("a request");
            client.read(&mut first).await.expect("an answer")
        });
        assert!(first.starts_with(b"HTTP/1.1 201 "), "{}", String::from_utf8_lossy(&first));
        let (requests, mut answers) = (request.repeat(depth), vec![0; length * depth]);
        let mut group = criterion.benchmark_group("http1");
        group.throughput(if depth == DEPTH {
            Throughput::Elements(depth as u64)
        } else {
            Throughput::Bytes((size * depth) as u64)
        });
        group.bench_function(name, |bench| {
            bench.iter(|| tasks.block_on(&runtime, exchange(&mut client, &requests, &mut answers)));
        });
        group.finish();
    }
    criterion.final_summary();
}
