//! Open connections that wait for the next mail.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::link::Link;

/// Connections to one relay at the same time.
pub(crate) const CONNECTIONS: usize = 10;
/// Mails over one connection; relays count them.
const MAILS: u32 = 100;
/// How long a connection may lie idle; relays close after 10 to 300 s, and then we would only
/// notice at the next mail.
const IDLE: Duration = Duration::from_secs(8);

/// The connections of one relay.
pub(crate) struct Pool {
    idle: Mutex<Vec<Link>>,
    seats: Semaphore,
}

impl Pool {
    pub(crate) fn new(connections: usize) -> Self {
        Self { idle: Mutex::default(), seats: Semaphore::new(connections.max(1)) }
    }

    /// Waits until one more connection may be used.
    pub(crate) async fn seat(&self) -> Option<SemaphorePermit<'_>> {
        self.seats.acquire().await.ok()
    }

    /// A connection that was used a moment ago; those that waited too long are closed.
    pub(crate) fn take(&self) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|link| link.idle_since.elapsed() < IDLE);
        idle.pop()
    }

    /// Keeps a connection for the next mail, or gives it back to be closed.
    pub(crate) fn put(&self, link: Link) -> Option<Link> {
        if link.mails >= MAILS {
            return Some(link);
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(link);
        None
    }

    /// All idle connections, to be closed.
    pub(crate) fn drain(&self) -> Vec<Link> {
        std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
