//! What one commit writes, as data, so that the writer can put many callers' changes into
//! one transaction with one statement a table.

use std::collections::BTreeMap;

use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, Iterable, PrimaryKeyToColumn, QueryFilter,
    sea_query::{Expr, ExprTrait, OnConflict},
};

use crate::{StoreError, entities, rows};

/// Rows that are written together or not at all.
///
/// `new_*` rows must not be there yet (a clash fails the set), `once_*` rows are left alone
/// when they are, `put_*` rows replace what is there.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "each field is named after its table")]
pub struct ChangeSet {
    pub new_transactions: Vec<rows::Transaction>,
    pub once_blobs: Vec<rows::Blob>,
    pub put_conversations: Vec<rows::Conversation>,
    pub put_participants: Vec<rows::Participant>,
    pub once_messages: Vec<rows::Message>,
    pub put_messages: Vec<rows::Message>,
    pub once_attachments: Vec<rows::Attachment>,
    /// Written only over the version before: a row that moved meanwhile fails the set.
    pub put_deliveries: Vec<rows::Delivery>,
    pub once_outbound: Vec<rows::Outbound>,
    pub put_outbound: Vec<rows::Outbound>,
    pub put_confirmations: Vec<rows::Confirmation>,
    pub once_links: Vec<rows::Link>,
    pub put_links: Vec<rows::Link>,
    pub once_suppressions: Vec<rows::Suppression>,
    pub once_web_chat: Vec<rows::WebChatLine>,
    pub new_idempotency: Vec<rows::Idempotency>,
    pub new_audit: Vec<rows::Audit>,
    pub once_contacts: Vec<rows::Contact>,
    pub put_contacts: Vec<rows::Contact>,
    pub put_mappings: Vec<rows::Mapping>,
    pub once_aliases: Vec<rows::Alias>,
    /// Transactions that came to their end.
    pub ended: Vec<Ended>,
    /// Transactions to be counted as tried once more.
    pub tried: Vec<String>,
}

/// A transaction's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which one.
    pub id: String,
    /// `done`, `refused` or `failed`.
    pub state: &'static str,
    /// Why, unless it is done.
    pub reason: Option<String>,
    /// When, in milliseconds.
    pub at: i64,
}

impl ChangeSet {
    /// Adds all rows of `other`.
    pub fn append(&mut self, other: Self) {
        macro_rules! join {
            ($($field:ident),*) => {{
                let Self { $($field),* } = other;
                $(self.$field.extend($field);)*
            }};
        }
        join!(
            new_transactions,
            once_blobs,
            put_conversations,
            put_participants,
            once_messages,
            put_messages,
            once_attachments,
            put_deliveries,
            once_outbound,
            put_outbound,
            put_confirmations,
            once_links,
            put_links,
            once_suppressions,
            once_web_chat,
            new_idempotency,
            new_audit,
            once_contacts,
            put_contacts,
            put_mappings,
            once_aliases,
            ended,
            tried
        );
    }

    /// Whether the in-memory directory must be read again after this commit.
    pub(crate) fn touches_directory(&self) -> bool {
        !(self.once_contacts.is_empty()
            && self.put_contacts.is_empty()
            && self.put_mappings.is_empty()
            && self.once_aliases.is_empty())
    }

    /// Writes everything inside `tx`.
    pub(crate) async fn apply(self, tx: &DatabaseTransaction) -> Result<(), StoreError> {
        let directory = self.touches_directory();
        insert(tx, self.new_transactions, Clash::Fails).await?;
        insert(tx, self.new_idempotency, Clash::Fails).await?;
        insert(tx, self.once_blobs, Clash::Keeps).await?;
        insert(tx, last_of(self.put_conversations, |c| c.id.clone()), Clash::Replaces).await?;
        let participants =
            last_of(self.put_participants, |p| (p.conversation_id.clone(), p.person.clone()));
        insert(tx, participants, Clash::Replaces).await?;
        insert(tx, self.once_messages, Clash::Keeps).await?;
        insert(tx, last_of(self.put_messages, |m| m.id.clone()), Clash::Replaces).await?;
        insert(tx, self.once_attachments, Clash::Keeps).await?;
        put_deliveries(tx, self.put_deliveries).await?;
        insert(tx, self.once_outbound, Clash::Keeps).await?;
        insert(tx, last_of(self.put_outbound, |o| o.id.clone()), Clash::Replaces).await?;
        let confirmations = last_of(self.put_confirmations, |c| c.token.clone());
        insert(tx, confirmations, Clash::Replaces).await?;
        insert(tx, self.once_links, Clash::Keeps).await?;
        insert(tx, last_of(self.put_links, |l| l.token.clone()), Clash::Replaces).await?;
        insert(tx, self.once_suppressions, Clash::Keeps).await?;
        insert(tx, self.once_web_chat, Clash::Keeps).await?;
        insert(tx, self.new_audit, Clash::Fails).await?;
        insert(tx, self.once_contacts, Clash::Ignores).await?;
        insert(tx, last_of(self.put_contacts, |c| c.id.clone()), Clash::Replaces).await?;
        insert(tx, last_of(self.put_mappings, |m| m.id.clone()), Clash::Replaces).await?;
        insert(tx, self.once_aliases, Clash::Keeps).await?;
        end(tx, self.ended).await?;
        if !self.tried.is_empty() {
            use entities::transactions::{Column, Entity};
            Entity::update_many()
                .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
                .filter(Column::Id.is_in(self.tried))
                .exec(tx)
                .await?;
        }
        if directory {
            bump_directory(tx).await?;
        }
        Ok(())
    }
}

/// Tells every process that its picture of tenants and people is out of date.
pub(crate) async fn bump_directory(db: &impl ConnectionTrait) -> Result<(), StoreError> {
    db.execute_unprepared(
        "UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) \
         WHERE name = 'directory_version'",
    )
    .await?;
    Ok(())
}

/// What happens to a row whose key is taken.
#[derive(Clone, Copy)]
enum Clash {
    /// The whole set fails.
    Fails,
    /// The old row stays (same primary key only).
    Keeps,
    /// The old row stays, whichever unique key clashes.
    Ignores,
    /// The new row takes its place.
    Replaces,
}

/// Rows a statement: far below SQLite's limit of variables, large enough to pay.
const CHUNK: usize = 64;

/// The last row of each key, in order of first appearance: one statement may not touch a row twice.
fn last_of<R, K: Ord>(all: Vec<R>, key: impl Fn(&R) -> K) -> Vec<R> {
    if all.len() < 2 {
        return all;
    }
    let mut last = BTreeMap::new();
    for (i, row) in all.iter().enumerate() {
        last.insert(key(row), i);
    }
    let keep: std::collections::BTreeSet<usize> = last.into_values().collect();
    all.into_iter().enumerate().filter(|(i, _)| keep.contains(i)).map(|(_, r)| r).collect()
}

async fn insert<M, A, E>(
    tx: &DatabaseTransaction,
    all: Vec<M>,
    clash: Clash,
) -> Result<(), StoreError>
where
    M: IntoActiveModel<A> + sea_orm::ModelTrait<Entity = E> + Clone,
    A: ActiveModelTrait<Entity = E> + Send,
    E: EntityTrait<Model = M>,
{
    for chunk in all.chunks(CHUNK) {
        let mut query =
            E::insert_many(chunk.iter().cloned().map(IntoActiveModel::into_active_model));
        let keys = || E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column);
        match clash {
            Clash::Fails => {}
            Clash::Keeps => {
                query = query.on_conflict(OnConflict::columns(keys()).do_nothing().to_owned())
            }
            Clash::Ignores => query = query.on_conflict(OnConflict::new().do_nothing().to_owned()),
            Clash::Replaces => {
                let is_key = |c: &E::Column| keys().any(|k| same_column::<E>(&k, c));
                let rest = E::Column::iter().filter(|c| !is_key(c));
                query =
                    query.on_conflict(OnConflict::columns(keys()).update_columns(rest).to_owned());
            }
        }
        match query.exec_without_returning(tx).await {
            Ok(_) | Err(sea_orm::DbErr::RecordNotInserted) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn same_column<E: EntityTrait>(a: &E::Column, b: &E::Column) -> bool {
    use sea_orm::sea_query::Iden;
    a.unquoted() == b.unquoted()
}

async fn put_deliveries(
    tx: &DatabaseTransaction,
    all: Vec<rows::Delivery>,
) -> Result<(), StoreError> {
    use entities::deliveries::{Column, Entity};
    // Within one set a delivery may have moved twice: the last row holds, guarded by the first.
    let mut first = BTreeMap::new();
    for row in &all {
        first.entry(row.id.clone()).or_insert(row.version - 1);
    }
    let rows = last_of(all, |d| d.id.clone());
    for chunk in rows.chunks(CHUNK) {
        let plain = chunk.iter().all(|r| first.get(&r.id) == Some(&(r.version - 1)));
        let groups: Vec<&[rows::Delivery]> =
            if plain { vec![chunk] } else { chunk.chunks(1).collect() };
        for group in groups {
            let guard = if plain {
                Expr::cust("deliveries.version = excluded.version - 1")
            } else {
                Expr::col((Entity, Column::Version)).eq(Expr::val(first[&group[0].id]))
            };
            let columns = Column::iter().filter(|c| !matches!(c, Column::Id));
            let written =
                Entity::insert_many(group.iter().cloned().map(IntoActiveModel::into_active_model))
                    .on_conflict(
                        OnConflict::column(Column::Id)
                            .update_columns(columns)
                            .action_and_where(guard)
                            .to_owned(),
                    )
                    .exec_without_returning(tx)
                    .await;
            let written = match written {
                Ok(n) => n,
                Err(sea_orm::DbErr::RecordNotInserted) => 0,
                Err(error) => return Err(error.into()),
            };
            if written != group.len() as u64 {
                return Err(StoreError::Moved("deliveries"));
            }
        }
    }
    Ok(())
}

async fn end(tx: &DatabaseTransaction, ended: Vec<Ended>) -> Result<(), StoreError> {
    use entities::transactions::{Column, Entity};
    let mut groups: BTreeMap<(&'static str, Option<String>, i64), Vec<String>> = BTreeMap::new();
    for e in ended {
        groups.entry((e.state, e.reason, e.at)).or_default().push(e.id);
    }
    for ((state, reason, at), ids) in groups {
        for ids in ids.chunks(CHUNK) {
            Entity::update_many()
                .set(entities::transactions::ActiveModel {
                    state: ActiveValue::Set(state.to_owned()),
                    reason: ActiveValue::Set(reason.clone()),
                    ended_at: ActiveValue::Set(Some(at)),
                    ..Default::default()
                })
                .filter(Column::Id.is_in(ids.iter().cloned()))
                .exec(tx)
                .await?;
        }
    }
    Ok(())
}
