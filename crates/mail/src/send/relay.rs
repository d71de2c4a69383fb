//! The relay as its owner sees it: one mail to one recipient, and an answer.

use std::sync::Arc;
use std::time::Duration;

use isthmus_domain::address::Email;
use lettre::transport::smtp::extension::ClientId;

use super::link::{Link, Outcome, Parcel};
use super::pool::{CONNECTIONS, Pool};
use super::settings::Settings;
use super::tls::Tls;
use super::{BadRelay, to_crlf};

/// What became of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handover {
    /// The relay took responsibility for it.
    Accepted {
        /// The relay's words with its code.
        reply: String,
        /// The relay promised to report on success, failure and delay (RFC 3461).
        dsn: bool,
    },
    /// Not now: the relay said 4yz, or could not be reached, or went away. A later try is safe as
    /// far as anybody can tell; if the connection broke after the whole mail was sent, the relay
    /// may have it already, and the Message-ID makes the double recognisable.
    Deferred {
        /// The relay's words with its code, or the reason in ours.
        reply: String,
    },
    /// Never: the relay said 5yz about this mail, or cannot carry it at all.
    Refused {
        /// The code, such as 550.
        code: u16,
        /// The relay's words with its code, or the reason in ours.
        reply: String,
    },
}

/// How long is waited for a relay.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For the TCP connection, and once more for TLS.
    pub connect: Duration,
    /// For the reply to each command.
    pub command: Duration,
    /// For the reply to a mail, plus a second per 16 KiB of it (RFC 5321 section 4.5.3.2.6 asks
    /// for patience here, since giving up early doubles the mail).
    pub data: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            command: Duration::from_secs(60),
            data: Duration::from_secs(300),
        }
    }
}

/// A server that takes outbound mail. Clones share its connections.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    settings: Settings,
    tls: Tls,
    hello: ClientId,
    timeouts: Timeouts,
    pool: Pool,
}

impl std::fmt::Debug for Relay {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let settings = &self.0.settings;
        write!(f, "Relay({}:{}, {:?})", settings.host, settings.port, settings.security)
    }
}

impl Relay {
    /// A relay from `smtp://[user:password@]host[:25]` or `smtps://[user:password@]host[:465]`.
    ///
    /// With `smtp` TLS is used when it is offered, without looking at the certificate;
    /// `?tls=required` insists on it and checks the certificate, which is the default where a
    /// password is given; `?tls=never` stays in the clear. `smtps` always checks. `?ca=FILE` trusts
    /// the certificates of that PEM file instead of the system's. Nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong with the URL or the file. Reads the file, and the system's certificates where
    /// they are needed.
    pub fn from_url(url: &str) -> Result<Self, BadRelay> {
        let settings = Settings::parse(url)?;
        let tls = Tls::new(&settings)?;
        let pool = Pool::new(CONNECTIONS);
        let (hello, timeouts) = (ClientId::default(), Timeouts::default());
        Ok(Self(Arc::new(Inner { settings, tls, hello, timeouts, pool })))
    }

    /// The same relay with other settings, and without connections.
    fn with(self, change: impl FnOnce(&mut Inner)) -> Result<Self, Self> {
        let mut inner = Arc::try_unwrap(self.0).map_err(Self)?;
        change(&mut inner);
        Ok(Self(Arc::new(inner)))
    }

    /// Says this name in EHLO in place of an address literal: letters, digits, dots and hyphens.
    /// To be called before the relay is cloned; afterwards, or with another kind of name, it
    /// changes nothing.
    #[must_use]
    pub fn with_hello(self, hostname: &str) -> Self {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
        if hostname.is_empty() || hostname.len() > 255 || !hostname.bytes().all(fits) {
            return self;
        }
        self.with(|inner| inner.hello = ClientId::Domain(hostname.to_owned()))
            .unwrap_or_else(|unchanged| unchanged)
    }

    /// Waits so long. To be called before the relay is cloned; afterwards it changes nothing.
    #[must_use]
    pub fn with_timeouts(self, timeouts: Timeouts) -> Self {
        self.with(|inner| inner.timeouts = timeouts).unwrap_or_else(|unchanged| unchanged)
    }

    /// Host and port, for logs and for trying whether it can be reached.
    #[must_use]
    pub fn name(&self) -> String {
        let settings = &self.0.settings;
        // An IPv6 address needs its brackets.
        let host = &settings.host;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("{host}:{}", settings.port)
    }

    /// Hands one mail over for one recipient.
    ///
    /// `from` is the envelope sender, `None` for `<>`. `envid` comes back in delivery reports; it
    /// is left out if it is not printable ASCII, longer than 100 octets, or if the relay does not
    /// do DSN. Reports on success, failure and delay are asked for where the relay does DSN.
    /// Stray CR and LF in `raw` become CRLF. At most ten mails travel at a time, others wait.
    /// Dropping the future closes the connection.
    pub async fn send(
        &self,
        from: Option<&Email>,
        to: &Email,
        envid: Option<&str>,
        raw: &[u8],
    ) -> Handover {
        let raw = to_crlf(raw);
        let parcel = Parcel { from, to, envid, raw: &raw };
        let inner = &*self.0;
        let _seat = inner.pool.seat().await;
        if let Some(link) = inner.pool.take() {
            let outcome = inner.try_on(link, &parcel).await;
            // The relay closed the connection while it lay idle: that says nothing about the mail.
            if !outcome.untouched {
                return outcome.handover;
            }
        }
        match Link::open(&inner.settings, &inner.tls, &inner.hello, &inner.timeouts).await {
            Ok(link) => inner.try_on(link, &parcel).await.handover,
            Err(reply) => Handover::Deferred { reply },
        }
    }

    /// Says goodbye on idle connections, for an orderly shutdown.
    pub async fn close(&self) {
        futures::future::join_all(self.0.pool.drain().into_iter().map(Link::quit)).await;
    }
}

impl Inner {
    async fn try_on(&self, mut link: Link, parcel: &Parcel<'_>) -> Outcome {
        let outcome = link.hand_over(parcel, &self.timeouts).await;
        if outcome.usable
            && let Some(worn) = self.pool.put(link)
        {
            worn.quit().await;
        }
        outcome
    }
}
