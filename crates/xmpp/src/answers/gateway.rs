//! Turning a typed email address into a contact's address (XEP-0100 section 6.3).

use isthmus_domain::address::Email;

use super::{Answer, Kind, Request};
use crate::{
    jid::Target,
    ns,
    stanza::{error::StanzaError, message_out::contact_jid},
    xml::Xml,
};

pub(super) fn answer(request: &Request<'_>) -> Answer {
    if request.to != Target::Bridge {
        return Err(StanzaError::service_unavailable());
    }
    if request.kind == Kind::Get {
        return Ok(query(|xml| {
            xml.leaf("desc", &[], "Enter the email address of the person you want to write to.");
            xml.leaf("prompt", &[], "Email address");
        }));
    }
    let typed = request.payload.get_child("prompt", ns::GATEWAY);
    let typed = typed.map(minidom::Element::text).unwrap_or_default();
    let email = Email::parse(&typed).map_err(|bad| StanzaError::not_acceptable(bad.to_string()))?;
    let jid = contact_jid(&request.link.domain, Some(&email));
    Ok(query(|xml| xml.leaf("jid", &[], &jid)))
}

fn query(inside: impl FnOnce(&mut Xml)) -> String {
    Xml::build(|xml| xml.element("query", &[("xmlns", ns::GATEWAY)], inside))
}
