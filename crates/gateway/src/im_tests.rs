//! Where the events of networks come in.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use isthmus_domain::{
    address::{Email, ImAddress},
    clock::{Chance, ManualClock, Millis},
    signed::SignedLinks,
};
use isthmus_im::{Event, InFile, InMessage, Names};
use isthmus_queue::{Bus, Queue, Signals};
use isthmus_store::Page;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{Gateway, GatewayConfig, im::DirectoryNames, webchat};

async fn gateway(file_hosts: Vec<String>) -> (Arc<Gateway>, tempfile::TempDir) {
    let (store, folder) = webchat::tests::store().await;
    let gateway = Gateway {
        store,
        queue: Queue::default(),
        bus: Bus::default(),
        signals: Signals::channel(16).0,
        networks: HashMap::new(),
        links: SignedLinks::new(b"a secret of at least thirty-two octets!"),
        clock: Arc::new(ManualClock::at(Millis(1_772_543_400_000))),
        chance: Arc::new(Chance::seeded([3; 32])),
        config: GatewayConfig {
            public_url: "http://localhost".into(),
            hostname: "localhost".into(),
            installation: "test".into(),
            trusted_networks: vec![],
            spool: PathBuf::new(),
            keeps_mail: true,
            file_hosts,
            demo_logins: vec![],
        },
    };
    (Arc::new(gateway), folder)
}

fn message(from: &str, id: &str, body: &str, files: &[&str]) -> InMessage {
    InMessage {
        bridge_domain: webchat::tests::BRIDGE.into(),
        from: ImAddress::parse(from).expect("an address"),
        from_resource: None,
        to: Some(Email::parse("alice@acme.test").expect("an address")),
        id: id.into(),
        body: body.into(),
        thread: None,
        files: files.iter().map(|u| InFile { url: (*u).into(), description: None }).collect(),
        sent_at: None,
        wants_receipt: true,
    }
}

struct Door {
    gateway: Arc<Gateway>,
    events: mpsc::Sender<Event>,
    _folder: tempfile::TempDir,
}

impl Door {
    async fn new(file_hosts: Vec<String>) -> Self {
        let (gateway, folder) = gateway(file_hosts).await;
        let (events, incoming) = mpsc::channel(64);
        tokio::spawn(crate::im::run(Arc::clone(&gateway), incoming, CancellationToken::new()));
        Self { gateway, events, _folder: folder }
    }

    async fn hand(&self, message: InMessage) -> oneshot::Receiver<Result<(), String>> {
        let (answer, answered) = oneshot::channel();
        self.events.send(Event::Message(message, answer)).await.expect("it listens");
        answered
    }

    /// The texts that were kept, sorted.
    async fn kept(&self) -> Vec<String> {
        let directory = self.gateway.store.directory();
        let tenant = directory.by_bridge(webchat::tests::BRIDGE).expect("acme");
        let page = Page { before: None, limit: 50 };
        let rows = self
            .gateway
            .store
            .of(&tenant.tenant.id)
            .transactions(None, &page)
            .await
            .expect("reads");
        let text =
            |p: &str| serde_json::from_str::<serde_json::Value>(p).expect("JSON")["body"].clone();
        let mut all: Vec<String> =
            rows.iter().map(|r| text(&r.params).as_str().expect("a text").to_owned()).collect();
        all.sort_unstable();
        all
    }
}

const KNOWN: &str = "xmpp:alice@chat.test";

#[tokio::test]
async fn a_slow_file_holds_up_nobody_but_its_sender() {
    // It takes the connection and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = silent.local_addr().expect("an address").to_string();
    let url = format!("http://{host}/file.bin");
    let door = Door::new(vec![host]).await;
    let mut slow = door.hand(message(KNOWN, "1", "look", &[&url])).await;
    let mut behind = door.hand(message(KNOWN, "2", "did you?", &[])).await;
    let other = door.hand(message("xmpp:zoe@chat.test", "1", "hello", &[])).await;
    let soon = Duration::from_secs(5);
    assert_eq!(timeout(soon, other).await.expect("at once").expect("answered"), Ok(()));
    assert!(slow.try_recv().is_err() && behind.try_recv().is_err());
    // A sender who goes on writing gets the file through as a link.
    for n in 0..32 {
        drop(door.hand(message(KNOWN, &format!("m{n}"), "more", &[])).await);
    }
    assert_eq!(timeout(soon, slow).await.expect("soon").expect("answered"), Ok(()));
    assert_eq!(timeout(soon, behind).await.expect("soon").expect("answered"), Ok(()));
    let kept = door.kept().await;
    assert!(kept.iter().any(|text| text == "hello") && kept.iter().any(|text| text == "look"));
}

#[tokio::test]
async fn abuse_outgoing_49_nothing_is_fetched_for_a_stranger() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = silent.local_addr().expect("an address").to_string();
    let url = format!("http://{host}/file.bin");
    let door = Door::new(vec![host]).await;
    let answered = door.hand(message("xmpp:zoe@chat.test", "1", &url, &[&url])).await;
    let answer = timeout(Duration::from_secs(5), answered).await.expect("at once");
    assert_eq!(answer.expect("answered"), Ok(()));
    let called = timeout(Duration::from_millis(200), silent.accept()).await;
    assert!(called.is_err(), "the server was called");
    assert_eq!(door.kept().await, [url]);
}

#[tokio::test]
async fn a_client_that_counts_anew_loses_nothing_and_a_repeat_is_one_message() {
    let door = Door::new(vec![]).await;
    for body in ["first", "first", "second"] {
        let answered = door.hand(message(KNOWN, "1", body, &[])).await;
        assert_eq!(answered.await.expect("answered"), Ok(()));
    }
    assert_eq!(door.kept().await, ["first", "second"]);
}

#[tokio::test]
async fn somebody_without_a_name_is_there_for_those_who_may_know() {
    let (gateway, _folder) = gateway(vec![]).await;
    let names = DirectoryNames(gateway);
    let bob = Email::parse("bob@customer.test").expect("an address");
    let name = async |asker: Option<&str>| {
        let asker = asker.map(|a| ImAddress::parse(a).expect("an address"));
        names.name(webchat::tests::BRIDGE, &bob, asker.as_ref()).await
    };
    assert_eq!(name(Some(KNOWN)).await.as_deref(), Some("bob (customer.test)"));
    assert_eq!(name(Some("xmpp:zoe@chat.test")).await, None);
    assert_eq!(name(None).await, None);
}
