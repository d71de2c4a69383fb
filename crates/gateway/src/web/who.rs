//! Who is looking: a member with a session, or a visitor with nothing but a cookie that their
//! forms are checked against.

use std::sync::Arc;

use actix_web::{FromRequest, HttpRequest, HttpResponse, dev::Payload, web::Data};
use futures::future::LocalBoxFuture;
use isthmus_store::{Scope, StoreError, TenantView, blob_hash, rows};

use super::{Failure, Portal, cookies::Jar};
use crate::pages::{Frame, Part, Who, Zone};

/// A member who is signed in.
pub(crate) struct Me {
    pub(crate) portal: Data<Portal>,
    pub(crate) tenant: Arc<TenantView>,
    pub(crate) member: rows::Member,
    pub(crate) session: rows::Session,
    part: Part,
}

/// Somebody of whom nothing is known.
pub(crate) struct Visitor {
    pub(crate) portal: Data<Portal>,
    token: String,
    is_new: bool,
    part: Part,
}

fn portal(req: &HttpRequest) -> Result<Data<Portal>, Failure> {
    // Registered by `Portal::configure` together with the routes.
    req.app_data::<Data<Portal>>().cloned().ok_or(Failure::NotFound)
}

fn part(req: &HttpRequest) -> Part {
    if req.headers().contains_key("x-fragment") { Part::Fragment } else { Part::Whole }
}

impl FromRequest for Me {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let req = req.clone();
        Box::pin(async move {
            let portal = portal(&req)?;
            let public_url = &portal.gateway.config.public_url;
            let found = match Jar::Session.read(&req, public_url) {
                Some(token) => portal.gateway.session(&token).await?,
                None => None,
            };
            let Some((tenant, member, session)) = found else {
                // After a form there is no page to come back to.
                let is_page = req.method() == actix_web::http::Method::GET;
                let path = req.uri().path_and_query().map_or("/", |p| p.as_str());
                return Err(Failure::SignIn(if is_page { path.to_owned() } else { String::new() }));
            };
            Ok(Self { part: part(&req), portal, tenant, member, session })
        })
    }
}

impl Me {
    /// The tenant's id.
    pub(crate) fn tenant_id(&self) -> &str {
        &self.tenant.tenant.id
    }

    /// What the member may look into.
    pub(crate) fn scope(&self) -> Scope<'_> {
        self.portal.gateway.store.of(&self.tenant.tenant.id)
    }

    /// The surroundings of a page.
    pub(crate) async fn frame(&self) -> Result<Frame, StoreError> {
        let unread = self.scope().unread(&self.member.id).await?;
        // A fragment does not swap the notice in, so it is left for the next whole page.
        let notice = match self.part {
            Part::Whole => self.portal.said(&self.session.hash),
            Part::Fragment => None,
        };
        Ok(Frame {
            part: self.part,
            csrf: self.session.csrf.clone(),
            zone: Zone::named(&self.tenant.tenant.time_zone),
            now: self.portal.gateway.now(),
            who: Who::Member {
                name: self.member.name.clone(),
                email: self.member.email.clone(),
                tenant: self.tenant.tenant.name.clone(),
                unread: u32::try_from(unread).unwrap_or(u32::MAX),
            },
            notice,
        })
    }

    /// The same member with the people of the tenant as they are after a change.
    pub(crate) fn with_newest_directory(self) -> Self {
        let directory = self.portal.gateway.store.directory();
        let newest = directory.tenant(self.tenant_id()).cloned();
        Self { tenant: newest.unwrap_or_else(|| Arc::clone(&self.tenant)), ..self }
    }

    /// Shows `words` on the next page, as something that worked.
    pub(crate) fn done(&self, words: &str) {
        self.portal.say(&self.session.hash, crate::pages::Notice::Done(words.to_owned()));
    }

    /// Shows `words` on the next page, as something that did not work.
    pub(crate) fn failed(&self, words: &str) {
        self.portal.say(&self.session.hash, crate::pages::Notice::Failed(words.to_owned()));
    }
}

impl FromRequest for Visitor {
    type Error = Failure;
    type Future = LocalBoxFuture<'static, Result<Self, Failure>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let req = req.clone();
        Box::pin(async move {
            let portal = portal(&req)?;
            let there = Jar::Visitor.read(&req, &portal.gateway.config.public_url);
            let (token, is_new) = match there {
                Some(token) => (token, false),
                None => (portal.gateway.chance.token(), true),
            };
            Ok(Self { part: part(&req), portal, token, is_new })
        })
    }
}

impl Visitor {
    /// What their forms must carry: bound to the cookie, which no other site can read or, by
    /// https, set.
    pub(crate) fn csrf(&self) -> String {
        blob_hash(format!("visitor's form {}", self.token).as_bytes())
    }

    /// Under which name notices are kept for them.
    pub(crate) fn name(&self) -> &str {
        &self.token
    }

    /// The surroundings of a page, in the time zone of `tenant` if one is known.
    pub(crate) fn frame(&self, who: Who, tenant: Option<&TenantView>) -> Frame {
        let notice = match self.part {
            Part::Whole => self.portal.said(&self.token),
            Part::Fragment => None,
        };
        Frame {
            part: self.part,
            csrf: self.csrf(),
            zone: Zone::named(tenant.map_or("UTC", |t| t.tenant.time_zone.as_str())),
            now: self.portal.gateway.now(),
            who,
            notice,
        }
    }

    /// Lets their browser keep the cookie that the page's forms are checked against.
    pub(crate) fn keep(&self, mut response: HttpResponse) -> HttpResponse {
        if self.is_new {
            let cookie =
                Jar::Visitor.with(self.token.clone(), &self.portal.gateway.config.public_url);
            // Name and value are made of letters and digits, which is all that could fail.
            let _ = response.add_cookie(&cookie);
        }
        response
    }
}

/// The member behind a request, if one is signed in, for pages that others see too.
pub(crate) async fn member_of(req: &HttpRequest) -> Result<Option<Me>, Failure> {
    match Me::extract(req).await {
        Ok(me) => Ok(Some(me)),
        Err(Failure::SignIn(_)) => Ok(None),
        Err(other) => Err(other),
    }
}
