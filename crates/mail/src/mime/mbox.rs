//! Mails in one file, as mail programs import it (mbox, in its reversible "mboxrd" form).

use std::io::{self, Write};

use isthmus_domain::clock::Millis;

use super::{
    compose::{ComposeError, Outgoing, compose},
    model::Mailbox,
};

/// Adds one mail to a mailbox file.
///
/// Lines that start with any number of `>` and then `From ` get one more `>`; line ends are LF.
///
/// # Errors
/// What `out` returns.
pub fn write_mbox(out: &mut dyn Write, sender: &str, at: Millis, raw: &[u8]) -> io::Result<()> {
    let sender: String = sender.chars().filter(|c| c.is_ascii_graphic()).collect();
    let sender = if sender.is_empty() { "MAILER-DAEMON" } else { &sender };
    let date = at.timestamp().strftime("%a %b %e %H:%M:%S %Y");
    writeln!(out, "From {sender} {date}")?;
    for line in raw.split_inclusive(|&b| b == b'\n') {
        let content = line.strip_suffix(b"\n").map_or(line, |l| l.strip_suffix(b"\r").unwrap_or(l));
        let quotes = content.iter().take_while(|&&b| b == b'>').count();
        if content[quotes..].starts_with(b"From ") {
            out.write_all(b">")?;
        }
        out.write_all(content)?;
        out.write_all(b"\n")?;
    }
    out.write_all(b"\n")
}

/// An instant message that is written as a mail, so that a mailbox file holds a whole conversation.
#[derive(Clone, Debug)]
pub struct ImLine {
    /// Who wrote it.
    pub from: Mailbox,
    /// To whom.
    pub to: Vec<Mailbox>,
    /// The conversation's subject.
    pub subject: String,
    /// A stable id without angle brackets.
    pub message_id: String,
    /// The message before it.
    pub in_reply_to: Option<String>,
    /// The network it came over, such as `xmpp`.
    pub network: String,
    /// When it was written.
    pub date: Millis,
    /// What it says.
    pub text: String,
}

/// Writes an instant message as a mail with a field `X-Isthmus-Medium` that names its network.
///
/// # Errors
/// As for [`compose()`].
pub fn im_as_mail(line: &ImLine, loop_mark: &str) -> Result<Vec<u8>, ComposeError> {
    if line.network.is_empty() || !line.network.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(ComposeError::Control("network"));
    }
    let mail = compose(&Outgoing {
        from: line.from.clone(),
        sender: None,
        reply_to: None,
        to: line.to.clone(),
        cc: Vec::new(),
        subject: line.subject.clone(),
        message_id: line.message_id.clone(),
        in_reply_to: line.in_reply_to.clone(),
        references: Vec::new(),
        date: line.date,
        text: line.text.clone(),
        html: None,
        attachments: Vec::new(),
        auto_submitted: None,
        loop_mark: loop_mark.to_owned(),
    })?;
    let mut out = format!("X-Isthmus-Medium: {}\r\n", line.network).into_bytes();
    out.extend_from_slice(&mail);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_lines_are_quoted_reversibly() {
        let mut out = Vec::new();
        let raw = b"Subject: x\r\n\r\nFrom here on\r\n>From there\r\nfrom\r\n";
        write_mbox(&mut out, "bob@acme.test", Millis(1_767_600_000_000), raw).expect("memory");
        assert_eq!(
            String::from_utf8(out).expect("ascii"),
            "From bob@acme.test Mon Jan  5 08:00:00 2026\nSubject: x\n\n>From here on\n>>From there\nfrom\n\n"
        );
    }

    #[test]
    fn a_sender_cannot_add_a_line() {
        let mut out = Vec::new();
        write_mbox(&mut out, "a\nFrom b", Millis(0), b"X: y\r\n\r\n").expect("memory");
        assert_eq!(out.split(|&b| b == b'\n').filter(|l| l.starts_with(b"From ")).count(), 1);
    }
}
