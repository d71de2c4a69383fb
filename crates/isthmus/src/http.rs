//! The HTTP server: API and pages on one listener.

use std::{net::TcpListener, sync::Arc};

use actix_web::{App, HttpServer, dev::Server, middleware, web};
use anyhow::Result;
use isthmus_gateway::{Gateway, api};

/// Threads that serve HTTP; the machine's other work has its own.
const WORKERS: usize = 2;

/// Starts serving; the server is a future that ends when it is stopped.
///
/// # Errors
/// When the listener cannot be used.
pub fn start(listener: TcpListener, gateway: Arc<Gateway>) -> Result<Server> {
    let gateway = web::Data::from(gateway);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(gateway.clone())
            .wrap(middleware::Compress::default())
            .configure(api::configure)
    })
    .workers(WORKERS)
    .disable_signals()
    .shutdown_timeout(5)
    .listen(listener)?
    .run();
    Ok(server)
}
