//! Mails that were held back: who may let one in, and by which way.

use isthmus_domain::{
    clock::Millis,
    ids::MessageId,
    service::{Confirm, MailIn, MailLetIn},
};
use isthmus_store::{ChangeSet, StoreError, TenantView, rows};

use crate::{Gateway, accept::NewTransaction};

/// Somebody who wants to let a mail in.
pub(crate) struct Asker<'a> {
    /// The member; `None` for the tenant's own key.
    pub(crate) member: Option<&'a rows::Member>,
    pub(crate) is_admin: bool,
    /// As shown.
    pub(crate) name: &'a str,
    /// `portal` or `api`.
    pub(crate) door: &'static str,
}

/// How a mail is let in.
pub(crate) enum Way {
    /// The asker was asked about it.
    Asked(rows::Confirmation),
    /// It lies in the inbox of this member, to whom it was addressed.
    Inbox(String),
}

impl Gateway {
    /// By which way this asker may let the mail in; `None` if it is not held, or not theirs.
    pub(crate) async fn way_in(
        &self,
        tenant: &TenantView,
        message: &rows::Message,
        asker: &Asker<'_>,
    ) -> Result<Option<Way>, StoreError> {
        if message.held.is_none() {
            return Ok(None);
        }
        if let Some(member) = asker.member
            && let Some(asked) = self.asked_about(message, &member.id).await?
        {
            return Ok(Some(Way::Asked(asked)));
        }
        let addressee = self.addressee(tenant, message).await?;
        let may = |to: &String| asker.is_admin || asker.member.is_some_and(|m| m.id == *to);
        Ok(addressee.filter(may).map(Way::Inbox))
    }

    /// The transaction that lets it in, with a line in the audit log by `actor`.
    pub(crate) fn let_in(
        &self,
        message: &rows::Message,
        way: Way,
        asker: &Asker<'_>,
        actor: &str,
    ) -> (rows::Transaction, ChangeSet) {
        let by = asker.name.to_owned();
        let member = asker.member.map(|m| m.id.as_str());
        let (tenant, source) = (message.tenant_id.as_str(), asker.door);
        let row = match way {
            Way::Asked(asked) => self.transaction(NewTransaction {
                tenant,
                member,
                service: "decision",
                source,
                params: &Confirm { confirmation: asked.token, by },
                dedupe: None,
            }),
            Way::Inbox(to) => self.transaction(NewTransaction {
                tenant,
                member,
                service: "mail.allow",
                source,
                params: &MailLetIn { message_id: message.id.clone(), member_id: to, by },
                dedupe: None,
            }),
        };
        let detail = serde_json::json!({"from": message.from_person, "transaction_id": row.id});
        let line = rows::Audit {
            id: isthmus_domain::ids::AuditId::new(self.now(), &self.chance).into(),
            tenant_id: message.tenant_id.clone(),
            actor: actor.to_owned(),
            action: "mail.allow".to_owned(),
            target: message.id.clone(),
            detail: detail.to_string(),
            at: self.now().0,
        };
        (row, ChangeSet { new_audit: vec![line], ..ChangeSet::default() })
    }

    /// What the member was asked about this very mail.
    pub(crate) async fn asked_about(
        &self,
        message: &rows::Message,
        member: &str,
    ) -> Result<Option<rows::Confirmation>, StoreError> {
        let Some(raw) = &message.raw_hash else { return Ok(None) };
        let now = self.now().0;
        let open = self.store.of(&message.tenant_id).open_confirmations(member).await?;
        Ok(open.into_iter().find(|c| {
            c.expires_at > now
                && serde_json::from_str::<MailIn>(&c.data).is_ok_and(|mail| mail.raw == *raw)
        }))
    }

    /// The member in whose inbox a mail lies because it was addressed to them; `None` for what
    /// came to a reply address. The message's own id tells, which is made of the recipient.
    async fn addressee(
        &self,
        tenant: &TenantView,
        message: &rows::Message,
    ) -> Result<Option<String>, StoreError> {
        let scope = self.store.of(&message.tenant_id);
        let origin = scope.transaction(&message.transaction_id).await?;
        let Some(origin) = origin.filter(|t| t.service == "mail.in") else { return Ok(None) };
        let Ok(mail) = serde_json::from_str::<MailIn>(&origin.params) else { return Ok(None) };
        let is_theirs = |m: &&rows::Member| {
            let parts = [origin.id.as_bytes(), m.email.as_bytes()];
            String::from(MessageId::derived(Millis(origin.at), &parts)) == message.id
        };
        let members = mail.rcpts.iter().filter_map(|rcpt| tenant.member(&rcpt.key()));
        Ok({ members }.find(is_theirs).map(|m| m.id.clone()))
    }
}
