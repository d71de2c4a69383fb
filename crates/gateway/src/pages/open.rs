//! The link to a whole conversation: a one-time code first, then a transcript to read.

use askama::Template;
use isthmus_domain::clock::Millis;

use super::{
    Frame,
    links::Piece,
    message::{Day, DeliveryState, Evidence, Message, days},
    words::{Party, count},
};

/// The page in front of a transcript.
#[derive(Clone, Debug, Template)]
#[template(path = "open.html")]
pub struct OpenView {
    /// Surroundings.
    pub frame: Frame,
    /// Token of the link.
    pub token: String,
    /// How far the reader has got.
    pub stage: OpenStage,
}

/// How far the reader of a link has got.
#[derive(Clone, Debug)]
pub enum OpenStage {
    /// A code can be sent.
    Ask {
        /// Where it would go, partly hidden: `b…@customer.test`.
        hidden: String,
    },
    /// A code was sent.
    Enter {
        /// Where it went, partly hidden.
        hidden: String,
        /// Until when it counts.
        expires: Millis,
        /// What was wrong with the last one.
        error: Option<String>,
    },
    /// Too many wrong codes.
    Locked {
        /// When it can be tried again.
        until: Millis,
    },
    /// The link does not work any more, or never did: both look the same.
    Gone,
}

/// A conversation to read, nothing else.
#[derive(Clone, Debug, Template)]
#[template(path = "transcript.html")]
pub struct TranscriptView {
    /// Surroundings.
    pub frame: Frame,
    /// Token of the link, part of the paths of its files.
    pub token: String,
    /// What the conversation is about.
    pub title: String,
    /// On whose behalf it is shown, the tenant's display name.
    pub tenant: String,
    /// Who takes part.
    pub people: Vec<Party>,
    /// Until when the link works.
    pub expires: Millis,
    /// What this reader may see, oldest first.
    pub messages: Vec<Message>,
}

impl TranscriptView {
    fn base(&self) -> String {
        format!("/c/{}", self.token)
    }

    fn days(&self) -> Vec<Day<'_, Message>> {
        days(&self.messages, |message| message.at, &self.frame)
    }
}
