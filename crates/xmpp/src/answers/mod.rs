//! Answers to requests (`<iq/>`, RFC 6120 section 8.2.3): every one gets exactly one.

mod commands;
mod disco;
mod gateway;
mod vcard;

use std::sync::Arc;

use isthmus_domain::address::Email;
use minidom::Element;

pub(crate) use commands::Sessions;

use crate::{
    jid::{Jid, Target},
    link::{Busy, Link},
    ns,
    stanza::{error::StanzaError, message_out::contact_jid},
    xml::Xml,
};

/// The inside of a result, or the error.
type Answer = Result<String, StanzaError>;

/// A request as the answers see it.
pub(crate) struct Request<'a> {
    pub(crate) link: &'a Arc<Link>,
    /// Whether it asks (`get`) or tells (`set`).
    pub(crate) kind: Kind,
    /// The element inside.
    pub(crate) payload: &'a Element,
    /// Who asks.
    pub(crate) from: &'a Jid,
    /// Who is asked.
    pub(crate) to: Target,
}

/// RFC 6120 section 8.2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `get`.
    Get,
    /// `set`.
    Set,
}

/// Who answers, once it is known that they exist.
enum Answering {
    Bridge,
    Contact { email: Email, name: String },
}

/// Answers one `get` or `set`; `iq` is the whole stanza.
pub(crate) async fn answer(
    link: &Arc<Link>,
    iq: &Element,
    kind: Kind,
    from: &Jid,
    to: &Jid,
) -> String {
    let answer = match iq.children().next() {
        Some(payload) => route(&Request { link, kind, payload, from, to: link.target(to) }).await,
        None => Err(StanzaError::bad_request("The request is empty.")),
    };
    let id = iq.attr("id").unwrap_or_default();
    let (from, to) = (iq.attr("to").unwrap_or_default(), iq.attr("from").unwrap_or_default());
    match answer {
        Err(error) => error.answer("iq", id, from, to),
        Ok(inside) => Xml::build(|xml| {
            let attributes = [("type", "result"), ("id", id), ("from", from), ("to", to)];
            xml.element("iq", &attributes, |xml| xml.raw(&inside));
        }),
    }
}

async fn route(request: &Request<'_>) -> Answer {
    let payload = request.payload;
    match (request.kind, payload.name(), payload.ns().as_str()) {
        (Kind::Get, "ping", ns::PING) => Ok(String::new()),
        (Kind::Get, "query", ns::DISCO_INFO) => disco::info(request).await,
        (Kind::Get, "query", ns::DISCO_ITEMS) => disco::items(request).await,
        (Kind::Get, "query", ns::VERSION) => Ok(version()),
        (Kind::Get, "vCard", ns::VCARD) => vcard::card(request).await,
        (_, "query", ns::GATEWAY) => gateway::answer(request),
        (Kind::Set, "command", ns::COMMANDS) => commands::run(request).await,
        _ => Err(StanzaError::service_unavailable()),
    }
}

/// XEP-0092 section 3; the operating system is nobody's business.
fn version() -> String {
    Xml::build(|xml| {
        xml.element("query", &[("xmlns", ns::VERSION)], |xml| {
            xml.leaf("name", &[], "Isthmus");
            xml.leaf("version", &[], env!("CARGO_PKG_VERSION"));
        });
    })
}

impl Request<'_> {
    /// The address that was asked, without a resource.
    fn own_jid(&self) -> String {
        contact_jid(&self.link.domain, self.to.email().as_ref())
    }

    /// Makes sure that whoever is asked exists.
    async fn answering(&self) -> Result<Answering, StanzaError> {
        let nobody = || StanzaError::item_not_found("There is nobody with this address here.");
        match &self.to {
            Target::Bridge => Ok(Answering::Bridge),
            Target::Nobody => Err(nobody()),
            Target::Contact(email) => match self.link.name_of(email, self.from).await {
                Ok(Some(name)) => Ok(Answering::Contact { email: email.clone(), name }),
                Ok(None) => Err(nobody()),
                Err(Busy) => Err(StanzaError::resource_constraint("Please try again in a moment.")),
            },
        }
    }
}
