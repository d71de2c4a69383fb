//! The signed links of questions, `/d/TOKEN`: looking shows the question, only the button acts,
//! so that a mail program that follows links decides nothing.

use std::sync::Arc;

use actix_web::{HttpResponse, web::Path};
use isthmus_domain::{
    address::Email,
    clock::Millis,
    delivery::{Choice, State},
    service::{Confirm, Decision, MailIn},
    signed::{BadLink, Opens},
};
use isthmus_store::{ChangeSet, TenantView, rows};

use super::{Failure, answer, form::VisitorForm, people, timeline, who::Visitor, work::Ended};
use crate::{
    accept::NewTransaction,
    pages::{
        Frame, Notice, Who,
        confirm::{ConfirmKind, ConfirmState, ConfirmView},
        decide::{DecideState, DecideView},
        words::{Action, Policy},
    },
};

/// Characters of the message that is shown.
const EXCERPT: usize = 600;
/// Octets of a held mail that is read for its page.
const MAIL: u64 = 2_000_000;

/// What a link leads to.
enum Found {
    Question {
        tenant: Arc<TenantView>,
        member: rows::Member,
        all: Vec<rows::Delivery>,
        choice: Choice,
    },
    Confirmation {
        tenant: Arc<TenantView>,
        member: rows::Member,
        row: rows::Confirmation,
    },
    Nothing,
}

async fn find(visitor: &Visitor, token: &str) -> Result<Found, Failure> {
    let gateway = &visitor.portal.gateway;
    let opens = match gateway.links.read(token, gateway.now()) {
        Ok(opens) => opens,
        Err(BadLink::Expired) => return Err(Failure::Gone),
        Err(BadLink::Forged) => return Ok(Found::Nothing),
    };
    let directory = gateway.store.directory();
    match opens {
        Opens::Decide { question, choice } => {
            let all = gateway.store.question(&question).await?;
            let Some(first) = all.first() else { return Ok(Found::Nothing) };
            let tenant = directory.tenant(&first.tenant_id).cloned();
            let member = first
                .member_id
                .as_deref()
                .zip(tenant.as_ref())
                .and_then(|(id, t)| t.member_by_id(id));
            Ok(match (tenant.clone(), member, choice.parse()) {
                (Some(tenant), Some(member), Ok(choice)) => {
                    Found::Question { member: member.clone(), tenant, all, choice }
                }
                _ => Found::Nothing,
            })
        }
        Opens::Confirm { token } => {
            let Some(row) = gateway.store.confirmation(&token).await? else {
                return Ok(Found::Nothing);
            };
            let tenant = directory.tenant(&row.tenant_id).cloned();
            Ok(match tenant.as_ref().and_then(|t| t.member_by_id(&row.member_id)) {
                Some(member) => {
                    let member = member.clone();
                    // `member` came out of it.
                    tenant.map_or(Found::Nothing, |tenant| Found::Confirmation {
                        tenant,
                        member,
                        row,
                    })
                }
                None => Found::Nothing,
            })
        }
        Opens::File { .. } | Opens::Transcript { .. } | Opens::Chat { .. } => Ok(Found::Nothing),
    }
}

/// `GET /d/TOKEN`.
pub(super) async fn show(visitor: Visitor, token: Path<String>) -> Result<HttpResponse, Failure> {
    let page = match find(&visitor, &token).await? {
        Found::Question { tenant, member, all, choice } => {
            let state = question(&visitor, &tenant, &member, &all, choice).await?;
            decide_page(visitor.frame(Who::Visitor, Some(&tenant)), &token, state)
        }
        Found::Confirmation { tenant, row, .. } => {
            let state = confirmation(&visitor, &tenant, &row).await?;
            confirm_page(visitor.frame(Who::Visitor, Some(&tenant)), &token, state)
        }
        Found::Nothing => {
            decide_page(visitor.frame(Who::Visitor, None), &token, DecideState::Unknown)
        }
    };
    Ok(visitor.keep(page))
}

fn decide_page(frame: Frame, token: &str, state: DecideState) -> HttpResponse {
    answer::page(&DecideView { frame, token: token.to_owned(), state })
}

fn confirm_page(frame: Frame, token: &str, state: ConfirmState) -> HttpResponse {
    answer::page(&ConfirmView { frame, token: token.to_owned(), state })
}

fn is_open(row: &rows::Delivery) -> bool {
    matches!(row.state.as_str(), "awaiting_decision" | "retrying")
}

async fn question(
    visitor: &Visitor,
    tenant: &TenantView,
    member: &rows::Member,
    all: &[rows::Delivery],
    choice: Choice,
) -> Result<DecideState, Failure> {
    let Some(first) = all.iter().find(|d| is_open(d)).or(all.first()) else {
        return Ok(DecideState::Unknown);
    };
    let about = people::party(tenant, &first.person, &first.person);
    let state = serde_json::from_str::<State>(&first.data).ok();
    let (deadline, then) = match state {
        Some(State::AwaitingDecision { deadline, .. }) => {
            (deadline, people::policy_for(tenant, member, &first.person))
        }
        Some(State::Retrying { expires, .. }) => (expires, Policy::Ask),
        Some(State::Delivered { at, .. }) => return Ok(DecideState::Arrived { about, at }),
        Some(state) => return Ok(settled(first, member, about, state)),
        None => return Ok(DecideState::Unknown),
    };
    let message =
        visitor.portal.gateway.store.of(&first.tenant_id).message(&first.message_id).await?;
    let excerpt = message.as_ref().map(|m| people::excerpt_of(m, EXCERPT)).unwrap_or_default();
    let written = Millis(message.map_or(first.created_at, |m| m.at));
    let mut others = timeline::options(&first.person);
    if first.state == "retrying" {
        others.retain(|a| *a != Action::Retry);
        return Ok(DecideState::Trying { about, excerpt, written, until: deadline, others });
    }
    let chosen =
        Some(people::action(choice)).filter(|c| others.contains(c)).unwrap_or(Action::Retry);
    others.retain(|a| *a != chosen);
    Ok(DecideState::Open { about, excerpt, written, deadline, then, chosen, others })
}

fn settled(
    row: &rows::Delivery,
    reader: &rows::Member,
    about: crate::pages::words::Party,
    state: State,
) -> DecideState {
    let (action, at, by) = match state {
        State::Aborted { at, by } => (Action::Abort, at, by),
        State::BecameEmail { at, by, .. } => (Action::Email, at, by),
        _ => (Action::Retry, Millis(row.created_at), String::new()),
    };
    let by = if by.is_empty() { reader.name.clone() } else { by };
    DecideState::Already { about, action, by: timeline::decider(reader, &by), at }
}

async fn confirmation(
    visitor: &Visitor,
    tenant: &TenantView,
    row: &rows::Confirmation,
) -> Result<ConfirmState, Failure> {
    let gateway = &visitor.portal.gateway;
    if row.state != "open" || row.expires_at <= gateway.now().0 {
        return Ok(ConfirmState::Over);
    }
    let Ok(mail) = serde_json::from_str::<MailIn>(&row.data) else { return Ok(ConfirmState::Over) };
    let raw = if mail.size <= MAIL {
        gateway.store.of(&row.tenant_id).blob(&mail.raw).await?
    } else {
        None
    };
    let parsed = raw.and_then(|raw| isthmus_mail::mime::parse(&raw).ok());
    let kind = if row.kind == "forward" { ConfirmKind::Forward } else { ConfirmKind::Reply };
    let forwarded =
        parsed.as_ref().and_then(|p| p.forwarded.as_ref()).filter(|_| kind == ConfirmKind::Forward);
    let from =
        forwarded.and_then(|f| f.from.clone()).or_else(|| parsed.as_ref().map(|p| p.from.clone()));
    let text = forwarded.map(|f| f.comment.as_str()).or(parsed.as_ref().map(|p| p.text.as_str()));
    let unknown = || mail.mail_from.as_ref().map(Email::key).unwrap_or_default();
    Ok(ConfirmState::Open {
        kind,
        from: match from {
            Some(from) => {
                people::party(tenant, &from.email.key(), from.name.as_deref().unwrap_or_default())
            }
            None => people::party(tenant, &unknown(), ""),
        },
        subject: parsed.as_ref().map(|p| p.subject.clone()).unwrap_or_default(),
        excerpt: people::excerpt(text.unwrap_or_default(), EXCERPT),
        expires: Millis(row.expires_at),
    })
}

/// `POST /d/TOKEN`.
pub(super) async fn act(token: Path<String>, form: VisitorForm) -> Result<HttpResponse, Failure> {
    let VisitorForm { visitor, fields } = form;
    let page = match find(&visitor, &token).await? {
        Found::Question { tenant, member, all, .. } => {
            let choice = fields.get("action").parse::<Choice>();
            let choice = choice.map_err(|_| Failure::Bad("There is no such answer."))?;
            let Some(first) = all.iter().find(|d| is_open(d)) else {
                return show(visitor, token).await;
            };
            let params =
                Decision { delivery_id: first.id.clone(), action: choice, by: member.name.clone() };
            let about = people::party(&tenant, &first.person, &first.person);
            match decided(&visitor, &tenant, &member, &params).await? {
                Ended::Done | Ended::Open => {
                    let state = DecideState::Done { about, action: people::action(choice) };
                    decide_page(visitor.frame(Who::Visitor, Some(&tenant)), &token, state)
                }
                Ended::Not(reason) => return refused(visitor, token, &reason).await,
            }
        }
        Found::Confirmation { tenant, member, row } => {
            if fields.get("action") != "allow" || row.state != "open" {
                return show(visitor, token).await;
            }
            let params = Confirm { confirmation: row.token.clone(), by: member.name.clone() };
            match decided(&visitor, &tenant, &member, &params).await? {
                Ended::Done | Ended::Open => {
                    let frame = visitor.frame(Who::Visitor, Some(&tenant));
                    confirm_page(frame, &token, ConfirmState::Done)
                }
                Ended::Not(reason) => return refused(visitor, token, &reason).await,
            }
        }
        Found::Nothing => {
            decide_page(visitor.frame(Who::Visitor, None), &token, DecideState::Unknown)
        }
    };
    Ok(visitor.keep(page))
}

async fn refused(
    visitor: Visitor,
    token: Path<String>,
    reason: &str,
) -> Result<HttpResponse, Failure> {
    let words = format!("That was not possible. {}", super::work::sentence(reason));
    visitor.portal.say(visitor.name(), Notice::Failed(words));
    show(visitor, token).await
}

async fn decided<P: serde::Serialize>(
    visitor: &Visitor,
    tenant: &TenantView,
    member: &rows::Member,
    params: &P,
) -> Result<Ended, Failure> {
    let new = NewTransaction {
        tenant: &tenant.tenant.id,
        member: Some(&member.id),
        service: "decision",
        source: "portal",
        params,
        dedupe: None,
    };
    Ok(visitor.portal.act(new, ChangeSet::default()).await?)
}
