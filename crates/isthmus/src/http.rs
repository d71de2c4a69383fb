//! The HTTP server: API and pages on one listener.

use std::{net::TcpListener, sync::Arc};

use actix_web::{App, HttpServer, dev::Server, web};
use anyhow::Result;
use isthmus_gateway::{Gateway, api::Api, web::Portal};

/// Threads that serve HTTP; the machine's other work has its own.
const WORKERS: usize = 2;

/// Starts serving; the server is a future that ends when it is stopped.
///
/// # Errors
/// When the listener cannot be used.
pub(crate) fn start(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    portal: Portal,
) -> Result<Server> {
    let gateway = web::Data::from(gateway);
    let api = Api::default();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(gateway.clone())
            .configure(|cfg| api.configure(cfg))
            // Last: it answers what nobody else knows.
            .configure(|cfg| portal.configure(cfg))
    })
    .workers(WORKERS)
    .disable_signals()
    .shutdown_timeout(5)
    .listen(listener)?
    .run();
    Ok(server)
}
