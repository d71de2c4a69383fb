//! The built-in web chat, seen by the person who uses it: the other side of the bridge.

use askama::Template;
use isthmus_domain::clock::Millis;

use super::{
    Frame,
    links::{self, Piece},
    message::Author,
    words::{initials, size_words},
};

/// Somebody whose web chat can be opened.
#[derive(Clone, Debug)]
pub struct ChatPerson {
    /// Display name.
    pub name: String,
    /// The IM address, `web:bob@acme.test`.
    pub address: String,
    /// Unread messages.
    pub unread: u32,
}

/// Choosing whose chat to open.
#[derive(Clone, Debug, Template)]
#[template(path = "chat_sign_in.html")]
pub struct ChatSignInView {
    /// Surroundings.
    pub frame: Frame,
    /// The people.
    pub people: Vec<ChatPerson>,
}

/// The page behind a link to somebody's web chat: looking shows whose, the button opens it.
#[derive(Clone, Debug, Template)]
#[template(path = "chat_open.html")]
pub struct ChatOpenView {
    /// Surroundings.
    pub frame: Frame,
    /// Token of the link.
    pub token: String,
    /// Whose chat it is.
    pub name: String,
}

/// A bridge contact in somebody's list.
#[derive(Clone, Debug)]
pub struct ChatContact {
    /// Key in paths: the tenant's short name, a colon, and the email address behind it, or `bridge`
    /// for the bridge itself.
    pub key: String,
    /// Display name, `Alice (acme.test)`.
    pub name: String,
    /// The beginning of the last message.
    pub excerpt: String,
    /// When that was.
    pub at: Option<Millis>,
    /// Unread messages.
    pub unread: u32,
}

impl ChatContact {
    fn initials(&self) -> String {
        initials(&self.name)
    }
}

/// One message of a chat.
#[derive(Clone, Debug)]
pub struct ChatMessage {
    /// Id on the network, unique in the list.
    pub id: String,
    /// Who wrote it, seen from the reader.
    pub author: Author,
    /// Plain text.
    pub text: String,
    /// Files: name, size in octets, and address.
    pub files: Vec<ChatFile>,
    /// When it was written.
    pub at: Millis,
}

/// A file of a chat message.
#[derive(Clone, Debug)]
pub struct ChatFile {
    /// Its name.
    pub name: String,
    /// Octets.
    pub size: u64,
    /// Path at which this reader can fetch it; shown as a link only if it begins with `/` or `http`.
    pub path: String,
}

impl ChatFile {
    fn size_words(&self) -> String {
        size_words(self.size)
    }

    fn is_safe(&self) -> bool {
        ["/", "https://", "http://"].iter().any(|start| self.path.starts_with(start))
    }
}

impl ChatMessage {
    fn is_mine(&self) -> bool {
        self.author == Author::Me
    }

    fn pieces(&self) -> Vec<Piece<'_>> {
        links::pieces(&self.text)
    }
}

/// The chat that is open.
#[derive(Clone, Debug)]
pub struct ChatThread {
    /// Key of the contact.
    pub key: String,
    /// Display name of the contact.
    pub name: String,
    /// Cursor of the page with earlier messages.
    pub earlier: Option<String>,
    /// The messages, oldest first.
    pub messages: Vec<ChatMessage>,
    /// Text given back after an error.
    pub text: String,
    /// What was wrong with the last attempt.
    pub error: Option<String>,
    /// Makes this form's message recognisable when it is sent twice.
    pub once: String,
}

/// Whether the reader shows themselves as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Showing {
    /// Online.
    Online,
    /// Away.
    Away,
}

/// The web chat of one person.
#[derive(Clone, Debug, Template)]
#[template(path = "chat.html")]
pub struct ChatView {
    /// Surroundings; [`super::Who::Chatter`] says whose chat it is.
    pub frame: Frame,
    /// How they show themselves.
    pub showing: Showing,
    /// Contacts, by last activity.
    pub contacts: Vec<ChatContact>,
    /// The chat that is open.
    pub thread: Option<ChatThread>,
}

impl ChatView {
    fn is_online(&self) -> bool {
        self.showing == Showing::Online
    }

    fn is_open(&self, contact: &ChatContact) -> bool {
        self.thread.as_ref().is_some_and(|t| t.key == contact.key)
    }

    fn open_key(&self) -> &str {
        self.thread.as_ref().map_or("", |t| t.key.as_str())
    }
}
