//! From a form to a transaction, and a short wait for its end, so that the page that follows
//! shows what came of it.

use std::time::Duration;

use isthmus_domain::service::OutFileRef;
use isthmus_store::{ChangeSet, StoreError, rows};
use serde::Serialize;

use super::{Shared, form::Upload};
use crate::accept::NewTransaction;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// What is known of a transaction when the form is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was done.
    Done,
    /// It was refused, or failed, for this reason.
    Not(String),
    /// It is accepted and not over yet.
    Open,
}

impl Shared {
    /// Commits a transaction with what belongs to it and waits a moment for its end.
    ///
    /// # Errors
    /// Nothing was accepted then. What was accepted before under the same mark is no error.
    pub(crate) async fn act<P: Serialize>(
        &self,
        new: NewTransaction<'_, P>,
        set: ChangeSet,
    ) -> Result<Ended, StoreError> {
        self.run(self.gateway.transaction(new), set).await
    }

    /// The same with the transaction's own row.
    pub(crate) async fn run(
        &self,
        row: rows::Transaction,
        mut set: ChangeSet,
    ) -> Result<Ended, StoreError> {
        let (tenant, mark) = (row.tenant_id.clone(), row.dedupe.clone());
        let mut id = row.id.clone();
        set.new_transactions.push(row);
        match self.gateway.accept(set, None).await {
            Ok(()) => {}
            Err(error) if error.is_duplicate() => {
                let before = match &mark {
                    Some(mark) => self.gateway.store.of(&tenant).transaction_marked(mark).await?,
                    None => None,
                };
                id = before.ok_or(error)?.id;
            }
            Err(error) => return Err(error),
        }
        self.end_of(&tenant, &id).await
    }

    async fn end_of(&self, tenant: &str, id: &str) -> Result<Ended, StoreError> {
        let until = tokio::time::Instant::now() + self.times.patience;
        loop {
            if let Some(row) = self.gateway.store.of(tenant).transaction(id).await?
                && row.ended_at.is_some()
            {
                return Ok(match row.state.as_str() {
                    "done" => Ended::Done,
                    _ => {
                        Ended::Not(row.reason.unwrap_or_else(|| "it could not be done".to_owned()))
                    }
                });
            }
            if tokio::time::Instant::now() >= until {
                return Ok(Ended::Open);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Keeps files, to be committed with the transaction that names them.
    ///
    /// # Errors
    /// When one cannot be written.
    pub(crate) async fn keep(
        &self,
        tenant: &str,
        files: &[Upload],
        set: &mut ChangeSet,
    ) -> Result<Vec<OutFileRef>, StoreError> {
        let mut refs = Vec::with_capacity(files.len());
        for file in files {
            let blob = self.gateway.store.keep_blob(tenant, file.data.clone()).await?;
            refs.push(OutFileRef {
                name: file.name.clone(),
                media_type: file.media_type.clone(),
                size: blob.size,
                hash: blob.hash.clone(),
                content_id: None,
            });
            set.once_blobs.push(blob);
        }
        Ok(refs)
    }
}

/// A sentence out of a reason: with a capital letter and a full stop.
pub(crate) fn sentence(reason: &str) -> String {
    let mut letters = reason.trim().trim_end_matches('.').chars();
    let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    format!("{first}{}.", letters.as_str())
}
