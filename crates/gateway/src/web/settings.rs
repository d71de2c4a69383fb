//! A member's own settings.

use actix_web::{HttpResponse, web::Path};
use isthmus_domain::{clock::Millis, ids::SessionId};
use isthmus_store::rows;

use super::{Failure, addresses, answer, contacts, form::MemberForm, people, who::Me};
use crate::pages::{
    contacts::AddressRow,
    settings::{Notices, SessionRow, SettingsView, Whose},
    words::{Grounds, Medium, Policy, Verification},
};

/// `GET /settings`.
pub(super) async fn show(me: Me) -> Result<HttpResponse, Failure> {
    Ok(answer::page(&view(&me, None).await?))
}

/// The page, with an address that was refused.
pub(super) async fn view(
    me: &Me,
    refused: Option<(String, String)>,
) -> Result<SettingsView, Failure> {
    let own = AddressRow {
        mapping: None,
        medium: Medium::Email,
        address: me.member.email.clone(),
        state: Verification::Verified { at: Millis(me.member.created_at), how: Grounds::Operator },
    };
    let mut addresses = vec![own];
    addresses.extend(addresses::rows(&me.tenant, &me.member.email));
    let mut sessions: Vec<SessionRow> =
        sessions(me).await?.iter().map(|s| session(me, s)).collect();
    sessions.sort_by_key(|s| s.whose == Whose::Other);
    Ok(SettingsView {
        frame: me.frame().await?,
        name: me.member.name.clone(),
        addresses,
        refused,
        bridge_im: me.tenant.tenant.bridge_domain.clone(),
        policy: people::policy(me.member.policy.as_deref()).unwrap_or(Policy::Ask),
        deadline: people::span_words(me.portal.times.decision_deadline_ms),
        notices: if me.member.notices { Notices::On } else { Notices::Off },
        sessions,
    })
}

async fn sessions(me: &Me) -> Result<Vec<rows::Session>, Failure> {
    let now = me.portal.gateway.now().0;
    let all = me.portal.gateway.store.sessions_of(me.tenant_id(), &me.member.id).await?;
    Ok(all.into_iter().filter(|s| s.expires_at > now).take(100).collect())
}

/// A session's name on the page; its key stays here.
fn session_id(row: &rows::Session) -> SessionId {
    SessionId::derived(Millis(row.created_at), &[row.hash.as_bytes()])
}

fn session(me: &Me, row: &rows::Session) -> SessionRow {
    SessionRow {
        id: session_id(row),
        device: device(&row.agent),
        since: Millis(row.created_at),
        used: Millis(row.seen_at),
        whose: if row.hash == me.session.hash { Whose::This } else { Whose::Other },
    }
}

/// `Firefox on Linux`: what a browser calls itself, in words.
fn device(agent: &str) -> String {
    let find = |names: &[(&str, &'static str)]| {
        names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, n)| *n)
    };
    // Most browsers name those that they want to be taken for as well; the particular ones first.
    let browser = find(&[
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ]);
    let system = find(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => "A browser".to_owned(),
    }
}

async fn save(me: &Me, member: rows::Member) -> Result<HttpResponse, Failure> {
    me.portal.gateway.store.put_member(member).await?;
    me.done("Saved.");
    Ok(answer::see("/settings"))
}

/// `POST /settings/name`.
pub(super) async fn name(form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    match contacts::name(fields.line("name")) {
        Ok(name) if !name.is_empty() => save(&me, rows::Member { name, ..me.member.clone() }).await,
        Ok(_) => {
            me.failed("A name needs at least one character. Nothing was changed.");
            Ok(answer::see("/settings"))
        }
        Err(why) => {
            me.failed(&why);
            Ok(answer::see("/settings"))
        }
    }
}

/// `POST /settings/policy`.
pub(super) async fn policy(form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    let policy = people::policy_value(fields.get("policy"))
        .ok_or(Failure::Bad("There is no such policy."))?;
    save(&me, rows::Member { policy, ..me.member.clone() }).await
}

/// `POST /settings/notices`.
pub(super) async fn notices(form: MemberForm) -> Result<HttpResponse, Failure> {
    let MemberForm { me, fields } = form;
    save(&me, rows::Member { notices: fields.get("notices") != "off", ..me.member.clone() }).await
}

/// `POST /sessions/ID/end`.
pub(super) async fn end(id: Path<String>, form: MemberForm) -> Result<HttpResponse, Failure> {
    let me = form.me;
    let found = sessions(&me).await?.into_iter().find(|s| session_id(s).as_str() == id.as_str());
    let session = found.ok_or(Failure::NotFound)?;
    me.portal.gateway.store.end_session(session.hash).await?;
    me.done("Signed out there.");
    Ok(answer::see("/settings"))
}

/// `POST /sessions/end-others`.
pub(super) async fn end_others(form: MemberForm) -> Result<HttpResponse, Failure> {
    let me = form.me;
    for session in sessions(&me).await? {
        if session.hash != me.session.hash {
            me.portal.gateway.store.end_session(session.hash).await?;
        }
    }
    me.done("Signed out everywhere else.");
    Ok(answer::see("/settings"))
}

#[cfg(test)]
mod tests {
    use super::device;

    #[test]
    fn browsers_are_named_as_people_name_them() {
        assert_eq!(
            device("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
            "Firefox on Linux"
        );
        let edge =
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0";
        assert_eq!(device(edge), "Edge on Windows");
        assert_eq!(device("<script>"), "A browser");
    }
}
