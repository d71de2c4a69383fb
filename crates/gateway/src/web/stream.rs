//! The event streams that keep pages fresh (WHATWG HTML, server-sent events). They carry kinds
//! and ids, never content: the page fetches what its reader may see.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use actix_web::{HttpResponse, http::header};
use bytes::Bytes;
use futures::{Stream, stream::unfold};
use isthmus_queue::Happening;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{Failure, who::Me};
use crate::webchat::lock;

/// Streams of one reader: tabs that are open at the same time.
const EACH: usize = 20;
/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(15);
/// For which a browser waits before it connects again, in milliseconds.
const RETRY: &[u8] = b"retry: 2000\n\n";

/// How many streams everybody has open.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

/// One stream among those of its reader, until it is dropped.
pub(crate) struct Place(Streams, String);

impl Streams {
    /// A place for one more stream, if the reader does not have too many.
    pub(crate) fn place(&self, reader: &str) -> Option<Place> {
        let mut all = lock(&self.0);
        let count = all.entry(reader.to_owned()).or_default();
        if *count >= EACH {
            return None;
        }
        *count += 1;
        Some(Place(self.clone(), reader.to_owned()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = lock(&self.0.0);
        if let Some(count) = all.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.1);
            }
        }
    }
}

/// A stream of events as an answer.
pub(crate) fn answer(
    events: impl Stream<Item = Result<Bytes, actix_web::Error>> + 'static,
) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // Neither compression here nor a buffer in a proxy may hold events back.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(events)
}

/// One event that lets the page look anew; `data` is one line.
pub(crate) fn change(data: &str) -> Bytes {
    format!("event: change\ndata: {data}\n\n").into()
}

/// What comes next: news, a sign of life, or the end.
pub(crate) enum Next<T> {
    News(T),
    /// Some were missed: look anew.
    Missed,
    Beat,
    End,
}

/// Waits for the next thing on a channel.
pub(crate) async fn next<T: Clone>(channel: &mut Receiver<T>) -> Next<T> {
    match tokio::time::timeout(BEAT, channel.recv()).await {
        Ok(Ok(news)) => Next::News(news),
        Ok(Err(RecvError::Lagged(_))) => Next::Missed,
        Ok(Err(RecvError::Closed)) => Next::End,
        Err(_) => Next::Beat,
    }
}

/// The first octets of a stream: they open it in the browser.
pub(crate) fn opening() -> Bytes {
    Bytes::from_static(RETRY)
}

/// A sign of life.
pub(crate) fn beat() -> Bytes {
    Bytes::from_static(b": \n\n")
}

struct Member {
    me: Me,
    channel: Receiver<Happening>,
    _place: Place,
    opened: bool,
}

/// `GET /events/stream`.
pub(super) async fn member(me: Me) -> Result<HttpResponse, Failure> {
    let place = me.portal.streams.place(&me.member.id).ok_or(Failure::TooMuch)?;
    let channel = me.portal.gateway.bus.watch();
    let state = Member { me, channel, _place: place, opened: false };
    Ok(answer(unfold(state, step)))
}

async fn step(mut state: Member) -> Option<(Result<Bytes, actix_web::Error>, Member)> {
    if !state.opened {
        state.opened = true;
        return Some((Ok(opening()), state));
    }
    loop {
        let out = match next(&mut state.channel).await {
            Next::News(news) if is_for(&state.me, &news) => change(&data(&news)),
            Next::News(_) => continue,
            Next::Missed => change("{\"kind\":\"missed\"}"),
            // A session that has ended gets nothing more.
            Next::Beat if still_there(&state.me).await => beat(),
            Next::Beat | Next::End => return None,
        };
        return Some((Ok(out), state));
    }
}

fn is_for(me: &Me, news: &Happening) -> bool {
    *news.tenant == *me.tenant_id() && news.members.contains(&me.member.id)
}

fn data(news: &Happening) -> String {
    let ids = serde_json::from_str::<serde_json::Value>(&news.data).unwrap_or_default();
    serde_json::json!({"kind": news.kind, "data": ids}).to_string()
}

async fn still_there(me: &Me) -> bool {
    let session = me.portal.gateway.store.session(&me.session.hash).await;
    matches!(session, Ok(Some(s)) if s.expires_at > me.portal.gateway.now().0)
}
