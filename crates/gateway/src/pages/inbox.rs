//! The inbox: conversations with the unread ones first.

use askama::Template;
use isthmus_domain::{clock::Millis, ids::ConversationId};
use isthmus_im::Presence;

use super::{
    Frame,
    words::{Medium, initials, presence_class, presence_words},
};

/// One conversation in a list.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which.
    pub id: ConversationId,
    /// The other people's names.
    pub title: String,
    /// Subject, where there is one.
    pub subject: Option<String>,
    /// The beginning of the last message.
    pub excerpt: String,
    /// Medium of the last message.
    pub medium: Medium,
    /// Last activity.
    pub at: Millis,
    /// Unread messages.
    pub unread: u32,
    /// Whether the other person is there; `None` where they have no IM address or are several.
    pub presence: Option<Presence>,
    /// Whether something waits for the member: a question, a held message.
    pub waits: Waits,
}

/// Whether a conversation waits for the member to decide something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// No.
    No,
    /// A question is open.
    Question,
    /// The last own message did not arrive.
    Failed,
}

impl Row {
    pub(super) fn initials(&self) -> String {
        initials(&self.title)
    }
}

/// The list of conversations: the inbox itself, and the left pane beside a conversation.
#[derive(Clone, Debug)]
pub struct ConversationList {
    /// The conversations, unread first, each half by last activity.
    pub rows: Vec<Row>,
    /// What was searched for; empty: nothing.
    pub query: String,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// The conversation that is open beside the list.
    pub open: Option<ConversationId>,
    /// Where mail can be forwarded to, shown where the inbox is empty.
    pub forward_address: String,
}

impl ConversationList {
    pub(super) fn is_open(&self, row: &Row) -> bool {
        self.open.as_ref() == Some(&row.id)
    }
}

/// The inbox.
#[derive(Clone, Debug, Template)]
#[template(path = "inbox.html")]
pub struct InboxView {
    /// Surroundings.
    pub frame: Frame,
    /// The conversations.
    pub list: ConversationList,
}
