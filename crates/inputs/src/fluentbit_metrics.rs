//! `fluentbit_metrics`: the agent's own counters, as metrics.
//!
//! ```text
//! [INPUT]
//!     name            fluentbit_metrics
//!     tag             internal
//!     scrape_interval 10
//! [OUTPUT]
//!     name  prometheus_exporter
//!     match internal
//! ```
//!
//! They have Fluent Bit's names. Outputs that take metrics get them; filters do not see them.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use budget::{Buf, Full};
use engine::{Counters, Emitter, Input, InputDef, Local, Refused, Setup, Stop};
use event::Events;
use formats::metrics::{self, Family, Kind};
use options::{Options, Period, Reader};

use crate::records::hand_over;

/// The registry's entry.
pub static INPUT: InputDef = InputDef {
    name: "fluentbit_metrics",
    about: "the agent's own counters, as metrics",
    specs: MetricsOptions::specs,
    open,
};

#[derive(Debug, Options)]
struct MetricsOptions {
    /// The time between two looks.
    #[option(default = "2", min = "1")]
    scrape_interval: Period,
    /// Look at the start, instead of after the first interval.
    #[option(default = "off")]
    scrape_on_start: bool,
}

struct OwnMetrics {
    options: MetricsOptions,
    name: String,
    counters: Counters,
    hostname: String,
    started: Instant,
    started_at: SystemTime,
}

fn open(reader: &mut Reader<'_>, setup: &Setup) -> Option<Arc<dyn Input>> {
    #[expect(clippy::disallowed_methods, reason = "the kernel bounds it to 64 bytes")]
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Some(Arc::new(OwnMetrics {
        options: MetricsOptions::read(reader)?,
        name: setup.name.clone(),
        counters: setup.counters.clone(),
        hostname: hostname.trim().to_owned(),
        started: Instant::now(),
        started_at: SystemTime::now(),
    }))
}

impl Input for OwnMetrics {
    fn run(self: Arc<Self>, out: Emitter, stop: Stop) -> Local<'static, Result<(), String>> {
        Box::pin(async move {
            let interval = self.options.scrape_interval.0;
            let first = if self.options.scrape_on_start { Duration::ZERO } else { interval };
            let mut timer = tokio::time::interval_at(tokio::time::Instant::now() + first, interval);
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut looks = 0;
            loop {
                tokio::select! {
                    _ = timer.tick() => {}
                    () = stop.requested() => return Ok(()),
                }
                looks += 1;
                // The next look shows the same and more, so nothing waits for room.
                match self.look(looks, &out) {
                    Ok(events) => hand_over(events, &out).await,
                    Err(Full) => out.dropped(1, "looks", &Refused::NoRoom),
                }
            }
        })
    }
}

impl OwnMetrics {
    fn look(&self, looks: u64, out: &Emitter) -> Result<Events, Full> {
        let mut bytes = Vec::new();
        metrics::encode(&self.families(looks), &mut bytes);
        let mut buf = Buf::new(out.account());
        buf.write(&bytes)?;
        Ok(Events { buf, records: 1 })
    }

    fn families(&self, looks: u64) -> Vec<Family> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let host = [self.hostname.as_str()];
        let mut families = Vec::new();
        let mut one = |kind, name: &str, help: &str, labels: &[&str], values: &[&str], number: f64| {
            let mut family = Family::new(kind, ["fluentbit", "", name], help, labels);
            family.add(now, values, number);
            families.push(family);
        };
        let uptime = self.started.elapsed().as_secs() as f64;
        one(
            Kind::Counter,
            "uptime",
            "Number of seconds that the agent has been running.",
            &["hostname"],
            &host,
            uptime,
        );
        let started = self.started_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() as f64;
        let help = "Start time of the process since unix epoch in seconds.";
        one(Kind::Gauge, "process_start_time_seconds", help, &["hostname"], &host, started);
        let labels = ["hostname", "version", "os"];
        let values = [self.hostname.as_str(), env!("CARGO_PKG_VERSION"), std::env::consts::OS];
        one(Kind::Gauge, "build_info", "Build version information.", &labels, &values, started);
        families.extend(self.instances(now));
        let help = "Number of total metrics scrapes";
        let mut scrapes =
            Family::new(Kind::Counter, ["fluentbit", "input_metrics", "scrapes_total"], help, &["name"]);
        scrapes.add(now, &[&self.name], looks as f64);
        families.push(scrapes);
        families
    }

    /// What the engine counts for each instance, and what outputs count themselves.
    fn instances(&self, now: u64) -> Vec<Family> {
        let Some(all) = self.counters.get() else { return Vec::new() };
        let mut families = Vec::new();
        let mut family = |of: &str, name: &str, help: &str, values: Vec<(&str, u64)>| {
            let mut family = Family::new(Kind::Counter, ["fluentbit", of, name], help, &["name"]);
            values.iter().for_each(|(name, value)| family.add(now, &[name], *value as f64));
            if !values.is_empty() {
                families.push(family);
            }
        };
        macro_rules! counters {
            ($of:literal, $instances:expr, $($name:literal, $help:literal, $field:ident;)*) => {$(
                let values = $instances.iter().map(|i| (i.name.as_str(), i.$field.get())).collect();
                family($of, $name, $help, values);
            )*};
        }
        counters!("input", all.inputs,
            "bytes_total", "Number of input bytes.", bytes;
            "records_total", "Number of input records.", records;
        );
        counters!("filter", all.filters,
            "records_total", "Total number of new records processed.", records;
            "add_records_total", "Total number of new added records.", added;
            "drop_records_total", "Total number of dropped records.", dropped;
        );
        counters!("output", all.outputs,
            "proc_records_total", "Number of processed output records.", records;
            "proc_bytes_total", "Number of processed output bytes.", bytes;
            "errors_total", "Number of output errors.", errors;
            "retries_total", "Number of output retries.", retries;
            "retries_failed_total", "Number of abandoned batches because the maximum number of re-tries was reached.", retries_failed;
            "dropped_records_total", "Number of dropped records.", dropped_records;
            "retried_records_total", "Number of retried records.", retried_records;
        );
        for output in &all.outputs {
            for figure in output.own.figures() {
                let kind = if figure.counter { Kind::Counter } else { Kind::Gauge };
                let (label, value) = figure.label.unwrap_or(("", ""));
                let labels: &[&str] = if label.is_empty() { &["name"] } else { &["name", label] };
                let values: &[&str] = if label.is_empty() { &[&output.name] } else { &[&output.name, value] };
                let at = families.iter().position(|family| family.name == figure.name);
                let at = at.unwrap_or_else(|| {
                    families.push(Family::new(kind, ["", "", figure.name], figure.help, labels));
                    families.len() - 1
                });
                families[at].add(now, values, figure.value as f64);
            }
        }
        families
    }
}
