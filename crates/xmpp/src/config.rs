//! What the XMPP side can be told.

use std::time::Duration;

/// When [`isthmus_im::ImNetwork::send`] says that a message is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// Once the server has worked through the stream up to it: a ping to our own address
    /// written behind the message came back (stanzas of one stream are processed in order,
    /// RFC 6120 section 10.1). A server that dies with the message unread makes it `Unclear`.
    Echoed,
    /// Once the socket took it. A little sooner, but what a dying server had not read yet
    /// counts as written.
    Flushed,
}

/// How to reach the XMPP server, and how patient to be with it.
#[derive(Clone)]
pub struct XmppConfig {
    /// `host:port` of the server's component listener (XEP-0114).
    pub server: String,
    /// Component secret of bridge domains that have none of their own.
    pub secret: String,
    /// How long someone who is subscribed may stay silent after a probe before they count
    /// as unavailable.
    pub silent_presence: Duration,
    /// When a message counts as out.
    pub confirm: Confirm,
    /// Address of an HTTP upload service (XEP-0363); without it the parent of the bridge
    /// domain and then the recipient's server are asked for one.
    pub upload_service: Option<String>,
    /// Longest that all uploads of one message may take; links are sent for the rest.
    pub upload_timeout: Duration,
    /// Silence of the server after which the connection is tested; half as long again
    /// without an answer and it counts as dead.
    pub idle: Duration,
}

impl XmppConfig {
    /// The defaults for one server.
    #[must_use]
    pub fn new(server: impl Into<String>, secret: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            secret: secret.into(),
            silent_presence: Duration::from_secs(3),
            confirm: Confirm::Echoed,
            upload_service: None,
            upload_timeout: Duration::from_secs(30),
            idle: Duration::from_secs(5),
        }
    }
}

impl std::fmt::Debug for XmppConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secret stays out of logs.
        f.debug_struct("XmppConfig").field("server", &self.server).finish_non_exhaustive()
    }
}
