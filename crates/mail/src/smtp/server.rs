//! The listener: who may come in, and how the server stops.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::body::{Spool, open_in};
use super::session::{self, Shared};
use super::wire::{MaybeTls, Wire};
use super::{Host, Limits, Session};

/// Numbers the sessions of this process, for logs.
static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// Whether and when connections are encrypted.
#[derive(Clone, Debug)]
pub enum TlsMode {
    /// Never; AUTH is not offered then.
    None,
    /// On request (RFC 3207).
    StartTls(Arc<rustls::ServerConfig>),
    /// From the first octet on (RFC 8314 section 3.3).
    Implicit(Arc<rustls::ServerConfig>),
}

/// Serves SMTP on `listener` until `stop`, one task per session.
///
/// Long mails are written to `spool`, which is created if it is missing. When stopping, no new
/// session begins, sessions between two commands end with 421, and a mail in DATA is answered if it
/// arrives within `Limits::stop_grace`. A session that panics ends alone.
///
/// # Errors
/// When the spool directory cannot be created.
pub async fn serve(
    listener: TcpListener,
    tls: TlsMode,
    host: Arc<dyn Host>,
    limits: Limits,
    spool: PathBuf,
    stop: CancellationToken,
) -> std::io::Result<()> {
    tokio::fs::create_dir_all(&spool).await?;
    let spool = Spool { dir: spool, open: open_in };
    let shared = Arc::new(Shared { tls, host, limits, spool, stop: stop.clone() });
    let seats = Arc::new(Seats::default());
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => admit(stream, peer, &shared, &seats, &mut tasks),
                Err(error) => {
                    // Out of file descriptors, mostly: waiting lets sessions end.
                    tracing::warn!(%error, "an SMTP connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    let patience = shared.limits.stop_grace * 2 + Duration::from_secs(5);
    let drain = async {
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(patience, drain).await.is_err() {
        // A mail without a reply is sent again by its peer.
        tracing::warn!(smtp.sessions = tasks.len(), "SMTP sessions were cut off at the stop");
        tasks.shutdown().await;
    }
    Ok(())
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "an SMTP session panicked");
    }
}

fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    seats: &Arc<Seats>,
    tasks: &mut JoinSet<()>,
) {
    // Replies are written in one piece: there is nothing to gather by waiting.
    let _ = stream.set_nodelay(true);
    let Some(seat) = seats.take(peer.ip(), &shared.limits) else {
        turn_away(stream, shared);
        return;
    };
    let shared = shared.clone();
    tasks.spawn(async move {
        let _seat = seat;
        converse(stream, peer, &shared).await;
    });
}

/// Encrypts the connection if that comes first, then speaks.
pub(crate) async fn converse<S>(stream: S, peer: SocketAddr, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let id = SESSIONS.fetch_add(1, Ordering::Relaxed);
    let mut session = Session { id, peer, helo: None, esmtp: false, tls: false, identity: None };
    let mut wire = Wire::new(MaybeTls::Plain(stream));
    if let TlsMode::Implicit(config) = &shared.tls {
        if let Err(error) = wire.start_tls(config.clone(), shared.limits.tls_timeout).await {
            tracing::debug!(smtp.session = id, %error, "a TLS handshake failed");
            return;
        }
        session.tls = true;
    }
    session::run(wire, session, shared).await;
}

/// Says why in the clear, if that is understood, without waiting for the peer.
fn turn_away(stream: TcpStream, shared: &Shared) {
    if matches!(shared.tls, TlsMode::Implicit(_)) {
        return;
    }
    if let Ok(mut stream) = stream.into_std() {
        // The stream does not block, and a fresh one has room for a line.
        let _ = std::io::Write::write(
            &mut stream,
            b"421 4.7.0 Too many connections, try again later\r\n",
        );
    }
}

/// Counts who is here.
#[derive(Default)]
pub(crate) struct Seats(Mutex<HashMap<IpAddr, usize>>);

/// One session's place; dropping it makes room.
pub(crate) struct Seat(Arc<Seats>, IpAddr);

impl Seats {
    /// A place for `peer`, if there is one.
    pub(crate) fn take(self: &Arc<Self>, peer: IpAddr, limits: &Limits) -> Option<Seat> {
        let group = group(peer);
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = seats.values().sum();
        let here = seats.get(&group).copied().unwrap_or(0);
        if total >= limits.max_sessions || here >= limits.max_sessions_per_peer {
            return None;
        }
        seats.insert(group, here + 1);
        Some(Seat(self.clone(), group))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = seats.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                seats.remove(&self.1);
            }
        }
    }
}

/// One peer has one IPv4 address, or a /64 of IPv6.
fn group(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_are_counted_per_peer_and_given_back() {
        let limits = Limits { max_sessions: 3, max_sessions_per_peer: 2, ..Limits::default() };
        let seats = Arc::new(Seats::default());
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let b: IpAddr = "192.0.2.1".parse().unwrap();
        let first = seats.take(a, &limits);
        let _second = seats.take(neighbour, &limits).unwrap();
        assert!(seats.take(a, &limits).is_none());
        let _third = seats.take(b, &limits).unwrap();
        assert!(seats.take("192.0.2.2".parse().unwrap(), &limits).is_none());
        drop(first);
        assert!(seats.take(a, &limits).is_some());
    }
}
