//! Outbound mail that is kept instead of being sent, to be looked at: of the member's tenant, or
//! in the demo of all of them.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{Path, Query},
};
use bytes::Bytes;
use isthmus_domain::{clock::Millis, ids::OutboundId};
use isthmus_mail::mime::{self, Mailbox};
use isthmus_store::{Page, rows};
use serde::Deserialize;

use super::{
    Failure, answer, files,
    who::{self, Me, Visitor},
};
use crate::pages::{
    Frame, Who,
    dev_mail::{DevFile, DevMailRow, DevMailView, DevMailsView},
    message::Html,
};

/// Mails of one page.
const PAGE: u64 = 50;

/// What the list is asked with.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    cursor: Option<String>,
}

/// Who looks, and at whose mail.
struct Eyes {
    me: Option<Me>,
    tenants: Vec<String>,
}

async fn eyes(req: &HttpRequest, visitor: &Visitor) -> Result<Eyes, Failure> {
    let config = &visitor.portal.gateway.config;
    if !config.keeps_mail {
        return Err(Failure::NotFound);
    }
    let me = who::member_of(req).await?;
    let tenants = match &me {
        Some(me) => vec![me.tenant_id().to_owned()],
        None if !config.demo_logins.is_empty() => {
            visitor.portal.gateway.store.directory().all().map(|t| t.tenant.id.clone()).collect()
        }
        None => return Err(Failure::SignIn("/dev/mail".to_owned())),
    };
    Ok(Eyes { me, tenants })
}

async fn frame(eyes: &Eyes, visitor: &Visitor) -> Result<Frame, Failure> {
    Ok(match &eyes.me {
        Some(me) => me.frame().await?,
        None => {
            // Of several tenants one: their mails are in one list.
            let directory = visitor.portal.gateway.store.directory();
            let tenant = eyes.tenants.iter().min().and_then(|id| directory.tenant(id));
            visitor.frame(Who::Visitor, tenant.map(std::sync::Arc::as_ref))
        }
    })
}

/// `GET /dev/mail`.
pub(super) async fn list(
    req: HttpRequest,
    visitor: Visitor,
    asked: Query<Asked>,
) -> Result<HttpResponse, Failure> {
    let eyes = eyes(&req, &visitor).await?;
    let before = asked.cursor.clone().filter(|c| c.parse::<OutboundId>().is_ok());
    let page = Page { before, limit: PAGE + 1 };
    let mut all = Vec::new();
    for tenant in &eyes.tenants {
        all.extend(visitor.portal.gateway.store.of(tenant).outbound(&page).await?);
    }
    all.sort_by(|a, b| b.id.cmp(&a.id));
    let more = all.len() > 50;
    all.truncate(50);
    let next = all.last().filter(|_| more).map(|m| m.id.clone());
    let rows = all
        .into_iter()
        .filter_map(|m| {
            let id = m.id.parse().ok()?;
            Some(DevMailRow { id, to: m.rcpt, subject: m.subject, at: Millis(m.created_at) })
        })
        .collect();
    let frame = frame(&eyes, &visitor).await?;
    Ok(visitor.keep(answer::page(&DevMailsView { frame, rows, next })))
}

async fn find(
    eyes: &Eyes,
    visitor: &Visitor,
    id: &str,
) -> Result<(rows::Outbound, Bytes), Failure> {
    let store = &visitor.portal.gateway.store;
    let row = store.outbound_called(id).await?;
    let row = row
        .filter(|r| r.id == id && eyes.tenants.contains(&r.tenant_id))
        .ok_or(Failure::NotFound)?;
    let raw = files::octets(store.of(&row.tenant_id), &row.raw_hash).await?;
    Ok((row, raw))
}

/// `GET /dev/mail/ID`.
pub(super) async fn one(
    req: HttpRequest,
    visitor: Visitor,
    id: Path<String>,
) -> Result<HttpResponse, Failure> {
    let eyes = eyes(&req, &visitor).await?;
    let (row, raw) = find(&eyes, &visitor, &id).await?;
    let parsed = mime::parse(&raw).map_err(|_| Failure::Bad("This mail cannot be read."))?;
    let people = |all: &[Mailbox]| all.iter().map(written).collect::<Vec<_>>().join(", ");
    let headers = [
        ("From", written(&parsed.from)),
        ("To", people(&parsed.to)),
        ("Cc", people(&parsed.cc)),
        ("Reply-To", people(&parsed.reply_to)),
        ("Envelope", format!("from <{}> to <{}>", row.mail_from, row.rcpt)),
        ("Message-ID", parsed.message_id.clone().unwrap_or_default()),
        ("In-Reply-To", parsed.in_reply_to.join(" ")),
    ];
    let view = DevMailView {
        frame: frame(&eyes, &visitor).await?,
        id: row.id.parse().map_err(|_| Failure::NotFound)?,
        at: Millis(row.created_at),
        subject: parsed.subject.clone(),
        headers: headers
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        text: parsed.full_text,
        html: if parsed.html.is_some() { Html::Available } else { Html::None },
        files: parsed
            .attachments
            .into_iter()
            .map(|f| DevFile { name: f.name, size: f.data.len() as u64 })
            .collect(),
    };
    Ok(visitor.keep(answer::page(&view)))
}

fn written(mailbox: &Mailbox) -> String {
    match &mailbox.name {
        Some(name) => format!("{name} <{}>", mailbox.email),
        None => mailbox.email.to_string(),
    }
}

/// `GET /dev/mail/ID/html`.
pub(super) async fn html(
    req: HttpRequest,
    visitor: Visitor,
    id: Path<String>,
) -> Result<HttpResponse, Failure> {
    let eyes = eyes(&req, &visitor).await?;
    let (_, raw) = find(&eyes, &visitor, &id).await?;
    let parsed = mime::parse(&raw).map_err(|_| Failure::Bad("This mail cannot be read."))?;
    Ok(answer::mail_html(parsed.html.ok_or(Failure::NotFound)?))
}

/// `GET /dev/mail/ID/raw`.
pub(super) async fn raw(
    req: HttpRequest,
    visitor: Visitor,
    id: Path<String>,
) -> Result<HttpResponse, Failure> {
    let eyes = eyes(&req, &visitor).await?;
    let (row, raw) = find(&eyes, &visitor, &id).await?;
    Ok(answer::download(&format!("{}.eml", row.id), "message/rfc822", raw))
}
