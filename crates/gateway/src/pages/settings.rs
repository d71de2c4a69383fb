//! A member's own settings.

use askama::Template;
use isthmus_domain::{clock::Millis, ids::SessionId};

use super::{
    Frame,
    contacts::AddressRow,
    words::{Policy, Verification, count},
};

/// Whether a member is told that a message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notices {
    /// Once per exchange.
    On,
    /// Never; questions and failures are told all the same.
    Off,
}

/// A browser in which the member is signed in.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Which.
    pub id: SessionId,
    /// What the browser calls itself, in short: `Firefox on Linux`.
    pub device: String,
    /// Signed in since.
    pub since: Millis,
    /// Last used.
    pub used: Millis,
    /// Whether it is the one that is looking.
    pub whose: Whose,
}

/// Whether a session is the one that is looking at the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// This browser.
    This,
    /// Another one.
    Other,
}

impl SessionRow {
    fn is_this(&self) -> bool {
        self.whose == Whose::This
    }
}

/// The settings.
#[derive(Clone, Debug, Template)]
#[template(path = "settings.html")]
pub struct SettingsView {
    /// Surroundings.
    pub frame: Frame,
    /// Display name.
    pub name: String,
    /// Own addresses, the email address first.
    pub addresses: Vec<AddressRow>,
    /// The address that was typed and refused, and why.
    pub refused: Option<(String, String)>,
    /// The IM address of the bridge itself, which asks to be added as a contact.
    pub bridge_im: String,
    /// What happens to unanswered questions.
    pub policy: Policy,
    /// How long a question stays open, in words: `4 hours`.
    pub deadline: String,
    /// Whether arrivals are told.
    pub notices: Notices,
    /// Browsers that are signed in, this one first.
    pub sessions: Vec<SessionRow>,
}

impl SettingsView {
    /// Where the forms of an address lead back to.
    fn back(&self) -> &'static str {
        "settings"
    }

    /// The address given back after it was refused.
    fn typed(&self) -> &str {
        self.refused.as_ref().map_or("", |(typed, _)| typed)
    }

    fn notices_on(&self) -> bool {
        self.notices == Notices::On
    }

    fn has_other_sessions(&self) -> bool {
        self.sessions.iter().any(|s| !s.is_this())
    }
}
