//! Business cards (XEP-0054), from which clients take a contact's name.

use super::{Answer, Answering, Request};
use crate::{ns, xml::Xml};

pub(super) async fn card(request: &Request<'_>) -> Answer {
    let answering = request.answering().await?;
    Ok(Xml::build(|xml| {
        xml.element("vCard", &[("xmlns", ns::VCARD)], |xml| match &answering {
            Answering::Bridge => {
                xml.leaf("FN", &[], "Email");
                xml.leaf("DESC", &[], "Connects chat with email.");
            }
            Answering::Contact { email, name } => {
                xml.leaf("FN", &[], name);
                xml.leaf("NICKNAME", &[], name);
                xml.element("EMAIL", &[], |xml| {
                    xml.empty("INTERNET", &[]);
                    xml.leaf("USERID", &[], email.as_str());
                });
            }
        });
    }))
}
