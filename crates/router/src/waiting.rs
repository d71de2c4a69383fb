//! Messages of one conversation that wait together: one question for all of them, one answer, and
//! one mail if that is what becomes of them.

use std::collections::BTreeMap;

use isthmus_domain::delivery::{Effect, State};
use isthmus_store::{StoreError, rows};

use crate::{
    batch::Batch,
    decisions::is_open,
    plan::Rules,
    steps::{read_envelope, read_state, write_state},
};

impl Batch<'_> {
    /// A row as this batch leaves it, which may be further than what the database has.
    pub(crate) fn newest_of(&self, row: rows::Delivery) -> rows::Delivery {
        let planned = self.plan.set.put_deliveries.iter().rev().find(|d| d.id == row.id);
        planned.cloned().unwrap_or(row)
    }

    /// What waits in the same conversation for the same address (itself left out), in order;
    /// what this batch plans counts.
    pub(crate) async fn waiting_with(
        &self,
        row: &rows::Delivery,
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        if row.conversation_id.is_empty() {
            return Ok(Vec::new());
        }
        let mut newest = BTreeMap::new();
        if !self.is_fresh(&row.conversation_id) {
            let scope = self.router.store.of(&row.tenant_id);
            for found in scope.waiting_in(&row.conversation_id).await? {
                newest.insert(found.id.clone(), found);
            }
        }
        for planned in &self.plan.set.put_deliveries {
            if planned.conversation_id == row.conversation_id {
                newest.insert(planned.id.clone(), planned.clone());
            }
        }
        let waits = |d: &rows::Delivery| {
            d.id != row.id
                && d.medium == "im"
                && d.address == row.address
                && matches!(d.state.as_str(), "awaiting_decision" | "retrying" | "checking")
        };
        let mut waiting: Vec<_> = newest.into_values().filter(waits).collect();
        waiting.sort_by_key(|d| d.seq);
        Ok(waiting)
    }

    /// Before the sender is asked: where a question is open already, or the sender has chosen to
    /// keep trying, the message joins that; several whose time comes together are one question.
    pub(crate) async fn one_question(
        &mut self,
        row: &mut rows::Delivery,
        next: &mut State,
        effects: &mut Vec<Effect>,
    ) -> Result<(), StoreError> {
        // A retry that is over, or a question without an answer, cannot join what is as old.
        let asked_before = is_open(row);
        let joins = |d: &rows::Delivery| match d.state.as_str() {
            "awaiting_decision" => d.due_at.is_some_and(|due| due > self.now.0),
            "retrying" => !asked_before,
            _ => false,
        };
        match self.waiting_with(row).await?.into_iter().rfind(joins) {
            Some(earlier) => {
                row.question.clone_from(&earlier.question);
                *next = read_state(&earlier)?;
                effects.retain(|e| *e != Effect::Ask);
            }
            None if row.question.is_none() => row.question = Some(self.router.chance.token()),
            None => {}
        }
        Ok(())
    }

    /// Takes along what waits with a message that becomes an email; all of them, in order.
    pub(crate) async fn become_one(
        &mut self,
        row: &rows::Delivery,
        state: &State,
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        let mut all = Vec::new();
        for mut other in self.waiting_with(row).await?.into_iter().filter(is_open) {
            write_state(&mut other, state, self.now);
            other.version += 1;
            self.plan.set.put_deliveries.push(other.clone());
            self.published(&other);
            let rules = read_envelope(&other)?.rules;
            self.never_shown(&other, rules).await?;
            all.push(other);
        }
        all.push(row.clone());
        all.sort_by_key(|d| d.seq);
        Ok(all)
    }

    /// Whether messages may still go to the address of a delivery: it was not revoked, and whoever
    /// has no other address did not ask to be left alone.
    pub(crate) async fn may_receive(
        &self,
        row: &rows::Delivery,
        rules: Rules,
    ) -> Result<bool, StoreError> {
        if rules.system {
            return Ok(true);
        }
        let Some(tenant) = self.directory.tenant(&row.tenant_id) else { return Ok(false) };
        if !row.person.contains(':') {
            let holds = |m: &rows::Mapping| {
                m.im == row.address && m.email == row.person && m.state == "verified"
            };
            let same = |m: &&rows::Mapping| m.im == row.address && m.email == row.person;
            return Ok(match self.plan.set.put_mappings.iter().rev().find(same) {
                Some(changed) => holds(changed),
                None => tenant.mappings(&row.person).iter().any(holds),
            });
        }
        let scope = self.router.store.of(&row.tenant_id);
        let Some(stopped) = scope.suppression(&row.address).await? else { return Ok(true) };
        // Whoever writes again wants an answer.
        let wrote = scope.participants(std::slice::from_ref(&row.conversation_id)).await?;
        Ok(wrote.iter().any(|p| p.person == row.person && p.last_at > stopped.at))
    }
}
