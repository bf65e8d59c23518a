//! The counters in Prometheus' text format, version 0.0.4, with Fluent Bit's v1 names.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::metrics::{Counter, Figure, FilterMetrics, InputMetrics, Metrics, OutputMetrics};

/// Name, help, and where the counter is, sorted by name.
type Family<M> = (&'static str, &'static str, fn(&M) -> &Counter);

const FILTER: &[Family<FilterMetrics>] = &[
    ("fluentbit_filter_add_records_total", "Records that the filter added.", |f| &f.added),
    ("fluentbit_filter_drop_records_total", "Records that the filter removed.", |f| &f.dropped),
    ("fluentbit_filter_records_total", "Records that the filter saw.", |f| &f.records),
];

const INPUT: &[Family<InputMetrics>] = &[
    ("fluentbit_input_bytes_total", "Bytes that the input took.", |i| &i.bytes),
    ("fluentbit_input_records_total", "Records that the input took.", |i| &i.records),
];

const OUTPUT: &[Family<OutputMetrics>] = &[
    ("fluentbit_output_dropped_records_total", "Records that were dropped.", |o| &o.dropped_records),
    ("fluentbit_output_errors_total", "Batches that were refused for good.", |o| &o.errors),
    ("fluentbit_output_proc_bytes_total", "Bytes that were delivered.", |o| &o.bytes),
    ("fluentbit_output_proc_records_total", "Records that were delivered.", |o| &o.records),
    ("fluentbit_output_retried_records_total", "Records in retries.", |o| &o.retried_records),
    ("fluentbit_output_retries_failed_total", "Batches given up after the last retry.", |o| {
        &o.retries_failed
    }),
    ("fluentbit_output_retries_total", "Retries.", |o| &o.retries),
];

/// The whole text.
pub fn text(metrics: &Metrics, uptime: Duration, started: SystemTime) -> String {
    let mut out = Text { text: String::with_capacity(4096), now: milliseconds(SystemTime::now()) };
    out.families(FILTER, &metrics.filters, |filter| &filter.name);
    out.families(INPUT, &metrics.inputs, |input| &input.name);
    out.families(OUTPUT, &metrics.outputs, |output| &output.name);
    out.own(&metrics.outputs);
    out.plain("fluentbit_uptime", "counter", "Seconds since the start.", uptime.as_secs());
    let unrouted = metrics.unrouted_records.get();
    out.plain("weir_unrouted_records_total", "counter", "Records that no output takes.", unrouted);
    let started = milliseconds(started) / 1000;
    out.plain("process_start_time_seconds", "gauge", "The start, in seconds since 1970.", started);
    out.header("fluentbit_build_info", "gauge", "The version.");
    let version = env!("CARGO_PKG_VERSION");
    // Writing to a String cannot fail.
    let _ = writeln!(out.text, "fluentbit_build_info{{version=\"{version}\",edition=\"Weir\"}} 1");
    out.text
}

fn milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
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

    /// What outputs count themselves: a family for each name, over all instances.
    fn own(&mut self, outputs: &[Arc<OutputMetrics>]) {
        let mut families: BTreeMap<&str, Vec<(&str, Figure)>> = BTreeMap::new();
        for output in outputs {
            for figure in output.own.figures() {
                families.entry(figure.name).or_default().push((&output.name, figure));
            }
        }
        for (name, figures) in families {
            let Some((_, first)) = figures.first() else { continue };
            self.header(name, if first.counter { "counter" } else { "gauge" }, first.help);
            for (instance, figure) in figures {
                let label =
                    figure.label.map(|(name, value)| format!(",{name}=\"{value}\"")).unwrap_or_default();
                let (instance, value) = (escaped(instance), figure.value);
                let _ = writeln!(self.text, "{name}{{name=\"{instance}\"{label}}} {value} {}", self.now);
            }
        }
    }

    fn families<M>(&mut self, families: &[Family<M>], instances: &[Arc<M>], name_of: fn(&M) -> &String) {
        if instances.is_empty() {
            return;
        }
        for (name, help, counter) in families {
            self.header(name, "counter", help);
            for instance in instances {
                let label = escaped(name_of(instance));
                let _ = writeln!(
                    self.text,
                    "{name}{{name=\"{label}\"}} {} {}",
                    counter(instance).get(),
                    self.now
                );
            }
        }
    }
}
