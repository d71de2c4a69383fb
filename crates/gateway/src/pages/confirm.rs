//! The page behind the link of a mail that waits for its member: looking shows it, only the
//! button lets it go on.

use askama::Template;
use isthmus_domain::clock::Millis;

use super::{Frame, words::Party};

/// The page.
#[derive(Clone, Debug, Template)]
#[template(path = "confirm.html")]
pub struct ConfirmView {
    /// Surroundings.
    pub frame: Frame,
    /// Token of the link.
    pub token: String,
    /// What there is to confirm.
    pub state: ConfirmState,
}

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmKind {
    /// A mail that the member forwarded, whose sender only quoted text names.
    Forward,
    /// A mail to a conversation from somebody it does not know.
    Reply,
}

/// What there is, or was, to confirm.
#[derive(Clone, Debug)]
pub enum ConfirmState {
    /// It waits.
    Open {
        /// What it is.
        kind: ConfirmKind,
        /// Who wrote it, as far as it says; for a forwarded mail, to whom the answer would go.
        from: Party,
        /// Its subject.
        subject: String,
        /// The beginning of its text.
        excerpt: String,
        /// Until when it can be let through.
        expires: Millis,
    },
    /// This reader has just let it through.
    Done,
    /// It was let through before, or waited too long.
    Over,
}
