//! The monitoring API on `http_server`'s port: Fluent Bit's paths and shapes.
//!
//! | path | answer |
//! |---|---|
//! | `/` | name and version |
//! | `/api/v1/uptime` | `{"uptime_sec":n,"uptime_hr":"..."}` |
//! | `/api/v1/health` | with `health_check`: 200 `ok` or 500 `error` |
//! | `/api/v1/metrics/prometheus` | counters in Prometheus' text format |
//! | `/api/v1/memory` | the ledger: budget and accounts, in bytes |
//!
//! Other paths answer 404 with no body.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use budget::{Budget, Share};
use engine::Stop;
use engine::common::Service;
use engine::metrics::Metrics;
use net::server::{self, Accounts, Answer, Begin, Body, Head, Lanes, Server, Settings};
use serde_json::json;

use crate::prometheus;

/// Connections of monitoring clients.
const CONNECTIONS: usize = 32;
/// What all of them may hold: connections, and a page each while a request arrives. Set aside, so that the
/// agent can be looked at when the budget is full.
const ACCOUNT_PAGES: usize = 8;

/// Starts serving on this thread.
///
/// # Errors
/// The address cannot be bound, or the ledger has no room.
pub fn start(service: &Service, metrics: Arc<Metrics>, budget: &Budget, stop: Stop) -> Result<(), String> {
    let listener = net::listener::bind(&service.http_listen, service.http_port)
        .map_err(|error| format!("http_server: {error}"))?;
    let listener =
        tokio::net::TcpListener::from_std(listener).map_err(|error| format!("http_server: {error}"))?;
    let bytes = ACCOUNT_PAGES * budget.page_size();
    let account =
        budget.account("http_server", "connections", Share::fixed(bytes)).map_err(|e| e.to_string())?;
    let health = service.health_check.then(|| Rc::new(Health::new(service, Arc::clone(&metrics))));
    if let Some(health) = &health {
        tokio::task::spawn_local(Rc::clone(health).watch(stop.clone()));
    }
    let admin = Admin {
        metrics,
        budget: budget.clone(),
        health,
        started: Instant::now(),
        started_at: SystemTime::now(),
    };
    let wait = Duration::from_secs(10);
    let settings = Settings {
        accept: wait,
        idle: wait,
        head: wait,
        body: wait,
        keep_alive: true,
        http2: false,
        tls: None,
    };
    let accounts = Accounts { connections: account.clone(), active: account.clone(), receive: account };
    tracing::info!("[http_server] listen iface={} tcp_port={}", service.http_listen, service.http_port);
    tokio::task::spawn_local(async move {
        let lanes = Lanes::new(CONNECTIONS);
        Server::new(admin, settings, accounts).serve(listener, lanes, stop.requested()).await;
    });
    Ok(())
}

struct Admin {
    metrics: Arc<Metrics>,
    budget: Budget,
    health: Option<Rc<Health>>,
    started: Instant,
    started_at: SystemTime,
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
        if !["GET", "HEAD"].contains(&head.method) {
            return Begin::Answer(Answer::status(405).header("Allow", "GET, HEAD"));
        }
        let json = |value: serde_json::Value| typed("application/json", value.to_string());
        Begin::Answer(match head.path() {
            "/" => json(json!({"weir": {"version": env!("CARGO_PKG_VERSION")}})),
            "/api/v1/uptime" => json(uptime(self.started.elapsed().as_secs())),
            "/api/v1/health" => {
                self.health.as_ref().map_or_else(|| Answer::status(404), |health| health.answer())
            }
            "/api/v1/metrics/prometheus" => {
                let text = prometheus::text(&self.metrics, self.started.elapsed(), self.started_at);
                typed("text/plain; version=0.0.4", text)
            }
            "/api/v1/memory" => json(self.memory()),
            _ => Answer::status(404),
        })
    }
}

fn typed(kind: &'static str, body: String) -> Answer {
    Answer { body, ..Answer::status(200).header("Content-Type", kind) }
}

/// Fluent Bit's shape, its spelling of plurals included.
fn uptime(seconds: u64) -> serde_json::Value {
    let plural = |count: u64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    let parts = [(seconds / 86_400, "day"), (seconds / 3_600 % 24, "hour"), (seconds / 60 % 60, "minute")];
    let mut text: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, unit)| plural(*count, unit)).collect();
    text.push(plural(seconds % 60, "second"));
    let text = match text.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    };
    json!({"uptime_sec": seconds, "uptime_hr": format!("Weir has been running:  {text}")})
}

impl Admin {
    fn memory(&self) -> serde_json::Value {
        let stat = self.budget.stat();
        let accounts: Vec<_> = self.budget.accounts().iter().map(|account| {
            json!({
                "owner": account.owner, "purpose": account.purpose, "held": account.held, "peak": account.peak,
                "guaranteed": account.share.guaranteed, "max": account.share.max.min(stat.limit),
                "waits": account.waits, "refusals": account.refusals,
            })
        }).collect();
        json!({
            "budget": {
                "limit": stat.limit, "held": stat.held, "guaranteed": stat.guaranteed, "free_resident": stat.dirty,
                "page_size": stat.page_size, "waiting": stat.waiting,
            },
            "accounts": accounts,
        })
    }
}

/// Judges by what happened within the period: Fluent Bit's rule.
struct Health {
    metrics: Arc<Metrics>,
    errors: u64,
    retry_failures: u64,
    seconds: usize,
    /// Errors and given-up retries at each of the last seconds, the newest last.
    past: RefCell<VecDeque<(u64, u64)>>,
}

impl Health {
    fn new(service: &Service, metrics: Arc<Metrics>) -> Health {
        Health {
            metrics,
            errors: service.hc_errors_count,
            retry_failures: service.hc_retry_failure_count,
            // An hour is as long as anybody looks back, and bounds the memory of it.
            seconds: service.hc_period.duration().as_secs().clamp(1, 3_600) as usize,
            past: RefCell::default(),
        }
    }

    fn now(&self) -> (u64, u64) {
        let outputs = self.metrics.outputs.iter();
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

    fn answer(&self) -> Answer {
        let (errors, failed) = self.now();
        let (errors_then, failed_then) = self.past.borrow().front().copied().unwrap_or_default();
        if errors - errors_then > self.errors || failed - failed_then > self.retry_failures {
            return Answer::text(500, "error");
        }
        Answer::text(200, "ok")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_names_only_the_units_that_count() {
        let text = |seconds| uptime(seconds)["uptime_hr"].as_str().unwrap().to_owned();
        assert_eq!(text(0), "Weir has been running:  0 seconds");
        assert_eq!(text(61), "Weir has been running:  1 minute and 1 second");
        assert_eq!(text(180_123), "Weir has been running:  2 days, 2 hours, 2 minutes and 3 seconds");
    }
}
