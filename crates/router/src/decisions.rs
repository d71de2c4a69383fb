//! Answers to the question, from wherever they come: whoever answers first decides.

use isthmus_domain::{
    delivery::{Choice, Happened, NotPossible},
    ids::DeliveryId,
};
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
        let all = match &row.question {
            Some(question) => {
                self.router.store.of(&row.tenant_id).deliveries_asked(question).await?
            }
            None => vec![row.clone()],
        };
        let open =
            |d: &rows::Delivery| matches!(d.state.as_str(), "awaiting_decision" | "retrying");
        // The delivery that was named must be open; the others go along if they are.
        if !open(&row) {
            let state = crate::steps::read_state(&row)?;
            return Ok(Err(if state.is_settled() {
                NotPossible::Settled(state.name())
            } else {
                NotPossible::NotAsked(state.name())
            }));
        }
        let email_delivery: String = DeliveryId::new(self.now, &self.router.chance).into();
        let waiting: Vec<_> = all.into_iter().filter(open).collect();
        let together = choice == Choice::Email && waiting.len() > 1;
        for delivery in &waiting {
            let happened = Happened::Decided {
                choice,
                by: by.to_owned(),
                email_delivery: email_delivery.clone(),
            };
            let step = if together {
                self.advance_quietly(delivery.clone(), happened).await
            } else {
                self.advance(delivery.clone(), happened).await.map(|_| ())
            };
            match step {
                Ok(()) => {}
                Err(StepError::Store(error)) => return Err(error),
                Err(StepError::NotPossible(why)) => return Ok(Err(why)),
            }
        }
        if together {
            self.become_email(&waiting, email_delivery).await?;
        }
        Ok(Ok(()))
    }

    /// A step whose effects the caller performs once for several deliveries.
    async fn advance_quietly(
        &mut self,
        mut row: rows::Delivery,
        happened: Happened,
    ) -> Result<(), StepError> {
        let rules = crate::steps::read_wire(&row)?.rules;
        let policy = self.policy(&row, rules);
        let (next, _) = crate::steps::read_state(&row)?.step(happened, &policy, self.now)?;
        crate::steps::write_state(&mut row, &next, self.now);
        row.version += 1;
        self.plan.set.put_deliveries.push(row);
        Ok(())
    }
}
