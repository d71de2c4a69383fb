//! What a batch has decided: rows to commit, and what is to be done once they are.

use isthmus_domain::address::Email;
use isthmus_store::{ChangeSet, rows};
use serde::{Deserialize, Serialize};

use isthmus_domain::service::OutFileRef;

/// Rows first, acts afterwards.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) set: ChangeSet,
    pub(crate) acts: Vec<Act>,
}

/// How far a plan had come.
pub(crate) struct Mark {
    rows: Vec<usize>,
    acts: usize,
}

impl Plan {
    /// How far it has come, to return to if what follows goes wrong.
    pub(crate) fn mark(&self) -> Mark {
        Mark { rows: self.set.lengths(), acts: self.acts.len() }
    }

    /// Forgets what was planned since.
    pub(crate) fn back_to(&mut self, mark: &Mark) {
        self.set.truncate(&mark.rows);
        self.acts.truncate(mark.acts);
    }
}

/// Something outside the database.
pub(crate) enum Act {
    /// Hand an instant message to its network.
    Send(Box<rows::Delivery>),
    /// Ask a network for somebody's presence.
    Probe { network: String, bridge_domain: String, address: String },
    /// Tell pages and API clients.
    Publish { tenant: String, members: Vec<String>, kind: &'static str, data: serde_json::Value },
}

/// What goes over the wire for an instant message, fixed before the first attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wire {
    /// Text as the recipient sees it.
    pub(crate) text: String,
    /// The bridge contact; `None` is the bridge itself.
    pub(crate) from: Option<Email>,
    /// What the contact is called.
    pub(crate) from_name: String,
    /// Bridge domain.
    pub(crate) bridge_domain: String,
    /// Files.
    pub(crate) files: Vec<WireFile>,
    /// Standing wishes and limits at the time it was accepted.
    pub(crate) rules: Rules,
}

/// A file of an instant message.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WireFile {
    /// Attachment id, which its link names.
    pub(crate) id: String,
    #[serde(flatten)]
    pub(crate) file: OutFileRef,
}

/// What of the policy belongs to the one delivery.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Rules {
    /// A member asked for it and may be asked about it.
    pub(crate) askable: bool,
    /// Send without regard to presence.
    pub(crate) always_send: bool,
    /// There is an email address to fall back to.
    pub(crate) can_email: bool,
    /// Tell nobody and record nothing in a conversation: a question, a notice, an answer of the bridge.
    pub(crate) system: bool,
    /// What the conversation was before goes along below it.
    #[serde(default)]
    pub(crate) starts: bool,
    /// The sentence about who this is goes along below it.
    #[serde(default)]
    pub(crate) introduces: bool,
}
