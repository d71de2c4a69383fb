//! The conformance suite and the rest against Prosody and ejabberd, with slixmpp as the client.

use std::{sync::Arc, time::Duration};

use isthmus_domain::clock::Millis;
use isthmus_im::{
    Event, ImNetwork, OutFile, OutMessage, Presence, SendError,
    conformance::{self, Bench},
};
use isthmus_tests::{XmppKind, XmppServer, XmppSetup};
use isthmus_xmpp::XmppConfig;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    peer::{SlixmppPeer, jid},
    support::{DOMAIN, Net, SOON, alice, bob, message},
};

async fn start(kind: XmppKind) -> (XmppServer, Net) {
    let server = XmppServer::start(kind, XmppSetup::new(&[DOMAIN], &["bob", "eve"])).await;
    let config = XmppConfig::new(server.component().to_string(), server.secret());
    let mut net = Net::serve(config).await;
    net.session(true).await;
    (server, net)
}

async fn conforms(kind: XmppKind) {
    let (server, net) = start(kind).await;
    let mut bench = Bench {
        network: Arc::clone(&net.network) as Arc<dyn ImNetwork>,
        events: net.events,
        peer: SlixmppPeer::new(server.client("bob").await),
        bridge_domain: DOMAIN.to_owned(),
        contact: alice(),
        contact_name: "Alice (acme.test)".to_owned(),
    };
    conformance::everything(&mut bench).await;
    net.network.stop().await;
}

#[tokio::test]
async fn server_prosody_conforms() {
    conforms(XmppKind::Prosody).await;
}

#[tokio::test]
async fn server_ejabberd_conforms() {
    conforms(XmppKind::Ejabberd).await;
}

/// What a client sees of a contact: list, name, files, commands, discovery, times.
async fn client_sees_a_contact(kind: XmppKind) {
    let (server, mut net) = start(kind).await;
    let mut bob = SlixmppPeer::new(server.client("bob").await);
    let contact = jid(Some(&alice()));
    bob.client.command(json!({"do": "subscribe", "to": contact})).await;
    let there = bob
        .client
        .expect("the contact", SOON, |e| e["ev"] == "presence" && e["type"] == "available");
    assert_eq!(there.await["nick"], "Alice (acme.test)");

    let mut written = message("dlv-1", "Good morning");
    written.written_at = Some(Millis(1_000));
    written.thread = Some("thread-1".to_owned());
    net.network.send(written).await.expect("sent");
    let came = bob.client.expect_message(SOON).await;
    assert_eq!((&came["id"], &came["origin_id"]), (&json!("dlv-1"), &json!("dlv-1")));
    assert_eq!((&came["thread"], &came["nick"]), (&json!("thread-1"), &json!("Alice (acme.test)")));
    assert_eq!(
        (&came["delay"], &came["receipt_wanted"]),
        (&json!("1970-01-01T00:00:01.000Z"), &json!(true))
    );

    let info = bob.ask(json!({"do": "disco", "to": DOMAIN})).await.expect("an answer");
    assert_eq!(info["identities"][0]["category"], "gateway");
    let address =
        bob.ask(json!({"do": "gateway", "to": DOMAIN, "prompt": "carol@customer.test"})).await;
    assert_eq!(address.expect("an answer")["jid"], "carol\\40customer.test@bridge.acme.test");
    assert!(bob.ask(json!({"do": "ping", "to": contact})).await.is_ok());
    assert!(
        bob.ask(json!({"do": "vcard", "to": "nobody\\40x.test@bridge.acme.test"})).await.is_err()
    );

    let form =
        bob.ask(json!({"do": "command", "to": contact, "node": "decide"})).await.expect("a form");
    let choice = json!({"do": "command", "to": contact, "node": "decide", "action": "complete",
        "session": form["session"], "fields": {"decision": "retry"}, "ref": "choice"});
    bob.client.command(choice).await;
    let answer = net.event(|event| match event {
        Event::Command { text, answer, .. } if text == "!retry" => Some(answer),
        _ => None,
    });
    answer.await.send("Trying again.".to_owned()).expect("it waits");
    let done = bob.client.expect("the end of the command", SOON, |e| e["ref"] == "choice").await;
    assert_eq!(
        (&done["status"], &done["notes"][0]),
        (&json!("completed"), &json!("Trying again."))
    );
}

#[tokio::test]
async fn server_prosody_client_sees_a_contact() {
    client_sees_a_contact(XmppKind::Prosody).await;
}

#[tokio::test]
async fn server_ejabberd_client_sees_a_contact() {
    client_sees_a_contact(XmppKind::Ejabberd).await;
}

/// Files are uploaded to the server and arrive byte for byte.
async fn files_are_uploaded(kind: XmppKind) {
    let (server, mut net) = start(kind).await;
    let mut bob = SlixmppPeer::new(server.client("bob").await);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("offer.bin");
    let content: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&path, &content).expect("written");
    let file = OutFile {
        name: "offer ü.bin".to_owned(),
        media_type: "application/octet-stream".to_owned(),
        size: 300_000,
        path,
        link: "http://127.0.0.1:9/link".to_owned(),
    };
    net.network
        .send(OutMessage { files: vec![file], ..message("f1", "See this") })
        .await
        .expect("sent");
    assert_eq!(bob.client.expect_message(SOON).await["body"], "See this");
    let shared = bob.client.expect_message(SOON).await;
    assert_eq!(shared["id"], "f1-f1");
    let url = shared["oob"][0].as_str().expect("an address").to_owned();
    assert_ne!(url, "http://127.0.0.1:9/link", "it was not uploaded");
    let got = bob.ask(json!({"do": "download", "url": url})).await.expect("a file");
    assert_eq!((&got["size"], &got["sha256"]), (&json!(300_000), &json!(sha256(&content))));

    let upload = json!({"do": "upload", "path": folder.path().join("offer.bin")});
    let url = bob.ask(upload).await.expect("uploaded")["url"].clone();
    bob.client
        .command(json!({"do": "send", "to": jid(Some(&alice())), "body": url, "oob": url}))
        .await;
    let files = net.event(|event| match event {
        Event::Message(message, _) => Some(message.files),
        _ => None,
    });
    assert_eq!(json!(files.await[0].url), url);
}

fn sha256(content: &[u8]) -> String {
    use sha2::Digest;
    hex::encode(sha2::Sha256::digest(content))
}

#[tokio::test]
async fn server_prosody_files_are_uploaded() {
    files_are_uploaded(XmppKind::Prosody).await;
}

#[tokio::test]
async fn server_ejabberd_files_are_uploaded() {
    files_are_uploaded(XmppKind::Ejabberd).await;
}

/// A killed server: nothing counts as sent that it did not take, and all is well again soon
/// after it is back, presence included.
async fn server_is_killed(kind: XmppKind) {
    let (mut server, mut net) = start(kind).await;
    let client = server.client("bob").await;
    net.network.watch(DOMAIN, &bob(), "To know when.").await;
    let available = |event| match event {
        Event::Presence { presence: Presence::Available, .. } => Some(()),
        _ => None,
    };
    net.event(available).await;
    if kind == XmppKind::Ejabberd {
        // It keeps the last two seconds of its database in memory; that loss is not ours.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    server.kill9();
    net.session(false).await;
    let result = net.network.send(message("k1", "x")).await;
    assert!(matches!(result, Err(SendError::NotConnected(_))), "{result:?}");
    drop(client);
    server.start_again().await;
    let since = Instant::now();
    net.session(true).await;
    assert!(since.elapsed() < Duration::from_secs(5), "back after {:?}", since.elapsed());
    // The subscription is in the server's hands: Bob is away now, and seen when he returns.
    let away = net.event(|event| match event {
        Event::Presence { presence, .. } => Some(presence),
        _ => None,
    });
    assert_eq!(away.await, Presence::Unavailable);
    let _client = server.client("bob").await;
    net.event(available).await;
}

#[tokio::test]
async fn server_prosody_is_killed() {
    server_is_killed(XmppKind::Prosody).await;
}

#[tokio::test]
async fn server_ejabberd_is_killed() {
    server_is_killed(XmppKind::Ejabberd).await;
}

/// After a restart of ours nothing is known; asking finds the subscription that is held.
async fn subscription_outlives_us(kind: XmppKind) {
    let (server, mut net) = start(kind).await;
    let mut client = SlixmppPeer::new(server.client("bob").await);
    let is = |(told, wanted)| assert_eq!(told, wanted);
    let presence = |wanted: Presence| {
        move |event| match event {
            Event::Presence { presence, .. } => Some((presence, wanted)),
            _ => None,
        }
    };
    net.network.watch(DOMAIN, &bob(), "To know when.").await;
    is(net.event(presence(Presence::Available)).await);
    net.network.stop().await;
    client.client.go_offline().await;
    // Until the server has worked through it.
    client.ask(json!({"do": "ping", "to": "chat.test"})).await.expect("an answer");
    let config = XmppConfig::new(server.component().to_string(), server.secret());
    let mut net = Net::serve(config).await;
    net.session(true).await;
    client.client.command(json!({"do": "accept_all", "on": false})).await;
    net.network.watch(DOMAIN, &bob(), "To know when.").await;
    is(net.event(presence(Presence::Unavailable)).await);
    client.client.go_online().await;
    is(net.event(presence(Presence::Available)).await);
    // Taken back: nobody can tell any more.
    client.client.command(json!({"do": "deny", "to": DOMAIN})).await;
    is(net.event(presence(Presence::Unknown)).await);
}

#[tokio::test]
async fn server_prosody_subscription_outlives_us() {
    subscription_outlives_us(XmppKind::Prosody).await;
}

#[tokio::test]
async fn server_ejabberd_subscription_outlives_us() {
    subscription_outlives_us(XmppKind::Ejabberd).await;
}

/// Two gateways at once: the one that came last has the address.
#[tokio::test]
async fn server_prosody_lets_a_successor_take_over() {
    let (server, mut old) = start(XmppKind::Prosody).await;
    let config = XmppConfig::new(server.component().to_string(), server.secret());
    let mut new = Net::serve(config).await;
    new.session(true).await;
    old.session(false).await;
    old.network.serve(Vec::new()).await;
    let mut bob = server.client("bob").await;
    new.network.send(message("s1", "from the successor")).await.expect("sent");
    assert_eq!(bob.expect_message(SOON).await["body"], "from the successor");
}
