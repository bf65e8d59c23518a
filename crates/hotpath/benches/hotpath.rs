//! Bytes per second of every work, on one core.

use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, make) in hotpath::ALL {
        let mut work = make();
        let mut group = criterion.benchmark_group(*name);
        group.throughput(Throughput::Bytes(work.bytes));
        group.bench_function("once", |bench| bench.iter(|| (work.run)()));
        group.finish();
    }
    criterion.final_summary();
}
