//! What members ask for: an answer or a new message, by either medium.

use isthmus_domain::{
    address::Email,
    clock::Millis,
    delivery::{Medium, Reach, State},
    ids::OutboundId,
};
use isthmus_store::{StoreError, TenantView, rows};

use isthmus_domain::service::{OutFileRef, Request, To};

use crate::{
    batch::{Batch, Person, Talk},
    compose as words,
    head::Head,
    outbound,
    plan::{Rules, Wire, WireFile},
    services::Outcome,
    steps::{NewIm, write_state},
};

/// When a mail of which the outbound queue said nothing counts as failed: long after the queue
/// itself gives up, its longest pause included, so that the server's own words come first.
const MAIL_MS: i64 = outbound::GIVE_UP_MS + 2 * 86_400_000;

/// A text that a member sends to somebody in a conversation.
pub(crate) struct Outgoing<'a> {
    pub(crate) tenant: &'a TenantView,
    pub(crate) transaction: &'a rows::Transaction,
    pub(crate) author: &'a Person,
    pub(crate) to: &'a Person,
    pub(crate) via: Medium,
    pub(crate) subject: Option<String>,
    pub(crate) text: String,
    pub(crate) files: Vec<OutFileRef>,
    /// The member who is asked and told; `None` if the author is no member.
    pub(crate) asker: Option<&'a rows::Member>,
    pub(crate) delivery_id: Option<String>,
    /// The author's own mail, if the text came as one.
    pub(crate) raw: Option<String>,
    pub(crate) message_id: Option<String>,
    /// The header of that mail; without one the text is for the recipient alone.
    pub(crate) head: Option<Head>,
    /// The medium in which the author wrote.
    pub(crate) written_in: Medium,
    /// A chat line: others that follow it soon go into the same mail.
    pub(crate) may_gather: bool,
}

impl Batch<'_> {
    /// Runs a request from the portal or the API.
    pub(crate) async fn request(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        request: Request,
    ) -> Result<Outcome, StoreError> {
        let Some(member) = transaction.member_id.as_deref().and_then(|id| tenant.member_by_id(id))
        else {
            return Ok(Outcome::refused("the member who asked for this is not there any more"));
        };
        let author = Person::by_email(tenant, &member.email, None);
        let found = self.find_talk(tenant, transaction, &author, &request).await?;
        let Found { mut talk, to, answered } = match found {
            Ok(found) => found,
            Err(why) => return Ok(Outcome::Refused(why)),
        };
        let outgoing = Outgoing {
            tenant,
            transaction,
            author: &author,
            to: &to,
            via: request.via,
            subject: request.subject,
            text: request.text,
            files: request.attachments,
            asker: Some(member),
            delivery_id: Some(request.delivery_id),
            raw: None,
            message_id: None,
            head: None,
            written_in: request.via,
            may_gather: false,
        };
        self.send_answer(&mut talk, outgoing, answered).await
    }

    /// The conversation and the recipient of a request, or why there is none.
    async fn find_talk(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        author: &Person,
        request: &Request,
    ) -> Result<Result<Found, String>, StoreError> {
        let id = &tenant.tenant.id;
        let medium = request.via;
        let subject = request.subject.clone().unwrap_or_default();
        let (mut existing, mut to, mut answered) = (None, None, None);
        match &request.to {
            To::Message(message) => {
                let Some(message) = self.router.store.of(id).message(message).await? else {
                    return Ok(Err("the message to answer is not there any more".into()));
                };
                existing = self.talk(id, &message.conversation_id).await?;
                answered = Some(message.message_id);
            }
            To::Conversation(conversation) => existing = self.talk(id, conversation).await?,
            To::Original(raw) => {
                let found = self.talk_of_original(tenant, transaction, author, raw).await?;
                return Ok(found.map(|(talk, to)| Found { talk, to, answered }));
            }
            To::Person(email) => to = Some(Person::by_email(tenant, &email.key(), None)),
            To::Im(im) => {
                let key = tenant.by_im(im).map_or_else(|| im.clone(), |m| m.email.clone());
                to = Some(Person::by_email(tenant, &key, None));
            }
        }
        if let Some(talk) = existing {
            let Some(other) = talk.other(&author.key) else {
                return Ok(Err("there is nobody else in this conversation".into()));
            };
            let person = Person::by_email(tenant, &other.person, Some(&other.name));
            return Ok(Ok(Found { talk, to: person, answered }));
        }
        let Some(to) = to else { return Ok(Err("the conversation is not there any more".into())) };
        // A chat line without a subject goes on where the two left off; a subject opens a thread.
        let last = if subject.is_empty() && medium == Medium::Im {
            self.last_between(id, &author.key, &to.key).await?
        } else {
            None
        };
        let talk = match last {
            Some(talk) => talk,
            None => self.open_talk(
                id,
                &subject,
                [author, &to],
                medium,
                Millis(transaction.at),
                &transaction.id,
            ),
        };
        Ok(Ok(Found { talk, to, answered }))
    }

    /// Puts a text into its conversation and on its way, by the medium that was asked for.
    pub(crate) async fn send_out(
        &mut self,
        talk: &mut Talk,
        out: Outgoing<'_>,
    ) -> Result<Outcome, StoreError> {
        self.send_answer(talk, out, None).await
    }

    /// The same in answer to one message of the conversation, named by its Message-ID.
    async fn send_answer(
        &mut self,
        talk: &mut Talk,
        out: Outgoing<'_>,
        answered: Option<String>,
    ) -> Result<Outcome, StoreError> {
        let tenant_id = &out.tenant.tenant.id;
        let address = self.im_address(out.tenant, out.to);
        if out.via == Medium::Im && address.is_none() {
            self.forget_if_empty(talk);
            return Ok(Outcome::NoIm(Box::new(out.to.clone())));
        }
        let seq = self.next_seq();
        let id = self.message_id(out.transaction, &talk.row.id);
        let subject = out.subject.clone().unwrap_or_else(|| talk.row.subject.clone());
        if talk.row.subject.is_empty() {
            talk.row.subject.clone_from(&subject);
        }
        let head = out.head.clone().unwrap_or_else(|| Head::bare(out.to));
        let message = rows::Message {
            message_id: out
                .message_id
                .clone()
                .unwrap_or_else(|| format!("{id}@{}", out.tenant.tenant.bridge_domain)),
            id,
            tenant_id: tenant_id.clone(),
            conversation_id: talk.row.id.clone(),
            seq,
            medium: out.written_in.as_str().to_owned(),
            from_person: out.author.key.clone(),
            from_name: out.author.name.clone(),
            to_list: head.to,
            cc_list: head.cc,
            subject,
            text: out.text.clone(),
            quoted: head.quoted,
            html_hash: head.html,
            raw_hash: out.raw.clone(),
            in_reply_to: answered.or(head.in_reply_to),
            refs: head.refs,
            verdict: head.verdict,
            held: None,
            automatic: false,
            transaction_id: out.transaction.id.clone(),
            at: self.now.0,
        };
        let files = self.file_rows(tenant_id, &message.id, Millis(out.transaction.at), &out.files);
        // First the message, so that a question about it can show what it says.
        self.add_message(talk, message.clone(), files.clone());
        self.go_out(talk, &out, &message, &files, address).await?;
        // What was shown to whom has moved since.
        self.put_talk(talk.clone());
        Ok(Outcome::Done)
    }

    /// Puts a message of a conversation on its way, by the medium that was asked for.
    pub(crate) async fn go_out(
        &mut self,
        talk: &mut Talk,
        out: &Outgoing<'_>,
        message: &rows::Message,
        files: &[rows::Attachment],
        address: Option<String>,
    ) -> Result<(), StoreError> {
        match (out.via, address) {
            (Medium::Im, Some(address)) => {
                self.go_by_im(talk, out, message, files, &address).await?;
            }
            _ if out.may_gather => self.gather(talk, out, message).await?,
            _ => {
                self.gathered_before(talk, &out.to.key).await?;
                let mail = Mail {
                    tenant: out.tenant,
                    transaction: &out.transaction.id,
                    source: &out.transaction.source,
                    author: out.author,
                    to: out.to,
                    asker: out.asker,
                    delivery_id: out.delivery_id.clone(),
                    waited: None,
                    subject: out.subject.clone(),
                };
                self.go_by_mail(talk, mail, std::slice::from_ref(message), files).await?;
            }
        }
        Ok(())
    }

    /// Where somebody can be reached by IM: their verified address, or the one they wrote from.
    pub(crate) fn im_address(&self, tenant: &TenantView, to: &Person) -> Option<String> {
        if to.key.contains(':') {
            return Some(to.key.clone());
        }
        tenant.im_of(&to.key).map(|m| m.im.clone())
    }

    async fn go_by_im(
        &mut self,
        talk: &mut Talk,
        out: &Outgoing<'_>,
        message: &rows::Message,
        files: &[rows::Attachment],
        address: &str,
    ) -> Result<(), StoreError> {
        let context = self.im_context(out.tenant, talk, &out.to.key, message).await?;
        let wire = Wire {
            text: words::im_text(&message.text, &context),
            from: out.author.email(),
            from_name: self.shown_name(out.author),
            bridge_domain: out.tenant.tenant.bridge_domain.clone(),
            files: files
                .iter()
                .zip(Self::file_refs(files))
                .map(|(row, file)| WireFile { id: row.id.clone(), file })
                .collect(),
            rules: Rules {
                askable: out.asker.is_some(),
                can_email: out.to.email().is_some(),
                introduces: context.introduction.is_some(),
                starts: context.starts,
                ..Rules::default()
            },
        };
        let rules = wire.rules;
        let new = NewIm {
            tenant: out.tenant,
            transaction: &out.transaction.id,
            talk: Some(talk),
            message: &message.id,
            seq: message.seq,
            person: &out.to.key,
            address,
            member: out.asker,
            source: &out.transaction.source,
            wire,
            delivery_id: out.delivery_id.clone(),
        };
        let delivery = self.new_im(new).await?;
        self.shown(talk, &delivery, rules);
        Ok(())
    }

    /// `Alice (acme.test)`: the name of a bridge contact.
    pub(crate) fn shown_name(&self, person: &Person) -> String {
        match person.email() {
            Some(email) => format!("{} ({})", person.name, email.domain()),
            None => person.name.clone(),
        }
    }

    /// Turns messages that waited for somebody into one mail.
    pub(crate) async fn become_email(
        &mut self,
        waited: &[rows::Delivery],
        delivery_id: String,
    ) -> Result<(), StoreError> {
        let Some(first) = waited.first() else { return Ok(()) };
        let directory = std::sync::Arc::clone(&self.directory);
        let Some(tenant) = directory.tenant(&first.tenant_id) else { return Ok(()) };
        let Some(mut talk) = self.talk(&first.tenant_id, &first.conversation_id).await? else {
            return Ok(());
        };
        let messages = self.messages_of(waited).await?;
        let Some(last) = messages.last() else { return Ok(()) };
        let files = self.files_of(&first.tenant_id, &messages).await?;
        let author = Person::by_email(tenant, &last.from_person, Some(&last.from_name));
        let name = talk.participant(&first.person).map(|p| p.name.clone());
        let to = Person::by_email(tenant, &first.person, name.as_deref());
        let mail = Mail {
            tenant,
            transaction: &first.transaction_id,
            source: &first.source,
            author: &author,
            to: &to,
            asker: first.member_id.as_deref().and_then(|id| tenant.member_by_id(id)),
            delivery_id: Some(delivery_id),
            waited: None,
            subject: None,
        };
        self.go_by_mail(&mut talk, mail, &messages, &files).await?;
        self.put_talk(talk);
        Ok(())
    }

    /// The messages that these deliveries are of, in their order.
    pub(crate) async fn messages_of(
        &self,
        deliveries: &[rows::Delivery],
    ) -> Result<Vec<rows::Message>, StoreError> {
        let mut messages = Vec::new();
        for delivery in deliveries {
            let planned = self.plan.set.once_messages.iter().find(|m| m.id == delivery.message_id);
            match planned {
                Some(message) => messages.push(message.clone()),
                None => {
                    let scope = self.router.store.of(&delivery.tenant_id);
                    messages.extend(scope.message(&delivery.message_id).await?);
                }
            }
        }
        Ok(messages)
    }

    /// Writes a mail that carries these messages, and its delivery.
    pub(crate) async fn go_by_mail(
        &mut self,
        talk: &mut Talk,
        mail: Mail<'_>,
        messages: &[rows::Message],
        files: &[rows::Attachment],
    ) -> Result<rows::Delivery, StoreError> {
        let Some(last) = messages.last() else {
            return Err(StoreError::Rule("a mail needs a text".into()));
        };
        let tenant = &mail.tenant.tenant;
        let message_id = format!("{}@{}", last.id, tenant.bridge_domain);
        let mut delivery = match mail.waited.clone() {
            Some(row) => rows::Delivery { version: row.version + 1, ..row },
            None => self.mail_delivery(talk, &mail, last, &message_id),
        };
        let blocked = match mail.to.email() {
            None => Some("no email address is known for the recipient".to_owned()),
            Some(_) => self.why_not(mail.tenant, &mail.to.key).await?,
        };
        let (Some(to), None) = (mail.to.email(), &blocked) else {
            let reason = blocked.unwrap_or_default();
            let state = State::Failed { at: self.now, reason };
            write_state(&mut delivery, &state, self.now);
            self.plan.set.put_deliveries.push(delivery.clone());
            self.published(&delivery);
            Box::pin(self.tell_failed(&delivery, &state)).await?;
            return Ok(delivery);
        };
        let state = State::Sending {
            reach: Reach::Unknown,
            until: self.now.plus_ms(MAIL_MS),
            attempt: 0,
            keep_trying: None,
        };
        write_state(&mut delivery, &state, self.now);
        self.plan.set.put_deliveries.push(delivery.clone());
        self.published(&delivery);
        let written = self.write_mail(talk, &mail, &to, messages, files, &message_id).await?;
        let delivery_id = Some(delivery.id.clone());
        self.queue_mail(mail.tenant, "message", delivery_id, &to, written).await?;
        Ok(delivery)
    }

    /// The delivery of a mail that is about to be written.
    fn mail_delivery(
        &self,
        talk: &Talk,
        mail: &Mail<'_>,
        last: &rows::Message,
        message_id: &str,
    ) -> rows::Delivery {
        let id = mail.delivery_id.clone().unwrap_or_else(|| {
            isthmus_domain::ids::DeliveryId::new(self.now, &self.router.chance).into()
        });
        let mut delivery = rows::Delivery {
            id,
            tenant_id: mail.tenant.tenant.id.clone(),
            transaction_id: mail.transaction.to_owned(),
            conversation_id: talk.row.id.clone(),
            message_id: last.id.clone(),
            seq: last.seq,
            medium: "email".into(),
            person: mail.to.key.clone(),
            address: mail.to.key.clone(),
            member_id: mail.asker.map(|m| m.id.clone()),
            source: mail.source.to_owned(),
            wire_id: message_id.to_owned(),
            body: "{}".into(),
            state: String::new(),
            data: String::new(),
            history: "[]".into(),
            question: None,
            due_at: None,
            version: 1,
            created_at: self.now.0,
        };
        write_state(&mut delivery, &State::Accepted, self.now);
        delivery
    }

    /// Why nothing may be mailed to an address now: it bounced, or the quota is used up, which
    /// counts the 24 hours before now.
    async fn why_not(
        &self,
        tenant: &TenantView,
        address: &str,
    ) -> Result<Option<String>, StoreError> {
        let scope = self.router.store.of(&tenant.tenant.id);
        if let Some(suppressed) = scope.suppression(address).await? {
            return Ok(Some(format!("mail to this address bounced before: {}", suppressed.reason)));
        }
        let sent = scope.outbound_since(self.now.plus_ms(-86_400_000).0).await?;
        if sent >= u64::try_from(tenant.tenant.outbound_per_day).unwrap_or(0) {
            let quota = "the quota of outbound mail for 24 hours is used up";
            return Ok(Some(quota.into()));
        }
        Ok(None)
    }

    /// Octets by hash, those that this batch is about to write included.
    pub(crate) async fn octets(
        &self,
        tenant: &str,
        hash: &str,
    ) -> Result<Option<bytes::Bytes>, StoreError> {
        let planned =
            self.plan.set.once_blobs.iter().find(|b| b.tenant_id == tenant && b.hash == hash);
        if let Some(data) = planned.and_then(|b| b.data.clone()) {
            return Ok(Some(data.into()));
        }
        self.router.store.of(tenant).blob(hash).await
    }

    /// Signs a mail and puts it into the outbound queue.
    pub(crate) async fn queue_mail(
        &mut self,
        tenant: &TenantView,
        kind: &str,
        delivery_id: Option<String>,
        to: &Email,
        written: Written,
    ) -> Result<(), StoreError> {
        let raw = self.signed(tenant, &written.domain, written.raw).await?;
        let tenant = &tenant.tenant;
        let parts = vec![raw.into()];
        let blob = self.router.store.keep_original(&tenant.id, parts, self.now).await?;
        let id: String = OutboundId::new(self.now, &self.router.chance).into();
        let raw_hash = blob.hash.clone();
        self.plan.set.once_blobs.push(blob);
        // What is sent in answer to a program must never be answered: notices go out with <>.
        let mail_from = if kind == "message" {
            format!("b-{}@{}", id.trim_start_matches("out_"), tenant.bridge_domain)
        } else {
            String::new()
        };
        let seq = self.next_seq();
        self.plan.set.once_outbound.push(rows::Outbound {
            id,
            tenant_id: tenant.id.clone(),
            seq,
            delivery_id,
            kind: kind.to_owned(),
            mail_from,
            rcpt: to.as_str().to_owned(),
            subject: written.subject,
            message_id: written.message_id,
            raw_hash,
            // A tenant's own server takes its mail itself; the relay may not know its addresses.
            route: self.directory.by_domain(to.domain()).and_then(|t| t.tenant.forward_to.clone()),
            state: "queued".into(),
            attempts: 0,
            next_at: Some(self.now.0),
            last_reply: None,
            created_at: self.now.0,
            ended_at: None,
        });
        Ok(())
    }

    /// Signs a mail for the domain of its From, so that DMARC finds the two aligned.
    async fn signed(
        &mut self,
        tenant: &TenantView,
        domain: &str,
        raw: Vec<u8>,
    ) -> Result<Vec<u8>, StoreError> {
        let Some(row) = self.dkim_key(tenant, domain).await? else { return Ok(raw) };
        let signed = isthmus_mail::auth::DkimKey::from_pem(&row.pem)
            .and_then(|key| key.sign(&row.domain, &row.selector, &raw));
        match signed {
            Ok(header) => {
                let mut out = header.into_bytes();
                out.extend_from_slice(&raw);
                Ok(out)
            }
            Err(error) => {
                tracing::warn!(domain = %row.domain, %error, "A mail goes out unsigned");
                Ok(raw)
            }
        }
    }
}

/// Where a request goes.
struct Found {
    talk: Talk,
    to: Person,
    /// The Message-ID of the message that it answers, if it names one.
    answered: Option<String>,
}

/// A mail that is written, and is to be signed and queued.
pub(crate) struct Written {
    /// Of its From.
    pub(crate) domain: String,
    pub(crate) message_id: String,
    pub(crate) subject: String,
    pub(crate) raw: Vec<u8>,
}

/// A mail that carries messages of a conversation.
pub(crate) struct Mail<'a> {
    pub(crate) tenant: &'a TenantView,
    pub(crate) transaction: &'a str,
    pub(crate) source: &'a str,
    pub(crate) author: &'a Person,
    pub(crate) to: &'a Person,
    pub(crate) asker: Option<&'a rows::Member>,
    pub(crate) delivery_id: Option<String>,
    /// The delivery that waited and now goes out as this mail.
    pub(crate) waited: Option<rows::Delivery>,
    pub(crate) subject: Option<String>,
}
