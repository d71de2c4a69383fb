//! Who is there: presence of those whom a bridge domain watches, as plain decisions over what
//! came in. Nothing here reads a clock or writes a stanza.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use isthmus_domain::address::ImAddress;
use isthmus_im::Presence;
use tokio::time::Instant;

/// Clients of one person that are kept apart; more of them change nothing.
const CLIENTS_MAX: usize = 32;

/// What to ask a person's server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// For a subscription, which also finds out whether there is one.
    Subscribe,
    /// For their presence.
    Probe,
}

/// What somebody's server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A client is there and can be written to.
    Available,
    /// It is not, or wants no messages (negative priority, RFC 6121 section 4.7.2.3).
    Unavailable,
    /// We may know.
    Subscribed,
    /// We may not, or no longer.
    Unsubscribed,
    /// Their server could not be asked.
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subscription {
    /// To be asked for, or asked for and not answered.
    Wanted,
    Held,
    Refused,
}

struct Entry {
    reason: String,
    subscription: Subscription,
    /// Asked in the present session.
    asked: bool,
    /// Clients that are there, and when that was last heard.
    clients: HashMap<String, Instant>,
    probed_at: Option<Instant>,
    presence: Presence,
    /// What was last told.
    told: Presence,
}

/// The watched people of one bridge domain.
pub(crate) struct Roster {
    silent: Duration,
    up: bool,
    entries: HashMap<ImAddress, Entry>,
    /// Probes without an answer, oldest first: the wait is the same for all of them.
    waiting: VecDeque<(Instant, ImAddress)>,
    changed: HashSet<ImAddress>,
}

impl Roster {
    /// `silent` is how long a subscribed person may stay silent after a probe.
    pub(crate) fn new(silent: Duration) -> Self {
        Self {
            silent,
            up: false,
            entries: HashMap::new(),
            waiting: VecDeque::new(),
            changed: HashSet::new(),
        }
    }

    /// What is known of `who`.
    pub(crate) fn presence(&self, who: &ImAddress) -> Presence {
        self.entries.get(who).map_or(Presence::Unknown, |entry| entry.presence)
    }

    /// Why `who` is asked, in words for them.
    pub(crate) fn reason(&self, who: &ImAddress) -> String {
        self.entries.get(who).map(|entry| entry.reason.clone()).unwrap_or_default()
    }

    /// Begins to watch `who`, or asks again; returns what to send, if anything.
    pub(crate) fn watch(&mut self, who: &ImAddress, reason: &str, now: Instant) -> Option<Ask> {
        let entry = self.entries.entry(who.clone()).or_insert_with(|| Entry {
            reason: reason.to_owned(),
            subscription: Subscription::Wanted,
            asked: false,
            clients: HashMap::new(),
            probed_at: None,
            presence: Presence::Unknown,
            told: Presence::Unknown,
        });
        reason.clone_into(&mut entry.reason);
        if !self.up {
            return None;
        }
        self.ask(who, now)
    }

    /// Stops watching; whether `who` was watched.
    pub(crate) fn unwatch(&mut self, who: &ImAddress) -> bool {
        self.changed.remove(who);
        self.entries.remove(who).is_some()
    }

    /// A session began: everybody is asked again. What was known holds until they answer or
    /// the wait is over, so that a short interruption changes nothing.
    pub(crate) fn session_up(&mut self, now: Instant) -> Vec<(ImAddress, Ask)> {
        self.up = true;
        let everybody: Vec<ImAddress> = self.entries.keys().cloned().collect();
        everybody.into_iter().filter_map(|who| self.ask(&who, now).map(|ask| (who, ask))).collect()
    }

    /// The session ended.
    pub(crate) fn session_down(&mut self) {
        self.up = false;
        self.waiting.clear();
        for entry in self.entries.values_mut() {
            entry.asked = false;
            entry.probed_at = None;
        }
    }

    fn ask(&mut self, who: &ImAddress, now: Instant) -> Option<Ask> {
        let entry = self.entries.get_mut(who)?;
        let asked = std::mem::replace(&mut entry.asked, true);
        match entry.subscription {
            Subscription::Wanted if asked => None,
            Subscription::Wanted => Some(Ask::Subscribe),
            Subscription::Held | Subscription::Refused => {
                self.wait_for(who, now);
                Some(Ask::Probe)
            }
        }
    }

    fn wait_for(&mut self, who: &ImAddress, now: Instant) {
        if let Some(entry) = self.entries.get_mut(who)
            && entry.probed_at.is_none()
        {
            entry.probed_at = Some(now);
            self.waiting.push_back((now + self.silent, who.clone()));
        }
    }

    /// Takes in what came from `who`, from one client or (`None`) from their server.
    /// Returns what to ask in turn. People who are not watched change nothing.
    pub(crate) fn news(
        &mut self,
        who: &ImAddress,
        client: Option<&str>,
        news: News,
        now: Instant,
    ) -> Option<Ask> {
        let entry = self.entries.get_mut(who)?;
        let mut ask = None;
        match news {
            News::Available => {
                let client = client.unwrap_or_default();
                if entry.clients.contains_key(client) || entry.clients.len() < CLIENTS_MAX {
                    entry.clients.insert(client.to_owned(), now);
                }
                entry.presence = Presence::Available;
            }
            News::Unavailable => {
                match client {
                    Some(client) => drop(entry.clients.remove(client)),
                    None => entry.clients.clear(),
                }
                // Before `Subscribed` this is how some servers say "wait".
                if entry.clients.is_empty() {
                    entry.presence = entry.when_nobody_is_there();
                }
            }
            News::Subscribed => {
                if entry.subscription != Subscription::Held {
                    entry.subscription = Subscription::Held;
                    // Some servers send their user's presence now, others only when probed.
                    ask = Some(Ask::Probe);
                }
            }
            News::Unsubscribed => entry.forget(Subscription::Refused),
            News::Error => entry.forget(entry.subscription),
        }
        if entry.presence != entry.told {
            self.changed.insert(who.clone());
        }
        if ask.is_some() {
            self.wait_for(who, now);
        }
        ask
    }

    /// Concludes from silence.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some((due, who)) = self.waiting.pop_front_if(|(due, _)| *due <= now) {
            let Some(entry) = self.entries.get_mut(&who) else { continue };
            let Some(probed_at) = entry.probed_at.take() else { continue };
            if probed_at + self.silent > due {
                // Forgotten and asked anew since: the later deadline counts.
                entry.probed_at = Some(probed_at);
                continue;
            }
            // Clients that did not answer the probe have gone without a word.
            entry.clients.retain(|_, heard| *heard >= probed_at);
            if entry.clients.is_empty() {
                entry.presence = entry.when_nobody_is_there();
            }
            if entry.presence != entry.told {
                self.changed.insert(who);
            }
        }
    }

    /// When [`Roster::tick`] has something to do next.
    pub(crate) fn next_tick(&self) -> Option<Instant> {
        self.waiting.front().map(|(due, _)| *due)
    }

    /// Whether somebody's presence differs from what was told.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Everybody whose presence is not what was told last; it counts as told now.
    pub(crate) fn take_changes(&mut self) -> Vec<(ImAddress, Presence)> {
        let changed = std::mem::take(&mut self.changed);
        let news = changed.into_iter().filter_map(|who| {
            let entry = self.entries.get_mut(&who)?;
            let before = std::mem::replace(&mut entry.told, entry.presence);
            (before != entry.presence).then_some((who, entry.presence))
        });
        news.collect()
    }
}

impl Entry {
    fn when_nobody_is_there(&self) -> Presence {
        match self.subscription {
            Subscription::Held => Presence::Unavailable,
            Subscription::Wanted | Subscription::Refused => Presence::Unknown,
        }
    }

    fn forget(&mut self, subscription: Subscription) {
        self.subscription = subscription;
        self.clients.clear();
        self.probed_at = None;
        self.presence = Presence::Unknown;
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
