//! The link to a whole conversation, `/c/TOKEN`: a one-time code goes to the participant's own
//! address, and whoever enters it may read along.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web::Path};
use isthmus_domain::{clock::Millis, service::Code, signed::Opens};
use isthmus_store::{ChangeSet, TenantView, blob_hash, rows};

use super::{
    Failure, answer,
    cookies::Jar,
    form::{VisitorForm, same},
    transcript,
    who::{self, Visitor},
    work::{Ended, sentence},
};
use crate::{
    accept::NewTransaction,
    pages::{
        Notice, Who,
        open::{OpenStage, OpenView},
    },
};

/// Wrong codes until another one must be sent.
const ATTEMPTS: i64 = 5;
/// Codes for one link until an hour of silence; the router holds to it.
const CODES: i64 = 5;
/// How long a code counts; the router holds to it too.
const CODE_MS: i64 = 600_000;
/// The silence after which the codes are counted anew.
const PAUSE_MS: i64 = 3_600_000;
/// How long a browser may read after the code was entered.
const READING_MS: i64 = 12 * 3_600_000;

/// A link that works, with its tenant.
pub(super) async fn alive(
    visitor: &Visitor,
    token: &str,
) -> Result<Option<(rows::Link, Arc<TenantView>)>, Failure> {
    let gateway = &visitor.portal.gateway;
    if token.len() > 64 {
        return Ok(None);
    }
    let link = gateway.store.link(token).await?.filter(|l| l.expires_at > gateway.now().0);
    Ok(link.and_then(|l| gateway.store.directory().tenant(&l.tenant_id).cloned().map(|t| (l, t))))
}

/// Whether this browser has entered the code of this link.
pub(super) fn may_read(req: &HttpRequest, visitor: &Visitor, link: &rows::Link) -> bool {
    let gateway = &visitor.portal.gateway;
    let Some(cookie) = Jar::Transcript.read(req, &gateway.config.public_url) else { return false };
    matches!(gateway.links.read(&cookie, gateway.now()), Ok(Opens::Transcript { link: l }) if l == link.token)
}

/// `GET /c/TOKEN`.
pub(super) async fn show(
    req: HttpRequest,
    visitor: Visitor,
    token: Path<String>,
) -> Result<HttpResponse, Failure> {
    let Some((link, tenant)) = alive(&visitor, &token).await? else {
        return Ok(visitor.keep(page(&visitor, None, &token, OpenStage::Gone)));
    };
    // A member who takes part has the conversation itself.
    if let Some(me) = who::member_of(&req).await?
        && me.tenant_id() == link.tenant_id
        && super::conversation::Talk::of(&me, &link.conversation_id).await.is_ok()
    {
        return Ok(answer::see(&format!("/conversations/{}", link.conversation_id)));
    }
    if may_read(&req, &visitor, &link) {
        return transcript::page(&visitor, &tenant, &link).await;
    }
    let stage = stage(&visitor, &link, None);
    Ok(visitor.keep(page(&visitor, Some(&tenant), &token, stage)))
}

fn page(
    visitor: &Visitor,
    tenant: Option<&TenantView>,
    token: &str,
    stage: OpenStage,
) -> HttpResponse {
    let frame = visitor.frame(Who::Visitor, tenant);
    let view = OpenView { frame, token: token.to_owned(), stage };
    match view.stage {
        OpenStage::Gone => answer::page_as(actix_web::http::StatusCode::NOT_FOUND, &view),
        _ => answer::page(&view),
    }
}

/// How far somebody has got with a link.
fn stage(visitor: &Visitor, link: &rows::Link, error: Option<String>) -> OpenStage {
    let now = visitor.portal.gateway.now().0;
    let hidden = hidden(&link.address);
    let until = link.code_until.unwrap_or(0);
    let pause_ends = until - CODE_MS + PAUSE_MS;
    if link.attempts >= ATTEMPTS && link.sent >= CODES && now < pause_ends {
        return OpenStage::Locked { until: Millis(pause_ends) };
    }
    if link.code_hash.is_some() && until > now {
        let used_up = (link.attempts >= ATTEMPTS).then(|| {
            "Too many wrong codes: this one does not work any more. Ask for another.".to_owned()
        });
        return OpenStage::Enter { hidden, expires: Millis(until), error: used_up.or(error) };
    }
    OpenStage::Ask { hidden }
}

/// `b…@customer.test`: enough for its owner to know it.
fn hidden(address: &str) -> String {
    let address = address.split_once(':').map_or(address, |(_, a)| a);
    match address.split_once('@') {
        Some((local, domain)) => format!("{}…@{domain}", local.chars().take(1).collect::<String>()),
        None => "…".to_owned(),
    }
}

/// `POST /c/TOKEN/code`.
pub(super) async fn send(token: Path<String>, form: VisitorForm) -> Result<HttpResponse, Failure> {
    let visitor = form.visitor;
    let portal = &visitor.portal;
    let Some((link, tenant)) = alive(&visitor, &token).await? else {
        return Ok(visitor.keep(page(&visitor, None, &token, OpenStage::Gone)));
    };
    if !portal.codes.allows(&link.token, portal.gateway.now()) {
        return Err(Failure::TooMuch);
    }
    let new = NewTransaction {
        tenant: &tenant.tenant.id,
        member: None,
        service: "code",
        source: "portal",
        params: &Code { link: link.token.clone() },
        dedupe: None,
    };
    let notice = match portal.act(new, ChangeSet::default()).await? {
        Ended::Done => Notice::Done("The code is on its way.".to_owned()),
        Ended::Open => Notice::Done(
            "The code is on its way. Load this page again when you have it.".to_owned(),
        ),
        Ended::Not(reason) => Notice::Failed(sentence(&reason)),
    };
    portal.say(visitor.name(), notice);
    Ok(answer::see(&format!("/c/{}", link.token)))
}

/// `POST /c/TOKEN`: the code. An attempt is counted before the code is looked at.
pub(super) async fn enter(token: Path<String>, form: VisitorForm) -> Result<HttpResponse, Failure> {
    let VisitorForm { visitor, fields } = form;
    let portal = &visitor.portal;
    let gateway = &portal.gateway;
    let Some((link, tenant)) = alive(&visitor, &token).await? else {
        return Ok(visitor.keep(page(&visitor, None, &token, OpenStage::Gone)));
    };
    if !portal.codes.allows(&link.token, gateway.now()) {
        return Err(Failure::TooMuch);
    }
    let code: String = fields.get("code").chars().filter(|c| !c.is_whitespace()).take(12).collect();
    let tried = gateway.store.take_code_attempt(&link.token, ATTEMPTS).await?;
    let good = tried.as_ref().is_some_and(|link| {
        let given = blob_hash(format!("{}:{code}", link.token).as_bytes());
        link.code_until.is_some_and(|until| until > gateway.now().0)
            && link.code_hash.as_deref().is_some_and(|hash| same(hash, &given))
    });
    if !good {
        let now = gateway.store.link(&link.token).await?.unwrap_or(link);
        let left = (ATTEMPTS - now.attempts).max(0);
        let left = crate::pages::words::count(left, "attempt");
        let error =
            format!("That is not the code that we sent, or it is too old. You have {left} left.");
        let stage = stage(&visitor, &now, Some(error));
        return Ok(visitor.keep(page(&visitor, Some(&tenant), &token, stage)));
    }
    // One code opens once.
    let used = rows::Link { code_hash: None, attempts: 0, ..tried.unwrap_or_else(|| link.clone()) };
    gateway.store.commit(ChangeSet { put_links: vec![used], ..ChangeSet::default() }).await?;
    let until = gateway.now().plus_ms(READING_MS).0.min(link.expires_at);
    let cookie = gateway.links.sign(Opens::Transcript { link: link.token.clone() }, Millis(until));
    let mut response = answer::see(&format!("/c/{}", link.token));
    // A signed token is made of letters, digits, dashes, underscores and dots.
    let _ = response.add_cookie(&Jar::Transcript.with(cookie, &gateway.config.public_url));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::hidden;

    #[test]
    fn an_address_is_hidden_from_whoever_found_the_link() {
        assert_eq!(hidden("bob@customer.test"), "b…@customer.test");
        assert_eq!(hidden("xmpp:bob@chat.test"), "b…@chat.test");
    }
}
