//! The queue of outbound mail: due mails are handed to their relay, results go back to the loop.

mod queue;

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use isthmus_domain::{address::Email, clock::Millis};
use isthmus_mail::send::{Handover, Relay};
use isthmus_store::{StoreError, UnsentMail, rows};
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::Router;
use queue::{Line, OutboundQueue, Place};

/// After so long a mail that was never taken has failed.
pub(crate) const GIVE_UP_MS: i64 = 5 * 86_400_000;

/// What the relay said about one mail.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    pub(crate) row: rows::Outbound,
    pub(crate) what: What,
}

#[derive(Clone, Debug)]
pub(crate) enum What {
    Sent { reply: String },
    Kept,
    Later { reply: String, next: Millis },
    Refused { reply: String, permanent_address: bool },
}

/// Waits before each attempt: soon at first, then every few hours.
fn backoff_ms(attempts: i64) -> i64 {
    const STEPS: [i64; 8] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400];
    let step = usize::try_from(attempts).unwrap_or(0).min(STEPS.len() - 1);
    STEPS[step] * 1_000
}

/// Recipients who are served at once.
const LINES: usize = 32;
/// Mails looked up at once at start.
const PAGE: u64 = 1_000;
/// How often mails that nobody told of are looked for.
const SWEEP: Duration = Duration::from_secs(600);
/// How long servers may take for what is under way when a stop comes.
const ENDING: Duration = Duration::from_secs(5);

/// Results, and who waits until they are written.
pub(crate) type Results = (Vec<Handed>, oneshot::Sender<()>);

/// What one line's turn brought.
struct Served {
    line: Line,
    /// In the queue no longer.
    done: Vec<Place>,
    again: Option<(Place, i64)>,
    handed: Vec<Handed>,
}

/// Runs until `stop`. `new` tells of mails that were just written; the rest is in the database.
pub(crate) async fn run(
    router: Arc<Router>,
    mut new: mpsc::UnboundedReceiver<UnsentMail>,
    results: mpsc::Sender<Results>,
    stop: CancellationToken,
) {
    let mut queue = OutboundQueue::default();
    let server = Arc::new(Server { router, relays: Mutex::default(), stop: stop.clone() });
    let mut swept = tokio::time::interval(SWEEP);
    let mut running = JoinSet::new();
    loop {
        while running.len() < LINES
            && let Some((line, places)) = queue.next(server.router.clock.now().0)
        {
            let server = Arc::clone(&server);
            running.spawn(async move { server.serve_caught(line, places).await });
        }
        let now = server.router.clock.now();
        let until = queue.next_time().map_or(3_600_000, |at| (at - now.0).clamp(10, 3_600_000));
        tokio::select! {
            () = stop.cancelled() => break,
            _ = swept.tick() => {
                if let Err(error) = take_up(&server.router, &mut queue).await {
                    tracing::error!(%error, "Outbound mail cannot be read");
                    swept.reset_after(Duration::from_secs(2));
                }
            }
            Some(mail) = new.recv() => {
                queue.add(mail);
                while let Ok(mail) = new.try_recv() {
                    queue.add(mail);
                }
            }
            Some(served) = running.join_next() => {
                settle(served, &mut running, &mut queue, &results, server.router.clock.now()).await;
            }
            () = tokio::time::sleep(Duration::from_millis(until.unsigned_abs())) => {}
        }
    }
    // What servers say to mails that are under way is written down: else those go twice.
    let ending = async {
        while let Some(served) = running.join_next().await {
            settle(served, &mut running, &mut queue, &results, server.router.clock.now()).await;
        }
    };
    if tokio::time::timeout(ENDING, ending).await.is_err() {
        tracing::warn!(
            "Mail servers were still busy at the end; what they took goes to them again"
        );
    }
}

/// Reads what is in the database.
async fn take_up(router: &Router, queue: &mut OutboundQueue) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    loop {
        let found = router.store.unsent(after.as_deref(), PAGE).await?;
        let Some(last) = found.last() else { return Ok(()) };
        after = Some(last.id.clone());
        found.into_iter().for_each(|mail| queue.add(mail));
    }
}

/// Hands results to the loop and waits until they are written; what has ended meanwhile goes along.
async fn settle(
    first: Result<Served, JoinError>,
    running: &mut JoinSet<Served>,
    queue: &mut OutboundQueue,
    results: &mpsc::Sender<Results>,
    now: Millis,
) {
    let mut all = vec![first];
    while let Some(next) = running.try_join_next() {
        all.push(next);
    }
    let mut handed = Vec::new();
    let mut ended = Vec::new();
    for served in all {
        match served {
            Ok(mut served) => {
                handed.append(&mut served.handed);
                ended.push(served);
            }
            Err(error) => tracing::error!(%error, "A mail could not be handed over"),
        }
    }
    let written = handed.is_empty() || tell(handed, results).await;
    for Served { line, done, mut again, .. } in ended {
        if written {
            queue.served(line, &done, again);
        } else {
            // It stays in the queue, and goes again although a server may have it.
            again = done.into_iter().next().map(|place| (place, now.plus_ms(60_000).0)).or(again);
            queue.served(line, &[], again);
        }
    }
}

/// Until the loop has written the results down; whether it could.
async fn tell(handed: Vec<Handed>, results: &mpsc::Sender<Results>) -> bool {
    const TRIES: u32 = 5;
    for _ in 0..TRIES {
        let (done, written) = oneshot::channel();
        if results.send((handed.clone(), done)).await.is_err() {
            return false;
        }
        if written.await.is_ok() {
            return true;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tracing::error!(mails = handed.len(), "What mail servers answered cannot be written down");
    false
}

/// Hands mails to relays.
struct Server {
    router: Arc<Router>,
    relays: Mutex<HashMap<String, Arc<Relay>>>,
    stop: CancellationToken,
}

impl Server {
    /// The same, where code that gives up puts the line off instead of keeping it for ever.
    async fn serve_caught(&self, line: Line, places: Vec<Place>) -> Served {
        let first = places.first().cloned();
        let serving = AssertUnwindSafe(self.serve(line.clone(), places));
        serving.catch_unwind().await.unwrap_or_else(|_| {
            let later = self.router.clock.now().plus_ms(60_000).0;
            let again = first.map(|place| (place, later));
            Served { line, done: Vec::new(), again, handed: Vec::new() }
        })
    }

    /// One recipient's mails, one after the other, until one is put off.
    async fn serve(&self, line: Line, places: Vec<Place>) -> Served {
        let ids: Vec<String> = places.iter().map(|(_, id)| id.clone()).collect();
        let rows = match self.router.store.outbound_by_id(&ids).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "Outbound mail cannot be read");
                let soon = self.router.clock.now().plus_ms(5_000).0;
                let again = places.into_iter().next().map(|place| (place, soon));
                return Served { line, done: Vec::new(), again, handed: Vec::new() };
            }
        };
        let mut served = Served { line, done: Vec::new(), again: None, handed: Vec::new() };
        // A mail that has left, or is gone, is done with.
        let waits = |id: &String| rows.iter().any(|r| &r.id == id && r.next_at.is_some());
        served.done.extend(places.into_iter().filter(|(_, id)| !waits(id)));
        isthmus_domain::failpoint::hit("outbound.before_handover");
        for row in rows.into_iter().filter(|r| r.next_at.is_some()) {
            let place = (row.seq, row.id.clone());
            let forward = row.kind.starts_with("forward");
            let what = self.hand_over(&row).await;
            isthmus_domain::failpoint::hit("outbound.after_handover");
            if forward {
                isthmus_domain::failpoint::hit("forward.after_handover");
            }
            let put_off = match &what {
                What::Later { next, .. } => Some(next.0),
                _ => None,
            };
            served.handed.push(Handed { row, what });
            if let Some(next) = put_off {
                served.again = Some((place, next));
                break;
            }
            served.done.push(place);
            if self.stop.is_cancelled() {
                break;
            }
        }
        served
    }

    async fn hand_over(&self, row: &rows::Outbound) -> What {
        let router = &self.router;
        let Some(url) = row.route.as_ref().or(router.config.relay.as_ref()) else {
            return What::Kept;
        };
        match self.relay(url) {
            Err(bad) => later(router, row, bad),
            Ok(relay) => match send(router, &relay, row).await {
                Ok(what) => what,
                Err(error) => later(router, row, error.to_string()),
            },
        }
    }

    fn relay(&self, url: &str) -> Result<Arc<Relay>, String> {
        let mut relays = self.relays.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(relay) = relays.get(url) {
            return Ok(Arc::clone(relay));
        }
        let relay = Relay::from_url(url).map_err(|e| e.to_string())?;
        let relay = Arc::new(relay.with_hello(&self.router.config.hostname));
        relays.insert(url.to_owned(), Arc::clone(&relay));
        Ok(relay)
    }
}

async fn send(router: &Router, relay: &Relay, row: &rows::Outbound) -> Result<What, StoreError> {
    let Some(raw) = router.store.of(&row.tenant_id).blob(&row.raw_hash).await? else {
        return Ok(What::Refused {
            reply: "the mail is not there any more".into(),
            permanent_address: false,
        });
    };
    let Ok(to) = Email::parse(&row.rcpt) else {
        return Ok(What::Refused {
            reply: "this is not an address".into(),
            permanent_address: false,
        });
    };
    let from = Email::parse(&row.mail_from).ok();
    let envid = (row.kind == "message").then_some(row.id.as_str());
    Ok(match relay.send(from.as_ref(), &to, envid, &raw).await {
        Handover::Accepted { reply, .. } => What::Sent { reply },
        Handover::Deferred { reply } => later(router, row, reply),
        Handover::Refused { code, reply } => {
            What::Refused { permanent_address: code == 550 && reply.contains("5.1.1"), reply }
        }
    })
}

fn later(router: &Router, row: &rows::Outbound, reply: String) -> What {
    let now = router.clock.now();
    if now.since_ms(Millis(row.created_at)) > GIVE_UP_MS {
        return What::Refused { reply, permanent_address: false };
    }
    What::Later { reply, next: now.plus_ms(backoff_ms(row.attempts)) }
}
