//! Mails at given points in time, whether or not earlier ones were answered.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use tokio::time::Instant;

use super::{mail, smtp::Session};

/// Sessions among which arrivals are shared; enough that none waits for a free one while the
/// server keeps up.
const SESSIONS: usize = 40;

/// One mail that is to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// After the start.
    pub(crate) at: Duration,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) mark: u32,
}

/// What became of the arrivals.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// When each mail was taken, by its mark.
    pub(crate) taken: Vec<(u32, Instant)>,
    /// The longest that a mail had to wait for a free session.
    pub(crate) latest: Duration,
}

/// Sends them all, ordered by time.
///
/// # Errors
/// When a mail is refused.
pub(crate) async fn run(addr: SocketAddr, arrivals: Vec<Arrival>) -> Result<Sent> {
    let arrivals = Arc::new(arrivals);
    let next = Arc::new(AtomicUsize::new(0));
    let mut sessions = Vec::new();
    for _ in 0..SESSIONS.min(arrivals.len()) {
        sessions.push(Session::connect(addr).await?);
    }
    // Timers count whole milliseconds; a little later and all have the same beginning.
    let start = Instant::now() + Duration::from_millis(5);
    let mut tasks = Vec::new();
    for session in sessions {
        let (arrivals, next) = (Arc::clone(&arrivals), Arc::clone(&next));
        tasks.push(tokio::spawn(worker(session, start, arrivals, next)));
    }
    let mut all = Sent::default();
    for task in tasks {
        let sent = task.await??;
        all.latest = all.latest.max(sent.latest);
        all.taken.extend(sent.taken);
    }
    Ok(all)
}

async fn worker(
    mut session: Session,
    start: Instant,
    arrivals: Arc<Vec<Arrival>>,
    next: Arc<AtomicUsize>,
) -> Result<Sent> {
    let mut sent = Sent::default();
    while let Some(one) = arrivals.get(next.fetch_add(1, Ordering::Relaxed)) {
        let due = start + one.at;
        tokio::time::sleep_until(due).await;
        sent.latest = sent.latest.max(due.elapsed());
        let raw = mail::ordinary(&one.from, &one.to, one.mark);
        sent.taken.push((one.mark, session.send(&one.from, &one.to, &[&raw]).await?));
    }
    Ok(sent)
}
