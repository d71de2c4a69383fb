//! The address in angle brackets of MAIL and RCPT, taken only in its plain form.
//!
//! Quoted local parts, source routes and the `%` form say one thing to one server and another to
//! the next; open relays were built on that. Nobody's mailbox here needs them.

use isthmus_domain::address::Email;
use memchr::memchr;

use super::{Reply, ReversePath};

/// What stands between the first `<` and the first `>` of a command line.
pub(crate) fn raw(line: &[u8]) -> &[u8] {
    let after = memchr(b'<', line).map_or(&[][..], |open| &line[open + 1..]);
    memchr(b'>', after).map_or(after, |close| &after[..close])
}

/// Reads the sender; an empty path is the null sender.
///
/// # Errors
/// `553` with the reason.
pub(crate) fn sender(path: &[u8]) -> Result<ReversePath, Reply> {
    if path.is_empty() {
        return Ok(ReversePath::Null);
    }
    plain(path).map(ReversePath::Mailbox).ok_or_else(|| bad_sender(path))
}

/// Reads a recipient; `<postmaster>` alone is the one of `hostname` (RFC 5321 section 4.5.1).
///
/// # Errors
/// `550` with the reason.
pub(crate) fn recipient(path: &[u8], hostname: &str) -> Result<Email, Reply> {
    if path.eq_ignore_ascii_case(b"postmaster") {
        return Email::parse(&format!("postmaster@{hostname}")).map_err(|_| bad_recipient(path));
    }
    // `a%b@us` asks us to pass the mail on to `a@b`.
    if memchr(b'%', path).is_some() {
        return Err(bad_recipient(path));
    }
    plain(path).ok_or_else(|| bad_recipient(path))
}

fn plain(path: &[u8]) -> Option<Email> {
    let text = std::str::from_utf8(path).ok()?;
    if text.contains(char::is_whitespace) { None } else { Email::parse(text).ok() }
}

/// The reply for a sender that is not taken.
pub(crate) fn bad_sender(path: &[u8]) -> Reply {
    Reply::new(
        553,
        "5.1.7",
        &format!("The sender is not an address we can answer to: {}", why(path)),
    )
}

/// The reply for a recipient that is not taken.
pub(crate) fn bad_recipient(path: &[u8]) -> Reply {
    let enhanced = if path.starts_with(b"@") || memchr(b'%', path).is_some() {
        // A request to relay, not only a mistake.
        "5.7.1"
    } else {
        "5.1.3"
    };
    Reply::perm(enhanced, &format!("The recipient is not taken: {}", why(path)))
}

fn why(path: &[u8]) -> &'static str {
    if path.starts_with(b"@") {
        "source routes are not followed"
    } else if memchr(b'"', path).is_some() {
        "quoted local parts are not taken"
    } else if memchr(b'%', path).is_some() {
        "mail is not passed on by a % in the address"
    } else if !path.is_ascii() {
        "only ASCII addresses are taken"
    } else {
        "an address looks like name@example.org"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rcpt(path: &str) -> Result<String, String> {
        recipient(path.as_bytes(), "mx.test")
            .map(String::from)
            .map_err(|r| r.to_string()[..9].to_owned())
    }

    #[test]
    fn abuse_smtp_03_roundabout_recipients_are_refused() {
        assert_eq!(rcpt("@evil.test:bob@acme.test"), Err("550 5.7.1".into()));
        assert_eq!(rcpt("bob%evil.test@acme.test"), Err("550 5.7.1".into()));
        assert_eq!(rcpt("\"bob@evil.test\"@acme.test"), Err("550 5.1.3".into()));
        assert_eq!(rcpt("bob@evil.test@acme.test"), Err("550 5.1.3".into()));
        assert_eq!(rcpt("bob"), Err("550 5.1.3".into()));
        assert_eq!(rcpt("bob=evil.test@acme.test"), Ok("bob=evil.test@acme.test".into()));
        assert_eq!(rcpt("o'neil+x@Acme.test"), Ok("o'neil+x@acme.test".into()));
    }
}
