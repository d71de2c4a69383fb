//! Signing in and out.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, http::header, web::Query};
use serde::Deserialize;

use super::{
    Failure, Portal, answer,
    cookies::Jar,
    form::{MemberForm, VisitorForm},
    who::{self, Visitor},
};
use crate::pages::{
    Who,
    sign_in::{DemoHint, DemoLogin, SignInView},
};

/// Wrong passwords of one account from one peer in a minute.
const FROM_ONE_PEER: u32 = 10;
/// Wrong passwords of one account from anywhere in a minute.
const FOR_ONE_ACCOUNT: u32 = 60;
/// Wrong passwords of all accounts from one peer in a minute.
const FROM_A_PEER: u32 = 300;

/// What the sign-in page is asked with.
#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: String,
}

/// `GET /sign-in`.
pub(super) async fn show(
    req: HttpRequest,
    visitor: Visitor,
    asked: Query<Asked>,
) -> Result<HttpResponse, Failure> {
    let next = own_path(&asked.next);
    if who::member_of(&req).await?.is_some() {
        return Ok(answer::see(next));
    }
    Ok(visitor.keep(answer::page(&view(&visitor, "", None, next))))
}

/// `POST /sign-in`. The answer is the same whether the address or the password is wrong.
pub(super) async fn enter(req: HttpRequest, form: VisitorForm) -> Result<HttpResponse, Failure> {
    let VisitorForm { visitor, fields } = form;
    let portal = &visitor.portal;
    let email = fields.line("email").to_ascii_lowercase();
    let next = own_path(fields.get("next"));
    let peer = req.peer_addr().map(|p| p.ip().to_string()).unwrap_or_default();
    if email.len() > 320 || fields.get("password").len() > 1_000 {
        return Err(Failure::Bad("An email address has at most 320 characters, a password 1,000."));
    }
    // Behind a proxy all have one peer: it alone has the widest bound.
    let keys = [
        (format!("{email} {peer}"), FROM_ONE_PEER),
        (format!("account {email}"), FOR_ONE_ACCOUNT),
        (format!("peer {peer}"), FROM_A_PEER),
    ];
    if !portal.failures.begin(&keys, portal.gateway.now()) {
        return Err(Failure::TooMuch);
    }
    let gateway = &portal.gateway;
    let Some((_, member)) = gateway.sign_in(&email, fields.get("password")).await? else {
        let error = "The address or the password is wrong.".to_owned();
        let page = view(&visitor, &email, Some(error), next);
        return Ok(visitor.keep(answer::page_as(StatusCode::UNPROCESSABLE_ENTITY, &page)));
    };
    portal.failures.give_back(&keys);
    let public_url = &gateway.config.public_url;
    // Whatever session the browser came with ends here.
    if let Some(old) = Jar::Session.read(&req, public_url) {
        gateway.store.end_session(crate::sign_in::secret_hash(&old)).await?;
    }
    let agent =
        req.headers().get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let token = gateway.open_session(&member, agent).await?;
    let mut response = answer::see(next);
    // Token and name are made of letters, digits, dashes and underscores, which is all that could fail.
    let _ = response.add_cookie(&Jar::Session.with(token, public_url));
    let _ = response.add_cookie(&Jar::Visitor.without(public_url));
    Ok(response)
}

/// `POST /sign-out`.
pub(super) async fn leave(form: MemberForm) -> Result<HttpResponse, Failure> {
    let me = form.me;
    me.portal.gateway.store.end_session(me.session.hash.clone()).await?;
    let mut response = answer::see("/sign-in");
    let _ = response.add_cookie(&Jar::Session.without(&me.portal.gateway.config.public_url));
    response.headers_mut().insert(
        header::HeaderName::from_static("clear-site-data"),
        header::HeaderValue::from_static("\"storage\""),
    );
    Ok(response)
}

fn view(visitor: &Visitor, email: &str, error: Option<String>, next: &str) -> SignInView {
    SignInView {
        frame: visitor.frame(Who::Visitor, None),
        email: email.to_owned(),
        error,
        next: next.to_owned(),
        demo: demo(&visitor.portal),
    }
}

fn demo(portal: &Portal) -> Option<DemoHint> {
    let logins = &portal.gateway.config.demo_logins;
    if logins.is_empty() {
        return None;
    }
    let directory = portal.gateway.store.directory();
    let logins = logins
        .iter()
        .filter_map(|(email, password)| {
            let (tenant, member) = directory.members_called(email).next()?;
            Some(DemoLogin {
                name: member.name.clone(),
                tenant: tenant.tenant.name.clone(),
                email: email.clone(),
                password: password.clone(),
            })
        })
        .collect();
    Some(DemoHint { logins })
}

/// Where to go on: a path here, or the inbox. `//host` and `/\host` lead elsewhere.
fn own_path(next: &str) -> &str {
    let inside = next.starts_with('/')
        && !next[1..].starts_with(['/', '\\'])
        && next.len() <= 2_000
        && !next.chars().any(|c| c.is_control() || c == '\\' || c.is_whitespace());
    if inside { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn signing_in_leads_nowhere_but_here() {
        for bad in [
            "",
            "//evil.test",
            "/\\evil.test",
            "https://evil.test",
            "javascript:x",
            "/a\r\nSet-Cookie: x",
            "evil",
        ] {
            assert_eq!(own_path(bad), "/", "{bad:?}");
        }
        assert_eq!(own_path("/contacts?add=bob@acme.test"), "/contacts?add=bob@acme.test");
    }
}
