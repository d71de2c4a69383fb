//! Mail to an address on a bridge domain: forwarded mails, people, replies, answers to questions.

use isthmus_domain::{
    address::{BridgeLocal, Email},
    delivery::Medium,
    service::{MailIn, OutFileRef},
};
use isthmus_store::{StoreError, TenantView, rows};

use crate::{
    answers,
    batch::{Batch, Person, Talk},
    head::Head,
    mail_in::{Filed, Incoming, is_automatic},
    notices::subject_of_answer,
    requests::Outgoing,
    services::Outcome,
};

impl Batch<'_> {
    /// What a mail to a bridge address means.
    pub(crate) async fn for_bridge_address(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        local: BridgeLocal,
    ) -> Result<Outcome, StoreError> {
        // An answering machine is not an answer (RFC 3834): it is kept where it belongs, no more.
        let automatic = is_automatic(mail, &incoming.parsed);
        match local {
            BridgeLocal::Reply(token) => {
                self.reply(tenant, transaction, mail, incoming, &token, automatic).await
            }
            BridgeLocal::Bounce(token) => {
                self.came_back(tenant, transaction, mail, incoming, &token).await
            }
            _ if automatic => Ok(Outcome::refused("automatic mail is not bridged")),
            BridgeLocal::Decision { token, action } => {
                self.decided_by_mail(tenant, transaction, mail, incoming, &token, &action).await
            }
            BridgeLocal::Forward => self.forward(tenant, transaction, mail, incoming).await,
            BridgeLocal::Person(email) => {
                self.for_person(tenant, transaction, mail, incoming, &email).await
            }
            BridgeLocal::Alias(alias) => match tenant
                .alias(&alias)
                .and_then(|a| Email::parse(a).ok())
            {
                Some(email) => self.for_person(tenant, transaction, mail, incoming, &email).await,
                None => Ok(Outcome::refused("there is no such alias")),
            },
        }
    }

    /// The member who wrote, if the mail proves it; a member who cannot is told.
    pub(crate) async fn acting_member(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
    ) -> Result<Result<rows::Member, Outcome>, StoreError> {
        let parsed = &incoming.parsed;
        let from = parsed.from.email.key();
        let claimed = tenant.member(&from).cloned();
        let signed_in = mail.identity.as_deref().and_then(|id| tenant.member(id)).cloned();
        if let Some(member) = signed_in {
            return Ok(if member.email == from {
                Ok(member)
            } else {
                Err(Outcome::refused("the From is not the member who signed in"))
            });
        }
        let Some(member) = claimed else {
            return Ok(Err(Outcome::refused("only members may do this")));
        };
        if mail.trust.is_good() && parsed.upstream_verdict.is_none() {
            return Ok(Ok(member));
        }
        self.tell_forged(tenant, transaction, mail, incoming, &member).await?;
        Ok(Err(Outcome::refused("the sender could not be proven")))
    }

    /// `bob=acme.test@`: to that person as an instant message.
    async fn for_person(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        email: &Email,
    ) -> Result<Outcome, StoreError> {
        let member = match self.acting_member(tenant, transaction, mail, incoming).await? {
            Ok(member) => member,
            Err(outcome) => return Ok(outcome),
        };
        let author = Person::by_email(tenant, &member.email, None);
        let to = Person::by_email(tenant, &email.key(), None);
        let before = self.filed_before(tenant, incoming, &author.key, &to.key).await?;
        if self.is_on_its_way(tenant, &before).await? {
            return Ok(Outcome::Done);
        }
        // Their own copy of it may lie in the inbox already; that is no message in their chat.
        if let Some(message) = before.into_iter().next()
            && self.im_address(tenant, &to).is_some()
            && let Some(mut talk) = self.talk(&tenant.tenant.id, &message.conversation_id).await?
        {
            return self
                .send_filed(
                    tenant,
                    transaction,
                    &mut talk,
                    &author,
                    &to,
                    author.member.as_ref(),
                    Medium::Im,
                    message,
                )
                .await;
        }
        let mut talk = self.talk_for(tenant, transaction, incoming, &author, &to).await?;
        let text = incoming.parsed.text.clone();
        let head = self.head(tenant, mail, incoming, &author.key, &talk.row.id).await?;
        self.member_writes(
            tenant,
            transaction,
            mail,
            incoming,
            &mut talk,
            &author,
            &to,
            &member,
            (text, incoming.files.clone(), head.with_recipient(&to)),
        )
        .await
    }

    /// A member's mail that goes on as an instant message.
    #[expect(clippy::too_many_arguments, reason = "one mail, two people, one conversation")]
    pub(crate) async fn member_writes(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        talk: &mut Talk,
        author: &Person,
        to: &Person,
        member: &rows::Member,
        (text, files, head): (String, Vec<OutFileRef>, Head),
    ) -> Result<Outcome, StoreError> {
        let outgoing = Outgoing {
            tenant,
            transaction,
            author,
            to,
            via: Medium::Im,
            subject: Some(incoming.parsed.subject.clone()),
            text,
            files,
            asker: Some(member),
            delivery_id: None,
            raw: Some(mail.raw.clone()),
            message_id: incoming.parsed.message_id.clone(),
            head: Some(head),
            written_in: Medium::Email,
            may_gather: false,
        };
        let outcome = self.send_out(talk, outgoing).await?;
        if let Outcome::NoIm(person) = &outcome {
            self.tell_no_im(tenant, member, incoming, person).await?;
        }
        Ok(outcome)
    }

    /// Tells a member who wrote a mail that no chat address is known for whom it is for.
    pub(crate) async fn tell_no_im(
        &mut self,
        tenant: &TenantView,
        member: &rows::Member,
        incoming: &Incoming,
        person: &Person,
    ) -> Result<(), StoreError> {
        let (subject, body) =
            answers::no_im(&person.name, &person.key, &self.router.config.public_url);
        let id = incoming.parsed.message_id.as_deref();
        self.notice_mail(tenant, member, &subject, &body, id).await
    }

    /// `r-TOKEN@`: an answer inside a conversation.
    async fn reply(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        token: &str,
        automatic: bool,
    ) -> Result<Outcome, StoreError> {
        let participant = self.router.store.participant_by_token(token).await?;
        let Some(owner) = participant.filter(|p| p.tenant_id == tenant.tenant.id) else {
            return Ok(Outcome::refused("this reply address does not exist"));
        };
        let Some(mut talk) = self.talk(&tenant.tenant.id, &owner.conversation_id).await? else {
            return Ok(Outcome::refused("this conversation does not exist any more"));
        };
        let from = incoming.parsed.from.email.key();
        let proven = mail.trust.is_good() && incoming.parsed.upstream_verdict.is_none();
        let author = Person::by_email(tenant, &owner.person, Some(&owner.name));
        let Some(other) = talk.other(&owner.person).cloned() else { return Ok(Outcome::Done) };
        let to = Person::by_email(tenant, &other.person, Some(&other.name));
        let believed = from == owner.person && proven;
        let mut before = self.filed_before(tenant, incoming, &author.key, &to.key).await?;
        before.retain(|m| m.conversation_id == talk.row.id);
        if self.is_in(tenant, incoming, &talk).await? && !(believed && before.is_empty()) {
            // A member's own copy of what they wrote may have come first: it still has to go out.
            let copy = before.into_iter().next().filter(|_| believed && !automatic);
            if let Some(message) = copy.filter(|_| author.member.is_some())
                && !self.is_on_its_way(tenant, std::slice::from_ref(&message)).await?
            {
                let via = self.last_medium(tenant, &talk, &to);
                return self
                    .send_filed(
                        tenant,
                        transaction,
                        &mut talk,
                        &author,
                        &to,
                        author.member.as_ref(),
                        via,
                        message,
                    )
                    .await;
            }
            return Ok(Outcome::Done);
        }
        if !believed {
            // The token alone may have been forwarded: a member has to let it through.
            let stranger = Person::by_email(tenant, &from, incoming.parsed.from.name.as_deref());
            let filed = Filed {
                author: &stranger,
                held: Some(
                    "the sender is not the one this address belongs to, or is not proven".into(),
                ),
                part: &talk.row.id.clone(),
                recipient: None,
            };
            self.file_mail(tenant, transaction, mail, incoming, &mut talk, filed).await?;
            let judge = to.member.clone().or_else(|| author.member.clone());
            if let Some(member) = judge.filter(|_| !automatic) {
                let link = self.confirmation(tenant, transaction, &member, "reply");
                let (subject, body) =
                    answers::held(&author.name, &from, &incoming.parsed.subject, &link);
                self.notice_in(tenant, &member, &talk.row.id, &subject, &body, None).await?;
            }
            return Ok(Outcome::Done);
        }
        self.let_through(tenant, transaction, mail, incoming, &mut talk, &author, &to, automatic)
            .await
    }

    /// A reply that is believed: into the conversation and on to the other side.
    #[expect(clippy::too_many_arguments, reason = "one mail, two people, one conversation")]
    async fn let_through(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        talk: &mut Talk,
        author: &Person,
        to: &Person,
        automatic: bool,
    ) -> Result<Outcome, StoreError> {
        if automatic {
            let part = talk.row.id.clone();
            let filed = Filed { author, held: None, part: &part, recipient: None };
            self.file_mail(tenant, transaction, mail, incoming, talk, filed).await?;
            return Ok(Outcome::Done);
        }
        let head = self.head(tenant, mail, incoming, &author.key, &talk.row.id).await?;
        let outgoing = Outgoing {
            tenant,
            transaction,
            author,
            to,
            via: self.last_medium(tenant, talk, to),
            subject: subject_of_answer(&incoming.parsed, &tenant.tenant.bridge_domain),
            text: incoming.parsed.text.clone(),
            files: incoming.files.clone(),
            asker: author.member.as_ref(),
            delivery_id: None,
            raw: Some(mail.raw.clone()),
            message_id: incoming.parsed.message_id.clone(),
            head: Some(head.with_recipient(to)),
            written_in: Medium::Email,
            may_gather: false,
        };
        self.send_out(talk, outgoing).await
    }

    /// The medium in which somebody wrote last; email if they never did.
    pub(crate) fn last_medium(&self, tenant: &TenantView, talk: &Talk, to: &Person) -> Medium {
        let last = talk.participant(&to.key).filter(|p| p.last_at > 0);
        let has_im = self.im_address(tenant, to).is_some();
        match last.map(|p| p.last_medium.as_str()) {
            Some("im") if has_im => Medium::Im,
            _ if to.email().is_none() => Medium::Im,
            _ => Medium::Email,
        }
    }

    /// `d-TOKEN+retry@`: an answer to the question by mail.
    async fn decided_by_mail(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        token: &str,
        action: &str,
    ) -> Result<Outcome, StoreError> {
        let member = match self.acting_member(tenant, transaction, mail, incoming).await? {
            Ok(member) => member,
            Err(outcome) => return Ok(outcome),
        };
        let Ok(choice) = action.parse() else {
            return Ok(Outcome::refused("there is no such answer"));
        };
        let waiting = self.router.store.of(&tenant.tenant.id).deliveries_asked(token).await?;
        let open =
            waiting.iter().find(|d| matches!(d.state.as_str(), "awaiting_decision" | "retrying"));
        let Some(row) =
            open.or(waiting.first()).filter(|d| d.member_id.as_deref() == Some(&member.id))
        else {
            return Ok(Outcome::refused("nothing was asked under this address"));
        };
        match self.decide(row.clone(), choice, &member.name).await? {
            Ok(()) => Ok(Outcome::Done),
            Err(why) => {
                let body = format!("Your answer came too late: {why}.\n");
                let subject = "That was decided already";
                let (talk, late) = (&row.conversation_id, incoming.parsed.message_id.as_deref());
                self.notice_in(tenant, &member, talk, subject, &body, late).await?;
                Ok(Outcome::Refused(why.to_string()))
            }
        }
    }
}
