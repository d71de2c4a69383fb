//! What the owner of the server decides, and what it is given to decide on.

use std::net::SocketAddr;

use async_trait::async_trait;
use isthmus_domain::address::Email;

use super::{Body, Reply};

/// What is known of the peer so far.
#[derive(Clone, Debug)]
pub struct Session {
    /// Counts up from 1 in one process; only for logs.
    pub id: u64,
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// What the peer called itself in EHLO or HELO: letters, digits and `.-_:[]`.
    pub helo: Option<String>,
    /// The peer said EHLO, not HELO.
    pub esmtp: bool,
    /// The connection is encrypted.
    pub tls: bool,
    /// Who signed in, as [`Host::authenticate`] named it.
    pub identity: Option<String>,
}

/// The sender of the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// `<>`: a notification that must never be answered (RFC 5321 section 4.5.5).
    Null,
    /// Where notifications about this mail go.
    Mailbox(Email),
}

impl ReversePath {
    /// The address, or `None` for `<>`.
    #[must_use]
    pub fn email(&self) -> Option<&Email> {
        match self {
            Self::Null => None,
            Self::Mailbox(email) => Some(email),
        }
    }
}

/// When the sender wants to hear of a recipient (RFC 3461 section 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// Not said: on failure, and perhaps on delay.
    #[default]
    Unset,
    /// Never.
    Never,
    /// On those events that are true.
    On {
        /// It arrived.
        success: bool,
        /// It will not arrive.
        failure: bool,
        /// It is late.
        delay: bool,
    },
}

/// What a delivery report shall carry of the mail (RFC 3461 section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// All of it.
    Full,
    /// Its header.
    Headers,
}

/// One recipient that [`Host::recipient`] took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address.
    pub email: Email,
    /// When the sender wants a report.
    pub notify: Notify,
    /// The recipient as the sender first wrote it, decoded; no control characters, at most 256 octets.
    pub orcpt: Option<String>,
}

/// One whole mail with its envelope.
#[derive(Debug)]
pub struct ReceivedMail {
    /// The envelope sender; `None` is `<>`.
    pub from: Option<Email>,
    /// Whom it is for, each address once, in the order of the RCPT commands.
    pub to: Vec<Recipient>,
    /// What reports about it shall carry.
    pub ret: Option<Ret>,
    /// The sender's own id of the envelope, decoded; no control characters, at most 100 octets.
    pub envid: Option<String>,
    /// The mail itself: CRLF line ends only, dot-stuffing undone.
    pub body: Body,
    /// SHA-256 of the mail in lower-case hex.
    pub sha256: String,
}

/// Decides for the server. One value serves all sessions at once.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// The name in the greeting and after EHLO: a fully qualified domain name.
    fn hostname(&self) -> &str;

    /// Whether this peer may speak at all; asked once, before the banner.
    ///
    /// # Errors
    /// The reply is sent in place of the banner, and the connection is closed.
    async fn connected(&self, _session: &Session) -> Result<(), Reply> {
        Ok(())
    }

    /// Checks a password; the answer is the identity that [`Session::identity`] will show.
    /// Only asked on an encrypted connection.
    ///
    /// # Errors
    /// The reply for the peer, such as `535 5.7.8`.
    async fn authenticate(
        &self,
        session: &Session,
        user: &str,
        password: &str,
    ) -> Result<String, Reply>;

    /// Whether mail from this sender is taken from this peer.
    ///
    /// # Errors
    /// The reply for the peer; the mail is not begun.
    async fn sender(&self, session: &Session, from: &ReversePath) -> Result<(), Reply>;

    /// Whether mail from `from` is taken for `to`.
    ///
    /// # Errors
    /// The reply for the peer; other recipients of the mail are not affected.
    async fn recipient(
        &self,
        session: &Session,
        from: &ReversePath,
        to: &Email,
    ) -> Result<(), Reply>;

    /// Takes one mail, once, after its end has been read.
    ///
    /// The reply goes to the peer as it is: 2yz may only be returned when everything is committed,
    /// since the peer forgets the mail then.
    async fn accept(&self, session: &Session, mail: ReceivedMail) -> Reply;
}
