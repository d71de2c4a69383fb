//! People as pages show them: names, addresses, the medium that reaches them, and whether they
//! are there. Of presence only what it is now, never since when.

use isthmus_domain::{
    address::ImAddress,
    delivery::{Choice, Standing},
};
use isthmus_im::Presence;
use isthmus_store::{TenantView, rows};

use super::Shared;
use crate::pages::{
    links::without_marks,
    words::{Action, Medium, Party, Policy},
};

/// The network in front of an IM address.
fn network(im: &str) -> &str {
    im.split_once(':').map_or("chat", |(network, _)| network)
}

/// Somebody by their key, with the name that a message or a participant gives them.
pub(crate) fn party(tenant: &TenantView, key: &str, name: &str) -> Party {
    let name = tenant.name_of(key).unwrap_or(if name == key { "" } else { name });
    let address = key.split_once(':').map_or(key, |(_, address)| address);
    Party { name: name.to_owned(), address: address.to_owned() }
}

/// A list of people as it lies in a message.
pub(crate) fn parties(tenant: &TenantView, list: &str) -> Vec<Party> {
    let all: Vec<serde_json::Value> = serde_json::from_str(list).unwrap_or_default();
    all.iter()
        .map(|v| {
            party(
                tenant,
                v["address"].as_str().unwrap_or_default(),
                v["name"].as_str().unwrap_or_default(),
            )
        })
        .collect()
}

/// Whether a person was From, To or Cc of a message; what is held back was for nobody.
pub(crate) fn was_part_of(message: &rows::Message, person: &str) -> bool {
    let named = |list: &str| {
        let all: Vec<serde_json::Value> = serde_json::from_str(list).unwrap_or_default();
        all.iter().any(|v| v["address"].as_str().is_some_and(|a| a.eq_ignore_ascii_case(person)))
    };
    message.held.is_none()
        && (message.from_person == person || named(&message.to_list) || named(&message.cc_list))
}

/// The IM address at which somebody is reached: verified, or the only name they have.
pub(crate) fn im_address(tenant: &TenantView, key: &str) -> Option<String> {
    if key.contains(':') { Some(key.to_owned()) } else { tenant.im_of(key).map(|m| m.im.clone()) }
}

impl Shared {
    /// Whether somebody is there; `None` without an IM address.
    pub(crate) fn presence(&self, tenant: &TenantView, key: &str) -> Option<Presence> {
        let im = ImAddress::parse(&im_address(tenant, key)?).ok()?;
        let network = self.gateway.networks.get(im.network());
        Some(network.map_or(Presence::Unknown, |n| n.presence(&tenant.tenant.bridge_domain, &im)))
    }
}

/// The medium of a message by a person.
pub(crate) fn medium(tenant: &TenantView, medium: &str, person: &str) -> Medium {
    match medium {
        "email" => Medium::Email,
        _ => Medium::Im(
            im_address(tenant, person)
                .map_or_else(|| "chat".to_owned(), |im| network(&im).to_owned()),
        ),
    }
}

/// The medium of an address, as it lies in a delivery.
pub(crate) fn medium_of_address(medium: &str, address: &str) -> Medium {
    if medium == "email" { Medium::Email } else { Medium::Im(network(address).to_owned()) }
}

/// A choice in the words of the pages.
pub(crate) fn action(choice: Choice) -> Action {
    match choice {
        Choice::Retry => Action::Retry,
        Choice::Abort => Action::Abort,
        Choice::Email => Action::Email,
    }
}

/// A standing policy as it lies in a row.
pub(crate) fn policy(text: Option<&str>) -> Option<Policy> {
    text.and_then(|t| t.parse().ok()).map(|standing| match standing {
        Standing::AtOnce(choice) => Policy::AtOnce(action(choice)),
        Standing::Unanswered(choice) => Policy::Act(action(choice)),
    })
}

/// What happens to a message to this person while they are away: the contact's policy
/// goes before the member's own, and that before the tenant's.
pub(crate) fn policy_for(tenant: &TenantView, member: &rows::Member, person: &str) -> Policy {
    policy(tenant.contact(person).and_then(|c| c.policy.as_deref()))
        .or_else(|| policy(member.policy.as_deref()))
        .or_else(|| policy(tenant.tenant.policy.as_deref()))
        .unwrap_or(Policy::Ask)
}

/// The policy that a form names, as a row keeps it; `None` is none of them.
pub(crate) fn policy_value(value: &str) -> Option<Option<String>> {
    match value {
        "ask" | "default" => Some(None),
        other => other.parse::<Standing>().ok().map(|standing| Some(standing.as_str().to_owned())),
    }
}

/// The beginning of a text, on one line.
pub(crate) fn excerpt(text: &str, chars: usize) -> String {
    let words: String = text.split_whitespace().take(chars).collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(chars) {
        None => words,
        Some((end, _)) => format!("{}…", words[..end].trim_end()),
    }
}

/// The beginning of a message, without the marks that the text of an HTML mail keeps.
pub(crate) fn excerpt_of(message: &rows::Message, chars: usize) -> String {
    match message.html_hash {
        Some(_) => excerpt(&without_marks(&message.text), chars),
        None => excerpt(&message.text, chars),
    }
}

/// `3 days`, `4 hours`, `5 minutes`.
pub(crate) fn span_words(ms: i64) -> String {
    let (number, unit) = match ms / 60_000 {
        m if m >= 2 * 1_440 && m % 1_440 == 0 => (m / 1_440, "day"),
        m if m >= 60 && m % 60 == 0 => (m / 60, "hour"),
        m => (m.max(1), "minute"),
    };
    crate::pages::words::count(number, unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_spans_are_cut_for_people() {
        assert_eq!(excerpt("  Approved,\n\ngo  ahead. ", 200), "Approved, go ahead.");
        assert_eq!(excerpt("äöü äöü", 5), "äöü ä…");
        assert_eq!(span_words(3 * 86_400_000), "3 days");
        assert_eq!(span_words(4 * 3_600_000), "4 hours");
        assert_eq!(span_words(90 * 60_000), "90 minutes");
    }
}
