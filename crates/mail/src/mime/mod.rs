//! What a mail says, and how one is written.
//!
//! [`check()`] looks a mail over before it is taken, [`parse()`] reads it, [`compose()`] writes one.
//! Everything here is a pure function of its input; sizes, depths and counts are bounded.

mod block;
mod body;
mod check;
mod compose;
mod decode;
mod failure;
mod filename;
mod forward;
mod html;
mod kind;
mod mbox;
mod model;
mod parse;
mod phrases;
mod quote;
mod refusal;
mod report;
mod structure;
mod subject;
mod twin;
mod values;

#[cfg(test)]
mod abuse_tests;
#[cfg(test)]
mod compose_tests;
#[cfg(test)]
mod forward_tests;
#[cfg(test)]
mod parse_tests;
#[cfg(test)]
mod quote_tests;

pub use check::{LOOP_FIELD, MAX_HOPS, Peek, check, with_crlf};
pub use compose::{AutoSubmitted, ComposeError, OutAttachment, Outgoing, compose};
pub use failure::{DeliveryFailure, compose_failure};
pub use filename::{safe_file_name, safe_media_type};
pub use html::{Sanitised, html_to_markdown, html_to_text, sanitise};
pub use mbox::{ImLine, im_as_mail, write_mbox};
pub use model::{
    Action, AttachedMessage, Attachment, ForwardHow, Forwarded, Kind, Mailbox, Parsed,
    RecipientReport, Report,
};
pub use parse::parse;
pub use refusal::Refusal;
pub(crate) use structure::MAX_HEADER;
pub use subject::{base_subject, reply_subject, thread_keys};
pub use twin::{link_to_html, text_to_html};

/// Why a server before us called the mail bad, if one did; `None` also if the mail is malformed.
#[must_use]
pub fn upstream_verdict(raw: &[u8]) -> Option<String> {
    structure::header(raw).ok().and_then(|root| kind::upstream_verdict(&root))
}
