#![doc = include_str!("../README.md")]

#[cfg(feature = "conformance")]
pub mod conformance;

use std::sync::Arc;

use async_trait::async_trait;
use isthmus_domain::{
    address::{Email, ImAddress},
    clock::Millis,
};

/// Whether a person can be reached by IM right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Subscribed, and the network says they are there.
    Available,
    /// Subscribed, and the network says they are not, or was silent after a probe.
    Unavailable,
    /// Not subscribed: nobody can tell.
    Unknown,
}

/// A file that goes along with an instant message.
#[derive(Clone, Debug)]
pub struct OutFile {
    /// Neutralised file name.
    pub name: String,
    /// MIME type.
    pub media_type: String,
    /// Size in octets.
    pub size: u64,
    /// Where the network can read it; networks without files send `link` instead.
    pub path: std::path::PathBuf,
    /// Signed, expiring link to the same file.
    pub link: String,
}

/// One instant message to be sent from a bridge contact.
#[derive(Clone, Debug)]
pub struct OutMessage {
    /// The id under which every attempt is sent: stanza id and origin-id.
    pub id: String,
    /// The bridge domain it is sent from.
    pub bridge_domain: String,
    /// On whose behalf: shown as the bridge contact; `None` is the bridge itself.
    pub from: Option<Email>,
    /// Display name of the contact.
    pub from_name: String,
    /// To whom.
    pub to: ImAddress,
    /// Plain text, LF line ends, free of characters that XML cannot carry.
    pub body: String,
    /// Groups the messages of one conversation.
    pub thread: Option<String>,
    /// When it was written, if that was noticeably before now (XEP-0203).
    pub written_at: Option<Millis>,
    /// Files, in order.
    pub files: Vec<OutFile>,
}

/// A message is as far as the network itself can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Written to the network's connection; a receipt may follow as [`Event::Receipt`].
    Written,
    /// Taken into the recipient's own storage for good; no receipt will follow.
    Stored,
}

/// Why a message could not be handed to the network.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The network is not connected; the same message may be sent again later.
    #[error("the IM network is not connected: {0}")]
    NotConnected(String),
    /// The network says that it will never take it.
    #[error("the IM network refused the message: {0}")]
    Refused(String),
    /// The connection broke in the middle: it may or may not have gone out.
    #[error("the connection broke while the message was being written: {0}")]
    Unclear(String),
}

/// A file that came with an instant message, to be fetched by whoever handles the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFile {
    /// Where it lies.
    pub url: String,
    /// What the sender called it.
    pub description: Option<String>,
}

/// One instant message that came in for a bridge contact.
#[derive(Clone, Debug)]
pub struct InMessage {
    /// Bridge domain it was sent to.
    pub bridge_domain: String,
    /// Sender, asserted by the network.
    pub from: ImAddress,
    /// The client it came from, for receipts and errors.
    pub from_resource: Option<String>,
    /// The person addressed; `None` when written to the bridge itself.
    pub to: Option<Email>,
    /// Id that the sending client gave it; empty if it gave none.
    pub id: String,
    /// Plain text.
    pub body: String,
    /// Thread id.
    pub thread: Option<String>,
    /// Files.
    pub files: Vec<InFile>,
    /// When it was sent, if the network says so.
    pub sent_at: Option<Millis>,
    /// The client asked for a receipt.
    pub wants_receipt: bool,
}

/// What a network tells the gateway.
#[derive(Debug)]
pub enum Event {
    /// A message came in. It must be acknowledged on the channel once it is committed:
    /// the network sends the receipt only then. An `Err` text is shown to the sender.
    Message(InMessage, tokio::sync::oneshot::Sender<Result<(), String>>),
    /// A stanza encrypted end to end came in, which nobody here can read (it was answered).
    Encrypted {
        /// Bridge domain it was sent to.
        bridge_domain: String,
        /// Sender.
        from: ImAddress,
    },
    /// The recipient's client confirmed the message with this id.
    Receipt {
        /// Bridge domain.
        bridge_domain: String,
        /// Who confirmed.
        from: ImAddress,
        /// [`OutMessage::id`].
        id: String,
    },
    /// The message with this id came back.
    Bounced {
        /// Bridge domain.
        bridge_domain: String,
        /// To whom it was sent.
        to: ImAddress,
        /// [`OutMessage::id`].
        id: String,
        /// Worth trying again (wait, server gone) or not (no such user).
        temporary: bool,
        /// The network's own words.
        reason: String,
    },
    /// Somebody's presence towards a bridge domain changed.
    Presence {
        /// Bridge domain.
        bridge_domain: String,
        /// Whose.
        of: ImAddress,
        /// What it is now.
        presence: Presence,
    },
    /// A bridge domain's session came up: messages can be sent.
    SessionUp {
        /// Bridge domain.
        bridge_domain: String,
    },
    /// A bridge domain's session ended. The next one begins only when this was taken note of, so
    /// that what has to go again goes before what is new.
    SessionDown {
        /// Bridge domain.
        bridge_domain: String,
        /// Answered or dropped once that is done.
        noted: tokio::sync::oneshot::Sender<()>,
    },
    /// An ad-hoc command was completed; it means the same as the text command.
    /// The answer is shown in the command's last form.
    Command {
        /// Bridge domain.
        bridge_domain: String,
        /// Who ran it.
        from: ImAddress,
        /// The bridge contact on which it was run.
        to: Option<Email>,
        /// The equivalent text, such as `!email Subject` and lines of text.
        text: String,
        /// Unique per execution, so that a retry is recognised.
        id: String,
        /// Where the answer goes.
        answer: tokio::sync::oneshot::Sender<String>,
    },
}

/// A network that carries instant messages for bridge domains.
///
/// Holds nothing durable: what must not be lost is committed by the caller before
/// [`ImNetwork::send`] and after [`Event::Message`].
#[async_trait]
pub trait ImNetwork: Send + Sync {
    /// The name in front of the colon of its addresses.
    fn name(&self) -> &'static str;

    /// Makes exactly these bridge domains reachable; sessions of others are closed.
    /// The pairs are domain and component secret (empty: the network's default).
    async fn serve(&self, bridge_domains: Vec<(String, String)>);

    /// Tells the display name of bridge contacts that people may look up.
    fn set_names(&self, names: Arc<dyn Names>);

    /// Sends one message. The caller keeps the order of one conversation by awaiting.
    ///
    /// # Errors
    /// See [`SendError`]: what is safe to repeat and what is not.
    async fn send(&self, message: OutMessage) -> Result<Sent, SendError>;

    /// What is known of `who` towards `bridge_domain`, from memory.
    fn presence(&self, bridge_domain: &str, who: &ImAddress) -> Presence;

    /// Asks for `who`'s presence: subscribes if need be, else probes. The answer comes as an event.
    async fn watch(&self, bridge_domain: &str, who: &ImAddress, reason: &str);

    /// Stops asking, when a mapping was revoked.
    async fn unwatch(&self, bridge_domain: &str, who: &ImAddress);
}

/// Looks up how a bridge contact is called.
#[async_trait]
pub trait Names: Send + Sync {
    /// `Alice (acme.test)`, or `None` if there is nobody behind that domain whom the asker may
    /// know. `asker` is `None` for one who is no person, such as a server.
    async fn name(
        &self,
        bridge_domain: &str,
        email: &Email,
        asker: Option<&ImAddress>,
    ) -> Option<String>;

    /// Whom the short alias `a-NAME` on that domain stands for.
    fn alias(&self, bridge_domain: &str, name: &str) -> Option<Email>;
}
