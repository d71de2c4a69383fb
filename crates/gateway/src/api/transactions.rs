//! Transactions: what was asked for and what became of it.

use actix_web::{HttpRequest, HttpResponse, web};
use isthmus_store::rows;

use super::{
    cursor::Page,
    enter::Ctx,
    problem::{Code, Problem},
    views::{self, Eyes},
};

/// What a caller may see of a transaction; `None`: nothing.
pub(super) fn eyes(ctx: &Ctx, row: &rows::Transaction) -> Option<Eyes> {
    match ctx.member() {
        Some(member) if row.member_id.as_deref() == Some(&member.id) => Some(Eyes::Member),
        _ if ctx.caller.is_admin() => Some(Eyes::Administrator),
        _ => None,
    }
}

/// `GET /v1/transactions/{id}`.
pub(super) async fn one(ctx: Ctx, id: web::Path<String>) -> Result<HttpResponse, Problem> {
    let found = ctx.scope().transaction(&id).await?;
    let seen = found.and_then(|row| eyes(&ctx, &row).map(|eyes| (row, eyes)));
    let (row, eyes) = seen.ok_or_else(|| Problem::new(Code::NotFound))?;
    let deliveries = ctx.scope().deliveries_of(&row.id).await?;
    let deliveries: Vec<&rows::Delivery> = deliveries.iter().collect();
    Ok(HttpResponse::Ok().json(views::transaction(&ctx.tenant, &row, &deliveries, eyes)))
}

/// `GET /v1/transactions`: a member's own, or all of the tenant with the tenant's key.
pub(super) async fn list(ctx: Ctx, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let page = Page::read(&ctx, &req, "transactions").await?;
    let (member, eyes) = match ctx.member() {
        Some(member) => (Some(member.id.as_str()), Eyes::Member),
        None => (None, Eyes::Administrator),
    };
    let wanted = isthmus_store::Page { before: page.after_id(), limit: page.limit + 1 };
    let rows = ctx.scope().transactions(member, &wanted).await?;
    let ids: Vec<String> = rows.iter().map(|r| r.id.clone()).collect();
    let deliveries = ctx.scope().deliveries_of_all(&ids).await?;
    let show = |row: &rows::Transaction| {
        let own: Vec<&rows::Delivery> =
            deliveries.iter().filter(|d| d.transaction_id == row.id).collect();
        views::transaction(&ctx.tenant, row, &own, eyes)
    };
    let answer = page.answer(&ctx, &rows, |r| vec![r.id.clone()], show).await?;
    Ok(HttpResponse::Ok().json(answer))
}
