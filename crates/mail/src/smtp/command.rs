//! One command line, read: the grammar is `smtp-proto`'s, what we take of it is decided here.

use isthmus_domain::address::Email;
use smtp_proto::{Error, MailFrom, RcptTo, Request};

use super::{Notify, Recipient, Reply, Ret, ReversePath, path};

/// How a client signs in (RFC 4954 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    Login,
}

/// MAIL with the parameters that the server offers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MailCommand {
    pub(crate) from: ReversePath,
    /// Announced by SIZE, zero if it was not.
    pub(crate) size: u64,
    pub(crate) ret: Option<Ret>,
    pub(crate) envid: Option<String>,
}

/// A command that the session understands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Ehlo(String),
    Helo(String),
    Mail(MailCommand),
    Rcpt(Recipient),
    Data,
    Rset,
    Noop,
    Help,
    Vrfy,
    Quit,
    StartTls,
    Auth(Mechanism, Option<String>),
}

impl Command {
    /// RFC 2920 section 3.1, RFC 3207 section 4.2, RFC 4954 section 4: after these the client waits
    /// for the reply, since what it may send next depends on it.
    pub(crate) fn ends_a_group(&self) -> bool {
        matches!(self, Self::Ehlo(_) | Self::Helo(_) | Self::Data | Self::StartTls | Self::Auth(..))
    }
}

/// Reads one line without its CRLF; `hostname` completes the address `<postmaster>`.
///
/// # Errors
/// The reply for a line that is malformed or asks for what is not offered.
pub(crate) fn parse(line: &[u8], hostname: &str) -> Result<Command, Reply> {
    if line.iter().any(|b| b.is_ascii_control()) {
        return Err(Reply::new(501, "5.5.2", "Control characters are not allowed in a command"));
    }
    let framed = [line, b"\r\n"].concat();
    let request = Request::parse(&mut framed.iter()).map_err(|e| refusal(&e, line))?;
    Ok(match request {
        Request::Ehlo { host } => Command::Ehlo(greeting_name(&host)?),
        Request::Helo { host } => Command::Helo(greeting_name(&host)?),
        Request::Mail { from } => Command::Mail(mail(&from, line)?),
        Request::Rcpt { to } => Command::Rcpt(rcpt(&to, line, hostname)?),
        Request::Data => alone(Command::Data, line, "DATA")?,
        Request::Rset => alone(Command::Rset, line, "RSET")?,
        Request::Quit => alone(Command::Quit, line, "QUIT")?,
        Request::StartTls => alone(Command::StartTls, line, "STARTTLS")?,
        Request::Noop { .. } => Command::Noop,
        Request::Help { .. } => Command::Help,
        Request::Vrfy { .. } => Command::Vrfy,
        Request::Auth { mechanism, initial_response } => {
            let mechanism = match mechanism {
                smtp_proto::AUTH_PLAIN => Mechanism::Plain,
                smtp_proto::AUTH_LOGIN => Mechanism::Login,
                _ => {
                    return Err(Reply::new(
                        504,
                        "5.5.4",
                        "Only AUTH PLAIN and AUTH LOGIN are offered",
                    ));
                }
            };
            let initial = Some(initial_response.into_owned()).filter(|text| !text.is_empty());
            Command::Auth(mechanism, initial)
        }
        Request::Lhlo { .. }
        | Request::Bdat { .. }
        | Request::Expn { .. }
        | Request::Etrn { .. }
        | Request::Atrn { .. }
        | Request::Burl { .. } => {
            return Err(Reply::new(502, "5.5.1", "This command is not offered here"));
        }
    })
}

/// The reply for a line that `smtp-proto` does not take.
fn refusal(error: &Error, line: &[u8]) -> Reply {
    match error {
        Error::UnknownCommand => Reply::new(500, "5.5.2", "There is no such command"),
        Error::InvalidSenderAddress => path::bad_sender(path::raw(line)),
        Error::InvalidRecipientAddress => path::bad_recipient(path::raw(line)),
        Error::SyntaxError { syntax } => {
            Reply::new(501, "5.5.4", &format!("The command is written: {syntax}"))
        }
        Error::InvalidParameter { param } => Reply::new(
            501,
            "5.5.4",
            &format!("The parameter {param} has a value that is not allowed"),
        ),
        Error::UnsupportedParameter { param } => {
            unsupported(&param.chars().take(40).collect::<String>())
        }
        Error::NeedsMoreData { .. } | Error::ResponseTooLong | Error::InvalidResponse { .. } => {
            Reply::new(501, "5.5.2", "The command is incomplete")
        }
    }
}

fn unsupported(name: &str) -> Reply {
    Reply::new(555, "5.5.4", &format!("The parameter {name} is not offered here"))
}

/// These commands have no argument (RFC 5321 section 4.1.1).
fn alone(command: Command, line: &[u8], verb: &str) -> Result<Command, Reply> {
    if line.trim_ascii().len() == verb.len() {
        Ok(command)
    } else {
        Err(Reply::new(501, "5.5.4", &format!("{verb} takes no argument")))
    }
}

/// The name goes into our `Received:` line, so that it may hold only what a name or an address
/// literal is made of (RFC 5321 section 4.1.1.1; the underscore is common among Windows hosts).
fn greeting_name(host: &str) -> Result<String, Reply> {
    if host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) {
        Ok(host.to_owned())
    } else {
        Err(Reply::new(
            501,
            "5.5.4",
            "The name after EHLO must be a domain name or an address literal",
        ))
    }
}

fn mail(from: &MailFrom<std::borrow::Cow<'_, str>>, line: &[u8]) -> Result<MailCommand, Reply> {
    use smtp_proto as p;
    if from.flags & p::MAIL_BODY_BINARYMIME != 0 {
        return Err(unsupported("BODY=BINARYMIME"));
    }
    if from.flags & p::MAIL_SMTPUTF8 != 0 {
        return Err(Reply::new(
            555,
            "5.6.7",
            "Addresses beyond ASCII (SMTPUTF8) are not offered here",
        ));
    }
    let offered = p::MAIL_BODY_7BIT | p::MAIL_BODY_8BITMIME | p::MAIL_RET_FULL | p::MAIL_RET_HDRS;
    let other = from.hold_for != 0
        || from.hold_until != 0
        || from.by != 0
        || from.mt_priority != 0
        || from.trans_id.is_some()
        || from.solicit.is_some()
        || from.mtrk.is_some();
    if from.flags & !offered != 0 || other {
        return Err(unsupported("given"));
    }
    let ret = match (from.flags & p::MAIL_RET_FULL != 0, from.flags & p::MAIL_RET_HDRS != 0) {
        (false, false) => None,
        (true, false) => Some(Ret::Full),
        (false, true) => Some(Ret::Headers),
        (true, true) => return Err(Reply::new(501, "5.5.4", "RET may be given once only")),
    };
    Ok(MailCommand {
        from: path::sender(path::raw(line))?,
        size: from.size as u64,
        ret,
        envid: from.env_id.as_deref().map(|v| printable(v, "ENVID")).transpose()?,
    })
}

fn rcpt(
    to: &RcptTo<std::borrow::Cow<'_, str>>,
    line: &[u8],
    hostname: &str,
) -> Result<Recipient, Reply> {
    use smtp_proto as p;
    let notify_flags = [p::RCPT_NOTIFY_SUCCESS, p::RCPT_NOTIFY_FAILURE, p::RCPT_NOTIFY_DELAY];
    let [success, failure, delay] = notify_flags.map(|flag| to.flags & flag != 0);
    let never = to.flags & p::RCPT_NOTIFY_NEVER != 0;
    let offered = notify_flags.iter().fold(p::RCPT_NOTIFY_NEVER, |all, flag| all | flag);
    if to.flags & !offered != 0 || to.rrvs != 0 {
        return Err(unsupported("given"));
    }
    let notify = match (never, success || failure || delay) {
        (false, false) => Notify::Unset,
        (true, false) => Notify::Never,
        (false, true) => Notify::On { success, failure, delay },
        (true, true) => {
            return Err(Reply::new(501, "5.5.4", "NOTIFY=NEVER stands alone"));
        }
    };
    let email: Email = path::recipient(path::raw(line), hostname)?;
    let orcpt = to.orcpt.as_deref().map(|v| printable(v, "ORCPT")).transpose()?;
    Ok(Recipient { email, notify, orcpt })
}

/// Decoded xtext may hide line breaks (RFC 3461 section 4): those would end up in a header.
fn printable(value: &str, name: &str) -> Result<String, Reply> {
    if value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        Ok(value.to_owned())
    } else {
        Err(Reply::new(501, "5.5.4", &format!("{name} may hold printable characters only")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        parse(line.as_bytes(), "mx.bridge.test").map_err(|r| r.to_string())
    }

    fn code(line: &str) -> u16 {
        parse(line.as_bytes(), "mx.bridge.test").map_or_else(|r| r.code(), |_| 0)
    }

    #[test]
    fn dsn_parameters_are_read() {
        let Ok(Command::Mail(mail)) =
            read("MAIL FROM:<a@x.test> SIZE=12 BODY=8BITMIME RET=HDRS ENVID=q+2B1")
        else {
            panic!("not read")
        };
        assert_eq!(
            (mail.size, mail.ret, mail.envid.as_deref()),
            (12, Some(Ret::Headers), Some("q+1"))
        );
        let Ok(Command::Rcpt(to)) =
            read("rcpt to:<B@x.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c+2Bd@x.test")
        else {
            panic!("not read")
        };
        assert_eq!(to.notify, Notify::On { success: true, failure: false, delay: true });
        assert_eq!(to.orcpt.as_deref(), Some("c+d@x.test"));
    }

    #[test]
    fn postmaster_needs_no_domain_and_is_no_null_sender() {
        let Ok(Command::Rcpt(to)) = read("RCPT TO:<Postmaster>") else { panic!("not read") };
        assert_eq!(to.email.as_str(), "postmaster@mx.bridge.test");
        assert_eq!(code("MAIL FROM:<postmaster>"), 553);
        assert_eq!(code("RCPT TO:<>"), 550);
    }

    #[test]
    fn what_is_not_offered_is_named() {
        assert_eq!(code("MAIL FROM:<a@x.test> SMTPUTF8"), 555);
        assert_eq!(code("MAIL FROM:<a@x.test> BODY=BINARYMIME"), 555);
        assert_eq!(code("MAIL FROM:<a@x.test> FOO=1"), 555);
        assert_eq!(code("MAIL FROM:<a@x.test> HOLDFOR=10"), 555);
        assert_eq!(code("RCPT TO:<a@x.test> NOTIFY=NEVER,SUCCESS"), 501);
        assert_eq!(code("BDAT 12 LAST"), 502);
        assert_eq!(code("AUTH CRAM-MD5"), 504);
        assert_eq!(code("DATA now"), 501);
        assert_eq!(code("XYZZY"), 500);
        assert_eq!(code(""), 500);
    }

    #[test]
    fn abuse_smtp_09_line_breaks_hidden_in_parameters_are_refused() {
        assert_eq!(code("MAIL FROM:<a@x.test> ENVID=x+0D+0ABcc:+20z@x.test"), 501);
        assert_eq!(code("RCPT TO:<a@x.test> ORCPT=rfc822;a@x.test+0AX:y"), 501);
        assert_eq!(code("EHLO a\0b"), 501);
        assert_eq!(code("EHLO a(b);"), 501);
        assert_eq!(code("MAIL FROM:<a\0@x.test>"), 501);
        assert_eq!(code("MAIL FROM:<a@x.test> ENVID=x+2B"), 0);
    }
}
