//! A conversation's rows as the entries of a timeline.

use std::collections::HashMap;

use isthmus_domain::{
    clock::Millis,
    delivery::{Evidence as Known, State},
    ids::ConversationId,
};
use isthmus_store::{StoreError, rows};

use super::{people, who::Me};
use crate::pages::{
    message::{
        Author, Decided, Decider, DeliveryLine, DeliveryState, Evidence, File, Held, Html, Item,
        Message, Preview, Question,
    },
    words::{Action, Policy},
};

/// Characters of a message that a question or a held mail repeats.
const EXCERPT: usize = 300;

/// The entries for some messages of one conversation, in order of time.
pub(super) async fn items(
    me: &Me,
    conversation: &ConversationId,
    messages: &[rows::Message],
) -> Result<Vec<Item>, StoreError> {
    let scope = me.scope();
    let ids: Vec<String> = messages.iter().map(|m| m.id.clone()).collect();
    let mut files: HashMap<String, Vec<rows::Attachment>> = HashMap::new();
    for file in scope.attachments(&ids).await? {
        files.entry(file.message_id.clone()).or_default().push(file);
    }
    let mut deliveries: HashMap<String, Vec<rows::Delivery>> = HashMap::new();
    for delivery in scope.deliveries_for(&ids).await? {
        deliveries.entry(delivery.message_id.clone()).or_default().push(delivery);
    }
    let mut items = Vec::with_capacity(messages.len());
    let mut questions = Vec::new();
    for row in messages {
        let own = deliveries.get(&row.id).map_or(&[][..], Vec::as_slice);
        let files = files.get(&row.id).map_or(&[][..], Vec::as_slice);
        let Some(message) = message(me, row, files, own) else { continue };
        match &row.held {
            Some(reason) => items.push(Item::Held(held(me, conversation, row, reason, &message))),
            None => items.push(Item::Message(message)),
        }
        for delivery in own.iter().filter(|d| d.member_id.as_deref() == Some(&me.member.id)) {
            if delivery.state == "awaiting_decision" {
                questions.push((delivery, row));
            } else {
                items.extend(decided(me, delivery).map(Item::Decided));
            }
        }
    }
    items.extend(asked(me, conversation, &questions).into_iter().map(Item::Question));
    items.sort_by_key(Item::at);
    Ok(items)
}

/// One message for a member who takes part.
fn message(
    me: &Me,
    row: &rows::Message,
    files: &[rows::Attachment],
    deliveries: &[rows::Delivery],
) -> Option<Message> {
    let tenant = &me.tenant;
    let mine = row.from_person == me.member.email;
    let by = if mine {
        // Which network carried it is known of the delivery, not of its author.
        deliveries.first().map_or(row.from_person.as_str(), |d| d.address.as_str())
    } else {
        row.from_person.as_str()
    };
    let lines =
        if mine { deliveries.iter().filter_map(|d| line(me, d)).collect() } else { Vec::new() };
    Some(Message {
        id: row.id.parse().ok()?,
        at: Millis(row.at),
        medium: people::medium(tenant, &row.medium, by),
        author: if mine { Author::Me } else { Author::Other },
        from: people::party(tenant, &row.from_person, &row.from_name),
        to: people::parties(tenant, &row.to_list),
        cc: people::parties(tenant, &row.cc_list),
        subject: Some(row.subject.clone()).filter(|s| !s.is_empty()),
        text: row.text.clone(),
        quoted: row.quoted.clone().filter(|q| !q.trim().is_empty()),
        signature: None,
        html: if row.html_hash.is_some() { Html::Available } else { Html::None },
        files: files.iter().filter_map(file).collect(),
        warning: None,
        deliveries: lines,
    })
}

/// A file as a page shows it.
pub(super) fn file(row: &rows::Attachment) -> Option<File> {
    Some(File {
        id: row.id.parse().ok()?,
        name: row.name.clone(),
        media_type: row.media_type.clone(),
        size: u64::try_from(row.size).unwrap_or(0),
        preview: match row.media_type.as_str() {
            "image/png" | "image/jpeg" | "image/gif" | "image/webp" => Preview::Image,
            "application/pdf" => Preview::Document,
            _ => Preview::None,
        },
    })
}

fn line(me: &Me, row: &rows::Delivery) -> Option<DeliveryLine> {
    let state = match serde_json::from_str::<State>(&row.data).ok()? {
        State::Accepted => DeliveryState::Accepted,
        State::Checking { .. } => DeliveryState::Checking,
        State::Sending { .. } => DeliveryState::Sending,
        State::Delivered { at, evidence } => DeliveryState::Delivered {
            at,
            evidence: if evidence == Known::Server { Evidence::Server } else { Evidence::Receipt },
        },
        State::AwaitingDecision { .. } => DeliveryState::AwaitingDecision,
        State::Retrying { next, .. } => DeliveryState::Retrying { next },
        State::Aborted { at, .. } => DeliveryState::Aborted { at },
        State::BecameEmail { at, .. } => DeliveryState::BecameEmail { at },
        State::Failed { reason, .. } => {
            DeliveryState::Failed { reason: super::work::sentence(&reason) }
        }
    };
    Some(DeliveryLine {
        id: row.id.parse().ok()?,
        to: people::party(&me.tenant, &row.person, &row.person),
        via: people::medium_of_address(&row.medium, &row.address),
        state,
    })
}

/// One card for all messages that share a question, shown with the last of them.
fn asked(
    me: &Me,
    conversation: &ConversationId,
    waiting: &[(&rows::Delivery, &rows::Message)],
) -> Vec<Question> {
    let mut order: Vec<&str> = Vec::new();
    let mut groups: HashMap<&str, Vec<(&rows::Delivery, &rows::Message)>> = HashMap::new();
    for (delivery, message) in waiting {
        let token = delivery.question.as_deref().unwrap_or(&delivery.id);
        if !groups.contains_key(token) {
            order.push(token);
        }
        groups.entry(token).or_default().push((delivery, message));
    }
    order
        .into_iter()
        .filter_map(|token| {
            let group = groups.get(token)?;
            let (first, message) = group.first()?;
            let (_, last) = group.last()?;
            let Ok(State::AwaitingDecision { deadline, .. }) = serde_json::from_str(&first.data)
            else {
                return None;
            };
            Some(Question {
                delivery: first.id.parse().ok()?,
                conversation: conversation.clone(),
                at: Millis(last.at),
                about: people::party(&me.tenant, &first.person, &first.person),
                excerpt: people::excerpt_of(message, EXCERPT),
                waiting: u32::try_from(group.len()).unwrap_or(u32::MAX),
                deadline,
                then: people::policy_for(&me.tenant, &me.member, &first.person),
                options: options(&first.person),
                retry_for: people::span_words(me.portal.times.expire_after_ms),
            })
        })
        .collect()
}

/// What can be chosen about a message to this person; somebody without an email address gets no mail.
pub(super) fn options(person: &str) -> Vec<Action> {
    Action::ALL.into_iter().filter(|a| *a != Action::Email || !person.contains(':')).collect()
}

/// What was decided about a delivery that somebody was asked about.
pub(super) fn decided(me: &Me, row: &rows::Delivery) -> Option<Decided> {
    let history: Vec<serde_json::Value> = serde_json::from_str(&row.history).ok()?;
    let was_asked = history.iter().any(|l| l["state"] == "awaiting_decision");
    let (action, at, by) = match serde_json::from_str::<State>(&row.data).ok()? {
        State::Aborted { at, by } => (Action::Abort, at, by),
        State::BecameEmail { at, by, .. } => (Action::Email, at, by),
        _ => return None,
    };
    let by = decider(&me.member, &by);
    (was_asked || matches!(by, Decider::Policy)).then_some(Decided {
        delivery: row.id.parse().ok()?,
        at,
        about: people::party(&me.tenant, &row.person, &row.person),
        action,
        by,
    })
}

/// Who decided, as the reader knows them.
pub(super) fn decider(reader: &rows::Member, by: &str) -> Decider {
    match by {
        "standing policy" | "nobody is asked" => Decider::Policy,
        name if name == reader.name => Decider::You(String::new()),
        name => Decider::Person(name.to_owned(), String::new()),
    }
}

fn held(
    me: &Me,
    conversation: &ConversationId,
    row: &rows::Message,
    reason: &str,
    message: &Message,
) -> Held {
    Held {
        message: message.id.clone(),
        conversation: conversation.clone(),
        at: Millis(row.at),
        from: people::party(&me.tenant, &row.from_person, &row.from_name),
        reason: super::work::sentence(reason),
        excerpt: people::excerpt_of(row, EXCERPT),
    }
}

/// The standing policy as the page for one question names it.
pub(super) fn then(me: &Me, person: &str) -> Policy {
    people::policy_for(&me.tenant, &me.member, person)
}
