//! Contacts: the people a tenant writes to.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use isthmus_domain::{
    address::{Email, ImAddress},
    delivery::Standing,
    ids::ContactId,
    text::one_line,
};
use isthmus_store::{ChangeSet, rows};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use super::{
    addresses, body,
    cursor::Page,
    enter::Ctx,
    once::{self, Answer, Begin},
    problem::{Code, Problem},
    views,
};
use crate::contact_end;

/// Longest name, in characters.
const MAX_NAME: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    email: String,
    #[serde(default)]
    name: String,
    im: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    name: Option<String>,
    /// Absent: as it is. `null`: ask.
    #[serde(default, deserialize_with = "given")]
    policy: Option<Option<String>>,
    always_send: Option<bool>,
}

/// Tells `null` from absent.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(from).map(Some)
}

/// The contact with this id.
///
/// # Errors
/// 404.
pub(super) fn find<'a>(ctx: &'a Ctx, id: &str) -> Result<&'a rows::Contact, Problem> {
    ctx.tenant.contacts().find(|c| c.id == id).ok_or_else(|| Problem::new(Code::NotFound))
}

/// `GET /v1/contacts`, newest first; `q` finds by name or address.
pub(super) async fn list(ctx: Ctx, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let page = Page::read(&ctx, &req, "contacts").await?;
    let words = page.query.get("q").map(|q| q.trim().to_lowercase()).unwrap_or_default();
    let before = page.after_id();
    let mut rows: Vec<&rows::Contact> = ctx
        .tenant
        .contacts()
        .filter(|c| before.as_ref().is_none_or(|b| c.id < *b))
        .filter(|c| {
            words.is_empty() || c.email.contains(&words) || c.name.to_lowercase().contains(&words)
        })
        .collect();
    rows.sort_unstable_by(|a, b| b.id.cmp(&a.id));
    rows.truncate(usize::try_from(page.limit).unwrap_or(0) + 1);
    let answer = page
        .answer(&ctx, &rows, |c| vec![c.id.clone()], |c| views::contact(&ctx.tenant, c))
        .await?;
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /v1/contacts/{id}`.
pub(super) async fn one(ctx: Ctx, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::Ok().json(views::contact(&ctx.tenant, find(&ctx, &id)?)))
}

/// `POST /v1/contacts`. An IM address that comes along is claimed, not verified.
pub(super) async fn create(
    ctx: Ctx,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::json(&req, &ctx.api, payload).await?;
    let once = match once::begin(&ctx, &req, &body.octets).await? {
        Begin::Again(answer) => return Ok(answer.response()),
        Begin::Fresh(once) => once,
    };
    let new: New = body::parse(&body.octets)?;
    let email = read_email(&new.email)?;
    if let Some(there) = ctx.tenant.contact(&email) {
        return Err(Problem::with(Code::Exists, format!("{email} is a contact."))
            .and("id", there.id.as_str()));
    }
    if ctx.tenant.member(&email).is_some() {
        return Err(Problem::with(
            Code::Exists,
            format!("{email} is a member, and needs no contact."),
        ));
    }
    let row = fresh(&ctx, email, read_name(&new.name)?);
    let mut set = ChangeSet::default();
    let mut shown = views::contact(&ctx.tenant, &row);
    if let Some(im) = &new.im {
        let im =
            ImAddress::parse(im).map_err(|e| Problem::with(Code::Invalid, format!("im: {e}.")))?;
        addresses::may_claim(&ctx, &row.email, &im)?;
        let mapping = addresses::claimed(&ctx, &row.email, &im);
        shown["addresses"] = json!([views::mapping(&mapping)]);
        set.put_mappings.push(mapping);
    }
    ctx.audit(&mut set, "contact.create", &row.id, &json!({"email": row.email, "im": new.im}));
    set.put_contacts.push(row.clone());
    let clash = || Problem::with(Code::Exists, format!("{} is a contact.", row.email));
    let answer = once.finish(&ctx, set, Answer::new(StatusCode::CREATED, &shown), clash).await?;
    Ok(answer.response())
}

/// `PATCH /v1/contacts/{id}`: name, policy, always_send.
pub(super) async fn change(
    ctx: Ctx,
    req: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::json(&req, &ctx.api, payload).await?;
    let change: Change = body::parse(&body.octets)?;
    let mut row = find(&ctx, &id)?.clone();
    let mut detail = json!({});
    if let Some(name) = change.name {
        row.name = read_name(&name)?;
        detail["name"] = row.name.as_str().into();
    }
    if let Some(policy) = change.policy {
        if let Some(policy) = &policy {
            policy
                .parse::<Standing>()
                .map_err(|e| Problem::with(Code::Invalid, format!("policy: {e}.")))?;
        }
        row.policy = policy;
        detail["policy"] = row.policy.clone().into();
    }
    if let Some(always) = change.always_send {
        row.always_send = always;
        detail["always_send"] = always.into();
    }
    let mut set = ChangeSet { put_contacts: vec![row.clone()], ..ChangeSet::default() };
    ctx.audit(&mut set, "contact.change", &row.id, &detail);
    ctx.gateway.store.commit(set).await?;
    Ok(HttpResponse::Ok().json(views::contact(&ctx.tenant, &row)))
}

/// `DELETE /v1/contacts/{id}`: gone from the list, its addresses revoked; what was said stays.
pub(super) async fn delete(ctx: Ctx, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let row = find(&ctx, &id)?;
    // Who may not revoke its addresses may not delete it either.
    addresses::email_of(&ctx, &row.id)?;
    let by = ctx.member().map(|m| m.id.as_str());
    let mut set = contact_end::deleted(&ctx.gateway, &ctx.tenant, row, by, "api");
    ctx.audit(&mut set, "contact.delete", &row.id, &json!({"email": row.email}));
    ctx.gateway.accept(set, None).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// An email address in the form in which it is stored.
pub(super) fn read_email(text: &str) -> Result<String, Problem> {
    Email::parse(text)
        .map(|e| e.key())
        .map_err(|e| Problem::with(Code::Invalid, format!("email: {e}.")))
}

/// A name on one line.
pub(super) fn read_name(text: &str) -> Result<String, Problem> {
    let name = one_line(text).map_err(|e| Problem::with(Code::Invalid, format!("name: {e}.")))?;
    if name.chars().count() > MAX_NAME {
        let why = format!("name must be one line of at most {MAX_NAME} characters.");
        return Err(Problem::with(Code::Invalid, why));
    }
    Ok(name)
}

/// A new contact's row.
pub(super) fn fresh(ctx: &Ctx, email: String, name: String) -> rows::Contact {
    let now = ctx.gateway.now();
    rows::Contact {
        id: ContactId::new(now, &ctx.gateway.chance).into(),
        tenant_id: ctx.tenant_id().to_owned(),
        email,
        name,
        policy: None,
        always_send: false,
        introduced_at: None,
        created_at: now.0,
    }
}
