//! The HTTP API: JSON under `/v1` for programs, downloads under `/f`, and what operators look at.
//!
//! A handler reads a bounded body, checks it, and turns it into a [`isthmus_store::ChangeSet`]; what
//! it answers is committed in the same set when the request carries an `Idempotency-Key`. Every
//! error is a `problem::Problem` from one table.
//!
//! To add a route: a handler in the file of its subject, a line in `ROUTES` below, and its
//! description in `assets/openapi.json` (a test compares the two).

pub(crate) mod addresses;
mod audit;
mod body;
mod contacts;
mod conversations;
mod cursor;
mod deliveries;
mod enter;
mod events;
pub(crate) mod export;
mod files;
mod health;
mod held;
mod import;
mod metrics;
mod once;
mod problem;
mod requests;
mod transactions;
mod views;

use std::{num::NonZeroU32, sync::Arc};

use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    middleware::{Next, from_fn},
    web,
};
use isthmus_queue::RateLimits;
use tokio::sync::Semaphore;

use self::problem::{Code, Problem};

/// Requests a second for one key, in bursts of as many.
const REQUESTS_PER_S: NonZeroU32 = NonZeroU32::new(2_000).expect("it is not zero");
/// Large bodies that are held in memory at the same time.
const LARGE_BODIES: usize = 2;

/// What all workers of the API share; cheap to clone.
#[derive(Clone)]
pub struct Api(Arc<Shared>);

struct Shared {
    limits: RateLimits,
    flights: once::Flights,
    streams: events::Streams,
    cursors: cursor::Cursors,
    metrics: metrics::Metrics,
    large: Arc<Semaphore>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Api")
    }
}

impl Default for Api {
    fn default() -> Self {
        Self(Arc::new(Shared {
            limits: RateLimits::per_second(REQUESTS_PER_S),
            flights: once::Flights::default(),
            streams: events::Streams::default(),
            cursors: cursor::Cursors::default(),
            metrics: metrics::Metrics::default(),
            large: Arc::new(Semaphore::new(LARGE_BODIES)),
        }))
    }
}

impl Api {
    /// Registers every route. The application's data must hold a `web::Data<Gateway>`.
    pub fn configure(&self, cfg: &mut web::ServiceConfig) {
        cfg.app_data(web::Data::new(self.clone()));
        register(cfg);
        // Whatever else lies under /v1 is nobody's: say so in the API's own form.
        cfg.service(web::scope("/v1").default_service(web::to(nowhere)).wrap(from_fn(outer)));
    }

    /// Where the counters of `/metrics` are registered; others may add theirs.
    #[must_use]
    pub fn registry(&self) -> &prometheus::Registry {
        self.0.metrics.registry()
    }
}

/// Registers every route with a state of its own: for one worker. Several workers share one
/// [`Api`] and call [`Api::configure`].
pub fn configure(cfg: &mut web::ServiceConfig) {
    Api::default().configure(cfg);
}

macro_rules! routes {
    ($($path:literal { $($method:ident => $handler:path),* $(,)? })*) => {
        /// Every route as method and path, with names in braces where the path varies.
        pub const ROUTES: &[(&str, &str)] = &[$($((stringify!($method), $path)),*),*];

        fn register(cfg: &mut web::ServiceConfig) {
            $(cfg.service(
                web::resource($path)
                    $(.route(web::$method().to($handler)))*
                    .default_service(web::to(|| wrong_method(&[$(stringify!($method)),*])))
                    .wrap(from_fn(outer)),
            );)*
        }
    };
}

routes! {
    "/healthz" { get => health::alive }
    "/readyz" { get => health::ready }
    "/metrics" { get => metrics::show }
    "/openapi.json" { get => health::openapi }
    "/problems/{code}" { get => problem::explain }
    "/f/{token}" { get => files::by_link }
    "/v1/replies" { post => requests::reply }
    "/v1/messages" { post => requests::message }
    "/v1/messages/{id}/allow" { post => held::allow }
    "/v1/transactions" { get => transactions::list, post => requests::general }
    "/v1/transactions/{id}" { get => transactions::one }
    "/v1/deliveries/{id}" { get => deliveries::one }
    "/v1/deliveries/{id}/decision" { post => deliveries::decide }
    "/v1/conversations" { get => conversations::list }
    "/v1/conversations/{id}" { get => conversations::one }
    "/v1/conversations/{id}/messages" { get => conversations::messages }
    "/v1/conversations/{id}/export" { get => export::export }
    "/v1/attachments/{id}" { get => files::by_id }
    "/v1/contacts" { get => contacts::list, post => contacts::create }
    "/v1/contacts/import" { post => import::import }
    "/v1/contacts/{id}" { get => contacts::one, patch => contacts::change, delete => contacts::delete }
    "/v1/contacts/{id}/addresses" { get => addresses::list, post => addresses::add }
    "/v1/contacts/{id}/addresses/{mapping}" { delete => addresses::revoke }
    "/v1/contacts/{id}/addresses/{mapping}/verify" { post => addresses::verify }
    "/v1/audit" { get => audit::list }
    "/v1/events" { get => events::stream }
}

async fn nowhere() -> Problem {
    Problem::new(Code::NoRoute)
}

/// RFC 9110 section 15.5.6: a 405 names the methods that there are.
async fn wrong_method(allowed: &[&str]) -> HttpResponse {
    let mut response = Problem::new(Code::WrongMethod).response();
    let allowed = allowed.join(", ").to_ascii_uppercase();
    if let Ok(value) = header::HeaderValue::from_str(&allowed) {
        response.headers_mut().insert(header::ALLOW, value);
    }
    response
}

/// The body of an answer to HEAD: as long as that of GET, and never sent.
struct Unsent(BodySize);

impl MessageBody for Unsent {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        self.0
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<bytes::Bytes, Self::Error>>> {
        std::task::Poll::Ready(None)
    }
}

/// Around every route: counts it, keeps answers out of caches, and gives the framework's own
/// errors the API's form.
async fn outer(
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let route = req.match_pattern().unwrap_or_else(|| "none".to_owned());
    let method = req.method().clone();
    // RFC 9110 section 9.3.2: HEAD is answered like GET, without what GET would send.
    if method == Method::HEAD {
        req.head_mut().method = Method::GET;
    }
    let api = req.app_data::<web::Data<Api>>().cloned();
    let mut res = next.call(req).await?.map_into_boxed_body();
    let status = res.status();
    if let Some(api) = api {
        api.0.metrics.request(&route, method.as_str(), status.as_u16());
    }
    let is_problem = res
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(problem::MEDIA_TYPE.as_bytes()));
    if (status.is_client_error() || status.is_server_error())
        && !is_problem
        && route.starts_with("/v1")
    {
        let (req, _) = res.into_parts();
        res = ServiceResponse::new(req, Problem::of_status(status).response());
    }
    if !res.headers().contains_key(header::CACHE_CONTROL) {
        res.headers_mut()
            .insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    }
    if method == Method::HEAD {
        res = res.map_body(|_, body| BoxBody::new(Unsent(body.size())));
    }
    let nosniff = header::HeaderValue::from_static("nosniff");
    res.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(res)
}

#[cfg(test)]
mod tests {
    use isthmus_domain::clock::Millis;

    use super::Api;

    #[test]
    fn a_thousand_requests_a_second_pass_and_a_flood_does_not() {
        let api = Api::default();
        let limits = &api.0.limits;
        let allows = |key| limits.allows(key, Millis(0));
        assert!((0..1_000).all(|_| allows("key")));
        assert!(!(0..10_000).all(|_| allows("key")), "nothing holds a flood back");
        assert!(allows("another key"));
    }
}
