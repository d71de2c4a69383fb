#![doc = include_str!("../README.md")]

mod answers;
mod batch;
mod bounces;
mod challenges;
mod chat_in;
mod codes;
mod compose;
mod contact_end;
mod decisions;
mod forged;
mod forwarding;
mod forwards;
mod gather;
mod head;
mod held;
mod history;
mod inbox;
mod live;
mod mail_in;
mod mail_out;
mod mail_to_bridge;
mod notice_html;
mod notices;
mod originals;
mod outbound;
mod plan;
mod prepare;
mod receipts;
mod repeats;
mod requests;
mod run;
mod senders;
mod services;
mod setbacks;
mod settle;
mod steps;
mod timers;
mod waiting;

use std::{collections::HashMap, sync::Arc};

use isthmus_domain::{
    clock::{Chance, Clock},
    signed::SignedLinks,
};
use isthmus_im::ImNetwork;
use isthmus_queue::{Bus, Queue};
use isthmus_store::Store;

pub use forged::NoticeBudget;
pub use receipts::Receipts;
pub use run::Running;

/// Times and names that the router works with.
#[derive(Clone, Debug)]
pub struct RouterConfig {
    /// Where links in mails and messages lead, without a slash at the end.
    pub public_url: String,
    /// The name of this installation in its loop header.
    pub installation: String,
    /// Our name towards mail servers.
    pub hostname: String,
    /// The relay for outbound mail; `None`: it is kept to be looked at.
    pub relay: Option<String>,
    /// Between two attempts to reach somebody.
    pub retry_interval_ms: i64,
    /// For an answer to a question.
    pub decision_deadline_ms: i64,
    /// For retrying until it becomes a question again.
    pub expire_after_ms: i64,
    /// For a receipt from somebody of whom nothing is known.
    pub receipt_timeout_ms: i64,
}

/// What the router works with; built by the binary, then [`Router::start`]ed.
pub struct Router {
    /// The truth.
    pub store: Store,
    /// Hints that transactions wait.
    pub queue: Queue,
    /// Where pages and API clients hear of changes.
    pub bus: Bus,
    /// Instant-messaging networks by name.
    pub networks: HashMap<&'static str, Arc<dyn ImNetwork>>,
    /// Makes signed links.
    pub links: SignedLinks,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub chance: Arc<Chance>,
    /// Notices about forged mail, hour by hour.
    pub notices: NoticeBudget,
    /// Whose clients send receipts.
    pub receipts: Receipts,
    /// Times and names.
    pub config: RouterConfig,
}
