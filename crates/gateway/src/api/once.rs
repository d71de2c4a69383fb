//! `Idempotency-Key`: the same request twice is one effect and one answer.
//!
//! The answer lies in the same commit as the effect. Two requests at once are told apart by the
//! set of those in flight, and behind that by the table's key, which only one of them can write.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode};
use isthmus_store::{ChangeSet, StoreError, blob_hash, rows};
use serde_json::Value;

use super::{
    enter::Ctx,
    problem::{Code, Problem},
};

/// How long an answer is kept.
const KEPT_MS: i64 = 24 * 3_600_000;
/// Between two clean-ups.
const CLEAN_MS: i64 = 600_000;

/// Keys whose first request is being worked on, and when old answers were last thrown away.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<(HashSet<String>, i64)>>);

/// Holds a key until the request is answered.
struct Flight {
    flights: Flights,
    key: String,
}

impl Drop for Flight {
    fn drop(&mut self) {
        // Nothing that can panic runs under this lock.
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).0.remove(&self.key);
    }
}

impl Flights {
    fn take(&self, key: &str) -> Option<Flight> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.0.insert(key.to_owned()).then(|| Flight { flights: self.clone(), key: key.to_owned() })
    }

    fn clean_is_due(&self, now_ms: i64) -> bool {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = now_ms - held.1 >= CLEAN_MS;
        if due {
            held.1 = now_ms;
        }
        due
    }
}

/// A request that has not been answered before.
pub(super) struct Once {
    /// Key as it is stored, and the hash of the request.
    key: Option<(String, String)>,
    _flight: Option<Flight>,
}

/// What a key says about a request.
pub(super) enum Begin {
    /// It was answered before, with this.
    Again(Answer),
    /// It is new.
    Fresh(Once),
}

/// A status and a JSON body.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: StatusCode,
    body: String,
}

impl Answer {
    pub(super) fn new(status: StatusCode, body: &Value) -> Self {
        Self { status, body: body.to_string() }
    }

    /// A member of the body that is a text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        body[name].as_str().map(ToOwned::to_owned)
    }

    pub(super) fn response(self) -> HttpResponse {
        HttpResponse::build(self.status).content_type("application/json").body(self.body)
    }
}

/// Looks at the request's key, if it has one.
///
/// # Errors
/// 400 for a key that cannot be one, 409 while the first request runs, 422 for another request
/// under the same key.
pub(super) async fn begin(ctx: &Ctx, req: &HttpRequest, body: &[u8]) -> Result<Begin, Problem> {
    clean(ctx);
    let Some(key) = header_key(req)? else {
        return Ok(Begin::Fresh(Once { key: None, _flight: None }));
    };
    // Members of one tenant do not share keys: nobody gets another one's answer.
    let stored = blob_hash(format!("{}\n{key}", ctx.caller_id()).as_bytes());
    let mut whole = format!("{} {}\n", req.method(), req.path()).into_bytes();
    whole.extend_from_slice(blob_hash(body).as_bytes());
    let hash = blob_hash(&whole);
    let flight = ctx
        .api
        .0
        .flights
        .take(&format!("{} {stored}", ctx.tenant_id()))
        .ok_or_else(|| Problem::new(Code::InProgress).after_s(1))?;
    if let Some(answer) = earlier(ctx, &stored, &hash).await? {
        return Ok(Begin::Again(answer));
    }
    Ok(Begin::Fresh(Once { key: Some((stored, hash)), _flight: Some(flight) }))
}

async fn earlier(ctx: &Ctx, stored: &str, hash: &str) -> Result<Option<Answer>, Problem> {
    let Some(row) = ctx.scope().idempotency(stored).await? else { return Ok(None) };
    if row.body_hash != hash {
        return Err(Problem::new(Code::KeyReused));
    }
    let status = u16::try_from(row.status).ok().and_then(|s| StatusCode::from_u16(s).ok());
    Ok(Some(Answer { status: status.unwrap_or(StatusCode::OK), body: row.response }))
}

fn header_key(req: &HttpRequest) -> Result<Option<String>, Problem> {
    let mut values = req.headers().get_all("Idempotency-Key");
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let good = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if !good || values.next().is_some() {
        return Err(Problem::new(Code::BadIdempotencyKey));
    }
    Ok(Some(text.to_owned()))
}

/// Throws old answers away, now and then, beside the request.
fn clean(ctx: &Ctx) {
    let now = ctx.gateway.now().0;
    if !ctx.api.0.flights.clean_is_due(now) {
        return;
    }
    let store = ctx.gateway.store.clone();
    actix_web::rt::spawn(async move {
        if let Err(error) = store.forget_idempotency(now - KEPT_MS).await {
            tracing::warn!(%error, "Old idempotency keys could not be thrown away");
        }
    });
}

impl Once {
    /// Commits `set` together with the answer, and hints at its transactions.
    ///
    /// # Errors
    /// Nothing was accepted then. `clash` says what a taken unique key means, when it is not the
    /// request's own.
    pub(super) async fn finish(
        self,
        ctx: &Ctx,
        mut set: ChangeSet,
        answer: Answer,
        clash: impl FnOnce() -> Problem,
    ) -> Result<Answer, Problem> {
        if let Some((key, hash)) = &self.key {
            set.new_idempotency.push(rows::Idempotency {
                tenant_id: ctx.tenant_id().to_owned(),
                key: key.clone(),
                body_hash: hash.clone(),
                status: i64::from(answer.status.as_u16()),
                response: answer.body.clone(),
                at: ctx.gateway.now().0,
            });
        }
        let services: Vec<String> =
            set.new_transactions.iter().map(|t| t.service.clone()).collect();
        match commit(ctx, set).await {
            Ok(()) => {
                for service in services {
                    ctx.api.0.metrics.accepted(&service);
                }
                Ok(answer)
            }
            Err(error) if error.is_duplicate() => {
                // Another worker or process was faster with the same key.
                if let Some((key, hash)) = &self.key
                    && let Some(first) = earlier(ctx, key, hash).await?
                {
                    return Ok(first);
                }
                Err(clash())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Transactions that are over already need no hint.
async fn commit(ctx: &Ctx, set: ChangeSet) -> Result<(), StoreError> {
    if set.new_transactions.iter().all(|t| t.ended_at.is_some()) {
        ctx.gateway.store.commit(set).await?;
    } else {
        ctx.gateway.accept(set, None).await?;
    }
    isthmus_domain::failpoint::hit("api.after_commit");
    Ok(())
}
