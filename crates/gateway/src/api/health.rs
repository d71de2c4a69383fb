//! Whether it lives, whether it is ready, and what it offers.

use actix_web::{HttpResponse, web};
use serde_json::json;

use super::problem::{Code, Problem};
use crate::Gateway;

/// The description of the API (OpenAPI 3.1).
const OPENAPI: &str = include_str!("../../assets/openapi.json");

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok"}))
}

/// `GET /readyz`: what it needs answers too.
pub(super) async fn ready(gateway: web::Data<Gateway>) -> Result<HttpResponse, Problem> {
    match gateway.store.ping().await {
        Ok(()) => Ok(HttpResponse::Ok().json(json!({"status": "ready"}))),
        Err(error) => {
            tracing::warn!(%error, "Not ready: the database does not answer");
            Err(Problem::with(Code::NotReady, "The database does not answer."))
        }
    }
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("Cache-Control", "public, max-age=300"))
        .content_type("application/json")
        .body(OPENAPI)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let spec: Value = serde_json::from_str(super::OPENAPI).expect("JSON");
        let mut described = Vec::new();
        for (path, methods) in spec["paths"].as_object().expect("paths") {
            for method in
                methods.as_object().expect("methods").keys().filter(|m| *m != "parameters")
            {
                described.push((method.as_str(), path.as_str()));
            }
        }
        let mut routes = super::super::ROUTES.to_vec();
        routes.sort_unstable();
        described.sort_unstable();
        assert_eq!(described, routes);
    }

    #[test]
    fn every_reference_in_the_description_leads_somewhere() {
        let spec: Value = serde_json::from_str(super::OPENAPI).expect("JSON");
        fn walk(spec: &Value, here: &Value) {
            if let Some(to) = here["$ref"].as_str() {
                let pointer = to.strip_prefix('#').expect("a local reference");
                assert!(spec.pointer(pointer).is_some(), "{to} leads nowhere");
            }
            match here {
                Value::Object(map) => map.values().for_each(|v| walk(spec, v)),
                Value::Array(list) => list.iter().for_each(|v| walk(spec, v)),
                _ => {}
            }
        }
        walk(&spec, &spec);
    }
}
