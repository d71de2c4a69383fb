//! A whole conversation in one file: as a mailbox, or as JSON. One message is in memory at a time.

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, http::header, web};
use bytes::Bytes;
use futures::stream;
use isthmus_domain::{address::Email, clock::Millis, ids::TransactionId};
use isthmus_mail::mime::{self, Mailbox, OutAttachment};
use isthmus_store::{ChangeSet, Store, StoreError, rows};
use serde_json::{Value, json};

use super::{
    conversations,
    cursor::Page,
    enter::Ctx,
    files::disposition,
    problem::{Code, Problem},
    views::{self, Eyes},
};
use crate::Gateway;

/// Messages of one export.
const MOST: usize = 5_000;
/// Messages that are read at a time.
const PAGE: u64 = 200;
/// Octets of files that are written into one mail of an mbox; the raw mails keep all of theirs.
const MAIL_FILES: i64 = 30_000_000;

/// What one export needs while it streams.
struct Work {
    store: Store,
    tenant: String,
    conversation: rows::Conversation,
    /// Positions, oldest first.
    order: std::vec::IntoIter<rows::Message>,
    mark: String,
    state: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    Head,
    First,
    Rest,
    Done,
}

/// `GET /v1/conversations/{id}/export?format=mbox|json`.
pub(super) async fn export(
    ctx: Ctx,
    req: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    let (conversation, people) = conversations::known(&ctx, &id).await?;
    ctx.reader()?;
    let query = Page::read(&ctx, &req, "export").await?.query;
    let format = query.get("format").map_or("mbox", String::as_str);
    if !matches!(format, "mbox" | "json") {
        return Err(Problem::with(Code::BadParameter, "format must be mbox or json."));
    }
    let asked = Export {
        gateway: &ctx.gateway,
        tenant: ctx.tenant_id(),
        member: ctx.member().map(|m| m.id.as_str()),
        source: "api",
    };
    let mut response = HttpResponse::Ok();
    response.insert_header((
        header::CONTENT_DISPOSITION,
        disposition(&format!("{}.{format}", conversation.id)),
    ));
    let answer = asked.answer(conversation, &people, format, response).await?;
    ctx.api.0.metrics.accepted("export");
    answer.ok_or_else(|| {
        Problem::with(Code::ExportTooLong, format!("It has more than {MOST} messages."))
    })
}

/// Who wants a conversation, through which door.
pub(crate) struct Export<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) tenant: &'a str,
    pub(crate) member: Option<&'a str>,
    pub(crate) source: &'a str,
}

impl Export<'_> {
    /// The file as an answer, `json` or else `mbox`; nothing if the conversation is too long.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) async fn answer(
        &self,
        conversation: rows::Conversation,
        people: &[rows::Participant],
        format: &str,
        mut response: HttpResponseBuilder,
    ) -> Result<Option<HttpResponse>, StoreError> {
        let Some(messages) = self.all(&conversation.id).await? else { return Ok(None) };
        self.record(&conversation.id, format).await?;
        let people: Vec<&rows::Participant> = people.iter().collect();
        let shown = views::conversation(&conversation, &people, Eyes::Member);
        let work = Work {
            store: self.gateway.store.clone(),
            tenant: self.tenant.to_owned(),
            conversation,
            order: messages.into_iter(),
            mark: self.gateway.config.installation.clone(),
            state: Stage::Head,
        };
        if format == "json" {
            response.content_type("application/json");
            let parts = stream::try_unfold(work, move |work| json_part(work, shown.clone()));
            return Ok(Some(response.streaming(parts)));
        }
        // RFC 4155.
        response.content_type("application/mbox");
        Ok(Some(response.streaming(stream::try_unfold(work, mbox_part))))
    }

    /// One message as a mail: an instant message, or one of which no original is kept.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) async fn as_mail(
        &self,
        conversation: rows::Conversation,
        message: &rows::Message,
    ) -> Result<Vec<u8>, StoreError> {
        let work = Work {
            store: self.gateway.store.clone(),
            tenant: self.tenant.to_owned(),
            conversation,
            order: Vec::new().into_iter(),
            mark: self.gateway.config.installation.clone(),
            state: Stage::Done,
        };
        written(&work, message).await
    }

    /// All messages, oldest first; nothing if there are too many.
    async fn all(&self, conversation: &str) -> Result<Option<Vec<rows::Message>>, StoreError> {
        let scope = self.gateway.store.of(self.tenant);
        let mut pages = Vec::new();
        let (mut before, mut count) = (None, 0);
        loop {
            let page = scope.messages(conversation, before, PAGE).await?;
            let Some(first) = page.first() else { break };
            before = Some(first.seq);
            count += page.len();
            if count > MOST {
                return Ok(None);
            }
            pages.push(page);
        }
        Ok(Some(pages.into_iter().rev().flatten().collect()))
    }

    /// Every request is a transaction; this one is over when its answer begins.
    async fn record(&self, conversation: &str, format: &str) -> Result<(), StoreError> {
        let now = self.gateway.now();
        let row = rows::Transaction {
            id: TransactionId::new(now, &self.gateway.chance).into(),
            tenant_id: self.tenant.to_owned(),
            member_id: self.member.map(ToOwned::to_owned),
            service: "export".into(),
            source: self.source.to_owned(),
            params: json!({"conversation_id": conversation, "format": format}).to_string(),
            state: "done".into(),
            reason: None,
            admission: None,
            dedupe: None,
            attempts: 0,
            at: now.0,
            ended_at: Some(now.0),
        };
        let set = ChangeSet { new_transactions: vec![row], ..ChangeSet::default() };
        self.gateway.store.commit(set).await
    }
}

async fn json_part(
    mut work: Work,
    conversation: Value,
) -> Result<Option<(Bytes, Work)>, StoreError> {
    let part = match work.state {
        Stage::Done => return Ok(None),
        Stage::Head => {
            work.state = Stage::First;
            format!("{{\"conversation\":{conversation},\"messages\":[")
        }
        Stage::First | Stage::Rest => match work.order.next() {
            None => {
                work.state = Stage::Done;
                "]}\n".to_owned()
            }
            Some(message) => {
                let comma = if matches!(work.state, Stage::First) { "" } else { "," };
                work.state = Stage::Rest;
                let ids = [message.id.clone()];
                let files = work.store.of(&work.tenant).attachments(&ids).await?;
                format!("{comma}\n{}", views::message(&message, files.iter()))
            }
        },
    };
    Ok(Some((part.into(), work)))
}

async fn mbox_part(mut work: Work) -> Result<Option<(Bytes, Work)>, StoreError> {
    let Some(message) = work.order.next() else { return Ok(None) };
    let kept = match &message.raw_hash {
        Some(hash) => work.store.of(&work.tenant).blob(hash).await?,
        None => None,
    };
    let raw = match kept {
        Some(raw) => raw,
        None => Bytes::from(written(&work, &message).await?),
    };
    let mut out = Vec::with_capacity(raw.len() + 128);
    mime::write_mbox(&mut out, &message.from_person, Millis(message.at), &raw)?;
    Ok(Some((out.into(), work)))
}

/// A message that never was a mail, or was written here, as a mail with the same Message-ID.
async fn written(work: &Work, message: &rows::Message) -> Result<Vec<u8>, StoreError> {
    let scope = work.store.of(&work.tenant);
    let mut attachments = Vec::new();
    let mut text = message.text.clone();
    let mut room = MAIL_FILES;
    for file in scope.attachments(std::slice::from_ref(&message.id)).await? {
        let data = if file.size <= room { scope.blob(&file.hash).await? } else { None };
        match data {
            Some(data) => {
                room -= file.size;
                attachments.push(OutAttachment {
                    name: file.name,
                    media_type: file.media_type,
                    data,
                });
            }
            None => {
                text.push_str(&format!("\n[file {}: {}, {} octets]", file.id, file.name, file.size))
            }
        }
    }
    let subject: String = work.conversation.subject.chars().filter(|c| !c.is_control()).collect();
    let mail = |text: String, attachments| mime::Outgoing {
        from: mailbox(&message.from_name, &message.from_person),
        sender: None,
        reply_to: None,
        to: list(&message.to_list),
        cc: list(&message.cc_list),
        subject: subject.clone(),
        message_id: message.message_id.clone(),
        in_reply_to: message.in_reply_to.clone(),
        references: serde_json::from_str(&message.refs).unwrap_or_default(),
        date: Millis(message.at),
        text,
        html: None,
        attachments,
        auto_submitted: None,
        loop_mark: work.mark.clone(),
    };
    let composed = mime::compose(&mail(text.clone(), attachments)).or_else(|_| {
        // An id or address of a foreign system that no mail can carry: the words are kept at least.
        mime::compose(&mime::Outgoing {
            from: mailbox("", ""),
            to: vec![mailbox("", "")],
            cc: vec![],
            message_id: format!("{}@invalid", message.id),
            in_reply_to: None,
            references: vec![],
            ..mail(
                format!("From {} <{}>:\n\n{text}", message.from_name, message.from_person),
                vec![],
            )
        })
    });
    let composed = composed
        .map_err(|e| StoreError::Rule(format!("{} cannot be exported: {e}", message.id)))?;
    let mut out = format!("X-Isthmus-Medium: {}\r\n", message.medium).into_bytes();
    out.extend_from_slice(&composed);
    Ok(out)
}

fn mailbox(name: &str, person: &str) -> Mailbox {
    // `xmpp:dave@chat.test` is known by that alone.
    let address = person.split_once(':').map_or(person, |(_, a)| a);
    let email = Email::parse(address).or_else(|_| Email::parse("unknown@invalid"));
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    // The literal is an address.
    Mailbox {
        name: (!name.is_empty()).then_some(name),
        email: email.expect("unknown@invalid is an address"),
    }
}

fn list(text: &str) -> Vec<Mailbox> {
    let all: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let word = |v: &Value, k: &str| v[k].as_str().unwrap_or_default().to_owned();
    all.iter().map(|v| mailbox(&word(v, "name"), &word(v, "address"))).collect()
}
