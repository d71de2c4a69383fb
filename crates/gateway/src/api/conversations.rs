//! Conversations and their messages: for those who take part. Administrators see who and when.

use actix_web::{HttpRequest, HttpResponse, web};
use isthmus_store::rows;

use super::{
    cursor::Page,
    enter::Ctx,
    problem::{Code, Problem},
    views::{self, Eyes},
};

fn eyes(ctx: &Ctx) -> Eyes {
    if ctx.member().is_some() { Eyes::Member } else { Eyes::Administrator }
}

/// A conversation that this caller may know of: their own, or any with the tenant's key.
///
/// # Errors
/// 404, the same for what is not there and what is not theirs.
pub(super) async fn known(
    ctx: &Ctx,
    id: &str,
) -> Result<(rows::Conversation, Vec<rows::Participant>), Problem> {
    let nothing = || Problem::new(Code::NotFound);
    let row = ctx.scope().conversation(id).await?;
    let people = ctx.scope().participants(&[id.to_owned()]).await?;
    let row = row.ok_or_else(nothing)?;
    match ctx.member() {
        Some(m) if !people.iter().any(|p| p.member_id.as_deref() == Some(&m.id)) => Err(nothing()),
        _ => Ok((row, people)),
    }
}

/// `GET /v1/conversations`, by last activity; `q` searches in a member's own.
pub(super) async fn list(ctx: Ctx, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let page = Page::read(&ctx, &req, "conversations").await?;
    let words = page.query.get("q").map(String::as_str).filter(|q| !q.trim().is_empty());
    if words.is_some() {
        ctx.reader()?;
    }
    if words.is_some_and(|q| q.len() > 200) {
        return Err(Problem::with(Code::BadParameter, "q is longer than 200 octets."));
    }
    let before = match page.after.as_deref() {
        Some([at, id]) => {
            Some((at.parse().map_err(|_| Problem::new(Code::BadCursor))?, id.as_str()))
        }
        _ => None,
    };
    let member = ctx.member().map(|m| m.id.as_str());
    let rows = ctx.scope().conversations(member, words, before, page.limit + 1).await?;
    let ids: Vec<String> = rows.iter().map(|r| r.id.clone()).collect();
    let people = ctx.scope().participants(&ids).await?;
    let show = |row: &rows::Conversation| {
        let own: Vec<&rows::Participant> =
            people.iter().filter(|p| p.conversation_id == row.id).collect();
        views::conversation(row, &own, eyes(&ctx))
    };
    let place = |r: &rows::Conversation| vec![r.last_at.to_string(), r.id.clone()];
    let answer = page.answer(&ctx, &rows, place, show).await?;
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /v1/conversations/{id}`.
pub(super) async fn one(ctx: Ctx, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let (row, people) = known(&ctx, &id).await?;
    let people: Vec<&rows::Participant> = people.iter().collect();
    Ok(HttpResponse::Ok().json(views::conversation(&row, &people, eyes(&ctx))))
}

/// `GET /v1/conversations/{id}/messages`, newest first.
pub(super) async fn messages(
    ctx: Ctx,
    req: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (row, _) = known(&ctx, &id).await?;
    ctx.reader()?;
    let page = Page::read(&ctx, &req, &format!("messages {}", row.id)).await?;
    let before = match page.after_id() {
        Some(seq) => Some(seq.parse().map_err(|_| Problem::new(Code::BadCursor))?),
        None => None,
    };
    let mut rows = ctx.scope().messages(&row.id, before, page.limit + 1).await?;
    rows.reverse();
    let ids: Vec<String> = rows.iter().map(|r| r.id.clone()).collect();
    let files = ctx.scope().attachments(&ids).await?;
    let show = |m: &rows::Message| views::message(m, files.iter().filter(|f| f.message_id == m.id));
    let answer = page.answer(&ctx, &rows, |m| vec![m.seq.to_string()], show).await?;
    Ok(HttpResponse::Ok().json(answer))
}
