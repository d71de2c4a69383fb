//! The loop: takes what waits, decides, commits once, and acts.

use std::{
    collections::{HashMap, HashSet},
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
use isthmus_store::{Ended, StoreError, UnsentMail, rows};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Router,
    batch::Batch,
    gather,
    live::Live,
    outbound,
    plan::{Act, Plan},
    prepare::LARGE_AT_ONCE,
    senders::{self, Senders},
    services::Ready,
    setbacks::Setbacks,
    settle::Settle,
};

/// Transactions, and as many signals, that share a commit: at least, at most.
const SHARE: (usize, usize) = (16, 256);
/// How long a turn of the loop should take. Whatever comes in has to wait for the turn that
/// is under way, so a shorter one is fairer; a longer one spends less on each transaction.
const TURN: Duration = Duration::from_millis(20);
/// Tries until a transaction that cannot be run is set aside.
pub(crate) const TRIES: i64 = 5;
/// Messages handed to their senders again at one look.
const RESEND: usize = 2_000;
/// How long a message may wait for its network before the sender is asked.
const UNCONNECTED_MS: i64 = 5 * 60_000;
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
        let (mailed_tx, mailed_rx) = mpsc::channel(4);
        let (mail, new_mail) = mpsc::unbounded_channel();
        let mail_task =
            tokio::spawn(outbound::run(Arc::clone(&router), new_mail, mailed_tx, stop.clone()));
        let (handed_tx, handed_rx) = mpsc::channel(256);
        let (ready_tx, ready_rx) = mpsc::channel(64);
        let senders = Senders::new(&router, handed_tx);
        let router_now = router.clock.now();
        let large = Arc::new(tokio::sync::Semaphore::new(LARGE_AT_ONCE as usize));
        let mut work = Loop {
            router,
            seq: Arc::default(),
            live: Live::default(),
            senders,
            mail,
            large,
            ready: ready_tx,
            reading: HashMap::new(),
            setbacks: Setbacks::default(),
            started: router_now,
            swept: None,
            share: 64,
        };
        work.resume().await;
        let task = tokio::spawn(work.run(signals, handed_rx, ready_rx, mailed_rx, stop));
        Running { task, mail: mail_task }
    }
}

/// A transaction with what was read for it.
pub(crate) type Prepared = (rows::Transaction, Ready);

pub(crate) struct Loop {
    pub(crate) router: Arc<Router>,
    seq: Arc<Sequence>,
    live: Live,
    senders: Senders,
    /// Tells the outbound queue of new mails.
    mail: mpsc::UnboundedSender<UnsentMail>,
    pub(crate) large: Arc<tokio::sync::Semaphore>,
    pub(crate) ready: mpsc::Sender<Prepared>,
    /// Large mails that are being read, by tenant, whose lane is held meanwhile: with how many.
    pub(crate) reading: HashMap<Arc<str>, usize>,
    /// Deliveries that could not be moved on when their time came.
    setbacks: Setbacks,
    /// When this process began to send.
    started: Millis,
    /// How far the start-up sweep has come.
    swept: Option<Millis>,
    /// How much a turn takes on, by how long the last ones took.
    share: usize,
}

/// What one turn of the loop works through, in one commit where nothing goes wrong.
#[derive(Default)]
struct Turn {
    settle: Settle,
    /// Who waits until results of outbound mail are written.
    written: Vec<oneshot::Sender<()>>,
    /// Lanes that broke or were mended.
    lanes: Vec<(senders::Lane, Option<oneshot::Sender<()>>, bool)>,
    hints: Vec<Hint>,
    large: Vec<Prepared>,
}

impl Turn {
    fn mailed(&mut self, (handed, waits): outbound::Results) {
        self.settle.mails.extend(handed);
        self.written.push(waits);
    }
}

impl Loop {
    async fn run(
        mut self,
        mut signals: mpsc::Receiver<Signal>,
        mut handed: mpsc::Receiver<senders::Report>,
        mut ready: mpsc::Receiver<Prepared>,
        mut mails: mpsc::Receiver<outbound::Results>,
        stop: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let queue = self.router.queue.clone();
        loop {
            let mut turn = Turn::default();
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => self.on_tick().await,
                Some(results) = mails.recv() => turn.mailed(results),
                Some(report) = handed.recv() => self.on_report(&mut turn, report),
                Some(signal) = signals.recv() => self.on_signal(&mut turn, signal),
                Some(read) = ready.recv() => turn.large.push(read),
                hints = queue.next_batch(self.share) => turn.hints = hints,
            }
            // Whatever else waits by now shares the commit.
            while let Ok(results) = mails.try_recv() {
                turn.mailed(results);
            }
            while let Ok(report) = handed.try_recv() {
                self.on_report(&mut turn, report);
            }
            while turn.settle.signals.len() < self.share
                && let Ok(signal) = signals.try_recv()
            {
                self.on_signal(&mut turn, signal);
            }
            if turn.hints.is_empty() {
                turn.hints = queue.take(self.share);
            }
            let full = turn.hints.len().max(turn.settle.signals.len()) >= self.share;
            let started = Instant::now();
            self.take(turn).await;
            let took = started.elapsed();
            if took > TURN {
                self.share = (self.share - self.share / 4).max(SHARE.0);
            } else if full && took < TURN / 2 {
                self.share = (self.share + self.share / 4).min(SHARE.1);
            }
        }
        // What mail servers have said is written down: else they get the same mail again.
        while let Some(results) = mails.recv().await {
            let mut turn = Turn::default();
            turn.mailed(results);
            self.take(turn).await;
        }
        tracing::info!(waiting = self.live.len(), "The router has stopped");
    }

    async fn take(&mut self, turn: Turn) {
        let Turn { settle, written, lanes, hints, large } = turn;
        let up = settle.signals.iter().any(|s| matches!(s, Signal::Up { .. }));
        let prepared = self.prepare_all(hints).await;
        let mails = !settle.mails.is_empty();
        if self.work(settle, prepared).await {
            if mails {
                failpoint::hit("outbound.after_commit");
            }
            for waits in written {
                let _ = waits.send(());
            }
        }
        // Only now, when what was given back is known as such.
        for (lane, broken, mended) in lanes {
            self.senders.note(lane, broken, mended);
        }
        if up {
            // Whatever was on the wire when the connection broke goes again, same ids.
            self.resend().await;
        }
        if !large.is_empty() {
            self.on_large(large).await;
        }
    }

    /// Settles what came back and runs what is new, in one commit. If that fails each part is
    /// tried by itself. Returns whether what came back is written.
    async fn work(&mut self, settle: Settle, prepared: Vec<Prepared>) -> bool {
        if settle.is_empty() && prepared.is_empty() {
            return true;
        }
        let mut ids = Vec::with_capacity(prepared.len());
        let mut rows = Vec::with_capacity(prepared.len());
        let router = Arc::clone(&self.router);
        let mut batch = Batch::new(&router, &self.seq);
        settle.plan(&mut batch, &self.live).await;
        batch.prefetch_threads(&prepared).await;
        let mut failed = None;
        for (row, ready) in prepared {
            ids.push(row.id.clone());
            // What cannot be read now must not hold up the others.
            if let Ready::NotNow(error) = ready {
                self.set_back(row, &error).await;
                continue;
            }
            if failed.is_none()
                && let Err(error) = batch.run_caught(&row, ready).await
            {
                failed = Some(error);
            }
            rows.push(row);
        }
        let plan = batch.plan;
        let result = match failed {
            None => self.commit(plan).await,
            Some(error) => Err(error),
        };
        let mut settled = result.is_ok();
        if let Err(error) = result {
            match rows.len() {
                0 => {
                    tracing::error!(%error, "Deliveries could not be written; their timers will try again");
                }
                // Trying the only one by itself would be the same again.
                1 if settle.is_empty() => {
                    for row in rows {
                        self.set_back(row, &error).await;
                    }
                }
                _ => {
                    settled = self.settle_alone(&settle).await;
                    self.one_by_one(rows, &error).await;
                }
            }
        }
        for id in ids {
            self.router.queue.finished(&id);
        }
        settled
    }

    async fn settle_alone(&mut self, settle: &Settle) -> bool {
        let router = Arc::clone(&self.router);
        let mut batch = Batch::new(&router, &self.seq);
        settle.plan(&mut batch, &self.live).await;
        let plan = batch.plan;
        self.commit_or_log(plan).await
    }

    /// Takes up what an earlier process left: messages that may not have gone out, and
    /// transactions that have not ended.
    async fn resume(&mut self) {
        let store = &self.router.store;
        let ids = store.being_sent().await.unwrap_or_else(|error| {
            tracing::error!(%error, "Unfinished deliveries cannot be read");
            Vec::new()
        });
        for ids in ids.chunks(500) {
            match store.deliveries_by_id(ids).await {
                Ok(found) => {
                    found.iter().filter(|r| r.medium == "im").for_each(|row| self.live.note(row));
                }
                Err(error) => {
                    tracing::error!(%error, "Unfinished deliveries cannot be read");
                    break;
                }
            }
        }
        self.resend().await;
        self.sweep(true).await;
    }

    /// Finds transactions that no hint tells of.
    async fn sweep(&mut self, all: bool) {
        let now = self.router.clock.now();
        let sweep = self.router.queue.sweep();
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
                // A fresh one has its own hint on the way, if there was room for that.
                let fresh = now.since_ms(Millis(row.at)) <= 5_000;
                if all || !fresh || sweep.is_behind(&row.tenant_id) {
                    self.router.queue.push_found(Hint {
                        tenant: row.tenant_id.as_str().into(),
                        transaction: row.id.clone(),
                        octets: row.params.len(),
                        carried: Some(Arc::new(row)),
                    });
                }
            }
        }
        self.router.queue.swept(&sweep);
        self.swept = Some(now);
    }

    async fn prepare_all(&mut self, hints: Vec<Hint>) -> Vec<Prepared> {
        let mut prepared = Vec::with_capacity(hints.len());
        let mut early = Vec::new();
        for hint in hints {
            // What came after a large mail of the same tenant waits for it.
            if self.reading.contains_key(&hint.tenant) {
                early.push(hint);
            } else if let Some(one) = self.prepare(&hint).await {
                prepared.push(one);
            }
        }
        self.router.queue.give_back(early);
        prepared
    }

    /// A large mail was read: it takes its place before what came after it.
    async fn on_large(&mut self, read: Vec<Prepared>) {
        for one in read {
            let tenant: Arc<str> = one.0.tenant_id.as_str().into();
            self.work(Settle::default(), vec![one]).await;
            let left = self.reading.get_mut(&tenant).map_or(0, |n| {
                *n = n.saturating_sub(1);
                *n
            });
            if left == 0 {
                self.reading.remove(&tenant);
                self.router.queue.release(&tenant);
            }
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
                octets: 0,
            };
            let Some((row, ready)) = self.prepare(&hint).await else { continue };
            let router = Arc::clone(&self.router);
            let mut batch = Batch::new(&router, &self.seq);
            let ran = batch.run_caught(&row, ready).await;
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
        if error.is_passing() {
            // The sweep brings it again in a few seconds, for as long as it takes.
            tracing::error!(transaction = %row.id, service = %row.service, %error, "A transaction has to wait");
            return;
        }
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
        let mails: Vec<_> = plan.set.once_outbound.iter().filter_map(UnsentMail::of).collect();
        self.router.store.commit(plan.set).await?;
        failpoint::hit("router.after_commit");
        for row in &deliveries {
            self.live.note(row);
        }
        for mail in mails {
            // Without a receiver everything is about to end.
            let _ = self.mail.send(mail);
        }
        let last: HashMap<&str, &str> =
            deliveries.iter().map(|d| (d.id.as_str(), d.state.as_str())).collect();
        let mut asked = HashSet::new();
        for act in plan.acts {
            // Something later in the same commit may have stopped it.
            if let Act::Send(row) = &act
                && last.get(row.id.as_str()).is_some_and(|state| *state != "sending")
            {
                continue;
            }
            // Many messages may wait for one person.
            if let Act::Probe { bridge_domain, address, .. } = &act
                && !asked.insert((bridge_domain.clone(), address.clone()))
            {
                continue;
            }
            self.act(act);
        }
        Ok(())
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Send(row) => self.send(*row),
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
            // While nobody here could send it did not wait for its network.
            let since = since.max(self.started.0);
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
            let bounced = Happened::Bounced { temporary: true, reason };
            batch.happened_or_not(row, bounced, "A message that waited too long").await;
        }
        let plan = batch.plan;
        self.commit_or_log(plan).await;
    }

    /// What a network noticed: what only concerns memory is done at once, the rest is settled.
    fn on_signal(&mut self, turn: &mut Turn, signal: Signal) {
        let Signal::Down { network, bridge_domain, noted } = signal else {
            turn.settle.signals.push(signal);
            return;
        };
        if let Some(tenant) = self.router.store.directory().by_bridge(&bridge_domain) {
            let (now, receipts) = (self.router.clock.now(), &self.router.receipts);
            self.live.session_ended(&tenant.tenant.id, &network, now, receipts);
        }
        self.senders.recall((network, bridge_domain), noted);
    }

    /// What a sender reports: what only concerns memory is noted, the rest is settled.
    fn on_report(&mut self, turn: &mut Turn, report: senders::Report) {
        let senders::Report { handed, lane, broken, mended } = report;
        for senders::Handed { wire_id, result, waited_ms } in handed {
            let happened = match result {
                Ok(Sent::Written) => {
                    self.live.written(&wire_id, waited_ms, self.router.clock.now());
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
            turn.settle.handed.push((wire_id, happened));
        }
        turn.lanes.push((lane, broken, mended));
    }

    async fn on_tick(&mut self) {
        let now = self.router.clock.now();
        // One small look-up a tick: what a command changed must act within two seconds.
        if let Err(error) = self.router.store.refresh_directory().await {
            tracing::error!(%error, "The directory cannot be read");
        }
        let directory = self.router.store.directory();
        self.live.forget(|tenant| directory.tenant(tenant).is_none());
        let mut due = self.live.due(now.0, 1_000);
        let slow = self.swept.is_none_or(|at| now.since_ms(at) >= 1_000);
        if slow {
            self.swept = Some(now);
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
        self.setbacks.hold_back(&mut due, now);
        failpoint::hit("router.before_settle");
        let router = Arc::clone(&self.router);
        let mut batch = Batch::new(&router, &self.seq);
        let (lines, due): (Vec<_>, Vec<_>) = due.into_iter().partition(gather::is_gathering);
        let mark = batch.plan.mark();
        let waiting: Vec<String> = lines.iter().map(|line| line.id.clone()).collect();
        if let Err(error) = batch.gathered(lines).await {
            tracing::error!(%error, "Chat lines could not be made a mail");
            batch.plan.back_to(&mark);
            waiting.into_iter().for_each(|id| self.setbacks.failed(id, now));
        }
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
            let row = batch.newest_of(row);
            let id = row.id.clone();
            if batch.happened_or_not(row, happened, "A due delivery").await {
                self.setbacks.moved(&id);
            } else {
                self.setbacks.failed(id, now);
            }
        }
        let plan = batch.plan;
        if self.commit_or_log(plan).await {
            failpoint::hit("router.after_settle");
        }
    }

    fn reach_of(&self, batch: &Batch<'_>, row: &rows::Delivery) -> Reach {
        crate::steps::read_envelope(row)
            .map_or(Reach::Unavailable, |it| batch.reach(&it.bridge_domain, &row.address))
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
