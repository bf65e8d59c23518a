//! HTTP/2 connections, seen by a client that follows the rules (the `h2` crate) and by ones that do not.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::rc::Rc;
use std::time::Duration;

use budget::{Account, Budget, Buf, Share};
use bytes::Bytes;
use net::server::{Accounts, Answer, Begin, Body, Head, Lanes, Server, Service, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(3_600);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LIMIT: usize = 2 << 20;

/// Counts the bytes of bodies. `/wait` does not end before `/go` was asked for.
struct Count {
    account: Account,
    go: Rc<Notify>,
}

struct Counted {
    bytes: usize,
    sum: u64,
    kept: Buf,
    wait: Option<Rc<Notify>>,
    answer: Answer,
}

impl Service for Count {
    type Body = Counted;

    fn begin(&self, head: &Head<'_>) -> Begin<Counted> {
        match (head.method, head.path()) {
            ("POST" | "HEAD", path) => {
                if path == "/go" {
                    self.go.notify_one();
                }
                let wait = (path == "/wait").then(|| Rc::clone(&self.go));
                let answer = Answer::status(200).header("X-Kind", head.header("x-kind").unwrap_or("none"));
                let kept = Buf::new(&self.account);
                Begin::Body(Counted { bytes: 0, sum: 0, kept, wait, answer }, LIMIT)
            }
            _ => Begin::Answer(Answer::text(405, "error: post it")),
        }
    }
}

impl Body for Counted {
    async fn data(&mut self, piece: &[u8]) -> Result<(), Answer> {
        self.bytes += piece.len();
        self.sum += piece.iter().map(|byte| u64::from(*byte)).sum::<u64>();
        if self.kept.is_empty() {
            self.kept.write(&piece[..piece.len().min(10)]).map_err(|_| Answer::status(503))?;
        }
        Ok(())
    }

    async fn end(self) -> Answer {
        if let Some(wait) = &self.wait {
            wait.notified().await;
        }
        Answer { body: format!("{} {}", self.bytes, self.sum), ..self.answer }
    }
}

struct World {
    budget: Budget,
    address: std::net::SocketAddr,
    stop: Rc<Notify>,
}

/// Serves in the present task set; `share` is what connections may hold.
async fn world(share: Share, change: impl FnOnce(&mut Settings)) -> World {
    let budget = Budget::new(8 << 20, 16 << 10).unwrap();
    let account = |purpose, share| budget.account("test", purpose, share).unwrap();
    let mut settings = Settings {
        accept: LONG,
        idle: LONG,
        head: LONG,
        body: LONG,
        rate: 0,
        keep_alive: true,
        http2: true,
        tls: None,
    };
    change(&mut settings);
    let accounts = Accounts {
        connections: account("connections", share),
        active: account("active", Share::COMMON),
        receive: account("receive", Share::COMMON),
        small: None,
    };
    let service = Count { account: account("kept", Share::COMMON), go: Rc::default() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = Rc::new(Notify::new());
    let stopped = Rc::clone(&stop);
    spawn_local(async move {
        Server::new(service, settings, accounts)
            .serve(listener, Lanes::new(0), async move { stopped.notified().await })
            .await;
    });
    World { budget, address, stop }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async { timeout(Duration::from_secs(60), test).await.unwrap() });
}

fn held(budget: &Budget, purpose: &str) -> usize {
    budget.accounts().iter().filter(|account| account.purpose == purpose).map(|account| account.held).sum()
}

async fn until(what: impl Fn() -> bool) {
    while !what() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn client(world: &World) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(world.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    spawn_local(async move { drop(connection.await) });
    client
}

fn post(path: &str) -> http::Request<()> {
    http::Request::post(format!("http://localhost{path}")).header("X-Kind", "a kind").body(()).unwrap()
}

/// Sends a body as far as the server takes it, and returns status and text of the answer.
async fn exchange(client: &h2::client::SendRequest<Bytes>, path: &str, body: Bytes) -> (u16, String) {
    let mut client = client.clone().ready().await.unwrap();
    let (answer, mut sender) = client.send_request(post(path), body.is_empty()).unwrap();
    let send = async {
        let mut rest = body;
        while !rest.is_empty() {
            sender.reserve_capacity(rest.len());
            let Some(Ok(room)) = std::future::poll_fn(|context| sender.poll_capacity(context)).await else {
                return;
            };
            let piece = rest.split_to(room.min(rest.len()));
            sender.send_data(piece, rest.is_empty()).unwrap();
        }
    };
    let receive = async {
        let mut answer = answer.await.unwrap();
        let mut text = Vec::new();
        while let Some(piece) = answer.body_mut().data().await {
            let piece = piece.unwrap();
            answer.body_mut().flow_control().release_capacity(piece.len()).unwrap();
            text.extend_from_slice(&piece);
        }
        (answer.status().as_u16(), String::from_utf8(text).unwrap())
    };
    tokio::join!(send, receive).1
}

#[test]
fn bodies_of_any_size_arrive_whole_over_streams_side_by_side() {
    run(async {
        let world = world(Share::COMMON, |_| {}).await;
        let client = client(&world).await;
        let sizes = [0, 1, 9, 16_383, 16_384, 16_385, 300_000, 1_500_000];
        let exchanges = sizes.map(|size| {
            let body: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            let expected = format!("{size} {}", body.iter().map(|byte| u64::from(*byte)).sum::<u64>());
            let client = client.clone();
            spawn_local(async move {
                for _ in 0..5 {
                    let answer = exchange(&client, "/", Bytes::from(body.clone())).await;
                    assert_eq!(answer, (200, expected.clone()));
                }
            })
        });
        for exchange in exchanges {
            exchange.await.unwrap();
        }
        until(|| ["active", "receive", "kept"].iter().all(|purpose| held(&world.budget, purpose) == 0)).await;
        drop(client);
        until(|| world.budget.stat().held == 0).await;
    });
}

#[test]
fn a_request_that_takes_long_to_end_does_not_hold_up_the_others() {
    run(async {
        let world = world(Share::COMMON, |_| {}).await;
        let client = client(&world).await;
        let waiting = {
            let client = client.clone();
            spawn_local(async move { exchange(&client, "/wait", Bytes::from_static(b"abc")).await })
        };
        for _ in 0..50 {
            assert_eq!(exchange(&client, "/", Bytes::from_static(b"\x02")).await, (200, "1 2".to_owned()));
        }
        assert!(!waiting.is_finished());
        exchange(&client, "/go", Bytes::new()).await;
        assert_eq!(waiting.await.unwrap(), (200, "3 294".to_owned()));
    });
}

#[test]
fn a_body_above_the_limit_is_refused_and_the_connection_goes_on() {
    run(async {
        let world = world(Share::COMMON, |_| {}).await;
        let client = client(&world).await;
        for size in [LIMIT + 1, LIMIT + 1_000_000] {
            let (status, text) = exchange(&client, "/", Bytes::from(vec![1; size])).await;
            assert_eq!(status, 413, "{text}");
        }
        assert_eq!(exchange(&client, "/", Bytes::from_static(b"\x02")).await.0, 200);
    });
}

/// A client that writes frames by hand.
struct Raw {
    stream: TcpStream,
    seen: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, Clone)]
struct Seen {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// POST / over http, as indexes of the static table.
const POST: &[u8] = &[0x83, 0x84, 0x86];

fn head(stream: u32, last: bool) -> Vec<u8> {
    frame(1, 0x4 | u8::from(last), stream, POST)
}

fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    [&[0, name.len() as u8][..], name, &[value.len() as u8], value].concat()
}

impl Raw {
    async fn connect(world: &World) -> Raw {
        let stream = TcpStream::connect(world.address).await.unwrap();
        Raw { stream, seen: Vec::new() }
    }

    async fn open(world: &World) -> Raw {
        let mut raw = Raw::connect(world).await;
        raw.send(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await;
        assert_eq!(raw.next().await.unwrap().kind, 4, "the server's settings come first");
        raw
    }

    async fn send(&mut self, bytes: &[u8]) {
        // A server that has said its last word may be gone.
        let _sent = self.stream.write_all(bytes).await;
    }

    /// The next frame; `None` when the connection has ended.
    async fn next(&mut self) -> Option<Seen> {
        loop {
            if let Some((length, rest)) = self.seen.split_first_chunk::<3>() {
                let length = u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
                if rest.len() >= 6 + length {
                    let stream = u32::from_be_bytes(rest[2..6].try_into().unwrap());
                    let payload = rest[6..6 + length].to_vec();
                    let seen = Seen { kind: rest[0], flags: rest[1], stream, payload };
                    self.seen.drain(..9 + length);
                    return Some(seen);
                }
            }
            let mut buffer = [0; 4_096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.seen.extend_from_slice(&buffer[..read]),
            }
        }
    }

    /// The next frame of a kind.
    async fn next_of(&mut self, kind: u8) -> Option<Seen> {
        loop {
            match self.next().await {
                Some(seen) if seen.kind != kind => {}
                seen => return seen,
            }
        }
    }

    /// The body of the answer on a stream.
    async fn answer(&mut self, stream: u32) -> String {
        loop {
            let seen = self.next_of(0).await.expect("an answer");
            if seen.stream == stream {
                return String::from_utf8(seen.payload).unwrap();
            }
        }
    }
}

/// What a client may send behind the preface, and the reason that it is to hear.
fn broken_rules() -> Vec<(&'static str, u32, Vec<u8>)> {
    let first = frame(4, 0, 0, &[]);
    vec![
        ("a frame before the settings", 1, head(1, true)),
        ("settings on a stream", 1, [first.clone(), frame(4, 0, 1, &[])].concat()),
        ("settings of an odd length", 6, [first.clone(), frame(4, 0, 0, &[0; 5])].concat()),
        ("settings acknowledged with a payload", 6, [first.clone(), frame(4, 1, 0, &[0; 6])].concat()),
        ("push that is neither on nor off", 1, frame(4, 0, 0, &[0, 2, 0, 0, 0, 2])),
        ("a window beyond the largest", 3, frame(4, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("a frame size below the least", 1, frame(4, 0, 0, &[0, 5, 0, 0, 0x3f, 0xff])),
        ("settings without end", 11, frame(4, 0, 0, &[0, 9, 0, 0, 0, 0].repeat(300))),
        ("a frame above the largest", 6, [first.clone(), frame(0, 0, 1, &[0; 16_385])].concat()),
        ("data on no stream", 1, [first.clone(), frame(0, 0, 0, &[1])].concat()),
        ("data on a stream that was not begun", 1, [first.clone(), frame(0, 0, 1, &[1])].concat()),
        (
            "padding longer than the data",
            1,
            [first.clone(), head(1, false), frame(0, 8, 1, &[9, 1])].concat(),
        ),
        ("a head on an even stream", 1, [first.clone(), head(2, true)].concat()),
        ("a head on no stream", 1, [first.clone(), head(0, true)].concat()),
        (
            "a head without its rest",
            1,
            [first.clone(), frame(1, 1, 1, POST), frame(6, 0, 0, &[0; 8])].concat(),
        ),
        ("the rest of another head", 1, [first.clone(), frame(1, 1, 1, POST), frame(9, 4, 3, &[])].concat()),
        ("a rest without a head", 1, [first.clone(), frame(9, 4, 1, &[])].concat()),
        (
            "rests with nothing in them",
            11,
            [first.clone(), frame(1, 1, 1, POST), frame(9, 0, 1, &[])].concat(),
        ),
        ("a head without end", 11, {
            let rest = frame(9, 0, 1, &literal(b"a", &[b'v'; 120]).repeat(40));
            [first.clone(), frame(1, 1, 1, POST), rest.repeat(4)].concat()
        }),
        ("a head that cannot be decompressed", 9, [first.clone(), frame(1, 5, 1, &[0xff, 0x80])].concat()),
        ("a ping on a stream", 1, [first.clone(), frame(6, 0, 1, &[0; 8])].concat()),
        ("a short ping", 6, [first.clone(), frame(6, 0, 0, &[0; 7])].concat()),
        ("a reset of no stream", 1, [first.clone(), frame(3, 0, 0, &[0; 4])].concat()),
        ("a reset of a stream that was not begun", 1, [first.clone(), frame(3, 0, 5, &[0; 4])].concat()),
        ("a short reset", 6, [first.clone(), frame(3, 0, 1, &[0; 3])].concat()),
        ("a window that grows by nothing", 1, [first.clone(), frame(8, 0, 0, &[0; 4])].concat()),
        (
            "a window that grows too large",
            3,
            [first.clone(), frame(8, 0, 0, &[0x7f, 255, 255, 255])].concat(),
        ),
        ("a promise", 1, [first.clone(), frame(5, 4, 1, &[0, 0, 0, 2])].concat()),
    ]
}

#[test]
fn what_breaks_the_rules_ends_the_connection_with_the_reason() {
    run(async {
        let world = world(Share::COMMON, |_| {}).await;
        for (case, reason, bytes) in broken_rules() {
            let mut raw = Raw::connect(&world).await;
            raw.send(PREFACE).await;
            raw.send(&bytes).await;
            let last = raw.next_of(7).await.unwrap_or_else(|| panic!("{case}: closed without a word"));
            assert_eq!(last.payload[4..8], reason.to_be_bytes(), "{case}");
            assert_eq!(raw.next().await, None, "{case}");
        }
        until(|| world.budget.stat().held == 0).await;
        let client = client(&world).await;
        assert_eq!(exchange(&client, "/", Bytes::new()).await.0, 200);
    });
}

#[test]
fn what_is_no_request_is_reset_and_the_connection_goes_on() {
    run(async {
        let world = world(Share::COMMON, |_| {}).await;
        let mut raw = Raw::open(&world).await;
        let with = |field: &[u8]| [POST, field].concat();
        let heads: &[(&str, Vec<u8>)] = &[
            ("no method", vec![0x84, 0x86]),
            ("no path", vec![0x83, 0x86]),
            ("no scheme", vec![0x83, 0x84]),
            ("an empty path", [&[0x83, 0x86][..], &literal(b":path", b"")].concat()),
            ("two methods", vec![0x83, 0x83, 0x84, 0x86]),
            ("an unknown pseudo-header", with(&literal(b":proto", b"x"))),
            ("a pseudo-header behind a field", [&literal(b"a", b"b")[..], POST].concat()),
            ("a name in upper case", with(&literal(b"A", b"b"))),
            ("a name with a blank", with(&literal(b"a b", b"b"))),
            ("an empty name", with(&literal(b"", b"b"))),
            ("a line end in a value", with(&literal(b"a", b"b\r\nc: d"))),
            ("a field of HTTP/1", with(&literal(b"connection", b"close"))),
            ("a coding of HTTP/1", with(&literal(b"transfer-encoding", b"chunked"))),
            ("te that is not trailers", with(&literal(b"te", b"gzip"))),
            ("a length that is no number", with(&literal(b"content-length", b"+1"))),
            (
                "two lengths",
                with(&[literal(b"content-length", b"1"), literal(b"content-length", b"2")].concat()),
            ),
            ("a length without a body", with(&literal(b"content-length", b"1"))),
        ];
        for (number, (case, block)) in heads.iter().enumerate() {
            let stream = 2 * number as u32 + 1;
            raw.send(&frame(1, 5, stream, block)).await;
            let reset = raw.next_of(3).await.unwrap_or_else(|| panic!("{case}: the connection has ended"));
            assert_eq!((reset.stream, reset.payload[3]), (stream, 1), "{case}");
        }
        // A body that is not as long as its head says.
        let block = with(&literal(b"content-length", b"5"));
        raw.send(&[frame(1, 4, 101, &block), frame(0, 1, 101, b"four")].concat()).await;
        assert_eq!(raw.next_of(3).await.unwrap().stream, 101);
        raw.send(&head(103, true)).await;
        assert_eq!(raw.answer(103).await, "0 0");
    });
}

#[test]
fn padding_priorities_trailers_and_unknown_frames_change_nothing() {
    run(async {
        let world = world(Share::COMMON, |_| {}).await;
        let mut raw = Raw::open(&world).await;
        let padded = [&[3][..], &[0, 0, 0, 0, 9], POST, &[0; 3]].concat();
        raw.send(&frame(1, 0x4 | 0x8 | 0x20, 1, &padded)).await;
        raw.send(&[frame(0xee, 0xff, 1, &[7; 5_000]), frame(2, 0, 1, &[0; 5])].concat()).await;
        raw.send(&frame(0, 0x8, 1, &[4, b'a', b'b', 0, 0, 0, 0])).await;
        raw.send(&[frame(0, 0, 1, b""), frame(0, 0x8, 1, &[0])].concat()).await;
        raw.send(&frame(1, 0x5, 1, &literal(b"x-sum", b"195"))).await;
        assert_eq!(raw.answer(1).await, "2 195");
        // In single bytes, and with a head in three frames.
        let frames =
            [frame(1, 0, 3, &POST[..1]), frame(9, 0, 3, &POST[1..2]), frame(9, 4, 3, &POST[2..])].concat();
        for byte in [frames, frame(0, 1, 3, b"\x01\x02")].concat() {
            raw.send(&[byte]).await;
        }
        assert_eq!(raw.answer(3).await, "2 3");
        raw.send(&frame(6, 0, 0, b"sequence")).await;
        assert_eq!(
            raw.next_of(6).await.unwrap(),
            Seen { kind: 6, flags: 1, stream: 0, payload: b"sequence".to_vec() }
        );
    });
}

#[test]
fn an_answer_waits_for_a_client_that_takes_nothing_yet() {
    run(async {
        let world = world(Share::COMMON, |_| {}).await;
        let mut raw = Raw::open(&world).await;
        raw.send(&[frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]), head(1, false), frame(0, 1, 1, b"\x05")].concat())
            .await;
        let answer = raw.next_of(1).await.unwrap();
        assert_eq!((answer.stream, answer.flags), (1, 0x4), "the head comes, and more will");
        raw.send(&frame(8, 0, 1, &[0, 0, 0, 2])).await;
        assert_eq!(raw.answer(1).await, "1 ");
        raw.send(&frame(4, 0, 0, &[0, 4, 0, 0, 1, 0])).await;
        assert_eq!(raw.answer(1).await, "5");
    });
}

#[test]
fn more_than_was_allowed_is_refused() {
    run(async {
        let world = world(Share::COMMON, |_| {}).await;
        let mut raw = Raw::open(&world).await;
        for stream in 0..9 {
            raw.send(&head(2 * stream + 1, false)).await;
        }
        let reset = raw.next_of(3).await.unwrap();
        assert_eq!((reset.stream, reset.payload[3]), (17, 7), "the ninth may come again");
        // Those that go away leave nothing behind.
        for stream in 0..8 {
            raw.send(
                &[frame(0, 0, 2 * stream + 1, b"body"), frame(3, 0, 2 * stream + 1, &[0, 0, 0, 8])].concat(),
            )
            .await;
        }
        raw.send(&head(19, true)).await;
        assert_eq!(raw.answer(19).await, "0 0");
        until(|| held(&world.budget, "kept") == 0 && held(&world.budget, "active") == 0).await;
    });
}

#[test]
fn a_connection_that_there_is_no_room_for_hears_that_it_may_come_again() {
    run(async {
        let world = world(Share::at_most(4_096), |_| {}).await;
        let mut raw = Raw::connect(&world).await;
        raw.send(&[PREFACE, &frame(4, 0, 0, &[]), &head(1, true)].concat()).await;
        let last = raw.next_of(7).await.unwrap();
        assert_eq!(last.payload, [0, 0, 0, 0, 0, 0, 0, 11], "nothing was taken, and calm is asked for");
        assert_eq!(raw.next().await, None);
        until(|| world.budget.stat().held == 0).await;
    });
}

#[test]
fn silence_ends_requests_and_connections_and_pings_are_no_sound() {
    run(async {
        let short = Duration::from_millis(300);
        let world = world(Share::COMMON, |settings| settings.idle = short).await;
        let mut silent = Raw::open(&world).await;
        silent.send(&[head(1, false), frame(0, 0, 1, b"begun")].concat()).await;
        let reset = silent.next_of(3).await.unwrap();
        assert_eq!((reset.stream, reset.payload[3]), (1, 8));
        assert_eq!(silent.next_of(7).await.unwrap().payload[4..], [0; 4]);
        let mut pinging = Raw::open(&world).await;
        let ended = async {
            while pinging.next().await.is_some() {
                pinging.send(&frame(6, 0, 0, &[0; 8])).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        ended.await;
        until(|| world.budget.stat().held == 0).await;
    });
}

#[test]
fn a_stop_lets_requests_end_and_takes_no_more() {
    run(async {
        let world = world(Share::COMMON, |_| {}).await;
        let mut raw = Raw::open(&world).await;
        raw.send(&[head(1, false), frame(0, 0, 1, b"\x01")].concat()).await;
        until(|| held(&world.budget, "kept") > 0).await;
        world.stop.notify_one();
        let leaving = raw.next_of(7).await.unwrap();
        assert_eq!(leaving.payload, [0, 0, 0, 1, 0, 0, 0, 0]);
        raw.send(&[head(3, true), frame(0, 1, 1, b"\x02")].concat()).await;
        assert_eq!(raw.next_of(3).await.unwrap().payload[3], 7);
        assert_eq!(raw.answer(1).await, "2 3");
        assert_eq!(raw.next().await, None);
    });
}
