//! One bridge domain: its session with the server, kept up for as long as it is served.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use isthmus_domain::{
    address::Email,
    clock::{Chance, Clock},
};
use isthmus_im::{Event, Names};
use minidom::Element;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    answers::Sessions,
    config::XmppConfig,
    inbound::Session,
    jid::{Jid, Target},
    lock,
    notices::Notices,
    ns, presence,
    requests::Requests,
    roster::Roster,
    stream::{Echoes, Lost, Out, Reader, Writer, open},
    upload::Uploads,
    xml::Xml,
};

/// Requests and presence stanzas of one domain that are answered at once.
const REQUESTS_MAX: usize = 256;
/// Messages of one domain that may wait for their commit.
const MESSAGES_MAX: usize = 1_024;
/// How long somebody's name may take to look up.
const NAME_PATIENCE: Duration = Duration::from_secs(5);
/// Waits between attempts to connect.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// After `conflict`: with `kick_old` the other one is gone by then.
const RETRY_CONFLICT: Duration = Duration::from_secs(1);
/// After somebody else took the address from a session that was up: theirs until they leave.
const RETRY_REPLACED: Duration = Duration::from_secs(5);
/// How long the next session waits until the end of the last one was taken note of.
const NOTING: Duration = Duration::from_secs(5);
/// How long a stop waits for what is under way.
const GRACE: Duration = Duration::from_secs(1);
/// Least time between two rounds of presence news.
const PRESENCE_ROUND: Duration = Duration::from_millis(100);

/// What all bridge domains have in common.
pub(crate) struct Shared {
    pub(crate) config: XmppConfig,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) chance: Arc<Chance>,
    pub(crate) names: RwLock<Option<Arc<dyn Names>>>,
    pub(crate) served: RwLock<std::collections::HashSet<String>>,
    pub(crate) notices: Notices,
    pub(crate) uploads: Uploads,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// Tells the gateway something, at the gateway's pace.
    pub(crate) async fn tell(&self, event: Event) {
        if self.events.send(event).await.is_err() {
            tracing::debug!("an XMPP event came after the gateway had stopped listening");
        }
    }

    /// Whether this is one of our own bridge domains.
    pub(crate) fn is_served(&self, domain: &str) -> bool {
        self.served.read().unwrap_or_else(PoisonError::into_inner).contains(domain)
    }

    /// A stanza id of our own.
    pub(crate) fn own_id(&self, what: &str) -> String {
        format!("{what}-{}", self.chance.token())
    }
}

/// A look-up that did not come back in time.
pub(crate) struct Busy;

/// One bridge domain.
pub(crate) struct Link {
    pub(crate) shared: Arc<Shared>,
    pub(crate) domain: String,
    pub(crate) secret: String,
    pub(crate) roster: Mutex<Roster>,
    pub(crate) roster_changed: Notify,
    pub(crate) requests: Requests,
    pub(crate) commands: Sessions,
    pub(crate) stop: CancellationToken,
    /// Cancelled once nothing of it runs any more.
    pub(crate) ended: CancellationToken,
    /// The present session's queue.
    out: RwLock<Option<Out>>,
    busy_requests: Arc<Semaphore>,
    busy_messages: Arc<Semaphore>,
}

impl Link {
    /// Begins to serve `domain` until [`Link::stop`] is cancelled; `after` is when an earlier
    /// link for the same domain has ended.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        (domain, secret): (String, String),
        after: Option<CancellationToken>,
    ) -> Arc<Self> {
        let link = Arc::new(Self {
            roster: Mutex::new(Roster::new(shared.config.silent_presence)),
            roster_changed: Notify::new(),
            requests: Requests::default(),
            commands: Sessions::default(),
            stop: shared.stop.child_token(),
            ended: CancellationToken::new(),
            out: RwLock::new(None),
            busy_requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            busy_messages: Arc::new(Semaphore::new(MESSAGES_MAX)),
            shared: Arc::clone(shared),
            domain,
            secret,
        });
        let (keep, tell) = (Arc::clone(&link), Arc::clone(&link));
        shared.tasks.spawn(async move {
            if let Some(after) = after {
                after.cancelled().await;
            }
            keep.keep_up().await;
            keep.ended.cancel();
        });
        shared.tasks.spawn(async move {
            tokio::select! {
                () = tell.tell_presence() => {}
                () = tell.stop.cancelled() => {}
            }
        });
        link
    }

    /// The present session's queue, if there is a session.
    pub(crate) fn out(&self) -> Option<Out> {
        self.out.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_out(&self, out: Option<Out>) {
        *self.out.write().unwrap_or_else(PoisonError::into_inner) = out;
    }

    /// Sends an answer over whatever session there is.
    pub(crate) async fn push(&self, xml: String) {
        match self.out() {
            Some(out) => out.push(xml).await,
            None => tracing::debug!("an XMPP answer was dropped because the session has ended"),
        }
    }

    /// Whom an address on this bridge domain stands for.
    pub(crate) fn target(&self, to: &Jid) -> Target {
        let Some(alias) = to.alias() else { return to.target() };
        let names = self.shared.names.read().unwrap_or_else(PoisonError::into_inner).clone();
        let email = names.and_then(|names| names.alias(&self.domain, &alias));
        email.map_or(Target::Nobody, Target::Contact)
    }

    /// What a contact is called; `None` if there is no such person.
    pub(crate) async fn name_of(&self, email: &Email, asker: &Jid) -> Result<Option<String>, Busy> {
        let names = self.shared.names.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(names) = names else { return Ok(None) };
        let asker = asker.im();
        let name = names.name(&self.domain, email, asker.as_ref());
        timeout(NAME_PATIENCE, name).await.map_err(|_| Busy)
    }

    pub(crate) fn busy_with_request(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.busy_requests).try_acquire_owned().ok()
    }

    pub(crate) async fn busy_with_presence(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.busy_requests).acquire_owned().await.ok()
    }

    pub(crate) async fn busy_with_message(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.busy_messages).acquire_owned().await.ok()
    }

    /// What a server offers (XEP-0030 section 4).
    pub(crate) async fn items_of(&self, out: &Out, server: &str) -> Vec<String> {
        let asking = ("get", self.domain.as_str(), server);
        let answer = self.requests.ask(out, &self.shared.chance, asking, |xml: &mut Xml| {
            xml.empty("query", &[("xmlns", ns::DISCO_ITEMS)]);
        });
        let answer = answer.await;
        let query = answer.as_ref().and_then(|iq| iq.get_child("query", ns::DISCO_ITEMS));
        let items = query.into_iter().flat_map(Element::children);
        items.filter_map(|item| item.attr("jid")).map(str::to_owned).collect()
    }

    /// What an address is (XEP-0030 section 3).
    pub(crate) async fn info_of(&self, out: &Out, address: &str) -> Option<Element> {
        let asking = ("get", self.domain.as_str(), address);
        let answer = self.requests.ask(out, &self.shared.chance, asking, |xml: &mut Xml| {
            xml.empty("query", &[("xmlns", ns::DISCO_INFO)]);
        });
        answer.await?.get_child("query", ns::DISCO_INFO).cloned()
    }

    /// Connects, and connects again.
    async fn keep_up(self: &Arc<Self>) {
        let mut wait = RETRY_FIRST;
        let mut said = String::new();
        while !self.stop.is_cancelled() {
            let config = &self.shared.config;
            let opened = tokio::select! {
                opened = open(&config.server, &self.domain, &self.secret) => opened,
                () = self.stop.cancelled() => break,
            };
            let lost = match opened {
                Ok(opened) => {
                    said.clear();
                    wait = RETRY_FIRST;
                    let lost = self.session(opened).await;
                    if self.stop.is_cancelled() {
                        break;
                    }
                    tracing::warn!(xmpp.domain = %self.domain, "the XMPP session ended: {lost}");
                    if lost.is_conflict() {
                        self.pause(RETRY_REPLACED).await;
                    }
                    lost
                }
                Err(lost) => {
                    // Said once, however long it lasts.
                    let problem = lost.to_string();
                    if problem != said {
                        tracing::warn!(xmpp.domain = %self.domain, "no XMPP session: {problem}");
                        said = problem;
                    }
                    lost
                }
            };
            let conflict = lost.is_conflict();
            self.pause(if conflict { RETRY_CONFLICT } else { self.jittered(wait) }).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn pause(&self, how_long: Duration) {
        tokio::select! {
            () = sleep(how_long) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Somewhere between half of `wait` and all of it, so that many do not come back at once.
    fn jittered(&self, wait: Duration) -> Duration {
        let mut byte = [0];
        self.shared.chance.fill(&mut byte);
        wait.mul_f32(0.5 + f32::from(byte[0]) / 512.0)
    }

    /// One session, from the handshake to its end.
    async fn session(self: &Arc<Self>, opened: crate::stream::Opened) -> Lost {
        let (read, write) = opened.socket.into_split();
        let echoes = Arc::new(Echoes::new(&self.domain, self.shared.chance.token()));
        let (mut writer, out) = Writer::new(write, Arc::clone(&echoes), self.shared.config.confirm);
        let mut reader = Reader {
            socket: read,
            parser: opened.parser,
            buffer: opened.buffer,
            echoes: Arc::clone(&echoes),
            idle: self.shared.config.idle,
        };
        self.set_out(Some(out.clone()));
        tracing::info!(xmpp.domain = %self.domain, "the XMPP session is up");
        let lost = {
            let session = Session { link: Arc::clone(self), out, echoes };
            let reading = async {
                session.begin().await;
                loop {
                    match reader.next().await {
                        Ok(read) => session.handle(read).await,
                        Err(lost) => return lost,
                    }
                }
            };
            tokio::pin!(reading);
            let closing = CancellationToken::new();
            let closed =
                async { tokio::join!(self.close_in_order(&closing), writer.run(&closing)).1 };
            tokio::select! {
                lost = &mut reading => lost,
                written = closed => match written {
                    Err(error) => Lost::Io(error),
                    // The server closes its side in turn (RFC 6120 section 4.4).
                    Ok(()) => timeout(Duration::from_secs(1), reading).await.unwrap_or(Lost::Silent),
                },
            }
        };
        self.set_out(None);
        if let Lost::Bad(bad) = &lost {
            writer.fail(bad.condition()).await;
            reader.drain().await;
        }
        // Whoever waits for a message on this session learns now that it ended.
        drop((writer, reader));
        lock(&self.roster).session_down();
        tokio::select! {
            () = self.tell_down() => {}
            // Whoever stops us may have stopped listening.
            () = self.is_over() => {}
        }
        lost
    }

    /// Tells that the session ended, and waits until that was taken note of.
    async fn tell_down(&self) {
        let (noted, done) = oneshot::channel();
        self.shared.tell(Event::SessionDown { bridge_domain: self.domain.clone(), noted }).await;
        if timeout(NOTING, done).await.is_err() {
            tracing::warn!(xmpp.domain = %self.domain, "what the last XMPP session left is still being sorted");
        }
    }

    /// Once we are to stop, lets the receipts of messages that are being committed go out
    /// before the stream is closed.
    async fn close_in_order(&self, closing: &CancellationToken) {
        self.stop.cancelled().await;
        let all = u32::try_from(MESSAGES_MAX).unwrap_or(u32::MAX);
        // Those that take longer go without a receipt.
        drop(timeout(GRACE, self.busy_messages.acquire_many(all)).await);
        closing.cancel();
    }

    /// Returns when there has been time enough to stop.
    pub(crate) async fn is_over(&self) {
        self.stop.cancelled().await;
        sleep(GRACE * 2).await;
    }

    /// Tells presence as it changes: the first change at once, then at most one state of each
    /// person per round, always the latest.
    async fn tell_presence(&self) {
        loop {
            let due = lock(&self.roster).next_tick();
            tokio::select! {
                () = self.roster_changed.notified() => {}
                () = sleep_until_some(due) => lock(&self.roster).tick(Instant::now()),
            }
            let changes = lock(&self.roster).take_changes();
            if changes.is_empty() {
                continue;
            }
            for (of, presence) in changes {
                let bridge_domain = self.domain.clone();
                self.shared.tell(Event::Presence { bridge_domain, of, presence }).await;
            }
            sleep(PRESENCE_ROUND).await;
        }
    }
}

async fn sleep_until_some(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Session {
    /// Tells that the session is up, and asks for everybody's presence.
    async fn begin(&self) {
        let link = &self.link;
        link.shared.tell(Event::SessionUp { bridge_domain: link.domain.clone() }).await;
        let asks = lock(&link.roster).session_up(Instant::now());
        link.roster_changed.notify_one();
        for (who, ask) in asks {
            self.out.push(presence::ask_for(link, ask, &who)).await;
        }
    }
}
