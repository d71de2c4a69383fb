//! The page behind the signed links of a question: looking shows it, only the button acts.

use askama::Template;
use isthmus_domain::clock::Millis;

use super::{
    Frame,
    message::Decider,
    words::{Action, Party, Policy},
};

/// The decision page.
#[derive(Clone, Debug, Template)]
#[template(path = "decide.html")]
pub struct DecideView {
    /// Surroundings.
    pub frame: Frame,
    /// Token of the link.
    pub token: String,
    /// What there is to decide.
    pub state: DecideState,
}

/// What there is, or was, to decide.
#[derive(Clone, Debug)]
pub enum DecideState {
    /// The question is open.
    Open {
        /// Who could not be reached.
        about: Party,
        /// The beginning of the message.
        excerpt: String,
        /// When the message was written.
        written: Millis,
        /// Until when an answer counts.
        deadline: Millis,
        /// What happens then.
        then: Policy,
        /// What the link that was followed stands for.
        chosen: Action,
        /// The other answers.
        others: Vec<Action>,
    },
    /// It was decided to keep trying, and can still be decided otherwise.
    Trying {
        /// Who could not be reached.
        about: Party,
        /// The beginning of the message.
        excerpt: String,
        /// When the message was written.
        written: Millis,
        /// Until when we try.
        until: Millis,
        /// The other answers.
        others: Vec<Action>,
    },
    /// It has arrived, so that there is nothing to decide any more.
    Arrived {
        /// Who has it.
        about: Party,
        /// Since when.
        at: Millis,
    },
    /// This reader has just decided.
    Done {
        /// Who could not be reached.
        about: Party,
        /// What was decided.
        action: Action,
    },
    /// It was decided before.
    Already {
        /// Who could not be reached.
        about: Party,
        /// What was decided.
        action: Action,
        /// By whom.
        by: Decider,
        /// When.
        at: Millis,
    },
    /// The deadline has passed.
    Expired {
        /// When.
        at: Millis,
        /// What happened then.
        then: Policy,
    },
    /// No such question: a damaged or forged link.
    Unknown,
}
