//! `forward` against a server of the test's own: what it sends, how it shakes hands, and what becomes of a chunk.
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod common;

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{batch, batch_with_id};
use engine::{Batch, Outcome, OutputLane};
use ring::digest::{SHA512, digest};
use rmpv::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Far more than any test needs; a test that reaches it has failed.
const DEADLINE: Duration = Duration::from_secs(60);

fn lane(port: u16, pairs: &[(&str, &str)]) -> Box<dyn OutputLane> {
    let port = port.to_string();
    let pairs = [&[("port", port.as_str())], pairs].concat();
    common::open(&outputs::forward::DEF, &common::setup(), &pairs).unwrap().lane()
}

async fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Reads one message.
async fn message(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        if let Ok(value) = rmpv::decode::read_value(&mut bytes.as_slice()) {
            return value;
        }
        let before = bytes.len();
        bytes.resize(before + 65_536, 0);
        let size = stream.read(&mut bytes[before..]).await.unwrap();
        assert!(size > 0, "the connection ended within a message");
        bytes.truncate(before + size);
    }
}

async fn write(stream: &mut TcpStream, value: &Value) {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    stream.write_all(&bytes).await.unwrap();
}

fn map(pairs: &[(&str, Value)]) -> Value {
    Value::Map(pairs.iter().map(|(key, value)| ((*key).into(), value.clone())).collect())
}

/// The only message of a batch.
async fn sent(pairs: &[(&str, &str)], batch: &Batch) -> Value {
    let (listener, port) = listen().await;
    let lane = lane(port, pairs);
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        message(&mut stream).await
    };
    let (outcome, message) =
        tokio::time::timeout(DEADLINE, async { tokio::join!(lane.flush(batch), receive) }).await.unwrap();
    assert_eq!(outcome, Outcome::Done);
    message
}

fn two() -> Batch {
    batch("app.log", &[r#"{"a":1}"#, r#"{"b":"x"}"#])
}

fn time(seconds: u32) -> Value {
    let bytes = [seconds.to_be_bytes(), 123_456_789u32.to_be_bytes()].concat();
    Value::Ext(0, bytes)
}

#[tokio::test]
async fn a_chunk_is_a_message_of_its_records_as_they_lie() {
    let message = sent(&[], &two()).await;
    let entry = |seconds, body| Value::Array(vec![Value::Array(vec![time(seconds), map(&[])]), body]);
    let entries =
        vec![entry(1_700_000_000, map(&[("a", 1.into())])), entry(1_700_000_001, map(&[("b", "x".into())]))];
    assert_eq!(message, Value::Array(vec!["app.log".into(), Value::Array(entries)]));
}

#[tokio::test]
async fn times_metadata_tags_and_options_are_as_asked_for() {
    let bodies = [map(&[("a", 1.into())]), map(&[("b", "x".into())])];
    let whole =
        sent(&[("time_as_integer", "on"), ("tag", "new.$TAG[1]"), ("send_options", "on")], &two()).await;
    let entries = [1_700_000_000, 1_700_000_001].map(Value::from);
    let entries = entries.into_iter().zip(bodies.clone()).map(|(time, body)| Value::Array(vec![time, body]));
    let options = map(&[("size", 2.into()), ("fluent_signal", 0.into())]);
    assert_eq!(whole, Value::Array(vec!["new.log".into(), Value::Array(entries.collect()), options]));

    let pairs =
        [("retain_metadata_in_forward_mode", "off"), ("add_option", "who me"), ("add_option", "x y z")];
    let bare = sent(&pairs, &two()).await;
    let entries = [time(1_700_000_000), time(1_700_000_001)].into_iter().zip(bodies);
    let entries = entries.map(|(time, body)| Value::Array(vec![time, body])).collect();
    let options =
        map(&[("size", 2.into()), ("fluent_signal", 0.into()), ("who", "me".into()), ("x", "y z".into())]);
    assert_eq!(bare, Value::Array(vec!["app.log".into(), Value::Array(entries), options]));
}

#[tokio::test]
async fn a_tag_of_the_record_makes_each_record_a_message() {
    let (listener, port) = listen().await;
    let lane = lane(port, &[("tag", "$kind.x")]);
    let batch = batch("t", &[r#"{"kind":"a"}"#]);
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        message(&mut stream).await
    };
    let (outcome, message) = tokio::join!(lane.flush(&batch), receive);
    assert_eq!(outcome, Outcome::Done);
    let body = map(&[("kind", "a".into())]);
    let options = map(&[("fluent_signal", 0.into())]);
    let metadata = |message: &Value| message.as_array().unwrap()[3].clone();
    assert_eq!(metadata(&message), options);
    assert_eq!(message.as_array().unwrap()[..3], ["a.x".into(), time(1_700_000_000), body]);
}

#[tokio::test]
async fn a_chunk_of_any_size_is_compressed_into_one_binary_of_known_length() {
    for records in common::unwieldy() {
        let batch = common::batch_of(7, &records);
        let message = sent(&[("compress", "gzip")], &batch).await;
        let [_, Value::Binary(bytes), options] = message.as_array().unwrap().as_slice() else { panic!() };
        let plain = common::gunzip(bytes);
        let mut rest = plain.as_slice();
        for _ in 0..records.len() {
            rmpv::decode::read_value(&mut rest).unwrap();
        }
        assert!(rest.is_empty());
        let expected = map(&[
            ("size", records.len().into()),
            ("compressed", "gzip".into()),
            ("fluent_signal", 0.into()),
        ]);
        assert_eq!(*options, expected);
    }
}

#[tokio::test]
async fn a_chunk_is_delivered_when_it_is_acknowledged_by_its_name_which_stays_the_same() {
    let (listener, port) = listen().await;
    let lane = lane(port, &[("require_ack_response", "on"), ("net.io_timeout", "2s")]);
    let batch = batch_with_id(0x1234, "t", &["{}"]);
    let name: Value = STANDARD.encode(0x1234u128.to_be_bytes()).into();
    let serve = async {
        for answer in [Some(Value::from("another")), None, Some(name.clone())] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let message = message(&mut stream).await;
            assert_eq!(message.as_array().unwrap()[2]["chunk"], name);
            if let Some(answer) = answer {
                write(&mut stream, &map(&[("ack", answer)])).await;
                // Until the client has read it.
                let _ = stream.read_u8().await;
            }
        }
    };
    let flush = async {
        assert!(matches!(lane.flush(&batch).await, Outcome::Retry { .. }), "another name");
        assert!(matches!(lane.flush(&batch).await, Outcome::Retry { .. }), "closed without an answer");
        assert_eq!(lane.flush(&batch).await, Outcome::Done);
        drop(lane);
    };
    tokio::time::timeout(DEADLINE, async { tokio::join!(serve, flush) }).await.unwrap();
}

fn hex(parts: &[&[u8]]) -> String {
    let mut text = String::new();
    for byte in digest(&SHA512, &parts.concat()).as_ref() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Shakes hands as a server with this key does, and answers whether the client knew the key and the password.
async fn greet(stream: &mut TcpStream, key: &str, own: &str) -> bool {
    let hello = map(&[
        ("nonce", Value::Binary(b"nonce".to_vec())),
        ("auth", "pepper".into()),
        ("keepalive", true.into()),
    ]);
    write(stream, &Value::Array(vec!["HELO".into(), hello])).await;
    let ping = message(stream).await;
    let ping = ping.as_array().unwrap().as_slice();
    let [kind, host, salt, proof, user, password] = ping else { panic!("{ping:?}") };
    assert_eq!((kind, host, user), (&"PING".into(), &"me".into(), &"u".into()));
    // The salt is bytes in a string.
    let salt = match salt {
        Value::String(text) => text.as_bytes(),
        Value::Binary(bytes) => bytes,
        _ => panic!(),
    };
    let known = proof.as_str() == Some(&hex(&[salt, b"me", b"nonce", key.as_bytes()]))
        && password.as_str() == Some(&hex(&[b"pepper", b"u", b"p"]));
    let own_proof = hex(&[salt, b"server", b"nonce", own.as_bytes()]);
    let pong =
        vec!["PONG".into(), known.into(), "wrong key".into(), "server".into(), own_proof.as_str().into()];
    write(stream, &Value::Array(pong)).await;
    known
}

#[tokio::test]
async fn both_sides_must_know_the_key_and_records_are_held_until_they_do() {
    let credentials = [("self_hostname", "me"), ("username", "u"), ("password", "p")];
    for (client, server, own, expected) in
        [("key", "key", "key", true), ("other", "key", "key", false), ("key", "key", "forged", false)]
    {
        let (listener, port) = listen().await;
        let lane = lane(port, &[credentials.as_slice(), &[("shared_key", client)]].concat());
        let batch = two();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let known = greet(&mut stream, server, own).await;
            if known && own == server {
                assert_eq!(message(&mut stream).await.as_array().unwrap().len(), 2);
            } else {
                assert!(stream.read_u8().await.is_err(), "no record is sent to whom is not trusted");
            }
        };
        let flush = async {
            let outcome = lane.flush(&batch).await;
            match expected {
                true => assert_eq!(outcome, Outcome::Done),
                false => assert!(matches!(outcome, Outcome::Hold { .. }), "{outcome:?}"),
            }
            drop(lane);
        };
        tokio::time::timeout(DEADLINE, async { tokio::join!(serve, flush) }).await.unwrap();
    }
}

#[tokio::test]
async fn the_next_node_is_tried_when_one_cannot_be_reached() {
    let (gone, dead) = listen().await;
    drop(gone);
    let (listener, port) = listen().await;
    let pos = options::Pos::new("upstream.conf", 1, 1);
    let mut group = options::Section::new("upstream", pos.clone());
    for (name, port) in [("one", dead), ("two", port)] {
        let mut node = options::Section::new("node", pos.clone());
        for (key, value) in [("name", name), ("host", "127.0.0.1"), ("port", &port.to_string())] {
            let (key, value) = (options::Text::new(key, pos.clone()), options::Text::new(value, pos.clone()));
            node.entries.push(options::Entry { key, value });
        }
        group.groups.push(node);
    }
    let mut setup = common::setup();
    setup.upstreams = [engine::pipeline::Upstream { called: "up.conf".to_owned(), section: group }].into();
    let refused = common::open(&outputs::forward::DEF, &setup, &[("upstream", "another")]).err().unwrap();
    assert!(refused.contains("no group of servers"), "{refused}");
    let lane = common::open(&outputs::forward::DEF, &setup, &[("upstream", "up.conf")]).unwrap().lane();
    let batch = two();
    let receive = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        message(&mut stream).await;
        stream
    };
    let (outcome, _stream) = tokio::join!(lane.flush(&batch), receive);
    assert_eq!(outcome, Outcome::Done, "whoever has the first turn");
    assert_eq!(lane.flush(&batch).await, Outcome::Done);
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (pairs, part) in [
        (vec![("username", "u")], "without shared_key"),
        (vec![("compress", "gzip"), ("time_as_integer", "on")], "does not go together"),
        (vec![("compress", "gzip"), ("tag", "$a")], "does not go together"),
        (vec![("compress", "zip")], "gzip"),
    ] {
        let refused = common::open(&outputs::forward::DEF, &common::setup(), &pairs).err().unwrap();
        assert!(refused.contains(part), "{refused}");
    }
}
