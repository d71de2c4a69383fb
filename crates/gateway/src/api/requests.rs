//! Replies and messages: checked, kept, accepted, and only then acknowledged.

use std::fmt;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use isthmus_domain::{
    address::{Email, ImAddress},
    delivery::Medium,
    ids::DeliveryId,
    service::{OutFileRef, Request, To},
    text::one_line,
};
use isthmus_mail::mime;
use isthmus_store::{ChangeSet, rows};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::{json, value::RawValue};

use super::{
    body, deliveries,
    enter::Ctx,
    once::{self, Answer, Begin, Once},
    problem::{Code, Problem},
};
use crate::accept::NewTransaction;

/// Longest text, in octets.
const MAX_TEXT: usize = 256 * 1024;
/// Longest subject, in characters.
const MAX_SUBJECT: usize = 500;
/// Files of one message.
const MAX_FILES: usize = 50;

/// The body of `POST /v1/replies`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    to_message: Option<String>,
    original_email: Option<String>,
    via: Option<Medium>,
    #[serde(default)]
    text: String,
    #[serde(default, deserialize_with = "few")]
    attachments: Vec<FileIn>,
    r#as: Option<String>,
}

/// The body of `POST /v1/messages`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    to: String,
    via: Option<Medium>,
    subject: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default, deserialize_with = "few")]
    attachments: Vec<FileIn>,
    r#as: Option<String>,
}

/// The body of `POST /v1/transactions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct General {
    service: String,
    /// Read only once the service is known, and then as what that service takes: a tree of values
    /// takes a hundred times the memory of its text.
    params: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileIn {
    name: String,
    #[serde(rename = "type")]
    media_type: Option<String>,
    data: String,
}

/// Files as they are read: no more of them than may be, however many there are.
fn few<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<FileIn>, D::Error> {
    struct Few;
    impl<'de> Visitor<'de> for Few {
        type Value = Vec<FileIn>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX_FILES} attachments")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut files = Vec::new();
            while let Some(file) = list.next_element()? {
                if files.len() == MAX_FILES {
                    return Err(A::Error::invalid_length(MAX_FILES + 1, &self));
                }
                files.push(file);
            }
            Ok(files)
        }
    }
    from.deserialize_seq(Few)
}

/// Something that is about to be accepted.
struct Draft {
    service: &'static str,
    member: rows::Member,
    to: To,
    via: Medium,
    subject: Option<String>,
    text: String,
    attachments: Vec<FileIn>,
    set: ChangeSet,
}

/// `POST /v1/replies`.
pub(super) async fn reply(
    ctx: Ctx,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::json(&req, &ctx.api, payload).await?;
    let once = match once::begin(&ctx, &req, &body.octets).await? {
        Begin::Again(answer) => return Ok(answer.response()),
        Begin::Fresh(once) => once,
    };
    let reply: Reply = body::parse(&body.octets)?;
    let via = reply.via.ok_or_else(no_via)?;
    accept_reply(&ctx, once, reply, via).await.map(Answer::response)
}

/// `POST /v1/messages`.
pub(super) async fn message(
    ctx: Ctx,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::json(&req, &ctx.api, payload).await?;
    let once = match once::begin(&ctx, &req, &body.octets).await? {
        Begin::Again(answer) => return Ok(answer.response()),
        Begin::Fresh(once) => once,
    };
    let message: Message = body::parse(&body.octets)?;
    let via = message.via.ok_or_else(no_via)?;
    accept_message(&ctx, once, message, via).await.map(Answer::response)
}

/// `POST /v1/transactions`: the same services by their names.
pub(super) async fn general(
    ctx: Ctx,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let body = body::json(&req, &ctx.api, payload).await?;
    let once = match once::begin(&ctx, &req, &body.octets).await? {
        Begin::Again(answer) => return deliveries::again(&ctx, answer).await,
        Begin::Fresh(once) => once,
    };
    let general: General = body::parse(&body.octets)?;
    let via = if general.service.ends_with(".im") { Medium::Im } else { Medium::Email };
    let agrees = |given: Option<Medium>| match given {
        Some(other) if other != via => {
            Err(Problem::with(Code::Invalid, "via and the service name two different media."))
        }
        _ => Ok(()),
    };
    match general.service.as_str() {
        "reply.im" | "reply.email" => {
            let reply: Reply = body::part(&general.params)?;
            agrees(reply.via)?;
            accept_reply(&ctx, once, reply, via).await.map(Answer::response)
        }
        "message.im" | "message.email" => {
            let message: Message = body::part(&general.params)?;
            agrees(message.via)?;
            accept_message(&ctx, once, message, via).await.map(Answer::response)
        }
        "decision" => deliveries::decide_by_params(&ctx, once, &general.params).await,
        other => Err(Problem::with(
            Code::Invalid,
            format!(
                "service must be reply.im, reply.email, message.im, message.email or decision, not {}.",
                other.chars().take(40).collect::<String>()
            ),
        )),
    }
}

fn no_via() -> Problem {
    Problem::with(Code::Invalid, "via is missing: \"im\" or \"email\".")
}

async fn accept_reply(ctx: &Ctx, once: Once, reply: Reply, via: Medium) -> Result<Answer, Problem> {
    let member = acting(ctx, reply.r#as.as_deref())?;
    let mut set = ChangeSet::default();
    let to = match (reply.to_message, reply.original_email) {
        (Some(id), None) => {
            let other = other_side(ctx, &member, &id).await?;
            reachable(ctx, via, &other)?;
            To::Message(id)
        }
        (None, Some(mail)) => {
            let (blob, author) = original(ctx, &member, &mail).await?;
            reachable(ctx, via, &author)?;
            let hash = blob.hash.clone();
            set.once_blobs.push(blob);
            To::Original(hash)
        }
        _ => {
            let why = "Give exactly one of to_message and original_email.";
            return Err(Problem::with(Code::Invalid, why));
        }
    };
    let service = if via == Medium::Im { "reply.im" } else { "reply.email" };
    let (text, attachments) = (reply.text, reply.attachments);
    accept(ctx, once, Draft { service, member, to, via, subject: None, text, attachments, set })
        .await
}

async fn accept_message(
    ctx: &Ctx,
    once: Once,
    message: Message,
    via: Medium,
) -> Result<Answer, Problem> {
    let member = acting(ctx, message.r#as.as_deref())?;
    let to = recipient(ctx, &member, &message.to, via).await?;
    let subject = one_line(message.subject.as_deref().unwrap_or_default())
        .map_err(|e| Problem::with(Code::Invalid, format!("subject: {e}.")))?;
    if subject.chars().count() > MAX_SUBJECT {
        let why = format!("subject must be one line of at most {MAX_SUBJECT} characters.");
        return Err(Problem::with(Code::Invalid, why));
    }
    let subject = Some(subject).filter(|s| !s.is_empty());
    let service = if via == Medium::Im { "message.im" } else { "message.email" };
    let (text, attachments, set) = (message.text, message.attachments, ChangeSet::default());
    accept(ctx, once, Draft { service, member, to, via, subject, text, attachments, set }).await
}

/// The member in whose name something is written.
fn acting(ctx: &Ctx, r#as: Option<&str>) -> Result<rows::Member, Problem> {
    let named = r#as.map(|a| a.trim().to_ascii_lowercase());
    match (ctx.member(), named) {
        (Some(member), None) => Ok(member.clone()),
        (Some(member), Some(named)) if named == member.email => Ok(member.clone()),
        (Some(_), Some(_)) => Err(Problem::new(Code::NotYours)),
        (None, Some(named)) => ctx.tenant.member(&named).cloned().ok_or_else(|| {
            Problem::with(
                Code::MemberNeeded,
                "There is no member with the address that `as` names.",
            )
        }),
        (None, None) => Err(Problem::new(Code::MemberNeeded)),
    }
}

/// Whom an answer to a message goes to: the other one of its conversation.
async fn other_side(ctx: &Ctx, member: &rows::Member, message: &str) -> Result<String, Problem> {
    let nothing =
        || Problem::with(Code::NotFound, "There is no message with this id in your conversations.");
    let row = ctx.scope().message(message).await?.ok_or_else(nothing)?;
    let people = ctx.scope().participants(&[row.conversation_id]).await?;
    if !people.iter().any(|p| p.member_id.as_deref() == Some(&member.id)) {
        return Err(nothing());
    }
    let other =
        people.iter().find(|p| p.person != member.email).or(people.first()).ok_or_else(nothing)?;
    Ok(other.person.clone())
}

/// A mail that was given whole: kept as it is, with the address of its author.
async fn original(
    ctx: &Ctx,
    member: &rows::Member,
    mail: &str,
) -> Result<(rows::Blob, String), Problem> {
    let raw = mime::with_crlf(mail.as_bytes()).into_owned();
    let parsed = mime::parse(&raw).map_err(|why| Problem::with(Code::BadMail, why.to_string()))?;
    let author = parsed.from.email.key();
    if author == member.email {
        return Err(Problem::with(Code::Invalid, "The mail to answer is the member's own."));
    }
    let blob = ctx.gateway.store.keep_blob(ctx.tenant_id(), Bytes::from(raw)).await?;
    Ok((blob, author))
}

/// Whether a person can be written to by this medium.
fn reachable(ctx: &Ctx, via: Medium, person: &str) -> Result<(), Problem> {
    let by_im_alone = person.contains(':');
    match via {
        Medium::Im if !by_im_alone && ctx.tenant.im_of(person).is_none() => Err(no_im(ctx, person)),
        Medium::Email if by_im_alone => Err(Problem::new(Code::NoEmail).and("address", person)),
        _ => Ok(()),
    }
}

fn no_im(ctx: &Ctx, person: &str) -> Problem {
    let problem = Problem::with(Code::NoIm, format!("{person} has no verified IM address."))
        .and("address", person);
    match ctx.tenant.contact(person) {
        Some(contact) => problem.and("add_at", format!("/v1/contacts/{}/addresses", contact.id)),
        None => problem.and("add_at", "/v1/contacts"),
    }
}

/// The recipient of a new message, if the medium leads there.
async fn recipient(ctx: &Ctx, member: &rows::Member, to: &str, via: Medium) -> Result<To, Problem> {
    let wrong = |why: String| Problem::with(Code::Invalid, format!("to: {why}."));
    let to = to.trim();
    if !to.contains(':') {
        let email = Email::parse(to).map_err(|e| wrong(e.to_string()))?;
        reachable(ctx, via, &email.key())?;
        return Ok(To::Person(email));
    }
    let im = ImAddress::parse(to).map_err(|e| wrong(e.to_string()))?;
    let known = ctx.tenant.by_im(im.as_str());
    if via == Medium::Email {
        let mapping =
            known.ok_or_else(|| Problem::new(Code::NoEmail).and("address", im.as_str()))?;
        return Email::parse(&mapping.email).map(To::Person).map_err(|e| wrong(e.to_string()));
    }
    // A verified mapping is needed before the first IM to somebody; who has written already may be
    // written to.
    if known.is_none() {
        let (a, b) = (member.email.as_str(), im.as_str());
        let pair = if a <= b { format!("{a} {b}") } else { format!("{b} {a}") };
        if ctx.scope().last_of_pair(&pair).await?.is_none() {
            return Err(no_im(ctx, im.as_str()));
        }
    }
    Ok(To::Im(im.as_str().to_owned()))
}

/// The text as it is kept: line ends as LF.
fn clean_text(text: &str) -> Result<String, Problem> {
    if text.len() > MAX_TEXT {
        return Err(Problem::with(
            Code::Invalid,
            format!("text is longer than {MAX_TEXT} octets."),
        ));
    }
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Problem::with(Code::Invalid, "text contains a control character."));
    }
    Ok(text)
}

/// Keeps the files and describes them.
async fn keep_files(
    ctx: &Ctx,
    files: Vec<FileIn>,
    set: &mut ChangeSet,
) -> Result<Vec<OutFileRef>, Problem> {
    let mut kept = Vec::with_capacity(files.len());
    for (i, file) in files.into_iter().enumerate() {
        let data = STANDARD.decode(file.data.as_bytes()).map_err(|_| {
            Problem::with(
                Code::Invalid,
                format!("attachments[{i}].data is not base64 (RFC 4648 section 4)."),
            )
        })?;
        drop(file.data);
        let media_type = match file.media_type {
            None => "application/octet-stream".to_owned(),
            Some(given) => mime::safe_media_type(&given).ok_or_else(|| {
                Problem::with(Code::Invalid, format!("attachments[{i}].type is not a media type."))
            })?,
        };
        let size = i64::try_from(data.len()).unwrap_or(i64::MAX);
        let blob = ctx.gateway.store.keep_blob(ctx.tenant_id(), Bytes::from(data)).await?;
        kept.push(OutFileRef {
            name: mime::safe_file_name(&file.name),
            media_type,
            size,
            hash: blob.hash.clone(),
            content_id: None,
        });
        if !set.once_blobs.iter().any(|b| b.hash == blob.hash) {
            set.once_blobs.push(blob);
        }
    }
    Ok(kept)
}

async fn accept(ctx: &Ctx, once: Once, draft: Draft) -> Result<Answer, Problem> {
    let Draft { service, member, to, via, subject, text, attachments, mut set } = draft;
    let text = clean_text(&text)?;
    if text.trim().is_empty() && attachments.is_empty() {
        return Err(Problem::with(Code::Invalid, "There is neither a text nor an attachment."));
    }
    let attachments = keep_files(ctx, attachments, &mut set).await?;
    let gateway = &ctx.gateway;
    let delivery_id: String = DeliveryId::new(gateway.now(), &gateway.chance).into();
    let params = Request { to, via, subject, text, attachments, delivery_id: delivery_id.clone() };
    let row = gateway.transaction(NewTransaction {
        tenant: ctx.tenant_id(),
        member: Some(&member.id),
        service,
        source: "api",
        params: &params,
        // The promised delivery leads back to its transaction before it has a row of its own.
        dedupe: Some(delivery_id.clone()),
    });
    let answer = Answer::new(
        StatusCode::ACCEPTED,
        &json!({"transaction_id": row.id, "delivery_id": delivery_id, "state": "accepted"}),
    );
    set.new_transactions.push(row);
    once.finish(ctx, set, answer, || Problem::new(Code::Internal)).await
}
