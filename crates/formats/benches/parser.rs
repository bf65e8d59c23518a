//! What the parsers read per second on one core: MB of lines.

use std::hint::black_box;

use budget::{Account, Budget, Share};
use criterion::{Criterion, Throughput};
use event::EventTime;
use formats::multiline::{Joins, LIMIT, Multiline, built_in};
use formats::parser::{Fields, Parser, ParserOptions};
use options::Options;
use std::sync::Arc;

const NOW: EventTime = EventTime { seconds: 1_795_536_000, nanoseconds: 0 };

const APACHE: &str = concat!(
    r#"^(?<host>[^ ]*) [^ ]* (?<user>[^ ]*) \[(?<time>[^\]]*)\] "(?<method>\S+)(?: +(?<path>[^ ]*) +\S*)?" "#,
    r#"(?<code>[^ ]*) (?<size>[^ ]*)(?: "(?<referer>[^\"]*)" "(?<agent>.*)")?$"#
);

fn account() -> Account {
    let budget = Budget::new(64 << 20, 64 << 10).expect("address space");
    budget.account("bench", "parse", Share::COMMON).expect("room")
}

fn json_lines() -> Vec<String> {
    let line = |n: usize| {
        format!(
            concat!(
                r#"{{"time":"2026-11-23T20:35:{:02}.{:03}Z","level":"info","service":"checkout","#,
                r#""host":"node-{:04}.west.example","trace_id":"{:032x}","method":"POST","#,
                r#""path":"/api/v2/orders/{}/items?expand=price","status":{},"duration_ms":{}.{},"#,
                r#""message":"order confirmed: 3 articles, delivery on Thursday"}}"#
            ),
            n % 60,
            n % 1000,
            n % 300,
            n * 7919,
            100_000 + n,
            [200, 201, 404, 503][n % 4],
            n % 800,
            n % 10,
        )
    };
    (0..1000).map(line).collect()
}

fn access_lines() -> Vec<String> {
    let line = |n: usize| {
        format!(
            concat!(
                r#"10.0.{}.{} - frank [23/Nov/2026:20:35:{:02} +0000] "GET /shop/articles/{}?page={} HTTP/1.1" "#,
                r#"{} {} "https://www.example.com/start" "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0""#
            ),
            n % 200,
            n % 250,
            n % 60,
            n * 31,
            n % 9,
            [200, 301, 404][n % 3],
            n * 17,
        )
    };
    (0..1000).map(line).collect()
}

fn parser(options: &[(&str, &str)]) -> Parser {
    let pairs: Vec<_> = std::iter::once(("name", "p")).chain(options.iter().copied()).collect();
    let options = ParserOptions::from_pairs(&pairs).unwrap_or_else(|problems| panic!("{problems}"));
    Parser::new(options).expect("a parser").0
}

fn bench(criterion: &mut Criterion, name: &str, lines: &[String], options: &[(&str, &str)]) {
    let parser = parser(options);
    let mut fields = Fields::new(&account());
    let mut group = criterion.benchmark_group("parser");
    group.throughput(Throughput::BytesDecimal(lines.iter().map(|line| line.len() as u64 + 1).sum()));
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            for line in lines {
                let time = parser.parse(line.as_bytes(), NOW, &mut fields);
                assert!(black_box(time).is_ok(), "{line}");
                black_box(fields.bytes());
            }
        });
    });
}

fn multiline(criterion: &mut Criterion) {
    let trace =
        ["x.Exception: y", "    at a.b.C(D.java:12)", "    at a.b.E(F.java:3)", "an ordinary line of a log"];
    let lines: Vec<&str> = trace.iter().copied().cycle().take(1000).collect();
    let joins = Joins::new(vec![Arc::new(built_in("java").expect("java"))], None, LIMIT);
    let mut multiline = Multiline::new(&joins, &account());
    let mut group = criterion.benchmark_group("multiline");
    group.throughput(Throughput::BytesDecimal(lines.iter().map(|line| line.len() as u64 + 1).sum()));
    group.bench_function("java", |bencher| {
        let mut out = Vec::new();
        bencher.iter(|| {
            for line in &lines {
                assert!(multiline.line(NOW, line.as_bytes(), &mut out).is_ok());
                out.clear();
            }
        });
    });
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let json = json_lines();
    bench(&mut criterion, "json", &json, &[("format", "json")]);
    let iso = ("time_format", "%Y-%m-%dT%H:%M:%S.%L%z");
    bench(&mut criterion, "json with time", &json, &[("format", "json"), iso]);
    let access = access_lines();
    let apache = ("regex", APACHE);
    bench(&mut criterion, "regex", &access, &[("format", "regex"), apache]);
    let date = ("time_format", "%d/%b/%Y:%H:%M:%S %z");
    let types = ("types", "code:integer size:integer");
    bench(&mut criterion, "regex with time and types", &access, &[("format", "regex"), apache, date, types]);
    multiline(&mut criterion);
    criterion.final_summary();
}
