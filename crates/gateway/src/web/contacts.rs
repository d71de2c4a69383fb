//! Contacts: the list, one contact, and what can be changed about it.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Path, Query},
};
use isthmus_domain::{
    address::{Email, ImAddress},
    clock::Millis,
    ids::{AuditId, ContactId},
    text::one_line_without_controls,
};
use isthmus_store::{ChangeSet, rows};
use serde::Deserialize;
use serde_json::json;

use super::{Failure, addresses, answer, form::MemberForm, people, who::Me, work::sentence};
use crate::contact_end::deleted;
use crate::pages::contacts::{
    AddressRow, ContactForm, ContactRow, ContactView, ContactsView, ImportReport, Sending,
};
use crate::pages::words::{Medium, Verification};

/// Contacts of one page.
const PAGE: usize = 100;
/// Characters of a name.
pub(super) const NAME: usize = 200;

/// What the list is asked with.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    /// The id of the last contact of the page before.
    cursor: Option<String>,
    /// An address that a link wants to be added.
    #[serde(default)]
    add: String,
}

/// `GET /contacts`.
pub(super) async fn list(me: Me, asked: Query<Asked>) -> Result<HttpResponse, Failure> {
    let add: String = asked.add.trim().chars().take(320).collect();
    if let Some(contact) = me.tenant.contact(&add.to_ascii_lowercase()) {
        return Ok(answer::see(&format!("/contacts/{}", contact.id)));
    }
    let form = ContactForm { email: add, ..ContactForm::default() };
    Ok(answer::page(&view(&me, &asked, form, None).await?))
}

/// The list, with a form that was refused or the report of an import.
pub(super) async fn view(
    me: &Me,
    asked: &Asked,
    form: ContactForm,
    report: Option<ImportReport>,
) -> Result<ContactsView, Failure> {
    let words = asked.q.trim().to_lowercase();
    let mut found: Vec<&rows::Contact> = me
        .tenant
        .contacts()
        .filter(|c| {
            words.is_empty() || c.email.contains(&words) || c.name.to_lowercase().contains(&words)
        })
        .collect();
    found.sort_by_cached_key(|c| (called(c).to_lowercase(), c.id.clone()));
    let start = asked
        .cursor
        .as_deref()
        .and_then(|cursor| found.iter().position(|c| c.id == cursor))
        .map_or(0, |i| i + 1);
    let page: Vec<&rows::Contact> = found.iter().skip(start).take(PAGE).copied().collect();
    let next = (found.len() > start + PAGE).then(|| page.last().map(|c| c.id.clone())).flatten();
    Ok(ContactsView {
        frame: me.frame().await?,
        query: asked.q.trim().chars().take(200).collect(),
        rows: page.into_iter().filter_map(|c| row(me, c)).collect(),
        next,
        form,
        report,
    })
}

fn called(contact: &rows::Contact) -> &str {
    if contact.name.is_empty() { &contact.email } else { &contact.name }
}

fn row(me: &Me, contact: &rows::Contact) -> Option<ContactRow> {
    let mappings = me.tenant.mappings(&contact.email);
    let verified = mappings.iter().filter(|m| m.state == "verified").count();
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Some(ContactRow {
        id: contact.id.parse().ok()?,
        name: called(contact).to_owned(),
        email: contact.email.clone(),
        verified: count(verified),
        unverified: count(mappings.len() - verified),
        presence: me.portal.presence(&me.tenant, &contact.email),
        last_medium: None,
    })
}

/// A name as typed, on one line.
pub(super) fn name(text: &str) -> Result<String, String> {
    let name = one_line_without_controls(text);
    if name.chars().count() > NAME {
        return Err(format!("A name has at most {NAME} characters."));
    }
    Ok(name)
}

/// An address of somebody who can become a contact.
pub(super) fn email(me: &Me, text: &str) -> Result<String, String> {
    let email = Email::parse(text).map_err(|e| sentence(&e.to_string()))?.key();
    if me.tenant.member(&email).is_some() {
        return Err(format!("{email} is a member here and needs no contact."));
    }
    if email.ends_with(&format!("@{}", me.tenant.tenant.bridge_domain)) {
        return Err("This is an address of the bridge itself.".to_owned());
    }
    Ok(email)
}

/// The row of a new contact.
pub(super) fn fresh(me: &Me, email: String, name: String) -> rows::Contact {
    let gateway = &me.portal.gateway;
    rows::Contact {
        id: ContactId::new(gateway.now(), &gateway.chance).into(),
        tenant_id: me.tenant_id().to_owned(),
        email,
        name,
        policy: None,
        always_send: false,
        introduced_at: None,
        created_at: gateway.now().0,
    }
}

/// A line for the audit log.
pub(super) fn audit(
    me: &Me,
    set: &mut ChangeSet,
    action: &str,
    target: &str,
    detail: &serde_json::Value,
) {
    let gateway = &me.portal.gateway;
    set.new_audit.push(rows::Audit {
        id: AuditId::new(gateway.now(), &gateway.chance).into(),
        tenant_id: me.tenant_id().to_owned(),
        actor: me.member.email.clone(),
        action: action.to_owned(),
        target: target.to_owned(),
        detail: detail.to_string(),
        at: gateway.now().0,
    });
}

/// `POST /contacts`.
pub(super) async fn add(form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    match added(&me, fields.line("email"), fields.line("name"), fields.line("im")) {
        Ok((contact, set)) => {
            me.portal.gateway.store.commit(set).await?;
            me.done("The contact is added.");
            Ok(answer::see(&format!("/contacts/{}", contact.id)))
        }
        Err(why) => {
            let typed = |field: &str| fields.line(field).chars().take(1_100).collect();
            let form = ContactForm {
                name: typed("name"),
                email: typed("email"),
                im: typed("im"),
                error: Some(why),
            };
            let view = view(&me, &Asked::default(), form, None).await?;
            Ok(answer::page_as(StatusCode::UNPROCESSABLE_ENTITY, &view))
        }
    }
}

fn added(
    me: &Me,
    email_text: &str,
    name_text: &str,
    im: &str,
) -> Result<(rows::Contact, ChangeSet), String> {
    let email = email(me, email_text)?;
    if me.tenant.contact(&email).is_some() {
        return Err(format!("{email} is a contact already."));
    }
    let contact = fresh(me, email, name(name_text)?);
    let mut set = ChangeSet::default();
    audit(me, &mut set, "contact.create", &contact.id, &json!({"email": contact.email}));
    if !im.is_empty() {
        let im = ImAddress::parse(im).map_err(|e| sentence(&e.to_string()))?;
        set.put_mappings.push(addresses::claim(me, &contact.email, &im)?);
    }
    set.put_contacts.push(contact.clone());
    Ok((contact, set))
}

/// A contact by its id.
pub(super) fn find<'a>(me: &'a Me, id: &str) -> Result<&'a rows::Contact, Failure> {
    me.tenant.contacts().find(|c| c.id == id).ok_or(Failure::NotFound)
}

/// `GET /contacts/ID`.
pub(super) async fn show(me: Me, id: Path<String>) -> Result<HttpResponse, Failure> {
    let contact = find(&me, &id)?;
    Ok(answer::page(&contact_view(&me, contact, None).await?))
}

/// One contact, with an address that was refused.
pub(super) async fn contact_view(
    me: &Me,
    contact: &rows::Contact,
    refused: Option<(String, String)>,
) -> Result<ContactView, Failure> {
    let email = AddressRow {
        mapping: None,
        medium: Medium::Email,
        address: contact.email.clone(),
        state: Verification::NotNeeded,
    };
    let mut all = vec![email];
    all.extend(addresses::rows(&me.tenant, &contact.email));
    Ok(ContactView {
        frame: me.frame().await?,
        id: contact.id.parse().map_err(|_| Failure::NotFound)?,
        name: called(contact).to_owned(),
        email: contact.email.clone(),
        bridge_address: me.tenant.bridge_address(&contact.email).unwrap_or_default(),
        deletable: !addresses::is_a_colleague(me, &contact.email),
        presence: me.portal.presence(&me.tenant, &contact.email),
        addresses: all,
        refused,
        sending: if contact.always_send { Sending::Always } else { Sending::Ask },
        policy: people::policy(contact.policy.as_deref()),
    })
}

/// `POST /contacts/ID`.
pub(super) async fn change(id: Path<String>, form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let there = find(&me, &id)?;
    let Some(policy) = people::policy_value(fields.get("policy")) else {
        return Err(Failure::Bad("There is no such policy."));
    };
    let name = match name(fields.line("name")) {
        Ok(name) => name,
        Err(why) => {
            me.failed(&why);
            return Ok(answer::see(&format!("/contacts/{}", there.id)));
        }
    };
    let changed = rows::Contact {
        name,
        policy,
        always_send: fields.get("sending") == "always",
        ..there.clone()
    };
    let mut set = ChangeSet::default();
    let detail =
        json!({"name": changed.name, "policy": changed.policy, "always_send": changed.always_send});
    audit(&me, &mut set, "contact.change", &changed.id, &detail);
    set.put_contacts.push(changed);
    me.portal.gateway.store.commit(set).await?;
    me.done("Saved.");
    Ok(answer::see(&format!("/contacts/{}", there.id)))
}

/// `POST /contacts/ID/delete`.
pub(super) async fn delete(id: Path<String>, form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, .. } = form;
    let contact = find(&me, &id)?;
    if addresses::is_a_colleague(&me, &contact.email) {
        return Err(Failure::NotFound);
    }
    let gateway = &me.portal.gateway;
    let mut set = deleted(gateway, &me.tenant, contact, Some(&me.member.id), "portal");
    audit(&me, &mut set, "contact.delete", &contact.id, &json!({"email": contact.email}));
    gateway.accept(set, None).await?;
    me.done(&format!("{} is not among the contacts any more.", called(contact)));
    Ok(answer::see("/contacts"))
}

/// Since when a mapping is what it is.
pub(super) fn since(mapping: &rows::Mapping) -> Millis {
    Millis(mapping.revoked_at.or(mapping.verified_at).unwrap_or(mapping.created_at))
}
