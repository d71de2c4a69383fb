//! The believable past of the demo: written as the router would have written it, with times that
//! lie behind us.

use anyhow::Result;
use isthmus_domain::{
    clock::{Chance, Millis},
    ids::{AttachmentId, ConversationId, MessageId, TransactionId},
};
use isthmus_store::{ChangeSet, Ended, Store, rows};

/// One message of the past.
struct Line {
    from: &'static str,
    medium: &'static str,
    minutes_ago: i64,
    text: &'static str,
    file: Option<(&'static str, &'static str, &'static [u8])>,
}

const fn mail(from: &'static str, minutes_ago: i64, text: &'static str) -> Line {
    Line { from, medium: "email", minutes_ago, text, file: None }
}

const fn chat(from: &'static str, minutes_ago: i64, text: &'static str) -> Line {
    Line { from, medium: "im", minutes_ago, text, file: None }
}

struct Story {
    tenant: &'static str,
    people: [(&'static str, &'static str); 2],
    subject: &'static str,
    lines: &'static [Line],
}

const STORIES: &[Story] = &[
    Story {
        tenant: "acme",
        people: [("alice@acme.test", "Alice Adler"), ("carol@customer.test", "Carol Chen")],
        subject: "Budget 2027",
        lines: &[
            mail("carol@customer.test", 2 * 1_440 + 95, "Dear Alice,\n\nwe are planning the pumping station for next year. Could you send a figure we can put into the budget?\n\nKind regards\nCarol"),
            mail("alice@acme.test", 2 * 1_440 + 20, "Hello Carol,\n\nabout 12,000 EUR for the pump with installation; I will have the exact offer by Friday.\n\nAlice"),
            chat("carol@customer.test", 1_440 + 200, "Thanks! Is the cable included?"),
            chat("alice@acme.test", 1_440 + 198, "Yes, 30 m of it."),
            Line {
                from: "carol@customer.test",
                medium: "email",
                minutes_ago: 42,
                text: "Dear Alice,\n\nI have put it together. Can you approve 12,400 EUR for the pump? The offer is attached; our board meets this afternoon.\n\nCarol",
                file: Some(("offer.txt", "text/plain", b"Offer 2027-114\n\nSubmersible pump P-40 with installation   11,650 EUR\nCable, 30 m                                  750 EUR\nTotal                                     12,400 EUR\n")),
            },
        ],
    },
    Story {
        tenant: "acme",
        people: [("alice@acme.test", "Alice Adler"), ("dario@supplier.test", "Dario Diaz")],
        subject: "Delivery on Thursday",
        lines: &[
            mail("dario@supplier.test", 600, "Hello,\n\nour driver can come on Thursday between 8 and 10. Would that suit you?\n\nDario Diaz"),
            chat("alice@acme.test", 580, "Thursday is fine. Gate 2, please."),
            chat("dario@supplier.test", 577, "Noted, gate 2."),
        ],
    },
    Story {
        tenant: "acme",
        people: [("alice@acme.test", "Alice Adler"), ("ben@acme.test", "Ben Bauer")],
        subject: "Service van",
        lines: &[chat("ben@acme.test", 300, "I have the van until five."), chat("alice@acme.test", 296, "Good, I need it from six.")],
    },
    Story {
        tenant: "acme",
        people: [("ben@acme.test", "Ben Bauer"), ("erin@press.test", "Erin Egan")],
        subject: "Interview about rainwater",
        lines: &[mail("erin@press.test", 1_500, "Dear Mr Bauer,\n\nI am writing about rainwater in towns. Would you have half an hour next week?\n\nErin Egan")],
    },
    Story {
        tenant: "globex",
        people: [("gwen@globex.test", "Gwen Gray"), ("carol@customer.test", "Carol Chen")],
        subject: "Sensor data",
        lines: &[
            mail("gwen@globex.test", 900, "Hi Carol,\n\nthe sensors report every ten minutes now.\n\nGwen"),
            chat("carol@customer.test", 880, "Great, I see them."),
        ],
    },
];

/// Writes all stories.
///
/// # Errors
/// When the store cannot take them.
pub(crate) async fn past(store: &Store, now: Millis, chance: &Chance) -> Result<()> {
    let directory = store.directory();
    for story in STORIES {
        let Some(tenant) = directory.by_slug(story.tenant) else { continue };
        let set = tell(store, &tenant.tenant, tenant, story, now, chance).await?;
        store.commit(set).await?;
    }
    Ok(())
}

async fn tell(
    store: &Store,
    tenant: &rows::Tenant,
    view: &isthmus_store::TenantView,
    story: &Story,
    now: Millis,
    chance: &Chance,
) -> Result<ChangeSet> {
    let mut set = ChangeSet::default();
    let at = |line: &Line| now.plus_ms(-line.minutes_ago * 60_000);
    let (first, last) = match (story.lines.first(), story.lines.last()) {
        (Some(first), Some(last)) => (at(first), at(last)),
        _ => return Ok(set),
    };
    let conversation: String = ConversationId::new(first, chance).into();
    let [a, b] = story.people;
    let pair = if a.0 <= b.0 { format!("{} {}", a.0, b.0) } else { format!("{} {}", b.0, a.0) };
    set.put_conversations.push(rows::Conversation {
        id: conversation.clone(),
        tenant_id: tenant.id.clone(),
        subject: story.subject.to_owned(),
        pair,
        created_at: first.0,
        last_at: last.0,
    });
    let mut before: Option<String> = None;
    let mut seen = 0;
    for line in story.lines {
        let id = MessageId::new(at(line), chance);
        let message_id = format!("{id}@{}", tenant.bridge_domain);
        let other = if line.from == a.0 { b } else { a };
        let name = if line.from == a.0 { a.1 } else { b.1 };
        let transaction: String = TransactionId::new(at(line), chance).into();
        set.new_transactions.push(rows::Transaction {
            id: transaction.clone(),
            tenant_id: tenant.id.clone(),
            member_id: view.member(line.from).map(|m| m.id.clone()),
            service: if line.medium == "im" { "im.in" } else { "mail.in" }.into(),
            source: if line.medium == "im" { "im" } else { "smtp" }.into(),
            params: "{}".into(),
            state: "received".into(),
            reason: None,
            admission: None,
            dedupe: None,
            attempts: 0,
            at: at(line).0,
            ended_at: None,
        });
        set.ended.push(Ended {
            id: transaction.clone(),
            state: "done",
            reason: None,
            at: at(line).0,
        });
        let seq = at(line).0 * 1_000;
        if line.from == a.0 {
            seen = seq;
        }
        if let Some((name, media_type, data)) = line.file {
            let blob = store.keep_blob(&tenant.id, bytes::Bytes::from_static(data)).await?;
            set.once_attachments.push(rows::Attachment {
                id: AttachmentId::new(at(line), chance).into(),
                tenant_id: tenant.id.clone(),
                message_id: id.as_str().to_owned(),
                position: 0,
                name: name.to_owned(),
                media_type: media_type.to_owned(),
                size: i64::try_from(data.len()).unwrap_or(0),
                hash: blob.hash.clone(),
                content_id: None,
            });
            set.once_blobs.push(blob);
        }
        set.once_messages.push(rows::Message {
            id: id.into(),
            tenant_id: tenant.id.clone(),
            conversation_id: conversation.clone(),
            seq,
            medium: line.medium.to_owned(),
            from_person: line.from.to_owned(),
            from_name: name.to_owned(),
            to_list: serde_json::json!([{"name": other.1, "address": other.0}]).to_string(),
            cc_list: "[]".into(),
            subject: story.subject.to_owned(),
            text: line.text.to_owned(),
            quoted: None,
            html_hash: None,
            raw_hash: None,
            message_id: message_id.clone(),
            in_reply_to: before.clone(),
            refs: "[]".into(),
            verdict: None,
            held: None,
            automatic: false,
            transaction_id: transaction,
            at: at(line).0,
        });
        before = Some(message_id);
    }
    for (person, name) in [a, b] {
        let medium =
            story.lines.iter().rev().find(|l| l.from == person).map_or("email", |l| l.medium);
        set.put_participants.push(rows::Participant {
            conversation_id: conversation.clone(),
            tenant_id: tenant.id.clone(),
            person: person.to_owned(),
            name: name.to_owned(),
            member_id: view.member(person).map(|m| m.id.clone()),
            token: chance.token(),
            last_medium: medium.to_owned(),
            last_at: last.0,
            read_seq: seen,
            told_seq: 0,
            history_seq: 0,
        });
    }
    Ok(set)
}
