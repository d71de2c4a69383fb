//! IM addresses of contacts and members: claimed here, verified by asking the address itself.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use isthmus_domain::{address::ImAddress, clock::Millis, ids::MappingId, service::Challenge};
use isthmus_store::{ChangeSet, TenantView, rows};
use serde::Deserialize;
use serde_json::json;

use super::{
    body, contacts,
    enter::Ctx,
    once::{self, Answer, Begin},
    problem::{Code, Problem},
    views,
};
use crate::accept::NewTransaction;

/// Addresses of one person that are not revoked.
const MOST: usize = 20;
/// Challenges of one address in one day.
const CHALLENGES: u64 = 3;
const DAY_MS: i64 = 86_400_000;
/// Networks whose addresses are understood even where the network is not configured.
const NETWORKS: [&str; 2] = ["xmpp", "web"];
/// The audit log's word for a challenge; it is also what the daily limit counts.
const CHALLENGED: &str = "address.challenge";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    im: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// The email address of a contact, of oneself (`me` or the member's id), or, for
/// administrators, of any member.
pub(super) fn email_of(ctx: &Ctx, id: &str) -> Result<String, Problem> {
    if let Some(me) = ctx.member().filter(|m| id == "me" || id == m.id) {
        return Ok(me.email.clone());
    }
    if ctx.caller.is_admin()
        && let Some(member) = ctx.tenant.member_by_id(id)
    {
        return Ok(member.email.clone());
    }
    let contact = contacts::find(ctx, id)?;
    // A contact who became a member: whoever adds an address for them could act as them.
    let is_me = ctx.member().is_some_and(|m| m.email == contact.email);
    if !ctx.caller.is_admin() && !is_me && ctx.tenant.member(&contact.email).is_some() {
        return Err(Problem::new(Code::NotFound));
    }
    Ok(contact.email.clone())
}

fn mapping_of<'a>(ctx: &'a Ctx, email: &str, id: &str) -> Result<&'a rows::Mapping, Problem> {
    ctx.tenant
        .mappings(email)
        .iter()
        .find(|m| m.id == id)
        .ok_or_else(|| Problem::new(Code::NotFound))
}

/// Whether this address may be claimed for this person.
///
/// # Errors
/// 409 if it is there already or belongs to somebody else, 422 if it cannot be one.
pub(super) fn may_claim(ctx: &Ctx, email: &str, im: &ImAddress) -> Result<(), Problem> {
    let network = im.network();
    if !NETWORKS.contains(&network) && !ctx.gateway.networks.contains_key(network) {
        return Err(Problem::with(
            Code::Invalid,
            format!("im: there is no network called {network}."),
        ));
    }
    let own = ctx.tenant.mappings(email);
    if let Some(there) = own.iter().find(|m| m.im == im.as_str()) {
        return Err(Problem::with(Code::Exists, format!("{im} is known for {email}."))
            .and("id", there.id.as_str()));
    }
    if own.len() >= MOST {
        return Err(Problem::with(
            Code::Invalid,
            format!("{email} has {MOST} IM addresses; revoke one first."),
        ));
    }
    if ctx.tenant.by_im(im.as_str()).is_some_and(|m| m.email != email) {
        return Err(Problem::new(Code::AddressTaken));
    }
    Ok(())
}

/// Whether one person may have as many IM addresses more.
pub(crate) fn have_room(tenant: &TenantView, email: &str, more: usize) -> bool {
    tenant.mappings(email).len() + more <= MOST
}

/// Whether the same IM address is being asked for somebody else.
pub(crate) fn is_asked(tenant: &TenantView, row: &rows::Mapping, now: Millis) -> bool {
    tenant.all_mappings().any(|m| {
        m.im == row.im
            && m.id != row.id
            && m.state == "challenged"
            && m.challenge_until > Some(now.0)
    })
}

/// A row for an address that nobody has confirmed.
pub(super) fn claimed(ctx: &Ctx, email: &str, im: &ImAddress) -> rows::Mapping {
    let now = ctx.gateway.now();
    rows::Mapping {
        id: MappingId::new(now, &ctx.gateway.chance).into(),
        tenant_id: ctx.tenant_id().to_owned(),
        email: email.to_owned(),
        im: im.as_str().to_owned(),
        state: "claimed".into(),
        how: None,
        challenge_hash: None,
        challenge_until: None,
        attempts: 0,
        created_by: ctx.caller_id().to_owned(),
        created_at: now.0,
        verified_at: None,
        revoked_at: None,
    }
}

/// `GET /v1/contacts/{id}/addresses`.
pub(super) async fn list(ctx: Ctx, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let email = email_of(&ctx, &id)?;
    let mut all: Vec<&rows::Mapping> = ctx.tenant.mappings(&email).iter().collect();
    all.sort_by(|a, b| b.id.cmp(&a.id));
    let items: Vec<_> = all.into_iter().map(views::mapping).collect();
    Ok(HttpResponse::Ok().json(json!({"items": items, "next": null})))
}

/// `POST /v1/contacts/{id}/addresses`: claims an address.
pub(super) async fn add(
    ctx: Ctx,
    req: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::json(&req, &ctx.api, payload).await?;
    let once = match once::begin(&ctx, &req, &body.octets).await? {
        Begin::Again(answer) => return Ok(answer.response()),
        Begin::Fresh(once) => once,
    };
    let new: New = body::parse(&body.octets)?;
    let email = email_of(&ctx, &id)?;
    let im =
        ImAddress::parse(&new.im).map_err(|e| Problem::with(Code::Invalid, format!("im: {e}.")))?;
    may_claim(&ctx, &email, &im)?;
    let row = claimed(&ctx, &email, &im);
    let answer = Answer::new(StatusCode::CREATED, &views::mapping(&row));
    let mut set = ChangeSet::default();
    ctx.audit(&mut set, "address.add", &row.id, &json!({"email": email, "im": row.im}));
    set.put_mappings.push(row);
    let answer = once.finish(&ctx, set, answer, || Problem::new(Code::Exists)).await?;
    Ok(answer.response())
}

/// `DELETE /v1/contacts/{id}/addresses/{mapping}`: nothing goes there any more.
pub(super) async fn revoke(
    ctx: Ctx,
    path: web::Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    let (person, id) = path.into_inner();
    let email = email_of(&ctx, &person)?;
    let row = mapping_of(&ctx, &email, &id)?;
    let mut set = ChangeSet::default();
    ctx.audit(&mut set, "address.revoke", &row.id, &json!({"email": email, "im": row.im}));
    set.put_mappings.push(rows::Mapping {
        state: "revoked".into(),
        revoked_at: Some(ctx.gateway.now().0),
        ..row.clone()
    });
    ctx.gateway.store.commit(set).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// `POST /v1/contacts/{id}/addresses/{mapping}/verify`: asks the address whether it is theirs.
pub(super) async fn verify(
    ctx: Ctx,
    req: HttpRequest,
    path: web::Path<(String, String)>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::json(&req, &ctx.api, payload).await?;
    let once = match once::begin(&ctx, &req, &body.octets).await? {
        Begin::Again(answer) => return Ok(answer.response()),
        Begin::Fresh(once) => once,
    };
    if !body.octets.is_empty() {
        body::parse::<Nothing>(&body.octets)?;
    }
    let (person, id) = path.into_inner();
    let email = email_of(&ctx, &person)?;
    let row = mapping_of(&ctx, &email, &id)?;
    if row.state == "verified" {
        return Err(Problem::new(Code::AlreadyVerified));
    }
    if ctx.tenant.by_im(&row.im).is_some_and(|m| m.email != email) {
        return Err(Problem::new(Code::AddressTaken));
    }
    let since = ctx.gateway.now().plus_ms(-DAY_MS).0;
    // Counted by IM address, whoever it is claimed for: it is one person who is asked.
    let before = ctx.scope().audited_since(CHALLENGED, &row.im, since).await?;
    let enough = || Problem::new(Code::TooManyChallenges).after_s(3_600);
    if before >= CHALLENGES {
        return Err(enough());
    }
    if is_asked(&ctx.tenant, row, ctx.gateway.now()) {
        let why = format!("{} is being asked for somebody else.", row.im);
        return Err(Problem::with(Code::TooManyChallenges, why).after_s(3_600));
    }
    if ctx.scope().declined(&row.im).await? {
        let why = format!(
            "{} asked not to be written to. Only the operator can declare it (isthmus apply).",
            row.im
        );
        return Err(Problem::with(Code::TooManyChallenges, why));
    }
    let last = ctx.scope().audited_since(CHALLENGED, &row.im, 0).await?;
    let transaction = ctx.gateway.transaction(NewTransaction {
        tenant: ctx.tenant_id(),
        member: ctx.member().map(|m| m.id.as_str()),
        service: "challenge",
        source: "api",
        params: &Challenge { mapping_id: row.id.clone() },
        // Numbered, so that two requests at once cannot both be the last one allowed.
        dedupe: Some(format!("challenge {} {last}", row.im)),
    });
    let answer = Answer::new(
        StatusCode::ACCEPTED,
        &json!({"transaction_id": transaction.id, "address_id": row.id, "state": "challenged"}),
    );
    let mut set = ChangeSet { new_transactions: vec![transaction], ..ChangeSet::default() };
    ctx.audit(&mut set, CHALLENGED, &row.im, &json!({"email": email, "address_id": row.id}));
    let answer =
        once.finish(&ctx, set, answer, || Problem::new(Code::InProgress).after_s(1)).await?;
    Ok(answer.response())
}
