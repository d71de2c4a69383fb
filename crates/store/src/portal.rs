//! What only pages ask of the store: what is unread, who has read how far, one-time codes, and
//! lines of the web chat by their id.

use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, Order, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, Query},
};

use crate::{Scope, Store, StoreError, entities as e, rows};

impl Scope<'_> {
    /// How many messages of each of these conversations a member has not read, their own left
    /// out; conversations without any are missing.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn unread_in(
        &self,
        member_id: &str,
        conversations: &[String],
    ) -> Result<Vec<(String, i64)>, StoreError> {
        use e::{messages::Column as M, participants::Column as P};
        if conversations.is_empty() {
            return Ok(Vec::new());
        }
        let behind = Query::select()
            .expr(Expr::cust("1"))
            .from(e::participants::Entity)
            .and_where(Expr::cust("participants.conversation_id = messages.conversation_id"))
            .and_where(Expr::cust("participants.read_seq < messages.seq"))
            .and_where(Expr::cust("participants.person <> messages.from_person"))
            .and_where(Expr::col((e::participants::Entity, P::MemberId)).eq(member_id))
            .to_owned();
        Ok(e::messages::Entity::find()
            .select_only()
            .column(M::ConversationId)
            .column_as(M::Id.count(), "unread")
            .filter(M::TenantId.eq(self.tenant))
            .filter(M::ConversationId.is_in(conversations.iter().cloned()))
            .filter(Expr::exists(behind))
            .group_by(M::ConversationId)
            .into_tuple::<(String, i64)>()
            .all(&self.store.read)
            .await?)
    }

    /// Notes that a member has read a conversation up to `seq`; never backwards.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn mark_read(
        &self,
        conversation: &str,
        member_id: &str,
        seq: i64,
    ) -> Result<(), StoreError> {
        let (tenant, conversation, member) =
            (self.tenant.to_owned(), conversation.to_owned(), member_id.to_owned());
        self.store
            .write(move |tx| {
                let (tenant, conversation, member) =
                    (tenant.clone(), conversation.clone(), member.clone());
                Box::pin(async move {
                    use e::participants::Column as C;
                    e::participants::Entity::update_many()
                        .col_expr(C::ReadSeq, Expr::val(seq))
                        .filter(C::TenantId.eq(tenant))
                        .filter(C::ConversationId.eq(conversation))
                        .filter(C::MemberId.eq(member))
                        .filter(C::ReadSeq.lt(seq))
                        .exec(tx)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// What a member was asked and has not answered, newest first, at most 200.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn open_confirmations(
        &self,
        member_id: &str,
    ) -> Result<Vec<rows::Confirmation>, StoreError> {
        use e::confirmations::Column as C;
        Ok(e::confirmations::Entity::find()
            .filter(C::TenantId.eq(self.tenant))
            .filter(C::MemberId.eq(member_id))
            .filter(C::State.eq("open"))
            .order_by(C::At, Order::Desc)
            .limit(200)
            .all(&self.store.read)
            .await?)
    }
}

impl Store {
    /// The line of the web chat that was written under this id for this person.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn web_chat_called(
        &self,
        owner: &str,
        id: &str,
    ) -> Result<Option<rows::WebChatLine>, StoreError> {
        use e::web_chat::Column as C;
        // A row's key is thirteen digits of time, a space, and the id under which it was sent.
        Ok(e::web_chat::Entity::find()
            .filter(C::Owner.eq(owner))
            .filter(Expr::cust("substr(web_chat.id, 15)").eq(id))
            .limit(1)
            .one(&self.read)
            .await?)
    }

    /// Takes one of the `most` attempts to enter a link's code; returns the link as it was before,
    /// or nothing if there is none left. Counted before the code is looked at, one at a time, so
    /// that guesses at the same moment are guesses all the same.
    ///
    /// # Errors
    /// When the database cannot do it.
    pub async fn take_code_attempt(
        &self,
        token: &str,
        most: i64,
    ) -> Result<Option<rows::Link>, StoreError> {
        let token = token.to_owned();
        self.write(move |tx| {
            let token = token.clone();
            Box::pin(async move {
                use e::links::Column as C;
                let Some(link) = e::links::Entity::find_by_id(&token).one(tx).await? else {
                    return Ok(None);
                };
                if link.code_hash.is_none() || link.attempts >= most {
                    return Ok(None);
                }
                e::links::Entity::update_many()
                    .col_expr(C::Attempts, Expr::val(link.attempts + 1))
                    .filter(C::Token.eq(&token))
                    .exec(tx)
                    .await?;
                Ok(Some(link))
            })
        })
        .await
    }
}
