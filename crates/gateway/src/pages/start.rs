//! Starting a conversation.

use askama::Template;

use super::{Frame, conversation::Via, words::size_words};

/// The form for a new conversation.
#[derive(Clone, Debug, Template)]
#[template(path = "start.html")]
pub struct StartView {
    /// Surroundings.
    pub frame: Frame,
    /// Email or IM address, as typed or followed from a contact.
    pub to: String,
    /// People to choose from: address and name, at most a few hundred.
    pub suggestions: Vec<(String, String)>,
    /// Position of the switch.
    pub via: Via,
    /// Subject given back after an error.
    pub subject: String,
    /// Text given back after an error.
    pub text: String,
    /// What was wrong with the last attempt.
    pub error: Option<String>,
    /// Makes this form's message recognisable when it is sent twice.
    pub once: String,
    /// Octets that all files together may have.
    pub file_limit: u64,
}

impl StartView {
    fn starts_with_chat(&self) -> bool {
        self.via == Via::Chat
    }

    fn limit_words(&self) -> String {
        size_words(self.file_limit)
    }
}
