//! The counters in Prometheus' text format, version 0.0.4, with Fluent Bit's v1 names.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::metrics::{Counter, Metrics};

/// The whole text.
pub fn text(metrics: &Metrics, uptime: Duration, started: SystemTime) -> String {
    let mut out = Text { text: String::with_capacity(4096), now: milliseconds(SystemTime::now()) };
    let inputs = || metrics.inputs.iter();
    let filters = || metrics.filters.iter();
    let outputs = || metrics.outputs.iter();
    out.family(
        "fluentbit_filter_add_records_total",
        "Records that the filter added.",
        filters().map(|f| (&f.name, &f.added)),
    );
    out.family(
        "fluentbit_filter_bytes_total",
        "Bytes that the filter saw.",
        filters().map(|f| (&f.name, &f.bytes)),
    );
    out.family(
        "fluentbit_filter_drop_records_total",
        "Records that the filter removed.",
        filters().map(|f| (&f.name, &f.dropped)),
    );
    out.family(
        "fluentbit_filter_records_total",
        "Records that the filter saw.",
        filters().map(|f| (&f.name, &f.records)),
    );
    out.family(
        "fluentbit_input_bytes_total",
        "Bytes that the input took.",
        inputs().map(|i| (&i.name, &i.bytes)),
    );
    out.family(
        "fluentbit_input_records_total",
        "Records that the input took.",
        inputs().map(|i| (&i.name, &i.records)),
    );
    out.family(
        "fluentbit_output_dropped_records_total",
        "Records that were dropped.",
        outputs().map(|o| (&o.name, &o.dropped_records)),
    );
    out.family(
        "fluentbit_output_errors_total",
        "Batches that were refused for good.",
        outputs().map(|o| (&o.name, &o.errors)),
    );
    out.family(
        "fluentbit_output_proc_bytes_total",
        "Bytes that were delivered.",
        outputs().map(|o| (&o.name, &o.bytes)),
    );
    out.family(
        "fluentbit_output_proc_records_total",
        "Records that were delivered.",
        outputs().map(|o| (&o.name, &o.records)),
    );
    out.family(
        "fluentbit_output_retried_records_total",
        "Records in retries.",
        outputs().map(|o| (&o.name, &o.retried_records)),
    );
    out.family(
        "fluentbit_output_retries_failed_total",
        "Batches given up after the last retry.",
        outputs().map(|o| (&o.name, &o.retries_failed)),
    );
    out.family("fluentbit_output_retries_total", "Retries.", outputs().map(|o| (&o.name, &o.retries)));
    out.plain("fluentbit_uptime", "counter", "Seconds since the start.", uptime.as_secs());
    out.plain(
        "weir_unrouted_records_total",
        "counter",
        "Records that no output takes.",
        metrics.unrouted_records.get(),
    );
    out.plain(
        "process_start_time_seconds",
        "gauge",
        "The start, in seconds since 1970.",
        milliseconds(started) / 1000,
    );
    out.header("fluentbit_build_info", "gauge", "The version.");
    // Writing to a String cannot fail.
    let _ = writeln!(
        out.text,
        "fluentbit_build_info{{version=\"{}\",edition=\"Weir\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    out.text
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

struct Text {
    text: String,
    now: u64,
}

impl Text {
    fn header(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn plain(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.header(name, kind, help);
        let _ = writeln!(self.text, "{name} {value}");
    }

    fn family<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (&'a String, &'a Counter)>,
    ) {
        let mut values = values.peekable();
        if values.peek().is_none() {
            return;
        }
        self.header(name, "counter", help);
        for (instance, counter) in values {
            let instance = instance.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = writeln!(self.text, "{name}{{name=\"{instance}\"}} {} {}", counter.get(), self.now);
        }
    }
}
