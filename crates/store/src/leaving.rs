//! The end of a tenant: nothing of it answers any more, and nothing of it starts again under
//! a tenant that is declared later with the same name.

use isthmus_domain::{
    clock::{Chance, Millis},
    delivery::State,
};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QueryFilter,
    sea_query::Expr,
};

use crate::{StoreError, audit, change::bump_directory, entities as e, rows};

/// What is said of everything that was under way.
const WHY: &str = "the tenant was deleted";
/// States in which a delivery is over.
const SETTLED: [&str; 4] = ["delivered", "aborted", "became_email", "failed"];

pub(crate) async fn delete(
    tx: &DatabaseTransaction,
    id: &str,
    now: Millis,
    chance: &Chance,
) -> Result<(), StoreError> {
    let Some(row) = e::tenants::Entity::find_by_id(id).one(tx).await? else { return Ok(()) };
    if row.deleted_at.is_some() {
        return Ok(());
    }
    audit::note(tx, id, "tenant.delete", &row.slug, now, chance).await?;
    let slug = free(&row);
    let mut row = row.into_active_model();
    row.slug = sea_orm::Set(slug);
    row.deleted_at = sea_orm::Set(Some(now.0));
    row.update(tx).await?;
    forget(tx, id).await?;
    close_deliveries(tx, id, now).await?;
    close_mails(tx, id, now).await?;
    bump_directory(tx).await
}

/// A name that nobody can declare: slugs have no tilde.
fn free(row: &rows::Tenant) -> String {
    format!("{}~{}", row.slug, row.id)
}

/// Takes a slug from a tenant that was deleted before deleting freed it.
pub(crate) async fn free_slug(tx: &DatabaseTransaction, slug: &str) -> Result<(), StoreError> {
    use e::tenants::Column as C;
    let gone =
        e::tenants::Entity::find().filter(C::Slug.eq(slug)).filter(C::DeletedAt.is_not_null());
    if let Some(row) = gone.one(tx).await? {
        let name = free(&row);
        let mut row = row.into_active_model();
        row.slug = sea_orm::Set(name);
        row.update(tx).await?;
    }
    Ok(())
}

/// Takes away what opens a door: domains, keys, sessions, links, and the signing key.
async fn forget(tx: &DatabaseTransaction, id: &str) -> Result<(), StoreError> {
    macro_rules! forget {
        ($($table:ident),*) => {$(
            e::$table::Entity::delete_many()
                .filter(e::$table::Column::TenantId.eq(id))
                .exec(tx)
                .await?;
        )*};
    }
    forget!(tenant_domains, api_keys, sessions, links, confirmations, dkim_keys);
    Ok(())
}

async fn close_deliveries(
    tx: &DatabaseTransaction,
    tenant: &str,
    now: Millis,
) -> Result<(), StoreError> {
    use e::deliveries::Column as C;
    let state = State::Failed { at: now, reason: WHY.to_owned() };
    let data = serde_json::to_string(&state).unwrap_or_default();
    let line = serde_json::json!({"state": state.name(), "at": now.rfc3339(), "reason": WHY});
    let open = e::deliveries::Entity::find()
        .filter(C::TenantId.eq(tenant))
        .filter(C::State.is_not_in(SETTLED));
    for row in open.all(tx).await? {
        let mut history: Vec<serde_json::Value> =
            serde_json::from_str(&row.history).unwrap_or_default();
        history.push(line.clone());
        let version = row.version + 1;
        let mut row = row.into_active_model();
        row.state = sea_orm::Set(state.name().to_owned());
        row.data = sea_orm::Set(data.clone());
        row.history = sea_orm::Set(serde_json::to_string(&history).unwrap_or_default());
        row.question = sea_orm::Set(None);
        row.due_at = sea_orm::Set(None);
        // Whoever holds the row as it was cannot write it any more.
        row.version = sea_orm::Set(version);
        row.update(tx).await?;
    }
    Ok(())
}

async fn close_mails(
    tx: &DatabaseTransaction,
    tenant: &str,
    now: Millis,
) -> Result<(), StoreError> {
    use e::outbound::Column as C;
    e::outbound::Entity::update_many()
        .col_expr(C::State, Expr::val("failed"))
        .col_expr(C::LastReply, Expr::val(WHY))
        .col_expr(C::EndedAt, Expr::val(now.0))
        .col_expr(C::NextAt, Expr::val(Option::<i64>::None))
        .filter(C::TenantId.eq(tenant))
        .filter(C::NextAt.is_not_null())
        .exec(tx)
        .await?;
    Ok(())
}
