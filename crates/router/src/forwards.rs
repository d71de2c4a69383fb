//! Mail to `im@`: a mail that a member forwards, with the answer on top.

use std::collections::HashSet;

use isthmus_domain::{
    clock::Millis,
    delivery::Medium,
    service::{MailIn, OutFileRef},
};
use isthmus_mail::mime::{self, ForwardHow, Forwarded};
use isthmus_store::{StoreError, TenantView, rows};

use crate::{
    answers,
    batch::{Batch, Person, Talk},
    compose as words,
    mail_in::Incoming,
    services::Outcome,
};

/// Messages of a conversation among which the one that was forwarded is looked for.
const LOOK_BACK: u64 = 200;

impl Batch<'_> {
    /// `im@`: the answer on top goes to the sender of the mail that was forwarded.
    pub(crate) async fn forward(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
    ) -> Result<Outcome, StoreError> {
        let member = match self.acting_member(tenant, transaction, mail, incoming).await? {
            Ok(member) => member,
            Err(outcome) => return Ok(outcome),
        };
        let parsed = &incoming.parsed;
        let sender = self.forwarded_author(tenant, incoming).await?;
        let (Some(forwarded), Some(to)) = (&parsed.forwarded, sender) else {
            let (subject, body) = answers::nothing_forwarded(&tenant.tenant.bridge_domain);
            self.notice_mail(tenant, &member, &subject, &body, parsed.message_id.as_deref())
                .await?;
            return Ok(Outcome::refused("no forwarded mail with a sender was found"));
        };
        if self.is_sent(tenant, incoming, &member.email, &to.key).await? {
            return Ok(Outcome::Done);
        }
        // A mail that lies in the member's own conversation under this id was no invention.
        let known = self.known_original(tenant, forwarded, &to.key, &member.email).await?;
        if !forwarded.certain && known.is_none() {
            return self.ask_to_confirm(tenant, transaction, &member, &to, forwarded).await;
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
        let sender = self.forwarded_author(tenant, incoming).await?;
        let (Some(forwarded), Some(to)) = (&incoming.parsed.forwarded, sender) else {
            return Ok(Outcome::refused("no forwarded mail with a sender was found"));
        };
        let author = Person::by_email(tenant, &member.email, None);
        if self.im_address(tenant, &to).is_none() {
            self.tell_no_im(tenant, member, incoming, &to).await?;
            return Ok(Outcome::NoIm(Box::new(to)));
        }
        // The same forward may have come over another path while the member was asked.
        if self.is_sent(tenant, incoming, &author.key, &to.key).await? {
            return Ok(Outcome::Done);
        }
        let mut talk = match known {
            Some(talk) => talk,
            None => {
                self.file_original(tenant, transaction, incoming, forwarded, &author, &to).await?
            }
        };
        let text = forwarded.comment.clone();
        let files = self.files_on_top(&talk, incoming, forwarded, &to).await?;
        let head = self.head(tenant, mail, incoming, &author.key, &talk.row.id).await?;
        let mut head = head.with_recipient(&to).without_quotes();
        // What is answered is the mail below the answer, whatever the forward itself names.
        if let Some(id) = &forwarded.message_id
            && let Some(original) = self.message_in(tenant, id, &talk.row.id).await?
        {
            head.in_reply_to = Some(original);
        }
        self.member_writes(
            tenant,
            transaction,
            mail,
            incoming,
            &mut talk,
            &author,
            &to,
            member,
            (text, files, head),
        )
        .await
    }

    /// The files of a forwarding mail that are the member's own: not the forwarded mail itself,
    /// nor what came with it and was handed on as the same octets.
    async fn files_on_top(
        &self,
        talk: &Talk,
        incoming: &Incoming,
        forwarded: &Forwarded,
        to: &Person,
    ) -> Result<Vec<OutFileRef>, StoreError> {
        let tenant = &talk.row.tenant_id;
        let mut originals = if self.is_fresh(&talk.row.id) {
            Vec::new()
        } else {
            self.router.store.of(tenant).messages(&talk.row.id, None, LOOK_BACK).await?
        };
        let planned = &self.plan.set.once_messages;
        originals.extend(planned.iter().filter(|m| m.conversation_id == talk.row.id).cloned());
        originals.retain(|m| {
            m.from_person == to.key
                && forwarded.message_id.as_ref().is_none_or(|id| *id == m.message_id)
        });
        let theirs: HashSet<String> =
            self.files_of(tenant, &originals).await?.into_iter().map(|f| f.hash).collect();
        let attached = match forwarded.how {
            ForwardHow::AsAttachment => incoming.parsed.attached_messages.first(),
            ForwardHow::Inline | ForwardHow::Quoted => None,
        };
        let attached = attached.map(|m| m.attachment);
        let files = incoming.files.iter().enumerate();
        Ok(files
            .filter(|(i, file)| Some(*i) != attached && !theirs.contains(&file.hash))
            .map(|(_, file)| file.clone())
            .collect())
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
        let mut to_list = self.list(tenant, &forwarded.to, &to.key, &talk.row.id).await?;
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
            cc_list: self.list(tenant, &forwarded.cc, &to.key, &talk.row.id).await?,
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
        from: &Person,
        forwarded: &Forwarded,
    ) -> Result<Outcome, StoreError> {
        let link = self.confirmation(tenant, transaction, member, "forward");
        let text = words::excerpt(&forwarded.comment, 1_000);
        let (subject, body) = answers::confirm(&from.name, &from.key, &link, &text);
        self.notice_mail(tenant, member, &subject, &body, None).await?;
        Ok(Outcome::Done)
    }
}
