//! Addresses as the server writes them in `from` and `to` (RFC 7622).

use isthmus_domain::address::{BridgeLocal, Email, ImAddress, read_bridge_local, read_jid_local};

/// An address in its three parts. The server has prepared it; it is only taken apart here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Jid {
    /// Before the `@`.
    pub(crate) local: Option<String>,
    /// The server, in lower case.
    pub(crate) domain: String,
    /// After the `/`: one client of a user.
    pub(crate) resource: Option<String>,
}

impl Jid {
    /// Takes `local@domain/resource` apart; `None` if it has no domain or is longer than
    /// RFC 7622 section 3.1 allows.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > 3071 {
            return None;
        }
        // The first slash ends the bare address: a resource may hold `@` and `/` itself.
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource.to_owned())),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local.to_owned()), domain),
            None => (None, bare),
        };
        let bad = domain.is_empty()
            || domain.contains(['@', '<', '>', '"', '\'', '&'])
            || local.as_deref() == Some("")
            || resource.as_deref() == Some("");
        (!bad).then(|| Self { local, domain: domain.to_lowercase(), resource })
    }

    /// Without the resource.
    pub(crate) fn bare(&self) -> String {
        match &self.local {
            Some(local) => format!("{local}@{}", self.domain),
            None => self.domain.clone(),
        }
    }

    /// As an IM address; `None` for a server.
    pub(crate) fn im(&self) -> Option<ImAddress> {
        self.local.as_ref()?;
        ImAddress::parse(&format!("xmpp:{}", self.bare())).ok()
    }

    /// The name of the short alias that it is on a bridge domain.
    pub(crate) fn alias(&self) -> Option<String> {
        match read_bridge_local(self.local.as_deref()?)? {
            BridgeLocal::Alias(name) => Some(name),
            _ => None,
        }
    }

    /// Whom it addresses on a bridge domain, unless it is an alias.
    pub(crate) fn target(&self) -> Target {
        match &self.local {
            None => Target::Bridge,
            Some(local) => read_jid_local(local).map_or(Target::Nobody, Target::Contact),
        }
    }
}

/// Who is meant by an address on a bridge domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The bridge itself.
    Bridge,
    /// The person behind an email address.
    Contact(Email),
    /// Nothing that could be an email address.
    Nobody,
}

impl Target {
    /// The person, if it is one.
    pub(crate) fn email(&self) -> Option<Email> {
        match self {
            Self::Contact(email) => Some(email.clone()),
            Self::Bridge | Self::Nobody => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found_and_resources_may_hold_anything() {
        let jid = Jid::parse("Bob@Chat.Test/a/b@c").expect("an address");
        assert_eq!(
            (jid.bare().as_str(), jid.resource.as_deref()),
            ("Bob@chat.test", Some("a/b@c"))
        );
        assert_eq!(jid.im().expect("a user").as_str(), "xmpp:bob@chat.test");
        assert_eq!(Jid::parse("chat.test").expect("a server").im(), None);
        for bad in ["", "@x", "a@", "a@/r", "a@b@c", "x/"] {
            assert_eq!(Jid::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn contacts_are_read_from_escaped_localparts() {
        let target = |text| Jid::parse(text).expect("an address").target();
        assert_eq!(target("bridge.acme.test"), Target::Bridge);
        assert_eq!(target("nobody@bridge.acme.test"), Target::Nobody);
        assert_eq!(
            target("o\\27neil\\40acme.test@bridge.acme.test"),
            Target::Contact(Email::parse("o'neil@acme.test").expect("valid"))
        );
    }
}
