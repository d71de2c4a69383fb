//! Moving deliveries: the state machine of `domain` applied to rows, and its effects planned.

use isthmus_domain::{
    clock::Millis,
    delivery::{Effect, Evidence, Happened, NotPossible, Policy, Reach, Standing, State},
    ids::DeliveryId,
};
use isthmus_im::Presence;
use isthmus_store::{StoreError, TenantView, rows};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use crate::{
    batch::{Batch, Talk},
    plan::{Act, Rules, Wire, WireFile},
};

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error(transparent)]
    NotPossible(#[from] NotPossible),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An instant message that is to be delivered.
pub(crate) struct NewIm<'a> {
    pub(crate) tenant: &'a TenantView,
    pub(crate) transaction: &'a str,
    pub(crate) talk: Option<&'a Talk>,
    pub(crate) message: &'a str,
    pub(crate) seq: i64,
    /// The recipient's person key.
    pub(crate) person: &'a str,
    /// The recipient's IM address.
    pub(crate) address: &'a str,
    /// Who asked for it.
    pub(crate) member: Option<&'a rows::Member>,
    /// The medium that it was asked in.
    pub(crate) source: &'a str,
    pub(crate) wire: Wire,
    /// Promised before, or made here.
    pub(crate) delivery_id: Option<String>,
}

pub(crate) fn read_state(row: &rows::Delivery) -> Result<State, StoreError> {
    serde_json::from_str(&row.data).map_err(|e| corrupt(row, "data", &e))
}

pub(crate) fn read_wire(row: &rows::Delivery) -> Result<Wire, StoreError> {
    serde_json::from_str(&row.body).map_err(|e| corrupt(row, "body", &e))
}

/// What is around the text of what goes over the wire; the text may be long.
#[derive(Deserialize)]
pub(crate) struct Envelope {
    pub(crate) bridge_domain: String,
    pub(crate) rules: Rules,
    /// One for each file.
    files: Vec<IgnoredAny>,
}

impl Envelope {
    pub(crate) fn has_files(&self) -> bool {
        !self.files.is_empty()
    }
}

pub(crate) fn read_envelope(row: &rows::Delivery) -> Result<Envelope, StoreError> {
    serde_json::from_str(&row.body).map_err(|e| corrupt(row, "body", &e))
}

/// When the present attempt began, from the history.
pub(crate) fn sending_since(row: &rows::Delivery) -> Option<i64> {
    let history: Vec<serde_json::Value> = serde_json::from_str(&row.history).ok()?;
    let at = history.last()?["at"].as_str()?;
    at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

fn corrupt(row: &rows::Delivery, column: &'static str, why: &serde_json::Error) -> StoreError {
    StoreError::Corrupt { table: "deliveries", column, id: row.id.clone(), why: why.to_string() }
}

/// Writes a state into its row, with a line of history.
pub(crate) fn write_state(row: &mut rows::Delivery, state: &State, now: Millis) {
    let mut history: Vec<serde_json::Value> =
        serde_json::from_str(&row.history).unwrap_or_default();
    let mut line = json!({"state": state.name(), "at": now.rfc3339()});
    match state {
        State::Delivered { evidence, .. } => line["evidence"] = evidence.as_str().into(),
        State::Failed { reason, .. } => line["reason"] = reason.as_str().into(),
        State::Aborted { by, .. } | State::BecameEmail { by, .. } => {
            line["by"] = by.as_str().into()
        }
        State::Retrying { attempt, .. } => line["attempt"] = (*attempt).into(),
        _ => {}
    }
    // A retry that goes on for days is one line that moves, not thousands.
    let same = history.last().is_some_and(|l| l["state"] == line["state"]);
    if same && history.len() > 1 {
        history.pop();
    }
    history.push(line);
    row.history = serde_json::to_string(&history).unwrap_or_default();
    row.data = serde_json::to_string(state).unwrap_or_default();
    state.name().clone_into(&mut row.state);
    row.due_at = state.due().map(|d| d.0);
}

/// A mail whose time is over has failed: its sender chose mail, and is not asked about presence.
fn past_due(row: &rows::Delivery, state: &State, happened: Happened, now: Millis) -> Happened {
    let over = state.due().is_some_and(|due| now >= due);
    match happened {
        Happened::Timer if row.medium == "email" && over => Happened::GivenUp {
            reason: "no mail server has taken or refused it in time".to_owned(),
        },
        happened => happened,
    }
}

pub(crate) fn standing(text: Option<&str>) -> Option<Standing> {
    text.and_then(|t| t.parse().ok())
}

impl Batch<'_> {
    /// The policy that holds for a delivery: contact before member before tenant.
    pub(crate) fn policy(&self, row: &rows::Delivery, rules: Rules) -> Policy {
        let config = &self.router.config;
        let tenant = self.directory.tenant(&row.tenant_id);
        let contact = tenant.and_then(|t| t.contact(&row.person));
        let member =
            tenant.and_then(|t| row.member_id.as_deref().and_then(|id| t.member_by_id(id)));
        let standing = standing(contact.and_then(|c| c.policy.as_deref()))
            .or_else(|| standing(member.and_then(|m| m.policy.as_deref())))
            .or_else(|| standing(tenant.and_then(|t| t.tenant.policy.as_deref())));
        let settle_ms = Policy::default().settle_ms;
        Policy {
            standing,
            askable: rules.askable,
            always_send: rules.always_send || contact.is_some_and(|c| c.always_send),
            can_email: rules.can_email,
            retry_interval_ms: config.retry_interval_ms,
            deadline_ms: config.decision_deadline_ms,
            expire_ms: config.expire_after_ms,
            receipt_ms: config.receipt_timeout_ms,
            settle_ms: if self.router.receipts.come_from(&row.address) {
                config.receipt_timeout_ms.max(settle_ms)
            } else {
                settle_ms
            },
            ..Policy::default()
        }
    }

    /// What a network knows of somebody.
    pub(crate) fn reach(&self, bridge_domain: &str, address: &str) -> Reach {
        let Ok(im) = isthmus_domain::address::ImAddress::parse(address) else {
            return Reach::Unknown;
        };
        match self.router.networks.get(im.network()).map(|n| n.presence(bridge_domain, &im)) {
            Some(Presence::Available) => Reach::Available,
            Some(Presence::Unavailable) => Reach::Unavailable,
            Some(Presence::Unknown) | None => Reach::Unknown,
        }
    }

    /// Accepts an instant message for delivery and takes its first steps.
    pub(crate) async fn new_im(&mut self, new: NewIm<'_>) -> Result<rows::Delivery, StoreError> {
        let id = new
            .delivery_id
            .clone()
            .unwrap_or_else(|| DeliveryId::new(self.now, &self.router.chance).into());
        let rules = new.wire.rules;
        let mut row = rows::Delivery {
            wire_id: id.clone(),
            id,
            tenant_id: new.tenant.tenant.id.clone(),
            transaction_id: new.transaction.to_owned(),
            conversation_id: new.talk.map(|t| t.row.id.clone()).unwrap_or_default(),
            message_id: new.message.to_owned(),
            seq: new.seq,
            medium: "im".into(),
            person: new.person.to_owned(),
            address: new.address.to_owned(),
            member_id: new.member.map(|m| m.id.clone()),
            source: new.source.to_owned(),
            body: serde_json::to_string(&new.wire).unwrap_or_default(),
            state: String::new(),
            data: String::new(),
            history: "[]".into(),
            question: None,
            due_at: None,
            version: 0,
            created_at: self.now.0,
        };
        write_state(&mut row, &State::Accepted, self.now);
        if rules.askable
            && let Some(joined) = self.join_waiting(&mut row).await?
        {
            return Ok(joined);
        }
        let reach = self.reach(&new.wire.bridge_domain, new.address);
        match self.advance(row.clone(), Happened::Presence(reach)).await {
            Ok(moved) => Ok(moved),
            Err(StepError::Store(error)) => Err(error),
            Err(StepError::NotPossible(_)) => {
                // A new delivery can always take a step; keep it accepted if it ever cannot.
                row.version = 1;
                self.plan.set.put_deliveries.push(row.clone());
                Ok(row)
            }
        }
    }

    /// Lets a new message wait with those before it in the same conversation, so that order holds.
    async fn join_waiting(
        &mut self,
        row: &mut rows::Delivery,
    ) -> Result<Option<rows::Delivery>, StoreError> {
        if row.conversation_id.is_empty() {
            return Ok(None);
        }
        let Some(earlier) = self.waiting_with(row).await?.pop() else { return Ok(None) };
        let state = read_state(&earlier)?;
        row.question.clone_from(&earlier.question);
        row.version = 1;
        write_state(row, &state, self.now);
        self.plan.set.put_deliveries.push(row.clone());
        self.published(row);
        Ok(Some(row.clone()))
    }

    /// Moves a delivery on, plans the row and everything that follows from it.
    pub(crate) async fn advance(
        &mut self,
        mut row: rows::Delivery,
        happened: Happened,
    ) -> Result<rows::Delivery, StepError> {
        let state = read_state(&row)?;
        let rules = if row.medium == "im" {
            read_envelope(&row)?.rules
        } else {
            Rules { askable: row.member_id.is_some(), ..Rules::default() }
        };
        let policy = self.policy(&row, rules);
        let happened = past_due(&row, &state, happened, self.now);
        let (mut next, mut effects) = state.clone().step(happened, &policy, self.now)?;
        if next == state && effects.is_empty() && row.version > 0 {
            return Ok(row);
        }
        if let State::BecameEmail { delivery, .. } = &mut next
            && delivery.is_empty()
        {
            *delivery = DeliveryId::new(self.now, &self.router.chance).into();
        }
        if effects.contains(&Effect::Ask) {
            self.one_question(&mut row, &mut next, &mut effects).await?;
        }
        if effects.contains(&Effect::Send) && !self.may_receive(&row, rules).await? {
            let reason = "they do not take messages at this chat address any more".to_owned();
            next = State::Failed { at: self.now, reason };
            effects = vec![Effect::TellFailed];
        }
        if matches!(next, State::Delivered { evidence: Evidence::Server, .. }) {
            self.router.receipts.missed_from(&row.address);
        }
        write_state(&mut row, &next, self.now);
        row.version += 1;
        self.plan.set.put_deliveries.push(row.clone());
        if !rules.system {
            self.published(&row);
        }
        self.never_shown(&row, rules).await?;
        for effect in effects {
            // Boxed because asking sends a message, and sending is a step again.
            Box::pin(self.perform(&row, &next, effect, rules)).await?;
        }
        Ok(row)
    }

    async fn perform(
        &mut self,
        row: &rows::Delivery,
        state: &State,
        effect: Effect,
        rules: Rules,
    ) -> Result<(), StoreError> {
        match effect {
            Effect::Send => self.plan.acts.push(Act::Send(Box::new(row.clone()))),
            // Nobody's presence matters to a mail.
            Effect::Probe if row.medium != "im" => {}
            Effect::Probe => {
                let envelope = read_envelope(row)?;
                let network = row.address.split(':').next().unwrap_or_default().to_owned();
                let address = row.address.clone();
                self.plan.acts.push(Act::Probe {
                    network,
                    bridge_domain: envelope.bridge_domain,
                    address,
                });
            }
            Effect::Ask => self.ask(row, state, rules).await?,
            Effect::TellDelivered if !rules.system => self.tell_delivered(row, state).await?,
            Effect::TellFailed if !rules.system => self.tell_failed(row, state).await?,
            Effect::TellDelivered | Effect::TellFailed => {}
            Effect::BecomeEmail => {
                if let State::BecameEmail { delivery, .. } = state {
                    let together = self.become_one(row, state).await?;
                    self.become_email(&together, delivery.clone()).await?;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn published(&mut self, row: &rows::Delivery) {
        if !self.router.bus.is_watched() {
            return;
        }
        let members = row.member_id.iter().cloned().collect();
        self.plan.acts.push(Act::Publish {
            tenant: row.tenant_id.clone(),
            members,
            kind: "delivery",
            data: json!({
                "delivery_id": row.id, "conversation_id": row.conversation_id,
                "message_id": row.message_id, "state": row.state,
            }),
        });
    }

    /// A line from the bridge itself, or from a contact, that is nobody's message.
    pub(crate) async fn system_line(
        &mut self,
        tenant: &TenantView,
        transaction: &str,
        to: &str,
        from: Option<(isthmus_domain::address::Email, String)>,
        text: String,
    ) -> Result<(), StoreError> {
        let (from, from_name) = match from {
            Some((email, name)) => (Some(email), name),
            None => (None, format!("{} bridge", tenant.tenant.name)),
        };
        let wire = Wire {
            text,
            from,
            from_name,
            bridge_domain: tenant.tenant.bridge_domain.clone(),
            files: Vec::<WireFile>::new(),
            rules: Rules { always_send: true, system: true, ..Rules::default() },
        };
        let seq = self.next_seq();
        self.new_im(NewIm {
            tenant,
            transaction,
            talk: None,
            message: "",
            seq,
            person: to,
            address: to,
            member: None,
            source: "system",
            wire,
            delivery_id: None,
        })
        .await?;
        Ok(())
    }
}
