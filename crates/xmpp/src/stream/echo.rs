//! Pings to ourselves: how we learn that the server has worked through what we wrote.
//!
//! XEP-0114 streams have no acknowledgements. A stanza to our own domain comes back behind
//! everything that was written before it, whatever server is at the other end.

use std::sync::Mutex;

use tokio::sync::Notify;

use super::Waiter;
use crate::{lock, ns, xml::Xml};

/// Octets that may be written behind a ping under way. What the server has not worked through
/// is at most twice this, so that it can answer in time however busy it is.
const WINDOW: usize = 256 * 1024;

/// The pings of one connection: at most one is under way, and those who wait meanwhile
/// share the next.
pub(crate) struct Echoes {
    domain: String,
    /// Random, so that nobody can answer in the server's place.
    token: String,
    state: Mutex<State>,
    /// Told when a ping should be written although nothing else is.
    pub(crate) wanted: Notify,
}

#[derive(Default)]
struct State {
    counter: u64,
    under_way: Option<UnderWay>,
    /// Written since the ping under way was.
    unconfirmed: Vec<Waiter>,
    /// Octets of that.
    written: usize,
    /// Somebody only wants to know whether the server lives.
    test: bool,
}

struct UnderWay {
    counter: u64,
    waiters: Vec<Waiter>,
}

impl Echoes {
    pub(crate) fn new(domain: &str, token: String) -> Self {
        Self { domain: domain.to_owned(), token, state: Mutex::default(), wanted: Notify::new() }
    }

    /// Whether more may be written now; if not, `wanted` tells when.
    pub(super) fn may_write(&self) -> bool {
        let state = lock(&self.state);
        state.under_way.is_none() || state.written < WINDOW
    }

    /// Takes those whose stanzas, of so many octets, are about to be written; returns the ping
    /// to write behind them.
    pub(super) fn behind(
        &self,
        waiters: impl Iterator<Item = Waiter>,
        octets: usize,
    ) -> Option<String> {
        let mut state = lock(&self.state);
        state.unconfirmed.extend(waiters);
        state.written += octets;
        let needed = !state.unconfirmed.is_empty() || state.test || state.written >= WINDOW / 2;
        if state.under_way.is_some() || !needed {
            return None;
        }
        state.written = 0;
        state.test = false;
        state.counter += 1;
        let counter = state.counter;
        let waiters = std::mem::take(&mut state.unconfirmed);
        state.under_way = Some(UnderWay { counter, waiters });
        let (id, domain) = (self.id(counter), self.domain.as_str());
        Some(Xml::build(|xml| {
            xml.element(
                "iq",
                &[("type", "get"), ("id", &id), ("from", domain), ("to", domain)],
                |xml| {
                    xml.empty("ping", &[("xmlns", ns::PING)]);
                },
            );
        }))
    }

    /// Whether a stanza from ourselves with this id is our ping; if so, all that was written
    /// before it is confirmed.
    pub(crate) fn came_back(&self, id: &str) -> bool {
        let mut state = lock(&self.state);
        let Some(under_way) = state.under_way.take_if(|u| self.id(u.counter) == id) else {
            return false;
        };
        drop(state);
        // Whoever was written meanwhile needs the next one.
        self.wanted.notify_one();
        under_way.waiters.into_iter().for_each(Waiter::done);
        true
    }

    /// Asks for a ping to test the connection, unless one is under way.
    pub(super) fn test(&self) {
        lock(&self.state).test = true;
        self.wanted.notify_one();
    }

    /// Whether somebody's stanza is written and not confirmed.
    pub(super) fn owing(&self) -> bool {
        let state = lock(&self.state);
        state.under_way.is_some() || !state.unconfirmed.is_empty()
    }

    fn id(&self, counter: u64) -> String {
        format!("echo-{}-{counter}", self.token)
    }
}
