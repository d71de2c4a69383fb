//! Chat lines that go out by email: those that follow each other within a short pause are one
//! mail, not one each.

use std::collections::BTreeMap;

use isthmus_domain::{clock::Millis, delivery::State, ids::DeliveryId};
use isthmus_store::{StoreError, rows};

use crate::{
    batch::{Batch, Person, Talk},
    requests::{Mail, Outgoing},
    steps::write_state,
};

/// How long nothing may follow until what was written goes out.
const PAUSE_MS: i64 = 2_000;
/// After so long it goes out, whatever follows.
const LONGEST_MS: i64 = 15_000;
/// Who made a line part of a mail.
const BY: &str = "the bridge";

/// Whether a delivery is a chat line that waits for the pause after it.
pub(crate) fn is_gathering(row: &rows::Delivery) -> bool {
    row.medium == "email" && row.state == "checking"
}

impl Batch<'_> {
    /// Keeps a line until nothing has followed it for a while; those before it wait as long.
    pub(crate) async fn gather(
        &mut self,
        talk: &Talk,
        out: &Outgoing<'_>,
        message: &rows::Message,
    ) -> Result<(), StoreError> {
        let bridge = &out.tenant.tenant.bridge_domain;
        let mut line = rows::Delivery {
            id: DeliveryId::new(self.now, &self.router.chance).into(),
            tenant_id: message.tenant_id.clone(),
            transaction_id: out.transaction.id.clone(),
            conversation_id: talk.row.id.clone(),
            message_id: message.id.clone(),
            seq: message.seq,
            medium: "email".into(),
            person: out.to.key.clone(),
            address: out.to.key.clone(),
            member_id: out.asker.map(|m| m.id.clone()),
            source: out.transaction.source.clone(),
            wire_id: format!("{}@{bridge}", message.id),
            body: "{}".into(),
            state: String::new(),
            data: String::new(),
            history: "[]".into(),
            question: None,
            due_at: None,
            version: 1,
            created_at: self.now.0,
        };
        let earlier = self.gathering(&talk.row, &out.to.key).await?;
        let latest = earlier.first().map_or(self.now, |first| Millis(first.created_at));
        let until = self.now.plus_ms(PAUSE_MS).min(latest.plus_ms(LONGEST_MS));
        for mut row in earlier {
            write_state(&mut row, &State::Checking { until }, self.now);
            row.version += 1;
            self.plan.set.put_deliveries.push(row);
        }
        write_state(&mut line, &State::Accepted, self.now);
        write_state(&mut line, &State::Checking { until }, self.now);
        self.published(&line);
        self.plan.set.put_deliveries.push(line);
        Ok(())
    }

    /// Lines to this person that wait in a conversation, in order; what this batch plans counts.
    async fn gathering(
        &self,
        talk: &rows::Conversation,
        person: &str,
    ) -> Result<Vec<rows::Delivery>, StoreError> {
        let mut newest = BTreeMap::new();
        if !self.is_fresh(&talk.id) {
            for row in self.router.store.of(&talk.tenant_id).waiting_in(&talk.id).await? {
                newest.insert(row.id.clone(), row);
            }
        }
        for row in self.plan.set.put_deliveries.iter().filter(|d| d.conversation_id == talk.id) {
            newest.insert(row.id.clone(), row.clone());
        }
        let mut lines: Vec<_> =
            newest.into_values().filter(|d| is_gathering(d) && d.person == person).collect();
        lines.sort_by_key(|d| d.seq);
        Ok(lines)
    }

    /// Sends the lines that wait before something else to this person goes out as mail.
    pub(crate) async fn gathered_before(
        &mut self,
        talk: &mut Talk,
        person: &str,
    ) -> Result<(), StoreError> {
        let lines = self.gathering(&talk.row, person).await?;
        self.one_mail(talk, lines).await
    }

    /// Sends lines whose pause is over.
    pub(crate) async fn gathered(&mut self, due: Vec<rows::Delivery>) -> Result<(), StoreError> {
        let mut talks = BTreeMap::new();
        for row in due {
            talks.insert((row.tenant_id, row.conversation_id), row.person);
        }
        for ((tenant, id), person) in talks {
            if let Some(mut talk) = self.talk(&tenant, &id).await? {
                self.gathered_before(&mut talk, &person).await?;
                self.put_talk(talk);
            }
        }
        Ok(())
    }

    /// All of these lines in one mail, whose delivery is that of the last one.
    async fn one_mail(
        &mut self,
        talk: &mut Talk,
        mut lines: Vec<rows::Delivery>,
    ) -> Result<(), StoreError> {
        let directory = std::sync::Arc::clone(&self.directory);
        let messages = self.messages_of(&lines).await?;
        let (Some(last), Some(message)) = (lines.pop(), messages.last()) else { return Ok(()) };
        let Some(tenant) = directory.tenant(&last.tenant_id) else { return Ok(()) };
        for mut row in lines {
            let state =
                State::BecameEmail { at: self.now, delivery: last.id.clone(), by: BY.to_owned() };
            write_state(&mut row, &state, self.now);
            row.version += 1;
            self.published(&row);
            self.plan.set.put_deliveries.push(row);
        }
        let files = self.files_of(&last.tenant_id, &messages).await?;
        let author = Person::by_email(tenant, &message.from_person, Some(&message.from_name));
        let name = talk.participant(&last.person).map(|p| p.name.clone());
        let to = Person::by_email(tenant, &last.person, name.as_deref());
        let asker = last.member_id.as_deref().and_then(|id| tenant.member_by_id(id));
        let (transaction, source) = (last.transaction_id.clone(), last.source.clone());
        let mail = Mail {
            tenant,
            transaction: &transaction,
            source: &source,
            author: &author,
            to: &to,
            asker,
            delivery_id: None,
            waited: Some(last),
            subject: None,
        };
        self.go_by_mail(talk, mail, &messages, &files).await?;
        Ok(())
    }
}
