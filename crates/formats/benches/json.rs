//! What the formats do per second on one core: MB of JSON text, in or out.

use std::hint::black_box;

use budget::{Account, Budget, Buf, Share};
use criterion::{Criterion, Throughput};
use event::{EventTime, Events};
use formats::Block;
use formats::gzip::Encoder;
use formats::json::{Printer, Progress, Step, Style, Transcoder};
use serde::Serialize;

fn account() -> Account {
    let budget = Budget::new(64 << 20, 64 << 10).expect("address space");
    budget.account("bench", "chunks", Share::COMMON).expect("room")
}

/// Records as a web service logs them: 12 fields, an object, a list and text beyond ASCII.
fn service_records() -> Vec<u8> {
    let record = |n: usize| {
        format!(
            concat!(
                r#"{{"timestamp":"2026-11-23T20:35:{:02}.{:03}Z","level":"info","service":"checkout","#,
                r#""host":"node-{:04}.west.example","trace_id":"{:032x}","method":"POST","#,
                r#""path":"/api/v2/orders/{}/items?expand=price","status":{},"duration_ms":{}.{},"#,
                r#""message":"Bestellung für Käufer bestätigt: 3 Artikel, Lieferung nach Köln","#,
                r#""client":{{"ip":"10.{}.{}.7","agent":"Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0","#,
                r#""port":{}}},"tags":["eu","paid","mobile","retry"]}}"#
            ),
            n % 60,
            n % 1000,
            n % 300,
            n * 7919,
            100_000 + n,
            [200, 201, 404, 503][n % 4],
            n % 800,
            n % 10,
            n % 250,
            n % 199,
            30_000 + n,
        )
    };
    format!("[{}]", (0..1000).map(record).collect::<Vec<_>>().join(",")).into_bytes()
}

/// One pretty-printed object of about 4,900 lines: a list of nodes, deeply indented.
fn trigger() -> Vec<u8> {
    let node = |n: usize| {
        serde_json::json!({
            "id": format!("node-{n}"),
            "kind": "evaluation",
            "result": { "value": n * 31, "ok": !n.is_multiple_of(3), "limits": { "low": 0.5, "high": 99.25 } },
            "labels": ["a", "b", "c"],
            "next": null
        })
    };
    let nodes: Vec<_> = (0..270).map(node).collect();
    let body = serde_json::json!({ "trigger": { "source": { "rules": { "tree": { "nodes": nodes } } } } });
    let (mut text, indent) = (Vec::new(), serde_json::ser::PrettyFormatter::with_indent(b"    "));
    body.serialize(&mut serde_json::Serializer::with_formatter(&mut text, indent))
        .expect("a vector takes all");
    text
}

fn transcode(account: &Account, body: &[u8]) -> Events {
    let mut transcoder = Transcoder::new(account, EventTime::default());
    // As bodies arrive: in pages.
    for page in body.chunks(64 << 10) {
        let mut input = page;
        assert_eq!(transcoder.feed(&mut input), Ok(Step::NeedInput));
    }
    transcoder.finish().expect("valid")
}

/// The bodies of all records as JSON, block by block. Answers the bytes.
fn print(events: &Events, block: &mut Block) -> usize {
    let mut printer = Printer::new(Style::Json { escape_unicode: true });
    let mut cursor = events.cursor();
    let mut written = 0;
    while !cursor.at_end() {
        cursor.record_head().expect("a record");
        cursor.skip().expect("metadata");
        while printer.value(&mut cursor, block).expect("valid") == Progress::BlockFull {
            written += block.bytes().len();
            black_box(block.bytes());
            block.clear();
        }
    }
    written + block.bytes().len()
}

fn json(criterion: &mut Criterion) {
    let account = account();
    for (name, body) in [("service", service_records()), ("trigger", trigger())] {
        println!("{name}: {} bytes, {} lines", body.len(), body.iter().filter(|b| **b == b'\n').count());
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function("decode", |bench| bench.iter(|| transcode(&account, black_box(&body))));
        group.bench_function("serde_json value", |bench| {
            bench.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(&body)).expect("valid"));
        });
        let events = transcode(&account, &body);
        let mut block = Block::new(16 << 10);
        group.throughput(Throughput::Bytes(print(&events, &mut block) as u64));
        group.bench_function("print", |bench| {
            bench.iter(|| {
                block.clear();
                print(black_box(&events), &mut block)
            });
        });
        group.finish();
    }
}

fn gzip(criterion: &mut Criterion) {
    let account = account();
    let body = service_records();
    let mut group = criterion.benchmark_group("gzip");
    group.throughput(Throughput::Bytes(body.len() as u64));
    for level in [1, 4, 6] {
        group.bench_function(format!("level {level}"), |bench| {
            bench.iter(|| {
                let (mut out, mut encoder) = (Buf::new(&account), Encoder::new(level));
                for mut block in body.chunks(16 << 10) {
                    encoder.write(&mut block, &mut out).expect("room");
                }
                encoder.finish(&mut out).expect("room");
                out.len()
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    json(&mut criterion);
    gzip(&mut criterion);
    criterion.final_summary();
}
