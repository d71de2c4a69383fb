//! XMPP as an [`ImNetwork`].

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use isthmus_domain::{
    address::ImAddress,
    clock::{Chance, Clock},
};
use isthmus_im::{Event, ImNetwork, Names, OutMessage, Presence, SendError, Sent};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::XmppConfig,
    link::{Link, Shared},
    lock,
    notices::Notices,
    presence::{self, ask_for},
    stanza::message_out,
    upload::Uploads,
};

/// Octets of one message with its files, below what servers take from a component
/// (Prosody: 512 KiB).
const MESSAGE_MAX: usize = 256 * 1024;

/// XMPP through a server's component listener: one session per bridge domain.
pub struct XmppNetwork {
    shared: Arc<Shared>,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    served: HashMap<String, Arc<Link>>,
    /// Those that were told to end, and when they have.
    leaving: HashMap<String, CancellationToken>,
}

impl XmppNetwork {
    /// A network without any session yet; see [`ImNetwork::serve`]. What happens is told on
    /// `events`, whose pace it follows.
    #[must_use]
    pub fn new(
        config: XmppConfig,
        events: mpsc::Sender<Event>,
        clock: Arc<dyn Clock>,
        chance: Arc<Chance>,
    ) -> Arc<Self> {
        let shared = Shared {
            config,
            events,
            clock,
            chance,
            names: RwLock::new(None),
            served: RwLock::new(HashSet::new()),
            notices: Notices::default(),
            uploads: Uploads::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        Arc::new(Self { shared: Arc::new(shared), links: Mutex::default() })
    }

    /// Ends all sessions: takes no more messages, writes what is queued, closes the streams.
    /// Returns after 5 seconds at the latest. Nothing can be served afterwards.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if timeout(Duration::from_secs(5), self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("the XMPP sessions did not end in time");
        }
    }

    fn link(&self, bridge_domain: &str) -> Option<Arc<Link>> {
        lock(&self.links).served.get(bridge_domain).cloned()
    }
}

#[async_trait]
impl ImNetwork for XmppNetwork {
    fn name(&self) -> &'static str {
        "xmpp"
    }

    async fn serve(&self, bridge_domains: Vec<(String, String)>) {
        let wanted: HashMap<String, String> = bridge_domains
            .into_iter()
            .map(|(domain, secret)| {
                let secret =
                    if secret.is_empty() { self.shared.config.secret.clone() } else { secret };
                (domain.to_lowercase(), secret)
            })
            .collect();
        let mut links = lock(&self.links);
        let Links { served, leaving } = &mut *links;
        leaving.retain(|_, ended| !ended.is_cancelled());
        // One whose secret changed is closed and opened anew.
        served.retain(|domain, link| {
            let stays = wanted.get(domain) == Some(&link.secret);
            if !stays {
                link.stop.cancel();
                leaving.insert(domain.clone(), link.ended.clone());
            }
            stays
        });
        *self.shared.served.write().unwrap_or_else(PoisonError::into_inner) =
            wanted.keys().cloned().collect();
        for (domain, secret) in wanted {
            served.entry(domain).or_insert_with_key(|domain| {
                let after = leaving.remove(domain);
                Link::start(&self.shared, (domain.clone(), secret), after)
            });
        }
    }

    fn set_names(&self, names: Arc<dyn Names>) {
        *self.shared.names.write().unwrap_or_else(PoisonError::into_inner) = Some(names);
    }

    /// Returns when the server has it (see [`crate::Confirm`]). If the future is dropped the
    /// message may still go out. Whoever takes the events must not wait for this: the server's
    /// confirmation is read behind them.
    async fn send(&self, message: OutMessage) -> Result<Sent, SendError> {
        if message.to.network() != self.name() {
            return Err(SendError::Refused(format!("{} is not an XMPP address", message.to)));
        }
        let none = || SendError::NotConnected(format!("{} has no session", message.bridge_domain));
        let link = self.link(&message.bridge_domain).ok_or_else(none)?;
        let out = link.out().filter(|_| !link.stop.is_cancelled()).ok_or_else(none)?;
        let files = self.shared.uploads.share(&link, &out, &message).await;
        let xml = message_out::render(&message, &files);
        if xml.len() > MESSAGE_MAX {
            let text = format!("the message is longer than {} KiB", MESSAGE_MAX / 1024);
            return Err(SendError::Refused(text));
        }
        out.send(xml).await?;
        Ok(Sent::Written)
    }

    fn presence(&self, bridge_domain: &str, who: &ImAddress) -> Presence {
        let link = self.link(bridge_domain);
        link.map_or(Presence::Unknown, |link| lock(&link.roster).presence(who))
    }

    async fn watch(&self, bridge_domain: &str, who: &ImAddress, reason: &str) {
        let Some(link) = self.link(bridge_domain).filter(|_| who.network() == self.name()) else {
            return;
        };
        let ask = lock(&link.roster).watch(who, reason, Instant::now());
        link.roster_changed.notify_one();
        if let Some(ask) = ask {
            link.push(ask_for(&link, ask, who)).await;
        }
    }

    async fn unwatch(&self, bridge_domain: &str, who: &ImAddress) {
        let Some(link) = self.link(bridge_domain) else { return };
        let was_watched = lock(&link.roster).unwatch(who);
        if was_watched {
            link.push(presence::presence("unsubscribe", &link.domain, who.address())).await;
        }
    }
}
