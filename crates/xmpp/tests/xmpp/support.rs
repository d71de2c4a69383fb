//! A network for a test, with what it tells.

use std::{sync::Arc, time::Duration};

use isthmus_domain::{
    address::{Email, ImAddress},
    clock::{Chance, ManualClock, Millis},
};
use isthmus_im::{Event, ImNetwork, OutMessage, conformance::OneName};
use isthmus_xmpp::{XmppConfig, XmppNetwork};
use tokio::{sync::mpsc, time::timeout};

pub(crate) const DOMAIN: &str = "bridge.acme.test";
pub(crate) const SECRET: &str = "bridge-secret";
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// The contact that exists.
pub(crate) const ALICE: &str = "alice\\40acme.test@bridge.acme.test";

pub(crate) struct Net {
    pub(crate) network: Arc<XmppNetwork>,
    pub(crate) events: mpsc::Receiver<Event>,
    pub(crate) clock: Arc<ManualClock>,
}

pub(crate) fn alice() -> Email {
    Email::parse("alice@acme.test").expect("an address")
}

pub(crate) fn bob() -> ImAddress {
    ImAddress::parse("xmpp:bob@chat.test").expect("an address")
}

pub(crate) fn message(id: &str, body: &str) -> OutMessage {
    OutMessage {
        id: id.to_owned(),
        bridge_domain: DOMAIN.to_owned(),
        from: Some(alice()),
        from_name: "Alice (acme.test)".to_owned(),
        to: bob(),
        body: body.to_owned(),
        thread: None,
        written_at: None,
        files: Vec::new(),
    }
}

impl Net {
    /// A network with `config` that serves [`DOMAIN`], where only [`ALICE`] exists.
    pub(crate) async fn serve(config: XmppConfig) -> Self {
        let (tell, events) = mpsc::channel(64);
        let clock = Arc::new(ManualClock::at(Millis(1_800_000_000_000)));
        let chance = Arc::new(Chance::seeded([3; 32]));
        let network = XmppNetwork::new(config, tell, clock.clone(), chance);
        network.set_names(Arc::new(OneName(alice(), "Alice (acme.test)".to_owned())));
        network.serve(vec![(DOMAIN.to_owned(), String::new())]).await;
        Self { network, events, clock }
    }

    /// The next event that `pick` accepts; others are dropped.
    pub(crate) async fn event<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        let wait = async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(picked) = pick(event) {
                    return picked;
                }
            }
        };
        timeout(SOON, wait).await.expect("the event comes in time")
    }

    /// Waits until the session is up or down.
    pub(crate) async fn session(&mut self, wanted: bool) {
        self.event(|event| match event {
            Event::SessionUp { .. } if wanted => Some(()),
            Event::SessionDown { .. } if !wanted => Some(()),
            _ => None,
        })
        .await;
    }
}
