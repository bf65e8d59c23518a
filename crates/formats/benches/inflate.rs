//! What decompressing gives per second on one core: MB of text.

use std::hint::black_box;

use budget::{Account, Budget, Share};
use criterion::{Criterion, Throughput};
use formats::inflate::{Decoder, Encoding, Step};

#[path = "../tests/common/compressed.rs"]
#[allow(dead_code, clippy::unwrap_used, reason = "the helper of the tests")]
mod compressed;

/// Lines as a service logs them, a megabyte or so.
fn text() -> Vec<u8> {
    let line = |n: usize| {
        format!(
            "{{\"timestamp\":\"2026-11-23T20:35:{:02}.{:03}Z\",\"level\":\"info\",\"trace_id\":\"{:032x}\",\"path\":\"/api/v2/orders/{}/items\",\"status\":{},\"duration_ms\":{}.{}}}\n",
            n % 60,
            n % 1000,
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            100_000 + n,
            [200, 201, 404, 503][n % 4],
            n % 800,
            n % 10,
        )
    };
    (0..6000).map(line).collect::<String>().into_bytes()
}

fn run(account: &Account, encoding: Encoding, body: &[u8]) -> usize {
    let mut decoder = Decoder::new(encoding);
    let mut read = 0;
    for mut piece in body.chunks(64 << 10) {
        loop {
            match decoder.feed(&mut piece).expect("valid") {
                Step::NeedInput => break,
                Step::Output => read += black_box(decoder.output()).len(),
                Step::Lease(bytes) => decoder.prepay(account.try_lease(bytes).expect("room")),
            }
        }
    }
    decoder.finish().expect("whole");
    read
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let budget = Budget::new(64 << 20, 64 << 10).expect("address space");
    let account = budget.account("bench", "inflate", Share::COMMON).expect("room");
    let text = text();
    let mut group = criterion.benchmark_group("inflate");
    group.throughput(Throughput::Bytes(text.len() as u64));
    for (name, encoding, body) in compressed::all(&text) {
        println!("{name}: {} bytes of {}", body.len(), text.len());
        group.bench_function(name, |bench| bench.iter(|| run(&account, encoding, black_box(&body))));
    }
    // What the library does when it has the whole block at once.
    let block = compressed::snappy_block(&text);
    group.bench_function("snappy block, by snap", |bench| {
        bench.iter(|| snap::raw::Decoder::new().decompress_vec(black_box(&block)).expect("valid"));
    });
    group.finish();
    criterion.final_summary();
}
