//! How much one peer may ask of the server.

use std::time::Duration;

/// Bounds of a session and of the listener. `Limits::default()` suits a relay and mail clients.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Octets of one mail after dot-unstuffing, announced by SIZE (RFC 1870).
    pub max_size: u64,
    /// Recipients of one mail; more are answered 452 (RFC 5321 section 4.5.3.1.10).
    pub max_rcpt: usize,
    /// RCPT commands in one mail, taken or not; more end the session.
    pub max_rcpt_commands: usize,
    /// Recipients in one session that were refused for good; more end the session.
    pub max_rcpt_refused: usize,
    /// Octets of one command line with its CRLF (RFC 5321 section 4.5.3.1.4 asks for 512).
    pub max_line: usize,
    /// Commands in one session that were malformed or out of order; more end the session.
    pub max_errors: usize,
    /// Failed AUTH attempts in one session; more end the session.
    pub max_auth_failures: usize,
    /// Commands in a row that bring no mail; more end the session.
    pub max_idle_commands: usize,
    /// Time for a session to have a mail accepted, from its start or from the last one that was; no
    /// command is waited for beyond it. A mail that is on its way may come to its end.
    pub time_without_mail: Duration,
    /// Mails in one session; more end the session, and the peer connects again.
    pub max_messages: usize,
    /// Time for one whole command line, and for the peer to take our replies.
    pub command_timeout: Duration,
    /// Time for the TLS handshake.
    pub tls_timeout: Duration,
    /// Longest silence within DATA.
    pub data_idle: Duration,
    /// Time at the start of DATA in which `data_min_rate` does not count yet.
    pub data_grace: Duration,
    /// Octets per second that a mail must average once `data_grace` has passed.
    pub data_min_rate: u64,
    /// Longest time for one mail, however fast it comes.
    pub data_total: Duration,
    /// Octets of a mail that stay in memory; what is longer goes to the spool directory.
    pub memory_body: usize,
    /// Sessions at the same time.
    pub max_sessions: usize,
    /// Sessions at the same time from one IPv4 address or one IPv6 /64.
    pub max_sessions_per_peer: usize,
    /// How long a peer must stay silent before our banner; zero only looks once.
    pub banner_delay: Duration,
    /// After a stop was asked for: how long a mail in DATA may still take to arrive.
    pub stop_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_size: 35 * 1024 * 1024,
            max_rcpt: 100,
            max_rcpt_commands: 1_000,
            max_rcpt_refused: 100,
            max_line: 2048,
            max_errors: 20,
            max_auth_failures: 3,
            max_idle_commands: 100,
            time_without_mail: Duration::from_secs(10 * 60),
            max_messages: 10_000,
            command_timeout: Duration::from_secs(60),
            tls_timeout: Duration::from_secs(30),
            data_idle: Duration::from_secs(60),
            data_grace: Duration::from_secs(30),
            data_min_rate: 1024,
            data_total: Duration::from_secs(30 * 60),
            memory_body: 256 * 1024,
            max_sessions: 1_000,
            max_sessions_per_peer: 100,
            banner_delay: Duration::ZERO,
            stop_grace: Duration::from_secs(5),
        }
    }
}
