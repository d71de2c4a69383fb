//! What a client has received, as far as it is measured.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::{sync::Notify, time::Instant};

use crate::load::{MARK, MARK_DIGITS};

/// How smtp-source fills the bodies of its mails.
const FILLER: &[u8] = b"XXXXXXXXXXXXXXXX";

/// What has come so far.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// When each marked message came.
    pub(crate) marks: HashMap<u32, Instant>,
    /// Messages made of filler.
    pub(crate) filled: u32,
    /// When the last of those came.
    pub(crate) last: Option<Instant>,
    /// Ids of messages that came, to see which come twice.
    ids: HashSet<String>,
    /// Messages that came again under the same id.
    pub(crate) again: u32,
    /// The latest stanza made of filler.
    pub(crate) latest: Vec<u8>,
    /// Who asked for our presence and got it.
    pub(crate) watchers: HashSet<String>,
}

/// A client's inbox, shared with those who wait for something in it.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
}

impl Inbox {
    /// What has come so far.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets messages.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        let watchers = std::mem::take(&mut state.watchers);
        *state = State { watchers, ..State::default() };
    }

    /// Waits until `done`; gives up when nothing has come for `patience`.
    ///
    /// # Errors
    /// Says what did not come.
    pub(crate) async fn until(
        &self,
        what: &str,
        patience: Duration,
        done: impl Fn(&State) -> bool,
    ) -> Result<()> {
        loop {
            if done(&self.state()) {
                return Ok(());
            }
            // A change between the look and the wait leaves a permit behind.
            if tokio::time::timeout(patience, self.changed.notified()).await.is_err() {
                if done(&self.state()) {
                    return Ok(());
                }
                let state = self.state();
                let (marked, filled) = (state.marks.len(), state.filled);
                bail!(
                    "{what}: nothing came for {patience:?} after {marked} marked and {filled} other messages"
                );
            }
        }
    }

    /// Wakes who waits.
    pub(crate) fn tell(&self) {
        self.changed.notify_one();
    }
}

impl State {
    /// Takes in one message stanza.
    pub(crate) fn message(&mut self, stanza: &[u8], id: Option<&str>, at: Instant) {
        let marked = memchr::memmem::find(stanza, MARK.as_bytes()).and_then(|found| {
            let from = found + MARK.len();
            std::str::from_utf8(stanza.get(from..from + MARK_DIGITS)?).ok()?.parse::<u32>().ok()
        });
        let filled = marked.is_none() && memchr::memmem::find(stanza, FILLER).is_some();
        if marked.is_none() && !filled {
            return;
        }
        if let Some(id) = id
            && !self.ids.insert(id.to_owned())
        {
            self.again += 1;
            return;
        }
        if let Some(mark) = marked {
            self.marks.entry(mark).or_insert(at);
        }
        if filled {
            self.filled += 1;
            self.last = Some(at);
            self.latest.clear();
            self.latest.extend_from_slice(stanza);
        }
    }
}
