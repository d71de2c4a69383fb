//! `/metrics`: counters of this process in Prometheus' text form.

use actix_web::{HttpResponse, web};
use prometheus::{IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

use super::{
    Api,
    problem::{Code, Problem},
};
use crate::Gateway;

/// What the API counts.
pub(super) struct Metrics {
    registry: Registry,
    requests: Option<IntCounterVec>,
    accepted: Option<IntCounterVec>,
    waiting: Option<IntGauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels).ok()?;
            registry.register(Box::new(counter.clone())).ok()?;
            Some(counter)
        };
        let requests = counter(
            "isthmus_http_requests_total",
            "API requests by route, method and status.",
            &["route", "method", "status"],
        );
        let accepted = counter(
            "isthmus_transactions_accepted_total",
            "Transactions accepted by the API.",
            &["service"],
        );
        let waiting = IntGauge::new("isthmus_queue_waiting", "Hints that wait in the queue.").ok();
        let waiting = waiting.filter(|w| registry.register(Box::new(w.clone())).is_ok());
        Self { requests, accepted, waiting, registry }
    }
}

impl Metrics {
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// One request was answered. Routes and methods are few: unknown paths count as one.
    pub(super) fn request(&self, route: &str, method: &str, status: u16) {
        let method = if matches!(method, "GET" | "POST" | "PATCH" | "DELETE" | "HEAD" | "PUT") {
            method
        } else {
            "other"
        };
        if let Some(counter) = &self.requests {
            counter.with_label_values(&[route, method, &status.to_string()]).inc();
        }
    }

    /// One transaction was accepted.
    pub(super) fn accepted(&self, service: &str) {
        if let Some(counter) = &self.accepted {
            counter.with_label_values(&[service]).inc();
        }
    }
}

/// `GET /metrics`.
pub(super) async fn show(
    api: web::Data<Api>,
    gateway: web::Data<Gateway>,
) -> Result<HttpResponse, Problem> {
    let metrics = &api.0.metrics;
    if let Some(waiting) = &metrics.waiting {
        waiting.set(i64::try_from(gateway.queue.len()).unwrap_or(i64::MAX));
    }
    let text = TextEncoder::new()
        .encode_to_string(&metrics.registry.gather())
        .map_err(|_| Problem::new(Code::Internal))?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4").body(text))
}
