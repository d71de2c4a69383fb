//! Who is there: the key, its tenant, and how often it comes.

use std::sync::Arc;

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};
use futures::future::{FutureExt, LocalBoxFuture};
use isthmus_store::{ChangeSet, Scope, TenantView, rows};

use super::{
    Api,
    problem::{Code, Problem},
};
use crate::{
    Gateway,
    sign_in::{Caller, secret_hash},
};

/// Longest key that is looked at.
const MAX_KEY: usize = 512;

/// A request that came with a good key of a tenant or a member.
pub(crate) struct Ctx {
    pub(super) gateway: web::Data<Gateway>,
    pub(super) api: web::Data<Api>,
    pub(super) caller: Caller,
    pub(super) tenant: Arc<TenantView>,
    /// The key's text; kept only to ask again whether it still holds.
    key: String,
}

impl FromRequest for Ctx {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let req = req.clone();
        async move {
            let missing = || Problem::new(Code::Internal);
            let gateway = req.app_data::<web::Data<Gateway>>().cloned().ok_or_else(missing)?;
            let api = req.app_data::<web::Data<Api>>().cloned().ok_or_else(missing)?;
            let key = bearer(&req)?;
            if !api.0.limits.allows(&secret_hash(&key), gateway.now()) {
                return Err(Problem::new(Code::TooMany).after_s(1));
            }
            let caller = gateway.caller(&key).await?.ok_or_else(|| Problem::new(Code::BadKey))?;
            let tenant = caller.tenant().cloned().ok_or_else(|| Problem::new(Code::OperatorKey))?;
            Ok(Self { gateway, api, caller, tenant, key })
        }
        .boxed_local()
    }
}

/// The key (RFC 6750 section 2.1).
fn bearer(req: &HttpRequest) -> Result<String, Problem> {
    let value =
        req.headers().get(header::AUTHORIZATION).ok_or_else(|| Problem::new(Code::NoKey))?;
    let text = value.to_str().map_err(|_| Problem::new(Code::BadKey))?;
    let (scheme, key) = text.split_once(' ').ok_or_else(|| Problem::new(Code::NoKey))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::new(Code::NoKey));
    }
    let key = key.trim();
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(Problem::new(Code::BadKey));
    }
    Ok(key.to_owned())
}

impl Ctx {
    /// Everything of the caller's tenant.
    pub(super) fn scope(&self) -> Scope<'_> {
        self.gateway.store.of(&self.tenant.tenant.id)
    }

    /// The tenant's id.
    pub(super) fn tenant_id(&self) -> &str {
        &self.tenant.tenant.id
    }

    /// The member whose key it is.
    pub(super) fn member(&self) -> Option<&rows::Member> {
        self.caller.member()
    }

    /// The member whose key it is; administrators' keys do not open what people wrote.
    ///
    /// # Errors
    /// 403 for a tenant's key.
    pub(super) fn reader(&self) -> Result<&rows::Member, Problem> {
        self.member().ok_or_else(|| Problem::new(Code::ContentIsPrivate))
    }

    /// Goes on for administrators only.
    ///
    /// # Errors
    /// 403 for everybody else.
    pub(super) fn admin(&self) -> Result<(), Problem> {
        if self.caller.is_admin() { Ok(()) } else { Err(Problem::new(Code::AdminsOnly)) }
    }

    /// Who acts, as the audit log and the history of a delivery name them.
    pub(super) fn actor(&self) -> String {
        match self.member() {
            Some(member) => member.email.clone(),
            None => format!("{} (API key)", self.tenant.tenant.name),
        }
    }

    /// Who acts, as one word that tells callers of one tenant apart.
    pub(super) fn caller_id(&self) -> &str {
        self.member().map_or("tenant", |m| &m.id)
    }

    /// Whether the key still holds.
    pub(super) async fn still_holds(&self) -> bool {
        matches!(self.gateway.caller(&self.key).await, Ok(Some(c)) if c.tenant().is_some())
    }

    /// Adds a line to the audit log of what `set` does.
    pub(super) fn audit(
        &self,
        set: &mut ChangeSet,
        action: &str,
        target: &str,
        detail: &serde_json::Value,
    ) {
        let now = self.gateway.now();
        set.new_audit.push(rows::Audit {
            id: isthmus_domain::ids::AuditId::new(now, &self.gateway.chance).into(),
            tenant_id: self.tenant_id().to_owned(),
            actor: self.actor(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail: detail.to_string(),
            at: now.0,
        });
    }
}
