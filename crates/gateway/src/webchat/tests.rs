//! The web chat does what every network must, and what only it promises.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use isthmus_domain::{
    address::{Email, ImAddress},
    clock::{Chance, ManualClock, Millis},
};
use isthmus_im::{
    Event, ImNetwork, Presence,
    conformance::{Bench, Got, OneName, Peer, everything},
};
use isthmus_store::{ApplyMember, ApplyTenant, Store, StoreConfig};
use tokio::{
    sync::{broadcast, mpsc},
    time::timeout,
};

use super::{LineFile, News, NotSaid, Saying, Watching, WebChat, What, id_of};

pub(crate) const BRIDGE: &str = "bridge.acme.test";

pub(crate) async fn store() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let config = StoreConfig {
        url: format!("sqlite://{}", dir.path().join("t.db").display()),
        blobs: dir.path().join("blobs"),
    };
    let store = Store::open(&config).await.expect("opens");
    let acme = ApplyTenant {
        slug: "acme".into(),
        name: "Acme".into(),
        domains: vec!["acme.test".into()],
        mail_mode: "copy".into(),
        bridge_domain: BRIDGE.into(),
        currency: "EUR".into(),
        time_zone: "UTC".into(),
        billing_email: None,
        billing_delivery: vec![],
        forward_to: None,
        xmpp_secret: None,
        policy: None,
        outbound_per_day: 10,
        members: vec![ApplyMember {
            email: "alice@acme.test".into(),
            name: "Alice".into(),
            role: "owner".into(),
            password_hash: None,
            im: vec!["xmpp:alice@chat.test".into()],
        }],
        contacts: vec![],
    };
    store.apply(vec![acme], Millis(1), Arc::new(Chance::seeded([1; 32]))).await.expect("applies");
    (store, dir)
}

async fn chat(store: &Store) -> (WebChat, mpsc::Receiver<Event>) {
    let (events, incoming) = mpsc::channel(64);
    let clock = Arc::new(ManualClock::at(Millis(1_772_543_400_000)));
    (WebChat::new(store.clone(), events, clock), incoming)
}

/// A browser with Bob in front of it.
struct Browser {
    chat: WebChat,
    who: ImAddress,
    page: Option<Watching>,
    news: broadcast::Receiver<News>,
    accepted: Vec<String>,
    shown: Vec<Got>,
    said: u32,
}

impl Browser {
    fn new(chat: &WebChat) -> Self {
        let who = ImAddress::parse("web:bob@customer.test").expect("an address");
        let page = Some(chat.open(&who));
        Self {
            news: chat.watch_news(),
            chat: chat.clone(),
            who,
            page,
            accepted: vec![],
            shown: vec![],
            said: 0,
        }
    }

    /// Sorts one piece of news, if there is one in time.
    async fn look(&mut self, wait: Duration) -> bool {
        let Ok(Ok(news)) = timeout(wait, self.news.recv()).await else { return false };
        assert_eq!(news.owner, self.who.as_str());
        match news.what {
            What::Line(line) if line.direction == "out" => {
                self.accepted.insert(0, id_of(&line).to_owned())
            }
            What::Line(line) => {
                let files: Vec<LineFile> = serde_json::from_str(&line.files).expect("files");
                self.shown.insert(
                    0,
                    Got {
                        from: Email::parse(&line.contact).ok(),
                        body: line.body.clone(),
                        id: id_of(&line).to_owned(),
                        files: files.into_iter().map(|f| f.link).collect(),
                    },
                );
            }
            What::Refused { to, why } => {
                self.shown.insert(0, Got { from: to, body: why, id: String::new(), files: vec![] });
            }
            What::Presence => {}
        }
        true
    }
}

#[async_trait]
impl Peer for Browser {
    fn address(&self) -> ImAddress {
        self.who.clone()
    }

    async fn online(&mut self) {
        self.page.get_or_insert_with(|| self.chat.open(&self.who));
    }

    async fn offline(&mut self) {
        self.page = None;
    }

    async fn accept_subscription(&mut self) {}

    async fn send(&mut self, to: Option<&Email>, body: &str) -> String {
        self.said += 1;
        let id = format!("said-{}", self.said);
        let saying = Saying {
            owner: self.who.clone(),
            bridge_domain: BRIDGE.into(),
            to: to.cloned(),
            id: id.clone(),
            body: body.into(),
            files: vec![],
        };
        let chat = self.chat.clone();
        tokio::spawn(async move { chat.say(saying).await });
        id
    }

    async fn next_message(&mut self, wait: Duration) -> Option<Got> {
        while self.shown.is_empty() && self.look(wait).await {}
        self.shown.pop()
    }

    async fn next_receipt(&mut self, wait: Duration) -> Option<String> {
        while self.accepted.is_empty() && self.look(wait).await {}
        self.accepted.pop()
    }

    async fn name_of(&mut self, contact: &Email) -> Option<String> {
        self.chat.name(BRIDGE, contact, &self.who).await
    }
}

#[tokio::test]
async fn the_web_chat_is_a_network_like_any_other() {
    let (store, _dir) = store().await;
    let (chat, events) = chat(&store).await;
    let contact = Email::parse("alice@acme.test").expect("an address");
    let name = "Alice (acme.test)".to_owned();
    chat.set_names(Arc::new(OneName(contact.clone(), name.clone())));
    let mut bench = Bench {
        peer: Browser::new(&chat),
        network: Arc::new(chat),
        events,
        bridge_domain: BRIDGE.into(),
        contact,
        contact_name: name,
    };
    everything(&mut bench).await;
}

#[tokio::test]
async fn the_same_message_twice_is_one_line() {
    let (store, _dir) = store().await;
    let (chat, events) = chat(&store).await;
    let bench = Bench {
        peer: Browser::new(&chat),
        network: Arc::new(chat.clone()),
        events,
        bridge_domain: BRIDGE.into(),
        contact: Email::parse("alice@acme.test").expect("an address"),
        contact_name: "Alice".into(),
    };
    for (id, body) in [("dlv_1", "Hello"), ("dlv_1", "Hello"), ("dlv_2", "Hello")] {
        bench.network.send(bench.message(id, body)).await.expect("stored");
    }
    let lines = chat.lines(&bench.peer.who, 10).await.expect("reads");
    assert_eq!(lines.iter().map(id_of).collect::<Vec<_>>(), ["dlv_1", "dlv_2"]);
}

/// What the router hands over together is shown in that order, though each line looks for an
/// earlier try of itself first.
#[tokio::test]
async fn lines_that_are_handed_over_together_keep_their_order() {
    let (store, _dir) = store().await;
    let (chat, events) = chat(&store).await;
    let bench = Bench {
        peer: Browser::new(&chat),
        network: Arc::new(chat.clone()),
        events,
        bridge_domain: BRIDGE.into(),
        contact: Email::parse("alice@acme.test").expect("an address"),
        contact_name: "Alice".into(),
    };
    let ids: Vec<String> = (0..30).map(|n| format!("dlv_{n:02}")).collect();
    for round in 0..5 {
        let ids: Vec<String> = ids.iter().map(|id| format!("{id}_{round}")).collect();
        let sends = ids.iter().map(|id| bench.network.send(bench.message(id, "Hello")));
        for sent in futures::future::join_all(sends).await {
            sent.expect("stored");
        }
        let lines = chat.lines(&bench.peer.who, 30).await.expect("reads");
        assert_eq!(lines.iter().map(id_of).collect::<Vec<_>>(), ids);
    }
}

#[tokio::test]
async fn somebody_shown_as_away_is_unavailable_with_their_page_open() {
    let (store, _dir) = store().await;
    let (chat, _events) = chat(&store).await;
    let browser = Browser::new(&chat);
    chat.watch(BRIDGE, &browser.who, "").await;
    assert_eq!(chat.presence(BRIDGE, &browser.who), Presence::Available);
    chat.go_away(&browser.who);
    assert_eq!(chat.presence(BRIDGE, &browser.who), Presence::Unavailable);
    chat.come_back(&browser.who);
    assert_eq!(chat.presence(BRIDGE, &browser.who), Presence::Available);
}

#[tokio::test]
async fn what_nobody_committed_is_not_in_the_chat_and_may_be_sent_again() {
    let (store, _dir) = store().await;
    let (chat, mut events) = chat(&store).await;
    let saying = Saying {
        owner: ImAddress::parse("web:bob@customer.test").expect("an address"),
        bridge_domain: BRIDGE.into(),
        to: None,
        id: "once".into(),
        body: "1".into(),
        files: vec![],
    };
    let lost = tokio::join!(chat.say(saying.clone()), async { drop(events.recv().await) }).0;
    assert!(matches!(lost, Err(NotSaid::Unclear)), "{lost:?}");
    assert!(chat.lines(&saying.owner, 10).await.expect("reads").is_empty());
    let commit = async {
        match events.recv().await {
            Some(Event::Message(message, answer)) => {
                assert_eq!(message.id, "once");
                answer.send(Ok(())).expect("waits");
            }
            other => panic!("no message: {other:?}"),
        }
    };
    tokio::join!(chat.say(saying.clone()), commit).0.expect("said");
    // A third time is answered from the chat itself.
    chat.say(saying.clone()).await.expect("known");
    assert_eq!(chat.lines(&saying.owner, 10).await.expect("reads").len(), 1);
}
