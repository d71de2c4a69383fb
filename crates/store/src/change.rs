//! What one commit writes, as data, so that the writer can put many callers' changes into
//! one transaction with one statement a table.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait,
    IntoActiveModel, Iterable, PrimaryKeyToColumn, QueryFilter, Statement, Value,
    sea_query::{Expr, ExprTrait, OnConflict},
};

use crate::{StoreError, entities, rows, texts};

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
    /// Of these only `introduced_at` is written, and only where the contact is still there.
    pub introduced_contacts: Vec<rows::Contact>,
    /// Ids of contacts to be deleted.
    pub gone_contacts: Vec<String>,
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

/// Calls a macro with every field, so that none is forgotten.
macro_rules! all_fields {
    ($with:ident) => {
        $with!(
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
            introduced_contacts,
            gone_contacts,
            put_mappings,
            once_aliases,
            ended,
            tried
        )
    };
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
        all_fields!(join);
    }

    /// How many rows there are of each kind, for [`Self::truncate`].
    #[must_use]
    pub fn lengths(&self) -> Vec<usize> {
        macro_rules! lengths {
            ($($field:ident),*) => { vec![$(self.$field.len()),*] };
        }
        all_fields!(lengths)
    }

    /// Takes away what was added since `lengths` were so.
    pub fn truncate(&mut self, lengths: &[usize]) {
        let mut lengths = lengths.iter().copied();
        macro_rules! cut {
            ($($field:ident),*) => {
                $(self.$field.truncate(lengths.next().unwrap_or(usize::MAX));)*
            };
        }
        all_fields!(cut);
    }

    /// Takes out what was added since `lengths` were so.
    pub(crate) fn split_off(&mut self, lengths: &[usize]) -> Self {
        let mut lengths = lengths.iter().copied();
        macro_rules! split {
            ($($field:ident),*) => {
                Self { $($field: {
                    let from = lengths.next().unwrap_or(usize::MAX).min(self.$field.len());
                    self.$field.split_off(from)
                }),* }
            };
        }
        all_fields!(split)
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        macro_rules! none {
            ($($field:ident),*) => {{
                let Self { $($field),* } = self;
                $($field.is_empty())&&*
            }};
        }
        all_fields!(none)
    }

    /// Whether the in-memory directory must be read again after this commit.
    pub(crate) fn touches_directory(&self) -> bool {
        !(self.once_contacts.is_empty()
            && self.put_contacts.is_empty()
            && self.introduced_contacts.is_empty()
            && self.gone_contacts.is_empty()
            && self.put_mappings.is_empty()
            && self.once_aliases.is_empty())
    }

    /// Writes everything inside `tx`.
    pub(crate) async fn apply(&self, tx: &DatabaseTransaction) -> Result<(), StoreError> {
        use entities::{outbound, participants};
        let directory = self.touches_directory();
        insert(tx, all(&self.new_transactions), Clash::Fails).await?;
        insert(tx, all(&self.new_idempotency), Clash::Fails).await?;
        insert(tx, all(&self.once_blobs), Clash::Keeps).await?;
        insert(tx, last_of(&self.put_conversations, |c| &c.id), Clash::Replaces).await?;
        let people = last_of(&self.put_participants, |p| (&p.conversation_id, &p.person));
        insert(tx, people, Clash::Moves(&participants::Column::MOVES)).await?;
        insert(tx, all(&self.once_messages), Clash::Keeps).await?;
        insert(tx, last_of(&self.put_messages, |m| &m.id), Clash::Replaces).await?;
        insert(tx, all(&self.once_attachments), Clash::Keeps).await?;
        put_deliveries(tx, &self.put_deliveries, &self.once_messages).await?;
        insert(tx, all(&self.once_outbound), Clash::Keeps).await?;
        let mails = last_of(&self.put_outbound, |o| &o.id);
        insert(tx, mails, Clash::Moves(&outbound::Column::MOVES)).await?;
        insert(tx, last_of(&self.put_confirmations, |c| &c.token), Clash::Replaces).await?;
        insert(tx, all(&self.once_links), Clash::Keeps).await?;
        insert(tx, last_of(&self.put_links, |l| &l.token), Clash::Replaces).await?;
        insert(tx, all(&self.once_suppressions), Clash::Keeps).await?;
        insert(tx, all(&self.once_web_chat), Clash::Keeps).await?;
        insert(tx, all(&self.new_audit), Clash::Fails).await?;
        insert(tx, all(&self.once_contacts), Clash::Ignores).await?;
        insert(tx, last_of(&self.put_contacts, |c| &c.id), Clash::Replaces).await?;
        introduce(tx, &self.introduced_contacts).await?;
        if !self.gone_contacts.is_empty() {
            use entities::contacts::{Column, Entity};
            let gone = self.gone_contacts.iter().cloned();
            Entity::delete_many().filter(Column::Id.is_in(gone)).exec(tx).await?;
        }
        insert(tx, last_of(&self.put_mappings, |m| &m.id), Clash::Replaces).await?;
        insert(tx, all(&self.once_aliases), Clash::Keeps).await?;
        end(tx, &self.ended).await?;
        if !self.tried.is_empty() {
            use entities::transactions::{Column, Entity};
            Entity::update_many()
                .col_expr(Column::Attempts, Expr::col(Column::Attempts).add(1))
                .filter(Column::Id.is_in(self.tried.iter().cloned()))
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
enum Clash<C: 'static> {
    /// The whole set fails.
    Fails,
    /// The old row stays (same primary key only).
    Keeps,
    /// The old row stays, whichever unique key clashes.
    Ignores,
    /// The new row takes its place.
    Replaces,
    /// These columns take their new values; no others ever change, so that only the indexes on
    /// these are written.
    Moves(&'static [C]),
}

/// Rows a statement: far below SQLite's limit of variables, large enough to pay.
const CHUNK: usize = 64;

fn all<R>(rows: &[R]) -> Vec<&R> {
    rows.iter().collect()
}

/// The last row of each key, in order of writing: one statement may not touch a row twice.
fn last_of<'r, R, K: Ord>(rows: &'r [R], key: impl Fn(&'r R) -> K) -> Vec<&'r R> {
    if rows.len() < 2 {
        return all(rows);
    }
    let mut last = BTreeMap::new();
    for (i, row) in rows.iter().enumerate() {
        last.insert(key(row), i);
    }
    let mut keep: Vec<usize> = last.into_values().collect();
    keep.sort_unstable();
    keep.into_iter().map(|i| &rows[i]).collect()
}

async fn insert<M, A, E>(
    tx: &DatabaseTransaction,
    rows: Vec<&M>,
    clash: Clash<E::Column>,
) -> Result<(), StoreError>
where
    M: IntoActiveModel<A> + sea_orm::ModelTrait<Entity = E> + Clone,
    A: ActiveModelTrait<Entity = E> + Send,
    E: EntityTrait<Model = M>,
{
    let keys = || E::PrimaryKey::iter().map(PrimaryKeyToColumn::into_column);
    let on_conflict = match clash {
        Clash::Fails => None,
        Clash::Keeps => Some(OnConflict::columns(keys()).do_nothing().to_owned()),
        Clash::Ignores => Some(OnConflict::new().do_nothing().to_owned()),
        Clash::Replaces => {
            let is_key = |c: &E::Column| keys().any(|k| same_column::<E>(&k, c));
            let rest = E::Column::iter().filter(|c| !is_key(c));
            Some(OnConflict::columns(keys()).update_columns(rest).to_owned())
        }
        Clash::Moves(columns) => {
            Some(OnConflict::columns(keys()).update_columns(columns.iter().copied()).to_owned())
        }
    };
    for group in groups(&rows) {
        let models = group.iter().map(|&row| row.clone().into_active_model());
        let mut query = E::insert_many(models);
        if let Some(on_conflict) = &on_conflict {
            query = query.on_conflict(on_conflict.clone());
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

/// Rows in groups of 64, 32 or 16, then the rest: eighteen shapes of a statement a table, so that
/// the database finds nearly all of them prepared.
fn groups<R>(all: &[R]) -> impl Iterator<Item = &[R]> {
    let mut rest = all;
    std::iter::from_fn(move || {
        let most = match rest.len() {
            0 => return None,
            few @ 1..16 => few,
            many => 1 << many.min(CHUNK).ilog2(),
        };
        let (group, later) = rest.split_at(most);
        rest = later;
        Some(group)
    })
}

async fn put_deliveries(
    tx: &DatabaseTransaction,
    all: &[rows::Delivery],
    messages: &[rows::Message],
) -> Result<(), StoreError> {
    use entities::deliveries::{Column, Entity};
    // Within one set a delivery may have moved twice: the last row holds, guarded by the first.
    let mut first = BTreeMap::new();
    for row in all {
        first.entry(row.id.as_str()).or_insert(row.version - 1);
    }
    let (new, moved): (Vec<_>, Vec<_>) =
        last_of(all, |d| &d.id).into_iter().partition(|d| first[d.id.as_str()] == 0);
    let whole = |written: u64, group: &[&rows::Delivery]| {
        if written == group.len() as u64 { Ok(()) } else { Err(StoreError::Moved("deliveries")) }
    };
    let texts: HashMap<&str, &str> =
        messages.iter().map(|m| (m.id.as_str(), m.text.as_str())).collect();
    for group in groups(&new) {
        let short = group.iter().map(|row| texts::cut(row, texts.get(row.message_id.as_str())));
        let written = Entity::insert_many(short.map(IntoActiveModel::into_active_model))
            .on_conflict(OnConflict::column(Column::Id).do_nothing().to_owned())
            .exec_without_returning(tx)
            .await;
        match written {
            Ok(n) => whole(n, group)?,
            Err(sea_orm::DbErr::RecordNotInserted) => whole(0, group)?,
            Err(error) => return Err(error.into()),
        }
    }
    for group in groups(&moved) {
        whole(move_deliveries(tx, group, &first).await?, group)?;
    }
    Ok(())
}

/// Writes what changes when deliveries move: not their text, which may be long.
async fn move_deliveries(
    tx: &DatabaseTransaction,
    group: &[&rows::Delivery],
    guards: &BTreeMap<&str, i64>,
) -> Result<u64, StoreError> {
    const COLUMNS: usize = 8;
    let mut sql = String::from(
        "UPDATE deliveries SET state = new.column3, data = new.column4, history = new.column5, \
         question = new.column6, due_at = new.column7, version = new.column8 FROM (VALUES ",
    );
    let mut values: Vec<Value> = Vec::with_capacity(group.len() * COLUMNS);
    for (i, row) in group.iter().enumerate() {
        sql.push_str(if i == 0 { "(" } else { "), (" });
        for column in 1..=COLUMNS {
            let comma = if column == 1 { "" } else { ", " };
            let _ = write!(sql, "{comma}${}", i * COLUMNS + column);
        }
        values.extend([
            row.id.clone().into(),
            guards[row.id.as_str()].into(),
            row.state.clone().into(),
            row.data.clone().into(),
            row.history.clone().into(),
            row.question.clone().into(),
            row.due_at.into(),
            row.version.into(),
        ]);
    }
    sql.push_str(
        ")) AS new WHERE deliveries.id = new.column1 AND deliveries.version = new.column2",
    );
    let statement = Statement::from_sql_and_values(tx.get_database_backend(), sql, values);
    Ok(tx.execute_raw(statement).await?.rows_affected())
}

/// Notes since when contacts know who writes to them. One that was deleted meanwhile stays so.
async fn introduce(tx: &DatabaseTransaction, all: &[rows::Contact]) -> Result<(), StoreError> {
    use entities::contacts::{Column, Entity};
    for contact in all {
        Entity::update_many()
            .col_expr(Column::IntroducedAt, Expr::val(contact.introduced_at))
            .filter(Column::Id.eq(&contact.id))
            .exec(tx)
            .await?;
    }
    Ok(())
}

async fn end(tx: &DatabaseTransaction, ended: &[Ended]) -> Result<(), StoreError> {
    use entities::transactions::{Column, Entity};
    let mut alike: BTreeMap<(&'static str, &Option<String>, i64), Vec<&str>> = BTreeMap::new();
    for e in ended {
        alike.entry((e.state, &e.reason, e.at)).or_default().push(&e.id);
    }
    for ((state, reason, at), ids) in alike {
        for ids in groups(&ids) {
            Entity::update_many()
                .set(entities::transactions::ActiveModel {
                    state: ActiveValue::Set(state.to_owned()),
                    reason: ActiveValue::Set(reason.clone()),
                    ended_at: ActiveValue::Set(Some(at)),
                    ..Default::default()
                })
                .filter(Column::Id.is_in(ids.iter().copied()))
                .exec(tx)
                .await?;
        }
    }
    Ok(())
}
