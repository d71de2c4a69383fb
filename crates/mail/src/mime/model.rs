//! What a mail says, once it is read.

use bytes::Bytes;
use isthmus_domain::{address::Email, clock::Millis};

/// A person in an address field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// The display name, decoded, without control characters.
    pub name: Option<String>,
    /// The address.
    pub email: Email,
}

impl Mailbox {
    /// A mailbox without display name.
    #[must_use]
    pub fn bare(email: Email) -> Self {
        Self { name: None, email }
    }

    /// A mailbox with display name.
    #[must_use]
    pub fn named(name: &str, email: Email) -> Self {
        Self { name: Some(name.to_owned()), email }
    }
}

/// A file that came with a mail.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Neutralised file name, never empty.
    pub name: String,
    /// Media type in lower case, `application/octet-stream` if unknown.
    pub media_type: String,
    /// Content-ID without angle brackets, to which `cid:` in the HTML refers.
    pub content_id: Option<String>,
    /// Shown within the text rather than beside it.
    pub inline: bool,
    /// The decoded content.
    pub data: Bytes,
}

/// A mail that another mail carries.
#[derive(Clone, Debug)]
pub struct AttachedMessage {
    /// Which of [`Parsed::attachments`] holds its octets.
    pub attachment: usize,
    /// What it says.
    pub message: Box<Parsed>,
}

/// What sort of mail it is, as far as its header and structure tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Written by a person, or at least not marked otherwise.
    Ordinary,
    /// Sent by a program; the text says how that is known.
    Automatic(String),
    /// A delivery status notification (RFC 3464).
    Bounce(Report),
    /// A calendar invitation or the answer to one (RFC 6047), with its method in upper case.
    Calendar(String),
}

/// What a delivery status notification says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Original-Envelope-Id: the ENVID that was given on sending (RFC 3464 section 2.2.1).
    pub envelope_id: Option<String>,
    /// Reporting-MTA, without its type.
    pub reporting_mta: Option<String>,
    /// Message-ID of the mail it is about, from the returned header.
    pub original_message_id: Option<String>,
    /// What became of it for each recipient.
    pub recipients: Vec<RecipientReport>,
}

/// What became of a mail for one recipient (RFC 3464 section 2.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientReport {
    /// Final-Recipient, if it is an email address.
    pub recipient: Option<Email>,
    /// Original-Recipient, as the sender wrote it.
    pub original: Option<Email>,
    /// What happened.
    pub action: Action,
    /// Enhanced status code such as `5.1.1`; empty if none was given.
    pub status: String,
    /// The receiving system's own words.
    pub diagnostic: Option<String>,
}

/// The Action field (RFC 3464 section 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Given up.
    Failed,
    /// Not yet; it is tried further.
    Delayed,
    /// In the mailbox.
    Delivered,
    /// Passed on to a system that sends no reports.
    Relayed,
    /// Delivered and multiplied to further addresses.
    Expanded,
}

/// How another mail is contained in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardHow {
    /// As an attached message/rfc822 part: octet by octet.
    AsAttachment,
    /// As text below a forwarding mark or a "FW:" subject.
    Inline,
    /// As the text that an answer quotes below a block of header lines.
    Quoted,
}

/// A mail that this one hands on.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// In which form.
    pub how: ForwardHow,
    /// Whether sender and text are the original's own; if not, only quoted text names them.
    pub certain: bool,
    /// What was written on top of it, without signature; may be empty.
    pub comment: String,
    /// Who wrote the original.
    pub from: Option<Mailbox>,
    /// Its subject.
    pub subject: Option<String>,
    /// When it was sent, if the date can be read.
    pub date: Option<Millis>,
    /// The date as it was written.
    pub date_text: Option<String>,
    /// Its Message-ID without angle brackets.
    pub message_id: Option<String>,
    /// Its recipients.
    pub to: Vec<Mailbox>,
    /// Its further recipients.
    pub cc: Vec<Mailbox>,
    /// Its text.
    pub text: String,
    /// The original itself, when it is attached.
    pub raw: Option<Bytes>,
    /// The original's own files, when it is attached.
    pub attachments: Vec<Attachment>,
}

/// A mail, read.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// Message-ID without angle brackets.
    pub message_id: Option<String>,
    /// All ids of In-Reply-To.
    pub in_reply_to: Vec<String>,
    /// All ids of References in order, at most 200: of more, the first and the last ones.
    pub references: Vec<String>,
    /// The author; of several the first.
    pub from: Mailbox,
    /// All authors.
    pub authors: Vec<Mailbox>,
    /// Who sent it on the author's behalf.
    pub sender: Option<Mailbox>,
    /// Where answers shall go.
    pub reply_to: Vec<Mailbox>,
    /// Recipients.
    pub to: Vec<Mailbox>,
    /// Further recipients.
    pub cc: Vec<Mailbox>,
    /// Subject, decoded, on one line.
    pub subject: String,
    /// When its author says it was sent.
    pub date: Option<Millis>,
    /// The new text, without what it quotes and without signature; LF line ends.
    pub text: String,
    /// The quoted text.
    pub quoted: Option<String>,
    /// The signature with its mark.
    pub signature: Option<String>,
    /// Everything as text.
    pub full_text: String,
    /// The new text with emphasis, links and lists as Markdown, if the mail has HTML.
    pub markdown: Option<String>,
    /// Sanitised HTML for a sandboxed page, `cid:` images left in.
    pub html: Option<String>,
    /// How many remote images were taken out of the HTML.
    pub remote_images: usize,
    /// Files, attached mails included, in order.
    pub attachments: Vec<Attachment>,
    /// Attached mails, read.
    pub attached_messages: Vec<AttachedMessage>,
    /// What sort of mail it is.
    pub kind: Kind,
    /// The mail that this one hands on.
    pub forwarded: Option<Forwarded>,
    /// Why a server before us called the mail bad, if one did.
    pub upstream_verdict: Option<String>,
    /// List-Id, if it came through a mailing list.
    pub list_id: Option<String>,
    /// Whether no program may answer it (RFC 3834 section 2): automatic, a bounce, or from a list.
    pub auto: bool,
    /// The values of all [`super::LOOP_FIELD`] fields.
    pub loop_marks: Vec<String>,
}
