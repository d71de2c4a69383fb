//! Finding what waits, whoever it belongs to: for the workers that serve all tenants, and for
//! secrets that are looked up before it is known whose they are.

use sea_orm::{
    ColumnTrait, Condition, EntityTrait, FromQueryResult, Order, QueryFilter, QueryOrder,
    QuerySelect, sea_query::Expr,
};

use crate::{Store, StoreError, entities as e, rows, texts};

/// What the indexes on waiting deliveries hold, word for word as they say it: only so does the
/// database see that they serve a query.
pub(crate) const WAITING: &str = "state IN ('awaiting_decision', 'retrying', 'checking')";

/// A mail in the outbound queue, as far as its order is concerned.
#[derive(Clone, Debug, PartialEq, Eq, FromQueryResult)]
pub struct UnsentMail {
    /// Its own id.
    pub id: String,
    /// Whose mail.
    pub tenant_id: String,
    /// To whom.
    pub rcpt: String,
    /// `message`, `notice` or `forward`.
    pub kind: String,
    /// Position among all mails.
    pub seq: i64,
    /// Not before this time, in milliseconds.
    pub next_at: i64,
}

impl UnsentMail {
    /// The same of a row, unless it has left.
    #[must_use]
    pub fn of(row: &rows::Outbound) -> Option<Self> {
        Some(Self {
            next_at: row.next_at?,
            id: row.id.clone(),
            tenant_id: row.tenant_id.clone(),
            rcpt: row.rcpt.clone(),
            kind: row.kind.clone(),
            seq: row.seq,
        })
    }
}

impl Store {
    /// Transactions that were accepted and have not ended, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_transactions(
        &self,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<rows::Transaction>, StoreError> {
        use e::transactions::Column as C;
        let mut select = e::transactions::Entity::find().filter(C::EndedAt.is_null());
        if let Some(after) = after {
            select = select.filter(C::Id.gt(after));
        }
        Ok(select.order_by(C::Id, Order::Asc).limit(limit).all(&self.read).await?)
    }

    /// Deliveries whose time has come, earliest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deliveries_due(
        &self,
        now_ms: i64,
        limit: u64,
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        use e::deliveries::Column as C;
        let found = e::deliveries::Entity::find()
            .filter(C::DueAt.lte(now_ms))
            .order_by(C::DueAt, Order::Asc)
            .order_by(C::Seq, Order::Asc)
            .limit(limit)
            .all(&self.read)
            .await?;
        texts::whole(&self.read, found).await
    }

    /// Ids of the deliveries that are being sent, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn being_sent(&self) -> Result<Vec<String>, StoreError> {
        use e::deliveries::Column as C;
        // Left to the database the order would make it walk through all that ever were.
        let mut ids: Vec<String> = e::deliveries::Entity::find()
            .select_only()
            .column(C::Id)
            .filter(C::State.eq("sending"))
            .filter(C::DueAt.is_not_null())
            .into_tuple()
            .all(&self.read)
            .await?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Deliveries by id, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deliveries_by_id(
        &self,
        ids: &[String],
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        use e::deliveries::Column as C;
        let found = e::deliveries::Entity::find()
            .filter(C::Id.is_in(ids.iter().cloned()))
            .order_by(C::Id, Order::Asc)
            .all(&self.read)
            .await?;
        texts::whole(&self.read, found).await
    }

    /// Deliveries to this IM address that wait for it to become available, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deliveries_waiting_for(
        &self,
        address: &str,
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        use e::deliveries::Column as C;
        let found = e::deliveries::Entity::find()
            .filter(C::Address.eq(address))
            .filter(Expr::cust(WAITING))
            .filter(C::State.is_in(["checking", "retrying"]))
            .order_by(C::Seq, Order::Asc)
            .limit(1_000)
            .all(&self.read)
            .await?;
        texts::whole(&self.read, found).await
    }

    /// The instant message that went out under this id, which is its delivery's.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn im_sent_as(&self, wire_id: &str) -> Result<Option<rows::Delivery>, StoreError> {
        let found = e::deliveries::Entity::find_by_id(wire_id).one(&self.read).await?;
        Ok(texts::whole(&self.read, found.into_iter().collect()).await?.pop())
    }

    /// Mails that have not left yet, by id after a given one.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unsent(
        &self,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<UnsentMail>, StoreError> {
        use e::outbound::Column as C;
        let mut select = e::outbound::Entity::find()
            .select_only()
            .columns([C::Id, C::TenantId, C::Rcpt, C::Kind, C::Seq, C::NextAt])
            .filter(C::NextAt.is_not_null());
        if let Some(after) = after {
            select = select.filter(C::Id.gt(after));
        }
        Ok(select
            .order_by(C::Id, Order::Asc)
            .limit(limit)
            .into_model::<UnsentMail>()
            .all(&self.read)
            .await?)
    }

    /// Outbound mails by id, in order of writing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbound_by_id(&self, ids: &[String]) -> Result<Vec<rows::Outbound>, StoreError> {
        use e::outbound::Column as C;
        Ok(e::outbound::Entity::find()
            .filter(C::Id.is_in(ids.iter().cloned()))
            .order_by(C::Seq, Order::Asc)
            .all(&self.read)
            .await?)
    }

    /// An outbound mail by its own id, or by the Message-ID it carries.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbound_called(
        &self,
        id_or_message_id: &str,
    ) -> Result<Option<rows::Outbound>, StoreError> {
        use e::outbound::Column as C;
        Ok(e::outbound::Entity::find()
            .filter(
                Condition::any()
                    .add(C::Id.eq(id_or_message_id))
                    .add(C::MessageId.eq(id_or_message_id)),
            )
            .limit(1)
            .one(&self.read)
            .await?)
    }

    /// The participant whose reply address has this token.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn participant_by_token(
        &self,
        token: &str,
    ) -> Result<Option<rows::Participant>, StoreError> {
        use e::participants::Column as C;
        Ok(e::participants::Entity::find().filter(C::Token.eq(token)).one(&self.read).await?)
    }

    /// Deliveries that share a question, found by the question's token alone (it is a secret).
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn question(&self, token: &str) -> Result<Vec<rows::Delivery>, StoreError> {
        use e::deliveries::Column as C;
        let found = e::deliveries::Entity::find()
            .filter(C::Question.eq(token))
            .order_by(C::Seq, Order::Asc)
            .all(&self.read)
            .await?;
        texts::whole(&self.read, found).await
    }

    /// Something that a member was asked, by its token.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn confirmation(
        &self,
        token: &str,
    ) -> Result<Option<rows::Confirmation>, StoreError> {
        Ok(e::confirmations::Entity::find_by_id(token).one(&self.read).await?)
    }

    /// A link to a conversation, by its token.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn link(&self, token: &str) -> Result<Option<rows::Link>, StoreError> {
        Ok(e::links::Entity::find_by_id(token).one(&self.read).await?)
    }

    /// A session by the hash of its cookie.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn session(&self, hash: &str) -> Result<Option<rows::Session>, StoreError> {
        Ok(e::sessions::Entity::find_by_id(hash).one(&self.read).await?)
    }

    /// A key by the hash of its text, revoked ones excluded.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn api_key(&self, hash: &str) -> Result<Option<rows::ApiKey>, StoreError> {
        use e::api_keys::Column as C;
        Ok(e::api_keys::Entity::find()
            .filter(C::Hash.eq(hash))
            .filter(C::RevokedAt.is_null())
            .one(&self.read)
            .await?)
    }

    /// Lines of the web chat for one person, oldest first, of the last `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn web_chat(
        &self,
        owner: &str,
        contact: Option<&str>,
        limit: u64,
    ) -> Result<Vec<rows::WebChatLine>, StoreError> {
        use e::web_chat::Column as C;
        let mut select = e::web_chat::Entity::find().filter(C::Owner.eq(owner));
        if let Some(contact) = contact {
            select = select.filter(C::Contact.eq(contact));
        }
        let mut lines = select.order_by(C::Id, Order::Desc).limit(limit).all(&self.read).await?;
        lines.reverse();
        Ok(lines)
    }
}
