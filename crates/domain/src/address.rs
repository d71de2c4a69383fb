//! Addresses of both media, and how each is written as the other on a bridge domain.

use serde::{Deserialize, Serialize};

/// What is wrong with an address, in words for the person who typed it.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum BadAddress {
    /// Not of the form `local@domain`.
    #[error("an email address looks like name@example.org")]
    NotAnEmail,
    /// Control characters, spaces or quotes that we do not carry.
    #[error("the address contains a character that is not allowed in it")]
    Character,
    /// Longer than RFC 5321 section 4.5.3.1 allows.
    #[error("the address is too long: 64 octets before the @, 255 after it")]
    TooLong,
    /// Not of the form `network:address`.
    #[error("an IM address looks like xmpp:name@example.org or web:name@example.org")]
    NotAnIm,
}

/// An email address: the domain in lower case, the local part as it was written.
///
/// Two addresses are equal when they differ in case only: no mail system in use tells
/// `Bob@` from `bob@`, and treating them as two people would split conversations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email {
    text: std::sync::Arc<str>,
    at: usize,
}

impl Email {
    /// Reads an address without display name or angle brackets.
    ///
    /// # Errors
    /// Says what is wrong with the text; quoted local parts are refused.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let text = text.trim();
        let at = text.rfind('@').ok_or(BadAddress::NotAnEmail)?;
        let (local, domain) = (&text[..at], &text[at + 1..]);
        if local.is_empty() || domain.is_empty() {
            return Err(BadAddress::NotAnEmail);
        }
        if local.len() > 64 || domain.len() > 255 {
            return Err(BadAddress::TooLong);
        }
        // RFC 5321 section 4.1.2, Dot-string: atext and dots.
        let local_ok = local
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.\\".contains(&b));
        if !local_ok {
            return Err(BadAddress::Character);
        }
        let domain_ok = !domain.starts_with(['.', '-'])
            && !domain.ends_with(['.', '-'])
            && !domain.contains("..")
            && domain.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        if !domain_ok {
            return Err(BadAddress::Character);
        }
        Ok(Self { text: format!("{local}@{}", domain.to_ascii_lowercase()).into(), at })
    }

    /// What stands before the `@`, as written.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.text[..self.at]
    }

    /// What stands after the `@`, in lower case.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.text[self.at + 1..]
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The form by which addresses are compared and stored for look-up.
    #[must_use]
    pub fn key(&self) -> String {
        self.text.to_ascii_lowercase()
    }
}

impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        self.text.eq_ignore_ascii_case(&other.text)
    }
}
impl Eq for Email {}
impl std::hash::Hash for Email {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
impl PartialOrd for Email {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Email {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}
impl std::fmt::Display for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
impl TryFrom<String> for Email {
    type Error = BadAddress;
    fn try_from(text: String) -> Result<Self, BadAddress> {
        Self::parse(&text)
    }
}
impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.text.as_ref().to_owned()
    }
}

/// An IM address: the network that carries it, and a bare address on that network.
///
/// Written `xmpp:bob@chat.test` or `web:bob@acme.test`; compared without regard to case,
/// as XMPP addresses are prepared (RFC 7622 section 3.3.1) and web ones are email addresses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImAddress {
    text: std::sync::Arc<str>,
    colon: usize,
}

impl ImAddress {
    /// Reads `network:address`; a resource (`/phone`) is cut off.
    ///
    /// # Errors
    /// Says what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, BadAddress> {
        let text = text.trim();
        let (network, address) = text.split_once(':').ok_or(BadAddress::NotAnIm)?;
        if network.is_empty() || !network.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(BadAddress::NotAnIm);
        }
        let bare = address.split('/').next().unwrap_or(address);
        let (local, domain) = bare.split_once('@').ok_or(BadAddress::NotAnIm)?;
        if local.is_empty() || domain.is_empty() || domain.contains('@') {
            return Err(BadAddress::NotAnIm);
        }
        if bare.len() > 1023 {
            return Err(BadAddress::TooLong);
        }
        // RFC 7622 section 3.3.1 forbids these in a localpart, and control characters anywhere.
        if local.contains(['"', '&', '\'', '/', ':', '<', '>', ' '])
            || bare.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(BadAddress::Character);
        }
        Ok(Self { text: format!("{network}:{}", bare.to_lowercase()).into(), colon: network.len() })
    }

    /// The network's name, `xmpp` or `web`.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.text[..self.colon]
    }

    /// The address on that network, `bob@chat.test`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// `xmpp:bob@chat.test`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Display for ImAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}
impl TryFrom<String> for ImAddress {
    type Error = BadAddress;
    fn try_from(text: String) -> Result<Self, BadAddress> {
        Self::parse(&text)
    }
}
impl From<ImAddress> for String {
    fn from(im: ImAddress) -> Self {
        im.text.as_ref().to_owned()
    }
}

/// What the local part of an address on a bridge domain stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BridgeLocal {
    /// `im@`: forwarded mails with the answer on top.
    Forward,
    /// `bob=acme.test@`: that person, as an instant message.
    Person(Email),
    /// `r-TOKEN@`: one conversation, for one participant.
    Reply(String),
    /// `a-NAME@`: a short alias for a person whose address does not fit 64 octets.
    Alias(String),
    /// `d-TOKEN+retry@` and the like: an answer to a delivery question by mail.
    Decision {
        /// The question's token.
        token: String,
        /// `retry`, `abort` or `email`.
        action: String,
    },
    /// Where bounces of our own mail come back to, `b-TOKEN@`.
    Bounce(String),
}

/// Reads the local part of a mail address on a bridge domain; `None` if it means nothing there.
#[must_use]
pub fn read_bridge_local(local: &str) -> Option<BridgeLocal> {
    let lower = local.to_ascii_lowercase();
    if lower == "im" {
        return Some(BridgeLocal::Forward);
    }
    let token_ok =
        |t: &str| !t.is_empty() && t.len() <= 40 && t.bytes().all(|b| b.is_ascii_alphanumeric());
    if let Some(token) = lower.strip_prefix("r-")
        && token_ok(token)
    {
        return Some(BridgeLocal::Reply(token.to_owned()));
    }
    if let Some(token) = lower.strip_prefix("b-")
        && token_ok(token)
    {
        return Some(BridgeLocal::Bounce(token.to_owned()));
    }
    if let Some(token) = lower.strip_prefix("a-")
        && token_ok(token)
    {
        return Some(BridgeLocal::Alias(token.to_owned()));
    }
    if let Some((token, action)) = lower.strip_prefix("d-").and_then(|r| r.split_once('+'))
        && token_ok(token)
        && matches!(action, "retry" | "abort" | "email" | "allow")
    {
        return Some(BridgeLocal::Decision { token: token.to_owned(), action: action.to_owned() });
    }
    let (name, domain) = local.rsplit_once('=')?;
    Email::parse(&format!("{name}@{domain}")).ok().map(BridgeLocal::Person)
}

/// The local part that stands for `email` on a bridge domain, `bob=acme.test`, if it fits 64 octets.
#[must_use]
pub fn bridge_local(email: &Email) -> Option<String> {
    let local = format!("{}={}", email.local(), email.domain());
    (local.len() <= 64).then_some(local)
}

/// The name of the short alias `a-NAME@` of `email` on a bridge domain: always the same one, for
/// an address whose own form does not fit 64 octets (RFC 5321 section 4.5.3.1.1).
#[must_use]
pub fn alias_name(tenant: &str, email: &Email) -> String {
    use sha2::Digest;
    // Without the letters that are read for one another.
    const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let mut hash = sha2::Sha256::new();
    hash.update((tenant.len() as u64).to_be_bytes());
    hash.update(tenant);
    hash.update(email.key());
    let digest = hash.finalize();
    let letter = |i: usize| {
        let (byte, bit) = (i * 5 / 8, i * 5 % 8);
        let two = u16::from(digest[byte]) << 8 | u16::from(digest[byte + 1]);
        char::from(LETTERS[usize::from(two >> (11 - bit) & 31)])
    };
    // 120 bits.
    (0..24).map(letter).collect()
}

/// The local part under which `email` is written to on a bridge domain: `bob=acme.test`, or its alias.
#[must_use]
pub fn bridge_local_or_alias(tenant: &str, email: &Email) -> String {
    bridge_local(email).unwrap_or_else(|| format!("a-{}", alias_name(tenant, email)))
}

/// Escapes a text for the localpart of a JID (XEP-0106 section 4.2).
#[must_use]
pub fn jid_escape(text: &str) -> String {
    const CODES: [&str; 10] = ["20", "22", "26", "27", "2f", "3a", "3c", "3e", "40", "5c"];
    let mut out = String::with_capacity(text.len() + 6);
    for (i, c) in text.char_indices() {
        match c {
            ' ' => out.push_str("\\20"),
            '"' => out.push_str("\\22"),
            '&' => out.push_str("\\26"),
            '\'' => out.push_str("\\27"),
            '/' => out.push_str("\\2f"),
            ':' => out.push_str("\\3a"),
            '<' => out.push_str("\\3c"),
            '>' => out.push_str("\\3e"),
            '@' => out.push_str("\\40"),
            // Section 4.2: a backslash is escaped only where it would read as an escape.
            '\\' if text
                .get(i + 1..i + 3)
                .is_some_and(|n| CODES.contains(&n.to_ascii_lowercase().as_str())) =>
            {
                out.push_str("\\5c");
            }
            c => out.push(c),
        }
    }
    out
}

/// Undoes [`jid_escape`] (XEP-0106 section 4.3).
#[must_use]
pub fn jid_unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(i) = rest.find('\\') {
        out.push_str(&rest[..i]);
        let plain = match rest.get(i + 1..i + 3).map(str::to_ascii_lowercase).as_deref() {
            Some("20") => Some(' '),
            Some("22") => Some('"'),
            Some("26") => Some('&'),
            Some("27") => Some('\''),
            Some("2f") => Some('/'),
            Some("3a") => Some(':'),
            Some("3c") => Some('<'),
            Some("3e") => Some('>'),
            Some("40") => Some('@'),
            Some("5c") => Some('\\'),
            _ => None,
        };
        if let Some(c) = plain {
            out.push(c);
            rest = &rest[i + 3..];
        } else {
            out.push('\\');
            rest = &rest[i + 1..];
        }
    }
    out.push_str(rest);
    out
}

/// The localpart of the bridge contact for `email`: `bob\40acme.test`.
#[must_use]
pub fn jid_local(email: &Email) -> String {
    jid_escape(&email.key())
}

/// The person behind the localpart of a bridge contact, if it is one.
#[must_use]
pub fn read_jid_local(local: &str) -> Option<Email> {
    Email::parse(&jid_unescape(local)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bridge_addresses_are_read_as_the_contract_writes_them() {
        assert_eq!(read_bridge_local("im"), Some(BridgeLocal::Forward));
        assert_eq!(
            read_bridge_local("bob=acme.test"),
            Some(BridgeLocal::Person(Email::parse("bob@acme.test").expect("valid")))
        );
        assert_eq!(read_bridge_local("r-0abc"), Some(BridgeLocal::Reply("0abc".into())));
        assert_eq!(
            read_bridge_local("d-0abc+email"),
            Some(BridgeLocal::Decision { token: "0abc".into(), action: "email".into() })
        );
        assert_eq!(read_bridge_local("nobody"), None);
    }

    #[test]
    fn an_address_that_does_not_fit_has_a_short_alias_that_stays() {
        let long = Email::parse(&format!("{}@acme.test", "b".repeat(60))).expect("valid");
        let local = bridge_local_or_alias("ten_1", &long);
        assert_eq!(read_bridge_local(&local), Some(BridgeLocal::Alias(alias_name("ten_1", &long))));
        let upper = Email::parse(&long.as_str().to_uppercase()).expect("valid");
        assert_eq!(alias_name("ten_1", &upper), alias_name("ten_1", &long));
        assert_ne!(alias_name("ten_2", &long), alias_name("ten_1", &long));
        let bob = Email::parse("bob@acme.test").expect("valid");
        assert_eq!(bridge_local_or_alias("ten_1", &bob), "bob=acme.test");
    }

    #[test]
    fn an_apostrophe_is_escaped() {
        let email = Email::parse("o'neil@acme.test").expect("valid");
        assert_eq!(jid_local(&email), "o\\27neil\\40acme.test");
        assert_eq!(read_jid_local("o\\27neil\\40acme.test"), Some(email));
    }

    #[test]
    fn addresses_with_line_breaks_are_refused() {
        for bad in
            ["a\r\nb@x.test", "a@x.test\r\nRCPT", "a\0@x.test", "a b@x.test", "@x.test", "a@"]
        {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn jid_escaping_is_reversible(text in "[a-z@/'&<>\" :\\\\0-9]{0,40}") {
            prop_assert_eq!(jid_unescape(&jid_escape(&text)), text);
        }

        #[test]
        fn every_email_survives_both_bridges(local in "[a-z0-9.+=_-]{1,20}", domain in "[a-z0-9]{1,10}\\.[a-z]{2,5}") {
            let email = Email::parse(&format!("{local}@{domain}")).expect("generated to be valid");
            let bridge = bridge_local(&email).expect("short enough");
            // Names that collide with the reserved prefixes are reached through an alias.
            if let Some(BridgeLocal::Person(back)) = read_bridge_local(&bridge) {
                prop_assert_eq!(&back, &email);
            }
            prop_assert_eq!(read_jid_local(&jid_local(&email)), Some(email));
        }
    }
}
