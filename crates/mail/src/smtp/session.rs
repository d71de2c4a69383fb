//! One conversation with one peer: which command may follow which, and what is answered.
//!
//! Replies to pipelined commands are collected and written together (RFC 2920 section 3.2).

use std::ops::Range;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::body::Spool;
use super::command::{self, Command, MailCommand};
use super::wire::{BadLine, Wire};
use super::{Host, Limits, Recipient, Reply, ReversePath, Session, TlsMode, reception};

/// Everything that the sessions of one listener share.
pub(crate) struct Shared {
    pub(crate) tls: TlsMode,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) limits: Limits,
    pub(crate) spool: Spool,
    pub(crate) stop: CancellationToken,
}

/// Why a session is over.
#[derive(Debug)]
pub(crate) enum End {
    /// The peer said QUIT.
    Quit,
    /// The peer is gone, or does not take our replies.
    Closed,
    /// We end it with these words.
    Say(Reply),
}

/// A mail whose content has not come yet.
pub(crate) struct Envelope {
    pub(crate) mail: MailCommand,
    pub(crate) to: Vec<Recipient>,
    rcpt_commands: usize,
}

/// How often the peer did what it may do only so often.
#[derive(Default)]
pub(super) struct Tally {
    errors: usize,
    pub(super) auth_failures: usize,
    rcpt_refused: usize,
    messages: usize,
    /// Commands without a mail since the last one.
    idle: usize,
}

/// Speaks SMTP until one side has had enough.
pub(crate) async fn run<S>(wire: Wire<S>, session: Session, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let id = session.id;
    let (tally, brought) = (Tally::default(), Instant::now());
    let mut talk = Talk { wire, session, shared, envelope: None, tally, brought };
    let end = match talk.greet().await {
        Ok(()) => loop {
            if let Err(end) = talk.next_command().await {
                break end;
            }
        },
        Err(end) => end,
    };
    let limit = shared.limits.command_timeout;
    match end {
        End::Closed => tracing::debug!(smtp.session = id, "the peer closed the connection"),
        End::Quit => talk.wire.hang_up(limit).await,
        End::Say(reply) => {
            tracing::debug!(smtp.session = id, smtp.reply = %reply, "ending an SMTP session");
            talk.wire.discard();
            talk.wire.say(&reply);
            talk.wire.close(limit).await;
        }
    }
}

/// A session under way.
pub(super) struct Talk<'a, S> {
    pub(super) wire: Wire<S>,
    pub(super) session: Session,
    pub(super) shared: &'a Shared,
    pub(super) envelope: Option<Envelope>,
    pub(super) tally: Tally,
    /// When a mail was last accepted; at first, when the session began.
    brought: Instant,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Talk<'_, S> {
    /// The banner, unless the peer speaks first, which no mail client does
    /// (RFC 5321 section 4.3.1).
    async fn greet(&mut self) -> Result<(), End> {
        self.shared.host.connected(&self.session).await.map_err(End::Say)?;
        tokio::task::yield_now().await;
        let look_until = Instant::now() + self.shared.limits.banner_delay;
        match timeout_at(look_until, self.wire.fill()).await {
            Ok(Ok(0) | Err(_)) => return Err(End::Closed),
            Ok(Ok(_)) => {
                return Err(End::Say(Reply::new(554, "5.5.1", "You spoke before the greeting")));
            }
            Err(_) => {}
        }
        let banner = format!("{} ESMTP Isthmus", self.shared.host.hostname());
        self.wire.say(&Reply::bare(220, &banner));
        Ok(())
    }

    /// Waits for one line within the time for a command, and for no longer in a server that stops.
    pub(super) async fn line(&mut self) -> Result<Range<usize>, End> {
        let limits = &self.shared.limits;
        let over = self.brought + limits.time_without_mail;
        let mut deadline = None;
        loop {
            if self.shared.stop.is_cancelled() {
                return Err(End::Say(Reply::new(
                    421,
                    "4.3.2",
                    "The server is stopping, try again soon",
                )));
            }
            if Instant::now() >= over {
                return Err(End::Say(Reply::new(421, "4.4.2", "Come back when there is mail")));
            }
            match self.wire.take_line(limits.max_line) {
                Some(Ok(line)) => return Ok(line),
                Some(Err(BadLine::Stray)) => {
                    let text = "Lines end with CR and LF together, never with one of them alone";
                    return Err(End::Say(Reply::new(500, "5.5.2", text)));
                }
                Some(Err(BadLine::TooLong)) => {
                    return Err(End::Say(Reply::new(500, "5.5.6", "The line is too long")));
                }
                None => {}
            }
            self.flush().await?;
            // One deadline for the whole line, so that an octet a minute does not extend it.
            let until = *deadline.get_or_insert_with(|| Instant::now() + limits.command_timeout);
            tokio::select! {
                read = timeout_at(until.min(over), self.wire.fill()) => match read {
                    Ok(Ok(1..)) => {}
                    Ok(Ok(0) | Err(_)) => return Err(End::Closed),
                    Err(_) if over < until => {}
                    Err(_) => {
                        return Err(End::Say(Reply::new(421, "4.4.2", "You were silent for too long")));
                    }
                },
                () = self.shared.stop.cancelled() => {}
            }
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        self.wire.flush(self.shared.limits.command_timeout).await.map_err(|_| End::Closed)
    }

    async fn next_command(&mut self) -> Result<(), End> {
        let line = self.line().await?;
        let read = command::parse(self.wire.line(line), self.shared.host.hostname());
        let more = !self.wire.unread().is_empty();
        match read {
            Err(reply) => self.mistake(&reply)?,
            Ok(Command::Quit) => {
                self.wire.say(&Reply::new(221, "2.0.0", "Goodbye"));
                return Err(End::Quit);
            }
            // Pipelining is for those who asked for it with EHLO, and never past a command whose
            // reply changes what may come next.
            Ok(command) if more && (command.ends_a_group() || !self.session.esmtp) => {
                let text = "You sent more before you could have read the reply";
                return Err(End::Say(Reply::new(503, "5.5.1", text)));
            }
            Ok(command) => self.obey(command).await?,
        }
        if self.wire.is_full() { self.flush().await } else { Ok(()) }
    }

    /// Answers a command that was wrong, and ends the session after too many of them.
    pub(super) fn mistake(&mut self, reply: &Reply) -> Result<(), End> {
        self.wire.say(reply);
        self.tally.errors += 1;
        if self.tally.errors > self.shared.limits.max_errors {
            return Err(End::Say(Reply::new(421, "4.7.0", "Too many errors in this session")));
        }
        Ok(())
    }

    /// Sends a reply of the host, which ends the session if it is a 421.
    pub(super) fn pass_on(&mut self, reply: Reply) -> Result<(), End> {
        if reply.code() == 421 {
            return Err(End::Say(reply));
        }
        self.wire.say(&reply);
        Ok(())
    }

    /// A session that goes on without bringing mail takes the place of one that would.
    fn get_on_with_it(&mut self, command: &Command) -> Result<(), End> {
        let idle = matches!(
            command,
            Command::Ehlo(_)
                | Command::Helo(_)
                | Command::Rset
                | Command::Noop
                | Command::Help
                | Command::Vrfy
        );
        self.tally.idle += usize::from(idle);
        if self.tally.idle > self.shared.limits.max_idle_commands {
            return Err(End::Say(Reply::new(421, "4.7.0", "Come back when there is mail")));
        }
        Ok(())
    }

    async fn obey(&mut self, command: Command) -> Result<(), End> {
        self.get_on_with_it(&command)?;
        match command {
            Command::Ehlo(name) => self.hello(name),
            Command::Helo(name) => {
                self.start_over(Some(name));
                self.session.esmtp = false;
                self.wire.say(&Reply::bare(250, self.shared.host.hostname()));
            }
            Command::Mail(mail) => self.mail(mail).await?,
            Command::Rcpt(to) => self.rcpt(to).await?,
            Command::Data => self.data().await?,
            Command::Rset => {
                self.envelope = None;
                self.wire.say(&Reply::ok("Forgotten"));
            }
            Command::Noop => self.wire.say(&Reply::ok("Still here")),
            Command::Help => {
                let text = "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY STARTTLS AUTH HELP QUIT";
                self.wire.say(&Reply::new(214, "2.0.0", text));
            }
            // RFC 5321 section 7.3: who has a mailbox here is nobody's business.
            Command::Vrfy => {
                self.wire.say(&Reply::new(
                    252,
                    "2.5.2",
                    "Send a mail and see, addresses are not told",
                ));
            }
            Command::StartTls => self.start_tls().await?,
            Command::Auth(mechanism, initial) => self.auth(mechanism, initial).await?,
            // Handled by the caller, which ends the session with it.
            Command::Quit => return Err(End::Quit),
        }
        Ok(())
    }

    fn start_over(&mut self, helo: Option<String>) {
        self.session.helo = helo;
        self.envelope = None;
    }

    fn hello(&mut self, name: String) {
        self.start_over(Some(name));
        self.session.esmtp = true;
        let host = self.shared.host.hostname();
        let size = self.shared.limits.max_size;
        let mut text =
            format!("{host}\nPIPELINING\nSIZE {size}\n8BITMIME\nENHANCEDSTATUSCODES\nDSN\nHELP");
        if self.session.tls {
            text.push_str("\nAUTH PLAIN LOGIN");
        } else if matches!(self.shared.tls, TlsMode::StartTls(_)) {
            text.push_str("\nSTARTTLS");
        }
        self.wire.say(&Reply::bare(250, &text));
    }

    async fn mail(&mut self, mail: MailCommand) -> Result<(), End> {
        if self.session.helo.is_none() {
            return self.mistake(&Reply::new(503, "5.5.1", "Say EHLO first"));
        }
        if self.envelope.is_some() {
            return self.mistake(&Reply::new(503, "5.5.1", "One mail after the other"));
        }
        if self.tally.messages >= self.shared.limits.max_messages {
            return Err(End::Say(Reply::new(
                421,
                "4.7.0",
                "Enough for one session, connect again",
            )));
        }
        // RFC 1870 section 6.1: refused before it was sent.
        if mail.size > self.shared.limits.max_size {
            let reply = too_big(self.shared.limits.max_size);
            return self.pass_on(reply);
        }
        match self.shared.host.sender(&self.session, &mail.from).await {
            Ok(()) => {
                self.wire.say(&Reply::new(250, "2.1.0", "Sender taken"));
                self.envelope = Some(Envelope { mail, to: Vec::new(), rcpt_commands: 0 });
                Ok(())
            }
            Err(reply) => self.pass_on(reply),
        }
    }

    async fn rcpt(&mut self, to: Recipient) -> Result<(), End> {
        let limits = &self.shared.limits;
        let Some(envelope) = &mut self.envelope else {
            return self.mistake(&Reply::new(503, "5.5.1", "Say MAIL first"));
        };
        envelope.rcpt_commands += 1;
        if envelope.rcpt_commands > limits.max_rcpt_commands {
            return Err(End::Say(Reply::new(421, "4.7.0", "Far too many recipients")));
        }
        if !envelope.to.iter().any(|known| known.email == to.email) {
            if envelope.to.len() >= limits.max_rcpt {
                let text = format!(
                    "At most {} recipients in one mail, send the rest in another",
                    limits.max_rcpt
                );
                return self.pass_on(Reply::new(452, "4.5.3", &text));
            }
            let from: &ReversePath = &envelope.mail.from;
            if let Err(reply) = self.shared.host.recipient(&self.session, from, &to.email).await {
                self.tally.rcpt_refused += usize::from(reply.code() >= 400);
                self.pass_on(reply)?;
                if self.tally.rcpt_refused > limits.max_rcpt_refused {
                    let text = "Too many recipients that do not exist";
                    return Err(End::Say(Reply::new(421, "4.7.0", text)));
                }
                return Ok(());
            }
            envelope.to.push(to);
        }
        self.wire.say(&Reply::new(250, "2.1.5", "Recipient taken"));
        Ok(())
    }

    async fn data(&mut self) -> Result<(), End> {
        match &self.envelope {
            None => return self.mistake(&Reply::new(503, "5.5.1", "Say MAIL and RCPT first")),
            Some(envelope) if envelope.to.is_empty() => {
                return self.mistake(&Reply::new(
                    554,
                    "5.5.1",
                    "There is no recipient that was taken",
                ));
            }
            Some(_) => {}
        }
        let Some(envelope) = self.envelope.take() else { return Ok(()) };
        self.wire.say(&Reply::bare(354, "Go on, and end with a dot on a line of its own"));
        self.flush().await?;
        self.tally.messages += 1;
        self.tally.idle = 0;
        let reply = match reception::receive(&mut self.wire, envelope, self.shared).await? {
            Ok(mail) => self.shared.host.accept(&self.session, mail).await,
            Err(reply) => reply,
        };
        if reply.is_positive() {
            self.brought = Instant::now();
        }
        self.pass_on(reply)
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        let TlsMode::StartTls(config) = &self.shared.tls else {
            return self.mistake(&Reply::new(502, "5.5.1", "STARTTLS is not offered here"));
        };
        if self.session.tls {
            return self.mistake(&Reply::new(503, "5.5.1", "The connection is encrypted already"));
        }
        self.wire.say(&Reply::new(220, "2.0.0", "Go on with TLS"));
        self.flush().await?;
        self.wire.start_tls(config.clone(), self.shared.limits.tls_timeout).await.map_err(|e| {
            tracing::debug!(smtp.session = self.session.id, error = %e, "a TLS handshake failed");
            End::Closed
        })?;
        // RFC 3207 section 4.2: what was said in the clear may have been said by somebody else.
        self.start_over(None);
        self.session.esmtp = false;
        self.session.identity = None;
        self.session.tls = true;
        Ok(())
    }
}

/// The reply for a mail over the size limit.
pub(crate) fn too_big(max: u64) -> Reply {
    Reply::new(552, "5.3.4", &format!("The mail is too big: at most {max} octets are taken"))
}
