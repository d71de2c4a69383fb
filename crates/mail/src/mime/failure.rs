//! Tells a sender, and their mail server, that a mail we had taken was not delivered (RFC 3464).

use bytes::Bytes;
use isthmus_domain::address::Email;
use mail_builder::{
    headers::content_type::ContentType,
    mime::{BodyPart, MimePart},
};

use super::compose::{ComposeError, Outgoing, boundary, clean, leaf, plain, validate, write};

/// What became of a mail, for programs to read.
#[derive(Clone, Debug)]
pub struct DeliveryFailure {
    /// Our own name.
    pub reporting_mta: String,
    /// For whom it was.
    pub recipient: Email,
    /// What the next server said.
    pub reply: String,
    /// The mail that is returned; only its header goes along.
    pub returned: Bytes,
}

/// Writes a delivery status notification: the text of `mail`, the failure for programs, and the
/// header of what is returned. HTML and attachments of `mail` do not go along.
///
/// # Errors
/// As for [`compose`](super::compose()).
pub fn compose_failure(
    mail: &Outgoing,
    failure: &DeliveryFailure,
) -> Result<Vec<u8>, ComposeError> {
    validate(mail)?;
    plain(&failure.reporting_mta, "name of the server")?;
    let status = format!(
        "Reporting-MTA: dns; {}\r\n\r\nFinal-Recipient: rfc822; {}\r\nAction: failed\r\n\
         Status: {}\r\nDiagnostic-Code: smtp; {}\r\n",
        failure.reporting_mta,
        failure.recipient.as_str(),
        enhanced_code(&failure.reply),
        ascii_line(&failure.reply),
    );
    let header: String = header_of(&failure.returned)
        .split(|octet| *octet == b'\n')
        .map(|line| format!("{}\r\n", ascii_line(&String::from_utf8_lossy(line))))
        .collect();
    let parts = vec![
        leaf("text/plain", clean(&mail.text)),
        verbatim("message/delivery-status", status),
        verbatim("text/rfc822-headers", header),
    ];
    let report = ContentType::new("multipart/report")
        .attribute("report-type", "delivery-status")
        .attribute("boundary", boundary(mail, "r"));
    Ok(write(mail, MimePart::new(report, parts)))
}

/// Lines of ASCII that go as they are.
fn verbatim(media_type: &'static str, text: String) -> MimePart<'static> {
    MimePart::new(ContentType::new(media_type), BodyPart::Binary(text.into_bytes().into()))
        .transfer_encoding("7bit")
}

/// The code of RFC 3463 in a reply, or the one that says no more than that it failed.
fn enhanced_code(reply: &str) -> &str {
    let is_code = |word: &&str| {
        let parts: Vec<&str> = word.split('.').collect();
        let number = |p: &&str| (1..=3).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit());
        parts.len() == 3 && parts[0] == "5" && parts.iter().all(number)
    };
    reply.split_whitespace().find(is_code).unwrap_or("5.0.0")
}

/// One line of printable ASCII, short enough for a mail.
fn ascii_line(text: &str) -> String {
    let one = |c: char| if c == '\t' || c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.trim_end().chars().map(one).take(900).collect()
}

/// The header of a mail, at most 16 KiB of it.
fn header_of(raw: &[u8]) -> &[u8] {
    let end = memchr::memmem::find(raw, b"\r\n\r\n").unwrap_or(raw.len());
    &raw[..end.min(16 * 1024)]
}

#[cfg(test)]
mod tests {
    use isthmus_domain::clock::Millis;

    use super::*;
    use crate::mime::{AutoSubmitted, Kind, Mailbox, parse};

    fn email(text: &str) -> Email {
        Email::parse(text).expect("an address")
    }

    #[test]
    fn a_notification_is_read_as_one() {
        let mail = Outgoing {
            from: Mailbox::named("Acme bridge", email("im@bridge.acme.test")),
            sender: None,
            reply_to: None,
            to: vec![Mailbox::named("Carol", email("carol@customer.test"))],
            cc: vec![],
            subject: "Not delivered: Lunch".into(),
            message_id: "one@bridge.acme.test".into(),
            in_reply_to: None,
            references: vec![],
            date: Millis(0),
            text: "Your mail to gone@acme.test was not delivered.".into(),
            html: None,
            attachments: vec![],
            auto_submitted: Some(AutoSubmitted::AutoReplied),
            loop_mark: "here".into(),
        };
        let failure = DeliveryFailure {
            reporting_mta: "mx.acme.test".into(),
            recipient: email("gone@acme.test"),
            reply: "550 5.1.1 no such user\r\nBcc: everybody@acme.test".into(),
            returned: "Subject: Lünch\r\nMessage-ID: <1@customer.test>\r\n\r\nWhen?".into(),
        };
        let raw = compose_failure(&mail, &failure).expect("it can be written");
        let text = String::from_utf8_lossy(&raw);
        assert!(text.contains("report-type=\"delivery-status\""), "{text}");
        assert!(
            text.contains("Message-ID: <1@customer.test>") && !text.contains("When?"),
            "{text}"
        );
        assert!(!text.contains("\r\nBcc:"), "{text}");
        let parsed = parse(&raw).expect("it can be read");
        let Kind::Bounce(report) = parsed.kind else { panic!("{:?}", parsed.kind) };
        assert_eq!(report.recipients[0].status, "5.1.1");
        assert_eq!(report.original_message_id.as_deref(), Some("1@customer.test"));
    }
}
