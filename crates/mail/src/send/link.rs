//! One connection to a relay: opened, greeted, encrypted, signed in, and then mail by mail.

use std::time::Duration;

use isthmus_domain::address::Email;
use lettre::Address;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Rcpt};
use lettre::transport::smtp::extension::{
    ClientId, Extension, MailBodyParameter, MailParameter, RcptParameter,
};
use lettre::transport::smtp::response::{Response, Severity};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::relay::{Handover, Timeouts};
use super::settings::{Security, Settings};
use super::socket::Socket;
use super::tls::Tls;

/// Octets of a mail that are encoded at once.
const CHUNK: usize = 64 * 1024;
/// The slowest relay that we wait for while it takes a mail, in octets per second.
const SLOWEST: u64 = 16 * 1024;

/// An open connection.
pub(crate) struct Link {
    connection: AsyncSmtpConnection,
    dsn: bool,
    size_max: Option<u64>,
    /// Mails handed over on it.
    pub(crate) mails: u32,
    /// When it was last used.
    pub(crate) idle_since: Instant,
}

/// One mail on its way out.
pub(crate) struct Parcel<'a> {
    pub(crate) from: Option<&'a Email>,
    pub(crate) to: &'a Email,
    pub(crate) envid: Option<&'a str>,
    /// CRLF line ends only.
    pub(crate) raw: &'a [u8],
}

/// What happened, and whether the connection can be used again.
pub(crate) struct Outcome {
    pub(crate) handover: Handover,
    pub(crate) usable: bool,
    /// The connection failed before the relay answered anything about this mail, so that trying
    /// on another one cannot double it.
    pub(crate) untouched: bool,
}

/// A relay's "no", or the reason why there is no answer.
struct Failure {
    code: Option<u16>,
    text: String,
}

impl Failure {
    fn handover(self) -> Handover {
        match self.code {
            Some(code @ 500..) => Handover::Refused { code, reply: self.text },
            _ => Handover::Deferred { reply: self.text },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        match error.status() {
            Some(code) => {
                let text = format!("{code} {}", source.unwrap_or_default());
                Self { code: Some(code.into()), text: text.trim_end().to_owned() }
            }
            None => Self { code: None, text: error.to_string() },
        }
    }
}

/// Awaits a step for so long.
async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, Error>>,
) -> Result<T, Failure> {
    match timeout(limit, step).await {
        Ok(result) => result.map_err(Failure::from),
        Err(_) => {
            let text = format!("the relay did not answer within {} s", limit.as_secs_f32());
            Err(Failure { code: None, text })
        }
    }
}

/// The relay's own words with its code.
fn words(response: &Response) -> String {
    let text: Vec<&str> = response.message().collect();
    format!("{} {}", response.code(), text.join(" ")).trim_end().to_owned()
}

impl Link {
    /// Opens a connection as the settings ask for it.
    ///
    /// # Errors
    /// Why there is none. Never about a mail: a relay that turns us away with 5yz here (a wrong
    /// password, a blocked address) may take the same mail once that is put right.
    pub(crate) async fn open(
        settings: &Settings,
        tls: &Tls,
        hello: &ClientId,
        timeouts: &Timeouts,
    ) -> Result<Self, String> {
        let opened = match Self::encrypted(settings, tls, hello, timeouts).await {
            // RFC 7435 section 3: a handshake that fails is no worse than no TLS at all.
            Err(Opening::Handshake(_)) if settings.security == Security::Opportunistic => {
                Self::encrypted(settings, &Tls::None, hello, timeouts).await
            }
            other => other,
        };
        let connection = opened.map_err(|(Opening::Handshake(why) | Opening::Other(why))| why)?;
        Self::sign_in(connection, settings, hello, timeouts).await.map_err(|f| f.text)
    }

    async fn encrypted(
        settings: &Settings,
        tls: &Tls,
        hello: &ClientId,
        timeouts: &Timeouts,
    ) -> Result<AsyncSmtpConnection, Opening> {
        let at = format!("{}:{}", settings.host, settings.port);
        let dial = TcpStream::connect((settings.host.as_str(), settings.port));
        let stream = match timeout(timeouts.connect, dial).await {
            Ok(dialled) => dialled.and_then(Socket::plain),
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        }
        .map_err(|e| Opening::Other(format!("the relay {at} cannot be reached: {e}")))?;
        let stream: Box<dyn AsyncTokioStream> = match tls {
            Tls::Implicit(connector, name) => {
                let shake = stream.encrypted(connector.clone(), name.clone());
                let stream = match timeout(timeouts.connect, shake).await {
                    Ok(shaken) => shaken,
                    Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
                }
                .map_err(|e| Opening::Handshake(format!("no TLS with the relay {at}: {e}")))?;
                Box::new(stream)
            }
            Tls::None | Tls::Start(_) => Box::new(stream),
        };
        let greet = AsyncSmtpConnection::connect_with_transport(stream, hello);
        let mut connection =
            within(timeouts.command, greet).await.map_err(|f| Opening::Other(f.text))?;
        if let Tls::Start(parameters) = tls {
            if connection.can_starttls() {
                within(timeouts.command, connection.starttls(parameters.clone(), hello))
                    .await
                    .map_err(|f| {
                        Opening::Handshake(format!("no TLS with the relay {at}: {}", f.text))
                    })?;
            } else if settings.security == Security::Required {
                return Err(Opening::Other(format!("the relay {at} does not offer TLS")));
            }
        }
        Ok(connection)
    }

    async fn sign_in(
        mut connection: AsyncSmtpConnection,
        settings: &Settings,
        hello: &ClientId,
        timeouts: &Timeouts,
    ) -> Result<Self, Failure> {
        if let Some((user, password)) = &settings.credentials {
            let credentials = Credentials::new(user.clone(), password.clone());
            let auth = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials);
            within(timeouts.command, auth).await.map_err(|f| Failure {
                code: None,
                text: format!("signing in to the relay failed: {}", f.text),
            })?;
        }
        // lettre keeps four extensions of the reply to EHLO; DSN and SIZE are not among them.
        let again = connection.command(Ehlo::new(hello.clone()));
        let offered = within(timeouts.command, again).await?;
        let offers = |keyword: &str| {
            offered.message().skip(1).find_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let found = words.next().is_some_and(|w| w.eq_ignore_ascii_case(keyword));
                found.then(|| words.next().unwrap_or_default().to_owned())
            })
        };
        Ok(Self {
            dsn: offers("DSN").is_some(),
            // RFC 1870 section 4: zero or nothing means that there is no fixed limit.
            size_max: offers("SIZE").map(|n| n.parse().unwrap_or(0)),
            connection,
            mails: 0,
            idle_since: Instant::now(),
        })
    }

    /// Hands over one mail and reads what the relay says.
    pub(crate) async fn hand_over(&mut self, parcel: &Parcel<'_>, timeouts: &Timeouts) -> Outcome {
        if let Some(refusal) = self.cannot_carry(parcel) {
            return Outcome { handover: refusal, usable: true, untouched: false };
        }
        let mail = Mail::new(parcel.from.map(address), self.mail_parameters(parcel));
        if let Err(failure) = within(timeouts.command, self.connection.command(mail)).await {
            // A connection that the relay closed while it lay idle shows here.
            let gone = failure.code.is_none_or(|code| code == 421);
            return Outcome { untouched: gone, ..self.failed(failure, timeouts).await };
        }
        let rcpt = Rcpt::new(address(parcel.to), self.rcpt_parameters(parcel));
        if let Err(failure) = within(timeouts.command, self.connection.command(rcpt)).await {
            return self.failed(failure, timeouts).await;
        }
        if let Err(failure) = within(timeouts.command, self.connection.command(Data)).await {
            return self.failed(failure, timeouts).await;
        }
        // lettre ends the last line itself.
        let content = parcel.raw.strip_suffix(b"\r\n").unwrap_or(parcel.raw);
        let limit = timeouts.data + Duration::from_secs(content.len() as u64 / SLOWEST);
        match within(limit, self.connection.message_iter(content.chunks(CHUNK))).await {
            // Anything but 2yz here is not a promise, whatever else it may be.
            Ok(response) if response.code().severity != Severity::PositiveCompletion => Outcome {
                handover: Handover::Deferred { reply: words(&response) },
                usable: false,
                untouched: false,
            },
            Ok(response) => {
                self.mails += 1;
                self.idle_since = Instant::now();
                let handover = Handover::Accepted { reply: words(&response), dsn: self.dsn };
                Outcome { handover, usable: true, untouched: false }
            }
            // Whether the relay has it is not known now; the next try may double it, under the
            // same Message-ID.
            Err(Failure { code: None, text }) => Outcome {
                handover: Handover::Deferred {
                    reply: format!(
                        "the connection broke before the relay answered for the mail: {text}"
                    ),
                },
                usable: false,
                untouched: false,
            },
            Err(failure) => self.failed(failure, timeouts).await,
        }
    }

    /// What this relay said beforehand that it will not take.
    fn cannot_carry(&self, parcel: &Parcel<'_>) -> Option<Handover> {
        let size = parcel.raw.len() as u64;
        if let Some(max) = self.size_max.filter(|max| *max > 0 && size > *max) {
            let reply = format!("the mail has {size} octets, and the relay takes at most {max}");
            return Some(Handover::Refused { code: 552, reply });
        }
        if !parcel.raw.is_ascii() && !self.offers_8bit() {
            // RFC 6152 section 3: 8-bit content must not be sent to such a server.
            let reply =
                "the mail has 8-bit content, and the relay does not offer 8BITMIME".to_owned();
            return Some(Handover::Refused { code: 554, reply });
        }
        None
    }

    fn offers_8bit(&self) -> bool {
        self.connection.server_info().supports_feature(Extension::EightBitMime)
    }

    fn mail_parameters(&self, parcel: &Parcel<'_>) -> Vec<MailParameter> {
        let mut parameters = Vec::new();
        if self.size_max.is_some() {
            parameters.push(MailParameter::Size(parcel.raw.len()));
        }
        if self.offers_8bit() && !parcel.raw.is_ascii() {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if self.dsn {
            parameters.push(mail_parameter("RET", "HDRS"));
            // RFC 3461 section 4.4: printable, at most 100 characters once encoded.
            if let Some(envid) = parcel.envid.filter(|id| is_envid(id)) {
                parameters.push(mail_parameter("ENVID", envid));
            }
        }
        parameters
    }

    fn rcpt_parameters(&self, parcel: &Parcel<'_>) -> Vec<RcptParameter> {
        if !self.dsn {
            return Vec::new();
        }
        let parameter = |keyword: &str, value: String| RcptParameter::Other {
            keyword: keyword.to_owned(),
            value: Some(value),
        };
        // A null sender has nowhere to be told (RFC 3461 section 4.1 leaves NEVER for that).
        let notify = if parcel.from.is_some() { "SUCCESS,FAILURE,DELAY" } else { "NEVER" };
        vec![
            parameter("NOTIFY", notify.to_owned()),
            parameter("ORCPT", format!("rfc822;{}", parcel.to)),
        ]
    }

    /// After a "no": the connection goes on if the relay can be brought back to the start.
    async fn failed(&mut self, failure: Failure, timeouts: &Timeouts) -> Outcome {
        let answered = failure.code.is_some_and(|code| code != 421);
        let usable =
            answered && within(timeouts.command, self.connection.command("RSET\r\n")).await.is_ok();
        self.idle_since = Instant::now();
        Outcome { handover: failure.handover(), usable, untouched: false }
    }

    /// Says goodbye, without waiting long for an answer.
    pub(crate) async fn quit(mut self) {
        let _ = timeout(Duration::from_secs(2), self.connection.quit()).await;
    }
}

/// Where opening a connection failed.
enum Opening {
    Handshake(String),
    Other(String),
}

/// `Email` has checked more than lettre would, and differs in corner cases that servers take.
fn address(email: &Email) -> Address {
    Address::new_dangerous(email.local(), email.domain())
}

fn mail_parameter(keyword: &str, value: &str) -> MailParameter {
    MailParameter::Other { keyword: keyword.to_owned(), value: Some(value.to_owned()) }
}

fn is_envid(id: &str) -> bool {
    (1..=33).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
        || (1..=100).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_graphic() && b != b'+' && b != b'=')
}
