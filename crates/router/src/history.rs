//! What travels along with a message: only what the recipient was part of.

use isthmus_domain::{clock::Millis, signed::Opens};
use isthmus_store::{StoreError, TenantView, rows};

use isthmus_domain::service::OutFileRef;

use crate::{
    batch::{Batch, Talk},
    compose::{Answered, ImContext, when},
};

/// Messages that are looked at for one history.
const LOOK_BACK: u64 = 200;
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

impl Batch<'_> {
    /// The messages of a conversation that `person` took part in, oldest first.
    pub(crate) async fn history_for(
        &self,
        talk: &Talk,
        person: &str,
        before_seq: i64,
    ) -> Result<Vec<rows::Message>, StoreError> {
        let mut all = if self.is_fresh(&talk.row.id) {
            Vec::new()
        } else {
            let scope = self.router.store.of(&talk.row.tenant_id);
            scope.messages(&talk.row.id, Some(before_seq), LOOK_BACK).await?
        };
        // What this batch is about to write counts as written.
        for message in &self.plan.set.once_messages {
            let known = all.iter().any(|m| m.id == message.id);
            if message.conversation_id == talk.row.id && message.seq < before_seq && !known {
                all.push(message.clone());
            }
        }
        all.retain(|m| was_part_of(m, person));
        all.sort_by_key(|m| m.seq);
        Ok(all)
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

    /// What goes below an instant message to `person`: once per conversation and person.
    /// Marks it as sent on the participant, which the caller writes with the conversation.
    pub(crate) async fn im_context(
        &mut self,
        tenant: &TenantView,
        talk: &mut Talk,
        person: &str,
        before_seq: i64,
    ) -> Result<ImContext, StoreError> {
        let mut context =
            ImContext { introduction: self.introduction(tenant, person), ..Default::default() };
        if talk.participant(person).is_none_or(|p| p.history_seq > 0) {
            return Ok(context);
        }
        let history = self.history_for(talk, person, before_seq).await?;
        if let Some(last) = history.last() {
            let zone = &tenant.tenant.time_zone;
            let files = self.files_of(&tenant.tenant.id, std::slice::from_ref(last)).await?;
            let medium = if last.medium == "im" { "message" } else { "mail" };
            let whose = if last.from_person == person {
                format!("your {medium}")
            } else {
                format!("{}'s {medium}", last.from_name)
            };
            context.answers = Some(Answered {
                subject: last.subject.clone(),
                whose,
                when: when(Millis(last.at), self.now, zone),
                text: last.text.clone(),
                files: files
                    .iter()
                    .map(|f| (f.name.clone(), f.size, self.file_link(&tenant.tenant.id, &f.id)))
                    .collect(),
            });
            context.earlier = history.len() - 1;
            if context.earlier > 0 {
                context.link = Some(self.conversation_link(talk, person, last.seq));
            }
        }
        if let Some(p) = talk.people.iter_mut().find(|p| p.person == person) {
            p.history_seq = before_seq;
        }
        Ok(context)
    }

    /// The sentence for the very first message that a contact gets from this tenant.
    fn introduction(&mut self, tenant: &TenantView, person: &str) -> Option<String> {
        let contact = tenant.contact(person)?;
        let planned = self.plan.set.put_contacts.iter().any(|c| c.id == contact.id);
        if contact.introduced_at.is_some() || planned {
            return None;
        }
        let introduced = rows::Contact { introduced_at: Some(self.now.0), ..contact.clone() };
        self.plan.set.put_contacts.push(introduced);
        Some(format!(
            "This comes through {}, which joins their email and your chat: what you type here is your \
             answer. !stop ends it.",
            tenant.tenant.name
        ))
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
            })
            .collect()
    }
}
