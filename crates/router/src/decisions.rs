//! Answers to the question, from wherever they come: whoever answers first decides.

use isthmus_domain::delivery::{Choice, Happened, NotPossible, Reach};
use isthmus_store::{StoreError, TenantView, rows};

use isthmus_domain::service::Decision;

use crate::{batch::Batch, services::Outcome, steps::StepError};

impl Batch<'_> {
    /// The `decision` service.
    pub(crate) async fn decision(
        &mut self,
        tenant: &TenantView,
        _transaction: &rows::Transaction,
        decision: Decision,
    ) -> Result<Outcome, StoreError> {
        let scope = self.router.store.of(&tenant.tenant.id);
        let Some(row) = scope.delivery(&decision.delivery_id).await? else {
            return Ok(Outcome::refused("there is no such delivery"));
        };
        Ok(match self.decide(row, decision.action, &decision.by).await? {
            Ok(()) => Outcome::Done,
            Err(why) => Outcome::Refused(why.to_string()),
        })
    }

    /// Decides about a delivery and all that wait with it. Several that become email are one mail.
    pub(crate) async fn decide(
        &mut self,
        row: rows::Delivery,
        choice: Choice,
        by: &str,
    ) -> Result<Result<(), NotPossible>, StoreError> {
        // Somebody else may have decided in this very turn.
        let row = self.newest_of(row);
        if !is_open(&row) {
            let state = crate::steps::read_state(&row)?;
            return Ok(Err(if state.is_settled() {
                NotPossible::Settled(state.name())
            } else {
                NotPossible::NotAsked(state.name())
            }));
        }
        let decided = |email_delivery: String| Happened::Decided {
            choice,
            by: by.to_owned(),
            email_delivery,
        };
        let mut all = match choice {
            // The others go along in the same mail.
            Choice::Email => vec![row],
            Choice::Retry | Choice::Abort => {
                let mut all = self.waiting_with(&row).await?;
                all.retain(is_open);
                all.push(row);
                all.sort_by_key(|d| d.seq);
                all
            }
        };
        for delivery in &mut all {
            match self.advance(delivery.clone(), decided(String::new())).await {
                Ok(moved) => *delivery = moved,
                Err(StepError::Store(error)) => return Err(error),
                Err(StepError::NotPossible(why)) => return Ok(Err(why)),
            }
        }
        if choice == Choice::Retry {
            self.at_once_if_there(all).await?;
        }
        Ok(Ok(()))
    }

    /// Whoever is there by now need not wait for the timer.
    async fn at_once_if_there(&mut self, retrying: Vec<rows::Delivery>) -> Result<(), StoreError> {
        for row in retrying.into_iter().filter(|row| row.medium == "im") {
            let wire = crate::steps::read_wire(&row)?;
            if self.reach(&wire.bridge_domain, &row.address) == Reach::Available {
                self.happened(row, Happened::Presence(Reach::Available)).await?;
            }
        }
        Ok(())
    }
}

/// Whether the sender can still decide.
pub(crate) fn is_open(row: &rows::Delivery) -> bool {
    matches!(row.state.as_str(), "awaiting_decision" | "retrying")
}
