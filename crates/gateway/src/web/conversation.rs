//! One conversation, for a member who takes part in it.

use actix_web::{
    HttpResponse,
    http::StatusCode,
    web::{Path, Query},
};
use isthmus_domain::ids::ConversationId;
use isthmus_im::Presence;
use isthmus_store::rows;
use serde::Deserialize;

use super::{FILE_LIMIT, Failure, answer, inbox, people, timeline, who::Me};
use crate::{
    api::export::Export,
    pages::conversation::{ChatReach, Composer, ConversationView, Person, Via},
};

/// Messages of one page.
const PAGE: usize = 60;

/// What the page is asked with.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    /// Position before which the page ends.
    before: Option<i64>,
}

/// What is given back to somebody whose message was not taken.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    pub(super) via: Option<Via>,
    pub(super) subject: String,
    pub(super) text: String,
    pub(super) error: String,
}

/// A conversation that the member takes part in, with everybody in it.
pub(super) struct Talk {
    pub(super) row: rows::Conversation,
    pub(super) people: Vec<rows::Participant>,
}

impl Talk {
    /// Looks it up; one that is missing, another tenant's, or other people's is not found.
    pub(super) async fn of(me: &Me, id: &str) -> Result<Self, Failure> {
        let scope = me.scope();
        let row = scope.conversation(id).await?;
        let people = scope.participants(&[id.to_owned()]).await?;
        let mine = people.iter().any(|p| p.member_id.as_deref() == Some(&me.member.id));
        row.filter(|_| mine).map(|row| Self { row, people }).ok_or(Failure::NotFound)
    }

    /// The person whom the member writes to here.
    pub(super) fn other(&self, me: &Me) -> Option<&rows::Participant> {
        self.people.iter().find(|p| p.person != me.member.email).or_else(|| self.people.first())
    }
}

/// `GET /conversations/ID`.
pub(super) async fn show(
    me: Me,
    id: Path<String>,
    asked: Query<Asked>,
) -> Result<HttpResponse, Failure> {
    let talk = Talk::of(&me, &id).await?;
    let view = view(&me, &talk, asked.before, None).await?;
    Ok(answer::page(&view))
}

/// In which form a conversation is wanted.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Form {
    #[serde(default)]
    format: String,
}

impl<'a> Export<'a> {
    /// What a member exports on the pages.
    pub(super) fn of(me: &'a Me) -> Self {
        Self {
            gateway: &me.portal.gateway,
            tenant: me.tenant_id(),
            member: Some(&me.member.id),
            source: "portal",
        }
    }
}

/// `GET /conversations/ID/export?format=mbox|json`.
pub(super) async fn export(
    me: Me,
    id: Path<String>,
    form: Query<Form>,
) -> Result<HttpResponse, Failure> {
    let Talk { row, people } = Talk::of(&me, &id).await?;
    let format = if form.format == "json" { "json" } else { "mbox" };
    let response = answer::download_of(&format!("{}.{format}", row.id));
    let answer = Export::of(&me).answer(row, &people, format, response).await?;
    answer.ok_or(Failure::Bad("This conversation is too long for one file."))
}

/// The same page with a message that was not taken.
pub(super) async fn again(me: &Me, talk: &Talk, unsent: Unsent) -> Result<HttpResponse, Failure> {
    let view = view(me, talk, None, Some(unsent)).await?;
    Ok(answer::page_as(StatusCode::UNPROCESSABLE_ENTITY, &view))
}

async fn view(
    me: &Me,
    talk: &Talk,
    before: Option<i64>,
    unsent: Option<Unsent>,
) -> Result<ConversationView, Failure> {
    let id: ConversationId = talk.row.id.parse().map_err(|_| Failure::NotFound)?;
    let mut messages = me.scope().messages(&talk.row.id, before, PAGE as u64 + 1).await?;
    let earlier = (messages.len() > PAGE).then(|| {
        messages.remove(0);
        messages[0].seq.to_string()
    });
    mark_read(me, talk, &messages).await?;
    let others = inbox::others(&talk.people, &me.member.id);
    let people = others
        .iter()
        .map(|p| Person {
            party: people::party(&me.tenant, &p.person, &p.name),
            presence: me.portal.presence(&me.tenant, &p.person),
        })
        .collect();
    Ok(ConversationView {
        list: inbox::list(me, &inbox::Asked::default(), Some(id.clone())).await?,
        title: inbox::title(me, &others),
        subject: Some(talk.row.subject.clone()).filter(|s| !s.is_empty()),
        people,
        earlier,
        items: timeline::items(me, &id, &messages).await?,
        composer: composer(me, talk, &messages, unsent.unwrap_or_default()),
        id,
        // Last, so that the number of unread conversations knows that this one was read.
        frame: me.frame().await?,
    })
}

async fn mark_read(me: &Me, talk: &Talk, messages: &[rows::Message]) -> Result<(), Failure> {
    let read = talk.people.iter().find(|p| p.member_id.as_deref() == Some(&me.member.id));
    let last = messages.last().map_or(0, |m| m.seq);
    if read.is_some_and(|p| p.read_seq < last) {
        me.scope().mark_read(&talk.row.id, &me.member.id, last).await?;
    }
    Ok(())
}

fn composer(me: &Me, talk: &Talk, messages: &[rows::Message], unsent: Unsent) -> Composer {
    let key = talk.other(me).map_or("", |p| p.person.as_str());
    let party = people::party(&me.tenant, key, talk.other(me).map_or("", |p| p.name.as_str()));
    let chat = chat_reach(me, key);
    // The switch stands where the member left it, or else where the other side last wrote, unless
    // that cannot be answered.
    let last = messages.iter().rev().find(|m| m.held.is_none());
    let is_mine = last.is_some_and(|m| m.from_person == me.member.email);
    let via = match last.map(|m| m.medium.as_str()) {
        Some("im") => Via::Chat,
        Some(_) if is_mine || chat != ChatReach::Online => Via::Email,
        _ => Via::Chat,
    };
    let subject = if unsent.error.is_empty() { talk.row.subject.clone() } else { unsent.subject };
    Composer {
        to: party.called().to_owned(),
        via: unsent.via.unwrap_or(via),
        chat,
        email: (!key.contains(':')).then(|| key.to_owned()),
        subject: if subject.is_empty() {
            subject
        } else {
            isthmus_mail::mime::reply_subject(&subject)
        },
        text: unsent.text,
        error: Some(unsent.error).filter(|e| !e.is_empty()),
        once: me.portal.gateway.chance.token(),
        file_limit: FILE_LIMIT,
    }
}

/// What would happen to a chat message to this person.
pub(super) fn chat_reach(me: &Me, key: &str) -> ChatReach {
    let always = me.tenant.contact(key).is_some_and(|c| c.always_send);
    match me.portal.presence(&me.tenant, key) {
        None => ChatReach::NoAddress,
        Some(Presence::Available) => ChatReach::Online,
        Some(_) if always => ChatReach::AwayButSend,
        Some(Presence::Unavailable) => ChatReach::Away(timeline::then(me, key)),
        Some(Presence::Unknown) => ChatReach::Unknown,
    }
}
