//! The services and their parameters, as they lie in a transaction: what the doors write and the
//! router reads.

use serde::{Deserialize, Serialize};

use crate::{
    address::Email,
    clock::Millis,
    delivery::{Choice, Medium},
};

/// How far the From of a mail can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// Signed in over TLS as that member.
    SignedIn,
    /// From a network whose mail is believed.
    TrustedNetwork,
    /// SPF or DKIM passed for the From domain.
    Aligned,
    /// Nothing speaks for it.
    Unproven,
    /// Its domain's policy, or a server before us, says that it is bad.
    Bad,
}

impl Trust {
    /// Whether the From may act.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::SignedIn | Self::TrustedNetwork | Self::Aligned)
    }
}

/// `mail.in`: one mail as it came in by SMTP, for the recipients at one tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MailIn {
    /// Envelope sender; `None` is the null sender.
    pub mail_from: Option<Email>,
    /// Envelope recipients at this tenant.
    pub rcpts: Vec<Email>,
    /// Hash of the mail as it is kept, our Received line included.
    pub raw: String,
    /// Size in octets.
    pub size: u64,
    /// How far the From can be believed.
    pub trust: Trust,
    /// SPF, DKIM and DMARC results, for people to read.
    pub verdict: String,
    /// The member who signed in, if one did.
    pub identity: Option<String>,
}

/// A file that is kept already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutFileRef {
    /// Name.
    pub name: String,
    /// MIME type.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Octets.
    pub size: i64,
    /// Hash of the octets.
    pub hash: String,
    /// By which the HTML of its mail names it (RFC 2392).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_id: Option<String>,
}

/// `im.in`: one instant message for a bridge contact.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ChatIn {
    /// Bridge domain it was sent to.
    pub bridge_domain: String,
    /// Sender, `network:address`.
    pub from: String,
    /// The person addressed; `None` is the bridge itself.
    pub to: Option<Email>,
    /// Id that the sending client gave it.
    pub id: String,
    /// Text.
    pub body: String,
    /// Thread.
    pub thread: Option<String>,
    /// Files, fetched and kept.
    pub files: Vec<OutFileRef>,
    /// Files that could not be fetched: their addresses.
    pub links: Vec<String>,
    /// When it was written, if the network says so.
    pub sent_at: Option<Millis>,
}

/// To whom a new message goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// Answers this message.
    Message(String),
    /// Answers this mail, which was given whole: hash of its octets.
    Original(String),
    /// A person by email address.
    Person(Email),
    /// A person by IM address, `network:address`.
    Im(String),
    /// Goes on in this conversation.
    Conversation(String),
}

/// `reply.im`, `reply.email`, `message.im`, `message.email`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Request {
    /// To whom.
    pub to: To,
    /// `im` or `email`.
    pub via: Medium,
    /// Subject of a new thread.
    pub subject: Option<String>,
    /// Text.
    pub text: String,
    /// Files.
    pub attachments: Vec<OutFileRef>,
    /// The id of the delivery, promised when the request was accepted.
    pub delivery_id: String,
}

/// `decision`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// The delivery that was asked about.
    pub delivery_id: String,
    /// `retry`, `abort` or `email`.
    pub action: Choice,
    /// Who decided, as shown.
    pub by: String,
}

/// `decision` about something else than a delivery: a member lets a mail that was held back, or a
/// forward whose sender only quoted text names, go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confirm {
    /// The confirmation's token.
    pub confirmation: String,
    /// Who decided, as shown.
    pub by: String,
}

/// `mail.allow`: a mail that lies held back in a member's inbox is let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MailLetIn {
    /// The message that is held.
    pub message_id: String,
    /// The member to whom it was addressed.
    pub member_id: String,
    /// Who decided, as shown.
    pub by: String,
}

/// `code`: the one-time code in front of a conversation's transcript, sent to the participant's
/// own address.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Code {
    /// Token of the link.
    pub link: String,
}

/// `contact.delete`: settles what waits for a contact who was deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContactDeleted {
    /// Their email address.
    pub email: String,
    /// The IM addresses that were theirs, `network:address`.
    pub addresses: Vec<String>,
}

/// `challenge`: asks an IM address whether it belongs to the person it was claimed for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// The mapping that is to be verified.
    pub mapping_id: String,
}
