//! A mail that came in: into the conversations of the members it is for, or to the bridge.

use bytes::Bytes;
use isthmus_domain::{
    address::{BridgeLocal, read_bridge_local},
    clock::Millis,
    delivery::{Happened, Medium, Reach},
};
use isthmus_mail::mime::{self, Action, Kind, Mailbox, Parsed};
use isthmus_store::{StoreError, TenantView, rows};

use isthmus_domain::service::{MailIn, OutFileRef};

use crate::{
    batch::{Batch, Person, Talk},
    compose as words,
    history::address_list,
    plan::{Rules, Wire, WireFile},
    services::Outcome,
    steps::{NewIm, StepError},
};

/// A mail, read, with its files kept.
pub(crate) struct Incoming {
    pub(crate) parsed: Parsed,
    /// References to the files, in the order of `parsed.attachments`, whose octets are gone.
    pub(crate) files: Vec<OutFileRef>,
    pub(crate) html: Option<String>,
    /// Rows of files and HTML, to be committed with the message.
    pub(crate) blobs: Vec<rows::Blob>,
    /// The forwarded original's files, likewise.
    pub(crate) forwarded_files: Vec<OutFileRef>,
    pub(crate) forwarded_raw: Option<String>,
}

/// Reads a mail and keeps its files. Runs outside the batch: it may take long for a large mail.
pub(crate) async fn read(
    store: &isthmus_store::Store,
    tenant: &str,
    raw: Bytes,
) -> Result<Result<Incoming, String>, StoreError> {
    let parsed = if raw.len() > 256 * 1024 {
        let parse = move || mime::parse(&raw);
        tokio::task::spawn_blocking(parse).await.map_err(|_| StoreError::Closed)?
    } else {
        mime::parse(&raw)
    };
    let mut parsed = match parsed {
        Ok(parsed) => parsed,
        Err(refusal) => return Ok(Err(refusal.to_string())),
    };
    let mut blobs = Vec::new();
    let mut files = Vec::new();
    for attachment in &mut parsed.attachments {
        files.push(kept(store, tenant, attachment, &mut blobs).await?);
    }
    let mut forwarded_files = Vec::new();
    let mut forwarded_raw = None;
    if let Some(forwarded) = &mut parsed.forwarded {
        for attachment in &mut forwarded.attachments {
            forwarded_files.push(kept(store, tenant, attachment, &mut blobs).await?);
        }
        if let Some(raw) = forwarded.raw.take() {
            forwarded_raw = Some(keep(store, tenant, raw, &mut blobs).await?);
        }
    }
    let html = match parsed.html.take() {
        Some(html) => Some(keep(store, tenant, html.into_bytes().into(), &mut blobs).await?),
        None => None,
    };
    Ok(Ok(Incoming { parsed, files, html, blobs, forwarded_files, forwarded_raw }))
}

/// Keeps octets and their row; returns their hash.
async fn keep(
    store: &isthmus_store::Store,
    tenant: &str,
    data: Bytes,
    blobs: &mut Vec<rows::Blob>,
) -> Result<String, StoreError> {
    let blob = store.keep_blob(tenant, data).await?;
    let hash = blob.hash.clone();
    blobs.push(blob);
    Ok(hash)
}

async fn kept(
    store: &isthmus_store::Store,
    tenant: &str,
    attachment: &mut mime::Attachment,
    blobs: &mut Vec<rows::Blob>,
) -> Result<OutFileRef, StoreError> {
    let data = std::mem::take(&mut attachment.data);
    Ok(OutFileRef {
        name: attachment.name.clone(),
        media_type: attachment.media_type.clone(),
        size: i64::try_from(data.len()).unwrap_or(i64::MAX),
        hash: keep(store, tenant, data, blobs).await?,
    })
}

/// How a mail is put into a conversation.
pub(crate) struct Filed<'a> {
    pub(crate) author: &'a Person,
    pub(crate) held: Option<String>,
    pub(crate) part: &'a str,
}

impl Batch<'_> {
    /// The `mail.in` service.
    pub(crate) async fn mail_in(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: MailIn,
        mut incoming: Incoming,
    ) -> Result<Outcome, StoreError> {
        self.plan.set.once_blobs.append(&mut incoming.blobs);
        self.pass_on(tenant, transaction, &mail, &incoming.parsed.subject);
        if let Kind::Bounce(report) = &incoming.parsed.kind {
            let report = report.clone();
            return self.bounce(tenant, transaction, &mail, &incoming, &report).await;
        }
        let mut outcome = Outcome::Done;
        for rcpt in &mail.rcpts {
            let this = if rcpt.domain() == tenant.tenant.bridge_domain {
                match read_bridge_local(rcpt.local()) {
                    Some(local) => {
                        self.for_bridge_address(tenant, transaction, &mail, &incoming, local)
                            .await?
                    }
                    None => Outcome::refused("there is no such address on the bridge"),
                }
            } else {
                self.for_member(tenant, transaction, &mail, &incoming, &rcpt.key()).await?
            };
            if !matches!(this, Outcome::Done) {
                outcome = this;
            }
        }
        Ok(outcome)
    }

    /// Ordinary mail to a member: into the inbox, and to their chat if they are there.
    async fn for_member(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        rcpt: &str,
    ) -> Result<Outcome, StoreError> {
        let Some(member) = tenant.member(rcpt).cloned() else { return Ok(Outcome::Done) };
        let parsed = &incoming.parsed;
        let author =
            Person::by_email(tenant, &parsed.from.email.key(), parsed.from.name.as_deref());
        let to = Person {
            key: member.email.clone(),
            name: member.name.clone(),
            member: Some(member.clone()),
        };
        // A member's name needs proof; anybody else's is as good as in any mailbox.
        let forged = author.member.is_some() && !mail.trust.is_good();
        let held = forged.then(|| "the sender could not be proven".to_owned());
        let Some(mut talk) = self.talk_for(tenant, transaction, incoming, &author, &to).await?
        else {
            return Ok(Outcome::Done);
        };
        let filed = Filed { author: &author, held: held.clone(), part: &to.key };
        let message = self.file_mail(tenant, transaction, mail, incoming, &mut talk, filed).await?;
        if forged {
            if let Some(claimed) = &author.member {
                let (subject, body) =
                    crate::answers::forged(&author.name, &parsed.subject, &mail.verdict);
                self.notice_mail(tenant, claimed, &subject, &body, None).await?;
            }
            return Ok(Outcome::Done);
        }
        let ordinary = matches!(parsed.kind, Kind::Ordinary) && !parsed.auto;
        let bad =
            mail.trust == isthmus_domain::service::Trust::Bad || parsed.upstream_verdict.is_some();
        let address = tenant.im_of(&member.email).map(|m| m.im.clone());
        if let Some(address) = address
            && ordinary
            && !bad
            && self.reach(&tenant.tenant.bridge_domain, &address) == Reach::Available
        {
            self.show_in_chat(tenant, transaction, &mut talk, &message, &author, &to, &address)
                .await?;
        }
        Ok(Outcome::Done)
    }

    /// Ordinary mail shown in the chat of a member who is there. Nobody is asked about it.
    #[expect(clippy::too_many_arguments, reason = "two people, one message, where it goes")]
    async fn show_in_chat(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        talk: &mut Talk,
        message: &rows::Message,
        author: &Person,
        to: &Person,
        address: &str,
    ) -> Result<(), StoreError> {
        let files = self.files_in_plan(&message.id);
        let mut text = words::excerpt(&message.text, 4_000);
        if !message.subject.is_empty() {
            text = format!("✉ {}\n{text}", message.subject);
        }
        let wire = Wire {
            text,
            from: author.email(),
            from_name: self.shown_name(author),
            bridge_domain: tenant.tenant.bridge_domain.clone(),
            files: files
                .iter()
                .zip(Self::file_refs(&files))
                .map(|(row, file)| WireFile { id: row.id.clone(), file })
                .collect(),
            rules: Rules::default(),
        };
        self.new_im(NewIm {
            tenant,
            transaction: &transaction.id,
            talk: Some(talk),
            message: &message.id,
            seq: message.seq,
            person: &to.key,
            address,
            member: None,
            source: "smtp",
            wire,
            delivery_id: None,
        })
        .await?;
        if let Some(p) = talk.people.iter_mut().find(|p| p.person == to.key) {
            p.history_seq = message.seq;
        }
        self.put_talk(talk.clone());
        Ok(())
    }

    pub(crate) fn files_in_plan(&self, message: &str) -> Vec<rows::Attachment> {
        self.plan.set.once_attachments.iter().filter(|a| a.message_id == message).cloned().collect()
    }

    /// The conversation of two people that a mail belongs to; `None` if it lies there already.
    pub(crate) async fn talk_for(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        incoming: &Incoming,
        author: &Person,
        to: &Person,
    ) -> Result<Option<Talk>, StoreError> {
        let id = &tenant.tenant.id;
        let parsed = &incoming.parsed;
        if let Some(message_id) = &parsed.message_id {
            let wanted = crate::batch::pair(&author.key, &to.key);
            for known in self.called(id, message_id).await? {
                if let Some(talk) = self.talk(id, &known.conversation).await?
                    && talk.row.pair == wanted
                {
                    return Ok(None);
                }
            }
        }
        let thread = mime::thread_keys(parsed);
        if let Some(talk) = self.by_thread(id, &thread, &author.key, &to.key).await? {
            return Ok(Some(talk));
        }
        let subject = mime::base_subject(&parsed.subject);
        let at = Millis(transaction.at);
        Ok(Some(self.open_talk(id, &subject, [author, to], Medium::Email, at, &transaction.id)))
    }

    /// Writes a mail into its conversation.
    pub(crate) async fn file_mail(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        talk: &mut Talk,
        filed: Filed<'_>,
    ) -> Result<rows::Message, StoreError> {
        let parsed = &incoming.parsed;
        let id = self.message_id(transaction, filed.part);
        let quoted = [parsed.quoted.as_deref(), parsed.signature.as_deref()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join("\n");
        let message = rows::Message {
            message_id: parsed
                .message_id
                .clone()
                .unwrap_or_else(|| format!("{id}@{}", tenant.tenant.bridge_domain)),
            id,
            tenant_id: tenant.tenant.id.clone(),
            conversation_id: talk.row.id.clone(),
            seq: self.next_seq(),
            medium: "email".into(),
            from_person: filed.author.key.clone(),
            from_name: filed.author.name.clone(),
            to_list: boxes(&parsed.to),
            cc_list: boxes(&parsed.cc),
            subject: parsed.subject.clone(),
            text: parsed.markdown.clone().unwrap_or_else(|| parsed.text.clone()),
            quoted: Some(quoted).filter(|q| !q.is_empty()),
            html_hash: incoming.html.clone(),
            raw_hash: Some(mail.raw.clone()),
            in_reply_to: parsed.in_reply_to.first().cloned(),
            refs: serde_json::to_string(&parsed.references).unwrap_or_default(),
            verdict: Some(mail.verdict.clone()),
            held: filed.held,
            automatic: parsed.auto,
            transaction_id: transaction.id.clone(),
            at: self.now.0,
        };
        let files =
            self.file_rows(&tenant.tenant.id, &message.id, Millis(transaction.at), &incoming.files);
        self.add_message(talk, message.clone(), files);
        Ok(message)
    }

    /// A delivery status notification: what became of a mail of ours.
    async fn bounce(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        mail: &MailIn,
        incoming: &Incoming,
        report: &mime::Report,
    ) -> Result<Outcome, StoreError> {
        let token = mail.rcpts.iter().find_map(|r| match read_bridge_local(r.local()) {
            Some(BridgeLocal::Bounce(token)) => Some(format!("out_{token}")),
            _ => None,
        });
        // The address that only we know, then the envelope id, then the returned header.
        let keys = [token, report.envelope_id.clone(), report.original_message_id.clone()];
        let mut found = None;
        for key in keys.into_iter().flatten() {
            found = self.router.store.outbound_called(&key).await?;
            if found.as_ref().is_some_and(|o| o.tenant_id == tenant.tenant.id) {
                break;
            }
            found = None;
        }
        let Some(outbound) = found else {
            let _ = (transaction, incoming);
            return Ok(Outcome::refused("a notification about a mail that is not ours"));
        };
        let Some(recipient) = report.recipients.first() else { return Ok(Outcome::Done) };
        let happened = match recipient.action {
            Action::Failed => {
                let words =
                    recipient.diagnostic.clone().unwrap_or_else(|| recipient.status.clone());
                if recipient.status.starts_with('5') {
                    self.plan.set.once_suppressions.push(rows::Suppression {
                        tenant_id: tenant.tenant.id.clone(),
                        address: outbound.rcpt.to_ascii_lowercase(),
                        reason: words::excerpt(&words, 300),
                        at: self.now.0,
                    });
                }
                Happened::Bounced {
                    temporary: false,
                    reason: format!(
                        "the recipient's server returned it: {}",
                        words::excerpt(&words, 300)
                    ),
                }
            }
            Action::Delivered => Happened::Evidence(isthmus_domain::delivery::Evidence::Dsn),
            _ => return Ok(Outcome::Done),
        };
        let Some(delivery) = &outbound.delivery_id else { return Ok(Outcome::Done) };
        if let Some(row) = self.router.store.of(&tenant.tenant.id).delivery(delivery).await? {
            match self.advance(row, happened).await {
                Ok(_) | Err(StepError::NotPossible(_)) => {}
                Err(StepError::Store(error)) => return Err(error),
            }
        }
        Ok(Outcome::Done)
    }
}

pub(crate) fn boxes(list: &[Mailbox]) -> String {
    address_list(list.iter().map(|m| (m.name.as_deref().unwrap_or_default(), m.email.as_str())))
}
