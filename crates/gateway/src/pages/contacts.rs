//! Contacts: the list with its two forms, the report of an import, and one contact's page.

use askama::Template;
use isthmus_domain::ids::{ContactId, MappingId};
use isthmus_im::Presence;

use super::{
    Frame,
    words::{Medium, Policy, Verification, count, initials, presence_class, presence_words},
};

/// One contact in the list.
#[derive(Clone, Debug)]
pub struct ContactRow {
    /// Which.
    pub id: ContactId,
    /// Display name.
    pub name: String,
    /// Email address.
    pub email: String,
    /// How many IM addresses are verified.
    pub verified: u32,
    /// How many wait for verification.
    pub unverified: u32,
    /// Whether they are there; `None` without a verified IM address.
    pub presence: Option<Presence>,
    /// The medium in which they were last seen (never when).
    pub last_medium: Option<Medium>,
}

impl ContactRow {
    fn initials(&self) -> String {
        initials(&self.name)
    }
}

/// What a contact form held when it was refused.
#[derive(Clone, Debug, Default)]
pub struct ContactForm {
    /// Name.
    pub name: String,
    /// Email address.
    pub email: String,
    /// IM address.
    pub im: String,
    /// What was wrong.
    pub error: Option<String>,
}

/// What came of a CSV file, line by line, or of vCards, card by card.
#[derive(Clone, Debug)]
pub struct ImportReport {
    /// File name.
    pub file: String,
    /// The lines, in order.
    pub lines: Vec<ImportLine>,
}

impl ImportReport {
    fn added(&self) -> usize {
        self.lines.iter().filter(|l| matches!(l.outcome, ImportOutcome::Added)).count()
    }

    fn unchanged(&self) -> usize {
        self.lines.iter().filter(|l| matches!(l.outcome, ImportOutcome::Unchanged)).count()
    }

    fn refused(&self) -> usize {
        self.lines.iter().filter(|l| matches!(l.outcome, ImportOutcome::Refused(_))).count()
    }
}

/// One line of an import.
#[derive(Clone, Debug)]
pub struct ImportLine {
    /// Number of the line in the file, from 1.
    pub number: u32,
    /// Whom it named, or how it began.
    pub what: String,
    /// What came of it.
    pub outcome: ImportOutcome,
}

/// What came of a line.
#[derive(Clone, Debug)]
pub enum ImportOutcome {
    /// A new contact or address.
    Added,
    /// Known already.
    Unchanged,
    /// Not taken, and why.
    Refused(String),
}

/// The list of contacts.
#[derive(Clone, Debug, Template)]
#[template(path = "contacts.html")]
pub struct ContactsView {
    /// Surroundings.
    pub frame: Frame,
    /// What was searched for; empty: nothing.
    pub query: String,
    /// The contacts, by name.
    pub rows: Vec<ContactRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// The form, as it was refused.
    pub form: ContactForm,
    /// The report of an import that was just made.
    pub report: Option<ImportReport>,
}

/// One address of a contact or a member.
#[derive(Clone, Debug)]
pub struct AddressRow {
    /// The mapping that joins it to the email address; `None` for the email address itself.
    pub mapping: Option<MappingId>,
    /// Medium.
    pub medium: Medium,
    /// The address, `bob@chat.test`.
    pub address: String,
    /// How far its verification is.
    pub state: Verification,
}

/// How a contact wants to be treated while away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// Ask when they are away.
    Ask,
    /// Always send.
    Always,
}

/// One contact.
#[derive(Clone, Debug, Template)]
#[template(path = "contact.html")]
pub struct ContactView {
    /// Surroundings.
    pub frame: Frame,
    /// Which.
    pub id: ContactId,
    /// Display name.
    pub name: String,
    /// Email address.
    pub email: String,
    /// Mail to this address reaches them as an instant message.
    pub bridge_address: String,
    /// Whether the reader may delete it.
    pub deletable: bool,
    /// Whether they are there; `None` without a verified IM address.
    pub presence: Option<Presence>,
    /// All addresses, the email address first.
    pub addresses: Vec<AddressRow>,
    /// The address that was typed and refused, and why.
    pub refused: Option<(String, String)>,
    /// Whether to ask while they are away.
    pub sending: Sending,
    /// What happens to unanswered questions; `None`: as the member's settings say.
    pub policy: Option<Policy>,
}

impl ContactView {
    /// Where the forms of an address lead back to.
    fn back(&self) -> &str {
        self.id.as_str()
    }

    /// The address given back after it was refused.
    fn typed(&self) -> &str {
        self.refused.as_ref().map_or("", |(typed, _)| typed)
    }

    fn is_policy(&self, policy: &Policy) -> bool {
        self.policy.as_ref() == Some(policy)
    }

    fn always_sends(&self) -> bool {
        self.sending == Sending::Always
    }
}
