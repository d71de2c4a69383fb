//! What went wrong, what was kept, and the next step.

use askama::Template;

use super::Frame;

/// An error page.
#[derive(Clone, Debug, Template)]
#[template(path = "error.html")]
pub struct ErrorView {
    /// Surroundings.
    pub frame: Frame,
    /// HTTP status.
    pub status: u16,
    /// What happened, as a heading.
    pub title: String,
    /// What was kept and what to do next, in a sentence or two.
    pub detail: String,
    /// Where to go from here.
    pub way_out: WayOut,
}

/// The link that an error page offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayOut {
    /// The inbox.
    Inbox,
    /// The sign-in page.
    SignIn,
    /// The web chat.
    Chat,
}
