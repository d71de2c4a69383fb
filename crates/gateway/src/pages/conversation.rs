//! One conversation: its timeline across the media, and the composer.

use askama::Template;
use isthmus_domain::ids::ConversationId;
use isthmus_im::Presence;

use super::{
    Frame,
    inbox::{ConversationList, Waits},
    links::Piece,
    message::{Day, Decider, DeliveryState, Evidence, Item, days},
    words::{Party, Policy, count, presence_class, presence_words, size_words},
};

/// A conversation.
#[derive(Clone, Debug, Template)]
#[template(path = "conversation.html")]
pub struct ConversationView {
    /// Surroundings.
    pub frame: Frame,
    /// The list that a wide screen shows beside it.
    pub list: ConversationList,
    /// Which.
    pub id: ConversationId,
    /// The other people's names.
    pub title: String,
    /// Subject, where there is one.
    pub subject: Option<String>,
    /// Everybody who takes part, the member left out.
    pub people: Vec<Person>,
    /// Cursor of the page with earlier entries.
    pub earlier: Option<String>,
    /// The entries, oldest first.
    pub items: Vec<Item>,
    /// Where the next message is written.
    pub composer: Composer,
}

impl ConversationView {
    fn days(&self) -> Vec<Day<'_, Item>> {
        days(&self.items, Item::at, &self.frame)
    }

    /// What stands in front of the paths of files: nothing, for a member who is signed in.
    fn base(&self) -> &'static str {
        ""
    }
}

/// Somebody who takes part.
#[derive(Clone, Debug)]
pub struct Person {
    /// Name and email address.
    pub party: Party,
    /// Whether they are there; `None` without an IM address.
    pub presence: Option<Presence>,
}

/// The two positions of the composer's switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Instant message.
    Chat,
    /// Email.
    Email,
}

/// What would happen to a chat message right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatReach {
    /// They are there.
    Online,
    /// They are not: the question would be asked, and this happens if nobody answers it.
    Away(Policy),
    /// They are not, and the member chose to send to them all the same.
    AwayButSend,
    /// Nobody can tell whether they are there.
    Unknown,
    /// They have no verified IM address.
    NoAddress,
}

/// The form at the bottom of a conversation.
#[derive(Clone, Debug)]
pub struct Composer {
    /// What the person or group is called.
    pub to: String,
    /// Position of the switch.
    pub via: Via,
    /// What would happen to a chat message.
    pub chat: ChatReach,
    /// The email address that mail would go to.
    pub email: Option<String>,
    /// Subject that an email would have.
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

impl Composer {
    fn can_chat(&self) -> bool {
        self.chat != ChatReach::NoAddress
    }

    /// The switch never rests on a medium that cannot be used.
    fn starts_with_chat(&self) -> bool {
        self.can_chat() && (self.via == Via::Chat || self.email.is_none())
    }

    fn chat_hint(&self) -> String {
        let to = &self.to;
        match self.chat {
            ChatReach::Online => format!("{to} is online: it arrives at once."),
            ChatReach::Away(Policy::Ask) => format!("{to} is away: we will ask you what to do."),
            ChatReach::Away(Policy::AtOnce(action)) => {
                format!("{to} is away: we {}, as you chose.", action.promise())
            }
            ChatReach::Away(policy) => {
                format!(
                    "{to} is away: we will ask you, and {} if you don’t answer.",
                    policy.promise()
                )
            }
            ChatReach::AwayButSend => format!("{to} is away: we send it anyway, as you chose."),
            ChatReach::Unknown => {
                format!("We can’t see whether {to} is there: we send it and ask for a receipt.")
            }
            ChatReach::NoAddress => format!("{to} has no verified chat address."),
        }
    }

    fn email_hint(&self) -> String {
        match &self.email {
            Some(address) => format!("Goes to {address}, with the history quoted below."),
            None => format!("{} has no email address.", self.to),
        }
    }

    fn limit_words(&self) -> String {
        size_words(self.file_limit)
    }
}
