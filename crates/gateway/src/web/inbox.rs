//! The inbox, which is also the list beside an open conversation.

use std::collections::{HashMap, HashSet};

use actix_web::{HttpResponse, web::Query};
use isthmus_domain::{clock::Millis, ids::ConversationId};
use isthmus_store::rows;
use serde::Deserialize;

use super::{Failure, answer, people, who::Me};
use crate::pages::inbox::{ConversationList, InboxView, Row, Waits};

/// Conversations of one page.
const PAGE: usize = 50;
/// Characters of an excerpt.
const EXCERPT: usize = 140;

/// What the list is asked with.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    cursor: Option<String>,
}

/// `GET /`.
pub(super) async fn show(me: Me, asked: Query<Asked>) -> Result<HttpResponse, Failure> {
    let list = list(&me, &asked, None).await?;
    Ok(answer::page(&InboxView { frame: me.frame().await?, list }))
}

/// `GET /conversations`: the inbox has one address.
pub(super) async fn other_address() -> HttpResponse {
    answer::see("/")
}

/// The cursor of a list: last activity and id of its last item. What cannot be read is none.
fn read_cursor(cursor: &str) -> Option<(i64, &str)> {
    let (at, id) = cursor.split_once('.')?;
    let id_ok = id.parse::<ConversationId>().is_ok();
    at.parse().ok().filter(|_| id_ok).map(|at| (at, id))
}

/// A page of the member's conversations, unread first.
pub(super) async fn list(
    me: &Me,
    asked: &Asked,
    open: Option<ConversationId>,
) -> Result<ConversationList, Failure> {
    let scope = me.scope();
    let query: String = asked.q.trim().chars().take(200).collect();
    let search = (!query.is_empty()).then_some(query.as_str());
    let before = asked.cursor.as_deref().and_then(read_cursor);
    let mut found =
        scope.conversations(Some(&me.member.id), search, before, PAGE as u64 + 1).await?;
    let next =
        (found.len() > PAGE).then(|| &found[PAGE - 1]).map(|c| format!("{}.{}", c.last_at, c.id));
    found.truncate(PAGE);
    let ids: Vec<String> = found.iter().map(|c| c.id.clone()).collect();
    let facts = Facts::of(me, &ids).await?;
    let mut rows: Vec<Row> = found.iter().filter_map(|c| facts.row(me, c)).collect();
    rows.sort_by_key(|r| r.unread == 0);
    Ok(ConversationList {
        rows,
        query,
        next,
        open,
        forward_address: format!("im@{}", me.tenant.tenant.bridge_domain),
    })
}

/// What is known of the conversations of one page, each kind read at once.
struct Facts {
    people: HashMap<String, Vec<rows::Participant>>,
    last: HashMap<String, rows::Message>,
    unread: HashMap<String, i64>,
    asked: HashSet<String>,
    failed: HashSet<String>,
}

impl Facts {
    async fn of(me: &Me, ids: &[String]) -> Result<Self, Failure> {
        let scope = me.scope();
        let mut people: HashMap<String, Vec<rows::Participant>> = HashMap::new();
        for person in scope.participants(ids).await? {
            people.entry(person.conversation_id.clone()).or_default().push(person);
        }
        let last = scope.last_messages(ids).await?;
        let last_ids: Vec<String> = last.iter().map(|m| m.id.clone()).collect();
        let failed = scope.deliveries_for(&last_ids).await?;
        let open = scope.open_questions(&me.member.id).await?;
        Ok(Self {
            people,
            last: last.into_iter().map(|m| (m.conversation_id.clone(), m)).collect(),
            unread: scope.unread_in(&me.member.id, ids).await?.into_iter().collect(),
            asked: open
                .into_iter()
                .filter(|d| d.state == "awaiting_decision")
                .map(|d| d.conversation_id)
                .collect(),
            failed: failed
                .into_iter()
                .filter(|d| d.state == "failed" && d.member_id.as_deref() == Some(&me.member.id))
                .map(|d| d.conversation_id)
                .collect(),
        })
    }

    fn row(&self, me: &Me, conversation: &rows::Conversation) -> Option<Row> {
        let tenant = &me.tenant;
        let people = self.people.get(&conversation.id).map(Vec::as_slice).unwrap_or_default();
        let others = others(people, &me.member.id);
        let last = self.last.get(&conversation.id);
        let presence = match others[..] {
            [other] => me.portal.presence(tenant, &other.person),
            _ => None,
        };
        let waits = if self.asked.contains(&conversation.id) {
            Waits::Question
        } else if self.failed.contains(&conversation.id) {
            Waits::Failed
        } else {
            Waits::No
        };
        Some(Row {
            id: conversation.id.parse().ok()?,
            title: title(me, &others),
            subject: Some(conversation.subject.clone()).filter(|s| !s.is_empty()),
            excerpt: last
                .map(|m| people::excerpt_of(m, EXCERPT))
                .map(or_no_text)
                .unwrap_or_default(),
            medium: last.map_or(crate::pages::words::Medium::Email, |m| {
                people::medium(tenant, &m.medium, &m.from_person)
            }),
            at: Millis(conversation.last_at),
            unread: u32::try_from(self.unread.get(&conversation.id).copied().unwrap_or(0))
                .unwrap_or(u32::MAX),
            presence,
            waits,
        })
    }
}

/// Everybody but the member; whoever talks to themselves is shown to themselves.
pub(super) fn others<'a>(
    people: &'a [rows::Participant],
    member_id: &str,
) -> Vec<&'a rows::Participant> {
    let others: Vec<_> =
        people.iter().filter(|p| p.member_id.as_deref() != Some(member_id)).collect();
    if others.is_empty() { people.iter().collect() } else { others }
}

/// The names of the others.
pub(super) fn title(me: &Me, others: &[&rows::Participant]) -> String {
    let names: Vec<String> = others
        .iter()
        .map(|p| people::party(&me.tenant, &p.person, &p.name).called().to_owned())
        .collect();
    names.join(", ")
}

/// A message may be nothing but files.
fn or_no_text(excerpt: String) -> String {
    if excerpt.is_empty() { "(no text)".to_owned() } else { excerpt }
}

#[cfg(test)]
mod tests {
    use super::read_cursor;

    #[test]
    fn a_cursor_that_was_tampered_with_is_none() {
        let good = "1772543400000.cnv_01jnqv4x8h0000000000000000";
        assert!(read_cursor(good).is_some());
        for bad in ["", "1", ".", "x.cnv_01jnqv4x8h0000000000000000", "1.' OR 1=1", "1.cnv_short"] {
            assert_eq!(read_cursor(bad), None, "{bad}");
        }
    }
}
