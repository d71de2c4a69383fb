//! A conversation to read, for somebody who took part in it and entered the code: what they were
//! From, To or Cc of, up to the message that the link came with.

use actix_web::{HttpRequest, HttpResponse, web::Path};
use isthmus_domain::clock::Millis;
use isthmus_store::{TenantView, rows};

use super::{Failure, answer, files, links, people, timeline, who::Visitor};
use crate::pages::{
    Who,
    message::{Author, Html, Message},
    open::TranscriptView,
};

/// Messages of one transcript.
const MOST: u64 = 500;

/// Whether a message is for the reader of a link.
fn is_theirs(link: &rows::Link, message: &rows::Message) -> bool {
    message.conversation_id == link.conversation_id
        && message.seq <= link.up_to_seq
        && people::was_part_of(message, &link.person)
}

/// The page.
pub(super) async fn page(
    visitor: &Visitor,
    tenant: &TenantView,
    link: &rows::Link,
) -> Result<HttpResponse, Failure> {
    let scope = visitor.portal.gateway.store.of(&link.tenant_id);
    let conversation = scope.conversation(&link.conversation_id).await?.ok_or(Failure::NotFound)?;
    let participants = scope.participants(std::slice::from_ref(&link.conversation_id)).await?;
    let before = link.up_to_seq.checked_add(1);
    let mut rows = scope.messages(&link.conversation_id, before, MOST).await?;
    rows.retain(|m| is_theirs(link, m));
    let ids: Vec<String> = rows.iter().map(|m| m.id.clone()).collect();
    let attachments = scope.attachments(&ids).await?;
    let mut messages: Vec<Message> =
        rows.iter().filter_map(|row| message(tenant, link, row, &attachments)).collect();
    messages.sort_by_key(|m| m.at);
    let title = if conversation.subject.is_empty() {
        "Conversation".to_owned()
    } else {
        conversation.subject
    };
    Ok(answer::page(&TranscriptView {
        frame: visitor.frame(Who::Visitor, Some(tenant)),
        token: link.token.clone(),
        title,
        tenant: tenant.tenant.name.clone(),
        people: participants.iter().map(|p| people::party(tenant, &p.person, &p.name)).collect(),
        expires: Millis(link.expires_at),
        messages,
    }))
}

fn message(
    tenant: &TenantView,
    link: &rows::Link,
    row: &rows::Message,
    attachments: &[rows::Attachment],
) -> Option<Message> {
    let mine = row.from_person == link.person;
    Some(Message {
        id: row.id.parse().ok()?,
        at: Millis(row.at),
        medium: people::medium(tenant, &row.medium, &row.from_person),
        author: if mine { Author::Me } else { Author::Other },
        from: people::party(tenant, &row.from_person, &row.from_name),
        to: people::parties(tenant, &row.to_list),
        cc: people::parties(tenant, &row.cc_list),
        subject: Some(row.subject.clone()).filter(|s| !s.is_empty()),
        text: row.text.clone(),
        // What others had quoted may be of conversations that this reader was no part of; of
        // their own mails it is their own.
        quoted: row.quoted.clone().filter(|q| mine && !q.trim().is_empty()),
        signature: None,
        html: if row.html_hash.is_some() && mine { Html::Available } else { Html::None },
        files: attachments
            .iter()
            .filter(|f| f.message_id == row.id)
            .filter_map(timeline::file)
            .collect(),
        warning: None,
        deliveries: Vec::new(),
    })
}

/// A message that the reader of the link may see, once the code was entered.
async fn theirs(
    req: &HttpRequest,
    visitor: &Visitor,
    token: &str,
    id: &str,
) -> Result<(rows::Link, rows::Message), Failure> {
    let (link, _) = links::alive(visitor, token).await?.ok_or(Failure::NotFound)?;
    if !links::may_read(req, visitor, &link) {
        return Err(Failure::NotFound);
    }
    let message = visitor.portal.gateway.store.of(&link.tenant_id).message(id).await?;
    let message = message.filter(|m| is_theirs(&link, m)).ok_or(Failure::NotFound)?;
    Ok((link, message))
}

async fn file(
    req: &HttpRequest,
    visitor: &Visitor,
    (token, id): (String, String),
) -> Result<(rows::Attachment, bytes::Bytes), Failure> {
    let (link, _) = links::alive(visitor, &token).await?.ok_or(Failure::NotFound)?;
    let scope = visitor.portal.gateway.store.of(&link.tenant_id);
    let file = scope.attachment(&id).await?.ok_or(Failure::NotFound)?;
    theirs(req, visitor, &token, &file.message_id).await?;
    let data = files::octets(scope, &file.hash).await?;
    Ok((file, data))
}

/// `GET /c/TOKEN/attachments/ID`.
pub(super) async fn download(
    req: HttpRequest,
    visitor: Visitor,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let (file, data) = file(&req, &visitor, path.into_inner()).await?;
    Ok(answer::download(&file.name, &file.media_type, data))
}

/// `GET /c/TOKEN/attachments/ID/preview`.
pub(super) async fn preview(
    req: HttpRequest,
    visitor: Visitor,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let (file, data) = file(&req, &visitor, path.into_inner()).await?;
    Ok(answer::preview(&file.name, &file.media_type, data))
}

/// `GET /c/TOKEN/messages/ID/html`.
pub(super) async fn html(
    req: HttpRequest,
    visitor: Visitor,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let (token, id) = path.into_inner();
    let (link, message) = theirs(&req, &visitor, &token, &id).await?;
    if message.from_person != link.person {
        return Err(Failure::NotFound);
    }
    files::formatted(visitor.portal.gateway.store.of(&link.tenant_id), &message).await
}
