//! Mail to an address on a bridge domain: forwarded mails, people, replies, answers to questions.

use isthmus_domain::{
    address::{BridgeLocal, Email},
    clock::Millis,
    delivery::Medium,
    signed::Opens,
};
use isthmus_mail::mime::{self, Forwarded, Kind};
use isthmus_store::{StoreError, TenantView, rows};

use isthmus_domain::service::MailIn;

use crate::{
    answers,
    batch::{Batch, Person, Talk},
    compose as words,
    mail_in::{Filed, Incoming, boxes},
    requests::Outgoing,
    services::Outcome,
};

/// How long something waits for a member's word.
const CONFIRM_MS: i64 = 14 * 86_400_000;

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
        let parsed = &incoming.parsed;
        // An answering machine is not an answer (RFC 3834): it is kept where it belongs, no more.
        let automatic =
            parsed.auto || !matches!(parsed.kind, Kind::Ordinary) || mail.mail_from.is_none();
        match local {
            BridgeLocal::Reply(token) => {
                self.reply(tenant, transaction, mail, incoming, &token, automatic).await
            }
            BridgeLocal::Bounce(_) => Ok(Outcome::Done),
            _ if automatic => Ok(Outcome::refused("automatic mail is not bridged")),
            BridgeLocal::Decision { token, action } => {
                self.decided_by_mail(tenant, mail, incoming, &token, &action).await
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
    async fn acting_member(
        &mut self,
        tenant: &TenantView,
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
        let (subject, body) = answers::forged(&member.name, &parsed.subject, &mail.verdict);
        self.notice_mail(tenant, &member, &subject, &body, None).await?;
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
        let member = match self.acting_member(tenant, mail, incoming).await? {
            Ok(member) => member,
            Err(outcome) => return Ok(outcome),
        };
        let author = Person::by_email(tenant, &member.email, None);
        let to = Person::by_email(tenant, &email.key(), None);
        let Some(mut talk) = self.talk_for(tenant, transaction, incoming, &author, &to).await?
        else {
            return Ok(Outcome::Done);
        };
        let text = incoming.parsed.text.clone();
        self.member_writes(
            tenant,
            transaction,
            mail,
            incoming,
            &mut talk,
            &author,
            &to,
            &member,
            text,
        )
        .await
    }

    /// A member's mail that goes on as an instant message.
    #[expect(clippy::too_many_arguments, reason = "one mail, two people, one conversation")]
    async fn member_writes(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        talk: &mut Talk,
        author: &Person,
        to: &Person,
        member: &rows::Member,
        text: String,
    ) -> Result<Outcome, StoreError> {
        let outgoing = Outgoing {
            tenant,
            transaction,
            author,
            to,
            via: Medium::Im,
            subject: Some(incoming.parsed.subject.clone()),
            text,
            files: own_files(incoming),
            asker: Some(member),
            delivery_id: None,
            raw: Some(mail.raw.clone()),
            message_id: incoming.parsed.message_id.clone(),
            written_in: Medium::Email,
            may_gather: false,
        };
        let outcome = self.send_out(talk, outgoing).await?;
        if let Outcome::NoIm(person) = &outcome {
            let (subject, body) = answers::no_im(
                &person.name,
                &person.key,
                &self.router.config.public_url,
                &tenant.tenant.bridge_domain,
            );
            let id = incoming.parsed.message_id.as_deref();
            self.notice_mail(tenant, member, &subject, &body, id).await?;
        }
        Ok(outcome)
    }

    /// `im@`: the answer on top goes to the sender of the mail that was forwarded.
    async fn forward(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
    ) -> Result<Outcome, StoreError> {
        let member = match self.acting_member(tenant, mail, incoming).await? {
            Ok(member) => member,
            Err(outcome) => return Ok(outcome),
        };
        let parsed = &incoming.parsed;
        let sender = parsed.forwarded.as_ref().and_then(|f| f.from.clone().map(|from| (f, from)));
        let Some((forwarded, from)) = sender else {
            let (subject, body) = answers::nothing_forwarded(&tenant.tenant.bridge_domain);
            self.notice_mail(tenant, &member, &subject, &body, parsed.message_id.as_deref())
                .await?;
            return Ok(Outcome::refused("no forwarded mail with a sender was found"));
        };
        // A mail that lies in the member's own conversation under this id was no invention.
        let known =
            self.known_original(tenant, forwarded, &from.email.key(), &member.email).await?;
        if !forwarded.certain && known.is_none() {
            return self.ask_to_confirm(tenant, transaction, &member, &from, forwarded).await;
        }
        self.answer_forwarded(tenant, transaction, mail, incoming, &member, known).await
    }

    /// Sends the answer on top of a forwarded mail, the mail itself as history.
    pub(crate) async fn answer_forwarded(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        member: &rows::Member,
        known: Option<Talk>,
    ) -> Result<Outcome, StoreError> {
        let Some((forwarded, from)) =
            incoming.parsed.forwarded.as_ref().and_then(|f| f.from.clone().map(|from| (f, from)))
        else {
            return Ok(Outcome::refused("no forwarded mail with a sender was found"));
        };
        let author = Person::by_email(tenant, &member.email, None);
        let to = Person::by_email(tenant, &from.email.key(), from.name.as_deref());
        if self.im_address(tenant, &to).is_none() {
            let (subject, body) = answers::no_im(
                &to.name,
                &to.key,
                &self.router.config.public_url,
                &tenant.tenant.bridge_domain,
            );
            let id = incoming.parsed.message_id.as_deref();
            self.notice_mail(tenant, member, &subject, &body, id).await?;
            return Ok(Outcome::NoIm(Box::new(to)));
        }
        let mut talk = match known {
            Some(talk) => talk,
            None => {
                self.file_original(tenant, transaction, incoming, forwarded, &author, &to).await?
            }
        };
        let text = forwarded.comment.clone();
        self.member_writes(
            tenant,
            transaction,
            mail,
            incoming,
            &mut talk,
            &author,
            &to,
            member,
            text,
        )
        .await
    }

    /// The conversation in which the forwarded mail lies already.
    async fn known_original(
        &mut self,
        tenant: &TenantView,
        forwarded: &Forwarded,
        from: &str,
        member: &str,
    ) -> Result<Option<Talk>, StoreError> {
        let id = &tenant.tenant.id;
        if let Some(message_id) = &forwarded.message_id {
            return self.by_thread(id, std::slice::from_ref(message_id), from, member).await;
        }
        // Inline forwards name no id: the subject within the conversations of these two must do.
        let Some(subject) = &forwarded.subject else { return Ok(None) };
        let base = mime::base_subject(subject);
        let pair = crate::batch::pair(from, member);
        let all = self.router.store.of(id).all_of_pair(&pair).await?;
        let same =
            all.into_iter().find(|c| mime::base_subject(&c.subject).eq_ignore_ascii_case(&base));
        match same {
            Some(row) => self.talk(id, &row.id).await,
            None => Ok(None),
        }
    }

    /// Writes the forwarded mail into a conversation, as the message that is answered.
    async fn file_original(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        incoming: &Incoming,
        forwarded: &Forwarded,
        author: &Person,
        to: &Person,
    ) -> Result<Talk, StoreError> {
        let id = &tenant.tenant.id;
        let subject = forwarded.subject.clone().unwrap_or_default();
        let at = Millis(transaction.at);
        let base = mime::base_subject(&subject);
        let mut talk = self.open_talk(id, &base, [author, to], Medium::Email, at, &transaction.id);
        let message = self.message_id(transaction, "original");
        let mut to_list = boxes(&forwarded.to);
        if forwarded.to.is_empty() {
            to_list = crate::history::address_list([(author.name.as_str(), author.key.as_str())]);
        }
        let row = rows::Message {
            message_id: forwarded
                .message_id
                .clone()
                .unwrap_or_else(|| format!("{message}@{}", tenant.tenant.bridge_domain)),
            id: message.clone(),
            tenant_id: id.clone(),
            conversation_id: talk.row.id.clone(),
            seq: self.next_seq(),
            medium: "email".into(),
            from_person: to.key.clone(),
            from_name: to.name.clone(),
            to_list,
            cc_list: boxes(&forwarded.cc),
            subject,
            text: forwarded.text.clone(),
            quoted: None,
            html_hash: None,
            raw_hash: incoming.forwarded_raw.clone(),
            in_reply_to: None,
            refs: "[]".into(),
            verdict: Some(format!("forwarded by {}", author.key)),
            held: None,
            automatic: false,
            transaction_id: transaction.id.clone(),
            at: forwarded.date.filter(|d| d.0 < self.now.0).unwrap_or(self.now).0,
        };
        let files = if incoming.forwarded_files.is_empty() && !forwarded.certain {
            &incoming.files
        } else {
            &incoming.forwarded_files
        };
        let files = self.file_rows(id, &message, at, files);
        self.add_message(&mut talk, row, files);
        Ok(talk)
    }

    /// Asks the member once whether the quoted sender is right.
    async fn ask_to_confirm(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        member: &rows::Member,
        from: &mime::Mailbox,
        forwarded: &Forwarded,
    ) -> Result<Outcome, StoreError> {
        let link = self.confirmation(tenant, transaction, member, "forward");
        let name = from.name.as_deref().unwrap_or(from.email.as_str());
        let text = words::excerpt(&forwarded.comment, 1_000);
        let (subject, body) = answers::confirm(name, from.email.as_str(), &link, &text);
        self.notice_mail(tenant, member, &subject, &body, None).await?;
        Ok(Outcome::Done)
    }

    /// Keeps a transaction's mail until the member has answered; returns the link to the answer.
    fn confirmation(
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
        if let Some(id) = &incoming.parsed.message_id {
            let there = self.called(&tenant.tenant.id, id).await?;
            if there.iter().any(|k| k.conversation == talk.row.id) {
                return Ok(Outcome::Done);
            }
        }
        let from = incoming.parsed.from.email.key();
        let proven = mail.trust.is_good() && incoming.parsed.upstream_verdict.is_none();
        let author = Person::by_email(tenant, &owner.person, Some(&owner.name));
        let Some(other) = talk.other(&owner.person).cloned() else { return Ok(Outcome::Done) };
        let to = Person::by_email(tenant, &other.person, Some(&other.name));
        if from != owner.person || !proven {
            // The token alone may have been forwarded: a member has to let it through.
            let stranger = Person::by_email(tenant, &from, incoming.parsed.from.name.as_deref());
            let filed = Filed {
                author: &stranger,
                held: Some(
                    "the sender is not the one this address belongs to, or is not proven".into(),
                ),
                part: &talk.row.id.clone(),
            };
            self.file_mail(tenant, transaction, mail, incoming, &mut talk, filed).await?;
            let judge = to.member.clone().or_else(|| author.member.clone());
            if let Some(member) = judge.filter(|_| !automatic) {
                let link = self.confirmation(tenant, transaction, &member, "reply");
                let (subject, body) =
                    answers::held(&author.name, &from, &incoming.parsed.subject, &link);
                self.notice_mail(tenant, &member, &subject, &body, None).await?;
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
            let filed = Filed { author, held: None, part: &part };
            self.file_mail(tenant, transaction, mail, incoming, talk, filed).await?;
            return Ok(Outcome::Done);
        }
        let outgoing = Outgoing {
            tenant,
            transaction,
            author,
            to,
            via: self.last_medium(tenant, talk, to),
            subject: Some(incoming.parsed.subject.clone()),
            text: incoming.parsed.text.clone(),
            files: own_files(incoming),
            asker: author.member.as_ref(),
            delivery_id: None,
            raw: Some(mail.raw.clone()),
            message_id: incoming.parsed.message_id.clone(),
            written_in: Medium::Email,
            may_gather: false,
        };
        self.send_out(talk, outgoing).await
    }

    /// The medium in which somebody wrote last; email if they never did.
    fn last_medium(&self, tenant: &TenantView, talk: &Talk, to: &Person) -> Medium {
        let last = talk.participant(&to.key).filter(|p| p.last_at > 0);
        let has_im = self.im_address(tenant, to).is_some();
        match last.map(|p| p.last_medium.as_str()) {
            Some("im") if has_im => Medium::Im,
            _ if to.email().is_none() => Medium::Im,
            _ => Medium::Email,
        }
    }

    /// A member let something through that was held back.
    pub(crate) async fn confirmed(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        held: rows::Confirmation,
        mail: MailIn,
        mut incoming: Incoming,
    ) -> Result<Outcome, StoreError> {
        self.plan.set.once_blobs.append(&mut incoming.blobs);
        let Some(member) = tenant.member_by_id(&held.member_id).cloned() else {
            return Ok(Outcome::refused("the member who was asked is not there any more"));
        };
        self.plan
            .set
            .put_confirmations
            .push(rows::Confirmation { state: "done".into(), ..held.clone() });
        if held.kind == "forward" {
            return self
                .answer_forwarded(tenant, transaction, &mail, &incoming, &member, None)
                .await;
        }
        let token =
            mail.rcpts.iter().find_map(|r| {
                match isthmus_domain::address::read_bridge_local(r.local()) {
                    Some(BridgeLocal::Reply(token)) => Some(token),
                    _ => None,
                }
            });
        let Some(token) = token else { return Ok(Outcome::refused("the reply address is gone")) };
        let Some(owner) = self.router.store.participant_by_token(&token).await? else {
            return Ok(Outcome::refused("the reply address is gone"));
        };
        let Some(mut talk) = self.talk(&tenant.tenant.id, &owner.conversation_id).await? else {
            return Ok(Outcome::refused("this conversation does not exist any more"));
        };
        // The held row becomes an ordinary one, and goes on to whom it was written.
        let id = incoming.parsed.message_id.clone().unwrap_or_default();
        let rows = self.router.store.of(&tenant.tenant.id).messages_called(&[id]).await?;
        let row = rows.into_iter().find(|m| m.conversation_id == talk.row.id && m.held.is_some());
        let (Some(row), Some(other)) = (row, talk.other(&owner.person).cloned()) else {
            return Ok(Outcome::refused("what was held is not there any more"));
        };
        let message = rows::Message { held: None, ..row };
        self.plan.set.put_messages.push(message.clone());
        talk.row.last_at = self.now.0;
        let author = Person::by_email(tenant, &message.from_person, Some(&message.from_name));
        let to = Person::by_email(tenant, &other.person, Some(&other.name));
        let files = self.files_of(&tenant.tenant.id, std::slice::from_ref(&message)).await?;
        let address = self.im_address(tenant, &to);
        let out = Outgoing {
            tenant,
            transaction,
            author: &author,
            to: &to,
            via: self.last_medium(tenant, &talk, &to),
            subject: Some(message.subject.clone()),
            text: message.text.clone(),
            files: own_files(&incoming),
            // Nobody here wrote it, so nobody is asked about it.
            asker: None,
            delivery_id: None,
            raw: None,
            message_id: None,
            written_in: Medium::Email,
            may_gather: false,
        };
        self.go_out(&mut talk, &out, &message, &files, address).await?;
        self.put_talk(talk);
        Ok(Outcome::Done)
    }

    /// `d-TOKEN+retry@`: an answer to the question by mail.
    async fn decided_by_mail(
        &mut self,
        tenant: &TenantView,
        mail: &MailIn,
        incoming: &Incoming,
        token: &str,
        action: &str,
    ) -> Result<Outcome, StoreError> {
        let member = match self.acting_member(tenant, mail, incoming).await? {
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
                self.notice_mail(
                    tenant,
                    &member,
                    subject,
                    &body,
                    incoming.parsed.message_id.as_deref(),
                )
                .await?;
                Ok(Outcome::Refused(why.to_string()))
            }
        }
    }
}

/// The files of a mail that are its author's own: not the forwarded mail itself.
fn own_files(incoming: &Incoming) -> Vec<isthmus_domain::service::OutFileRef> {
    if incoming.parsed.forwarded.is_none() {
        return incoming.files.clone();
    }
    let mails: Vec<usize> =
        incoming.parsed.attached_messages.iter().map(|m| m.attachment).collect();
    let certain = incoming.parsed.forwarded.as_ref().is_some_and(|f| f.certain);
    incoming
        .files
        .iter()
        .enumerate()
        .filter(|(i, _)| certain && !mails.contains(i))
        .map(|(_, f)| f.clone())
        .collect()
}
