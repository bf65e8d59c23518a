//! Metrics as events: Fluent Bit's own msgpack ("cmetrics"), and two texts of them.
//!
//! A chunk of metrics is one map after the other, one for each time that somebody looked:
//!
//! ```text
//! {"meta": {"cmetrics": {}, "external": {}, "processing": {"static_labels": []}},
//!  "metrics": [{"meta": {"ver": 2, "type": 0, "opts": {"ns", "ss", "name", "desc", "unit"}, "labels": [..], ..},
//!               "values": [{"ts": ns, "value": 1.0, "labels": [..], "hash": n}]}]}
//! ```
//!
//! * [`encode`] writes such a map.
//! * [`decode`] reads one, within bounds.
//! * [`text`] is what Fluent Bit's stdout and file print.
//! * [`prometheus`] is the text format that Prometheus reads.

mod decode;
mod encode;
mod text;

pub use decode::decode;
pub use encode::encode;
pub use text::{prometheus, text};

/// Samples that one map may have. More are left out: see [`decode`].
pub const MOST_SAMPLES: usize = 20_000;

/// Samples that one family may have.
pub const MOST_OF_FAMILY: usize = 2_000;

/// Bytes of heap that a family holds at most while it is read, within reason: what readers lease.
pub const HELD: usize = 1 << 20;

/// Bytes of a name, a help text or the value of a label. Longer ones are cut.
pub const MOST_TEXT: usize = 1_024;

/// Labels of a sample, and buckets of a histogram.
pub const MOST_LABELS: usize = 64;

/// Samples of one metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Family {
    /// The first part of the name.
    pub namespace: String,
    /// The second part, which may be empty.
    pub subsystem: String,
    /// The last part.
    pub name: String,
    /// One line about it.
    pub help: String,
    /// What its numbers are.
    pub kind: Kind,
    /// The names of the labels that samples have.
    pub labels: Vec<String>,
    /// Of a histogram: the upper bounds of its buckets but the last.
    pub bounds: Vec<f64>,
    /// The samples.
    pub samples: Vec<Sample>,
}

/// What the numbers of a metric are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// They only grow.
    #[default]
    Counter,
    /// They go up and down.
    Gauge,
    /// Counts of observations by size.
    Histogram,
    /// Nobody says.
    Untyped,
}

/// What was seen at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Nanoseconds since 1970; 0 where nothing was seen yet.
    pub time: u64,
    /// The values of the labels, as many as the family has names.
    pub labels: Vec<String>,
    /// The number or the counts.
    pub value: Value,
}

/// A number, or the counts of a histogram.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of every other kind.
    Number(f64),
    /// Of a histogram.
    Counts {
        /// Observations up to each bound, and all of them.
        buckets: Vec<u64>,
        /// The sum of what was observed.
        sum: f64,
        /// How many observations.
        count: u64,
    },
}

impl Family {
    /// A family without samples.
    pub fn new(kind: Kind, [namespace, subsystem, name]: [&str; 3], help: &str, labels: &[&str]) -> Family {
        Family {
            namespace: namespace.to_owned(),
            subsystem: subsystem.to_owned(),
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            ..Family::default()
        }
    }

    /// Adds a number.
    pub fn add(&mut self, time: u64, labels: &[&str], value: f64) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        self.samples.push(Sample { time, labels, value: Value::Number(value) });
    }

    /// The name as it is shown.
    pub fn full_name(&self) -> String {
        let parts = [&self.namespace, &self.subsystem, &self.name];
        parts.into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect::<Vec<_>>().join("_")
    }
}

#[cfg(test)]
mod tests {
    use event::Cursor;

    use super::*;

    fn families() -> Vec<Family> {
        let mut records = Family::new(
            Kind::Counter,
            ["fluentbit", "output", "proc_records_total"],
            "Number of processed output records.",
            &["name"],
        );
        records.add(1_795_535_492_913_504_431, &["file.1"], 2.0);
        records.add(0, &["a\"b\\c\nd"], 1e18);
        let mut plain = Family::new(Kind::Gauge, ["fluentbit", "", "up"], "Up.", &[]);
        plain.add(1_000_000_001, &[], 0.5);
        let mut latency = Family::new(
            Kind::Histogram,
            ["fluentbit", "output", "latency_seconds"],
            "End-to-end latency in seconds",
            &["input", "output"],
        );
        latency.bounds = vec![0.5, 1.0, 30.0];
        let value = Value::Counts { buckets: vec![1, 2, 2, 3], sum: 0.594_409_465_789_794_9, count: 3 };
        let labels = vec!["in.0".to_owned(), "out.0".to_owned()];
        latency.samples.push(Sample { time: 1, labels, value });
        vec![records, plain, latency]
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = Vec::new();
        encode(&families(), &mut bytes);
        let mut cursor = Cursor::of(&bytes);
        let mut read = Vec::new();
        assert_eq!(decode(&mut cursor, |family| read.push(family)), Ok(0));
        assert_eq!(read, families());
        assert!(cursor.at_end());
        for end in 0..bytes.len() {
            assert!(decode(&mut Cursor::of(&bytes[..end]), drop).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_text_is_that_of_fluent_bit() {
        let mut out = String::new();
        text(&families(), &mut out);
        assert_eq!(
            out,
            "2026-11-24T15:51:32.913504431Z fluentbit_output_proc_records_total{name=\"file.1\"} = 2\n\
             1970-01-01T00:00:00.000000000Z fluentbit_output_proc_records_total{name=\"a\\\"b\\\\c\\nd\"} = \
             1000000000000000000\n\
             1970-01-01T00:00:01.000000001Z fluentbit_up = 0.5\n\
             1970-01-01T00:00:00.000000001Z fluentbit_output_latency_seconds{input=\"in.0\",output=\"out.0\"} = \
             { buckets = { 0.5=1, 1=2, 30=2, +Inf=3 }, sum=0.594409, count=3 }\n"
        );
    }

    #[test]
    fn prometheus_gets_families_with_their_help_and_added_labels_first() {
        let mut out = String::new();
        prometheus(&families(), &[("env".to_owned(), "test".to_owned())], false, &mut out);
        let expected = "# HELP fluentbit_output_proc_records_total Number of processed output records.\n\
            # TYPE fluentbit_output_proc_records_total counter\n\
            fluentbit_output_proc_records_total{env=\"test\",name=\"file.1\"} 2\n\
            fluentbit_output_proc_records_total{env=\"test\",name=\"a\\\"b\\\\c\\nd\"} 1000000000000000000\n\
            # HELP fluentbit_up Up.\n# TYPE fluentbit_up gauge\nfluentbit_up{env=\"test\"} 0.5\n\
            # HELP fluentbit_output_latency_seconds End-to-end latency in seconds\n\
            # TYPE fluentbit_output_latency_seconds histogram\n";
        assert!(out.starts_with(expected), "{out}");
        let rest: Vec<&str> = out[expected.len()..].lines().collect();
        let labels = "env=\"test\",input=\"in.0\",output=\"out.0\"";
        assert_eq!(
            rest,
            [
                format!("fluentbit_output_latency_seconds_bucket{{le=\"0.5\",{labels}}} 1"),
                format!("fluentbit_output_latency_seconds_bucket{{le=\"1.0\",{labels}}} 2"),
                format!("fluentbit_output_latency_seconds_bucket{{le=\"30.0\",{labels}}} 2"),
                format!("fluentbit_output_latency_seconds_bucket{{le=\"+Inf\",{labels}}} 3"),
                format!("fluentbit_output_latency_seconds_sum{{{labels}}} 0.5944094657897949"),
                format!("fluentbit_output_latency_seconds_count{{{labels}}} 3"),
            ]
        );
        let mut out = String::new();
        prometheus(&families()[1..2], &[], true, &mut out);
        assert!(out.ends_with("fluentbit_up 0.5 1000\n"), "{out}");
    }

    #[test]
    fn more_samples_than_the_bound_are_left_out_and_counted() {
        let mut family = Family::new(Kind::Gauge, ["a", "", "b"], "", &["n"]);
        for number in 0..MOST_OF_FAMILY + 7 {
            family.add(1, &[&number.to_string()], 1.0);
        }
        let mut bytes = Vec::new();
        encode(&[family], &mut bytes);
        let mut samples = 0;
        let left_out = decode(&mut Cursor::of(&bytes), |family| samples = family.samples.len());
        assert_eq!((samples, left_out), (MOST_OF_FAMILY, Ok(7)));
    }
}
