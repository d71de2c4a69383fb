//! What waits for a member's word before it goes on: a reply that proves nothing, a forward whose
//! sender only quoted text names.

use isthmus_domain::{
    address::{BridgeLocal, read_bridge_local},
    service::{MailIn, MailLetIn},
    signed::Opens,
};
use isthmus_store::{StoreError, TenantView, rows};

use crate::{
    batch::{Batch, Person, Talk},
    head::with_recipient,
    mail_in::Incoming,
    services::Outcome,
};

/// How long something waits for a member's word.
const CONFIRM_MS: i64 = 14 * 86_400_000;

/// A message that was held back, where it lies, and whose reply address it had come to.
struct Held {
    message: rows::Message,
    talk: Talk,
    owner: rows::Participant,
}

impl Batch<'_> {
    /// Keeps a transaction's mail until the member has answered; returns the link to the answer.
    pub(crate) fn confirmation(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        member: &rows::Member,
        kind: &str,
    ) -> String {
        let token = self.router.chance.token();
        let until = self.now.plus_ms(CONFIRM_MS);
        self.plan.set.put_confirmations.push(rows::Confirmation {
            token: token.clone(),
            tenant_id: tenant.tenant.id.clone(),
            member_id: member.id.clone(),
            kind: kind.to_owned(),
            data: transaction.params.clone(),
            state: "open".into(),
            expires_at: until.0,
            at: self.now.0,
        });
        let signed = self.router.links.sign(Opens::Confirm { token }, until);
        format!("{}/d/{signed}", self.router.config.public_url)
    }

    /// A member let something through that was held back.
    pub(crate) async fn confirmed(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        asked: rows::Confirmation,
        mail: MailIn,
        mut incoming: Incoming,
    ) -> Result<Outcome, StoreError> {
        self.plan.set.once_blobs.append(&mut incoming.blobs);
        let Some(member) = tenant.member_by_id(&asked.member_id).cloned() else {
            return Ok(Outcome::refused("the member who was asked is not there any more"));
        };
        self.plan
            .set
            .put_confirmations
            .push(rows::Confirmation { state: "done".into(), ..asked.clone() });
        if asked.kind == "forward" {
            return self
                .answer_forwarded(tenant, transaction, &mail, &incoming, &member, None)
                .await;
        }
        let Some(held) = self.held_reply(tenant, &mail, &member).await? else {
            return Ok(Outcome::refused("what was held is not there any more"));
        };
        self.let_go(tenant, transaction, &incoming, held).await
    }

    /// The reply that was held, in a conversation that the member takes part in. It is known by
    /// its octets: a Message-ID may be missing, or be borrowed from another mail.
    async fn held_reply(
        &mut self,
        tenant: &TenantView,
        mail: &MailIn,
        member: &rows::Member,
    ) -> Result<Option<Held>, StoreError> {
        let id = &tenant.tenant.id;
        for rcpt in &mail.rcpts {
            let Some(BridgeLocal::Reply(token)) = read_bridge_local(rcpt.local()) else {
                continue;
            };
            let owner = self.router.store.participant_by_token(&token).await?;
            let Some(owner) = owner.filter(|p| p.tenant_id == *id) else { continue };
            let Some(talk) = self.talk(id, &owner.conversation_id).await? else { continue };
            if !talk.members().contains(&member.id) {
                continue;
            }
            let scope = self.router.store.of(id);
            let found = scope.messages_of_raw(&talk.row.id, &mail.raw).await?;
            // What this batch has let through already is not held any more.
            let gone = |m: &rows::Message| self.plan.set.put_messages.iter().any(|p| p.id == m.id);
            let held = found.into_iter().find(|m| m.held.is_some() && !gone(m));
            if let Some(message) = held {
                return Ok(Some(Held { message, talk, owner }));
            }
        }
        Ok(None)
    }

    /// The held row becomes an ordinary one, and goes on to whom it was written.
    async fn let_go(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        incoming: &Incoming,
        held: Held,
    ) -> Result<Outcome, StoreError> {
        let Held { message, mut talk, owner } = held;
        let Some(other) = talk.other(&owner.person).cloned() else {
            return Ok(Outcome::refused("there is nobody else in this conversation"));
        };
        let author = Person::by_email(tenant, &message.from_person, Some(&message.from_name));
        let to = Person::by_email(tenant, &other.person, Some(&other.name));
        // Somebody else than the owner of the reply address wrote: the member's answer is for
        // them, and what the owner and the member wrote to each other is not.
        if author.key != owner.person && author.key != to.key && to.member.is_some() {
            talk = self.talk_for(tenant, transaction, incoming, &author, &to).await?;
        }
        let to_list = with_recipient(&message.to_list, &message.cc_list, &to);
        let message = rows::Message { to_list, ..message };
        let message = self.released(&mut talk, message);
        let via = self.last_medium(tenant, &talk, &to);
        // Nobody here wrote it, so nobody is asked about it.
        self.send_filed(tenant, transaction, &mut talk, &author, &to, None, via, message).await
    }

    /// What was held becomes a message like any other, in this conversation.
    fn released(&mut self, talk: &mut Talk, message: rows::Message) -> rows::Message {
        let message = rows::Message { held: None, conversation_id: talk.row.id.clone(), ..message };
        self.plan.set.put_messages.push(message.clone());
        talk.row.last_at = self.now.0;
        if let Some(p) = talk.people.iter_mut().find(|p| p.person == message.from_person) {
            p.last_medium.clone_from(&message.medium);
            p.last_at = self.now.0;
        }
        message
    }

    /// The `mail.allow` service: a mail that lay held back in the inbox of the member it was
    /// addressed to goes on as if it had come now.
    pub(crate) async fn mail_let_in(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        message: rows::Message,
        asked: MailLetIn,
        mail: MailIn,
        incoming: Incoming,
    ) -> Result<Outcome, StoreError> {
        let Some(member) = tenant.member_by_id(&asked.member_id) else {
            return Ok(Outcome::refused(
                "the member to whom it was addressed is not there any more",
            ));
        };
        let decided = self.plan.set.put_messages.iter().any(|m| m.id == message.id);
        if message.held.is_none() || decided {
            return Ok(Outcome::refused("this was decided already"));
        }
        let Some(mut talk) = self.talk(&tenant.tenant.id, &message.conversation_id).await? else {
            return Ok(Outcome::refused("this conversation does not exist any more"));
        };
        let message = self.released(&mut talk, message);
        self.put_talk(talk.clone());
        self.arrived(tenant, transaction, (&mail, &incoming.parsed), &mut talk, &message, member)
            .await?;
        Ok(Outcome::Done)
    }
}
