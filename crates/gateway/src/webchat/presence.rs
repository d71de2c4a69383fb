//! Who sits in front of their web chat: somebody with an open page, and for a short while
//! somebody whose page was just loaded or closed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use isthmus_domain::address::ImAddress;
use isthmus_im::{Event, Presence};
use tokio::time::Instant;

use super::{Inner, News, WebChat, What, lock};

/// A page that was loaded counts this long; without JavaScript it is all there is.
const SEEN: Duration = Duration::from_secs(30);
/// A page that was closed counts this long: the next one is loaded meanwhile.
const CLOSED: Duration = Duration::from_secs(5);
/// People of whom "away" is remembered while they have no page open.
const PEOPLE: usize = 100_000;

#[derive(Clone, Copy, Debug, Default)]
struct Person {
    streams: u32,
    until: Option<Instant>,
    away: bool,
}

/// What is known of everybody. Nothing of it is durable: after a restart nobody is there until
/// their page connects again, which pages do by themselves.
#[derive(Debug, Default)]
pub(super) struct Board {
    people: HashMap<ImAddress, Person>,
    /// Who is asked for by which bridge domain, and what was told last.
    watched: BTreeMap<(String, ImAddress), Option<Presence>>,
}

impl Board {
    fn is_there(&self, who: &ImAddress, now: Instant) -> bool {
        self.people
            .get(who)
            .is_some_and(|p| !p.away && (p.streams > 0 || p.until.is_some_and(|until| until > now)))
    }

    pub(super) fn presence(&self, domain: &str, who: &ImAddress, now: Instant) -> Presence {
        // Nobody can be on line in this chat without our knowing, so silence is an answer.
        match self.watched.contains_key(&(domain.to_owned(), who.clone())) {
            false => Presence::Unknown,
            true if self.is_there(who, now) => Presence::Available,
            true => Presence::Unavailable,
        }
    }

    /// Asks, or asks again: either way there will be an answer.
    pub(super) fn watch(&mut self, domain: &str, who: &ImAddress) {
        self.watched.insert((domain.to_owned(), who.clone()), None);
    }

    pub(super) fn unwatch(&mut self, domain: &str, who: &ImAddress) {
        self.watched.remove(&(domain.to_owned(), who.clone()));
    }

    /// What has to be told, taken as told.
    fn changes(&mut self, now: Instant) -> Vec<(String, ImAddress, Presence)> {
        let keys: Vec<_> = self.watched.keys().cloned().collect();
        let mut out = Vec::new();
        for (domain, who) in keys {
            let presence = self.presence(&domain, &who, now);
            if let Some(told) = self.watched.get_mut(&(domain.clone(), who.clone()))
                && *told != Some(presence)
            {
                *told = Some(presence);
                out.push((domain, who, presence));
            }
        }
        out
    }

    /// When something changes by itself.
    fn next_change(&self, now: Instant) -> Option<Instant> {
        self.people
            .values()
            .filter(|p| p.streams == 0)
            .filter_map(|p| p.until)
            .filter(|u| *u > now)
            .min()
    }

    fn forget_the_gone(&mut self, now: Instant) {
        let full = self.people.len() > PEOPLE;
        let here = |p: &Person| p.streams > 0 || p.until.is_some_and(|u| u > now);
        self.people.retain(|_, p| here(p) || (p.away && !full));
    }
}

/// An open page of somebody's chat; they are there until it is dropped.
pub struct Watching {
    chat: WebChat,
    who: ImAddress,
}

impl Drop for Watching {
    fn drop(&mut self) {
        let now = Instant::now();
        {
            let mut board = lock(&self.chat.0.board);
            if let Some(person) = board.people.get_mut(&self.who) {
                person.streams = person.streams.saturating_sub(1);
                if person.streams == 0 {
                    person.until = Some(now + CLOSED);
                }
            }
        }
        self.chat.0.changed.notify_one();
    }
}

impl WebChat {
    /// A page of theirs stays open as long as what this returns.
    #[must_use]
    pub fn open(&self, who: &ImAddress) -> Watching {
        lock(&self.0.board).people.entry(who.clone()).or_default().streams += 1;
        self.0.changed.notify_one();
        Watching { chat: self.clone(), who: who.clone() }
    }

    /// A page of theirs was loaded.
    pub fn seen(&self, who: &ImAddress) {
        lock(&self.0.board).people.entry(who.clone()).or_default().until =
            Some(Instant::now() + SEEN);
        self.0.changed.notify_one();
    }

    /// They want to be shown as away.
    pub fn go_away(&self, who: &ImAddress) {
        self.show(who, |p| p.away = true);
    }

    /// They want to be shown as they are.
    pub fn come_back(&self, who: &ImAddress) {
        self.show(who, |p| p.away = false);
    }

    /// Whether they want to be shown as away.
    #[must_use]
    pub fn is_away(&self, who: &ImAddress) -> bool {
        lock(&self.0.board).people.get(who).is_some_and(|p| p.away)
    }

    /// They left: no grace for pages to come.
    pub fn leave(&self, who: &ImAddress) {
        if let Some(person) = lock(&self.0.board).people.get_mut(who) {
            person.until = None;
        }
        self.0.changed.notify_one();
    }

    fn show(&self, who: &ImAddress, change: impl FnOnce(&mut Person)) {
        change(lock(&self.0.board).people.entry(who.clone()).or_default());
        self.tell(who.as_str(), What::Presence);
        self.0.changed.notify_one();
    }
}

/// Tells presences as they change, one after the other, without making anybody wait who changes
/// them: a burst becomes its last state.
pub(super) fn tell(inner: &Arc<Inner>) {
    let (weak, changed) = (Arc::downgrade(inner), Arc::clone(&inner.changed));
    tokio::spawn(async move {
        loop {
            let (changes, next, events) = {
                let Some(inner) = weak.upgrade() else { return };
                let now = Instant::now();
                let mut board = lock(&inner.board);
                let changes = board.changes(now);
                board.forget_the_gone(now);
                (changes, board.next_change(now), inner.events.clone())
            };
            for (bridge_domain, of, presence) in changes {
                let owner = of.as_str().to_owned();
                if events.send(Event::Presence { bridge_domain, of, presence }).await.is_err() {
                    return;
                }
                let Some(inner) = weak.upgrade() else { return };
                let _ = inner.news.send(News { owner, what: What::Presence });
            }
            drop(events);
            match next {
                Some(at) => tokio::select! {
                    () = changed.notified() => {}
                    () = tokio::time::sleep_until(at) => {}
                },
                None => changed.notified().await,
            }
        }
    });
}
