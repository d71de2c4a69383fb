//! IM addresses of contacts and of the member: claimed, verified by asking them, revoked.

use actix_web::{HttpResponse, http::StatusCode, web::Path};
use isthmus_domain::{
    address::ImAddress,
    clock::Millis,
    ids::{ContactId, MappingId},
    service::Challenge,
};
use isthmus_store::{ChangeSet, TenantView, rows};
use serde_json::json;

use super::{
    Failure, answer,
    contacts::{self, audit},
    form::{Fields, MemberForm},
    settings,
    who::Me,
    work::{Ended, sentence},
};
use crate::{
    accept::NewTransaction,
    api::addresses::is_asked,
    pages::{
        contacts::AddressRow,
        words::{Grounds, Medium, Verification},
    },
};

/// Addresses of one person that are not revoked.
const MOST: usize = 20;
/// Wrong answers to a challenge; the router counts them.
const ATTEMPTS: i64 = 5;
/// Challenges of one address in one day.
const CHALLENGES: u64 = 3;
const DAY_MS: i64 = 86_400_000;
/// The audit log's word for a challenge, by which all doors count them.
const CHALLENGED: &str = "address.challenge";
/// Networks whose addresses are understood even while they are not configured.
const NETWORKS: [&str; 2] = ["xmpp", "web"];

/// The IM addresses of a person as rows of a page.
pub(super) fn rows(tenant: &TenantView, email: &str) -> Vec<AddressRow> {
    let mut all: Vec<&rows::Mapping> = tenant.mappings(email).iter().collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all.into_iter().filter_map(row).collect()
}

fn row(mapping: &rows::Mapping) -> Option<AddressRow> {
    let (network, address) = mapping.im.split_once(':')?;
    let state = match mapping.state.as_str() {
        "verified" => {
            Verification::Verified { at: contacts::since(mapping), how: grounds(mapping) }
        }
        "challenged" => Verification::Challenged {
            expires: Millis(mapping.challenge_until.unwrap_or(0)),
            attempts_left: u32::try_from(ATTEMPTS - mapping.attempts).unwrap_or(0),
        },
        "revoked" => Verification::Revoked { at: contacts::since(mapping) },
        _ => Verification::Claimed,
    };
    let medium = Medium::Im(network.to_owned());
    Some(AddressRow {
        mapping: mapping.id.parse().ok(),
        medium,
        address: address.to_owned(),
        state,
    })
}

fn grounds(mapping: &rows::Mapping) -> Grounds {
    match mapping.how.as_deref() {
        Some(how) if how.starts_with("answered") => Grounds::Challenge,
        Some(how) if how.contains("invitation") => Grounds::Invitation,
        _ => Grounds::Operator,
    }
}

/// The row of an address that nobody has confirmed.
///
/// # Errors
/// Why it cannot be claimed for this person, for whoever typed it.
pub(super) fn claim(me: &Me, email: &str, im: &ImAddress) -> Result<rows::Mapping, String> {
    let gateway = &me.portal.gateway;
    let own = me.tenant.mappings(email);
    if !NETWORKS.contains(&im.network()) && !gateway.networks.contains_key(im.network()) {
        return Err(format!("There is no network called {}: use xmpp or web.", im.network()));
    }
    if own.iter().any(|m| m.im == im.as_str()) {
        return Err(format!("{im} is there already."));
    }
    if own.len() >= MOST {
        return Err(format!("{MOST} addresses are the limit. Revoke one first."));
    }
    if me.tenant.by_im(im.as_str()).is_some_and(|m| m.email != email) {
        return Err(format!("{im} is the verified address of somebody else."));
    }
    Ok(rows::Mapping {
        id: MappingId::new(gateway.now(), &gateway.chance).into(),
        tenant_id: me.tenant_id().to_owned(),
        email: email.to_owned(),
        im: im.as_str().to_owned(),
        state: "claimed".into(),
        how: None,
        challenge_hash: None,
        challenge_until: None,
        attempts: 0,
        created_by: me.member.id.clone(),
        created_at: gateway.now().0,
        verified_at: None,
        revoked_at: None,
    })
}

async fn added(me: &Me, email: &str, typed: &str) -> Result<Result<(), String>, Failure> {
    let claimed = ImAddress::parse(typed)
        .map_err(|e| sentence(&e.to_string()))
        .and_then(|im| claim(me, email, &im));
    let mapping = match claimed {
        Ok(mapping) => mapping,
        Err(why) => return Ok(Err(why)),
    };
    let mut set = ChangeSet::default();
    audit(me, &mut set, "address.add", &mapping.id, &json!({"email": email, "im": mapping.im}));
    set.put_mappings.push(mapping);
    me.portal.gateway.store.commit(set).await?;
    Ok(Ok(()))
}

/// `POST /contacts/ID/addresses`.
pub(super) async fn add_for_contact(
    id: Path<String>,
    form: MemberForm,
) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let contact = contacts::find(&me, &id)?;
    if is_a_colleague(&me, &contact.email) {
        return Err(Failure::NotFound);
    }
    let typed: String = fields.line("address").chars().take(1_100).collect();
    if let Err(why) = added(&me, &contact.email, &typed).await? {
        let view = contacts::contact_view(&me, contact, Some((typed, why))).await?;
        return Ok(answer::page_as(StatusCode::UNPROCESSABLE_ENTITY, &view));
    }
    me.done("Added. Messages go there once they have confirmed that it is theirs.");
    Ok(answer::see(&format!("/contacts/{}", contact.id)))
}

/// `POST /settings/addresses`.
pub(super) async fn add_own(form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let typed: String = fields.line("address").chars().take(1_100).collect();
    if let Err(why) = added(&me, &me.member.email, &typed).await? {
        let view = settings::view(&me, Some((typed, why))).await?;
        return Ok(answer::page_as(StatusCode::UNPROCESSABLE_ENTITY, &view));
    }
    me.done("Added. Verify it now: we ask there whether it is you.");
    Ok(answer::see("/settings"))
}

/// A mapping that the member may change: their own, or a contact's.
fn mine<'a>(me: &'a Me, id: &str) -> Result<&'a rows::Mapping, Failure> {
    let mapping = me.tenant.all_mappings().find(|m| m.id == id).ok_or(Failure::NotFound)?;
    if is_a_colleague(me, &mapping.email) { Err(Failure::NotFound) } else { Ok(mapping) }
}

/// Another member: only they and administrators (by the API) change their addresses, since whoever
/// holds one acts as them.
pub(super) fn is_a_colleague(me: &Me, email: &str) -> bool {
    email != me.member.email && me.tenant.member(email).is_some()
}

fn back(fields: &Fields) -> String {
    match fields.get("back").parse::<ContactId>() {
        Ok(id) => format!("/contacts/{id}"),
        Err(_) => "/settings".to_owned(),
    }
}

/// `POST /mappings/ID/challenge`: asks the address itself.
pub(super) async fn challenge(id: Path<String>, form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let mapping = mine(&me, &id)?;
    let back = back(&fields);
    if mapping.state == "verified"
        || me.tenant.by_im(&mapping.im).is_some_and(|m| m.email != mapping.email)
    {
        me.failed("This address is verified already.");
        return Ok(answer::see(&back));
    }
    let since = me.portal.gateway.now().plus_ms(-DAY_MS).0;
    if me.scope().audited_since(CHALLENGED, &mapping.im, since).await? >= CHALLENGES {
        me.failed("This address was asked often enough for today. Try again tomorrow.");
        return Ok(answer::see(&back));
    }
    if is_asked(&me.tenant, mapping, me.portal.gateway.now()) {
        me.failed("This address is being asked for somebody else. Wait for the answer.");
        return Ok(answer::see(&back));
    }
    if me.scope().declined(&mapping.im).await? {
        me.failed("Whoever has this address asked not to be written to, so it is not asked again.");
        return Ok(answer::see(&back));
    }
    let before = me.scope().audited_since(CHALLENGED, &mapping.im, 0).await?;
    let mut set = ChangeSet::default();
    audit(
        &me,
        &mut set,
        CHALLENGED,
        &mapping.im,
        &json!({"email": mapping.email, "address_id": mapping.id}),
    );
    let new = NewTransaction {
        tenant: me.tenant_id(),
        member: Some(&me.member.id),
        service: "challenge",
        source: "portal",
        params: &Challenge { mapping_id: mapping.id.clone() },
        // Numbered, so that two clicks at once are one question.
        dedupe: Some(format!("challenge {} {before}", mapping.im)),
    };
    match me.portal.act(new, set).await? {
        Ended::Done | Ended::Open => {
            me.done("We have asked there. The answer 1 verifies the address.")
        }
        Ended::Not(reason) => me.failed(&sentence(&reason)),
    }
    Ok(answer::see(&back))
}

/// `POST /mappings/ID/revoke`.
pub(super) async fn revoke(id: Path<String>, form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let mapping = mine(&me, &id)?;
    let mut set = ChangeSet::default();
    audit(
        &me,
        &mut set,
        "address.revoke",
        &mapping.id,
        &json!({"email": mapping.email, "im": mapping.im}),
    );
    set.put_mappings.push(rows::Mapping {
        state: "revoked".into(),
        revoked_at: Some(me.portal.gateway.now().0),
        ..mapping.clone()
    });
    me.portal.gateway.store.commit(set).await?;
    me.done("Revoked: no message goes there any more.");
    Ok(answer::see(&back(&fields)))
}
