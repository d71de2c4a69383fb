//! Stanza errors (RFC 6120 section 8.3), sent and received.

use minidom::Element;

use crate::{ns, xml::Xml};

/// Characters of a peer's error text that are kept.
const TEXT_MAX: usize = 300;

/// An error to answer a stanza with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StanzaError {
    /// `cancel`, `modify`, `wait` or `auth`.
    kind: &'static str,
    condition: &'static str,
    text: String,
    /// An application condition: element and namespace.
    detail: Option<(&'static str, &'static str)>,
}

impl StanzaError {
    fn new(kind: &'static str, condition: &'static str, text: impl Into<String>) -> Self {
        Self { kind, condition, text: text.into(), detail: None }
    }

    /// Nothing here answers such a request.
    pub(crate) fn service_unavailable() -> Self {
        Self::new("cancel", "service-unavailable", "")
    }

    /// There is no such person, command or node.
    pub(crate) fn item_not_found(text: &str) -> Self {
        Self::new("cancel", "item-not-found", text)
    }

    /// The request makes no sense as it is.
    pub(crate) fn bad_request(text: &str) -> Self {
        Self::new("modify", "bad-request", text)
    }

    /// What was typed cannot be used.
    pub(crate) fn not_acceptable(text: impl Into<String>) -> Self {
        Self::new("modify", "not-acceptable", text)
    }

    /// Too large.
    pub(crate) fn policy_violation(text: &str) -> Self {
        Self::new("modify", "policy-violation", text)
    }

    /// Too much at once: ask again.
    pub(crate) fn resource_constraint(text: &str) -> Self {
        Self::new("wait", "resource-constraint", text)
    }

    /// A command session that is over or was never there (XEP-0050 section 4.1).
    pub(crate) fn session_expired() -> Self {
        let text = "This form has expired. Please open the command again.";
        let detail = Some(("session-expired", ns::COMMANDS));
        Self { detail, ..Self::new("cancel", "not-allowed", text) }
    }

    /// Writes the `<error/>`.
    pub(crate) fn write(&self, xml: &mut Xml) {
        xml.element("error", &[("type", self.kind)], |xml| {
            xml.empty(self.condition, &[("xmlns", ns::STANZA_ERRORS)]);
            if !self.text.is_empty() {
                xml.leaf("text", &[("xmlns", ns::STANZA_ERRORS), ("xml:lang", "en")], &self.text);
            }
            if let Some((name, namespace)) = self.detail {
                xml.empty(name, &[("xmlns", namespace)]);
            }
        });
    }

    /// The whole answer to a stanza named `stanza`.
    pub(crate) fn answer(&self, stanza: &'static str, id: &str, from: &str, to: &str) -> String {
        Xml::build(|xml| {
            let attributes = [("type", "error"), ("id", id), ("from", from), ("to", to)];
            xml.element(stanza, &attributes, |xml| self.write(xml));
        })
    }
}

/// What a peer's `<error/>` says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadError {
    /// Worth trying again.
    pub(crate) temporary: bool,
    /// Condition and text, for people.
    pub(crate) reason: String,
}

/// Reads the error inside `stanza`; one without a condition is taken as permanent.
pub(crate) fn read(stanza: &Element) -> ReadError {
    let Some(error) = stanza.children().find(|c| c.name() == "error") else {
        return ReadError { temporary: false, reason: "refused without a reason".to_owned() };
    };
    let in_namespace = || error.children().filter(|c| c.has_ns(ns::STANZA_ERRORS));
    let condition = in_namespace().find(|c| c.name() != "text").map_or("unknown", Element::name);
    let text = in_namespace().find(|c| c.name() == "text").map(Element::text).unwrap_or_default();
    let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect();
    // `service-unavailable` is also how servers say "offline, and nothing is stored here"
    // (RFC 6121 section 8.5.2.2), so it must not end a delivery for good.
    let temporary = error.attr("type") == Some("wait")
        || matches!(
            condition,
            "remote-server-timeout"
                | "recipient-unavailable"
                | "resource-constraint"
                | "internal-server-error"
                | "service-unavailable"
        );
    let condition: String = condition.chars().take(60).collect();
    let reason =
        if text.trim().is_empty() { condition } else { format!("{condition}: {}", text.trim()) };
    ReadError { temporary, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(kind: &str, inside: &str) -> ReadError {
        let xml = format!(
            "<message xmlns='jabber:component:accept'><error type='{kind}'>{inside}</error></message>"
        );
        read(&xml.parse().expect("well formed"))
    }

    #[test]
    fn conditions_say_whether_trying_again_makes_sense() {
        let condition = |name| format!("<{name} xmlns='{}'/>", ns::STANZA_ERRORS);
        assert!(parse("wait", &condition("not-allowed")).temporary);
        assert!(parse("cancel", &condition("service-unavailable")).temporary);
        assert!(!parse("cancel", &condition("item-not-found")).temporary);
        assert!(!parse("auth", "").temporary);
        let text =
            format!("{}<text xmlns='{}'>No \nbody</text>", condition("gone"), ns::STANZA_ERRORS);
        assert_eq!(parse("cancel", &text).reason, "gone: No body");
    }
}
