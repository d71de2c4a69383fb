//! Presence stanzas (RFC 6121 sections 3 and 4): users who subscribe to contacts, and the
//! answers of those whom the bridge watches.

use std::sync::Arc;

use isthmus_domain::address::ImAddress;
use minidom::Element;
use tokio::time::Instant;

use crate::{
    jid::{Jid, Target},
    link::Link,
    lock, ns,
    roster::{Ask, News},
    stream::Out,
    xml::Xml,
};

/// Takes in one `<presence/>` from a user or a server.
pub(crate) async fn handle(link: &Arc<Link>, out: &Out, stanza: &Element, from: &Jid, to: &Jid) {
    let target = link.target(to);
    let kind = stanza.attr("type").unwrap_or_default();
    match kind {
        "subscribe" | "probe" => {
            if let Some(permit) = link.busy_with_presence().await {
                let (link, out, kind) = (Arc::clone(link), out.clone(), kind.to_owned());
                let (from, to) = (from.clone(), to.clone());
                link.shared.tasks.clone().spawn(async move {
                    answer(&link, &out, &kind, &from, &to).await;
                    drop(permit);
                });
            }
        }
        "unsubscribe" => {
            let (own, their) = (to.bare(), from.bare());
            out.push(presence("unsubscribed", &own, &their)).await;
            out.push(presence("unavailable", &own, &their)).await;
        }
        // What contacts hear of others is nobody's business: only the bridge itself watches.
        _ if target == Target::Bridge => watched(link, out, stanza, from).await,
        _ => {}
    }
}

/// Somebody wants a contact in their list (XEP-0100 section 4.2), or asks whether it is there.
async fn answer(link: &Link, out: &Out, kind: &str, from: &Jid, to: &Jid) {
    let (own, their) = (to.bare(), from.bare());
    let name = match link.target(to) {
        Target::Bridge => Some("Email".to_owned()),
        Target::Nobody => None,
        Target::Contact(email) => match link.name_of(&email, from).await {
            Ok(name) => name,
            // No answer is better than a wrong one; servers ask again.
            Err(crate::link::Busy) => return,
        },
    };
    let Some(name) = name else {
        return out.push(presence("unsubscribed", &own, &their)).await;
    };
    if kind == "subscribe" {
        out.push(presence("subscribed", &own, &their)).await;
    }
    // A probe comes from a server, whose user has any number of clients.
    out.push(Xml::build(|xml| {
        xml.element("presence", &[("from", &own), ("to", &their)], |xml| {
            xml.leaf("nick", &[("xmlns", ns::NICK)], &name);
        });
    }))
    .await;
}

async fn watched(link: &Link, out: &Out, stanza: &Element, from: &Jid) {
    let news = match stanza.attr("type") {
        None if priority(stanza) < 0 => News::Unavailable,
        None => News::Available,
        Some("unavailable") => News::Unavailable,
        Some("subscribed") => News::Subscribed,
        Some("unsubscribed") => News::Unsubscribed,
        Some("error") => News::Error,
        Some(_) => return,
    };
    let Some(who) = from.im() else { return };
    let (ask, changed) = {
        let mut roster = lock(&link.roster);
        let ask = roster.news(&who, from.resource.as_deref(), news, Instant::now());
        (ask, roster.has_changes())
    };
    if changed || ask.is_some() {
        link.roster_changed.notify_one();
    }
    if let Some(ask) = ask {
        out.push(ask_for(link, ask, &who)).await;
    }
}

fn priority(stanza: &Element) -> i32 {
    let priority = stanza.get_child("priority", ns::COMPONENT);
    priority.and_then(|p| p.text().trim().parse().ok()).unwrap_or(0)
}

/// The stanza that asks for `who`'s subscription or presence.
pub(crate) fn ask_for(link: &Link, ask: Ask, who: &ImAddress) -> String {
    match ask {
        Ask::Probe => presence("probe", &link.domain, who.address()),
        Ask::Subscribe => {
            let reason = lock(&link.roster).reason(who);
            Xml::build(|xml| {
                let attributes =
                    [("type", "subscribe"), ("from", link.domain.as_str()), ("to", who.address())];
                xml.element("presence", &attributes, |xml| {
                    if !reason.is_empty() {
                        xml.leaf("status", &[], &reason);
                    }
                });
            })
        }
    }
}

/// A presence stanza without content.
pub(crate) fn presence(kind: &'static str, from: &str, to: &str) -> String {
    Xml::build(|xml| xml.empty("presence", &[("type", kind), ("from", from), ("to", to)]))
}
