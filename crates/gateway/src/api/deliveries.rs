//! Deliveries: where a message is, and the answer to the question about it.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use isthmus_domain::{delivery::Choice, service::Decision};
use isthmus_store::{ChangeSet, rows};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    body,
    enter::Ctx,
    once::{self, Answer, Begin, Once},
    problem::{Code, Problem},
    transactions, views,
};
use crate::accept::NewTransaction;

/// Between two looks while waiting for the router.
const LOOK: Duration = Duration::from_millis(20);
/// Looks for the row of a delivery that was just promised: 1 s.
const LOOKS_FOR_ROW: u32 = 50;
/// Looks for the end of a decision: 2 s.
const LOOKS_FOR_END: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    action: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    delivery_id: String,
    action: String,
}

/// A delivery that this caller may see.
enum Found {
    Row(Box<rows::Delivery>),
    /// Promised, and no row yet, or never: the transaction knows.
    Promised(Box<rows::Transaction>),
}

async fn find(ctx: &Ctx, id: &str) -> Result<Found, Problem> {
    let nothing = || Problem::new(Code::NotFound);
    if let Some(row) = ctx.scope().delivery(id).await? {
        let own = ctx.member().is_some_and(|m| row.member_id.as_deref() == Some(&m.id));
        return if own || ctx.caller.is_admin() {
            Ok(Found::Row(Box::new(row)))
        } else {
            Err(nothing())
        };
    }
    let promised = ctx.scope().transaction_marked(id).await?;
    let promised = promised.filter(|row| transactions::eyes(ctx, row).is_some());
    promised.map(|t| Found::Promised(Box::new(t))).ok_or_else(nothing)
}

/// `GET /v1/deliveries/{id}`.
pub(super) async fn one(ctx: Ctx, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let mut found = find(&ctx, &id).await?;
    for _ in 0..LOOKS_FOR_ROW {
        match &found {
            Found::Promised(transaction) if transaction.ended_at.is_none() => {
                tokio::time::sleep(LOOK).await;
                found = find(&ctx, &id).await?;
            }
            _ => break,
        }
    }
    // The row is written with the end of its transaction: between two looks both may have come.
    if matches!(found, Found::Promised(_)) {
        found = find(&ctx, &id).await?;
    }
    Ok(HttpResponse::Ok().json(match &found {
        Found::Row(row) => views::delivery(&ctx.tenant, row),
        Found::Promised(transaction) => views::promised(&id, transaction),
    }))
}

/// `POST /v1/deliveries/{id}/decision`.
pub(super) async fn decide(
    ctx: Ctx,
    req: HttpRequest,
    id: web::Path<String>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::json(&req, &ctx.api, payload).await?;
    let once = match once::begin(&ctx, &req, &body.octets).await? {
        Begin::Again(answer) => return again(&ctx, answer).await,
        Begin::Fresh(once) => once,
    };
    let Body { action } = body::parse(&body.octets)?;
    accept(&ctx, once, &id, &action).await
}

/// The `decision` service of the general form.
pub(super) async fn decide_by_params(
    ctx: &Ctx,
    once: Once,
    params: &RawValue,
) -> Result<HttpResponse, Problem> {
    let Params { delivery_id, action } = body::part(params)?;
    accept(ctx, once, &delivery_id, &action).await
}

/// The first answer to a request that came again: what the router said to it may be a refusal.
pub(super) async fn again(ctx: &Ctx, answer: Answer) -> Result<HttpResponse, Problem> {
    if answer.text("action").is_some()
        && let Some(id) = answer.text("transaction_id")
    {
        wait_for_end(ctx, &id).await?;
    }
    Ok(answer.response())
}

async fn accept(ctx: &Ctx, once: Once, id: &str, action: &str) -> Result<HttpResponse, Problem> {
    let action: Choice =
        action.parse().map_err(|why: String| Problem::with(Code::Invalid, format!("{why}.")))?;
    let row = match find(ctx, id).await? {
        Found::Row(row) => row,
        Found::Promised(_) => return Err(not_asked("accepted")),
    };
    open_for(&row, action)?;
    let by = ctx.member().map_or_else(|| ctx.actor(), |m| m.name.clone());
    let params = Decision { delivery_id: row.id.clone(), action, by };
    let transaction = ctx.gateway.transaction(NewTransaction {
        tenant: ctx.tenant_id(),
        member: ctx.member().map(|m| m.id.as_str()).or(row.member_id.as_deref()),
        service: "decision",
        source: "api",
        params: &params,
        dedupe: None,
    });
    let transaction_id = transaction.id.clone();
    let answer = Answer::new(
        StatusCode::ACCEPTED,
        &json!({
            "transaction_id": transaction_id, "delivery_id": row.id,
            "action": action, "state": "accepted",
        }),
    );
    let set = ChangeSet { new_transactions: vec![transaction], ..ChangeSet::default() };
    let answer = once.finish(ctx, set, answer, || Problem::new(Code::Internal)).await?;
    again(ctx, answer).await
}

fn not_asked(state: &str) -> Problem {
    Problem::with(Code::NotAsked, format!("It is {state}.")).and("state", state)
}

/// Whether this can be decided now.
fn open_for(row: &rows::Delivery, action: Choice) -> Result<(), Problem> {
    match row.state.as_str() {
        "awaiting_decision" | "retrying" if action == Choice::Email && !views::can_email(row) => {
            Err(Problem::new(Code::NoEmail))
        }
        "awaiting_decision" | "retrying" => Ok(()),
        state @ ("delivered" | "aborted" | "became_email" | "failed") => {
            Err(Problem::with(Code::Settled, format!("It is {state}.")).and("state", state))
        }
        state => Err(not_asked(state)),
    }
}

/// Waits until the router has decided; somebody else may have answered first.
async fn wait_for_end(ctx: &Ctx, transaction: &str) -> Result<(), Problem> {
    for _ in 0..LOOKS_FOR_END {
        match ctx.scope().transaction(transaction).await? {
            Some(row) if row.ended_at.is_some() => {
                return match row.reason {
                    Some(why) if row.state != "done" => {
                        Err(Problem::with(Code::Settled, format!("{why}.")))
                    }
                    _ => Ok(()),
                };
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
    Ok(())
}
