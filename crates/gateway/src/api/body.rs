//! Request bodies: never more in memory than the bound, never nested deeper than it.

use std::time::Duration;

use actix_web::{HttpRequest, http::header, web};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde::de::{DeserializeOwned, IgnoredAny};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    Api,
    problem::{Code, Problem},
};

/// Largest JSON body, in octets.
pub(super) const MAX_JSON: usize = 30_000_000;
/// Deepest nesting of arrays and objects.
const MAX_DEPTH: usize = 32;
/// From this size on, a body waits for its turn.
const LARGE: usize = 1_000_000;
/// Longest silence of a sender.
const PAUSE: Duration = Duration::from_secs(30);
/// Longest time for a whole body.
const WHOLE: Duration = Duration::from_secs(300);

/// A body, and its share of the memory that large bodies may take.
pub(super) struct Body {
    pub(super) octets: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Reads a JSON body.
///
/// # Errors
/// 413 over the bound (by the announced length before anything is read), 415 for another media
/// type, 408 for a sender that is too slow.
pub(super) async fn json(
    req: &HttpRequest,
    api: &Api,
    payload: web::Payload,
) -> Result<Body, Problem> {
    typed(req, |t| t == "application/json" || t.ends_with("+json"))?;
    read(req, api, payload, MAX_JSON).await
}

/// Reads a body of one of some other types.
///
/// # Errors
/// As for [`json`].
pub(super) async fn of_type(
    req: &HttpRequest,
    api: &Api,
    payload: web::Payload,
    media_types: &[&str],
    limit: usize,
) -> Result<Body, Problem> {
    typed(req, |t| media_types.contains(&t))?;
    read(req, api, payload, limit).await
}

fn typed(req: &HttpRequest, fits: impl Fn(&str) -> bool) -> Result<(), Problem> {
    let Some(value) = req.headers().get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
    let media_type = text.split(';').next().unwrap_or_default().trim();
    if fits(media_type) { Ok(()) } else { Err(Problem::new(Code::WrongMediaType)) }
}

async fn read(
    req: &HttpRequest,
    api: &Api,
    payload: web::Payload,
    limit: usize,
) -> Result<Body, Problem> {
    let announced = req
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > limit as u64) {
        return Err(Problem::new(Code::TooLarge));
    }
    timeout(WHOLE, collect(api, payload, limit)).await.map_err(|_| Problem::new(Code::TooSlow))?
}

async fn collect(api: &Api, payload: web::Payload, limit: usize) -> Result<Body, Problem> {
    let mut payload = payload.into_inner();
    let mut octets = BytesMut::new();
    let mut room = None;
    while let Some(chunk) =
        timeout(PAUSE, payload.next()).await.map_err(|_| Problem::new(Code::TooSlow))?
    {
        let chunk = chunk.map_err(|_| Problem::new(Code::BadBody))?;
        if octets.len() + chunk.len() > limit {
            return Err(Problem::new(Code::TooLarge));
        }
        octets.extend_from_slice(&chunk);
        if octets.len() > LARGE && room.is_none() {
            let permit = std::sync::Arc::clone(&api.0.large).acquire_owned().await;
            room = Some(permit.map_err(|_| Problem::new(Code::NotReady))?);
        }
    }
    Ok(Body { octets: octets.freeze(), _room: room })
}

/// Reads a JSON object as `T`.
///
/// # Errors
/// 400 for what is no JSON or nested too deep, 422 for fields that are missing, wrong or unknown.
pub(super) fn parse<T: DeserializeOwned>(octets: &[u8]) -> Result<T, Problem> {
    if too_deep(octets) {
        return Err(Problem::with(Code::BadJson, "It is nested too deep."));
    }
    let first = octets.iter().copied().find(|b| !b.is_ascii_whitespace());
    if first != Some(b'{') {
        return Err(match serde_json::from_slice::<IgnoredAny>(octets) {
            Ok(_) => Problem::with(Code::Invalid, "The body must be a JSON object."),
            Err(error) => Problem::with(Code::BadJson, error.to_string()),
        });
    }
    serde_json::from_slice(octets).map_err(|error| {
        let code = if error.is_data() { Code::Invalid } else { Code::BadJson };
        Problem::with(code, error.to_string())
    })
}

/// Reads a part of a body that was JSON as a whole.
///
/// # Errors
/// 422 for fields that are missing, wrong or unknown.
pub(super) fn part<T: DeserializeOwned>(value: &serde_json::value::RawValue) -> Result<T, Problem> {
    serde_json::from_str(value.get())
        .map_err(|error| Problem::with(Code::Invalid, error.to_string()))
}

/// Whether brackets outside of strings are nested deeper than the bound. Runs before the parser,
/// which would skip an unknown deep value without looking at its depth.
fn too_deep(octets: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for &b in octets {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_texts_are_not_nesting() {
        let text = format!(r#"{{"text": "{}\"{}"}}"#, "[".repeat(500), "{".repeat(500));
        assert!(!too_deep(text.as_bytes()));
        assert!(too_deep("[".repeat(33).as_bytes()));
        assert!(!too_deep("[]".repeat(500).as_bytes()));
    }
}
