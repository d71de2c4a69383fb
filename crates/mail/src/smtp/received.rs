//! The trace line that a server puts on top of every mail it takes (RFC 5321 section 4.4).

use std::net::IpAddr;

use isthmus_domain::address::Email;

use super::Session;

/// One `Received:` header field with its CRLF, folded so that no line passes 998 octets.
///
/// `hostname` is ours, `id` is what a log search finds the mail by, `date` is a date-time of
/// RFC 5322 section 3.3. `only_recipient` is named if the mail has exactly one recipient: naming
/// one of several would tell each about another (RFC 5321 section 7.6).
#[must_use]
pub fn received_header(
    session: &Session,
    hostname: &str,
    id: &str,
    only_recipient: Option<&Email>,
    date: &str,
) -> String {
    let literal = match session.peer.ip().to_canonical() {
        IpAddr::V4(ip) => format!("[{ip}]"),
        IpAddr::V6(ip) => format!("[IPv6:{ip}]"),
    };
    let helo = session.helo.as_deref().map_or_else(|| literal.clone(), token);
    let recipient = only_recipient.map(|to| format!("\r\n\tfor <{}>", token(to.as_str())));
    format!(
        "Received: from {helo} ({literal})\r\n\tby {} with {}\r\n\tid {}{};\r\n\t{}\r\n",
        token(hostname),
        protocol(session),
        token(id),
        recipient.unwrap_or_default(),
        date.chars().filter(|c| *c == ' ' || c.is_ascii_graphic()).collect::<String>(),
    )
}

/// The registered name of the protocol (RFC 3848).
fn protocol(session: &Session) -> &'static str {
    match (session.esmtp, session.tls, session.identity.is_some()) {
        (false, ..) => "SMTP",
        (true, false, false) => "ESMTP",
        (true, true, false) => "ESMTPS",
        (true, false, true) => "ESMTPA",
        (true, true, true) => "ESMTPSA",
    }
}

/// No octet in it can end the header field or start a comment.
fn token(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() && !"()<>;\\\"".contains(*c)).take(255).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_line_says_who_and_how() {
        let mut session = Session {
            id: 1,
            peer: "192.0.2.7:1234".parse().unwrap(),
            helo: Some("client.test".into()),
            esmtp: true,
            tls: true,
            identity: None,
        };
        let to = Email::parse("bob@acme.test").unwrap();
        assert_eq!(
            received_header(
                &session,
                "mx.test",
                "msg_1",
                Some(&to),
                "Thu, 1 Jan 2026 00:00:00 +0000"
            ),
            "Received: from client.test ([192.0.2.7])\r\n\tby mx.test with ESMTPS\r\n\tid msg_1\
             \r\n\tfor <bob@acme.test>;\r\n\tThu, 1 Jan 2026 00:00:00 +0000\r\n"
        );
        session.helo = Some("x\r\nBcc: y".into());
        session.peer = "[2001:db8::1]:25".parse().unwrap();
        let line = received_header(&session, "mx.test", "msg_1", None, "d\r\ne");
        assert!(line.starts_with("Received: from xBcc:y ([IPv6:2001:db8::1])\r\n\tby "));
        assert_eq!(line.matches("\r\n").count(), line.matches("\r\n\t").count() + 1);
    }
}
