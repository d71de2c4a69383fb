//! The pages that people see: view models and pure functions that turn them into HTML.
//!
//! Nothing here knows of the store, of sessions or of actix: a handler fills a view with what its
//! reader may see and calls [`render`]. Whatever a view holds is text and is escaped; the one
//! exception is [`mail_html::MailHtmlView`], which says so.
//!
//! Every page works without JavaScript. With it, `assets/app.js` fetches the same address again
//! with the header `X-Fragment: 1` when the event stream says that something changed; the handler
//! sets [`Part::Fragment`] then and the answer leaves out the frame of the document.
//!
//! Where the forms go, and their fields (all also carry `csrf`):
//!
//! | Form | Fields |
//! |---|---|
//! | `POST /sign-in` | `email`, `password`, `next` |
//! | `POST /sign-out` | |
//! | `GET /` | `q`, `cursor` |
//! | `POST /conversations` (multipart) | `to`, `via` (`chat`, `email`), `subject`, `text`, `files`, `once` |
//! | `POST /conversations/ID/messages` (multipart) | `via`, `subject`, `text`, `files`, `once` |
//! | `POST /deliveries/ID/decision` | `action` (`retry`, `email`, `abort`), `back` (conversation id) |
//! | `POST /messages/ID/held` | `action` (`allow`, `discard`), `back` (conversation id) |
//! | `POST /contacts` | `name`, `email`, `im` |
//! | `POST /contacts/import` (multipart) | `file` |
//! | `POST /contacts/ID` | `name`, `sending` (`ask`, `always`), `policy` |
//! | `POST /contacts/ID/delete` | |
//! | `POST /contacts/ID/addresses` · `/settings/addresses` | `address` |
//! | `POST /mappings/ID/challenge` · `/revoke` | `back` (`settings` or a contact id) |
//! | `POST /settings/name` | `name` |
//! | `POST /settings/policy` | `policy` (`ask`, `email`, `retry`, `abort`) |
//! | `POST /settings/notices` | `notices` (`on`, `off`) |
//! | `POST /sessions/ID/end` · `/sessions/end-others` | |
//! | `POST /c/TOKEN/code` · `/c/TOKEN` | `code` (the second) |
//! | `POST /d/TOKEN` | `action` |
//! | `POST /chat/sign-in` · `/chat/sign-out` | `address` (the first) |
//! | `POST /chat/presence` | `presence` (`available`, `unavailable`), `with` |
//! | `POST /chat/messages` (multipart) | `to`, `text`, `files`, `once` |
//!
//! `once` differs for each page shown: the same value twice is the same message sent twice.

pub mod assets;
pub mod chat;
pub mod confirm;
pub mod contacts;
pub mod conversation;
pub mod decide;
pub mod dev_mail;
pub mod error;
pub mod frame;
pub mod inbox;
pub mod links;
pub mod mail_html;
pub mod message;
pub mod open;
pub mod settings;
pub mod sign_in;
pub mod start;
pub mod times;
pub mod words;

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub use frame::{Frame, Notice, Part, Who};
pub use times::Zone;

/// `Content-Security-Policy` of every page: no script, style or frame but our own files.
pub const PAGE_CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; frame-src 'self'; form-action 'self'; \
    base-uri 'none'; frame-ancestors 'none'";

/// `Content-Security-Policy` of the documents that show a mail's own HTML in a frame.
///
/// The sandbox holds even when the document is opened outside the frame, and no image is fetched
/// from elsewhere: a sender does not learn that the mail was looked at.
pub const MAIL_CSP: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'self'; \
    sandbox allow-popups allow-popups-to-escape-sandbox";

/// A view as an HTML document (or the part of it that its [`Frame`] asks for).
#[must_use]
pub fn render<V: askama::Template>(view: &V) -> String {
    // Rendering fails only where a `Display` of a shown value does; those shown here are strings,
    // numbers, ids and times, whose `Display` write to a `String` and cannot fail.
    view.render().expect("writing strings, numbers and times to a String succeeds")
}
