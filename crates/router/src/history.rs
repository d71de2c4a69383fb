//! What travels along with a message: only what the recipient was part of.

use isthmus_domain::{clock::Millis, signed::Opens};
use isthmus_store::{StoreError, TenantView, rows};

use isthmus_domain::service::OutFileRef;

use crate::{
    batch::{Batch, Talk},
    compose::{Answered, ImContext, when},
    plan::Rules,
};

/// Messages that are looked at for one history.
const LOOK_BACK: u64 = 200;
/// Messages among which nearly always is the one that is answered.
const RECENT: u64 = 5;
/// How long a link to a file or a conversation works.
pub(crate) const LINK_MS: i64 = 14 * 86_400_000;

/// An address list as it lies in a message row.
pub(crate) fn addresses(list: &str) -> Vec<(String, String)> {
    serde_json::from_str::<Vec<serde_json::Value>>(list)
        .unwrap_or_default()
        .iter()
        .map(|v| {
            let text = |k: &str| v[k].as_str().unwrap_or_default().to_owned();
            (text("name"), text("address"))
        })
        .collect()
}

/// An address list for a message row.
pub(crate) fn address_list<'a>(people: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let list: Vec<_> = people
        .into_iter()
        .map(|(name, address)| serde_json::json!({"name": name, "address": address}))
        .collect();
    serde_json::to_string(&list).unwrap_or_default()
}

/// Whether a person was From, To or Cc of a message; nothing held back counts.
pub(crate) fn was_part_of(message: &rows::Message, person: &str) -> bool {
    let named = |list: &str| addresses(list).iter().any(|(_, a)| a.eq_ignore_ascii_case(person));
    message.held.is_none()
        && (message.from_person == person || named(&message.to_list) || named(&message.cc_list))
}

/// What somebody may see of a conversation, as far back as is looked.
pub(crate) struct History {
    /// Oldest first.
    pub(crate) messages: Vec<rows::Message>,
    /// There may be more before these.
    pub(crate) cut: bool,
}

/// Whether an instant message will not arrive as one.
fn was_given_up(row: &rows::Delivery) -> bool {
    matches!(row.state.as_str(), "aborted" | "became_email" | "failed")
}

impl Batch<'_> {
    /// The messages of a conversation that `person` took part in, oldest first.
    pub(crate) async fn history_for(
        &self,
        talk: &Talk,
        person: &str,
        before_seq: i64,
    ) -> Result<Vec<rows::Message>, StoreError> {
        Ok(self.look_back(talk, person, before_seq).await?.messages)
    }

    /// The same, and whether there is more.
    pub(crate) async fn look_back(
        &self,
        talk: &Talk,
        person: &str,
        before_seq: i64,
    ) -> Result<History, StoreError> {
        self.look_back_over(talk, person, before_seq, LOOK_BACK).await
    }

    async fn look_back_over(
        &self,
        talk: &Talk,
        person: &str,
        before_seq: i64,
        messages: u64,
    ) -> Result<History, StoreError> {
        let mut all = if self.is_fresh(&talk.row.id) {
            Vec::new()
        } else {
            let scope = self.router.store.of(&talk.row.tenant_id);
            scope.messages(&talk.row.id, Some(before_seq), messages).await?
        };
        let cut = all.len() as u64 >= messages;
        // What this batch is about to write counts as written.
        for message in &self.plan.set.once_messages {
            let known = all.iter().any(|m| m.id == message.id);
            if message.conversation_id == talk.row.id && message.seq < before_seq && !known {
                all.push(message.clone());
            }
        }
        all.retain(|m| was_part_of(m, person));
        all.sort_by_key(|m| m.seq);
        Ok(History { messages: all, cut })
    }

    /// The files of some messages, those of this batch included.
    pub(crate) async fn files_of(
        &self,
        tenant: &str,
        messages: &[rows::Message],
    ) -> Result<Vec<rows::Attachment>, StoreError> {
        let ids: Vec<String> = messages.iter().map(|m| m.id.clone()).collect();
        let mut files = self.router.store.of(tenant).attachments(&ids).await?;
        for file in &self.plan.set.once_attachments {
            if ids.contains(&file.message_id) && !files.iter().any(|f| f.id == file.id) {
                files.push(file.clone());
            }
        }
        Ok(files)
    }

    /// A signed, expiring link to a file.
    pub(crate) fn file_link(&self, tenant: &str, attachment: &str) -> String {
        let opens = Opens::File { tenant: tenant.to_owned(), id: attachment.to_owned() };
        let token = self.router.links.sign(opens, self.now.plus_ms(LINK_MS));
        format!("{}/f/{token}", self.router.config.public_url)
    }

    /// A link to the whole conversation as `person` may see it; opens after a one-time code.
    pub(crate) fn conversation_link(
        &mut self,
        talk: &Talk,
        person: &str,
        up_to_seq: i64,
    ) -> String {
        let token = self.router.chance.token();
        self.plan.set.once_links.push(rows::Link {
            token: token.clone(),
            tenant_id: talk.row.tenant_id.clone(),
            conversation_id: talk.row.id.clone(),
            person: person.to_owned(),
            address: person.to_owned(),
            up_to_seq,
            expires_at: self.now.plus_ms(LINK_MS).0,
            code_hash: None,
            code_until: None,
            attempts: 0,
            sent: 0,
        });
        format!("{}/c/{token}", self.router.config.public_url)
    }

    /// What goes below an instant message to `person`: once per conversation and person, and
    /// later only what tells which older message is answered.
    pub(crate) async fn im_context(
        &mut self,
        tenant: &TenantView,
        talk: &Talk,
        person: &str,
        message: &rows::Message,
    ) -> Result<ImContext, StoreError> {
        let mut context = ImContext {
            introduction: self.introduction(tenant, person),
            starts: talk.participant(person).is_some_and(|p| p.history_seq == 0),
            ..Default::default()
        };
        if !context.starts {
            if let Some(older) = self.older_answered(talk, person, message).await? {
                context.answers = Some(self.answered(tenant, person, &older).await?);
            }
            return Ok(context);
        }
        let history = self.history_for(talk, person, message.seq).await?;
        let Some(last) = history.last() else { return Ok(context) };
        let named = message
            .in_reply_to
            .as_ref()
            .and_then(|id| history.iter().rfind(|m| &m.message_id == id));
        context.answers = Some(self.answered(tenant, person, named.unwrap_or(last)).await?);
        context.earlier = history.len() - 1;
        if context.earlier > 0 {
            context.link = Some(self.conversation_link(talk, person, last.seq));
        }
        Ok(context)
    }

    /// The message that `message` says it answers, unless it is the newest that the recipient
    /// has: whoever has seen the conversation sees by the place alone that that one is meant.
    async fn older_answered(
        &self,
        talk: &Talk,
        person: &str,
        message: &rows::Message,
    ) -> Result<Option<rows::Message>, StoreError> {
        let Some(id) = &message.in_reply_to else { return Ok(None) };
        let recent = self.look_back_over(talk, person, message.seq, RECENT).await?.messages;
        if recent.last().is_some_and(|m| &m.message_id == id) {
            return Ok(None);
        }
        if let Some(named) = recent.iter().rfind(|m| &m.message_id == id) {
            return Ok(Some(named.clone()));
        }
        let scope = self.router.store.of(&talk.row.tenant_id);
        let named = scope.message_called(&talk.row.id, id).await?;
        Ok(named.filter(|m| m.seq < message.seq && was_part_of(m, person)))
    }

    /// The message that is answered, as the recipient knows it.
    async fn answered(
        &self,
        tenant: &TenantView,
        person: &str,
        message: &rows::Message,
    ) -> Result<Answered, StoreError> {
        let files = self.files_of(&tenant.tenant.id, std::slice::from_ref(message)).await?;
        let medium = if message.medium == "im" { "message" } else { "mail" };
        let whose = if message.from_person == person {
            format!("your {medium}")
        } else {
            format!("{}'s {medium}", message.from_name)
        };
        Ok(Answered {
            subject: message.subject.clone(),
            whose,
            when: when(Millis(message.at), self.now, &tenant.tenant.time_zone),
            text: message.text.clone(),
            files: files
                .iter()
                .map(|f| (f.name.clone(), f.size, self.file_link(&tenant.tenant.id, &f.id)))
                .collect(),
        })
    }

    /// The sentence for the very first message that a contact gets from this tenant.
    fn introduction(&self, tenant: &TenantView, person: &str) -> Option<String> {
        let contact = self.newest_contact(tenant, person)?;
        contact.introduced_at.is_none().then(|| {
            format!(
                "This comes through {}, which joins their email and your chat: what you type here is \
                 your answer. !stop ends it.",
                tenant.tenant.name
            )
        })
    }

    /// A contact as this batch leaves it.
    fn newest_contact<'a>(
        &'a self,
        tenant: &'a TenantView,
        person: &str,
    ) -> Option<&'a rows::Contact> {
        let contact = tenant.contact(person)?;
        let planned = self.plan.set.introduced_contacts.iter().rev().find(|c| c.id == contact.id);
        Some(planned.unwrap_or(contact))
    }

    /// Notes what went along with an instant message, unless that was given up at once. The
    /// caller writes the conversation.
    pub(crate) fn shown(&mut self, talk: &mut Talk, row: &rows::Delivery, rules: Rules) {
        if was_given_up(row) {
            return;
        }
        if rules.starts
            && let Some(p) = talk.people.iter_mut().find(|p| p.person == row.person)
        {
            p.history_seq = row.seq;
        }
        if rules.introduces {
            self.introduced(row, Some(self.now.0));
        }
    }

    /// A message that was given up showed nothing: what went along with it goes with the next.
    pub(crate) async fn never_shown(
        &mut self,
        row: &rows::Delivery,
        rules: Rules,
    ) -> Result<(), StoreError> {
        if !was_given_up(row) {
            return Ok(());
        }
        if rules.introduces {
            self.introduced(row, None);
        }
        if rules.starts
            && let Some(mut talk) = self.talk(&row.tenant_id, &row.conversation_id).await?
            && let Some(p) =
                talk.people.iter_mut().find(|p| p.person == row.person && p.history_seq == row.seq)
        {
            p.history_seq = 0;
            self.put_talk(talk);
        }
        Ok(())
    }

    fn introduced(&mut self, row: &rows::Delivery, at: Option<i64>) {
        let directory = std::sync::Arc::clone(&self.directory);
        let contact = directory
            .tenant(&row.tenant_id)
            .and_then(|t| self.newest_contact(t, &row.person).cloned());
        if let Some(contact) = contact.filter(|c| c.introduced_at != at) {
            let contact = rows::Contact { introduced_at: at, ..contact };
            self.plan.set.introduced_contacts.push(contact);
        }
    }

    /// The files of a message as references to their octets.
    pub(crate) fn file_refs(files: &[rows::Attachment]) -> Vec<OutFileRef> {
        files
            .iter()
            .map(|f| OutFileRef {
                name: f.name.clone(),
                media_type: f.media_type.clone(),
                size: f.size,
                hash: f.hash.clone(),
                content_id: f.content_id.clone(),
            })
            .collect()
    }
}
