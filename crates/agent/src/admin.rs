//! The monitoring API on `http_server`'s port: Fluent Bit's paths and shapes.
//!
//! | path | answer |
//! |---|---|
//! | `/` | name and version |
//! | `/api/v1/uptime` | `{"uptime_sec":n,"uptime_hr":"..."}` |
//! | `/api/v1/plugins` | the plugins there are |
//! | `/api/v1/health` | with `health_check`: 200 `ok` or 500 `error` |
//! | `/api/v1/metrics` | counters by instance, as JSON |
//! | `/api/v1/metrics/prometheus` | counters in Prometheus' text format |
//! | `/api/v1/storage` | chunks of the inputs, as JSON |
//! | `/api/v1/memory` | the ledger: budget and accounts, and what the kernel says, in bytes |
//! | `/api/v2/health` | the same verdict with its numbers, as JSON |
//! | `/api/v2/metrics` | every number, one a line |
//! | `/api/v2/metrics/prometheus` | every number in Prometheus' text format |
//! | `/api/v2/reload` | GET: how often; POST, PUT: reload the configuration |
//! | `/ui` | a live page |
//!
//! Other paths answer 404 with no body.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use budget::{Budget, Share};
use engine::Stop;
use engine::common::Service;
use engine::families::{self, Process};
use engine::metrics::Metrics;
use net::server::{self, Accounts, Answer, Begin, Body, Head, Lanes, Server, Settings};
use serde_json::{Map, Value, json};

use crate::ledger::Ledger;
use crate::run::Reloads;
use crate::{help, log, prometheus};

/// The counters of the pipeline that runs: a reload puts others in their place.
pub type Shown = Rc<RefCell<Arc<Metrics>>>;
/// The owner of what the monitoring API holds.
pub const OWNER: &str = "http_server";

/// Connections of monitoring clients.
const CONNECTIONS: usize = 32;
/// What all of them may hold: connections, and a page each while a request arrives. Set aside, so that the
/// agent can be looked at when the budget is full.
const ACCOUNT_PAGES: usize = 8;

/// Starts serving on this thread.
///
/// # Errors
/// The address cannot be bound, or the ledger has no room.
pub fn start(
    service: &Service,
    metrics: Shown,
    budget: &Budget,
    ledger: Ledger,
    reloads: Rc<Reloads>,
    stop: Stop,
) -> Result<(), String> {
    let listener = net::listener::bind(&service.http_listen, service.http_port)
        .map_err(|error| format!("http_server: {error}"))?;
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(|error| format!("http_server: {error}"))?;
    let bytes = ACCOUNT_PAGES * budget.page_size();
    let account = budget.account(OWNER, "connections", Share::fixed(bytes)).map_err(|e| e.to_string())?;
    let health = Rc::new(Health::new(service, Rc::clone(&metrics)));
    tokio::task::spawn_local(Rc::clone(&health).watch(stop.clone()));
    let admin = Admin { metrics, budget: budget.clone(), ledger, health, reloads };
    let wait = Duration::from_secs(10);
    let settings = Settings {
        accept: wait,
        idle: wait,
        head: wait,
        body: wait,
        rate: 0,
        keep_alive: true,
        http2: false,
        tls: None,
    };
    let accounts =
        Accounts { connections: account.clone(), active: account.clone(), receive: account, small: None };
    tracing::info!("[http_server] listen iface={} tcp_port={}", service.http_listen, service.http_port);
    tokio::task::spawn_local(async move {
        let lanes = Lanes::new(CONNECTIONS);
        Server::new(admin, settings, accounts).serve(listener, lanes, stop.requested()).await;
    });
    Ok(())
}

struct Admin {
    metrics: Shown,
    budget: Budget,
    ledger: Ledger,
    health: Rc<Health>,
    reloads: Rc<Reloads>,
}

/// Requests here have no body.
struct NoBody(Infallible);

impl Body for NoBody {
    async fn data(&mut self, _piece: &[u8]) -> Result<(), Answer> {
        match self.0 {}
    }

    async fn end(self) -> Answer {
        match self.0 {}
    }
}

impl server::Service for Admin {
    type Body = NoBody;

    fn begin(&self, head: &Head<'_>) -> Begin<NoBody> {
        let reload = head.path() == "/api/v2/reload";
        if reload && ["POST", "PUT"].contains(&head.method) {
            return Begin::Answer(self.reload());
        }
        if !["GET", "HEAD"].contains(&head.method) {
            let allow = if reload { "GET, POST, PUT" } else { "GET, HEAD" };
            return Begin::Answer(Answer::status(405).header("Allow", allow));
        }
        Begin::Answer(self.get(head.path()))
    }
}

impl Admin {
    fn get(&self, path: &str) -> Answer {
        let json = |value: Value| typed("application/json", value.to_string());
        let prometheus = |text| typed("text/plain; version=0.0.4", text);
        match path {
            "/" => json(json!({
                "fluent-bit": {"version": "5.1.1", "edition": "Weir", "flags": []},
                "weir": {"version": env!("CARGO_PKG_VERSION")},
            })),
            "/ui" | "/ui/" => typed("text/html; charset=utf-8", include_str!("ui.html").to_owned()),
            "/api/v1/uptime" => json(uptime(self.reloads.started.elapsed().as_secs())),
            "/api/v1/plugins" => json(plugins()),
            "/api/v1/health" if self.health.enabled => self.health.answer(),
            "/api/v1/metrics" => json(self.metrics_json()),
            "/api/v1/metrics/prometheus" => {
                let started = self.reloads.started;
                let mut text =
                    prometheus::v1(&self.metrics.borrow(), started.elapsed(), self.reloads.started_at);
                text.push_str(&self.ledger.prometheus());
                prometheus(text)
            }
            "/api/v1/storage" => json(self.storage()),
            "/api/v1/memory" => json(self.ledger.json()),
            "/api/v2/health" => json(self.health.json()),
            "/api/v2/metrics" => Answer::text(200, prometheus::plain(&self.families()).trim_end()),
            "/api/v2/metrics/prometheus" => prometheus(prometheus::v2(&self.families())),
            "/api/v2/reload" => json(json!({"hot_reload_count": self.reloads.count.get()})),
            "/ui/state" => json(self.state()),
            _ => Answer::status(404),
        }
    }

    /// Asks for a reload; the answer does not wait for it. The codes are Fluent Bit's.
    fn reload(&self) -> Answer {
        let (status, text, code) = match self.reloads.ask() {
            Ok(()) => (200, "done", 0),
            Err(false) => (200, "not enabled", -1),
            Err(true) => (400, "in progress", -2),
        };
        let body = json!({"reload": text, "status": code}).to_string();
        Answer { body, ..Answer::status(status).header("Content-Type", "application/json") }
    }

    fn families(&self) -> Vec<families::Family> {
        let hostname = config::process_env("HOSTNAME").unwrap_or_default();
        let process = Process {
            hostname,
            version: "5.1.1",
            uptime: self.reloads.started.elapsed(),
            started: self.reloads.started_at,
            reloads: self.reloads.count.get(),
            logs: log::written(),
            accounts: self.budget.accounts(),
        };
        families::all(&self.metrics.borrow(), &process)
    }

    /// The counters of every instance, with Fluent Bit's keys.
    fn metrics_json(&self) -> Value {
        let input =
            |m: &engine::metrics::InputMetrics| json!({"records": m.records.get(), "bytes": m.bytes.get()});
        let filter = |m: &engine::metrics::FilterMetrics| json!({"drop_records": m.dropped.get(), "add_records": m.added.get(), "records": m.records.get()});
        let output = |m: &engine::metrics::OutputMetrics| {
            json!({
                "proc_records": m.records.get(), "proc_bytes": m.bytes.get(), "errors": m.errors.get(),
                "retries": m.retries.get(), "retries_failed": m.retries_failed.get(),
                "dropped_records": m.dropped_records.get(), "retried_records": m.retried_records.get(),
            })
        };
        let metrics = self.metrics.borrow();
        let inputs: Map<_, _> = metrics.inputs.iter().map(|m| (m.name.clone(), input(m))).collect();
        let filters: Map<_, _> = metrics.filters.iter().map(|m| (m.name.clone(), filter(m))).collect();
        let outputs: Map<_, _> = metrics.outputs.iter().map(|m| (m.name.clone(), output(m))).collect();
        json!({"input": inputs, "filter": filters, "output": outputs})
    }

    /// What the chunks of each input hold. Sizes are texts, as in Fluent Bit.
    fn storage(&self) -> Value {
        let accounts = self.budget.accounts();
        let chunks = |m: &engine::metrics::InputMetrics| {
            let account = accounts.iter().find(|a| a.owner == m.name && a.purpose == "chunks");
            let (held, max) = account.map_or((0, usize::MAX), |account| (account.held, account.share.max));
            let limit = if max == usize::MAX { 0 } else { max };
            json!({
                "status": {"overlimit": held >= max, "mem_size": human(held), "mem_limit": human(limit)},
                "chunks": {"total": 0, "up": 0, "down": 0, "busy": 0, "busy_size": human(0)},
            })
        };
        let metrics = self.metrics.borrow();
        let inputs: Map<_, _> = metrics.inputs.iter().map(|m| (m.name.clone(), chunks(m))).collect();
        let storage = &metrics.storage;
        let (memory, stored) = (storage.memory_chunks.get(), storage.stored_chunks.get());
        let up = storage.stored_up.get().min(stored);
        json!({
            "storage_layer": {"chunks": {
                "total_chunks": memory + stored, "mem_chunks": memory, "fs_chunks": stored,
                "fs_chunks_up": up, "fs_chunks_down": stored - up,
            }},
            "input_chunks": inputs,
        })
    }

    /// What the live page shows.
    fn state(&self) -> Value {
        let metrics = self.metrics.borrow();
        let held: Map<_, _> = metrics.outputs.iter().map(|m| (m.name.clone(), json!(m.held.get()))).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"), "uptime": self.reloads.started.elapsed().as_secs(),
            "reloads": self.reloads.count.get(), "metrics": self.metrics_json(), "held": held,
            "unrouted": metrics.unrouted_records.get(), "memory": self.ledger.json(),
            "health": self.health.json(), "errors": log::last_errors(),
        })
    }
}

/// The plugins there are.
fn plugins() -> Value {
    let all = help::all();
    let names = |kind: &str| -> Vec<&str> { all.iter().filter(|p| p.kind == kind).map(|p| p.name).collect() };
    json!({"plugins": {"inputs": names("input"), "filters": names("filter"), "outputs": names("output")}})
}

/// A size as Fluent Bit writes it: powers of 1024.
fn human(bytes: usize) -> String {
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit < 4 {
        size /= 1024.0;
        unit += 1;
    }
    let name = ["b", "K", "M", "G", "T"][unit];
    if unit == 0 { format!("{bytes}b") } else { format!("{size:.1}{name}") }
}

fn typed(kind: &'static str, body: String) -> Answer {
    Answer { body, ..Answer::status(200).header("Content-Type", kind) }
}

/// Fluent Bit's shape, its spelling of plurals included.
fn uptime(seconds: u64) -> Value {
    let plural = |count: u64, unit: &str| format!("{count} {unit}{}", if count > 1 { "s" } else { "" });
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let parts =
        [(days, "day"), (hours, "hour"), (minutes, "minute")].map(|(count, unit)| plural(count, unit));
    let text = format!("{} and {}", parts.join(", "), plural(seconds % 60, "second"));
    json!({"uptime_sec": seconds, "uptime_hr": format!("Weir has been running:  {text}")})
}

/// Judges by what happened within the period: Fluent Bit's rule.
struct Health {
    enabled: bool,
    metrics: Shown,
    errors: u64,
    retry_failures: u64,
    seconds: usize,
    /// Errors and given-up retries at each of the last seconds, the newest last.
    past: RefCell<VecDeque<(u64, u64)>>,
}

impl Health {
    fn new(service: &Service, metrics: Shown) -> Health {
        Health {
            enabled: service.health_check,
            metrics,
            errors: service.hc_errors_count,
            retry_failures: service.hc_retry_failure_count,
            // An hour is as long as anybody looks back, and bounds the memory of it.
            seconds: service.hc_period.duration().as_secs().clamp(1, 3_600) as usize,
            past: RefCell::default(),
        }
    }

    fn now(&self) -> (u64, u64) {
        let metrics = self.metrics.borrow();
        let outputs = metrics.outputs.iter();
        outputs.fold((0, 0), |(errors, failed), output| {
            (errors + output.errors.get(), failed + output.retries_failed.get())
        })
    }

    async fn watch(self: Rc<Self>, stop: Stop) {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        while !stop.is_requested() {
            second.tick().await;
            let now = self.now();
            let mut past = self.past.borrow_mut();
            past.push_back(now);
            if past.len() > self.seconds {
                past.pop_front();
            }
        }
    }

    /// Errors and given-up retries within the period.
    fn recent(&self) -> (u64, u64) {
        let (errors, failed) = self.now();
        let (errors_then, failed_then) = self.past.borrow().front().copied().unwrap_or_default();
        (errors.saturating_sub(errors_then), failed.saturating_sub(failed_then))
    }

    fn is_healthy(&self) -> bool {
        let (errors, failed) = self.recent();
        errors <= self.errors && failed <= self.retry_failures
    }

    fn answer(&self) -> Answer {
        if self.is_healthy() { Answer::text(200, "ok") } else { Answer::text(500, "error") }
    }

    fn json(&self) -> Value {
        let (errors, retries_failed) = self.recent();
        json!({
            "status": if !self.enabled || self.is_healthy() { "ok" } else { "error" },
            "errors": errors, "retries_failed": retries_failed, "error_limit": self.errors,
            "retry_failure_limit": self.retry_failures, "period_limit": self.seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_spelled_as_in_fluent_bit() {
        let text = |seconds| uptime(seconds)["uptime_hr"].as_str().unwrap().to_owned();
        assert_eq!(text(8), "Weir has been running:  0 day, 0 hour, 0 minute and 8 seconds");
        assert_eq!(text(180_123), "Weir has been running:  2 days, 2 hours, 2 minutes and 3 seconds");
    }

    #[test]
    fn sizes_are_written_as_in_fluent_bit() {
        for (bytes, text) in [(0, "0b"), (1023, "1023b"), (1024, "1.0K"), (5_000_000, "4.8M")] {
            assert_eq!(human(bytes), text);
        }
    }
}
