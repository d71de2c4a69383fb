//! `GET /v1/events`: what happens, as it happens (server-sent events, HTML Standard section 9.2).
//!
//! Events carry ids and states, never what was written; who wants the words asks for them. A
//! client that is too slow hears `lagged` and looks again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_web::{HttpResponse, http::header};
use bytes::Bytes;
use futures::stream;
use isthmus_queue::Happening;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until},
};

use super::{
    enter::Ctx,
    problem::{Code, Problem},
};

/// Between two comments that keep the connection alive, and two looks at the key.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Streams of one caller.
const PER_CALLER: usize = 20;
/// Streams in all.
const IN_ALL: usize = 2_000;

/// How many streams each caller has open.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<HashMap<String, usize>>>);

/// One open stream.
struct Seat {
    streams: Streams,
    caller: String,
}

impl Streams {
    fn take(&self, caller: &str) -> Option<Seat> {
        // Nothing that can panic runs under this lock.
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        let own = open.get(caller).copied().unwrap_or(0);
        if own >= PER_CALLER || all >= IN_ALL {
            return None;
        }
        open.insert(caller.to_owned(), own + 1);
        Some(Seat { streams: self.clone(), caller: caller.to_owned() })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = open.get_mut(&self.caller) {
            *n -= 1;
            if *n == 0 {
                open.remove(&self.caller);
            }
        }
    }
}

struct Watch {
    ctx: Ctx,
    bus: Receiver<Happening>,
    next_comment: Instant,
    greeted: bool,
    _seat: Seat,
}

/// `GET /v1/events`.
pub(super) async fn stream(ctx: Ctx) -> Result<HttpResponse, Problem> {
    let caller = format!("{} {}", ctx.tenant_id(), ctx.caller_id());
    let seat = ctx.api.0.streams.take(&caller).ok_or_else(|| {
        Problem::with(Code::TooMany, "Too many event streams are open with this key.").after_s(15)
    })?;
    let bus = ctx.gateway.bus.watch();
    let watch =
        Watch { ctx, bus, next_comment: Instant::now() + KEEP_ALIVE, greeted: false, _seat: seat };
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Neither a compressor nor a proxy may hold events back.
        .insert_header((header::CONTENT_ENCODING, "identity"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream::unfold(watch, |watch| async move {
            let (part, watch) = watch.next().await?;
            Some((Ok::<_, std::convert::Infallible>(part), watch))
        })))
}

impl Watch {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if !self.greeted {
            self.greeted = true;
            return Some((Bytes::from_static(b"retry: 2000\n: connected\n\n"), self));
        }
        loop {
            tokio::select! {
                heard = self.bus.recv() => match heard {
                    Ok(event) if self.may_hear(&event) => return Some((written(&event), self)),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        return Some((Bytes::from_static(b"event: lagged\ndata: {}\n\n"), self));
                    }
                    Err(RecvError::Closed) => return None,
                },
                () = sleep_until(self.next_comment) => {
                    // A key that was revoked hears nothing more.
                    if !self.ctx.still_holds().await {
                        return None;
                    }
                    self.next_comment = Instant::now() + KEEP_ALIVE;
                    return Some((Bytes::from_static(b": keep-alive\n\n"), self));
                }
            }
        }
    }

    fn may_hear(&self, event: &Happening) -> bool {
        if &*event.tenant != self.ctx.tenant_id() {
            return false;
        }
        match self.ctx.member() {
            Some(member) => event.members.contains(&member.id),
            None => true,
        }
    }
}

fn written(event: &Happening) -> Bytes {
    // JSON has no raw line breaks, so one data line carries it.
    format!("id: {}\nevent: {}\ndata: {}\n\n", event.seq, event.kind, event.data).into()
}
