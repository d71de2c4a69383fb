//! Waiting for something to become true, with a limit and a sentence for when it does not.

use std::{future::Future, net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::Instant};

const PAUSE: Duration = Duration::from_millis(20);

/// Asks `probe` every 20 ms until it gives something, and returns that.
///
/// # Panics
/// After `limit`, saying that `what` did not happen.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut probe: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {limit:?}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until something accepts connections at `addr`.
///
/// # Panics
/// After `limit`.
pub async fn port_opens(addr: SocketAddr, limit: Duration) {
    eventually(&format!("a server listens on {addr}"), limit, || async {
        TcpStream::connect(addr).await.ok()
    })
    .await;
}
