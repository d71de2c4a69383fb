//! Asking and telling the sender, in the medium that they used.

use isthmus_domain::{
    address::Email,
    clock::Millis,
    delivery::{Choice, Standing, State},
    ids::MessageId,
    service::ChatIn,
    signed::Opens,
};
use isthmus_mail::mime::{self, Mailbox};
use isthmus_store::{StoreError, TenantView, rows};

use crate::notice_html::notice_html;
use crate::{
    batch::Batch,
    compose as words,
    plan::{Act, Rules},
    requests::Written,
    steps::standing,
};

/// How the Message-ID of a mail from the bridge itself begins.
const NOTICE: &str = "notice-";
/// How long the links of a question work.
const QUESTION_MS: i64 = 30 * 86_400_000;

impl Batch<'_> {
    /// Asks the sender what to do, once for all messages that share the question.
    pub(crate) async fn ask(
        &mut self,
        row: &rows::Delivery,
        state: &State,
        rules: Rules,
    ) -> Result<(), StoreError> {
        let directory = std::sync::Arc::clone(&self.directory);
        let Some(tenant) = directory.tenant(&row.tenant_id) else { return Ok(()) };
        let Some(member) = row.member_id.as_deref().and_then(|id| tenant.member_by_id(id)) else {
            return Ok(());
        };
        let (Some(token), State::AwaitingDecision { deadline, .. }) = (&row.question, state) else {
            return Ok(());
        };
        let name = self.recipient_name(tenant, row).await?;
        let otherwise = self.otherwise(tenant, member, row, *deadline);
        let keep_days = (self.router.config.expire_after_ms + 86_399_999) / 86_400_000;
        self.plan.acts.push(Act::Publish {
            tenant: row.tenant_id.clone(),
            members: vec![member.id.clone()],
            kind: "question",
            data: serde_json::json!({"delivery_id": row.id, "conversation_id": row.conversation_id, "deadline": deadline.rfc3339()}),
        });
        match row.source.as_str() {
            "im" => {
                let text = words::question_chat(&name, rules.can_email, keep_days, &otherwise);
                let contact = Email::parse(&row.person).ok().map(|e| (e, name.clone()));
                if let Some(to) = self.wrote_from(tenant, member, row).await? {
                    self.system_line(tenant, &row.transaction_id, &to, contact, text).await?;
                }
            }
            "smtp" => {
                let text = self.text_of(row).await?;
                let bridge = &tenant.tenant.bridge_domain;
                let until = self.now.plus_ms(QUESTION_MS);
                let link = |choice: Choice| {
                    let opens = Opens::Decide {
                        question: token.clone(),
                        choice: choice.as_str().to_owned(),
                    };
                    format!(
                        "{}/d/{}",
                        self.router.config.public_url,
                        self.router.links.sign(opens, until)
                    )
                };
                let choices = [Choice::Retry, Choice::Email, Choice::Abort];
                let (subject, body) = words::question_mail(&words::Question {
                    name: &name,
                    text: &text,
                    can_email: rules.can_email,
                    keep_days,
                    otherwise,
                    links: choices.map(link),
                    addresses: choices.map(|c| format!("d-{token}+{}@{bridge}", c.as_str())),
                    settings: format!("{}/settings", self.router.config.public_url),
                });
                self.notice_in(tenant, member, &row.conversation_id, &subject, &body, None).await?;
            }
            // The portal shows a card, the API an event and the delivery itself.
            _ => {}
        }
        Ok(())
    }

    /// What happens when nobody answers.
    fn otherwise(
        &self,
        tenant: &TenantView,
        member: &rows::Member,
        row: &rows::Delivery,
        deadline: Millis,
    ) -> String {
        let at = words::deadline(deadline, self.now, &tenant.tenant.time_zone);
        let wish = standing(tenant.contact(&row.person).and_then(|c| c.policy.as_deref()))
            .or_else(|| standing(member.policy.as_deref()))
            .or_else(|| standing(tenant.tenant.policy.as_deref()));
        match wish.map(Standing::choice) {
            Some(Choice::Email) => format!("If you do nothing, we send it as an email {at}."),
            Some(Choice::Abort) => format!("If you do nothing, we drop it {at}."),
            Some(Choice::Retry) => format!("If you do nothing, we begin to try again {at}."),
            None => format!("If you do nothing, we ask again {at}."),
        }
    }

    /// Tells the sender once per exchange that it arrived.
    pub(crate) async fn tell_delivered(
        &mut self,
        row: &rows::Delivery,
        state: &State,
    ) -> Result<(), StoreError> {
        let directory = std::sync::Arc::clone(&self.directory);
        let Some(tenant) = directory.tenant(&row.tenant_id) else { return Ok(()) };
        let Some(member) = row.member_id.as_deref().and_then(|id| tenant.member_by_id(id)) else {
            return Ok(());
        };
        let by_chat_or_mail = matches!(row.source.as_str(), "smtp" | "im");
        if !member.notices
            || !by_chat_or_mail
            || !self.first_of_exchange(row, &member.email).await?
        {
            return Ok(());
        }
        let name = self.recipient_name(tenant, row).await?;
        let at = match state {
            State::Delivered { at, .. } => *at,
            _ => self.now,
        };
        let time = words::when(at, self.now, &tenant.tenant.time_zone);
        let time = time.trim_start_matches("today ");
        let text = if row.medium == "email" {
            format!("Your message to {name} went out by email ({time}).")
        } else {
            format!("{name} has it ({time}).")
        };
        self.tell(tenant, member, row, &text, &format!("{text}\n")).await
    }

    /// Tells the sender that it did not arrive, every time.
    pub(crate) async fn tell_failed(
        &mut self,
        row: &rows::Delivery,
        state: &State,
    ) -> Result<(), StoreError> {
        let directory = std::sync::Arc::clone(&self.directory);
        let Some(tenant) = directory.tenant(&row.tenant_id) else { return Ok(()) };
        let Some(member) = row.member_id.as_deref().and_then(|id| tenant.member_by_id(id)) else {
            return Ok(());
        };
        let State::Failed { reason, .. } = state else { return Ok(()) };
        let name = self.recipient_name(tenant, row).await?;
        let subject = format!("Your message to {name} was not delivered");
        let text = self.text_of(row).await?;
        let body = format!(
            "{subject}: {}.\n\nIt is kept in the conversation: {}/conversations/{}\n\n{}\n",
            reason.trim_end_matches('.'),
            self.router.config.public_url,
            row.conversation_id,
            words::excerpt(&text, 1_000).lines().map(|l| format!("> {l}\n")).collect::<String>()
        );
        self.tell(tenant, member, row, &subject, &body).await
    }

    async fn tell(
        &mut self,
        tenant: &TenantView,
        member: &rows::Member,
        row: &rows::Delivery,
        line: &str,
        body: &str,
    ) -> Result<(), StoreError> {
        match row.source.as_str() {
            "im" => {
                if let Some(to) = self.wrote_from(tenant, member, row).await? {
                    let name = self.recipient_name(tenant, row).await?;
                    let contact = Email::parse(&row.person).ok().map(|e| (e, name));
                    self.system_line(tenant, &row.transaction_id, &to, contact, line.to_owned())
                        .await?;
                }
                Ok(())
            }
            "smtp" => self.notice_in(tenant, member, &row.conversation_id, line, body, None).await,
            _ => Ok(()),
        }
    }

    /// Where a member is told about what they wrote in chat: at the address they wrote from, while
    /// it is still theirs.
    async fn wrote_from(
        &self,
        tenant: &TenantView,
        member: &rows::Member,
        row: &rows::Delivery,
    ) -> Result<Option<String>, StoreError> {
        let all = tenant.mappings(&member.email).iter().filter(|m| m.state == "verified");
        let verified: Vec<&str> = all.map(|m| m.im.as_str()).collect();
        if verified.len() > 1 {
            let scope = self.router.store.of(&row.tenant_id);
            let asked = scope.transaction(&row.transaction_id).await?;
            let from = asked.and_then(|t| serde_json::from_str::<ChatIn>(&t.params).ok());
            if let Some(chat) = from.filter(|chat| verified.contains(&chat.from.as_str())) {
                return Ok(Some(chat.from));
            }
        }
        Ok(tenant.im_of(&member.email).map(|m| m.im.clone()))
    }

    /// Whether the other side has written since the sender was last told, or never was told.
    async fn first_of_exchange(
        &mut self,
        row: &rows::Delivery,
        person: &str,
    ) -> Result<bool, StoreError> {
        let Some(mut talk) = self.talk(&row.tenant_id, &row.conversation_id).await? else {
            return Ok(false);
        };
        let told = talk.participant(person).map_or(0, |p| p.told_seq);
        if told > 0 {
            let scope = self.router.store.of(&row.tenant_id);
            let recent = scope.last_authors(&row.conversation_id, 50).await?;
            if !recent.iter().any(|(author, seq)| author != person && *seq > told) {
                return Ok(false);
            }
        }
        let seq = self.next_seq();
        if let Some(p) = talk.people.iter_mut().find(|p| p.person == person) {
            p.told_seq = seq;
        }
        self.put_talk(talk);
        Ok(true)
    }

    pub(crate) async fn recipient_name(
        &mut self,
        tenant: &TenantView,
        row: &rows::Delivery,
    ) -> Result<String, StoreError> {
        if let Some(name) = tenant.name_of(&row.person) {
            return Ok(name.to_owned());
        }
        let talk = self.talk(&row.tenant_id, &row.conversation_id).await?;
        let name = talk.and_then(|t| t.participant(&row.person).map(|p| p.name.clone()));
        Ok(name.filter(|n| !n.is_empty()).unwrap_or_else(|| row.person.clone()))
    }

    async fn text_of(&self, row: &rows::Delivery) -> Result<String, StoreError> {
        let planned = self.plan.set.once_messages.iter().find(|m| m.id == row.message_id);
        if let Some(message) = planned {
            return Ok(message.text.clone());
        }
        let message = self.router.store.of(&row.tenant_id).message(&row.message_id).await?;
        Ok(message.map(|m| m.text).unwrap_or_default())
    }

    /// A mail from the bridge to a member; no program may answer it (RFC 3834).
    pub(crate) async fn notice_mail(
        &mut self,
        tenant: &TenantView,
        member: &rows::Member,
        subject: &str,
        body: &str,
        in_reply_to: Option<&str>,
    ) -> Result<(), StoreError> {
        let Ok(to) = Email::parse(&member.email) else { return Ok(()) };
        self.notice_to(tenant, &to, &member.name, subject, body, in_reply_to).await
    }

    /// The same about a conversation: a plain answer to it is the member's next message there.
    pub(crate) async fn notice_in(
        &mut self,
        tenant: &TenantView,
        member: &rows::Member,
        conversation: &str,
        subject: &str,
        body: &str,
        in_reply_to: Option<&str>,
    ) -> Result<(), StoreError> {
        let Ok(to) = Email::parse(&member.email) else { return Ok(()) };
        let mut mail = self.notice(tenant, &to, &member.name, subject, body, in_reply_to)?;
        let talk = self.talk(&tenant.tenant.id, conversation).await?;
        mail.reply_to = talk
            .and_then(|t| t.participant(&member.email).map(|p| p.token.clone()))
            .and_then(|t| Email::parse(&format!("r-{t}@{}", tenant.tenant.bridge_domain)).ok());
        self.send_notice(tenant, &to, mail).await
    }

    /// The same to any address of one's own.
    pub(crate) async fn notice_to(
        &mut self,
        tenant: &TenantView,
        to: &Email,
        name: &str,
        subject: &str,
        body: &str,
        in_reply_to: Option<&str>,
    ) -> Result<(), StoreError> {
        let mail = self.notice(tenant, to, name, subject, body, in_reply_to)?;
        self.send_notice(tenant, to, mail).await
    }

    async fn send_notice(
        &mut self,
        tenant: &TenantView,
        to: &Email,
        mail: mime::Outgoing,
    ) -> Result<(), StoreError> {
        let raw = mime::compose(&mail).map_err(unwritten)?;
        self.queue_mail(tenant, "notice", None, to, written(mail, raw)).await
    }

    /// A mail from the bridge itself.
    pub(crate) fn notice(
        &self,
        tenant: &TenantView,
        to: &Email,
        name: &str,
        subject: &str,
        body: &str,
        in_reply_to: Option<&str>,
    ) -> Result<mime::Outgoing, StoreError> {
        let bridge = &tenant.tenant.bridge_domain;
        let from = Email::parse(&format!("im@{bridge}"))
            .map_err(|e| StoreError::Rule(format!("the bridge has no address: {e}")))?;
        Ok(mime::Outgoing {
            from: Mailbox::named(&format!("{} bridge", tenant.tenant.name), from),
            sender: None,
            reply_to: None,
            to: vec![Mailbox::named(name, to.clone())],
            cc: vec![],
            subject: subject.to_owned(),
            message_id: format!(
                "{NOTICE}{}@{bridge}",
                MessageId::new(self.now, &self.router.chance)
            ),
            in_reply_to: in_reply_to.map(ToOwned::to_owned),
            references: in_reply_to.map(ToOwned::to_owned).into_iter().collect(),
            date: self.now,
            html: Some(notice_html(body)),
            text: body.to_owned(),
            attachments: vec![],
            auto_submitted: Some(mime::AutoSubmitted::AutoReplied),
            loop_mark: self.router.config.installation.clone(),
        })
    }
}

/// The subject of a member's answer; none where it answers a notice of the bridge, whose subject
/// is for the member alone.
pub(crate) fn subject_of_answer(parsed: &mime::Parsed, bridge: &str) -> Option<String> {
    let of_the_bridge = |id: &String| {
        id.strip_prefix(NOTICE).and_then(|id| id.split_once('@')).is_some_and(|(_, d)| d == bridge)
    };
    let notice = parsed.in_reply_to.iter().any(of_the_bridge)
        || parsed.references.last().is_some_and(of_the_bridge);
    (!notice).then(|| parsed.subject.clone())
}

/// A notice with its octets.
pub(crate) fn written(mail: mime::Outgoing, raw: Vec<u8>) -> Written {
    let domain = mail.from.email.domain().to_owned();
    Written { domain, message_id: mail.message_id, subject: mail.subject, raw }
}

/// A mail of ours that breaks the rules of mails.
pub(crate) fn unwritten(error: mime::ComposeError) -> StoreError {
    StoreError::Rule(format!("the notice could not be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the bridge tells a member is not what they write about to others.
    #[test]
    fn an_answer_to_a_notice_does_not_carry_its_subject() {
        let answer = |id: &str| {
            let raw = format!(
                "From: a@acme.test\r\nSubject: Re: Bob is away.\r\nIn-Reply-To: <{id}>\r\n\r\nWell.\r\n"
            );
            let parsed = mime::parse(raw.as_bytes()).expect("a mail");
            subject_of_answer(&parsed, "bridge.acme.test")
        };
        assert_eq!(answer("notice-msg_1@bridge.acme.test"), None);
        for other in ["msg_1@bridge.acme.test", "notice-msg_1@elsewhere.test"] {
            assert_eq!(answer(other).as_deref(), Some("Re: Bob is away."), "{other}");
        }
    }
}
