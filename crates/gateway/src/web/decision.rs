//! Decisions on the pages of a conversation: about a delivery, and about a mail that was held back.

use actix_web::{HttpResponse, web::Path};
use isthmus_domain::{delivery::Choice, ids::ConversationId, service::Decision};
use isthmus_store::{ChangeSet, rows};

use super::{
    Failure, answer,
    conversation::Talk,
    form::{Fields, MemberForm},
    who::Me,
    work::{Ended, sentence},
};
use crate::{
    accept::NewTransaction,
    held::{Asker, Way},
};

/// Where a form leads back to: a conversation, or the inbox.
fn back(fields: &Fields) -> String {
    match fields.get("back").parse::<ConversationId>() {
        Ok(id) => format!("/conversations/{id}"),
        Err(_) => "/".to_owned(),
    }
}

/// `POST /deliveries/ID/decision`.
pub(super) async fn decide(id: Path<String>, form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let choice: Choice =
        fields.get("action").parse().map_err(|_| Failure::Bad("There is no such answer."))?;
    let delivery = me.scope().delivery(&id).await?;
    let delivery = delivery
        .filter(|d| d.member_id.as_deref() == Some(&me.member.id))
        .ok_or(Failure::NotFound)?;
    let decision =
        Decision { delivery_id: delivery.id, action: choice, by: me.member.name.clone() };
    let ended = me.portal.act(asked(&me, &decision), ChangeSet::default()).await?;
    told(&me, ended);
    Ok(answer::see(&back(&fields)))
}

fn asked<'a>(me: &'a Me, params: &'a Decision) -> NewTransaction<'a, Decision> {
    NewTransaction {
        tenant: me.tenant_id(),
        member: Some(&me.member.id),
        service: "decision",
        source: "portal",
        params,
        dedupe: None,
    }
}

fn told(me: &Me, ended: Ended) {
    match ended {
        // The page itself shows what was decided.
        Ended::Done => {}
        Ended::Not(reason) => {
            me.failed(&format!("That was not possible any more. {}", sentence(&reason)))
        }
        Ended::Open => me.done("Your decision is accepted and takes effect in a moment."),
    }
}

/// `POST /messages/ID/held`: lets a mail in, or leaves it where it is.
pub(super) async fn held(id: Path<String>, form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let message = me.scope().message(&id).await?.ok_or(Failure::NotFound)?;
    Talk::of(&me, &message.conversation_id).await?;
    let asker = Asker {
        member: Some(&me.member),
        is_admin: matches!(me.member.role.as_str(), "owner" | "admin"),
        name: &me.member.name,
        door: "portal",
    };
    let gateway = &me.portal.gateway;
    let way = gateway.way_in(&me.tenant, &message, &asker).await?;
    match (fields.get("action"), way) {
        ("allow", Some(way)) => {
            let (row, set) = gateway.let_in(&message, way, &asker, &me.member.email);
            told(&me, me.portal.run(row, set).await?);
        }
        ("allow", None) => me.failed(
            "This mail cannot be let in here: it was decided already, its time is over, or somebody else was asked.",
        ),
        ("discard", Some(Way::Asked(waiting))) => {
            let closed = rows::Confirmation { state: "refused".into(), ..waiting };
            let set = ChangeSet { put_confirmations: vec![closed], ..ChangeSet::default() };
            me.portal.gateway.store.commit(set).await?;
            me.done("It stays held back. Nobody is told.");
        }
        ("discard", _) => me.done("It stays held back. Nobody is told."),
        _ => return Err(Failure::Bad("There is no such answer.")),
    }
    Ok(answer::see(&back(&fields)))
}
