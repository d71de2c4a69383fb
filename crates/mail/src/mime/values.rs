//! Header values decoded: addresses, message ids, dates and unstructured text.

use isthmus_domain::{address::Email, clock::Millis};
use mail_parser::{Addr, Address, DateTime, HeaderValue, parsers::MessageStream};

use super::model::Mailbox;

/// Addresses kept of one field; RFC 5321 section 4.5.3.1.8 has servers take 100 recipients.
const MAX_ADDRESSES: usize = 1_000;

/// Unstructured text (RFC 5322 section 2.2.1) with its encoded words (RFC 2047) decoded.
pub(crate) fn text(value: &[u8]) -> String {
    let decoded = match MessageStream::new(value).parse_unstructured() {
        HeaderValue::Text(t) => one_line(&t),
        HeaderValue::TextList(list) => one_line(&list.join(" ")),
        _ => String::new(),
    };
    decoded.trim().to_owned()
}

/// The value as it stands, unfolded, without decoding; for tokens such as Auto-Submitted.
pub(crate) fn token(value: &[u8]) -> String {
    one_line(&String::from_utf8_lossy(value)).trim().to_owned()
}

/// The word before the first `;` or blank, in lower case.
pub(crate) fn keyword(value: &[u8]) -> String {
    let token = token(value);
    let end = token.find([';', ' ', '\t', '(']).unwrap_or(token.len());
    token[..end].to_ascii_lowercase()
}

/// Message ids without angle brackets, at most `most`, those that cannot be one left out.
pub(crate) fn ids(value: &[u8], most: usize) -> Vec<String> {
    let list = match MessageStream::new(value).parse_id() {
        HeaderValue::Text(t) => vec![t],
        HeaderValue::TextList(list) => list,
        _ => Vec::new(),
    };
    let mut out: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for id in list {
        let id: String = id.chars().filter(|c| !c.is_whitespace()).collect();
        if is_id(&id) && seen.insert(id.clone()) {
            out.push(id);
        }
        if out.len() == most {
            break;
        }
    }
    out
}

/// Whether a text can stand between angle brackets as a message id.
pub(crate) fn is_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 900
        && id.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
}

/// The mailboxes of an address field, and how many addresses it named in all.
pub(crate) fn mailboxes(value: &[u8]) -> (Vec<Mailbox>, usize) {
    let (mut out, mut named) = (Vec::new(), 0);
    let mut take = |addr: &Addr<'_>| {
        if addr.address.is_some() || addr.name.is_some() {
            named += 1;
        }
        if out.len() < MAX_ADDRESSES
            && let Some(mailbox) = mailbox(addr)
        {
            out.push(mailbox);
        }
    };
    match MessageStream::new(value).parse_address() {
        HeaderValue::Address(Address::List(list)) => list.iter().for_each(&mut take),
        HeaderValue::Address(Address::Group(groups)) => {
            groups.iter().flat_map(|g| &g.addresses).for_each(&mut take);
        }
        _ => {}
    }
    (out, named)
}

fn mailbox(addr: &Addr<'_>) -> Option<Mailbox> {
    let address = addr.address.as_deref()?;
    let email = match Email::parse(address) {
        Ok(email) => email,
        // A mail system that writes its own name without a domain means no other one; under
        // .invalid (RFC 2606 section 2) it can be shown, and is never anybody's.
        Err(_) if !address.contains('@') => {
            Email::parse(&format!("{}@unqualified.invalid", address.trim())).ok()?
        }
        Err(_) => return None,
    };
    let name =
        addr.name.as_deref().map(|n| one_line(n).trim().to_owned()).filter(|n| !n.is_empty());
    Some(Mailbox { name, email })
}

/// A date (RFC 5322 section 3.3), `None` if it names no real instant.
pub(crate) fn date(value: &[u8]) -> Option<Millis> {
    match MessageStream::new(value).parse_date() {
        HeaderValue::DateTime(d) => instant(&d),
        _ => None,
    }
}

/// The same of a text found in a body.
pub(crate) fn date_in_text(text: &str) -> Option<Millis> {
    DateTime::parse_rfc822(text.trim()).as_ref().and_then(instant)
}

fn instant(d: &DateTime) -> Option<Millis> {
    (d.is_valid() && d.year >= 1970).then(|| Millis(d.to_timestamp().saturating_mul(1_000)))
}

/// Whether a character changes the direction or order of text around it (UAX 9): it can make
/// a name or file name read as another one.
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character must not be passed on: control characters, and the two that neither XML
/// (1.0 section 2.2) nor Unicode knows.
pub(crate) fn is_forbidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// Line breaks become spaces; control characters and direction overrides go.
pub(crate) fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\u{2028}' | '\u{2029}' => out.push(' '),
            c if is_forbidden(c) || is_bidi_control(c) => {}
            c => out.push(c),
        }
    }
    out
}
