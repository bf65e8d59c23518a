//! Families of numbers as text: Prometheus' format 0.0.4 as both of Fluent Bit's APIs write it, and the format
//! of `/api/v2/metrics`.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::families::{self, Family, Kind, Sample};
use engine::metrics::Metrics;
use event::EventTime;

/// `/api/v1/metrics/prometheus`: by name, the samples of instances with the time.
pub fn v1(metrics: &Metrics, uptime: Duration, started: SystemTime) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let stamp = format!(" {now}");
    let mut families = families::instances(metrics);
    families.sort_by_key(|family| family.name);
    families.extend(families::own(metrics));
    let mut out = String::with_capacity(8192);
    families.iter().for_each(|family| text(&mut out, family, &stamp));
    let started = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let version = env!("CARGO_PKG_VERSION");
    let mut plain = |name: &str, kind: &str, help: &str, labels: &str, value: u64| {
        // Writing to a String cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{labels} {value}\n");
    };
    plain(
        "fluentbit_uptime",
        "counter",
        "Number of seconds that Weir has been running.",
        "",
        uptime.as_secs(),
    );
    plain(
        "process_start_time_seconds",
        "gauge",
        "Start time of the process since unix epoch in seconds.",
        "",
        started,
    );
    let labels = format!("{{version=\"{version}\",edition=\"Weir\"}}");
    plain("fluentbit_build_info", "gauge", "Build version information.", &labels, 1);
    out
}

/// `/api/v2/metrics/prometheus`.
pub fn v2(families: &[Family]) -> String {
    let mut out = String::with_capacity(16_384);
    families.iter().for_each(|family| text(&mut out, family, ""));
    out
}

/// `/api/v2/metrics`: a sample a line, with the time.
pub fn plain(families: &[Family]) -> String {
    let now = EventTime::now();
    let (year, month, day, hour, minute, second) = now.civil();
    let stamp =
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", now.nanoseconds);
    let mut out = String::with_capacity(16_384);
    for family in families {
        for sample in &family.samples {
            let _ = writeln!(out, "{stamp} {}{} = {}", family.name, labels(sample), sample.value);
        }
    }
    out
}

fn text(out: &mut String, family: &Family, stamp: &str) {
    let Family { name, help, kind, samples } = family;
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    for sample in samples {
        let _ = writeln!(out, "{name}{} {}{stamp}", labels(sample), sample.value);
    }
}

fn labels(sample: &Sample) -> String {
    if sample.labels.is_empty() {
        return String::new();
    }
    let pairs = sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
