//! Writing: an answer in a conversation, or the first message of a new one.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Path, Query},
};
use isthmus_domain::{
    address::{Email, ImAddress},
    delivery::Medium,
    ids::DeliveryId,
    service::{Request, To},
};
use isthmus_store::ChangeSet;
use serde::Deserialize;

use super::{
    FILE_LIMIT, Failure, answer,
    conversation::{self, Talk, Unsent},
    form::{Fields, MemberForm},
    people,
    who::Me,
    work::{Ended, sentence},
};
use crate::{
    accept::NewTransaction,
    pages::{conversation::Via, start::StartView},
};

/// Octets of one text.
const TEXT: usize = 256 * 1024;
/// Octets of a subject.
const SUBJECT: usize = 998;
/// Files of one message.
const FILES: usize = 20;
/// People to choose from.
const SUGGESTIONS: usize = 300;

/// What was typed, looked over.
struct Draft {
    via: Medium,
    subject: Option<String>,
    text: String,
    once: String,
}

impl Draft {
    /// Reads a form.
    ///
    /// # Errors
    /// What is wrong with it, for its author.
    fn of(fields: &Fields) -> Result<Self, String> {
        let via = if fields.get("via") == "email" { Medium::Email } else { Medium::Im };
        let subject = isthmus_domain::text::one_line_without_controls(fields.get("subject"));
        let text = fields.text("text");
        if text.trim().is_empty() && fields.files.is_empty() {
            return Err("Write something first, or choose a file.".into());
        }
        if text.len() > TEXT {
            return Err("This text is too long: 256 kB is the limit. Send it as a file.".into());
        }
        if subject.len() > SUBJECT {
            return Err("This subject is too long.".into());
        }
        if fields.files.len() > FILES {
            return Err(format!(
                "One message can have {FILES} files. Send the others with another one."
            ));
        }
        let once = fields.line("once");
        if once.is_empty() || once.len() > 64 || !once.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err("This form is damaged. Load the page again.".into());
        }
        Ok(Self {
            via,
            // In chat there is no field for it, whatever was left in it.
            subject: Some(subject).filter(|s| !s.is_empty() && via == Medium::Email),
            text: text.trim_end().to_owned(),
            once: once.to_owned(),
        })
    }
}

fn unsent(fields: &Fields, error: String) -> Unsent {
    Unsent {
        via: Some(if fields.get("via") == "email" { Via::Email } else { Via::Chat }),
        subject: fields.line("subject").to_owned(),
        text: fields.text("text"),
        error,
    }
}

/// `POST /conversations/ID/messages`.
pub(super) async fn reply(id: Path<String>, form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let talk = Talk::of(&me, &id).await?;
    let checked = Draft::of(&fields).and_then(|draft| may_chat(&me, &talk, &draft).map(|()| draft));
    let draft = match checked {
        Ok(draft) => draft,
        Err(why) => return conversation::again(&me, &talk, unsent(&fields, why)).await,
    };
    let to = To::Conversation(talk.row.id.clone());
    let service = if draft.via == Medium::Im { "reply.im" } else { "reply.email" };
    let (ended, _) = send(&me, draft, to, service, &fields).await?;
    if let Ended::Not(reason) = ended {
        return conversation::again(&me, &talk, unsent(&fields, not_sent(&reason))).await;
    }
    Ok(answer::see(&format!("/conversations/{}", talk.row.id)))
}

fn not_sent(reason: &str) -> String {
    format!("This was not sent. {} Your text is still here.", sentence(reason))
}

fn may_chat(me: &Me, talk: &Talk, draft: &Draft) -> Result<(), String> {
    let key = talk.other(me).map_or("", |p| p.person.as_str());
    match draft.via {
        Medium::Im if people::im_address(&me.tenant, key).is_none() => Err(no_address(key)),
        Medium::Email if key.contains(':') => Err("No email address is known for them.".into()),
        _ => Ok(()),
    }
}

fn no_address(key: &str) -> String {
    format!(
        "No verified chat address is known for {key}. Add one under Contacts, or send it as an email."
    )
}

/// Commits the request; also tells the delivery's id.
async fn send(
    me: &Me,
    draft: Draft,
    to: To,
    service: &str,
    fields: &Fields,
) -> Result<(Ended, String), Failure> {
    let gateway = &me.portal.gateway;
    let mut set = ChangeSet::default();
    let attachments = me.portal.keep(me.tenant_id(), &fields.files, &mut set).await?;
    let delivery_id: String = DeliveryId::new(gateway.now(), &gateway.chance).into();
    let request = Request {
        to,
        via: draft.via,
        subject: draft.subject,
        text: draft.text,
        attachments,
        delivery_id: delivery_id.clone(),
    };
    let new = NewTransaction {
        tenant: me.tenant_id(),
        member: Some(&me.member.id),
        service,
        source: "portal",
        params: &request,
        // The same form sent twice is one message.
        dedupe: Some(format!("portal:{}:{}", me.member.id, draft.once)),
    };
    Ok((me.portal.act(new, set).await?, delivery_id))
}

/// What the form for a new conversation is asked with.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    to: String,
}

/// `GET /new`.
pub(super) async fn other_address() -> HttpResponse {
    answer::see("/conversations/new")
}

/// `GET /conversations/new`.
pub(super) async fn form(me: Me, asked: Query<Asked>) -> Result<HttpResponse, Failure> {
    let to: String = asked.to.trim().chars().take(330).collect();
    let via = match people::im_address(&me.tenant, &to.to_ascii_lowercase()) {
        None if !to.is_empty() => Via::Email,
        _ => Via::Chat,
    };
    let unsent = Unsent { via: Some(via), ..Unsent::default() };
    Ok(answer::page(&start_view(&me, to, unsent).await?))
}

async fn start_view(me: &Me, to: String, unsent: Unsent) -> Result<StartView, Failure> {
    let mut suggestions: Vec<(String, String)> = me
        .tenant
        .contacts()
        .map(|c| (c.email.clone(), c.name.clone()))
        .chain(
            me.tenant
                .members()
                .filter(|m| m.id != me.member.id)
                .map(|m| (m.email.clone(), m.name.clone())),
        )
        .collect();
    suggestions.sort_by_cached_key(|(_, name)| name.to_lowercase());
    suggestions.truncate(SUGGESTIONS);
    Ok(StartView {
        frame: me.frame().await?,
        to,
        suggestions,
        via: unsent.via.unwrap_or(Via::Chat),
        subject: unsent.subject,
        text: unsent.text,
        error: Some(unsent.error).filter(|e| !e.is_empty()),
        once: me.portal.gateway.chance.token(),
        file_limit: FILE_LIMIT,
    })
}

/// `POST /conversations`.
pub(super) async fn start(form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let to: String = fields.line("to").chars().take(330).collect();
    let checked = match Draft::of(&fields) {
        Ok(draft) => recipient(&me, &to, draft.via).await?.map(|to| (draft, to)),
        Err(why) => Err(why),
    };
    let (draft, target) = match checked {
        Ok(checked) => checked,
        Err(why) => return refused(&me, to, unsent(&fields, why)).await,
    };
    let service = if draft.via == Medium::Im { "message.im" } else { "message.email" };
    let (ended, delivery) = send(&me, draft, target, service, &fields).await?;
    if let Ended::Not(reason) = ended {
        return refused(&me, to, unsent(&fields, not_sent(&reason))).await;
    }
    let delivery = me.scope().delivery(&delivery).await?;
    match delivery.map(|d| d.conversation_id).filter(|c| !c.is_empty()) {
        Some(conversation) => Ok(answer::see(&format!("/conversations/{conversation}"))),
        None => {
            me.done("Accepted: the conversation appears here in a moment.");
            Ok(answer::see("/"))
        }
    }
}

async fn refused(me: &Me, to: String, unsent: Unsent) -> Result<HttpResponse, Failure> {
    Ok(answer::page_as(StatusCode::UNPROCESSABLE_ENTITY, &start_view(me, to, unsent).await?))
}

/// To whom a new message goes, or why it cannot go there by this medium.
async fn recipient(me: &Me, to: &str, via: Medium) -> Result<Result<To, String>, Failure> {
    let im = match (Email::parse(to), ImAddress::parse(to)) {
        (Ok(email), _) => {
            let has_chat =
                via == Medium::Email || people::im_address(&me.tenant, &email.key()).is_some();
            let key = email.key();
            return Ok(if has_chat { Ok(To::Person(email)) } else { Err(no_address(&key)) });
        }
        (Err(_), Ok(im)) => im,
        (Err(why), Err(_)) if !to.contains(':') => return Ok(Err(sentence(&why.to_string()))),
        (Err(_), Err(why)) => return Ok(Err(sentence(&why.to_string()))),
    };
    if via == Medium::Email && me.tenant.by_im(im.as_str()).is_none() {
        return Ok(Err(format!("No email address is known for {im}.")));
    }
    // Nobody is written to by chat who was not verified, or has not written here first.
    let mut pair = [me.member.email.as_str(), im.as_str()];
    pair.sort_unstable();
    let known = me.tenant.by_im(im.as_str()).is_some()
        || me.scope().last_of_pair(&pair.join(" ")).await?.is_some();
    Ok(if known { Ok(To::Im(im.as_str().to_owned())) } else { Err(no_address(im.as_str())) })
}
