//! Finding things. What belongs to a tenant is found through [`Scope`], which cannot forget it.

use bytes::Bytes;
use isthmus_domain::{clock::Millis, ids::OutboundId};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, ExprTrait, Query},
};

use crate::{Store, StoreError, entities as e, find_work::WAITING, rows, texts};

/// One page of a list, newest first.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Only what comes after the item with this id (that is: older).
    pub before: Option<String>,
    /// Items, at most 200.
    pub limit: u64,
}

/// Everything of one tenant, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    pub(crate) store: &'a Store,
    pub(crate) tenant: &'a str,
}

macro_rules! scoped {
    ($self:ident, $table:ident) => {
        e::$table::Entity::find().filter(e::$table::Column::TenantId.eq($self.tenant))
    };
}

/// The keys, the last one repeated up to a power of two: few shapes of a statement, so that the
/// database has it prepared.
fn padded(keys: &[String]) -> Vec<String> {
    let last = keys.last().into_iter().cycle();
    keys.iter().chain(last).take(keys.len().next_power_of_two()).cloned().collect()
}

fn paged<E: EntityTrait>(select: Select<E>, id: E::Column, page: &Page) -> Select<E> {
    let select = match &page.before {
        Some(before) => select.filter(id.lt(before.as_str())),
        None => select,
    };
    select.order_by(id, Order::Desc).limit(Ord::min(page.limit, 201))
}

impl Scope<'_> {
    /// The tenant's id.
    #[must_use]
    pub fn tenant(&self) -> &str {
        self.tenant
    }

    /// The octets with this hash.
    ///
    /// # Errors
    /// When they cannot be read; a missing hash is `Ok(None)`.
    pub async fn blob(&self, hash: &str) -> Result<Option<Bytes>, StoreError> {
        let row = scoped!(self, blobs)
            .filter(e::blobs::Column::Hash.eq(hash))
            .one(&self.store.read)
            .await?;
        match row {
            Some(row) => Ok(Some(self.store.blobs().read(row).await?)),
            None => Ok(None),
        }
    }

    /// Whether a row names these octets.
    pub(crate) async fn has_blob(&self, hash: &str) -> Result<bool, StoreError> {
        let found = scoped!(self, blobs)
            .filter(e::blobs::Column::Hash.eq(hash))
            .select_only()
            .column(e::blobs::Column::Hash)
            .into_tuple::<String>()
            .one(&self.store.read)
            .await?;
        Ok(found.is_some())
    }

    /// Where a large blob lies, and its size; `None` for small ones and unknown hashes.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn blob_file(
        &self,
        hash: &str,
    ) -> Result<Option<(std::path::PathBuf, i64)>, StoreError> {
        let row = scoped!(self, blobs)
            .filter(e::blobs::Column::Hash.eq(hash))
            .one(&self.store.read)
            .await?;
        Ok(row
            .filter(|r| r.data.is_none())
            .map(|r| (self.store.blobs().path(self.tenant, &r.hash), r.size)))
    }

    /// A file with these octets, for a network that uploads: small blobs are written out beside
    /// the large ones first.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub async fn blob_path(&self, hash: &str) -> Result<Option<std::path::PathBuf>, StoreError> {
        let row = scoped!(self, blobs)
            .filter(e::blobs::Column::Hash.eq(hash))
            .one(&self.store.read)
            .await?;
        match row {
            Some(row) => Ok(Some(self.store.blobs().as_file(row).await?)),
            None => Ok(None),
        }
    }

    /// A message by its id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn message(&self, id: &str) -> Result<Option<rows::Message>, StoreError> {
        Ok(scoped!(self, messages)
            .filter(e::messages::Column::Id.eq(id))
            .one(&self.store.read)
            .await?)
    }

    /// Messages by the Message-ID that mail programs know them by.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn messages_called(
        &self,
        message_ids: &[String],
    ) -> Result<Vec<rows::Message>, StoreError> {
        if message_ids.is_empty() {
            return Ok(Vec::new());
        }
        let ids = message_ids.iter().take(220).cloned();
        Ok(scoped!(self, messages)
            .filter(e::messages::Column::MessageId.is_in(ids))
            .limit(400)
            .all(&self.store.read)
            .await?)
    }

    /// Messages of a conversation that came as the mail with these octets.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn messages_of_raw(
        &self,
        conversation: &str,
        raw_hash: &str,
    ) -> Result<Vec<rows::Message>, StoreError> {
        use e::messages::Column as C;
        Ok(scoped!(self, messages)
            .filter(C::ConversationId.eq(conversation))
            .filter(C::RawHash.eq(raw_hash))
            .limit(50)
            .all(&self.store.read)
            .await?)
    }

    /// In which conversations messages with these Message-IDs lie, as pairs of both.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn conversations_of(
        &self,
        message_ids: &[String],
    ) -> Result<Vec<(String, String)>, StoreError> {
        use e::messages::Column as C;
        if message_ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(scoped!(self, messages)
            .select_only()
            .columns([C::MessageId, C::ConversationId])
            .filter(C::MessageId.is_in(padded(message_ids)))
            .limit(1_000)
            .into_tuple()
            .all(&self.store.read)
            .await?)
    }

    /// Messages of a conversation, oldest first, up to `limit` before `before_seq`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn messages(
        &self,
        conversation: &str,
        before_seq: Option<i64>,
        limit: u64,
    ) -> Result<Vec<rows::Message>, StoreError> {
        let mut select =
            scoped!(self, messages).filter(e::messages::Column::ConversationId.eq(conversation));
        if let Some(seq) = before_seq {
            select = select.filter(e::messages::Column::Seq.lt(seq));
        }
        let mut found = select
            .order_by(e::messages::Column::Seq, Order::Desc)
            .limit(limit)
            .all(&self.store.read)
            .await?;
        found.reverse();
        Ok(found)
    }

    /// Who wrote the last messages of a conversation, and where each stands in it.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_authors(
        &self,
        conversation: &str,
        limit: u64,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        use e::messages::Column as C;
        Ok(scoped!(self, messages)
            .select_only()
            .columns([C::FromPerson, C::Seq])
            .filter(C::ConversationId.eq(conversation))
            .order_by(C::Seq, Order::Desc)
            .limit(limit)
            .into_tuple()
            .all(&self.store.read)
            .await?)
    }

    /// The message of a conversation that carries this Message-ID.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn message_called(
        &self,
        conversation: &str,
        message_id: &str,
    ) -> Result<Option<rows::Message>, StoreError> {
        use e::messages::Column as C;
        // Without an order: asked for one, the database walks through the conversation.
        let found = scoped!(self, messages)
            .filter(C::MessageId.eq(message_id))
            .filter(C::ConversationId.eq(conversation))
            .limit(50)
            .all(&self.store.read)
            .await?;
        Ok(found.into_iter().max_by_key(|m| m.seq))
    }

    /// The first messages of a conversation, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn first_messages(
        &self,
        conversation: &str,
        limit: u64,
    ) -> Result<Vec<rows::Message>, StoreError> {
        Ok(scoped!(self, messages)
            .filter(e::messages::Column::ConversationId.eq(conversation))
            .order_by(e::messages::Column::Seq, Order::Asc)
            .limit(limit)
            .all(&self.store.read)
            .await?)
    }

    /// Attachments of these messages, in their order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn attachments(
        &self,
        message_ids: &[String],
    ) -> Result<Vec<rows::Attachment>, StoreError> {
        if message_ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(scoped!(self, attachments)
            .filter(e::attachments::Column::MessageId.is_in(message_ids.iter().cloned()))
            .order_by(e::attachments::Column::MessageId, Order::Asc)
            .order_by(e::attachments::Column::Position, Order::Asc)
            .all(&self.store.read)
            .await?)
    }

    /// An attachment by its id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn attachment(&self, id: &str) -> Result<Option<rows::Attachment>, StoreError> {
        Ok(scoped!(self, attachments)
            .filter(e::attachments::Column::Id.eq(id))
            .one(&self.store.read)
            .await?)
    }

    /// A conversation by its id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn conversation(&self, id: &str) -> Result<Option<rows::Conversation>, StoreError> {
        Ok(scoped!(self, conversations)
            .filter(e::conversations::Column::Id.eq(id))
            .one(&self.store.read)
            .await?)
    }

    /// Conversations by id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn conversations_by_id(
        &self,
        ids: &[String],
    ) -> Result<Vec<rows::Conversation>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        // With the tenant in the query SQLite may prefer the index that begins with it, and read
        // all conversations of the tenant for a few of them.
        let mut found = e::conversations::Entity::find()
            .filter(e::conversations::Column::Id.is_in(padded(ids)))
            .all(&self.store.read)
            .await?;
        found.retain(|row| row.tenant_id == self.tenant);
        Ok(found)
    }

    /// The conversation of a pair of people that was active last.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_of_pair(&self, pair: &str) -> Result<Option<rows::Conversation>, StoreError> {
        Ok(scoped!(self, conversations)
            .filter(e::conversations::Column::Pair.eq(pair))
            .order_by(e::conversations::Column::LastAt, Order::Desc)
            .limit(1)
            .one(&self.store.read)
            .await?)
    }

    /// All conversations of a pair of people, last active first, at most 50.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn all_of_pair(&self, pair: &str) -> Result<Vec<rows::Conversation>, StoreError> {
        Ok(scoped!(self, conversations)
            .filter(e::conversations::Column::Pair.eq(pair))
            .order_by(e::conversations::Column::LastAt, Order::Desc)
            .limit(50)
            .all(&self.store.read)
            .await?)
    }

    /// Conversations, by last activity; of one member if `member_id` is given. `before` is the
    /// last activity and the id of the last item of the page before.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn conversations(
        &self,
        member_id: Option<&str>,
        search: Option<&str>,
        before: Option<(i64, &str)>,
        limit: u64,
    ) -> Result<Vec<rows::Conversation>, StoreError> {
        use e::conversations::Column as C;
        let mut select = scoped!(self, conversations);
        if let Some(member) = member_id {
            let mine = Query::select()
                .column(e::participants::Column::ConversationId)
                .from(e::participants::Entity)
                .and_where(e::participants::Column::MemberId.eq(member))
                .to_owned();
            select = select.filter(C::Id.in_subquery(mine));
        }
        if let Some(words) = search.map(str::trim).filter(|w| !w.is_empty()) {
            let like = format!("%{}%", words.replace(['%', '_'], " ").to_lowercase());
            let texts = Query::select()
                .column(e::messages::Column::ConversationId)
                .from(e::messages::Entity)
                .and_where(e::messages::Column::TenantId.eq(self.tenant))
                .and_where(Expr::cust("lower(messages.text)").like(like.clone()))
                .to_owned();
            select = select.filter(
                Condition::any()
                    .add(Expr::cust("lower(conversations.subject)").like(like.clone()))
                    .add(C::Pair.like(like))
                    .add(C::Id.in_subquery(texts)),
            );
        }
        if let Some((at, id)) = before {
            select = select.filter(
                Condition::any()
                    .add(C::LastAt.lt(at))
                    .add(Condition::all().add(C::LastAt.eq(at)).add(C::Id.lt(id))),
            );
        }
        Ok(select
            .order_by(C::LastAt, Order::Desc)
            .order_by(C::Id, Order::Desc)
            .limit(limit)
            .all(&self.store.read)
            .await?)
    }

    /// Who takes part in these conversations.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn participants(
        &self,
        conversations: &[String],
    ) -> Result<Vec<rows::Participant>, StoreError> {
        if conversations.is_empty() {
            return Ok(Vec::new());
        }
        Ok(scoped!(self, participants)
            .filter(e::participants::Column::ConversationId.is_in(padded(conversations)))
            .all(&self.store.read)
            .await?)
    }

    /// The last message of each of these conversations.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_messages(
        &self,
        conversations: &[String],
    ) -> Result<Vec<rows::Message>, StoreError> {
        if conversations.is_empty() {
            return Ok(Vec::new());
        }
        let last = Query::select()
            .expr(Expr::cust("max(m2.seq)"))
            .from_as(e::messages::Entity, "m2")
            .and_where(Expr::cust("m2.conversation_id = messages.conversation_id"))
            .to_owned();
        Ok(scoped!(self, messages)
            .filter(e::messages::Column::ConversationId.is_in(conversations.iter().cloned()))
            .filter(e::messages::Column::Seq.in_subquery(last))
            .all(&self.store.read)
            .await?)
    }

    /// A transaction by its id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn transaction(&self, id: &str) -> Result<Option<rows::Transaction>, StoreError> {
        Ok(scoped!(self, transactions)
            .filter(e::transactions::Column::Id.eq(id))
            .one(&self.store.read)
            .await?)
    }

    /// The transaction that was accepted under this mark before.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn transaction_marked(
        &self,
        dedupe: &str,
    ) -> Result<Option<rows::Transaction>, StoreError> {
        Ok(scoped!(self, transactions)
            .filter(e::transactions::Column::Dedupe.eq(dedupe))
            .one(&self.store.read)
            .await?)
    }

    /// Transactions, newest first; of one member if given.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn transactions(
        &self,
        member_id: Option<&str>,
        page: &Page,
    ) -> Result<Vec<rows::Transaction>, StoreError> {
        let mut select = scoped!(self, transactions);
        if let Some(member) = member_id {
            select = select.filter(e::transactions::Column::MemberId.eq(member));
        }
        Ok(paged(select, e::transactions::Column::Id, page).all(&self.store.read).await?)
    }

    /// A delivery by its id.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn delivery(&self, id: &str) -> Result<Option<rows::Delivery>, StoreError> {
        let found = scoped!(self, deliveries).filter(e::deliveries::Column::Id.eq(id));
        let found = found.all(&self.store.read).await?;
        Ok(texts::whole(&self.store.read, found).await?.pop())
    }

    /// Deliveries of a transaction.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deliveries_of(
        &self,
        transaction: &str,
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        let found = scoped!(self, deliveries)
            .filter(e::deliveries::Column::TransactionId.eq(transaction))
            .all(&self.store.read)
            .await?;
        texts::whole(&self.store.read, found).await
    }

    /// Deliveries of these transactions.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deliveries_of_all(
        &self,
        transactions: &[String],
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        if transactions.is_empty() {
            return Ok(Vec::new());
        }
        let found = scoped!(self, deliveries)
            .filter(e::deliveries::Column::TransactionId.is_in(transactions.iter().cloned()))
            .order_by(e::deliveries::Column::Id, Order::Asc)
            .all(&self.store.read)
            .await?;
        texts::whole(&self.store.read, found).await
    }

    /// Deliveries of these messages.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deliveries_for(
        &self,
        message_ids: &[String],
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        if message_ids.is_empty() {
            return Ok(Vec::new());
        }
        let found = scoped!(self, deliveries)
            .filter(e::deliveries::Column::MessageId.is_in(message_ids.iter().cloned()))
            .order_by(e::deliveries::Column::Id, Order::Asc)
            .all(&self.store.read)
            .await?;
        texts::whole(&self.store.read, found).await
    }

    /// Deliveries that share a question, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn deliveries_asked(
        &self,
        question: &str,
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        let found = scoped!(self, deliveries)
            .filter(e::deliveries::Column::Question.eq(question))
            .order_by(e::deliveries::Column::Seq, Order::Asc)
            .all(&self.store.read)
            .await?;
        texts::whole(&self.store.read, found).await
    }

    /// Deliveries of a member that wait for an answer or a retry, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_questions(&self, member_id: &str) -> Result<Vec<rows::Delivery>, StoreError> {
        let found = scoped!(self, deliveries)
            .filter(e::deliveries::Column::MemberId.eq(member_id))
            .filter(Expr::cust(WAITING))
            .filter(e::deliveries::Column::State.is_in(["awaiting_decision", "retrying"]))
            .order_by(e::deliveries::Column::Seq, Order::Asc)
            .limit(500)
            .all(&self.store.read)
            .await?;
        texts::whole(&self.store.read, found).await
    }

    /// Waiting deliveries of one conversation (an open question, or a retry), oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn waiting_in(&self, conversation: &str) -> Result<Vec<rows::Delivery>, StoreError> {
        let found = scoped!(self, deliveries)
            .filter(e::deliveries::Column::ConversationId.eq(conversation))
            .filter(Expr::cust(WAITING))
            .order_by(e::deliveries::Column::Seq, Order::Asc)
            .limit(500)
            .all(&self.store.read)
            .await?;
        texts::whole(&self.store.read, found).await
    }

    /// Waiting deliveries to these IM addresses, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn waiting_at(
        &self,
        addresses: &[String],
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        if addresses.is_empty() {
            return Ok(Vec::new());
        }
        Ok(scoped!(self, deliveries)
            .filter(e::deliveries::Column::Address.is_in(addresses.iter().cloned()))
            .filter(Expr::cust(WAITING))
            .order_by(e::deliveries::Column::Seq, Order::Asc)
            .limit(5_000)
            .all(&self.store.read)
            .await?)
    }

    /// Outbound mails, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbound(&self, page: &Page) -> Result<Vec<rows::Outbound>, StoreError> {
        Ok(paged(scoped!(self, outbound), e::outbound::Column::Id, page)
            .all(&self.store.read)
            .await?)
    }

    /// Mails of members that were accepted since `since_ms`, for the quota: what is passed on to
    /// the tenant's own server, and what the bridge itself has to say, costs nobody anything.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn outbound_since(&self, since_ms: i64) -> Result<u64, StoreError> {
        use sea_orm::PaginatorTrait;
        Ok(scoped!(self, outbound)
            .filter(e::outbound::Column::Id.gte(OutboundId::first_at(Millis(since_ms))))
            .filter(e::outbound::Column::Kind.eq("message"))
            .count(&self.store.read)
            .await?)
    }

    /// Whether and why nothing is mailed to this address any more.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn suppression(
        &self,
        address: &str,
    ) -> Result<Option<rows::Suppression>, StoreError> {
        Ok(scoped!(self, suppressions)
            .filter(e::suppressions::Column::Address.eq(address))
            .one(&self.store.read)
            .await?)
    }

    /// The first answer to an idempotency key.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn idempotency(&self, key: &str) -> Result<Option<rows::Idempotency>, StoreError> {
        Ok(scoped!(self, idempotency)
            .filter(e::idempotency::Column::Key.eq(key))
            .one(&self.store.read)
            .await?)
    }

    /// The audit log, newest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audit(&self, page: &Page) -> Result<Vec<rows::Audit>, StoreError> {
        Ok(paged(scoped!(self, audit), e::audit::Column::Id, page).all(&self.store.read).await?)
    }

    /// How often the audit log has `action` on `target` since `since_ms`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn audited_since(
        &self,
        action: &str,
        target: &str,
        since_ms: i64,
    ) -> Result<u64, StoreError> {
        use sea_orm::PaginatorTrait;
        Ok(scoped!(self, audit)
            .filter(e::audit::Column::Action.eq(action))
            .filter(e::audit::Column::Target.eq(target))
            .filter(e::audit::Column::At.gte(since_ms))
            .count(&self.store.read)
            .await?)
    }

    /// A mapping by its id, revoked ones included.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn mapping(&self, id: &str) -> Result<Option<rows::Mapping>, StoreError> {
        Ok(scoped!(self, mappings)
            .filter(e::mappings::Column::Id.eq(id))
            .one(&self.store.read)
            .await?)
    }

    /// Whether the person behind an IM address said that they want to be asked no more: with `2`
    /// or `!stop`, of which the mapping keeps `how`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn declined(&self, im: &str) -> Result<bool, StoreError> {
        use sea_orm::PaginatorTrait;
        let count = scoped!(self, mappings)
            .filter(e::mappings::Column::Im.eq(im))
            .filter(e::mappings::Column::State.eq("revoked"))
            .filter(e::mappings::Column::How.eq(crate::DECLINED))
            .count(&self.store.read)
            .await?;
        Ok(count > 0)
    }

    /// The signing key of a domain.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dkim_key(&self, domain: &str) -> Result<Option<rows::DkimKey>, StoreError> {
        Ok(scoped!(self, dkim_keys)
            .filter(e::dkim_keys::Column::Domain.eq(domain))
            .one(&self.store.read)
            .await?)
    }

    /// How often each member has something they have not read: member's conversations whose last
    /// message is later than what they read.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unread(&self, member_id: &str) -> Result<u64, StoreError> {
        use sea_orm::PaginatorTrait;
        let later = Query::select()
            .expr(Expr::cust("1"))
            .from(e::messages::Entity)
            .and_where(Expr::cust("messages.conversation_id = participants.conversation_id"))
            .and_where(Expr::cust("messages.seq > participants.read_seq"))
            .and_where(Expr::cust("messages.from_person <> participants.person"))
            .to_owned();
        Ok(scoped!(self, participants)
            .filter(e::participants::Column::MemberId.eq(member_id))
            .filter(Expr::exists(later))
            .count(&self.store.read)
            .await?)
    }
}
