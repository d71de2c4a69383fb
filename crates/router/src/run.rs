//! The loop: takes what waits, decides, commits once, and acts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use isthmus_domain::{
    address::ImAddress,
    clock::Millis,
    delivery::{Happened, Reach, State},
    failpoint,
};
use isthmus_im::{SendError, Sent};
use isthmus_queue::{Hint, Signal};
use isthmus_store::{Ended, StoreError, rows};
use tokio::{
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use isthmus_domain::service::{Challenge, ChatIn, Code, Confirm, Decision, MailIn, Request};

use crate::{
    Router,
    batch::Batch,
    live::Live,
    mail_in, outbound,
    plan::{Act, Plan},
    senders::{self, Senders},
    services::Ready,
};

/// Transactions that share a commit.
const BATCH: usize = 64;
/// Tries until a transaction that cannot be run is set aside.
const TRIES: i64 = 5;
/// Messages handed to their senders again at one look.
const RESEND: usize = 2_000;
/// How long a message may wait for its network before the sender is asked.
const UNCONNECTED_MS: i64 = 5 * 60_000;
/// Octets of large mails that may be read into memory at once.
const LARGE_AT_ONCE: u32 = 32 * 1024 * 1024;

/// Positions in conversations: always larger than any before, close to the time in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Sequence(AtomicI64);

impl Sequence {
    pub(crate) fn next(&self, now: Millis) -> i64 {
        let floor = now.0.saturating_mul(1_000);
        let before = self
            .0
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(floor.max(last + 1)))
            .unwrap_or(floor);
        floor.max(before + 1)
    }
}

/// The router at work.
pub struct Running {
    task: JoinHandle<()>,
    mail: JoinHandle<()>,
}

impl Running {
    /// Waits until it has stopped.
    pub async fn stopped(self) {
        let _ = tokio::join!(self.task, self.mail);
    }
}

impl Router {
    /// Takes up what an earlier process left, then starts the loop and the outbound mail queue;
    /// they end after `stop`. Doors open only after this: what is new comes behind what was
    /// accepted before.
    pub async fn start(self, signals: mpsc::Receiver<Signal>, stop: CancellationToken) -> Running {
        let router = Arc::new(self);
        let wake = Arc::new(Notify::new());
        let (mail_tx, mail_rx) = mpsc::channel(4);
        let mail = tokio::spawn(outbound::run(
            Arc::clone(&router),
            Arc::clone(&wake),
            mail_tx,
            stop.clone(),
        ));
        let (handed_tx, handed_rx) = mpsc::channel(256);
        let (ready_tx, ready_rx) = mpsc::channel(BATCH);
        let senders = Senders::new(&router, handed_tx);
        let large = Arc::new(tokio::sync::Semaphore::new(LARGE_AT_ONCE as usize));
        let mut work = Loop {
            router,
            seq: Arc::default(),
            live: Live::default(),
            senders,
            wake,
            large,
            ready: ready_tx,
            behind: std::collections::HashMap::new(),
            swept: None,
        };
        work.resume().await;
        let task = tokio::spawn(work.run(signals, handed_rx, ready_rx, mail_rx, stop));
        Running { task, mail }
    }
}

/// A transaction with what was read for it.
type Prepared = (rows::Transaction, Ready);
type MailResults = (Vec<outbound::Handed>, oneshot::Sender<()>);

struct Loop {
    router: Arc<Router>,
    seq: Arc<Sequence>,
    live: Live,
    senders: Senders,
    wake: Arc<Notify>,
    large: Arc<tokio::sync::Semaphore>,
    ready: mpsc::Sender<Prepared>,
    /// Tenants of whom a large mail is being read, with what came after it.
    behind: std::collections::HashMap<Arc<str>, Vec<Hint>>,
    /// How far the start-up sweep has come.
    swept: Option<Millis>,
}

impl Loop {
    async fn run(
        mut self,
        mut signals: mpsc::Receiver<Signal>,
        mut handed: mpsc::Receiver<senders::Report>,
        mut ready: mpsc::Receiver<Prepared>,
        mut mails: mpsc::Receiver<MailResults>,
        stop: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut noticed, mut large) = (Vec::new(), Vec::new());
        let queue = self.router.queue.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(results) = mails.recv() => self.on_mails(results).await,
                Some(results) = handed.recv() => self.on_handed(results).await,
                _ = tick.tick() => self.on_tick().await,
                n = signals.recv_many(&mut noticed, 512), if !signals.is_closed() || !signals.is_empty() => {
                    if n > 0 { self.on_signals(std::mem::take(&mut noticed)).await; }
                }
                _ = ready.recv_many(&mut large, 4) => self.on_large(std::mem::take(&mut large)).await,
                hints = queue.next_batch(BATCH) => self.on_hints(hints).await,
            }
        }
        tracing::info!(waiting = self.live.len(), "The router has stopped");
    }

    /// Takes up what an earlier process left: messages that may not have gone out, and
    /// transactions that have not ended.
    async fn resume(&mut self) {
        let mut after = None;
        loop {
            let found =
                match self.router.store.deliveries_in("sending", after.as_deref(), 500).await {
                    Ok(found) => found,
                    Err(error) => {
                        tracing::error!(%error, "Unfinished deliveries cannot be read");
                        break;
                    }
                };
            let Some(last) = found.last() else { break };
            after = Some(last.id.clone());
            for row in found.into_iter().filter(|r| r.medium == "im") {
                self.live.note(&row);
            }
        }
        self.resend().await;
        self.sweep(true).await;
    }

    /// Finds transactions that no hint tells of.
    async fn sweep(&mut self, all: bool) {
        let now = self.router.clock.now();
        let mut after: Option<String> = None;
        loop {
            let found = match self.router.store.open_transactions(after.as_deref(), 500).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::error!(%error, "Unfinished transactions cannot be read");
                    return;
                }
            };
            let Some(last) = found.last() else { break };
            after = Some(last.id.clone());
            for row in found {
                // A fresh one has its own hint on the way.
                if all || now.since_ms(Millis(row.at)) > 5_000 {
                    self.router.queue.push(Hint {
                        tenant: row.tenant_id.as_str().into(),
                        transaction: row.id.clone(),
                        carried: Some(Arc::new(row)),
                    });
                }
            }
        }
        self.swept = Some(now);
    }

    async fn on_hints(&mut self, hints: Vec<Hint>) {
        let mut prepared = Vec::with_capacity(hints.len());
        for hint in hints {
            if let Some(waiting) = self.behind.get_mut(&hint.tenant) {
                waiting.push(hint);
            } else if let Some(one) = self.prepare(&hint).await {
                prepared.push(one);
            }
        }
        self.on_prepared(prepared).await;
    }

    /// A large mail was read: it takes its place before what came after it.
    async fn on_large(&mut self, read: Vec<Prepared>) {
        for one in read {
            let tenant: Arc<str> = one.0.tenant_id.as_str().into();
            self.on_prepared(vec![one]).await;
            if let Some(waiting) = self.behind.remove(&tenant) {
                Box::pin(self.on_hints(waiting)).await;
            }
        }
    }

    /// Reads what a transaction needs. A large mail is read beside the loop and comes back later.
    async fn prepare(&mut self, hint: &Hint) -> Option<Prepared> {
        let store = self.router.store.clone();
        let carried = hint.carried.as_ref();
        let (row, raw) =
            match carried.and_then(|c| c.downcast_ref::<(rows::Transaction, bytes::Bytes)>()) {
                Some((row, raw)) => (row.clone(), Some(raw.clone())),
                None => match carried.and_then(|c| c.downcast_ref::<rows::Transaction>()) {
                    Some(row) => (row.clone(), None),
                    None => match store.of(&hint.tenant).transaction(&hint.transaction).await {
                        Ok(Some(row)) if row.ended_at.is_none() => (row, None),
                        _ => {
                            self.router.queue.finished(&hint.transaction);
                            return None;
                        }
                    },
                },
            };
        if row.attempts >= TRIES {
            return Some((
                row,
                Ready::Unreadable("it failed every time it was tried and was set aside".into()),
            ));
        }
        let ready = match row.service.as_str() {
            "mail.in" => return self.prepare_mail(row, raw).await,
            "im.in" => parse::<ChatIn>(&row).map(|c| Ready::Chat(Box::new(c))),
            "decision" if row.params.contains("\"confirmation\"") => match parse::<Confirm>(&row) {
                Ok(confirm) => return self.prepare_confirmed(row, confirm).await,
                Err(why) => Err(why),
            },
            "challenge" => parse::<Challenge>(&row).map(Ready::Challenge),
            "code" => parse::<Code>(&row).map(Ready::Code),
            "decision" => parse::<Decision>(&row).map(|d| Ready::Decision(Box::new(d))),
            "reply.im" | "reply.email" | "message.im" | "message.email" => {
                parse::<Request>(&row).map(|r| Ready::Request(Box::new(r)))
            }
            other => Err(format!("there is no service {other}")),
        };
        Some((row, ready.unwrap_or_else(Ready::Unreadable)))
    }

    async fn prepare_mail(
        &mut self,
        row: rows::Transaction,
        raw: Option<bytes::Bytes>,
    ) -> Option<Prepared> {
        let mail = match parse::<MailIn>(&row) {
            Ok(mail) => mail,
            Err(why) => return Some((row, Ready::Unreadable(why))),
        };
        if mail.size > 256 * 1024 {
            let (store, large, back) =
                (self.router.store.clone(), Arc::clone(&self.large), self.ready.clone());
            self.behind.entry(row.tenant_id.as_str().into()).or_default();
            tokio::spawn(async move {
                let octets = u32::try_from(mail.size.saturating_mul(3))
                    .unwrap_or(u32::MAX)
                    .min(LARGE_AT_ONCE);
                let Ok(_room) = large.acquire_many(octets).await else { return };
                let ready = read_mail(&store, &row, mail, None).await;
                let _ = back.send((row, ready)).await;
            });
            return None;
        }
        let ready = read_mail(&self.router.store, &row, mail, raw).await;
        Some((row, ready))
    }

    /// What a member let through: the mail that was held back is read again.
    async fn prepare_confirmed(
        &self,
        row: rows::Transaction,
        confirm: Confirm,
    ) -> Option<Prepared> {
        let store = &self.router.store;
        let held = match store.confirmation(&confirm.confirmation).await {
            Ok(held) => held.filter(|h| h.tenant_id == row.tenant_id && h.state == "open"),
            Err(error) => return Some((row, Ready::Unreadable(error.to_string()))),
        };
        let Some(held) = held else {
            return Some((row, Ready::Unreadable("this was decided already".into())));
        };
        let mail = match serde_json::from_str::<MailIn>(&held.data) {
            Ok(mail) => mail,
            Err(error) => return Some((row, Ready::Unreadable(error.to_string()))),
        };
        match read_mail(store, &row, mail, None).await {
            Ready::Mail(mail) => Some((row, Ready::Confirmed(Box::new((held, mail.0, mail.1))))),
            other => Some((row, other)),
        }
    }

    async fn on_prepared(&mut self, prepared: Vec<Prepared>) {
        if prepared.is_empty() {
            return;
        }
        let mut ids = Vec::with_capacity(prepared.len());
        let mut rows = Vec::with_capacity(prepared.len());
        let router = Arc::clone(&self.router);
        let mut batch = Batch::new(&router, &self.seq);
        let mut failed = None;
        // One look-up for the threads of all mails of a tenant.
        let mut threads: std::collections::HashMap<&str, Vec<String>> =
            std::collections::HashMap::new();
        for (row, ready) in &prepared {
            if let Ready::Mail(mail) = ready {
                let parsed = &mail.1.parsed;
                let ids = threads.entry(row.tenant_id.as_str()).or_default();
                ids.extend(isthmus_mail::mime::thread_keys(parsed));
                ids.extend(parsed.message_id.clone());
            }
        }
        for (tenant, ids) in threads {
            if let Err(error) = batch.prefetch(tenant, &ids).await {
                tracing::error!(%error, "Threads cannot be looked up");
            }
        }
        for (row, ready) in prepared {
            ids.push(row.id.clone());
            if failed.is_none()
                && let Err(error) = batch.run(&row, ready).await
            {
                failed = Some((row.id.clone(), error));
            }
            rows.push(row);
        }
        let plan = batch.plan;
        match failed {
            None => {
                if let Err(error) = self.commit(plan).await {
                    self.one_by_one(rows, &error).await;
                }
            }
            Some((_, error)) => self.one_by_one(rows, &error).await,
        }
        for id in ids {
            self.router.queue.finished(&id);
        }
    }

    /// One of a batch went wrong: each is run alone, so that the others get through.
    async fn one_by_one(&mut self, rows: Vec<rows::Transaction>, why: &StoreError) {
        tracing::warn!(error = %why, transactions = rows.len(), "A batch failed and is run one by one");
        for row in rows {
            let hint = Hint {
                tenant: row.tenant_id.as_str().into(),
                transaction: row.id.clone(),
                carried: Some(Arc::new(row.clone())),
            };
            let Some((row, ready)) = self.prepare(&hint).await else { continue };
            let router = Arc::clone(&self.router);
            let mut batch = Batch::new(&router, &self.seq);
            let ran = batch.run(&row, ready).await;
            let plan = batch.plan;
            let result = match ran {
                Ok(()) => self.commit(plan).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                self.set_back(row, &error).await;
            }
        }
    }

    /// Counts a failed try; after too many the transaction is set aside with its reason.
    async fn set_back(&mut self, row: rows::Transaction, error: &StoreError) {
        tracing::error!(transaction = %row.id, service = %row.service, attempt = row.attempts + 1, %error, "A transaction failed");
        let mut plan = Plan::default();
        if row.attempts + 1 >= TRIES {
            let at = self.router.clock.now().0;
            let reason = Some(format!("set aside after {TRIES} tries: {error}"));
            plan.set.ended.push(Ended { id: row.id, state: "failed", reason, at });
        } else {
            plan.set.tried.push(row.id);
        }
        if let Err(error) = self.commit(plan).await {
            tracing::error!(%error, "A failed transaction could not be marked");
        }
    }

    /// Commits first, then acts.
    async fn commit(&mut self, plan: Plan) -> Result<(), StoreError> {
        failpoint::hit("router.before_commit");
        let deliveries = plan.set.put_deliveries.clone();
        self.router.store.commit(plan.set).await?;
        failpoint::hit("router.after_commit");
        for row in &deliveries {
            self.live.note(row);
        }
        for act in plan.acts {
            self.act(act).await;
        }
        Ok(())
    }

    async fn act(&mut self, act: Act) {
        match act {
            Act::Send(row) => self.send(*row),
            Act::Mail => self.wake.notify_one(),
            Act::Publish { tenant, members, kind, data } => {
                if self.router.bus.is_watched() {
                    self.router.bus.publish(&tenant, members, kind, data.to_string());
                }
            }
            Act::Probe { network, bridge_domain, address } => {
                let (Some(network), Ok(who)) = (
                    self.router.networks.get(network.as_str()).cloned(),
                    ImAddress::parse(&address),
                ) else {
                    return;
                };
                tokio::spawn(async move {
                    let reason = "To tell people who write to you whether you can be reached.";
                    network.watch(&bridge_domain, &who, reason).await;
                });
            }
        }
    }

    fn send(&mut self, row: rows::Delivery) {
        // What the sender cannot take, or what has older ones before it, lies in `live`, where
        // the tick finds it in order.
        if self.live.has_older(&row) {
            return;
        }
        let wire_id = row.wire_id.clone();
        if self.senders.send(row) {
            self.live.handed(&wire_id);
        }
    }

    /// Messages that no sender has are handed over again; what has waited too long for its
    /// network counts as not delivered for now, and the sender is asked.
    async fn resend(&mut self) {
        let now = self.router.clock.now();
        let mut late = Vec::new();
        for row in self.live.unhanded(RESEND) {
            let since = crate::steps::sending_since(&row).unwrap_or(row.created_at);
            if now.0 - since > UNCONNECTED_MS {
                late.push(row);
            } else {
                self.send(row);
            }
        }
        if late.is_empty() {
            return;
        }
        let router = Arc::clone(&self.router);
        let mut batch = Batch::new(&router, &self.seq);
        for row in late {
            let reason = "the chat network could not be reached".to_owned();
            if let Err(error) =
                batch.happened(row, Happened::Bounced { temporary: true, reason }).await
            {
                tracing::error!(%error, "A message that waited too long could not be moved on");
            }
        }
        let plan = batch.plan;
        self.commit_or_log(plan).await;
    }

    async fn on_handed(&mut self, report: senders::Report) {
        let senders::Report { handed, lane, broken, mended } = report;
        let router = Arc::clone(&self.router);
        let mut batch = Batch::new(&router, &self.seq);
        for senders::Handed { wire_id, result, waited_ms } in handed {
            let happened = match result {
                Ok(Sent::Written) => {
                    self.live.written(&wire_id, waited_ms);
                    continue;
                }
                Ok(Sent::Stored) => Happened::Evidence(isthmus_domain::delivery::Evidence::Stored),
                Err(SendError::Unclear(why)) => {
                    tracing::warn!(wire.id = %wire_id, %why, "A message may or may not have gone out");
                    self.live.given_back(&wire_id);
                    continue;
                }
                Err(SendError::NotConnected(_)) => {
                    self.live.given_back(&wire_id);
                    continue;
                }
                Err(SendError::Refused(reason)) => Happened::Bounced { temporary: false, reason },
            };
            if let Some(row) = self.live.get(&wire_id).cloned()
                && let Err(error) = batch.happened(row, happened).await
            {
                tracing::error!(%error, "A result could not be recorded");
            }
        }
        let plan = batch.plan;
        self.commit_or_log(plan).await;
        // Only now, when what was given back is known as such.
        self.senders.note(lane, broken, mended);
    }

    async fn on_signals(&mut self, signals: Vec<Signal>) {
        let router = Arc::clone(&self.router);
        let mut batch = Batch::new(&router, &self.seq);
        for signal in signals {
            match &signal {
                // Whatever was on the wire when the connection broke goes again, same ids.
                Signal::Up { .. } => self.resend().await,
                Signal::Mail => self.wake.notify_one(),
                _ => {
                    if let Err(error) = batch.signal(&self.live, signal).await {
                        tracing::error!(%error, "A signal could not be handled");
                    }
                }
            }
        }
        let plan = batch.plan;
        self.commit_or_log(plan).await;
    }

    async fn on_mails(&mut self, (handed, done): MailResults) {
        let router = Arc::clone(&self.router);
        let mut batch = Batch::new(&router, &self.seq);
        if let Err(error) = batch.mails_handed(handed).await {
            tracing::error!(%error, "Results of outbound mail could not be recorded");
            return;
        }
        let plan = batch.plan;
        if self.commit_or_log(plan).await {
            failpoint::hit("outbound.after_commit");
            let _ = done.send(());
        }
    }

    async fn on_tick(&mut self) {
        let now = self.router.clock.now();
        let mut due = self.live.due(now.0, 1_000);
        let slow = self.swept.is_none_or(|at| now.since_ms(at) >= 1_000);
        if slow {
            self.swept = Some(now);
            if let Err(error) = self.router.store.refresh_directory().await {
                tracing::error!(%error, "The directory cannot be read");
            }
            match self.router.store.deliveries_due(now.0, 500).await {
                Ok(rows) => due
                    .extend(rows.into_iter().filter(|r| r.medium != "im" || r.state != "sending")),
                Err(error) => tracing::error!(%error, "Due deliveries cannot be read"),
            }
            self.resend().await;
            if now.0 / 1_000 % 5 == 0 {
                self.sweep(false).await;
            }
        }
        if due.is_empty() {
            return;
        }
        failpoint::hit("router.before_settle");
        let router = Arc::clone(&self.router);
        let mut batch = Batch::new(&router, &self.seq);
        for row in due {
            // A retry goes out if its recipient is there by now, or if nobody can tell.
            let happened = match (row.state.as_str(), self.reach_of(&batch, &row)) {
                ("retrying", reach @ (Reach::Available | Reach::Unknown))
                    if !expired(&row, now) =>
                {
                    Happened::Presence(reach)
                }
                _ => Happened::Timer,
            };
            if let Err(error) = batch.happened(row, happened).await {
                tracing::error!(%error, "A due delivery could not be moved on");
            }
        }
        let plan = batch.plan;
        if self.commit_or_log(plan).await {
            failpoint::hit("router.after_settle");
        }
    }

    fn reach_of(&self, batch: &Batch<'_>, row: &rows::Delivery) -> Reach {
        crate::steps::read_wire(row)
            .map_or(Reach::Unavailable, |wire| batch.reach(&wire.bridge_domain, &row.address))
    }

    async fn commit_or_log(&mut self, plan: Plan) -> bool {
        match self.commit(plan).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "Deliveries could not be written; their timers will try again");
                false
            }
        }
    }
}

/// Whether retrying has gone on for as long as it was meant to.
fn expired(row: &rows::Delivery, now: Millis) -> bool {
    matches!(crate::steps::read_state(row), Ok(State::Retrying { expires, .. }) if now >= expires)
}

fn parse<T: serde::de::DeserializeOwned>(row: &rows::Transaction) -> Result<T, String> {
    serde_json::from_str(&row.params).map_err(|e| format!("its parameters cannot be read: {e}"))
}

async fn read_mail(
    store: &isthmus_store::Store,
    row: &rows::Transaction,
    mail: MailIn,
    raw: Option<bytes::Bytes>,
) -> Ready {
    let raw = match raw {
        Some(raw) => Ok(Some(raw)),
        None => store.of(&row.tenant_id).blob(&mail.raw).await,
    };
    let raw = match raw {
        Ok(Some(raw)) => raw,
        Ok(None) => return Ready::Unreadable("the mail is not there any more".into()),
        Err(error) => return Ready::Unreadable(error.to_string()),
    };
    match mail_in::read(store, &row.tenant_id, raw).await {
        Ok(Ok(incoming)) => Ready::Mail(Box::new((mail, incoming))),
        Ok(Err(why)) => Ready::Unreadable(why),
        Err(error) => Ready::Unreadable(error.to_string()),
    }
}
