//! Input that was made to hurt, at a session that has to go on.

use std::time::Duration;

use isthmus_im::{Event, ImNetwork, Presence};
use isthmus_xmpp::XmppConfig;

use crate::{
    fake::{Fake, FakeServer},
    support::{ALICE, DOMAIN, Net, SECRET, bob},
};

async fn start() -> (FakeServer, Net, Fake) {
    let server = FakeServer::start().await;
    let mut net = Net::serve(XmppConfig::new(server.addr().to_string(), SECRET)).await;
    let fake = server.session().await;
    net.session(true).await;
    (server, net, fake)
}

fn from_bob(id: &str, inside: &str) -> String {
    format!(
        "<message from='bob@chat.test/phone' to='{ALICE}' id='{id}' type='chat'>{inside}</message>"
    )
}

/// Writes an ordinary message, which has to come through, and leaves it unanswered.
async fn ordinary(net: &mut Net, fake: &mut Fake, id: &str) {
    fake.write(&from_bob(id, "<body>ordinary</body>")).await;
    let came = net.event(|event| match event {
        Event::Message(message, _) => Some(message.id),
        _ => None,
    });
    assert_eq!(came.await, id);
}

#[tokio::test]
async fn abuse_xmpp_28_a_dtd_closes_the_stream_and_the_next_one_works() {
    for bomb in [
        "<!DOCTYPE lolz [<!ENTITY lol 'lol'><!ENTITY lol2 '&lol;&lol;'>]>",
        "<message><body>&lol9;</body></message>",
    ] {
        let (server, mut net, mut fake) = start().await;
        fake.write(bomb).await;
        let error = "<stream:error><restricted-xml xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
        assert_eq!(fake.stanza().await, error);
        let mut fake = server.session().await;
        net.session(true).await;
        ordinary(&mut net, &mut fake, "after").await;
    }
}

#[tokio::test]
async fn abuse_xmpp_29_an_endless_stanza_closes_the_stream_and_a_long_one_is_answered() {
    let (server, mut net, mut fake) = start().await;
    let long = "x".repeat(1_500_000);
    fake.write(&from_bob("long", &format!("<body>{long}</body>"))).await;
    let answer = fake.stanza().await;
    assert!(answer.contains("id='long'") && answer.contains("<policy-violation "), "{answer}");
    ordinary(&mut net, &mut fake, "between").await;

    fake.write("<message from='bob@chat.test/phone' to='x'><body>").await;
    let block = "y".repeat(1_000_000);
    for _ in 0..5 {
        fake.try_write(&block).await;
    }
    let error = "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    assert_eq!(fake.stanza().await, error);
    let mut fake = server.session().await;
    net.session(true).await;
    ordinary(&mut net, &mut fake, "after").await;
}

#[tokio::test]
async fn abuse_xmpp_30_a_sender_that_cannot_be_is_dropped() {
    let (_server, mut net, mut fake) = start().await;
    let body = "<body>pay now</body>";
    for (from, to) in [
        (DOMAIN, ALICE),
        ("ceo\\40acme.test@bridge.acme.test", ALICE),
        ("CEO\\40acme.test@Bridge.Acme.TEST/x", ALICE),
        ("bob@chat.test", "alice\\40acme.test@other.test"),
        ("", ALICE),
        ("@chat.test", ALICE),
    ] {
        fake.write(&format!("<message from='{from}' to='{to}' id='spoof'>{body}</message>")).await;
    }
    fake.write(&format!("<message to='{ALICE}' id='nobody'>{body}</message>")).await;
    // A ping of somebody else's making that claims to be ours confirms nothing.
    fake.write(&format!(
        "<iq type='get' id='echo-1' from='{DOMAIN}' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>"
    ))
    .await;
    // The first message that comes through is the honest one.
    ordinary(&mut net, &mut fake, "honest").await;
}

#[tokio::test]
async fn abuse_xmpp_31_a_flood_of_presence_is_told_in_few_events_and_ends_right() {
    let (_server, mut net, mut fake) = start().await;
    net.network.watch(DOMAIN, &bob(), "").await;
    fake.stanza().await;
    let presence = |kind: &str| format!("<presence from='bob@chat.test/p' to='{DOMAIN}'{kind}/>");
    let mut flood = presence(" type='subscribed'");
    for _ in 0..5_000 {
        flood += &presence("");
        flood += &presence(" type='unavailable'");
    }
    flood += &presence("");
    fake.write(&flood).await;
    fake.write(&from_bob("end", "<body>end of the flood</body>")).await;
    let mut told = Vec::new();
    net.event(|event| match event {
        Event::Presence { presence, .. } => {
            told.push(presence);
            None
        }
        Event::Message(..) => Some(()),
        _ => None,
    })
    .await;
    // What the last state is may still be on its way.
    while net.network.presence(DOMAIN, &bob()) != *told.last().unwrap_or(&Presence::Unknown) {
        told.push(
            net.event(|event| match event {
                Event::Presence { presence, .. } => Some(presence),
                _ => None,
            })
            .await,
        );
    }
    assert_eq!(told.last(), Some(&Presence::Available));
    assert!(told.len() < 100, "{} events", told.len());
}

#[tokio::test]
async fn stanzas_that_make_no_sense_never_end_the_session() {
    let (_server, mut net, mut fake) = start().await;
    for nonsense in [
        "<message/>".to_owned(),
        "<presence type='wat' from='bob@chat.test' to='bridge.acme.test'/>".to_owned(),
        from_bob("", "<body/>"),
        from_bob("x", "<thread/><delay xmlns='urn:xmpp:delay' stamp='yesterday'/>"),
        "<unknown xmlns='urn:x' from='a@b' to='bridge.acme.test'/>".to_owned(),
        format!("<iq type='result' id='never-asked' from='bob@chat.test' to='{DOMAIN}'/>"),
        from_bob("deep", &format!("{}{}", "<a>".repeat(20_000), "</a>".repeat(20_000))),
    ] {
        fake.write(&nonsense).await;
    }
    assert!(fake.stanza().await.contains("policy-violation"));
    ordinary(&mut net, &mut fake, "fine").await;
    fake.idle(Duration::from_millis(100)).await;
}
