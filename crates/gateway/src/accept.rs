//! From a request to a committed transaction: the one way in for every door.

use std::{any::Any, sync::Arc};

use bytes::Bytes;
use isthmus_domain::{clock::Millis, ids::TransactionId};
use isthmus_queue::Hint;
use isthmus_store::{ChangeSet, StoreError, rows};
use serde::Serialize;

use crate::Gateway;

/// A request that is about to become a transaction.
#[derive(Debug)]
pub struct NewTransaction<'a, P> {
    /// The customer.
    pub tenant: &'a str,
    /// Who asked, if a member did.
    pub member: Option<&'a str>,
    /// `mail.in`, `im.in`, `reply.im` and so on.
    pub service: &'a str,
    /// `smtp`, `im`, `portal`, `api`.
    pub source: &'a str,
    /// The service's parameters.
    pub params: &'a P,
    /// What makes a repetition recognisable.
    pub dedupe: Option<String>,
}

impl Gateway {
    /// The row of a new transaction, admitted: this version admits whatever the doors let in.
    pub fn transaction<P: Serialize>(&self, new: NewTransaction<'_, P>) -> rows::Transaction {
        let now = self.clock.now();
        let id: String = TransactionId::new(now, &self.chance).into();
        rows::Transaction {
            id,
            tenant_id: new.tenant.to_owned(),
            member_id: new.member.map(ToOwned::to_owned),
            service: new.service.to_owned(),
            source: new.source.to_owned(),
            params: serde_json::to_string(new.params).unwrap_or_default(),
            state: "received".into(),
            reason: None,
            admission: None,
            dedupe: new.dedupe,
            attempts: 0,
            at: now.0,
            ended_at: None,
        }
    }

    /// Commits `set` with its transactions, and hints at them. What `carried` holds for a
    /// transaction saves the router a look-up.
    ///
    /// # Errors
    /// Nothing was accepted then.
    pub async fn accept(&self, set: ChangeSet, carried: Option<Bytes>) -> Result<(), StoreError> {
        let rows = set.new_transactions.clone();
        self.store.commit(set).await?;
        for row in rows {
            let (tenant, transaction): (Arc<str>, _) =
                (row.tenant_id.as_str().into(), row.id.clone());
            let octets = row.params.len() + carried.as_ref().map_or(0, Bytes::len);
            let carried: Arc<dyn Any + Send + Sync> = match &carried {
                Some(raw) => Arc::new((row, raw.clone())),
                None => Arc::new(row),
            };
            self.queue.push(Hint { tenant, transaction, carried: Some(carried), octets });
        }
        Ok(())
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Millis {
        self.clock.now()
    }
}
