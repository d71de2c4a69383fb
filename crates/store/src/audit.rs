//! Acts of the operator in the audit log of the tenant they concern.

use isthmus_domain::{
    clock::{Chance, Millis},
    ids::AuditId,
};
use sea_orm::{DatabaseTransaction, EntityTrait, IntoActiveModel};

use crate::{StoreError, entities as e, rows};

/// Writes one line, in the transaction of the act itself.
pub(crate) async fn note(
    tx: &DatabaseTransaction,
    tenant: &str,
    action: &str,
    target: &str,
    now: Millis,
    chance: &Chance,
) -> Result<(), StoreError> {
    let line = rows::Audit {
        id: AuditId::new(now, chance).into(),
        tenant_id: tenant.to_owned(),
        actor: "operator".to_owned(),
        action: action.to_owned(),
        target: target.to_owned(),
        detail: "{}".to_owned(),
        at: now.0,
    };
    e::audit::Entity::insert(line.into_active_model()).exec_without_returning(tx).await?;
    Ok(())
}
