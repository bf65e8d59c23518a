//! Everything that is counted, as families of samples under Fluent Bit's names: one table for the monitoring
//! API, for whoever scrapes it and for the input that makes records of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use budget::AccountStat;

use crate::metrics::{Figure, FilterMetrics, InputMetrics, Metrics, OutputMetrics, Reason};

/// What a family's numbers mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
}

/// A name with its samples.
#[derive(Debug, Clone)]
pub struct Family {
    /// For example `fluentbit_input_records_total`.
    pub name: &'static str,
    /// One line.
    pub help: &'static str,
    /// What the numbers mean.
    pub kind: Kind,
    /// One for each set of labels.
    pub samples: Vec<Sample>,
}

/// A number with its labels.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Names and values, in Fluent Bit's order.
    pub labels: Vec<(&'static str, String)>,
    /// The number.
    pub value: f64,
}

/// What is known of the process beside its counters.
#[derive(Debug, Clone)]
pub struct Process {
    /// The name of the host.
    pub hostname: String,
    /// The version that clients are told.
    pub version: &'static str,
    /// Since the start.
    pub uptime: Duration,
    /// When it started.
    pub started: SystemTime,
    /// Reloads that were carried out.
    pub reloads: u64,
    /// Lines of the log by level.
    pub logs: [(&'static str, u64); 5],
    /// The accounts of the ledger.
    pub accounts: Vec<AccountStat>,
}

/// Name, help, and the value of an instance.
type Column<M> = (&'static str, &'static str, fn(&M) -> f64);

macro_rules! counter {
    ($field:ident) => {
        |m| m.$field.get() as f64
    };
}

const INPUT: &[Column<InputMetrics>] = &[
    ("fluentbit_input_bytes_total", "Number of input bytes.", counter!(bytes)),
    ("fluentbit_input_records_total", "Number of input records.", counter!(records)),
];

const FILTER: &[Column<FilterMetrics>] = &[
    ("fluentbit_filter_records_total", "Total number of new records processed.", counter!(records)),
    ("fluentbit_filter_add_records_total", "Total number of new added records.", counter!(added)),
    ("fluentbit_filter_drop_records_total", "Total number of dropped records.", counter!(dropped)),
    ("fluentbit_filter_emit_records_total", "Total number of emitted records.", counter!(emitted)),
];

const OUTPUT: &[Column<OutputMetrics>] = &[
    ("fluentbit_output_proc_records_total", "Number of processed output records.", counter!(records)),
    ("fluentbit_output_proc_bytes_total", "Number of processed output bytes.", counter!(bytes)),
    ("fluentbit_output_errors_total", "Number of output errors.", counter!(errors)),
    ("fluentbit_output_retries_total", "Number of output retries.", counter!(retries)),
    (
        "fluentbit_output_retries_failed_total",
        "Number of abandoned batches because the maximum number of re-tries was reached.",
        counter!(retries_failed),
    ),
    ("fluentbit_output_dropped_records_total", "Number of dropped records.", counter!(dropped_records)),
    ("fluentbit_output_retried_records_total", "Number of retried records.", counter!(retried_records)),
];

/// What the equations of delivery are made of: `records + added = removed + stored`, `routed = delivered + dropped
/// + held`.
const BALANCE_INPUT: &[Column<InputMetrics>] = &[
    ("weir_input_added_records_total", "Records that filters added.", counter!(added)),
    ("weir_input_removed_records_total", "Records that filters removed.", counter!(removed)),
    ("weir_input_stored_records_total", "Records that went into chunks.", counter!(stored)),
    (
        "weir_input_dropped_total",
        "Datagrams and records that the input dropped because there was no room for them.",
        counter!(dropped),
    ),
];

/// See [`BALANCE_INPUT`].
const BALANCE_OUTPUT: &[Column<OutputMetrics>] =
    &[("weir_output_routed_records_total", "Records that the output was to deliver.", counter!(routed))];

/// The families of Fluent Bit's first API: those of instances, without the process.
pub fn instances(metrics: &Metrics) -> Vec<Family> {
    let mut all = Vec::new();
    columns(&mut all, Kind::Counter, INPUT, &metrics.inputs, |m| &m.name);
    columns(&mut all, Kind::Counter, FILTER, &metrics.filters, |m| &m.name);
    columns(&mut all, Kind::Counter, OUTPUT, &metrics.outputs, |m| &m.name);
    all
}

/// What Fluent Bit does not have: the balance of records, and what outputs count themselves.
pub fn own(metrics: &Metrics) -> Vec<Family> {
    let mut all = Vec::new();
    columns(&mut all, Kind::Counter, BALANCE_INPUT, &metrics.inputs, |m| &m.name);
    columns(&mut all, Kind::Counter, BALANCE_OUTPUT, &metrics.outputs, |m| &m.name);
    let held = |m: &OutputMetrics| m.held.get() as f64;
    let held: Column<OutputMetrics> =
        ("weir_output_held_records", "Records that are neither delivered nor dropped yet.", held);
    columns(&mut all, Kind::Gauge, &[held], &metrics.outputs, |m| &m.name);
    all.push(reasons(&metrics.outputs));
    let unrouted = vec![Sample { labels: Vec::new(), value: metrics.unrouted_records.get() as f64 }];
    all.push(Family {
        name: "weir_unrouted_records_total",
        help: "Records that no output takes.",
        kind: Kind::Counter,
        samples: unrouted,
    });
    let storage = &metrics.storage;
    for (name, help, kind, value) in [
        ("fluentbit_storage_mem_chunks", "Chunks in memory only.", Kind::Gauge, storage.memory_chunks.get()),
        (
            "fluentbit_storage_fs_chunks",
            "Chunks on the disk that are known.",
            Kind::Gauge,
            storage.stored_chunks.get(),
        ),
        ("fluentbit_storage_fs_chunks_up", "Those in memory too.", Kind::Gauge, storage.stored_up.get()),
        (
            "weir_storage_found_records_total",
            "Records found on the disk.",
            Kind::Counter,
            storage.found_records.get(),
        ),
        (
            "weir_storage_kept_records_total",
            "Dropped records kept as files.",
            Kind::Counter,
            storage.kept_records.get(),
        ),
        ("weir_storage_lost_records_total", "Records lost on the disk.", Kind::Counter, storage.lost.get()),
    ] {
        let samples = vec![Sample { labels: Vec::new(), value: value as f64 }];
        all.push(Family { name, help, kind, samples });
    }
    figures(&mut all, &metrics.outputs);
    all.retain(|family| !family.samples.is_empty());
    all
}

/// Every family of Fluent Bit's second API.
pub fn all(metrics: &Metrics, process: &Process) -> Vec<Family> {
    let host = || vec![("hostname", process.hostname.clone())];
    let one = |name, help, kind, labels, value| Family {
        name,
        help,
        kind,
        samples: vec![Sample { labels, value }],
    };
    let started = process.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as f64;
    let uptime = process.uptime.as_secs() as f64;
    let mut all = vec![
        one(
            "fluentbit_uptime",
            "Number of seconds that Weir has been running.",
            Kind::Counter,
            host(),
            uptime,
        ),
        one(
            "fluentbit_hot_reloaded_times",
            "Collect the count of hot reloaded times.",
            Kind::Counter,
            host(),
            process.reloads as f64,
        ),
        logs(process),
    ];
    all.extend(instances(metrics));
    all.push(one(
        "fluentbit_process_start_time_seconds",
        "Start time of the process since unix epoch in seconds.",
        Kind::Gauge,
        host(),
        started,
    ));
    let mut build = host();
    build.extend([("version", process.version.to_owned()), ("os", std::env::consts::OS.to_owned())]);
    all.push(one("fluentbit_build_info", "Build version information.", Kind::Gauge, build, started));
    all.extend(memory(metrics, process));
    all.extend(own(metrics));
    all
}

fn columns<M>(
    all: &mut Vec<Family>,
    kind: Kind,
    columns: &[Column<M>],
    instances: &[Arc<M>],
    name_of: fn(&M) -> &String,
) {
    if instances.is_empty() {
        return;
    }
    for (name, help, value) in columns {
        let sample =
            |one: &Arc<M>| Sample { labels: vec![("name", name_of(one).clone())], value: value(one) };
        all.push(Family { name, help, kind, samples: instances.iter().map(sample).collect() });
    }
}

fn logs(process: &Process) -> Family {
    let sample = |(level, count): &(&str, u64)| Sample {
        labels: vec![("message_type", (*level).to_owned())],
        value: *count as f64,
    };
    Family {
        name: "fluentbit_logger_logs_total",
        help: "Total number of logs",
        kind: Kind::Counter,
        samples: process.logs.iter().map(sample).collect(),
    }
}

/// The chunks of inputs in memory, as their accounts hold them.
fn memory(metrics: &Metrics, process: &Process) -> Vec<Family> {
    let account = |name: &str| process.accounts.iter().find(|a| a.owner == name && a.purpose == "chunks");
    let family = |name, help, value: fn(&AccountStat) -> f64| Family {
        name,
        help,
        kind: Kind::Gauge,
        samples: metrics
            .inputs
            .iter()
            .filter_map(|input| {
                let value = value(account(&input.name)?);
                Some(Sample { labels: vec![("name", input.name.clone())], value })
            })
            .collect(),
    };
    let full = |a: &AccountStat| f64::from(u8::from(a.held >= a.share.max));
    let mut all = vec![
        family("fluentbit_input_ingestion_paused", "Is the input paused or not?", full),
        family("fluentbit_input_storage_overlimit", "Is the input memory usage overlimit ?.", full),
        family("fluentbit_input_storage_memory_bytes", "Memory bytes used by the chunks.", |a| a.held as f64),
    ];
    all.retain(|family| !family.samples.is_empty());
    all
}

fn reasons(outputs: &[Arc<OutputMetrics>]) -> Family {
    let samples = outputs.iter().flat_map(|output| {
        Reason::ALL.iter().map(|reason| Sample {
            labels: vec![("name", output.name.clone()), ("reason", reason.name().to_owned())],
            value: output.dropped.of(*reason) as f64,
        })
    });
    Family {
        name: "weir_output_dropped_records_total",
        help: "Records that were dropped, by reason.",
        kind: Kind::Counter,
        samples: samples.filter(|sample| sample.value > 0.0).collect(),
    }
}

/// What outputs count themselves: a family for each name, over all instances.
fn figures(all: &mut Vec<Family>, outputs: &[Arc<OutputMetrics>]) {
    let mut families: BTreeMap<&'static str, (Figure, Vec<Sample>)> = BTreeMap::new();
    for output in outputs {
        for figure in output.own.figures() {
            let mut labels = vec![("name", output.name.clone())];
            labels.extend(figure.label.map(|(name, value)| (name, value.to_owned())));
            let sample = Sample { labels, value: figure.value as f64 };
            families.entry(figure.name).or_insert_with(|| (figure, Vec::new())).1.push(sample);
        }
    }
    all.extend(families.into_iter().map(|(name, (figure, samples))| Family {
        name,
        help: figure.help,
        kind: if figure.counter { Kind::Counter } else { Kind::Gauge },
        samples,
    }));
}
