//! The queue of outbound mail: due mails are handed to their relay, results go back to the loop.

use std::{collections::HashMap, sync::Arc, time::Duration};

use isthmus_domain::{address::Email, clock::Millis};
use isthmus_mail::send::{Handover, Relay};
use isthmus_store::{StoreError, rows};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::Router;

/// Mails on their way to relays at once.
const TOGETHER: u64 = 16;
/// After so long a mail that was never taken has failed.
const GIVE_UP_MS: i64 = 5 * 86_400_000;

/// What the relay said about one mail.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) row: rows::Outbound,
    pub(crate) what: What,
}

#[derive(Debug)]
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

/// Runs until `stop`. Results are handled by the loop before the next mails are looked for.
pub(crate) async fn run(
    router: Arc<Router>,
    wake: Arc<Notify>,
    results: mpsc::Sender<(Vec<Handed>, tokio::sync::oneshot::Sender<()>)>,
    stop: CancellationToken,
) {
    let mut relays: HashMap<String, Arc<Relay>> = HashMap::new();
    loop {
        let found = match router.store.outbound_due(router.clock.now().0, TOGETHER).await {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "Outbound mail cannot be read");
                Vec::new()
            }
        };
        if found.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = wake.notified() => {}
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
            continue;
        }
        isthmus_domain::failpoint::hit("outbound.before_handover");
        let mut sending = Vec::new();
        for row in found {
            sending.push(hand_over(&router, &mut relays, row));
        }
        let handed = futures::future::join_all(sending).await;
        isthmus_domain::failpoint::hit("outbound.after_handover");
        if handed.iter().any(|h| h.row.kind == "forward") {
            isthmus_domain::failpoint::hit("forward.after_handover");
        }
        let (done, committed) = tokio::sync::oneshot::channel();
        if results.send((handed, done)).await.is_err() || committed.await.is_err() {
            return;
        }
        if stop.is_cancelled() {
            return;
        }
    }
}

/// One mail to its relay; the relay is looked up before the future is made, so that futures run
/// side by side.
fn hand_over(
    router: &Arc<Router>,
    relays: &mut HashMap<String, Arc<Relay>>,
    row: rows::Outbound,
) -> impl Future<Output = Handed> + use<> {
    let url = row.route.clone().or_else(|| router.config.relay.clone());
    let relay = url.map(|url| match relays.get(&url) {
        Some(relay) => Ok(Arc::clone(relay)),
        None => Relay::from_url(&url).map(|r| {
            let relay = Arc::new(r);
            relays.insert(url, Arc::clone(&relay));
            relay
        }),
    });
    let router = Arc::clone(router);
    async move {
        let what = match relay {
            None => What::Kept,
            Some(Err(bad)) => later(&router, &row, bad.to_string()),
            Some(Ok(relay)) => match send(&router, &relay, &row).await {
                Ok(what) => what,
                Err(error) => later(&router, &row, error.to_string()),
            },
        };
        Handed { row, what }
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
