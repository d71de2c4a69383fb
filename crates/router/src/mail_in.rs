//! A mail that came in: into the conversations of the members it is for, or to the bridge.

use bytes::Bytes;
use isthmus_domain::{address::read_bridge_local, clock::Millis, delivery::Medium};
use isthmus_mail::mime::{self, Kind, Parsed};
use isthmus_store::{StoreError, TenantView, rows};

use isthmus_domain::service::{MailIn, OutFileRef};

use crate::{
    batch::{Batch, Person, Talk},
    services::Outcome,
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
        tokio::task::spawn_blocking(parse).await.map_err(|ended| {
            if ended.is_panic() {
                StoreError::Rule("reading it went wrong".into())
            } else {
                StoreError::Closed
            }
        })?
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
        content_id: attachment.content_id.clone(),
    })
}

/// How a mail is put into a conversation.
pub(crate) struct Filed<'a> {
    pub(crate) author: &'a Person,
    pub(crate) held: Option<String>,
    pub(crate) part: &'a str,
    /// Who counts as a recipient even if the header names them in no way that is understood.
    pub(crate) recipient: Option<&'a Person>,
}

/// Whether a program wrote it, for all that is known (RFC 3834, RFC 3464, RFC 6047). A mail
/// without a sender in the envelope is a program's whatever its header says.
pub(crate) fn is_automatic(mail: &MailIn, parsed: &Parsed) -> bool {
    parsed.auto || !matches!(parsed.kind, Kind::Ordinary) || mail.mail_from.is_none()
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
        self.reported_by_envelope_id(tenant, &mail, &incoming).await?;
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

    pub(crate) fn files_in_plan(&self, message: &str) -> Vec<rows::Attachment> {
        self.plan.set.once_attachments.iter().filter(|a| a.message_id == message).cloned().collect()
    }

    /// Whether this mail lies in a conversation of these two already.
    pub(crate) async fn is_here(
        &mut self,
        tenant: &TenantView,
        incoming: &Incoming,
        author: &Person,
        to: &Person,
    ) -> Result<bool, StoreError> {
        let Some(message_id) = &incoming.parsed.message_id else { return Ok(false) };
        let id = &tenant.tenant.id;
        let thread = std::slice::from_ref(message_id);
        Ok(self.by_thread(id, thread, &author.key, &to.key).await?.is_some())
    }

    /// The conversation of two people that a mail belongs to.
    pub(crate) async fn talk_for(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        incoming: &Incoming,
        author: &Person,
        to: &Person,
    ) -> Result<Talk, StoreError> {
        let thread = mime::thread_keys(&incoming.parsed);
        match self.by_thread(&tenant.tenant.id, &thread, &author.key, &to.key).await? {
            Some(talk) => Ok(talk),
            None => Ok(self.new_talk(tenant, transaction, incoming, author, to)),
        }
    }

    /// A conversation of its own for a mail.
    pub(crate) fn new_talk(
        &mut self,
        tenant: &TenantView,
        transaction: &rows::Transaction,
        incoming: &Incoming,
        author: &Person,
        to: &Person,
    ) -> Talk {
        let subject = mime::base_subject(&incoming.parsed.subject);
        let at = Millis(transaction.at);
        let id = &tenant.tenant.id;
        self.open_talk(id, &subject, [author, to], Medium::Email, at, &transaction.id)
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
        let mut head = self.head(tenant, mail, incoming, &filed.author.key, &talk.row.id).await?;
        if let Some(recipient) = filed.recipient {
            head = head.with_recipient(recipient);
        }
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
            to_list: head.to,
            cc_list: head.cc,
            subject: parsed.subject.clone(),
            text: said(parsed),
            quoted: head.quoted,
            html_hash: head.html,
            raw_hash: Some(mail.raw.clone()),
            in_reply_to: head.in_reply_to,
            refs: head.refs,
            verdict: head.verdict,
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
}

/// The new text, with emphasis and links where its HTML has any. An HTML part that says nothing,
/// as some programs add one, must not hide what the plain text says.
fn said(parsed: &Parsed) -> String {
    let marked = parsed.markdown.as_ref().filter(|m| !m.trim().is_empty());
    marked.unwrap_or(&parsed.text).clone()
}
