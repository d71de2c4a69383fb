//! A whole conversation in one file: as a mailbox, or as JSON. One message is in memory at a time.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
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
    let messages = all(&ctx, &conversation.id).await?;
    record(&ctx, &conversation.id, format).await?;
    let people: Vec<&rows::Participant> = people.iter().collect();
    let shown = views::conversation(&conversation, &people, Eyes::Member);
    let name = format!("{}.{format}", conversation.id);
    let work = Work {
        store: ctx.gateway.store.clone(),
        tenant: ctx.tenant_id().to_owned(),
        conversation,
        order: messages.into_iter(),
        mark: ctx.gateway.config.installation.clone(),
        state: Stage::Head,
    };
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_DISPOSITION, disposition(&name)));
    if format == "json" {
        response.content_type("application/json");
        return Ok(response
            .streaming(stream::try_unfold(work, move |work| json_part(work, shown.clone()))));
    }
    // RFC 4155.
    response.content_type("application/mbox");
    Ok(response.streaming(stream::try_unfold(work, mbox_part)))
}

/// All messages, oldest first, without their long fields of no use here.
async fn all(ctx: &Ctx, conversation: &str) -> Result<Vec<rows::Message>, Problem> {
    let mut pages = Vec::new();
    let (mut before, mut count) = (None, 0);
    loop {
        let page = ctx.scope().messages(conversation, before, PAGE).await?;
        let Some(first) = page.first() else { break };
        before = Some(first.seq);
        count += page.len();
        if count > MOST {
            return Err(Problem::with(
                Code::ExportTooLong,
                format!("It has more than {MOST} messages."),
            ));
        }
        pages.push(page);
    }
    Ok(pages.into_iter().rev().flatten().collect())
}

/// Every request is a transaction; this one is over when its answer begins.
async fn record(ctx: &Ctx, conversation: &str, format: &str) -> Result<(), Problem> {
    let now = ctx.gateway.now();
    let row = rows::Transaction {
        id: TransactionId::new(now, &ctx.gateway.chance).into(),
        tenant_id: ctx.tenant_id().to_owned(),
        member_id: ctx.member().map(|m| m.id.clone()),
        service: "export".into(),
        source: "api".into(),
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
    ctx.gateway.store.commit(set).await?;
    ctx.api.0.metrics.accepted("export");
    Ok(())
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
