//! One private entity a table. What leaves the crate is the plain row (`rows`), never an entity.

/// Declares a table: its entity, its columns and the row that the rest of the store works with.
macro_rules! table {
    ($(#[$doc:meta])* $module:ident = $table:literal { $($(#[$attr:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        pub(crate) mod $module {
            use sea_orm::entity::prelude::*;

            $(#[$doc])*
            #[derive(Clone, Debug, PartialEq, DeriveEntityModel, serde::Serialize, serde::Deserialize)]
            #[sea_orm(table_name = $table)]
            pub struct Model {
                $($(#[$attr])* #[doc = concat!("Column `", stringify!($field), "`.")] pub $field: $ty,)*
            }

            #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
            pub enum Relation {}
            impl ActiveModelBehavior for ActiveModel {}
        }
    };
}

table! {
    /// A customer of the installation.
    tenants = "tenants" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        slug: String,
        name: String,
        mail_mode: String,
        bridge_domain: String,
        currency: String,
        time_zone: String,
        billing_email: Option<String>,
        billing_delivery: String,
        forward_to: Option<String>,
        xmpp_secret: Option<String>,
        policy: Option<String>,
        outbound_per_day: i64,
        created_at: i64,
        deleted_at: Option<i64>,
    }
}

table! {
    /// A mail domain whose members belong to a tenant.
    tenant_domains = "tenant_domains" {
        #[sea_orm(primary_key, auto_increment = false)]
        domain: String,
        tenant_id: String,
    }
}

table! {
    /// A person at a tenant who can sign in; `email` in lower case.
    members = "members" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        email: String,
        name: String,
        role: String,
        password_hash: Option<String>,
        notices: bool,
        policy: Option<String>,
        created_at: i64,
        left_at: Option<i64>,
    }
}

table! {
    /// A person whom a tenant writes to; `email` in lower case.
    contacts = "contacts" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        email: String,
        name: String,
        policy: Option<String>,
        always_send: bool,
        introduced_at: Option<i64>,
        created_at: i64,
    }
}

table! {
    /// One email address joined to one IM address (claimed, challenged, verified, revoked).
    mappings = "mappings" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        email: String,
        im: String,
        state: String,
        how: Option<String>,
        challenge_hash: Option<String>,
        challenge_until: Option<i64>,
        attempts: i64,
        created_by: String,
        created_at: i64,
        verified_at: Option<i64>,
        revoked_at: Option<i64>,
    }
}

table! {
    /// A short name on the bridge domain for an address that does not fit.
    aliases = "aliases" {
        #[sea_orm(primary_key, auto_increment = false)]
        tenant_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        alias: String,
        email: String,
    }
}

table! {
    /// One pair of parties, one thread; `pair` is both person keys, sorted, joined by a space.
    conversations = "conversations" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        subject: String,
        pair: String,
        created_at: i64,
        last_at: i64,
    }
}

table! {
    /// One person in one conversation, with the token of their reply address.
    participants = "participants" {
        #[sea_orm(primary_key, auto_increment = false)]
        conversation_id: String,
        tenant_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        person: String,
        name: String,
        member_id: Option<String>,
        token: String,
        last_medium: String,
        last_at: i64,
        read_seq: i64,
        told_seq: i64,
        history_seq: i64,
    }
}

table! {
    /// One mail or one instant message.
    messages = "messages" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        conversation_id: String,
        seq: i64,
        medium: String,
        from_person: String,
        from_name: String,
        to_list: String,
        cc_list: String,
        subject: String,
        text: String,
        quoted: Option<String>,
        html_hash: Option<String>,
        raw_hash: Option<String>,
        message_id: String,
        in_reply_to: Option<String>,
        refs: String,
        verdict: Option<String>,
        held: Option<String>,
        automatic: bool,
        transaction_id: String,
        at: i64,
    }
}

table! {
    /// A file of a message; the octets are in `blobs`.
    attachments = "attachments" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        message_id: String,
        position: i64,
        name: String,
        media_type: String,
        size: i64,
        hash: String,
        content_id: Option<String>,
    }
}

table! {
    /// Octets by their SHA-256; `data` is empty when they lie in a file.
    blobs = "blobs" {
        #[sea_orm(primary_key, auto_increment = false)]
        tenant_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        hash: String,
        size: i64,
        data: Option<Vec<u8>>,
    }
}

table! {
    /// One request with a customer, a service and parameters.
    transactions = "transactions" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        member_id: Option<String>,
        service: String,
        source: String,
        params: String,
        state: String,
        reason: Option<String>,
        admission: Option<String>,
        dedupe: Option<String>,
        attempts: i64,
        at: i64,
        ended_at: Option<i64>,
    }
}

table! {
    /// One message on its way to one person over one medium.
    deliveries = "deliveries" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        transaction_id: String,
        conversation_id: String,
        message_id: String,
        seq: i64,
        medium: String,
        person: String,
        address: String,
        member_id: Option<String>,
        source: String,
        wire_id: String,
        body: String,
        state: String,
        data: String,
        history: String,
        question: Option<String>,
        due_at: Option<i64>,
        version: i64,
        created_at: i64,
    }
}

table! {
    /// One mail in the outbound queue.
    outbound = "outbound" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        seq: i64,
        delivery_id: Option<String>,
        kind: String,
        mail_from: String,
        rcpt: String,
        subject: String,
        message_id: String,
        raw_hash: String,
        route: Option<String>,
        state: String,
        attempts: i64,
        next_at: Option<i64>,
        last_reply: Option<String>,
        created_at: i64,
        ended_at: Option<i64>,
    }
}

table! {
    /// An address that bounced hard.
    suppressions = "suppressions" {
        #[sea_orm(primary_key, auto_increment = false)]
        tenant_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        address: String,
        reason: String,
        at: i64,
    }
}

table! {
    /// Something that a member was asked and has not answered yet.
    confirmations = "confirmations" {
        #[sea_orm(primary_key, auto_increment = false)]
        token: String,
        tenant_id: String,
        member_id: String,
        kind: String,
        data: String,
        state: String,
        expires_at: i64,
        at: i64,
    }
}

table! {
    /// A link to a conversation that travelled with a message.
    links = "links" {
        #[sea_orm(primary_key, auto_increment = false)]
        token: String,
        tenant_id: String,
        conversation_id: String,
        person: String,
        address: String,
        up_to_seq: i64,
        expires_at: i64,
        code_hash: Option<String>,
        code_until: Option<i64>,
        attempts: i64,
        sent: i64,
    }
}

table! {
    /// One signed-in browser.
    sessions = "sessions" {
        #[sea_orm(primary_key, auto_increment = false)]
        hash: String,
        tenant_id: String,
        member_id: String,
        csrf: String,
        agent: String,
        created_at: i64,
        seen_at: i64,
        expires_at: i64,
    }
}

table! {
    /// One API key, by its hash.
    api_keys = "api_keys" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        hash: String,
        tenant_id: Option<String>,
        member_id: Option<String>,
        created_at: i64,
        revoked_at: Option<i64>,
    }
}

table! {
    /// The first answer to an idempotency key.
    idempotency = "idempotency" {
        #[sea_orm(primary_key, auto_increment = false)]
        tenant_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        key: String,
        body_hash: String,
        status: i64,
        response: String,
        at: i64,
    }
}

table! {
    /// One administrative act.
    audit = "audit" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        actor: String,
        action: String,
        target: String,
        detail: String,
        at: i64,
    }
}

table! {
    /// The signing key of one domain.
    dkim_keys = "dkim_keys" {
        #[sea_orm(primary_key, auto_increment = false)]
        domain: String,
        tenant_id: String,
        selector: String,
        pem: String,
        created_at: i64,
    }
}

table! {
    /// One line in the built-in web chat, as the person outside sees it.
    web_chat = "web_chat" {
        #[sea_orm(primary_key, auto_increment = false)]
        id: String,
        tenant_id: String,
        owner: String,
        contact: String,
        contact_name: String,
        direction: String,
        body: String,
        files: String,
        at: i64,
    }
}

table! {
    /// Facts about the installation.
    settings = "settings" {
        #[sea_orm(primary_key, auto_increment = false)]
        name: String,
        value: String,
    }
}

/// What of a participant changes.
impl participants::Column {
    pub(crate) const MOVES: [Self; 7] = [
        Self::Name,
        Self::MemberId,
        Self::LastMedium,
        Self::LastAt,
        Self::ReadSeq,
        Self::ToldSeq,
        Self::HistorySeq,
    ];
}

/// What of an outbound mail changes.
impl outbound::Column {
    pub(crate) const MOVES: [Self; 5] =
        [Self::State, Self::Attempts, Self::NextAt, Self::LastReply, Self::EndedAt];
}
