//! Indexes that cost less while traffic is heavy: those on what waits hold only what waits, and
//! the outbound queue is read whole at start instead of searched for what is due.

use sea_orm_migration::prelude::*;

use crate::run;

/// The migration.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

const UP: &[&str] = &[
    "DROP INDEX deliveries_address",
    "DROP INDEX deliveries_conversation",
    "DROP INDEX deliveries_member",
    "DROP INDEX outbound_due",
    "DROP INDEX outbound_open",
    "CREATE INDEX deliveries_waiting_address ON deliveries (address) \
     WHERE state IN ('awaiting_decision', 'retrying', 'checking')",
    "CREATE INDEX deliveries_waiting_conversation ON deliveries (conversation_id) \
     WHERE state IN ('awaiting_decision', 'retrying', 'checking')",
    "CREATE INDEX deliveries_waiting_member ON deliveries (member_id) \
     WHERE state IN ('awaiting_decision', 'retrying', 'checking')",
    "CREATE INDEX outbound_unsent ON outbound (id) WHERE next_at IS NOT NULL",
];

const DOWN: &[&str] = &[
    "DROP INDEX outbound_unsent",
    "DROP INDEX deliveries_waiting_member",
    "DROP INDEX deliveries_waiting_conversation",
    "DROP INDEX deliveries_waiting_address",
    "CREATE INDEX outbound_open ON outbound (tenant_id, rcpt, kind, seq) WHERE next_at IS NOT NULL",
    "CREATE INDEX outbound_due ON outbound (next_at) WHERE next_at IS NOT NULL",
    "CREATE INDEX deliveries_member ON deliveries (member_id, state)",
    "CREATE INDEX deliveries_conversation ON deliveries (conversation_id, state)",
    "CREATE INDEX deliveries_address ON deliveries (address, state)",
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
