//! The bridge: tenants and people, conversations, transactions and deliveries, mail going out.

use sea_orm_migration::prelude::*;
use sea_orm_migration::sea_orm::{ConnectionTrait, DbBackend};

/// See the file's header.
#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Portable statements; `{blob}` becomes the backend's type for octets.
const UP: &[&str] = &[
    "CREATE TABLE tenants (
        id TEXT PRIMARY KEY, slug TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
        mail_mode TEXT NOT NULL, bridge_domain TEXT NOT NULL, currency TEXT NOT NULL,
        time_zone TEXT NOT NULL, billing_email TEXT, billing_delivery TEXT NOT NULL,
        forward_to TEXT, xmpp_secret TEXT, policy TEXT, outbound_per_day BIGINT NOT NULL,
        created_at BIGINT NOT NULL, deleted_at BIGINT)",
    "CREATE UNIQUE INDEX tenants_bridge ON tenants (bridge_domain) WHERE deleted_at IS NULL",
    "CREATE TABLE tenant_domains (domain TEXT PRIMARY KEY, tenant_id TEXT NOT NULL)",
    "CREATE TABLE members (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, email TEXT NOT NULL, name TEXT NOT NULL,
        role TEXT NOT NULL, password_hash TEXT, notices BOOLEAN NOT NULL, policy TEXT,
        created_at BIGINT NOT NULL, left_at BIGINT)",
    "CREATE UNIQUE INDEX members_email ON members (tenant_id, email)",
    "CREATE TABLE contacts (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, email TEXT NOT NULL, name TEXT NOT NULL,
        policy TEXT, always_send BOOLEAN NOT NULL, introduced_at BIGINT, created_at BIGINT NOT NULL)",
    "CREATE UNIQUE INDEX contacts_email ON contacts (tenant_id, email)",
    "CREATE TABLE mappings (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, email TEXT NOT NULL, im TEXT NOT NULL,
        state TEXT NOT NULL, how TEXT, challenge_hash TEXT, challenge_until BIGINT,
        attempts BIGINT NOT NULL, created_by TEXT NOT NULL, created_at BIGINT NOT NULL,
        verified_at BIGINT, revoked_at BIGINT)",
    "CREATE INDEX mappings_email ON mappings (tenant_id, email)",
    "CREATE INDEX mappings_im ON mappings (im)",
    "CREATE TABLE aliases (
        tenant_id TEXT NOT NULL, alias TEXT NOT NULL, email TEXT NOT NULL,
        PRIMARY KEY (tenant_id, alias))",
    "CREATE TABLE conversations (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, subject TEXT NOT NULL,
        pair TEXT NOT NULL, created_at BIGINT NOT NULL, last_at BIGINT NOT NULL)",
    "CREATE INDEX conversations_pair ON conversations (tenant_id, pair, last_at)",
    "CREATE TABLE participants (
        conversation_id TEXT NOT NULL, tenant_id TEXT NOT NULL, person TEXT NOT NULL,
        name TEXT NOT NULL, member_id TEXT, token TEXT NOT NULL, last_medium TEXT NOT NULL,
        last_at BIGINT NOT NULL, read_seq BIGINT NOT NULL, told_seq BIGINT NOT NULL, history_seq BIGINT NOT NULL,
        PRIMARY KEY (conversation_id, person))",
    "CREATE UNIQUE INDEX participants_token ON participants (token)",
    "CREATE INDEX participants_member ON participants (member_id, last_at)",
    "CREATE TABLE messages (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, conversation_id TEXT NOT NULL,
        seq BIGINT NOT NULL, medium TEXT NOT NULL, from_person TEXT NOT NULL,
        from_name TEXT NOT NULL, to_list TEXT NOT NULL, cc_list TEXT NOT NULL,
        subject TEXT NOT NULL, text TEXT NOT NULL, quoted TEXT, html_hash TEXT, raw_hash TEXT,
        message_id TEXT NOT NULL, in_reply_to TEXT, refs TEXT NOT NULL, verdict TEXT,
        held TEXT, automatic BOOLEAN NOT NULL, transaction_id TEXT NOT NULL, at BIGINT NOT NULL)",
    "CREATE INDEX messages_conversation ON messages (conversation_id, seq)",
    "CREATE INDEX messages_message_id ON messages (tenant_id, message_id)",
    "CREATE TABLE attachments (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, message_id TEXT NOT NULL,
        position BIGINT NOT NULL, name TEXT NOT NULL, media_type TEXT NOT NULL,
        size BIGINT NOT NULL, hash TEXT NOT NULL, content_id TEXT)",
    "CREATE INDEX attachments_message ON attachments (message_id)",
    "CREATE TABLE blobs (
        tenant_id TEXT NOT NULL, hash TEXT NOT NULL, size BIGINT NOT NULL, data {blob},
        PRIMARY KEY (tenant_id, hash))",
    "CREATE TABLE transactions (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, member_id TEXT, service TEXT NOT NULL,
        source TEXT NOT NULL, params TEXT NOT NULL, state TEXT NOT NULL, reason TEXT,
        admission TEXT, dedupe TEXT, attempts BIGINT NOT NULL, at BIGINT NOT NULL, ended_at BIGINT)",
    "CREATE UNIQUE INDEX transactions_dedupe ON transactions (tenant_id, dedupe) WHERE dedupe IS NOT NULL",
    "CREATE INDEX transactions_open ON transactions (id) WHERE ended_at IS NULL",
    "CREATE INDEX transactions_tenant ON transactions (tenant_id, id)",
    "CREATE TABLE deliveries (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, transaction_id TEXT NOT NULL,
        conversation_id TEXT NOT NULL, message_id TEXT NOT NULL, seq BIGINT NOT NULL,
        medium TEXT NOT NULL, person TEXT NOT NULL, address TEXT NOT NULL, member_id TEXT,
        source TEXT NOT NULL, wire_id TEXT NOT NULL, body TEXT NOT NULL, state TEXT NOT NULL,
        data TEXT NOT NULL, history TEXT NOT NULL, question TEXT, due_at BIGINT,
        version BIGINT NOT NULL, created_at BIGINT NOT NULL)",
    "CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX deliveries_wire ON deliveries (wire_id)",
    "CREATE INDEX deliveries_message ON deliveries (message_id)",
    "CREATE INDEX deliveries_transaction ON deliveries (transaction_id)",
    "CREATE INDEX deliveries_question ON deliveries (question) WHERE question IS NOT NULL",
    "CREATE INDEX deliveries_address ON deliveries (address, state)",
    "CREATE INDEX deliveries_conversation ON deliveries (conversation_id, state)",
    "CREATE INDEX deliveries_member ON deliveries (member_id, state)",
    "CREATE TABLE outbound (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, seq BIGINT NOT NULL, delivery_id TEXT, kind TEXT NOT NULL,
        mail_from TEXT NOT NULL, rcpt TEXT NOT NULL, subject TEXT NOT NULL, message_id TEXT NOT NULL,
        raw_hash TEXT NOT NULL, route TEXT, state TEXT NOT NULL, attempts BIGINT NOT NULL, next_at BIGINT,
        last_reply TEXT, created_at BIGINT NOT NULL, ended_at BIGINT)",
    "CREATE INDEX outbound_due ON outbound (next_at) WHERE next_at IS NOT NULL",
    "CREATE INDEX outbound_open ON outbound (tenant_id, rcpt, kind, seq) WHERE next_at IS NOT NULL",
    "CREATE INDEX outbound_quota ON outbound (tenant_id, created_at)",
    "CREATE INDEX outbound_tenant ON outbound (tenant_id, id)",
    "CREATE INDEX outbound_message ON outbound (message_id)",
    "CREATE TABLE suppressions (
        tenant_id TEXT NOT NULL, address TEXT NOT NULL, reason TEXT NOT NULL, at BIGINT NOT NULL,
        PRIMARY KEY (tenant_id, address))",
    "CREATE TABLE confirmations (
        token TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, member_id TEXT NOT NULL, kind TEXT NOT NULL,
        data TEXT NOT NULL, state TEXT NOT NULL, expires_at BIGINT NOT NULL, at BIGINT NOT NULL)",
    "CREATE TABLE links (
        token TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, conversation_id TEXT NOT NULL,
        person TEXT NOT NULL, address TEXT NOT NULL, up_to_seq BIGINT NOT NULL, expires_at BIGINT NOT NULL,
        code_hash TEXT, code_until BIGINT, attempts BIGINT NOT NULL, sent BIGINT NOT NULL)",
    "CREATE TABLE sessions (
        hash TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, member_id TEXT NOT NULL, csrf TEXT NOT NULL,
        agent TEXT NOT NULL, created_at BIGINT NOT NULL, seen_at BIGINT NOT NULL, expires_at BIGINT NOT NULL)",
    "CREATE TABLE api_keys (
        id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, tenant_id TEXT, member_id TEXT,
        created_at BIGINT NOT NULL, revoked_at BIGINT)",
    "CREATE TABLE idempotency (
        tenant_id TEXT NOT NULL, key TEXT NOT NULL, body_hash TEXT NOT NULL, status BIGINT NOT NULL,
        response TEXT NOT NULL, at BIGINT NOT NULL, PRIMARY KEY (tenant_id, key))",
    "CREATE TABLE audit (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
        target TEXT NOT NULL, detail TEXT NOT NULL, at BIGINT NOT NULL)",
    "CREATE INDEX audit_tenant ON audit (tenant_id, id)",
    "CREATE TABLE dkim_keys (
        domain TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, selector TEXT NOT NULL,
        pem TEXT NOT NULL, created_at BIGINT NOT NULL)",
    "CREATE TABLE web_chat (
        id TEXT PRIMARY KEY, tenant_id TEXT NOT NULL, owner TEXT NOT NULL, contact TEXT NOT NULL,
        contact_name TEXT NOT NULL, direction TEXT NOT NULL, body TEXT NOT NULL, files TEXT NOT NULL, at BIGINT NOT NULL)",
    "CREATE INDEX web_chat_owner ON web_chat (owner, id)",
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "INSERT INTO settings (name, value) VALUES ('directory_version', '1')",
];

const TABLES: &[&str] = &[
    "tenants",
    "tenant_domains",
    "members",
    "contacts",
    "mappings",
    "aliases",
    "conversations",
    "participants",
    "messages",
    "attachments",
    "blobs",
    "transactions",
    "deliveries",
    "outbound",
    "suppressions",
    "confirmations",
    "links",
    "sessions",
    "api_keys",
    "idempotency",
    "audit",
    "dkim_keys",
    "web_chat",
    "settings",
];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        let blob = match db.get_database_backend() {
            DbBackend::Postgres => "BYTEA",
            _ => "BLOB",
        };
        for statement in UP {
            db.execute_unprepared(&statement.replace("{blob}", blob)).await?;
        }
        Ok(())
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            manager.get_connection().execute_unprepared(&format!("DROP TABLE {table}")).await?;
        }
        Ok(())
    }

    // A half-applied step would have to be mended by hand.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
