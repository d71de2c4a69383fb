//! Indexes that another one serves as well: an instant message goes out under its delivery's id,
//! and outbound mails of a time are found by their ids, which begin with it.

use sea_orm_migration::prelude::*;

use crate::run;

/// The migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const UP: &[&str] = &["DROP INDEX deliveries_wire", "DROP INDEX outbound_quota"];

const DOWN: &[&str] = &[
    "CREATE INDEX outbound_quota ON outbound (tenant_id, created_at)",
    "CREATE INDEX deliveries_wire ON deliveries (wire_id)",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        run(manager, DOWN).await
    }

    // A half-applied step would have to be mended by hand.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
