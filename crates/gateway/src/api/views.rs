//! Rows as the API shows them.

use isthmus_domain::{
    clock::Millis,
    delivery::State,
    service::{Decision, Request, To},
};
use isthmus_store::{TenantView, rows};
use serde_json::{Value, json};

/// An instant, RFC 3339.
pub(super) fn time(ms: i64) -> String {
    Millis(ms).rfc3339()
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// A message as a participant sees it; `files` are its own.
pub(super) fn message<'a>(
    row: &rows::Message,
    files: impl Iterator<Item = &'a rows::Attachment>,
) -> Value {
    let mut shown = json!({
        "id": row.id,
        "conversation_id": row.conversation_id,
        "medium": row.medium,
        "from": {"name": row.from_name, "address": row.from_person},
        "to": read(&row.to_list),
        "cc": read(&row.cc_list),
        "subject": row.subject,
        "text": row.text,
        "attachments": files.map(attachment).collect::<Vec<_>>(),
        "message_id": row.message_id,
        "at": time(row.at),
    });
    // What was quoted, and why a mail waits, are told only where there is something to tell.
    if let Some(quoted) = &row.quoted {
        shown["quoted"] = quoted.as_str().into();
    }
    if let Some(held) = &row.held {
        shown["held"] = held.as_str().into();
    }
    shown
}

/// A file without its octets.
pub(super) fn attachment(row: &rows::Attachment) -> Value {
    json!({"id": row.id, "name": row.name, "type": row.media_type, "size": row.size})
}

/// A delivery. A row that cannot be read shows its state alone.
pub(super) fn delivery(tenant: &TenantView, row: &rows::Delivery) -> Value {
    let mut shown = json!({
        "id": row.id,
        "transaction_id": row.transaction_id,
        "conversation_id": row.conversation_id,
        "message_id": row.message_id,
        "medium": row.medium,
        "to": {"name": tenant.name_of(&row.person).unwrap_or(&row.person), "address": row.address},
        "state": row.state,
        "history": read(&row.history),
        "question": null,
        "at": time(row.created_at),
    });
    match serde_json::from_str::<State>(&row.data) {
        Ok(State::Delivered { at, evidence }) => {
            shown["delivered_at"] = at.rfc3339().into();
            shown["evidence"] = evidence.as_str().into();
        }
        Ok(State::AwaitingDecision { deadline, .. }) => {
            shown["question"] = json!({"options": options(row), "deadline": deadline.rfc3339()});
        }
        Ok(State::Retrying { attempt, next, expires }) => {
            shown["attempt"] = attempt.into();
            shown["next_attempt_at"] = next.rfc3339().into();
            shown["expires_at"] = expires.rfc3339().into();
        }
        Ok(State::Aborted { by, .. }) => shown["decided_by"] = by.into(),
        Ok(State::BecameEmail { delivery, by, .. }) => {
            shown["became"] = delivery.into();
            shown["decided_by"] = by.into();
        }
        Ok(State::Failed { reason, .. }) => shown["reason"] = reason.into(),
        _ => {}
    }
    shown
}

/// A delivery that was promised and has no row yet, or never will.
pub(super) fn promised(id: &str, transaction: &rows::Transaction) -> Value {
    let at = time(transaction.at);
    let mut shown = json!({
        "id": id,
        "transaction_id": transaction.id,
        "conversation_id": null,
        "message_id": null,
        "medium": transaction.service.rsplit('.').next(),
        "to": null,
        "state": "accepted",
        "history": [{"state": "accepted", "at": at}],
        "question": null,
        "at": at,
    });
    if let Some(reason) = transaction.reason.as_deref().filter(|_| transaction.ended_at.is_some()) {
        let ended = time(transaction.ended_at.unwrap_or(transaction.at));
        shown["state"] = "failed".into();
        shown["reason"] = reason.into();
        shown["history"] = json!([
            {"state": "accepted", "at": at},
            {"state": "failed", "at": ended, "reason": reason},
        ]);
    }
    shown
}

/// What can be decided about a delivery.
pub(super) fn options(row: &rows::Delivery) -> Vec<&'static str> {
    if can_email(row) { vec!["retry", "email", "abort"] } else { vec!["retry", "abort"] }
}

/// Whether the recipient has an email address to fall back to.
pub(super) fn can_email(row: &rows::Delivery) -> bool {
    read(&row.body)["rules"]["can_email"].as_bool().unwrap_or(false)
}

/// Whether a delivery is a notice of the bridge itself, which is nobody's message.
pub(super) fn is_notice(row: &rows::Delivery) -> bool {
    row.message_id.is_empty()
}

/// Who sees a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Eyes {
    /// Whoever asked for it.
    Member,
    /// An administrator: without what was written.
    Administrator,
}

/// A transaction with its deliveries.
pub(super) fn transaction(
    tenant: &TenantView,
    row: &rows::Transaction,
    deliveries: &[&rows::Delivery],
    eyes: Eyes,
) -> Value {
    let mut shown: Vec<Value> =
        deliveries.iter().filter(|d| !is_notice(d)).map(|d| delivery(tenant, d)).collect();
    if let Some(id) = promise_of(row)
        && !deliveries.iter().any(|d| d.id == id)
    {
        shown.insert(0, promised(id, row));
    }
    let mut view = json!({
        "id": row.id,
        "service": row.service,
        "params": params(row, eyes),
        "state": row.state,
        "admission": row.admission.as_deref().map(read),
        "deliveries": shown,
        "usage": [],
        "at": time(row.at),
    });
    if let Some(reason) = &row.reason {
        view["reason"] = reason.as_str().into();
    }
    if let Some(at) = row.ended_at {
        view["ended_at"] = time(at).into();
    }
    view
}

/// The delivery that was promised when a transaction was accepted through the API.
pub(super) fn promise_of(row: &rows::Transaction) -> Option<&str> {
    row.dedupe.as_deref().filter(|d| d.starts_with("dlv_"))
}

/// Parameters in the form in which they are posted.
fn params(row: &rows::Transaction, eyes: Eyes) -> Value {
    let mut shown = match row.service.as_str() {
        "reply.im" | "reply.email" | "message.im" | "message.email" => {
            serde_json::from_str::<Request>(&row.params).map_or(Value::Null, |r| request(&r))
        }
        "decision" => serde_json::from_str::<Decision>(&row.params).map_or_else(
            |_| json!({}),
            |d| json!({"delivery_id": d.delivery_id, "action": d.action, "by": d.by}),
        ),
        _ => read(&row.params),
    };
    if eyes == Eyes::Administrator {
        for content in ["text", "subject", "body", "attachments", "files", "links", "link"] {
            if let Some(value) = shown.get_mut(content) {
                *value = Value::Null;
            }
        }
    }
    shown
}

fn request(request: &Request) -> Value {
    let files: Vec<Value> = request
        .attachments
        .iter()
        .map(|f| json!({"name": f.name, "type": f.media_type, "size": f.size}))
        .collect();
    let mut shown = json!({
        "via": request.via,
        "subject": request.subject,
        "text": request.text,
        "attachments": files,
    });
    match &request.to {
        To::Message(id) => shown["to_message"] = id.as_str().into(),
        To::Original(hash) => shown["original_email_sha256"] = hash.as_str().into(),
        To::Person(email) => shown["to"] = email.as_str().into(),
        To::Im(im) => shown["to"] = im.as_str().into(),
        To::Conversation(id) => shown["conversation_id"] = id.as_str().into(),
    }
    shown
}

/// A conversation with who takes part; `subject` is content and may be left out.
pub(super) fn conversation(
    row: &rows::Conversation,
    people: &[&rows::Participant],
    eyes: Eyes,
) -> Value {
    let people: Vec<Value> = people
        .iter()
        .map(|p| json!({"name": p.name, "address": p.person, "member_id": p.member_id}))
        .collect();
    json!({
        "id": row.id,
        "subject": if eyes == Eyes::Member { Value::from(row.subject.as_str()) } else { Value::Null },
        "participants": people,
        "created_at": time(row.created_at),
        "last_at": time(row.last_at),
    })
}

/// A contact with the addresses that are known of them.
pub(super) fn contact(tenant: &TenantView, row: &rows::Contact) -> Value {
    json!({
        "id": row.id,
        "email": row.email,
        "bridge_address": tenant.bridge_address(&row.email),
        "name": row.name,
        "policy": row.policy,
        "always_send": row.always_send,
        "addresses": tenant.mappings(&row.email).iter().map(mapping).collect::<Vec<_>>(),
        "created_at": time(row.created_at),
    })
}

/// One IM address of a person.
pub(super) fn mapping(row: &rows::Mapping) -> Value {
    json!({
        "id": row.id,
        "im": row.im,
        "state": row.state,
        "how": row.how,
        "created_at": time(row.created_at),
        "verified_at": row.verified_at.map(time),
        "challenge_until": row.challenge_until.filter(|_| row.state == "challenged").map(time),
    })
}
