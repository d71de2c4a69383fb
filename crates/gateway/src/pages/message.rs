//! One line of a timeline: mails, chat lines, questions, and how far each message has got.

use isthmus_domain::{
    clock::Millis,
    ids::{AttachmentId, ConversationId, DeliveryId, MessageId},
};

use super::{
    links::{self, Piece},
    words::{Action, Medium, Party, Policy, size_words},
};

/// One entry of a timeline.
#[derive(Clone, Debug)]
pub enum Item {
    /// A mail or a chat line.
    Message(Message),
    /// A delivery that waits for a decision.
    Question(Question),
    /// A decision that was made.
    Decided(Decided),
    /// A message that waits for the member to let it in.
    Held(Held),
}

impl Item {
    /// When it happened; entries are shown in the order in which they are given.
    #[must_use]
    pub fn at(&self) -> Millis {
        match self {
            Self::Message(message) => message.at,
            Self::Question(question) => question.at,
            Self::Decided(decided) => decided.at,
            Self::Held(held) => held.at,
        }
    }
}

/// Entries of one calendar day.
#[derive(Debug)]
pub struct Day<'a, T> {
    /// `2026-03-03`.
    pub key: String,
    /// `Today`, `Monday 3 March`.
    pub heading: String,
    /// The entries in order.
    pub items: Vec<&'a T>,
}

/// Groups entries, which are in order of time, by the reader's calendar day.
pub fn days<'a, T>(items: &'a [T], at: fn(&T) -> Millis, frame: &super::Frame) -> Vec<Day<'a, T>> {
    let mut days: Vec<Day<'a, T>> = Vec::new();
    for item in items {
        let key = frame.zone.day(at(item)).to_string();
        match days.last_mut() {
            Some(last) if last.key == key => last.items.push(item),
            _ => days.push(Day { key, heading: frame.day(at(item)), items: vec![item] }),
        }
    }
    days
}

/// Who wrote a message, seen from the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The reader.
    Me,
    /// Somebody else.
    Other,
}

/// Whether a mail has an HTML part to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Html {
    /// Plain text only.
    None,
    /// It is served, sanitised, at `/messages/ID/html`.
    Available,
}

/// A mail or a chat line.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// When it was written, or came in.
    pub at: Millis,
    /// What carried it.
    pub medium: Medium,
    /// Who wrote it, seen from the reader.
    pub author: Author,
    /// From.
    pub from: Party,
    /// Every To.
    pub to: Vec<Party>,
    /// Every Cc.
    pub cc: Vec<Party>,
    /// Subject of a mail.
    pub subject: Option<String>,
    /// The new text, without quote and signature.
    pub text: String,
    /// The quoted text below it.
    pub quoted: Option<String>,
    /// The signature.
    pub signature: Option<String>,
    /// Whether a formatted version exists.
    pub html: Html,
    /// Files, in order.
    pub files: Vec<File>,
    /// What a reader must know before trusting it, such as a failed sender check.
    pub warning: Option<String>,
    /// How far it has got, for the reader's own messages: one per recipient and medium.
    pub deliveries: Vec<DeliveryLine>,
}

impl Message {
    /// Whether the reader wrote it.
    #[must_use]
    pub fn is_mine(&self) -> bool {
        self.author == Author::Me
    }

    /// Whether `/messages/ID/html` has something to show.
    #[must_use]
    pub fn has_html(&self) -> bool {
        self.html == Html::Available
    }

    /// The text with its web addresses told apart.
    #[must_use]
    pub fn pieces(&self) -> Vec<Piece<'_>> {
        if self.has_html() { links::marked_pieces(&self.text) } else { links::pieces(&self.text) }
    }
}

/// A file that came with a message.
#[derive(Clone, Debug)]
pub struct File {
    /// Its id.
    pub id: AttachmentId,
    /// Neutralised file name.
    pub name: String,
    /// MIME type.
    pub media_type: String,
    /// Octets.
    pub size: u64,
    /// What can be shown of it.
    pub preview: Preview,
}

/// What can be shown of a file without downloading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preview {
    /// Nothing.
    None,
    /// A picture, served at `…/attachments/ID/preview`.
    Image,
    /// The file itself opens in a browser tab of its own, at `…/attachments/ID/preview`.
    Document,
}

impl File {
    /// The size in words.
    #[must_use]
    pub fn size_words(&self) -> String {
        size_words(self.size)
    }

    /// Whether there is a picture to show.
    #[must_use]
    pub fn is_image(&self) -> bool {
        self.preview == Preview::Image
    }

    /// Whether it opens in a tab.
    #[must_use]
    pub fn is_document(&self) -> bool {
        self.preview == Preview::Document
    }
}

/// How far a message has got on its way to one person.
#[derive(Clone, Debug)]
pub struct DeliveryLine {
    /// The delivery.
    pub id: DeliveryId,
    /// To whom.
    pub to: Party,
    /// By what.
    pub via: Medium,
    /// How far.
    pub state: DeliveryState,
}

/// The state of a delivery, with what people want to know of it.
#[derive(Clone, Debug)]
pub enum DeliveryState {
    /// Taken and kept; nothing was tried yet.
    Accepted,
    /// Looking whether they are there.
    Checking,
    /// On its way.
    Sending,
    /// It arrived.
    Delivered {
        /// When.
        at: Millis,
        /// How that is known.
        evidence: Evidence,
    },
    /// Waits for the answer to the question that the timeline shows.
    AwaitingDecision,
    /// Tried again from time to time.
    Retrying {
        /// The next attempt.
        next: Millis,
    },
    /// Not sent, because somebody decided so.
    Aborted {
        /// When.
        at: Millis,
    },
    /// Sent as an email instead; that one has a line of its own.
    BecameEmail {
        /// When.
        at: Millis,
    },
    /// It did not arrive and is not tried any more.
    Failed {
        /// Why, and what to do next, in a sentence or two.
        reason: String,
    },
}

/// How it is known that a message arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Their client, their mail server or the built-in chat confirmed it.
    Receipt,
    /// Their IM server took it; their client sends no receipts.
    Server,
}

/// A delivery that waits for a decision.
#[derive(Clone, Debug)]
pub struct Question {
    /// The delivery.
    pub delivery: DeliveryId,
    /// Where to go after the decision.
    pub conversation: ConversationId,
    /// When it was asked.
    pub at: Millis,
    /// Who could not be reached.
    pub about: Party,
    /// The beginning of the message.
    pub excerpt: String,
    /// Messages that wait for the same answer; at least 1.
    pub waiting: u32,
    /// Until when an answer counts.
    pub deadline: Millis,
    /// What happens then.
    pub then: Policy,
    /// What can be chosen.
    pub options: Vec<Action>,
    /// For how long we would keep trying, `3 days`.
    pub retry_for: String,
}

/// A decision that was made.
#[derive(Clone, Debug)]
pub struct Decided {
    /// The delivery.
    pub delivery: DeliveryId,
    /// When.
    pub at: Millis,
    /// Who could not be reached.
    pub about: Party,
    /// What was decided.
    pub action: Action,
    /// By whom.
    pub by: Decider,
}

/// Who made a decision, and where.
#[derive(Clone, Debug)]
pub enum Decider {
    /// The reader, in the given place (`here`, `by mail`, `in chat`, `over the API`).
    You(String),
    /// Another person, in the given place.
    Person(String, String),
    /// Nobody answered, so the standing policy did.
    Policy,
}

/// A message that waits until the member lets it into the conversation.
#[derive(Clone, Debug)]
pub struct Held {
    /// The message.
    pub message: MessageId,
    /// The conversation it would join.
    pub conversation: ConversationId,
    /// When it came.
    pub at: Millis,
    /// Who sent it.
    pub from: Party,
    /// Why it is held, in a sentence.
    pub reason: String,
    /// The beginning of its text.
    pub excerpt: String,
}
