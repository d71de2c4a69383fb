//! Signals from the networks to the router, and happenings for whoever watches.

use std::sync::Arc;

use isthmus_domain::delivery::Reach;
use tokio::sync::{broadcast, mpsc, oneshot};

/// What an IM network noticed about something that the router sent.
#[derive(Debug)]
pub enum Signal {
    /// The recipient's client confirmed a message.
    Receipt {
        /// Who, as `network:address`.
        address: String,
        /// The id under which it went out.
        id: String,
    },
    /// A message came back.
    Bounced {
        /// To whom it had gone.
        address: String,
        /// The id under which it went out.
        id: String,
        /// Worth another try.
        temporary: bool,
        /// In the network's words.
        reason: String,
    },
    /// Somebody's presence changed.
    Presence {
        /// Towards which bridge domain.
        bridge_domain: String,
        /// Who.
        address: String,
        /// To what.
        reach: Reach,
    },
    /// A bridge domain's session came up.
    Up {
        /// Which network.
        network: String,
        /// Which bridge domain.
        bridge_domain: String,
    },
    /// A bridge domain's session ended.
    Down {
        /// Which network.
        network: String,
        /// Which bridge domain.
        bridge_domain: String,
        /// Answered once nothing is on its way to that session any more.
        noted: oneshot::Sender<()>,
    },
}

/// The sending end of the signals; cheap to clone.
#[derive(Clone, Debug)]
pub struct Signals(mpsc::Sender<Signal>);

impl Signals {
    /// A channel that holds `size` signals; a network that is faster has to wait.
    #[must_use]
    pub fn channel(size: usize) -> (Self, mpsc::Receiver<Signal>) {
        let (tx, rx) = mpsc::channel(size);
        (Self(tx), rx)
    }

    /// Passes a signal on; dropped when the router is gone.
    pub async fn send(&self, signal: Signal) {
        let _ = self.0.send(signal).await;
    }
}

/// Something that a page or an API client may want to know at once.
#[derive(Clone, Debug)]
pub struct Happening {
    /// Position, counting up.
    pub seq: u64,
    /// Whose.
    pub tenant: Arc<str>,
    /// Members who may see it; empty: administrators only.
    pub members: Vec<String>,
    /// `message`, `delivery`, `presence`, `question`.
    pub kind: &'static str,
    /// JSON.
    pub data: String,
}

/// Carries happenings to all who watch; who is too slow misses some and looks again.
#[derive(Clone, Debug)]
pub struct Bus {
    sender: broadcast::Sender<Happening>,
    next: Arc<std::sync::atomic::AtomicU64>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { sender: broadcast::channel(1_024).0, next: Arc::default() }
    }
}

impl Bus {
    /// Tells everybody who watches.
    pub fn publish(&self, tenant: &str, members: Vec<String>, kind: &'static str, data: String) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        let seq = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let _ = self.sender.send(Happening { seq, tenant: tenant.into(), members, kind, data });
    }

    /// Starts watching.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Happening> {
        self.sender.subscribe()
    }

    /// Whether anybody watches.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.sender.receiver_count() > 0
    }
}
