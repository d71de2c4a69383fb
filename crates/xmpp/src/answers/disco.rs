//! Service discovery (XEP-0030): what the bridge and its contacts are and can do.

use super::{Answer, Answering, Request, commands};
use crate::{ns, stanza::error::StanzaError, xml::Xml};

/// What both the bridge and its contacts answer to.
const COMMON: [&str; 8] = [
    ns::DISCO_INFO,
    ns::DISCO_ITEMS,
    ns::COMMANDS,
    ns::OOB,
    ns::PING,
    ns::RECEIPTS,
    ns::VCARD,
    ns::VERSION,
];

/// Section 3.1.
pub(super) async fn info(request: &Request<'_>) -> Answer {
    let answering = request.answering().await?;
    let node = request.payload.attr("node").unwrap_or_default();
    // XEP-0050 section 2: each command is a node of its own.
    let (identity, features): ([&str; 3], Vec<&str>) = match (&answering, node) {
        (Answering::Bridge, "") => {
            (["gateway", "smtp", "Email"], COMMON.into_iter().chain([ns::GATEWAY]).collect())
        }
        (Answering::Contact { name, .. }, "") => (["account", "registered", name], COMMON.to_vec()),
        (_, ns::COMMANDS) => (["automation", "command-list", "Commands"], vec![ns::COMMANDS]),
        (_, node) => match commands::title(node) {
            Some(title) => (["automation", "command-node", title], vec![ns::COMMANDS, ns::FORMS]),
            None => return Err(StanzaError::item_not_found("There is no such node.")),
        },
    };
    Ok(Xml::build(|xml| {
        xml.element("query", &[("xmlns", ns::DISCO_INFO), ("node", node)], |xml| {
            let [category, kind, name] = identity;
            xml.empty("identity", &[("category", category), ("type", kind), ("name", name)]);
            for feature in features {
                xml.empty("feature", &[("var", feature)]);
            }
        });
    }))
}

/// Section 4.1. The people behind a bridge are not listed to anybody.
pub(super) async fn items(request: &Request<'_>) -> Answer {
    request.answering().await?;
    let node = request.payload.attr("node").unwrap_or_default();
    if !matches!(node, "" | ns::COMMANDS) && commands::title(node).is_none() {
        return Err(StanzaError::item_not_found("There is no such node."));
    }
    let jid = request.own_jid();
    Ok(Xml::build(|xml| {
        xml.element("query", &[("xmlns", ns::DISCO_ITEMS), ("node", node)], |xml| {
            if node == ns::COMMANDS {
                for (node, title) in commands::LIST {
                    xml.empty("item", &[("jid", &jid), ("node", node), ("name", title)]);
                }
            }
        });
    }))
}
