//! Mails that were held back.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::Deserialize;
use serde_json::json;

use super::{
    body,
    enter::Ctx,
    once::{self, Answer, Begin},
    problem::{Code, Problem},
};
use crate::held::Asker;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// `POST /v1/messages/{id}/allow`: lets a mail in that was held back.
pub(super) async fn allow(
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
    if !body.octets.is_empty() {
        body::parse::<Nothing>(&body.octets)?;
    }
    let nothing = || Problem::new(Code::NotFound);
    let message = ctx.scope().message(&id).await?.ok_or_else(nothing)?;
    let actor = ctx.actor();
    let asker = Asker {
        member: ctx.member(),
        is_admin: ctx.caller.is_admin(),
        name: ctx.member().map_or(actor.as_str(), |m| &m.name),
        door: "api",
    };
    let Some(way) = ctx.gateway.way_in(&ctx.tenant, &message, &asker).await? else {
        let people =
            ctx.scope().participants(std::slice::from_ref(&message.conversation_id)).await?;
        let reads = |m: &isthmus_store::rows::Member| {
            people.iter().any(|p| p.member_id.as_deref() == Some(&m.id))
        };
        // Whoever reads it learns that it waits no more; the others not even that it is there.
        let known = message.held.is_none() && ctx.member().is_some_and(reads);
        return Err(if known { Problem::new(Code::NotHeld) } else { nothing() });
    };
    let (transaction, mut set) = ctx.gateway.let_in(&message, way, &asker, &actor);
    let accepted = json!({"transaction_id": transaction.id, "message_id": message.id});
    let answer = Answer::new(StatusCode::ACCEPTED, &accepted);
    set.new_transactions.push(transaction);
    let answer = once.finish(&ctx, set, answer, || Problem::new(Code::Internal)).await?;
    Ok(answer.response())
}
