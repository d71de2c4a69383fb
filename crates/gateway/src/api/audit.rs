//! The audit log, for administrators.

use actix_web::{HttpRequest, HttpResponse};
use isthmus_store::rows;
use serde_json::{Value, json};

use super::{cursor::Page, enter::Ctx, problem::Problem, views::time};

/// `GET /v1/audit`.
pub(super) async fn list(ctx: Ctx, req: HttpRequest) -> Result<HttpResponse, Problem> {
    ctx.admin()?;
    let page = Page::read(&ctx, &req, "audit").await?;
    let wanted = isthmus_store::Page { before: page.after_id(), limit: page.limit + 1 };
    let rows = ctx.scope().audit(&wanted).await?;
    let show = |row: &rows::Audit| {
        json!({
            "id": row.id,
            "actor": row.actor,
            "action": row.action,
            "target": row.target,
            "detail": serde_json::from_str::<Value>(&row.detail).unwrap_or_else(|_| row.detail.as_str().into()),
            "at": time(row.at),
        })
    };
    let answer = page.answer(&ctx, &rows, |r| vec![r.id.clone()], show).await?;
    Ok(HttpResponse::Ok().json(answer))
}
