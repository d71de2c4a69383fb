//! Outbound mail that the demo keeps instead of sending it.

use askama::Template;
use isthmus_domain::{clock::Millis, ids::OutboundId};

use super::{
    Frame,
    links::{self, Piece},
    message::Html,
    words::size_words,
};

/// One mail in the list.
#[derive(Clone, Debug)]
pub struct DevMailRow {
    /// Which.
    pub id: OutboundId,
    /// To whom.
    pub to: String,
    /// Subject.
    pub subject: String,
    /// When it was sent.
    pub at: Millis,
}

/// The outbound mails.
#[derive(Clone, Debug, Template)]
#[template(path = "dev_mails.html")]
pub struct DevMailsView {
    /// Surroundings.
    pub frame: Frame,
    /// The mails, newest first.
    pub rows: Vec<DevMailRow>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// A file of an outbound mail.
#[derive(Clone, Debug)]
pub struct DevFile {
    /// Its name.
    pub name: String,
    /// Octets.
    pub size: u64,
}

impl DevFile {
    fn size_words(&self) -> String {
        size_words(self.size)
    }
}

/// One outbound mail. The raw text is at `/dev/mail/ID/raw`, its HTML at `/dev/mail/ID/html`.
#[derive(Clone, Debug, Template)]
#[template(path = "dev_mail.html")]
pub struct DevMailView {
    /// Surroundings.
    pub frame: Frame,
    /// Which.
    pub id: OutboundId,
    /// When it was sent.
    pub at: Millis,
    /// Subject.
    pub subject: String,
    /// Header fields worth seeing, in order: name and value.
    pub headers: Vec<(String, String)>,
    /// The plain text.
    pub text: String,
    /// Whether there is an HTML part.
    pub html: Html,
    /// Files; the raw text holds them.
    pub files: Vec<DevFile>,
}

impl DevMailView {
    fn has_html(&self) -> bool {
        self.html == Html::Available
    }

    fn pieces(&self) -> Vec<Piece<'_>> {
        links::pieces(&self.text)
    }
}
