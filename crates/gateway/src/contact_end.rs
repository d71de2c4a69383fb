//! The end of a contact, the same at every door: the row goes, its addresses are revoked, and the
//! router settles what still waits for them. What was said stays.

use isthmus_domain::service::ContactDeleted;
use isthmus_store::{ChangeSet, TenantView, alias_of, rows};

use crate::{Gateway, accept::NewTransaction};

/// What deleting a contact writes, without its line in the audit log. `by` is the member who asked
/// for it, `source` the door.
pub(crate) fn deleted(
    gateway: &Gateway,
    tenant: &TenantView,
    contact: &rows::Contact,
    by: Option<&str>,
    source: &str,
) -> ChangeSet {
    let id = &tenant.tenant.id;
    let mut set = ChangeSet { gone_contacts: vec![contact.id.clone()], ..ChangeSet::default() };
    // Mails that name them by their alias still find the conversation.
    set.once_aliases.extend(alias_of(id, &contact.email).map(|alias| rows::Alias {
        tenant_id: id.clone(),
        alias,
        email: contact.email.clone(),
    }));
    // A contact who became a member keeps what is theirs.
    if tenant.member(&contact.email).is_some() {
        return set;
    }
    let now = gateway.now();
    let theirs = tenant.mappings(&contact.email);
    set.put_mappings.extend(theirs.iter().map(|mapping| rows::Mapping {
        state: "revoked".into(),
        revoked_at: Some(now.0),
        ..mapping.clone()
    }));
    let addresses = theirs.iter().map(|m| m.im.clone()).collect();
    set.new_transactions.push(gateway.transaction(NewTransaction {
        tenant: id,
        member: by,
        service: "contact.delete",
        source,
        params: &ContactDeleted { email: contact.email.clone(), addresses },
        dedupe: None,
    }));
    set
}
